//! Runners for people: made, listed, changed, deleted.

pub(crate) mod groups;
pub(crate) mod jobs;
pub(crate) mod projects;
pub(crate) mod registration;
mod shape;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::{ProjectId, RunnerId};
use rave_core::permission::Scope;
use rave_core::time::Timestamp;
use rave_http::{HttpError, Pagination, Params, SignedIn};
use serde_json::json;

use super::State;
use super::numbers::PathParams;
use super::runner::lifecycle;
use super::shapes;
use crate::model::{RunnerStatus, RunnerType};
use crate::service::Ci;
use crate::service::runner_access::Kept;
use crate::store::runner::{NewRunner, RunnerFilter, Settings};

const READ: &[Scope] = &[Scope::Api, Scope::ReadApi];
const WRITE: &[Scope] = &[Scope::Api, Scope::ManageRunner];
const CREATE: &[Scope] = &[Scope::Api, Scope::CreateRunner];

/// Refuses what needs registration tokens where the operator does not allow them.
pub(crate) fn refuse_registration(ci: &Ci) -> Result<(), HttpError> {
    if ci.config.runner_registration {
        return Ok(());
    }
    let message = "410 Gone - registration tokens are disabled: make the runner by POST /user/runners and register it with \
                   the token of that answer, or set ci.runner_registration";
    Err(HttpError::new(StatusCode::GONE, message))
}

