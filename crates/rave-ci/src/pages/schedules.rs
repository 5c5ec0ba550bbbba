//! The pages of schedules: the list, the form, and what their buttons do.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::html;
use rave_core::permission::{Access, ManageProject, ReadPipelines, Role, RunPipelines};
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Pagination, Params};

use super::base::{self, Base};
use super::input_fields::reading_at;
use super::list_view;
use super::schedule_view::{self, ScheduleForm, ScheduleRow};
use super::variable_rows;
use crate::api::numbers::PathParams;
use crate::error::CiError;
use crate::service::Ci;
use crate::service::schedules::{ScheduleChange, owns};

type Run = Authorized<RunPipelines>;

fn base_of(page: &Page, access: &Access<RunPipelines>) -> Base {
    Base {
        root: page.href(""),
        href: page.project_href(access.project(), ""),
        may_run: true,
    }
}

fn to_list(page: &Page, access: &Access<RunPipelines>) -> Response {
    let target = page.project_href(access.project(), "/-/pipeline_schedules");
    Redirect::to(&target).into_response()
}

/// Lists the schedules of a project.
pub(super) async fn list(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    pagination: Pagination,
    page: Page,
) -> Result<Response, HttpError> {
    let found = ci.list_schedules(&access, None, pagination.slice()).await?;
    let people = base::people(&ci, found.items.iter().map(|it| Some(it.0.owner))).await?;
    let base = base::of(&page, &access);
    let manages = access.is_at_least(Role::Maintainer);
    let rows: Vec<ScheduleRow> = found
        .items
        .into_iter()
        .map(|(schedule, last)| ScheduleRow {
            own: owns(&access, &schedule),
            manages,
            schedule,
            last,
        })
        .collect();
    let content = html! {
        (schedule_view::list(&base, &rows, &people))
        (list_view::pager(&pagination, found.total, &format!("{}?", schedule_view::href(&base))))
    };
    let chrome = base::chrome(&access, Tab::Pipelines);
    Ok(page.render("Schedules", &chrome, &content))
}

/// Shows the form for another schedule.
pub(super) async fn new(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    page: Page,
) -> Result<Response, HttpError> {
    let mut form = ScheduleForm::new(&access.project().default_branch);
    ask(&ci, &access, &mut form).await?;
    Ok(render(&access, &page, None, &form, StatusCode::OK))
}

/// Asks for the inputs of the file at the form's ref.
async fn ask(
    ci: &Ci,
    access: &Access<RunPipelines>,
    form: &mut ScheduleForm,
) -> Result<(), CiError> {
    if let Some(reading) = reading_at(ci, access, &form.ref_name, Vec::new()).await? {
        form.inputs.ask(reading.inputs);
    }
    Ok(())
}

/// Shows the form of a schedule.
pub(super) async fn edit(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    path: PathParams,
    page: Page,
) -> Result<Response, HttpError> {
    let (schedule, _) = ci.load_schedule(&access, path.schedule()?).await?;
    let Some(given) = ci.given_of(&access, &schedule)? else {
        return Err(HttpError::forbidden(
            "only its owner changes a schedule; take ownership first",
        ));
    };
    let mut form = ScheduleForm::of(&schedule, &given);
    ask(&ci, &access, &mut form).await?;
    let status = StatusCode::OK;
    Ok(render(&access, &page, Some(schedule.id), &form, status))
}

fn render(
    access: &Access<RunPipelines>,
    page: &Page,
    id: Option<i64>,
    form: &ScheduleForm,
    status: StatusCode,
) -> Response {
    let content = schedule_view::form(&base_of(page, access), id, form);
    let title = if id.is_some() {
        "Edit schedule"
    } else {
        "New schedule"
    };
    let chrome = base::chrome(access, Tab::Pipelines);
    page.render_status(status, title, &chrome, &content)
}

/// Makes a schedule.
pub(super) async fn create(
    ci: State<Arc<Ci>>,
    access: Run,
    page: Page,
    params: Params,
) -> Result<Response, HttpError> {
    save(&ci, &access.0, &page, None, params).await
}

/// Changes a schedule.
pub(super) async fn update(
    ci: State<Arc<Ci>>,
    access: Run,
    path: PathParams,
    page: Page,
    params: Params,
) -> Result<Response, HttpError> {
    save(&ci, &access.0, &page, Some(path.schedule()?), params).await
}

async fn save(
    ci: &Ci,
    access: &Access<RunPipelines>,
    page: &Page,
    id: Option<i64>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let mut form = ScheduleForm::read(&mut params);
    form.problems = variable_rows::problems(&form.variables);
    ask(ci, access, &mut form).await?;
    let known = ci.forge.resolve(access.project().id, &form.ref_name).await;
    if !matches!(known.map_err(CiError::from)?, Some((_, Some(_)))) {
        let problem = format!("There is no branch or tag `{}`.", form.ref_name);
        form.problems.push(problem);
    }
    if form.problems.is_empty() {
        let change = ScheduleChange {
            description: Some(form.description.clone()),
            ref_name: Some(form.ref_name.clone()),
            cron: Some(form.cron.clone()),
            timezone: Some(form.timezone.clone()),
            active: Some(form.active),
            variables: Some(form.variables.iter().map(|it| it.variable()).collect()),
            inputs: Some(form.inputs.given()),
        };
        let saved = match id {
            Some(id) => ci.update_schedule(access, id, change).await,
            None => ci.create_schedule(access, change).await.map(drop),
        };
        match saved {
            Ok(()) => return Ok(to_list(page, access)),
            Err(CiError::Rejected(list)) => {
                form.problems = list.iter().map(schedule_view::explain).collect();
            }
            Err(error) => return Err(error.into()),
        }
    }
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(render(access, page, id, &form, status))
}

/// Runs a schedule now.
pub(super) async fn play(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    path: PathParams,
    page: Page,
) -> Result<Response, HttpError> {
    ci.play_schedule(&access, path.schedule()?).await?;
    Ok(to_list(&page, &access))
}

/// Makes a schedule the visitor's own.
pub(super) async fn take_ownership(
    State(ci): State<Arc<Ci>>,
    Authorized(manage): Authorized<ManageProject>,
    path: PathParams,
    page: Page,
) -> Result<Response, HttpError> {
    ci.take_schedule(&manage, path.schedule()?).await?;
    let target = page.project_href(manage.project(), "/-/pipeline_schedules");
    Ok(Redirect::to(&target).into_response())
}

/// Deletes a schedule.
pub(super) async fn delete(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Run,
    path: PathParams,
    page: Page,
) -> Result<Response, HttpError> {
    ci.delete_schedule(&access, path.schedule()?).await?;
    Ok(to_list(&page, &access))
}
