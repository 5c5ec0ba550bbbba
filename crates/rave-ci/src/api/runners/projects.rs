//! `/projects/:id/runners`: the runners that take a project's jobs.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::RunnerId;
use rave_core::permission::ManageProject;
use rave_http::{Authorized, HttpError, Pagination, Params, SignedIn};

use super::{filter, shape};
use crate::api::State;
use crate::api::numbers::PathParams;
use crate::model::RunnerType;

/// `GET …`.
pub(crate) async fn list(
    ci: State,
    Authorized(access): Authorized<ManageProject>,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let filter = filter(&mut params)?;
    let page = ci
        .list_project_runners(&access, filter, pagination.slice())
        .await?;
    shape::list(&ci, &page, &pagination).await
}

/// `POST …`: lets the project use another project's runner, which the caller manages too.
pub(crate) async fn assign(
    ci: State,
    Authorized(access): Authorized<ManageProject>,
    user: SignedIn,
    mut params: Params,
) -> Result<Response, HttpError> {
    let id = params.int("runner_id");
    if id.is_none() {
        params.need_text("runner_id");
    }
    params.check()?;
    let id = RunnerId(id.unwrap_or_default());
    let found = ci.find_runner(id).await?;
    match found.as_ref().map(|it| it.runner.kind) {
        Some(RunnerType::Instance) => {
            return Err(HttpError::forbidden("Runner is an instance runner"));
        }
        Some(RunnerType::Group) => return Err(HttpError::forbidden("Runner is a group runner")),
        Some(RunnerType::Project) | None => {}
    }
    let found = ci.load_kept_runner(&user.0, id).await?;
    ci.assign_runner(&found.runner, access.project().id).await?;
    let shaped = shape::summary(&ci, &found, &BTreeMap::new());
    Ok((StatusCode::CREATED, Json(shaped)).into_response())
}

/// `DELETE …/:runner_id`.
pub(crate) async fn unassign(
    ci: State,
    Authorized(access): Authorized<ManageProject>,
    path: PathParams,
) -> Result<StatusCode, HttpError> {
    ci.unassign_runner(&access, path.runner()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
