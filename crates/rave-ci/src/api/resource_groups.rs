//! Resource groups for clients.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use rave_core::permission::{Access, ReadPipelines, RunPipelines};
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use super::shapes::Shaper;
use crate::model::{Job, ProcessMode, ResourceGroup};
use crate::service::Ci;

fn shape(group: &ResourceGroup) -> Value {
    json!({
        "id": group.id,
        "key": group.name,
        "process_mode": group.process_mode.label(),
        "created_at": group.created_at.rfc3339(),
        "updated_at": group.updated_at.rfc3339(),
    })
}

/// `GET /projects/:id/resource_groups`.
pub(crate) async fn list(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    pagination: Pagination,
) -> Result<Response, HttpError> {
    let groups = ci.resource_groups(&access).await?;
    let items: Vec<Value> = groups.iter().map(shape).collect();
    Ok(pagination.json(page(&items, &pagination), items.len() as u64))
}

/// `GET /projects/:id/resource_groups/:key`.
pub(crate) async fn show(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let group = ci.load_resource_group(&access, path.text("key")).await?;
    Ok(Json(shape(&group)).into_response())
}

/// `PUT /projects/:id/resource_groups/:key`.
pub(crate) async fn update(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let mode = params.choice("process_mode", ProcessMode::from_label);
    params.check()?;
    let key = path.text("key");
    let group = match mode {
        Some(mode) => ci.put_process_mode(&access, key, mode).await?,
        None => ci.load_resource_group(&access, key).await?,
    };
    Ok(Json(shape(&group)).into_response())
}

/// `GET …/upcoming_jobs`: those that will get the resource, in order.
pub(crate) async fn upcoming_jobs(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
    pagination: Pagination,
) -> Result<Response, HttpError> {
    let group = ci.load_resource_group(&access, path.text("key")).await?;
    let jobs = ci.upcoming_jobs(&group).await?;
    let items = shapes(&ci, &access, &jobs).await?;
    Ok(pagination.json(page(&items, &pagination), items.len() as u64))
}

/// `GET …/current_job`: the one that has the resource.
pub(crate) async fn current_job(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let group = ci.load_resource_group(&access, path.text("key")).await?;
    let holder = ci.find_holder(&group).await?;
    let holder = holder.ok_or_else(|| HttpError::not_found("Job"))?;
    let mut items = shapes(&ci, &access, std::slice::from_ref(&holder)).await?;
    Ok(Json(items.pop()).into_response())
}

async fn shapes(
    ci: &Ci,
    access: &Access<RunPipelines>,
    jobs: &[Job],
) -> Result<Vec<Value>, HttpError> {
    let read = access
        .also::<ReadPipelines>()
        .map_err(|denied| HttpError::denied(&denied, access.principal()))?;
    let shaper = Shaper::of_jobs(ci, &read, jobs).await?;
    Ok(jobs.iter().map(|it| shaper.job(it)).collect())
}

/// Returns the asked part of a list that is always loaded as a whole.
fn page<'a>(items: &'a [Value], pagination: &Pagination) -> &'a [Value] {
    let slice = pagination.slice();
    let from = usize::try_from(slice.offset)
        .unwrap_or(usize::MAX)
        .min(items.len());
    let length = usize::try_from(slice.limit)
        .unwrap_or(usize::MAX)
        .min(items.len() - from);
    &items[from..from + length]
}
