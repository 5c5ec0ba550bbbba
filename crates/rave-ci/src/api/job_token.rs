//! `GET /job`: the job whose token makes the request.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use rave_core::permission::{Principal, ReadPipelines, decide};
use rave_core::port::ProjectRef;
use rave_http::{Caller, HttpError};

use super::State;
use super::jobs::shape;

/// Answers with the caller's own job.
pub(crate) async fn show(ci: State, Caller(principal): Caller) -> Result<Response, HttpError> {
    let Principal::Job { job, project, .. } = principal else {
        return Err(HttpError::unauthorized());
    };
    let facts = ci
        .directory
        .find_project(&principal, &ProjectRef::Id(project))
        .await?;
    let facts = facts.ok_or_else(|| HttpError::not_found("Job"))?;
    let access = decide::<ReadPipelines>(&principal, facts)
        .map_err(|denied| HttpError::denied(&denied, &principal))?;
    let job = ci.load_job(&access, job).await?;
    Ok(Json(shape(&ci, &access, &job).await?).into_response())
}
