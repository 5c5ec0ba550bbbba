//! Runners of the instance, of a group or of a project: one set of pages at three addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::html;
use rave_core::id::{ProjectId, RunnerId};
use rave_core::permission::{Principal, ReadPipelines, UserPrincipal, decide};
use rave_core::port::{ProjectRef, Slice};
use rave_http::page::{Chrome, Tab};
use rave_http::{HttpError, Page, Pagination, Params, SignedIn};

use super::runner_form::RunnerForm;
use super::runner_view::{self, Place, RunnerJob, RunnerRow};
use super::{base, list_view, queries};
use crate::api::keeper::Kept;
use crate::api::numbers::PathParams;
use crate::error::CiError;
use crate::model::{Runner, RunnerType};
use crate::service::Ci;
use crate::service::runners::{RunnerDetails, RunnerJobs};
use crate::store::runner::{NewRunner, RunnerFilter, Settings};

/// How many of its last jobs a runner's page shows.
const JOBS: u64 = 20;

/// What a request needs to show or change one owner's runners.
pub(super) struct Context {
    ci: Arc<Ci>,
    kept: Kept,
    user: UserPrincipal,
    page: Page,
    place: Place,
}

impl FromRequestParts<Arc<Ci>> for Context {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, ci: &Arc<Ci>) -> Result<Self, HttpError> {
        let kept = Kept::from_request_parts(parts, ci).await?;
        let SignedIn(user) = SignedIn::from_request_parts(parts, ci).await?;
        let Ok(page) = Page::from_request_parts(parts, ci).await;
        let place = match &kept {
            Kept::Project(access, _) => Place {
                kind: RunnerType::Project,
                href: page.project_href(access.project(), "/-/runners"),
                of: "this project".to_owned(),
            },
            Kept::Group(facts, _) => Place {
                kind: RunnerType::Group,
                href: page.href(&format!("/-/groups/{}/runners", facts.group.id)),
                of: format!("projects of the group {}", facts.group.path),
            },
            Kept::Instance(_) => Place {
                kind: RunnerType::Instance,
                href: page.href("/-/admin/runners"),
                of: "all projects".to_owned(),
            },
        };
        Ok(Self {
            ci: ci.clone(),
            kept,
            user,
            page,
            place,
        })
    }
}

impl Context {
    fn render(&self, status: StatusCode, title: &str, content: &maud::Markup) -> Response {
        let chrome = match &self.kept {
            Kept::Project(access, _) => base::chrome(access.as_ref(), Tab::Settings),
            Kept::Group(..) | Kept::Instance(_) => Chrome::Instance,
        };
        self.page.render_status(status, title, &chrome, content)
    }

    fn back(&self) -> Response {
        Redirect::to(&self.place.href).into_response()
    }

    fn to(&self, id: RunnerId) -> Response {
        Redirect::to(&format!("{}/{id}", self.place.href)).into_response()
    }

    /// Which runners take jobs here.
    async fn filter(&self) -> Result<RunnerFilter, HttpError> {
        let mut filter = RunnerFilter::default();
        match &self.kept {
            Kept::Instance(_) => {}
            Kept::Group(facts, _) => {
                filter.usable_in = Some(self.ci.group_and_above(&facts.group).await?);
            }
            Kept::Project(access, _) => {
                let groups = self.ci.namespaces_above(access.project()).await?;
                filter.usable_by = Some((access.project().id, groups));
            }
        }
        Ok(filter)
    }

    /// Whether the runner is managed from here.
    fn owns(&self, details: &RunnerDetails) -> bool {
        match &self.kept {
            Kept::Instance(_) => true,
            Kept::Group(facts, _) => details.runner.group == Some(facts.group.id.0),
            Kept::Project(access, _) => details.projects.contains(&access.project().id),
        }
    }

    /// Returns a runner that is managed from here.
    async fn load(&self, path: &PathParams) -> Result<RunnerDetails, HttpError> {
        let missing = || HttpError::not_found("Runner");
        let id = path.text("runner").parse().map_err(|_| missing())?;
        let found = self.ci.load_kept_runner(&self.user, RunnerId(id)).await?;
        if self.owns(&found) {
            Ok(found)
        } else {
            Err(missing())
        }
    }

