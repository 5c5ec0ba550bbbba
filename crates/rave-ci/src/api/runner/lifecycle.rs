//! `POST /runners/verify`, `DELETE /runners`, `DELETE /runners/managers`, and a runner's new token for itself.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use rave_http::caller::Peer;
use rave_http::{HttpError, Params};
use serde_json::json;

use super::{machine_of, runner_of};
use crate::api::State;

/// `POST /runners/verify`: `register` of the stock runner asks this.
pub(crate) async fn verify(
    ci: State,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let runner = runner_of(&ci, &headers, &mut params).await?;
    let token = super::token_of(&headers, "runner-token", Some(&mut params));
    let machine = machine_of(&mut params, peer.as_ref());
    ci.note_contact(&runner, &machine, true).await?;
    let body = json!({ "id": runner.id.0, "token": token, "token_expires_at": null });
    Ok(Json(body).into_response())
}

/// `DELETE /runners`: the runner goes, with all its machines.
pub(crate) async fn unregister(
    ci: State,
    headers: HeaderMap,
    mut params: Params,
) -> Result<StatusCode, HttpError> {
    let runner = runner_of(&ci, &headers, &mut params).await?;
    ci.delete_runner(runner.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /runners/managers`: one machine goes, the runner stays.
pub(crate) async fn unregister_manager(
    ci: State,
    headers: HeaderMap,
    mut params: Params,
) -> Result<StatusCode, HttpError> {
    let runner = runner_of(&ci, &headers, &mut params).await?;
    let system_id = params.need_text("system_id");
    params.check()?;
    ci.delete_manager(runner.id, &system_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /runners/reset_authentication_token`: the old token is worth nothing from then on.
pub(crate) async fn reset_own_token(
    ci: State,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    let runner = runner_of(&ci, &headers, &mut params).await?;
    let token = ci.reset_runner_token(runner.id).await?;
    let body = json!({ "token": token.expose(), "token_expires_at": null });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
