//! `PATCH /jobs/:id/trace`: the log arrives piece by piece, each with its offset.

use axum::body::Bytes;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use rave_core::job::{FailureReason, JobState};
use rave_http::HttpError;

use super::{Access, access, answer, closed, token_of, visible};
use crate::api::State;
use crate::api::numbers::PathParams;
use crate::error::CiError;
use crate::service::act::Word;
use crate::service::log::Appended;
use crate::store::job::Held;

/// Appends a piece. Its place is where it begins and its length: old runners send an end that is one too far.
pub(crate) async fn append(
    ci: State,
    path: PathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, HttpError> {
    let job = path.job()?;
    let token = token_of(&headers, "job-token", None);
    let mut held = match access(&ci, job, &token).await? {
        Access::Open(held) => held,
        Access::Closed(held) => return Ok(closed(held.as_ref())),
    };
    let start = start_of(&headers)
        .ok_or_else(|| HttpError::bad_request("400 Bad request - Missing header Content-Range"))?;
    if matches!(held.state, JobState::Assigned { .. }) {
        // A log is a first word too. If another word came first, the job runs all the same.
        match ci.hear(&held, Word::Working).await {
            Ok(_) | Err(CiError::Refused(_) | CiError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        held = match access(&ci, job, &token).await? {
            Access::Open(held) => held,
            Access::Closed(held) => return Ok(closed(held.as_ref())),
        };
    }
    ci.note_work(&held).await?;
    if query.is_some_and(|it| it.split('&').any(|it| it == "debug_trace=true")) {
        ci.mark_debug_log(job).await?;
    }
    if body.is_empty() {
        ci.touch(&held).await?;
        return Ok(sized(&held, StatusCode::ACCEPTED, held.trace_bytes));
    }
    match ci.append_log(&held, start, body).await? {
        Appended::Size(size) => Ok(sized(&held, StatusCode::ACCEPTED, size)),
        Appended::Mismatch(size) => Ok(sized(&held, StatusCode::RANGE_NOT_SATISFIABLE, size)),
        Appended::Ended => match access(&ci, job, &token).await? {
            Access::Open(held) | Access::Closed(Some(held)) => Ok(closed(Some(&held))),
            Access::Closed(None) => Ok(closed(None)),
        },
        Appended::TooLong => {
            let word = Word::Failed {
                reason: FailureReason::TraceSizeExceeded,
                exit_code: None,
            };
            let state = ci.hear(&held, word).await?;
            Ok(answer(StatusCode::FORBIDDEN, visible(state)))
        }
    }
}

fn start_of(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let range = range.trim().trim_start_matches("bytes").trim();
    range.split_once('-')?.0.trim().parse().ok()
}

/// Answers with the size of the log, which is not its last offset.
fn sized(held: &Held, status: StatusCode, size: u64) -> Response {
    let mut response = answer(status, visible(held.state));
    if let Ok(range) = HeaderValue::from_str(&format!("0-{size}")) {
        response.headers_mut().insert(header::RANGE, range);
    }
    response
}
