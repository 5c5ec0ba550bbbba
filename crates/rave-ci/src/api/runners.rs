//! Runners for people: made, listed, changed, deleted.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::{NamespaceId, ProjectId};
use rave_core::permission::{Access, ManageProject, Principal, Scope, UserPrincipal, decide};
use rave_core::port::ProjectRef;
use rave_http::{Authorized, HttpError, Pagination, Params, SignedIn};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use super::shapes::{extend, runner_summary};
use crate::model::{Runner, RunnerType};
use crate::service::Ci;
use crate::service::runners::RunnerDetails;
use crate::store::runner::{NewRunner, RunnerFilter, Settings};

const READ: &[Scope] = &[Scope::Api, Scope::ReadApi];
const WRITE: &[Scope] = &[Scope::Api, Scope::ManageRunner];
const CREATE: &[Scope] = &[Scope::Api, Scope::CreateRunner];

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
    need_right(&ci, &user.0, kind, project, group).await?;
    let new = NewRunner {
        kind,
        project,
        group,
        settings,
        creator: Some(user.0.id),
    };
    let (id, token) = ci.create_runner(new).await?;
    let body = json!({ "id": id.0, "token": token.expose(), "token_expires_at": null });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn missing(name: &str) -> HttpError {
    let message = format!("{name} is missing");
    HttpError::bad_request(message.clone()).body(json!({ "error": message }))
}

/// Reads what is given and leaves the rest as it is.
fn settings(params: &mut Params, old: Settings) -> Settings {
    let tags = params.has("tag_list").then(|| params.list("tag_list"));
    let access = params.choice("access_level", |it| match it {
        "ref_protected" => Some(true),
        "not_protected" => Some(false),
        _ => None,
    });
    let active = params.bool("active").map(|it| !it);
    Settings {
        description: params.text("description").unwrap_or(old.description),
        maintenance_note: params.text("maintenance_note").or(old.maintenance_note),
        tags: tags.unwrap_or(old.tags),
        run_untagged: params.bool("run_untagged").unwrap_or(old.run_untagged),
        locked: params.bool("locked").unwrap_or(old.locked),
        paused: params.bool("paused").or(active).unwrap_or(old.paused),
        protected: access.unwrap_or(old.protected),
        maximum_timeout_secs: params.int("maximum_timeout").or(old.maximum_timeout_secs),
    }
}

/// Instance runners belong to administrators, a project's to its maintainers, a group's to its owner.
async fn need_right(
    ci: &Ci,
    user: &UserPrincipal,
    kind: RunnerType,
    project: Option<ProjectId>,
    group: Option<i64>,
) -> Result<(), HttpError> {
    let forbidden = || HttpError::forbidden("you are not allowed to manage this runner");
    if user.admin {
        return Ok(());
    }
    match (kind, project, group) {
        (RunnerType::Project, Some(project), _) => manage(ci, user, project).await.map(drop),
        (RunnerType::Group, _, Some(group)) => {
            let principal = Principal::User(user.clone());
            let writable = ci.directory.writable_namespaces(&principal).await?;
            let own = writable.iter().any(|it| it.id == NamespaceId(group));
            if own { Ok(()) } else { Err(forbidden()) }
        }
        _ => Err(forbidden()),
    }
}

async fn manage(
    ci: &Ci,
    user: &UserPrincipal,
    project: ProjectId,
) -> Result<Access<ManageProject>, HttpError> {
    // The token's scope for runners was checked; that for projects does not matter here.
    let principal = Principal::User(UserPrincipal {
        via: rave_core::permission::Via::Password,
        ..user.clone()
    });
    let facts = ci
        .directory
        .find_project(&principal, &ProjectRef::Id(project))
        .await?;
    let facts = facts.ok_or_else(|| HttpError::not_found("Project"))?;
    decide::<ManageProject>(&principal, facts)
        .map_err(|denied| HttpError::denied(&denied, &principal))
}

/// Returns a runner that the caller may manage; others do not exist for them.
async fn load(
    ci: &Ci,
    user: &UserPrincipal,
    path: &PathParams,
) -> Result<RunnerDetails, HttpError> {
    let not_found = || HttpError::not_found("Runner");
    let details = ci
        .find_runner(path.runner()?)
        .await?
        .ok_or_else(not_found)?;
    let runner = &details.runner;
    let own = runner.creator == Some(user.id);
    if !own {
        let allowed = need_right(ci, user, runner.kind, runner.project, runner.group).await;
        allowed.map_err(|error| {
            if error.status().is_client_error() {
                not_found()
            } else {
                error
            }
        })?;
    }
    Ok(details)
}

