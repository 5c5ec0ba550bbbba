//! The administrator's page of runners.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::html;
use rave_core::id::{ProjectId, RunnerId};
use rave_core::permission::{Scope, UserPrincipal};
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Pagination, Params, SignedIn};

use super::runner_view::{self, RunnerRow};
use super::{list_view, queries};
use crate::error::CiError;
use crate::model::RunnerType;
use crate::service::Ci;
use crate::store;
use crate::store::runner::{NewRunner, RunnerFilter, Settings};

const PATH: &str = "/-/admin/runners";

fn need_admin(caller: SignedIn) -> Result<UserPrincipal, HttpError> {
    caller.need_scope(&[Scope::Api])?;
    if caller.0.admin {
        Ok(caller.0)
    } else {
        // As for all of an administrator's pages: others need not know that they exist.
        Err(HttpError::not_found("Page"))
    }
}

fn runner_id(text: &str) -> Result<RunnerId, HttpError> {
    text.parse()
        .map(RunnerId)
        .map_err(|_| HttpError::not_found("Runner"))
}

/// Lists all runners.
pub(super) async fn list(
    State(ci): State<Arc<Ci>>,
    caller: SignedIn,
    pagination: Pagination,
    page: Page,
) -> Result<Response, HttpError> {
    need_admin(caller)?;
    let slice = pagination.slice();
    let (found, managers, active) = ci
        .db
        .read("ci_page_runners", move |tx| {
            let found = store::runner::list(tx, &RunnerFilter::default(), slice)?;
            let mut managers = Vec::with_capacity(found.items.len());
            for runner in &found.items {
                managers.push(store::runner::managers(tx, runner.id)?);
            }
            Ok::<_, CiError>((found, managers, queries::active_jobs(tx)?))
        })
        .await?;
    let wanted = active
        .iter()
        .map(|it| it.project)
        .chain(found.items.iter().filter_map(|it| it.project));
    let paths = project_paths(&ci, wanted).await?;
    let rows: Vec<RunnerRow> = found
        .items
        .into_iter()
        .zip(managers)
        .map(|(runner, managers)| {
            let jobs = active
                .iter()
                .filter(|it| it.runner == runner.id)
                .filter_map(|it| {
                    let path = paths.get(&it.project)?;
                    let address = page.href(&format!("/{path}/-/jobs/{}", it.job));
                    Some((address, format!("{path}: {} #{}", it.name, it.job)))
                });
            RunnerRow {
                jobs: jobs.collect(),
                owner: runner.project.and_then(|it| paths.get(&it).cloned()),
                managers,
                runner,
            }
        })
        .collect();
    let href = page.href(PATH);
    let content = html! {
        (runner_view::list(&href, &rows, ci.now()))
        (list_view::pager(&pagination, found.total, &format!("{href}?")))
    };
    Ok(page.render("Runners", &Chrome::Instance, &content))
}

async fn project_paths(
    ci: &Ci,
    projects: impl Iterator<Item = ProjectId>,
) -> Result<BTreeMap<ProjectId, String>, HttpError> {
    let mut paths = BTreeMap::new();
    for id in projects {
        if let std::collections::btree_map::Entry::Vacant(entry) = paths.entry(id)
            && let Some(project) = ci.directory.load_project(id).await?
        {
            entry.insert(project.path.to_string());
        }
    }
    Ok(paths)
}

/// Makes a runner and shows its token, which cannot be shown again: hence no redirect.
pub(super) async fn create(
    State(ci): State<Arc<Ci>>,
    caller: SignedIn,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let user = need_admin(caller)?;
    let settings = Settings {
        description: params.need_text("description"),
        tags: params.list("tag_list"),
        run_untagged: params.bool("run_untagged").unwrap_or(false),
        protected: params.bool("protected").unwrap_or(false),
        ..Settings::default()
    };
    params.check()?;
    if settings.tags.is_empty() && !settings.run_untagged {
        return Err(HttpError::bad_request(
            "a runner needs tags, or has to take jobs without tags",
        )
        .hint("go back, and enter a tag or check the box"));
    }
    let new = NewRunner {
        kind: RunnerType::Instance,
        project: None,
        group: None,
        settings,
        creator: Some(user.id),
    };
    let (_, token) = ci.create_runner(new).await?;
    let content = runner_view::created(&page.href(PATH), &page.shared().external_url, &token);
    Ok(page.render("Runner created", &Chrome::Instance, &content))
}

/// Keeps a runner from taking more jobs.
pub(super) async fn pause(
    State(ci): State<Arc<Ci>>,
    caller: SignedIn,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    need_admin(caller)?;
    put_paused(&ci, &id, true, &page).await
}

/// Lets a runner take jobs again.
pub(super) async fn resume(
    State(ci): State<Arc<Ci>>,
    caller: SignedIn,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    need_admin(caller)?;
    put_paused(&ci, &id, false, &page).await
}

async fn put_paused(ci: &Ci, id: &str, paused: bool, page: &Page) -> Result<Response, HttpError> {
    let id = runner_id(id)?;
    let found = ci.find_runner(id).await?;
    let runner = found.ok_or_else(|| HttpError::not_found("Runner"))?.runner;
    let settings = Settings {
        paused,
        ..Settings::from(&runner)
    };
    ci.update_runner(id, settings).await?;
    Ok(page.redirect(PATH))
}

/// Deletes a runner.
pub(super) async fn delete(
    State(ci): State<Arc<Ci>>,
    caller: SignedIn,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    need_admin(caller)?;
    ci.delete_runner(runner_id(&id)?).await?;
    Ok(page.redirect(PATH))
}
