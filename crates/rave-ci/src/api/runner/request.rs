//! `POST /jobs/request`: answered with a job as soon as there is one, held meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use rave_http::caller::Peer;
use rave_http::{HttpError, Params, Shared};

use super::{LAST_UPDATE, LIVE, MEMORY, machine_of, offer_of, payload, runner_of};
use crate::api::State;

/// Gives the runner a job. A first request, which does not know `last_update`, is answered at once, as GitLab does:
/// scripts ask like that.
pub(crate) async fn request(
    ci: State,
    Extension(shared): Extension<Arc<Shared>>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let runner = runner_of(&ci, &headers, &mut params).await?;
    let machine = machine_of(&mut params, peer.as_ref());
    let offer = offer_of(&params);
    let knows = params.text("last_update").is_some_and(|it| !it.is_empty());
    ci.note_contact(&runner, &machine).await?;
    let hold = knows && !runner.paused;
    let wait = if hold {
        ci.config.long_poll
    } else {
        Duration::ZERO
    };
    let found = ci
        .wait_for_job(&runner, &machine, offer, wait, &shared.shutdown)
        .await?;
    let assigned = found.and_then(crate::service::assign::Handover::complete);
    let mut response = match assigned {
        Some(assigned) => {
            let body = payload::payload(&ci.config, &assigned, ci.now());
            (StatusCode::CREATED, Json(body)).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    };
    let version = HeaderValue::from_str(&ci.queue.version().to_string());
    let headers = response.headers_mut();
    headers.extend(version.ok().map(|it| (LAST_UPDATE, it)));
    headers.insert(LIVE, HeaderValue::from_static("1"));
    headers.insert(MEMORY, HeaderValue::from_static("1"));
    Ok(response)
}
