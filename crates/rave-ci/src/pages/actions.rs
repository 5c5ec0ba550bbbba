//! What buttons do. Each ends with a redirect to the page it was pressed on, or to what it made.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use rave_core::permission::{Access, RunPipelines};
use rave_http::{Authorized, HttpError, Page, Params};

use super::input_fields::InputFields;
use super::jobs::job_id;
use super::pipelines::pipeline_id;
use crate::service::Ci;

type Run = Authorized<RunPipelines>;

/// Stops what has not ended in a pipeline.
pub(super) async fn cancel_pipeline(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    let pipeline = ci.cancel_pipeline(&access, pipeline_id(&id)?).await?;
    Ok(to(&page, &access, &format!("/-/pipelines/{}", pipeline.id)))
}

/// Tries again what failed in a pipeline.
pub(super) async fn retry_pipeline(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    let pipeline = ci.retry_pipeline(&access, pipeline_id(&id)?).await?;
    Ok(to(&page, &access, &format!("/-/pipelines/{}", pipeline.id)))
}

/// Stops a job.
pub(super) async fn cancel_job(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    Path(id): Path<String>,
    page: Page,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let job = ci.cancel_job(&access, job_id(&id)?, false).await?;
    Ok(back(
        &page,
        &access,
        &headers,
        &format!("/-/jobs/{}", job.id),
    ))
}

/// Tries a job again.
pub(super) async fn retry_job(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    Path(id): Path<String>,
    page: Page,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let job = ci.retry_job(&access, job_id(&id)?).await?;
    Ok(back(
        &page,
        &access,
        &headers,
        &format!("/-/jobs/{}", job.id),
    ))
}

/// Starts a manual or delayed job.
pub(super) async fn play_job(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    Path(id): Path<String>,
    page: Page,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, HttpError> {
    let inputs = InputFields::read(&params).texts();
    let job = ci
        .play_job(&access, job_id(&id)?, Vec::new(), inputs)
        .await?;
    Ok(back(
        &page,
        &access,
        &headers,
        &format!("/-/jobs/{}", job.id),
    ))
}

/// Lets a delayed job wait for a person.
pub(super) async fn unschedule_job(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    Path(id): Path<String>,
    page: Page,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let job = ci.unschedule_job(&access, job_id(&id)?).await?;
    Ok(back(
        &page,
        &access,
        &headers,
        &format!("/-/jobs/{}", job.id),
    ))
}

/// Erases a job's log and artifacts.
pub(super) async fn erase_job(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    let job = ci.erase_job(&access, job_id(&id)?).await?;
    Ok(to(&page, &access, &format!("/-/jobs/{}", job.id)))
}

fn to(page: &Page, access: &Access<RunPipelines>, tail: &str) -> Response {
    Redirect::to(&page.project_href(access.project(), tail)).into_response()
}

/// Returns to the list or pipeline that the button was on; from the page of a job to `tail`, which may be another job.
fn back(page: &Page, access: &Access<RunPipelines>, headers: &HeaderMap, tail: &str) -> Response {
    let project = page.project_href(access.project(), "/-/");
    let referer = headers.get(header::REFERER).and_then(|it| it.to_str().ok());
    match referer.and_then(|it| page_of(it, &project)) {
        Some(path) => Redirect::to(path).into_response(),
        None => to(page, access, tail),
    }
}

/// Returns the path of a referring page of the project, unless it is the page of one job.
fn page_of<'a>(referer: &'a str, project: &str) -> Option<&'a str> {
    let after_scheme = referer.find("://")? + 3;
    let path = &referer[after_scheme + referer[after_scheme..].find('/')?..];
    let tail = path.strip_prefix(project)?;
    (tail.starts_with("pipelines") || tail == "jobs" || tail.starts_with("jobs?")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_leads_back_to_the_list_it_was_on() {
        let check = |referer, expected| assert_eq!(page_of(referer, "/team/app/-/"), expected);
        check(
            "http://x:8080/team/app/-/pipelines/3",
            Some("/team/app/-/pipelines/3"),
        );
        check(
            "https://x/team/app/-/jobs?scope=running",
            Some("/team/app/-/jobs?scope=running"),
        );
        check("https://x/team/app/-/jobs/5", None);
        check("https://x/team/other/-/pipelines/3", None);
        check("https://evil//team/app/-/pipelines", None);
        check("nonsense", None);
    }
}
