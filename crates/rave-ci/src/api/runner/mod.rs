//! The runner protocol, server side, as the stock runner speaks it.

pub(crate) mod artifacts;
mod inputs;
pub(crate) mod lifecycle;
mod memory;
pub(crate) mod payload;
pub(crate) mod request;
mod secrets;
pub(crate) mod trace;
pub(crate) mod update;

use axum::Extension;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use rave_core::id::JobId;
use rave_core::job::{JobState, Status};
use rave_http::caller::Peer;
use rave_http::{HttpError, Params};
use serde_json::Value;

use crate::error::CiError;
use crate::model::{MachineInfo, Runner};
use crate::service::Ci;
use crate::service::memory::Offer;
use crate::store::job::Held;

/// How often a runner reports, in seconds, unless it knows [`LIVE`].
const INTERVAL_SECS: &str = "3";
const JOB_STATUS: HeaderName = HeaderName::from_static("job-status");
const INTERVAL: HeaderName = HeaderName::from_static("x-gitlab-trace-update-interval");
/// Tells our own runner that it may send its log many times a second. Others do not know it.
const LIVE: HeaderName = HeaderName::from_static("x-rave-live");
/// Tells our own runner that it is given no job that it has no memory for, so that it may ask without any.
const MEMORY: HeaderName = HeaderName::from_static("x-rave-memory");
pub(crate) const LAST_UPDATE: HeaderName = HeaderName::from_static("x-gitlab-last-update");

/// Returns a token from a header or a parameter.
fn token_of(headers: &HeaderMap, header: &str, params: Option<&mut Params>) -> String {
    let in_header = headers.get(header).and_then(|it| it.to_str().ok());
    let given = params.and_then(|it| it.text("token"));
    given
        .or_else(|| in_header.map(str::to_owned))
        .unwrap_or_default()
}

/// Returns the runner that makes a request, or refuses the request.
async fn runner_of(ci: &Ci, headers: &HeaderMap, params: &mut Params) -> Result<Runner, HttpError> {
    let token = token_of(headers, "runner-token", Some(params));
    let found = ci.find_runner_by_token(&token).await?;
    found.ok_or_else(|| HttpError::new(StatusCode::FORBIDDEN, "403 Forbidden"))
}

/// Reads what a machine says of itself.
fn machine_of(params: &mut Params, peer: Option<&Extension<Peer>>) -> MachineInfo {
    let info = params.value("info").cloned().unwrap_or(Value::Null);
    let text = |name: &str| -> String {
        let text = info[name].as_str().unwrap_or_default();
        text.chars().take(255).collect()
    };
    let features = info["features"].as_object().map(|all| {
        let known = |(name, on): (&String, &Value)| {
            (on.as_bool() == Some(true) && name.len() <= 64).then(|| name.clone())
        };
        let mut features: Vec<String> = all.iter().filter_map(known).take(100).collect();
        features.sort_unstable();
        features
    });
    let system_id = params.text("system_id").filter(|it| !it.is_empty());
    MachineInfo {
        system_id: system_id
            .map_or_else(|| "<legacy>".to_owned(), |it| it.chars().take(64).collect()),
        name: text("name"),
        version: text("version"),
        revision: text("revision"),
        platform: text("platform"),
        architecture: text("architecture"),
        executor: text("executor"),
        features,
        ip_address: peer.map(|it| it.0.0.ip().to_string()).unwrap_or_default(),
        memory_bytes: offer_of(params).as_ref().map(memory::most),
    }
}

/// Reads what a machine says of its memory.
fn offer_of(params: &Params) -> Option<Offer> {
    params.value("memory").and_then(memory::offer)
}

/// What a job's token opens.
enum Access {
    /// A runner works on the job.
    Open(Held),
    /// The job ended, or the token is not its own.
    Closed(Option<Held>),
}

/// Judges a job's token.
async fn access(ci: &Ci, job: JobId, token: &str) -> Result<Access, CiError> {
    Ok(match ci.find_held(job, token).await? {
        Some(held) if held.state.runner().is_some() => Access::Open(held),
        held => Access::Closed(held),
    })
}

/// Answers about a job with its status, which tells the runner to go on, to stop the script, or to drop everything.
fn answer(status: StatusCode, job: Status) -> Response {
    let mut response = (status, status.as_str().to_owned()).into_response();
    with_status(&mut response, job);
    response
}

fn with_status(response: &mut Response, job: Status) {
    let headers = response.headers_mut();
    headers.insert(JOB_STATUS, HeaderValue::from_static(job.label()));
    headers.insert(INTERVAL, HeaderValue::from_static(INTERVAL_SECS));
    headers.insert(LIVE, HeaderValue::from_static("1"));
}

/// Refuses a runner that works on something that is not its own any more.
fn closed(held: Option<&Held>) -> Response {
    match held {
        Some(held) => answer(StatusCode::FORBIDDEN, visible(held.state)),
        None => HttpError::new(StatusCode::FORBIDDEN, "403 Forbidden").into_response(),
    }
}

/// The status that a runner sees: a job that it has but did not start is pending to others, not to it.
fn visible(state: JobState) -> Status {
    match state {
        JobState::Assigned { .. } => Status::Running,
        state => state.status(),
    }
}
