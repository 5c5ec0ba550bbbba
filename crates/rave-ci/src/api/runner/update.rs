//! `PUT /jobs/:id`: the runner's first word, its signs of life and its result.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use rave_core::job::{FailureReason, JobState, Status};
use rave_http::{HttpError, Params};

use super::{Access, access, answer, closed, token_of, visible};
use crate::api::State;
use crate::api::numbers::PathParams;
use crate::error::CiError;
use crate::service::act::Word;
use crate::store::job::Held;
use crate::usage::Usage;

/// Notes what the runner says.
pub(crate) async fn update(
    ci: State,
    path: PathParams,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    let job = path.job()?;
    let token = token_of(&headers, "job-token", Some(&mut params));
    let word = word_of(&mut params)?;
    let held = match access(&ci, job, &token).await? {
        Access::Open(held) => held,
        // The answer to the first of two equal results may have been lost.
        Access::Closed(Some(held)) if repeats(&held, word) => {
            return Ok(answer(StatusCode::OK, held.state.status()));
        }
        Access::Closed(held) => return Ok(closed(held.as_ref())),
    };
    compare_log(&held, &params, word);
    if let (false, Some(said)) = (word == Word::Working, params.value("usage"))
        && let Some(usage) = Usage::of(said)
    {
        ci.note_usage(&held, usage, word == Word::Succeeded).await?;
    }
    ci.note_work(&held).await?;
    match ci.hear(&held, word).await {
        Ok(state) => Ok(answer(StatusCode::OK, visible(state))),
        // Something else happened to the job in this moment, most likely a cancel: the runner hears of it.
        Err(CiError::Refused(_) | CiError::Conflict | CiError::Forbidden(_)) => {
            match access(&ci, job, &token).await? {
                Access::Open(held) => Ok(answer(StatusCode::CONFLICT, visible(held.state))),
                Access::Closed(held) => Ok(closed(held.as_ref())),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn word_of(params: &mut Params) -> Result<Word, HttpError> {
    let state = params.text("state").unwrap_or_default();
    let reason = params.text("failure_reason").filter(|it| !it.is_empty());
    let exit_code = params.int("exit_code");
    params.check()?;
    match state.as_str() {
        "" | "pending" | "running" => Ok(Word::Working),
        "success" => Ok(Word::Succeeded),
        "failed" => Ok(Word::Failed {
            reason: reason.map_or(FailureReason::ScriptFailure, |it| {
                FailureReason::from_label(&it)
            }),
            exit_code,
        }),
        _ => Err(HttpError::bad_request(
            "400 Bad request - state does not have a valid value",
        )),
    }
}

/// Whether a job that ended did so by the same word.
fn repeats(held: &Held, word: Word) -> bool {
    match word {
        Word::Working => false,
        Word::Succeeded => held.state == JobState::Success,
        Word::Failed { reason, .. } => held.state == JobState::Failed(reason),
    }
}

/// A log that differs from what the runner sent is noted and accepted, as GitLab does: the result counts more.
fn compare_log(held: &Held, params: &Params, word: Word) {
    let Some(output) = params.value("output").filter(|_| word != Word::Working) else {
        return;
    };
    let expected = format!("crc32:{:08x}", held.trace_crc);
    let bytes = output["bytesize"].as_u64();
    let differs = bytes.is_some_and(|it| it != held.trace_bytes)
        || output["checksum"].as_str().is_some_and(|it| it != expected);
    if differs && held.state.status() != Status::Canceling {
        tracing::warn!(
            job.id = held.job.0,
            stored_bytes = held.trace_bytes,
            sent_bytes = bytes,
            "the log differs from what the runner sent"
        );
    }
}