/// `POST /user/runners`: the answer is the only place that ever shows the token.
pub(crate) async fn create(
    ci: State,
    user: SignedIn,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(CREATE)?;
    let kind = params.choice("runner_type", RunnerType::from_label);
    if !params.has("runner_type") {
        params.need_text("runner_type");
    }
    let project = params.int("project_id");
    let group = params.int("group_id");
    let settings = settings(&mut params, Settings::default());
    params.check()?;
    let kind = kind.unwrap_or(RunnerType::Instance);
    let (project, group) = match (kind, project, group) {
        (RunnerType::Project, Some(project), _) => (Some(ProjectId(project)), None),
        (RunnerType::Group, _, Some(group)) => (None, Some(group)),
        (RunnerType::Instance, _, _) => (None, None),
        (RunnerType::Project, None, _) => return Err(missing("project_id")),
        (RunnerType::Group, _, None) => return Err(missing("group_id")),
    };
    ci.need_runner_right(&user.0, kind, project, group).await?;
    let new = NewRunner {
        kind,
        project,
        group,
        settings,
        creator: Some(user.0.id),
        legacy: false,
    };
    let (id, new) = ci.create_runner(new).await?;
    let expires_at = new.expires_at.map(Timestamp::rfc3339);
    let body = json!({ "id": id.0, "token": new.token.expose(), "token_expires_at": expires_at });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn missing(name: &str) -> HttpError {
    let message = format!("{name} is missing");
    HttpError::bad_request(message.clone()).body(json!({ "error": message }))
}

/// Reads what is given and leaves the rest as it is. `active` and `maintainer_note` are older names.
pub(crate) fn settings(params: &mut Params, old: Settings) -> Settings {
    let tags = params.has("tag_list").then(|| {
        let mut tags = params.list("tag_list");
        tags.sort_unstable();
        tags.dedup();
        tags
    });
    let access = params.choice("access_level", |it| match it {
        "ref_protected" => Some(true),
        "not_protected" => Some(false),
        _ => None,
    });
    let active = params.bool("active").map(|it| !it);
    let note = params.text("maintenance_note");
    let note = note.or_else(|| params.text("maintainer_note"));
    Settings {
        description: params.text("description").unwrap_or(old.description),
        maintenance_note: note.or(old.maintenance_note),
        tags: tags.unwrap_or(old.tags),
        run_untagged: params.bool("run_untagged").unwrap_or(old.run_untagged),
        locked: params.bool("locked").unwrap_or(old.locked),
        paused: params.bool("paused").or(active).unwrap_or(old.paused),
        protected: access.unwrap_or(old.protected),
        maximum_timeout_secs: params.int("maximum_timeout").or(old.maximum_timeout_secs),
    }
}

/// Reads which runners a list shows. `scope` is an older name of what `type` and `status` say.
fn filter(params: &mut Params) -> Result<RunnerFilter, HttpError> {
    let mut filter = RunnerFilter {
        kind: params.choice("type", RunnerType::from_label),
        paused: params.bool("paused"),
        tags: params.list("tag_list"),
        version_prefix: params.text("version_prefix"),
        search: params.text("search").filter(|it| !it.is_empty()),
        ..RunnerFilter::default()
    };
    for name in ["status", "scope"] {
        let chosen = params.choice(name, |it| match it {
            "active" => Some((None, Some(false), None)),
            "paused" => Some((None, Some(true), None)),
            "shared" => Some((None, None, Some(RunnerType::Instance))),
            "specific" => Some((None, None, Some(RunnerType::Project))),
            it => RunnerStatus::from_label(it)
                .map(|it| (Some(it), None, None))
                .or_else(|| RunnerType::from_label(it).map(|it| (None, None, Some(it)))),
        });
        if let Some((status, paused, kind)) = chosen {
            filter.status = status.or(filter.status);
            filter.paused = paused.or(filter.paused);
            filter.kind = kind.or(filter.kind);
        }
    }
    params.check()?;
    Ok(filter)
}

/// `GET /runners`: those that the caller manages by their groups and projects.
pub(crate) async fn list_own(
    ci: State,
    user: SignedIn,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    let Kept { projects, groups } = ci.kept_by(&user.0).await?;
    let filter = RunnerFilter {
        kept: Some((projects, groups)),
        ..filter(&mut params)?
    };
    let page = ci.list_runners(filter, pagination.slice()).await?;
    shape::list(&ci, &page, &pagination).await
}

/// `GET /runners/all`, for administrators.
pub(crate) async fn list_all(
    ci: State,
    user: SignedIn,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    if !user.0.admin {
        return Err(HttpError::forbidden("only administrators see all runners"));
    }
    let filter = filter(&mut params)?;
    let page = ci.list_runners(filter, pagination.slice()).await?;
    shape::list(&ci, &page, &pagination).await
}

/// Answers with everything about a runner.
async fn detailed(ci: &Ci, user: &SignedIn, id: RunnerId) -> Result<Response, HttpError> {
    let found = ci.load_kept_runner(&user.0, id).await?;
    Ok(Json(shape::details(ci, &user.0, &found).await?).into_response())
}

/// `GET /runners/:runner_id`.
pub(crate) async fn show(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    detailed(&ci, &user, path.runner()?).await
}

/// `GET /runners/:runner_id/managers`.
pub(crate) async fn managers(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    let found = ci.load_kept_runner(&user.0, path.runner()?).await?;
    let now = ci.now();
    let shaped = found.managers.iter().map(|it| shapes::manager(it, now));
    Ok(Json(shaped.collect::<Vec<_>>()).into_response())
}

/// `PUT /runners/:runner_id`.
pub(crate) async fn update(
    ci: State,
    user: SignedIn,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(WRITE)?;
    let found = ci.load_kept_runner(&user.0, path.runner()?).await?;
    let settings = settings(&mut params, Settings::from(&found.runner));
    params.check()?;
    ci.update_runner(found.runner.id, settings).await?;
    detailed(&ci, &user, path.runner()?).await
}

/// `DELETE /runners/:runner_id`.
pub(crate) async fn delete(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<StatusCode, HttpError> {
    user.need_scope(WRITE)?;
    let found = ci.load_kept_runner(&user.0, path.runner()?).await?;
    ci.delete_runner(found.runner.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /runners/:runner_id/reset_authentication_token`.
pub(crate) async fn reset_token(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<Response, HttpError> {
    user.need_scope(WRITE)?;
    let found = ci.load_kept_runner(&user.0, path.runner()?).await?;
    let new = ci.reset_runner_token(&found.runner).await?;
    Ok(lifecycle::reset(&new))
}