    /// Returns a project if the visitor may see its pipelines.
    async fn visible(&self, id: ProjectId) -> Result<Option<String>, HttpError> {
        let principal = Principal::User(self.user.clone());
        let at = ProjectRef::Id(id);
        let facts = self.ci.directory.find_project(&principal, &at).await?;
        let access = facts.and_then(|it| decide::<ReadPipelines>(&principal, it).ok());
        Ok(access.map(|it| it.project().path.to_string()))
    }

    /// Returns the paths of those of these projects whose pipelines the visitor may see.
    async fn paths(
        &self,
        projects: impl IntoIterator<Item = ProjectId>,
    ) -> Result<BTreeMap<ProjectId, String>, HttpError> {
        let mut paths = BTreeMap::new();
        for id in projects {
            if !paths.contains_key(&id)
                && let Some(path) = self.visible(id).await?
            {
                paths.insert(id, path);
            }
        }
        Ok(paths)
    }
}

/// Lists the runners that take jobs here, those first that are managed elsewhere too.
pub(super) async fn list(context: Context, pagination: Pagination) -> Result<Response, HttpError> {
    let Context {
        ci, page, place, ..
    } = &context;
    let filter = context.filter().await?;
    let found = ci.list_runners(filter, pagination.slice()).await?;
    let active = ci
        .db
        .read("ci_page_runners", |tx| {
            Ok::<_, CiError>(queries::active_jobs(tx)?)
        })
        .await?;
    let shown: Vec<RunnerId> = found.items.iter().map(|it| it.runner.id).collect();
    let active: Vec<_> = active
        .into_iter()
        .filter(|it| shown.contains(&it.runner))
        .collect();
    let wanted = active
        .iter()
        .map(|it| it.project)
        .chain(found.items.iter().filter_map(|it| it.runner.project));
    let paths = context.paths(wanted.collect::<Vec<_>>()).await?;
    let rows = found.items.into_iter().map(|details| {
        let own = active.iter().filter(|it| it.runner == details.runner.id);
        let jobs = own.filter_map(|it| {
            let path = paths.get(&it.project)?;
            let address = page.href(&format!("/{path}/-/jobs/{}", it.job));
            Some((address, format!("{path}: {} #{}", it.name, it.job)))
        });
        RunnerRow {
            jobs: jobs.collect(),
            owner: details
                .runner
                .project
                .and_then(|it| paths.get(&it).cloned()),
            managed: context.owns(&details),
            details,
        }
    });
    let rows: Vec<RunnerRow> = rows.collect();
    let content = html! {
        (runner_view::list(place, &rows, ci.now()))
        (list_view::pager(&pagination, found.total, &format!("{}?", place.href)))
    };
    Ok(context.render(StatusCode::OK, "Runners", &content))
}

/// Shows the form of another runner.
pub(super) async fn new(context: Context) -> Response {
    let form = RunnerForm::default();
    let content = runner_view::form(&context.place, None, &form);
    context.render(StatusCode::OK, "New runner", &content)
}

