//! Artifacts for clients: archives, single files out of them, by job or by ref.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use rave_core::id::JobId;
use rave_core::permission::{Access, ManageProject, ReadPipelines, RunPipelines};
use rave_http::{Authorized, HttpError, Params};
use serde_json::json;

use super::numbers::PathParams;
use super::{State, jobs, streams};
use crate::service::Ci;

async fn archive(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    job: JobId,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let artifact = ci.find_artifact(access, job, "archive").await?;
    streams::archive(ci, &artifact, headers).await
}

async fn file_of(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    job: JobId,
    path: &str,
) -> Result<Response, HttpError> {
    let artifact = ci.find_artifact(access, job, "archive").await?;
    let file = ci.open_archive_file(&artifact, path).await?;
    Ok(streams::archive_file(file))
}

/// `GET /projects/:id/jobs/:job_id/artifacts`.
pub(crate) async fn download(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    archive(&ci, &access, path.job()?, &headers).await
}

/// `GET /projects/:id/jobs/:job_id/artifacts/*path`.
pub(crate) async fn file(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    file_of(&ci, &access, path.job()?, path.text("path")).await
}

/// `GET /projects/:id/jobs/artifacts/:ref/download?job=`: of the latest successful pipeline of the ref.
pub(crate) async fn download_of_ref(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    let name = params.need_text("job");
    params.check()?;
    let job = ci.find_job_of_ref(&access, path.text("ref"), &name).await?;
    archive(&ci, &access, job.id, &headers).await
}

/// `GET /projects/:id/jobs/artifacts/:ref/raw/*path?job=`.
pub(crate) async fn file_of_ref(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let name = params.need_text("job");
    params.check()?;
    let job = ci.find_job_of_ref(&access, path.text("ref"), &name).await?;
    file_of(&ci, &access, job.id, path.text("path")).await
}

/// `POST /projects/:id/jobs/:job_id/artifacts/keep`.
pub(crate) async fn keep(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let job = ci.keep_artifacts(&access, path.job()?).await?;
    let read = access
        .also::<ReadPipelines>()
        .map_err(|denied| HttpError::denied(&denied, access.principal()))?;
    Ok(Json(jobs::shape(&ci, &read, &job).await?).into_response())
}

/// `DELETE /projects/:id/jobs/:job_id/artifacts`.
pub(crate) async fn delete(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<StatusCode, HttpError> {
    ci.delete_artifacts(&access, path.job()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /projects/:id/artifacts`: those that are not kept on purpose, for those who manage the project.
pub(crate) async fn delete_all(
    ci: State,
    Authorized(_manage): Authorized<ManageProject>,
    Authorized(access): Authorized<RunPipelines>,
) -> Result<Response, HttpError> {
    ci.delete_all_artifacts(&access).await?;
    let body = json!({ "message": "202 Accepted" });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}
