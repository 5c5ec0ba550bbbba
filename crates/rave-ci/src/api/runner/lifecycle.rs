//! What a runner does about itself: registers, verifies and unregisters, and gets another token.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use rave_core::time::Timestamp;
use rave_http::caller::Peer;
use rave_http::{HttpError, Params};
use serde_json::{Value, json};

use super::{machine_of, runner_of, token_of};
use crate::api::State;
use crate::api::runners::{refuse_registration, settings};
use crate::service::runners::NewToken;
use crate::store::runner::Settings;

fn time(at: Option<Timestamp>) -> Value {
    json!(at.map(Timestamp::rfc3339))
}

/// `POST /runners`: the way of older runners, by a registration token, which the operator has to allow.
pub(crate) async fn register(
    ci: State,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    refuse_registration(&ci)?;
    let token = token_of(&headers, "runner-token", Some(&mut params));
    // What this machine says of itself is written down when it first asks for a job.
    let name = params.value("info").and_then(|it| it["name"].as_str());
    let name = name.unwrap_or_default().to_owned();
    let mut settings = settings(&mut params, Settings::default());
    params.check()?;
    if settings.description.is_empty() {
        settings.description = name;
    }
    let made = ci.register_runner(&token, settings).await?;
    let (id, NewToken { token, expires_at }) =
        made.ok_or_else(|| HttpError::new(StatusCode::FORBIDDEN, "403 Forbidden"))?;
    let body = json!({ "id": id.0, "token": token.expose(), "token_expires_at": time(expires_at) });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `POST /runners/verify`: `register` of the stock runner asks this.
pub(crate) async fn verify(
    ci: State,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let runner = runner_of(&ci, &headers, &mut params).await?;
    let token = token_of(&headers, "runner-token", Some(&mut params));
    let machine = machine_of(&mut params, peer.as_ref());
    ci.note_contact(&runner, &machine).await?;
    let expires_at = time(runner.token_expires_at);
    let body = json!({ "id": runner.id.0, "token": token, "token_expires_at": expires_at });
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
    Ok(reset(&ci.reset_runner_token(&runner).await?))
}

/// Answers with a token in place of an old one.
pub(crate) fn reset(new: &NewToken) -> Response {
    let body = json!({ "token": new.token.expose(), "token_expires_at": time(new.expires_at) });
    (StatusCode::CREATED, Json(body)).into_response()
}
