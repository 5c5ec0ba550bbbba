//! `…/runners/reset_registration_token`: tokens by which runners register themselves, where the operator allows that.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::permission::ManageProject;
use rave_http::{Authorized, HttpError, SignedIn};
use serde_json::json;

use super::{WRITE, refuse_registration};
use crate::api::State;
use crate::api::numbers::PathParams;
use crate::service::Ci;
use crate::setting::Owner;

async fn reset(ci: &Ci, owner: Owner) -> Result<Response, HttpError> {
    refuse_registration(ci)?;
    let token = ci.reset_registration_token(owner).await?;
    let body = json!({ "token": token.expose(), "token_expires_at": null });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `POST /runners/reset_registration_token`.
pub(crate) async fn reset_of_instance(ci: State, user: SignedIn) -> Result<Response, HttpError> {
    user.need_scope(WRITE)?;
    if !user.0.admin {
        return Err(HttpError::forbidden(
            "only administrators reset the instance's registration token",
        ));
    }
    reset(&ci, Owner::Instance).await
}

/// `POST /projects/:id/runners/reset_registration_token`.
pub(crate) async fn reset_of_project(
    ci: State,
    Authorized(access): Authorized<ManageProject>,
) -> Result<Response, HttpError> {
    reset(&ci, Owner::Project(access.project().id)).await
}

/// `POST /groups/:id/runners/reset_registration_token`.
pub(crate) async fn reset_of_group(
    ci: State,
    user: SignedIn,
    path: PathParams,
) -> Result<Response, HttpError> {
    user.need_scope(WRITE)?;
    let group = ci.load_kept_group(&user.0, path.text("id")).await?;
    reset(&ci, Owner::Group(group.id)).await
}
