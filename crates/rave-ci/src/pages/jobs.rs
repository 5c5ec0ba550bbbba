//! The pages of jobs: the list, one job with its log, and the raw log.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use maud::html;
use rave_core::id::JobId;
use rave_core::permission::{Access, ReadPipelines, Role};
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Pagination, Params};

use super::base::{self, Base};
use super::input_fields::InputFields;
use super::job_view::JobView;
use super::{list_view, log_page, queries};
use crate::error::CiError;
use crate::model::Job;
use crate::service::Ci;
use crate::store::job::JobFilter;

/// Reads a job's id out of an address.
pub(super) fn job_id(text: &str) -> Result<JobId, HttpError> {
    text.parse()
        .map(JobId)
        .map_err(|_| HttpError::not_found("Job"))
}

/// Returns a job of the project.
pub(super) async fn find(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    id: JobId,
) -> Result<Job, CiError> {
    ci.load_job(access, id).await
}

/// Lists the jobs of a project.
pub(super) async fn list(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    pagination: Pagination,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let scope = params
        .text("scope")
        .and_then(|it| SCOPES.iter().find(|(name, _)| *name == it));
    let filter = JobFilter {
        pipeline: None,
        status: scope.map(|(_, states)| states.to_vec()).unwrap_or_default(),
        include_retried: true,
        bridges: None,
    };
    let found = ci.list_jobs(&access, filter, pagination.slice()).await?;
    let people = base::people(&ci, found.items.iter().map(|it| it.user)).await?;
    let base = base::of(&page, &access);
    let name = scope.map(|(name, _)| *name);
    let address = match name {
        Some(name) => format!("{}/-/jobs?scope={name}&", base.href),
        None => format!("{}/-/jobs?", base.href),
    };
    let content = html! {
        (list_view::jobs(&base, &found.items, &people, name, ci.now()))
        (list_view::pager(&pagination, found.total, &address))
    };
    Ok(page.render("Jobs", &base::chrome(&access, Tab::Jobs), &content))
}

/// The choices above the list, with the stored names of states.
const SCOPES: [(&str, &[&str]); 3] = [
    (
        "pending",
        &[
            "pending",
            "assigned",
            "triggering",
            "waiting_for_resource",
            "created",
            "manual",
            "scheduled",
        ],
    ),
    ("running", &["running", "canceling", "following", "blocked"]),
    ("finished", &["success", "failed", "canceled", "skipped"]),
];

/// Shows a job.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    let id = job_id(&id)?;
    let title = load_commit_title(&ci, &access, id).await?;
    let mut view = load(&ci, &access, base::of(&page, &access), id, &title).await?;
    let ended = view.job.status().is_finished();
    let log = match may_read_log(&ci, &access, id).await? {
        true => Some(log_page::render(&ci, &access, id, view.job.trace_bytes, ended).await?),
        false => None,
    };
    let seen = super::live::seen(&mut view);
    let live = log.as_ref().filter(|it| !it.view.complete).map(|log| {
        let (address, from) = (view.base.job(id), log.renderer.offset());
        format!("{address}/live?from={from}&seen={seen}")
    });
    let content = view.page(log.as_ref().map(|it| &it.view), live.as_deref());
    let title = format!("{} #{id}", view.job.name);
    Ok(page.render(&title, &base::chrome(&access, Tab::Jobs), &content))
}

/// Returns the title of a job's commit.
pub(super) async fn load_commit_title(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    id: JobId,
) -> Result<String, CiError> {
    let job = find(ci, access, id).await?;
    let pipeline = ci.load_pipeline(access, job.pipeline).await?;
    Ok(base::commit_title(ci, job.project, &pipeline.sha).await)
}

/// Loads everything that a job's page shows, the log excepted.
pub(super) async fn load(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    base: Base,
    id: JobId,
    commit_title: &str,
) -> Result<JobView, HttpError> {
    let job = find(ci, access, id).await?;
    let all = ci.pipeline_jobs(access, job.pipeline, true).await?;
    let tries: Vec<Job> = all
        .iter()
        .filter(|it| it.position == job.position)
        .cloned()
        .collect();
    let siblings: Vec<Job> = all.into_iter().filter(|it| !it.retried).collect();
    let mut extras = ci.job_extras(access, std::slice::from_ref(&job)).await?;
    let (artifacts_gone, _) = leftovers(ci, id).await?;
    let missing = || HttpError::not_found("Pipeline");
    let waiting = ci.why_waiting(access, &job, &siblings).await?;
    let mut inputs = InputFields::default();
    if job.is_playable() {
        inputs.ask(ci.inputs_of_job(&job).await?);
    }
    Ok(JobView {
        reports: ci.job_reports(id).await?,
        // That caches cannot say is no reason to show no job.
        caches: ci.caches.used_by(id).await.unwrap_or_default(),
        resource: ci
            .resource_waits(std::slice::from_ref(&job))
            .await?
            .into_iter()
            .next()
            .flatten(),
        waiting,
        inputs,
        runner: job.runner.and_then(|it| extras.runners.remove(&it)),
        artifacts: extras.artifacts.remove(&id).unwrap_or_default(),
        pipeline: extras.pipelines.remove(&job.pipeline).ok_or_else(missing)?,
        people: base::people(ci, [job.user].into_iter()).await?,
        commit_title: commit_title.to_owned(),
        now: ci.now(),
        links: ci.links(access, std::slice::from_ref(&job)).await?,
        artifacts_gone,
        siblings,
        tries,
        base,
        job,
    })
}

async fn leftovers(ci: &Ci, id: JobId) -> Result<(bool, bool), CiError> {
    ci.db
        .read("ci_page_leftovers", move |tx| {
            Ok(queries::leftovers(tx, id)?)
        })
        .await
}

/// Whether the caller may read a job's log. One that was written in debug mode shows every variable of the job.
pub(super) async fn may_read_log(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    id: JobId,
) -> Result<bool, CiError> {
    let (_, debug) = leftovers(ci, id).await?;
    Ok(!debug || access.is_at_least(Role::Developer))
}

/// Answers with a job's log as the runner sent it.
pub(super) async fn raw(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    let id = job_id(&id)?;
    let job = find(&ci, &access, id).await?;
    if !may_read_log(&ci, &access, id).await? {
        return Err(HttpError::forbidden(
            "this log was written in debug mode: only developers of the project may read it",
        ));
    }
    let size = job.trace_bytes;
    let pieces = stream::try_unfold((ci, access, 0_u64), move |(ci, access, from)| async move {
        if from >= size {
            return Ok::<_, CiError>(None);
        }
        let mut bytes = ci.read_log(&access, id, from, log_page::PIECE).await?.bytes;
        bytes.truncate(usize::try_from(size - from).unwrap_or(usize::MAX));
        let next = from + bytes.len() as u64;
        // A log that was erased meanwhile ends early.
        Ok((!bytes.is_empty()).then(|| (Bytes::from(bytes), (ci, access, next))))
    });
    Ok(super::artifacts::raw_log(Body::from_stream(pieces), size))
}