/// Makes a runner and shows its token, which cannot be shown again: hence no redirect.
pub(super) async fn create(context: Context, mut params: Params) -> Result<Response, HttpError> {
    let mut form = RunnerForm::read(&mut params);
    let (project, group) = match &context.kept {
        Kept::Project(access, _) => (Some(access.project().id), None),
        Kept::Group(facts, _) => (None, Some(facts.group.id.0)),
        Kept::Instance(_) => (None, None),
    };
    let made = match form.settings() {
        Ok(settings) => {
            let new = NewRunner {
                kind: context.place.kind,
                project,
                group,
                settings,
                creator: Some(context.user.id),
                legacy: false,
            };
            context.ci.create_runner(new).await
        }
        Err(mistake) => Err(CiError::Rejected(vec![mistake])),
    };
    match made {
        Ok((id, token)) => {
            let url = &context.page.shared().external_url;
            let content = runner_view::created(&context.place, id, url, &token.token);
            Ok(context.render(StatusCode::OK, "Runner created", &content))
        }
        Err(CiError::Rejected(list)) => {
            form.explain(&list);
            let content = runner_view::form(&context.place, None, &form);
            Ok(context.render(StatusCode::UNPROCESSABLE_ENTITY, "New runner", &content))
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows a runner with its machines and its last jobs.
pub(super) async fn show(context: Context, path: PathParams) -> Result<Response, HttpError> {
    let details = context.load(&path).await?;
    let Context {
        ci, page, place, ..
    } = &context;
    let slice = Slice {
        offset: 0,
        limit: JOBS,
    };
    let jobs = ci
        .list_runner_jobs(details.runner.id, RunnerJobs::default(), slice)
        .await?;
    let wanted = jobs.items.iter().map(|it| it.project);
    let wanted = wanted.chain(details.projects.iter().copied());
    let paths = context.paths(wanted.collect::<Vec<_>>()).await?;
    let rows = jobs.items.into_iter().filter_map(|job| {
        let project = paths.get(&job.project)?.clone();
        Some(RunnerJob {
            href: page.href(&format!("/{project}/-/jobs/{}", job.id)),
            project,
            job,
        })
    });
    let projects: Vec<&String> = details
        .projects
        .iter()
        .filter_map(|it| paths.get(it))
        .collect();
    let creator = base::people(ci, std::iter::once(details.runner.creator)).await?;
    let content = runner_view::show(
        place,
        &details,
        &runner_view::Around {
            jobs: rows.collect(),
            total: jobs.total,
            projects,
            creator: creator.name(details.runner.creator),
        },
        ci.now(),
    );
    let title = format!("Runner #{}", details.runner.id);
    Ok(context.render(StatusCode::OK, &title, &content))
}

/// Shows the form of a runner as it is.
pub(super) async fn edit(context: Context, path: PathParams) -> Result<Response, HttpError> {
    let runner = context.load(&path).await?.runner;
    let form = RunnerForm::of(&runner);
    let content = runner_view::form(&context.place, Some(runner.id), &form);
    Ok(context.render(StatusCode::OK, "Edit runner", &content))
}

/// Changes a runner.
pub(super) async fn update(
    context: Context,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let runner = context.load(&path).await?.runner;
    let mut form = RunnerForm::read(&mut params);
    let changed = match form.settings() {
        Ok(settings) => context.ci.update_runner(runner.id, settings).await,
        Err(mistake) => Err(CiError::Rejected(vec![mistake])),
    };
    match changed {
        Ok(()) => Ok(context.to(runner.id)),
        Err(CiError::Rejected(list)) => {
            form.explain(&list);
            let content = runner_view::form(&context.place, Some(runner.id), &form);
            Ok(context.render(StatusCode::UNPROCESSABLE_ENTITY, "Edit runner", &content))
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps a runner from taking more jobs.
pub(super) async fn pause(context: Context, path: PathParams) -> Result<Response, HttpError> {
    let runner = context.load(&path).await?.runner;
    put_paused(&context, &runner, true).await
}

/// Lets a runner take jobs again.
pub(super) async fn resume(context: Context, path: PathParams) -> Result<Response, HttpError> {
    let runner = context.load(&path).await?.runner;
    put_paused(&context, &runner, false).await
}

async fn put_paused(
    context: &Context,
    runner: &Runner,
    paused: bool,
) -> Result<Response, HttpError> {
    let settings = Settings {
        paused,
        ..Settings::from(runner)
    };
    context.ci.update_runner(runner.id, settings).await?;
    Ok(context.back())
}

/// Gives a runner another token and shows it: hence no redirect.
pub(super) async fn reset(context: Context, path: PathParams) -> Result<Response, HttpError> {
    let runner = context.load(&path).await?.runner;
    let token = context.ci.reset_runner_token(&runner).await?;
    let url = &context.page.shared().external_url;
    let content = runner_view::created(&context.place, runner.id, url, &token.token);
    Ok(context.render(StatusCode::OK, "Another token", &content))
}

/// Deletes a runner.
pub(super) async fn delete(context: Context, path: PathParams) -> Result<Response, HttpError> {
    let runner = context.load(&path).await?.runner;
    context.ci.delete_runner(runner.id).await?;
    Ok(context.back())
}
