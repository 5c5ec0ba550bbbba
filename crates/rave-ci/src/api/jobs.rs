//! Jobs for clients.

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use rave_core::job::Status;
use rave_core::permission::{Access, ReadPipelines, RunPipelines};
use rave_core::waiting::Reason;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use super::pipelines::{inputs_of, variables_of};
use super::shapes::Shaper;
use crate::model::Job;
use crate::service::Ci;
use crate::store::job::JobFilter;
use crate::store::labels_of;

/// How much of a log is in memory at once while it is sent.
const PIECE: usize = 256 * 1024;

/// `GET /projects/:id/jobs`.
pub(crate) async fn list(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let filter = JobFilter {
        include_retried: true,
        ..filter(&mut params)?
    };
    answer_list(&ci, &access, filter, &pagination).await
}

/// `GET /projects/:id/pipelines/:pipeline_id/jobs`.
pub(crate) async fn list_of_pipeline(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let pipeline = ci.load_pipeline(&access, path.pipeline()?).await?;
    let filter = JobFilter {
        pipeline: Some(pipeline.id),
        ..filter(&mut params)?
    };
    answer_list(&ci, &access, filter, &pagination).await
}

pub(super) fn filter(params: &mut Params) -> Result<JobFilter, HttpError> {
    let mut status = Vec::new();
    for scope in params.list("scope") {
        let found = Status::from_label(&scope).ok_or_else(|| {
            HttpError::bad_request("scope does not have a valid value")
                .body(json!({ "error": "scope does not have a valid value" }))
        })?;
        status.extend_from_slice(labels_of(found));
    }
    let include_retried = params.bool("include_retried").unwrap_or(false);
    params.check()?;
    Ok(JobFilter {
        pipeline: None,
        status,
        include_retried,
        bridges: Some(false),
    })
}

async fn answer_list(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    filter: JobFilter,
    pagination: &Pagination,
) -> Result<Response, HttpError> {
    let page = ci.list_jobs(access, filter, pagination.slice()).await?;
    let shaper = Shaper::of_jobs(ci, access, &page.items).await?;
    let items: Vec<Value> = page.items.iter().map(|it| shaper.job(it)).collect();
    Ok(pagination.json(&items, page.total))
}

/// Returns one job in its shape.
pub(crate) async fn shape(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    job: &Job,
) -> Result<Value, HttpError> {
    let shaper = Shaper::of_jobs(ci, access, std::slice::from_ref(job)).await?;
    Ok(shaper.job(job))
}

/// `GET /projects/:id/jobs/:job_id`.
pub(crate) async fn show(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let job = ci.load_job(&access, path.job()?).await?;
    let mut value = shape(&ci, &access, &job).await?;
    value["waits_for"] = waits_for(&ci, &access, &job).await?;
    Ok(Json(value).into_response())
}

/// Says why a job does not run yet, `null` when it does or has ended. GitLab has nothing like it.
async fn waits_for(ci: &Ci, access: &Access<ReadPipelines>, job: &Job) -> Result<Value, HttpError> {
    if job.retried || job.status().is_finished() {
        return Ok(Value::Null);
    }
    let present = ci.pipeline_jobs(access, job.pipeline, false).await?;
    let Some(reason) = ci.why_waiting(access, job, &present).await? else {
        return Ok(Value::Null);
    };
    let stages = ci.load_pipeline(access, job.pipeline).await?.stages;
    let stage = |it: usize| stages.get(it).map_or("", String::as_str);
    let jobs = reason.jobs().iter().map(|it| &present[*it]);
    let mut value = json!({
        "reason": reason.label(),
        "message": reason.sentence(|it| present[it].name.as_str(), stage),
        "jobs": jobs.map(|it| json!({ "id": it.id.0, "name": it.name, "status": it.status().label() })).collect::<Vec<_>>(),
    });
    match &reason {
        Reason::Stages { stages, .. } => {
            value["stages"] = stages.iter().map(|it| stage(*it)).collect();
        }
        Reason::Until { at } => value["until"] = json!(at.rfc3339()),
        _ => {}
    }
    Ok(value)
}

/// `GET …/trace`: the log as it is now, with its escape sequences.
pub(crate) async fn trace(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let job = path.job()?;
    // The first piece tells whether there is a job at all.
    let first = ci.read_log(&access, job, 0, PIECE).await?;
    let size = first.size_bytes;
    let ci = ci.0.clone();
    let pieces = stream::unfold((Some(first.bytes), 0), move |(first, from)| {
        let (ci, access) = (ci.clone(), access.clone());
        async move {
            let bytes = match first {
                Some(bytes) => Ok(bytes),
                None if from >= size => return None,
                None => ci
                    .read_log(&access, job, from, PIECE)
                    .await
                    .map(|it| it.bytes),
            };
            match bytes {
                Ok(bytes) if bytes.is_empty() => None,
                Ok(bytes) => {
                    let next = from + bytes.len() as u64;
                    Some((Ok(Bytes::from(bytes)), (None, next)))
                }
                Err(error) => Some((Err(std::io::Error::other(error)), (None, size))),
            }
        }
    });
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, Body::from_stream(pieces)).into_response())
}

/// Answers with a job as it is after what a person asked for.
async fn answer_job(
    ci: &Ci,
    access: &Access<RunPipelines>,
    job: &Job,
) -> Result<Response, HttpError> {
    let read = access
        .also::<ReadPipelines>()
        .map_err(|denied| HttpError::denied(&denied, access.principal()))?;
    let body = shape(ci, &read, job).await?;
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `POST …/play`.
pub(crate) async fn play(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
    params: Params,
) -> Result<Response, HttpError> {
    let variables = variables_of(params.value("job_variables_attributes"))?;
    let inputs = inputs_of(params.value("job_inputs"))?;
    let job = ci.play_job(&access, path.job()?, variables, inputs);
    let job = job.await?;
    answer_job(&ci, &access, &job).await
}

/// `POST …/retry`.
pub(crate) async fn retry(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let job = ci.retry_job(&access, path.job()?).await?;
    answer_job(&ci, &access, &job).await
}

/// `POST …/cancel`.
pub(crate) async fn cancel(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let force = params.bool("force").unwrap_or(false);
    params.check()?;
    let job = ci.cancel_job(&access, path.job()?, force).await?;
    answer_job(&ci, &access, &job).await
}

/// `POST …/erase`.
pub(crate) async fn erase(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let job = ci.erase_job(&access, path.job()?).await?;
    answer_job(&ci, &access, &job).await
}