fn filter(params: &mut Params) -> Result<RunnerFilter, HttpError> {
    let kind = params.choice("type", RunnerType::from_label);
    let paused = params.bool("paused");
    params.check()?;
    Ok(RunnerFilter {
        kind,
        paused,
        ..RunnerFilter::default()
    })
}

async fn answer_list(
    ci: &Ci,
    filter: RunnerFilter,
    pagination: &Pagination,
) -> Result<Response, HttpError> {
    let page = ci.list_runners(filter, pagination.slice()).await?;
    let now = ci.now();
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|it| runner_summary(&it.runner, now, it.active))
        .collect();
    Ok(pagination.json(&items, page.total))
}

/// `GET /runners`: those that the caller made.
pub(crate) async fn list_own(
    ci: State,
    user: SignedIn,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    let filter = RunnerFilter {
        creator: Some(user.0.id),
        ..filter(&mut params)?
    };
    answer_list(&ci, filter, &pagination).await
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
    answer_list(&ci, filter, &pagination).await
}

/// `GET /projects/:id/runners`: those that take the project's jobs.
pub(crate) async fn list_of_project(
    ci: State,
    Authorized(access): Authorized<ManageProject>,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let filter = filter(&mut params)?;
    let page = ci
        .list_project_runners(&access, filter, pagination.slice())
        .await?;
    let now = ci.now();
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|it| runner_summary(&it.runner, now, it.active))
        .collect();
    Ok(pagination.json(&items, page.total))
}

fn details(ci: &Ci, details: &RunnerDetails) -> Value {
    let runner: &Runner = &details.runner;
    let last = details.managers.first();
    let mut value = runner_summary(runner, ci.now(), details.active);
    let more = json!({
        "tag_list": runner.tags,
        "version": last.map(|it| &it.version),
        "revision": last.map(|it| &it.revision),
        "platform": last.map(|it| &it.platform),
        "architecture": last.map(|it| &it.architecture),
        "ip_address": last.map(|it| &it.ip_address),
        "contacted_at": runner.contacted_at.map(|it| it.rfc3339()),
        "run_untagged": runner.run_untagged,
        "locked": runner.locked,
        "maximum_timeout": runner.maximum_timeout_secs,
        "access_level": if runner.protected { "ref_protected" } else { "not_protected" },
        "maintenance_note": runner.maintenance_note,
        "projects": runner.project.map(|it| json!({ "id": it.0 })).into_iter().collect::<Vec<_>>(),
        "groups": runner.group.map(|it| json!({ "id": it })).into_iter().collect::<Vec<_>>(),
    });
    extend(&mut value, more);
    value
}

/// `GET /runners/:runner_id`.
pub(crate) async fn show(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    let found = load(&ci, &user.0, &path).await?;
    Ok(Json(details(&ci, &found)).into_response())
}

/// `GET /runners/:runner_id/managers`.
pub(crate) async fn managers(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    let found = load(&ci, &user.0, &path).await?;
    let shape = |it: &crate::model::Manager| {
        json!({
            "id": it.id,
            "system_id": it.system_id,
            "version": it.version,
            "revision": it.revision,
            "platform": it.platform,
            "architecture": it.architecture,
            "executor": it.executor,
            "created_at": it.created_at.rfc3339(),
            "contacted_at": it.contacted_at.rfc3339(),
            "ip_address": it.ip_address,
        })
    };
    Ok(Json(found.managers.iter().map(shape).collect::<Vec<_>>()).into_response())
}

/// `PUT /runners/:runner_id`.
pub(crate) async fn update(
    ci: State,
    user: SignedIn,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(WRITE)?;
    let found = load(&ci, &user.0, &path).await?;
    let settings = settings(&mut params, Settings::from(&found.runner));
    params.check()?;
    ci.update_runner(found.runner.id, settings).await?;
    let found = load(&ci, &user.0, &path).await?;
    Ok(Json(details(&ci, &found)).into_response())
}

/// `DELETE /runners/:runner_id`.
pub(crate) async fn delete(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<StatusCode, HttpError> {
    user.need_scope(WRITE)?;
    let found = load(&ci, &user.0, &path).await?;
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
    let found = load(&ci, &user.0, &path).await?;
    let token = ci.reset_runner_token(found.runner.id).await?;
    let body = json!({ "token": token.expose(), "token_expires_at": null });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
