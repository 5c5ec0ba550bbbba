//! Pipeline schedules for clients.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_ci_lang::{InputValue, Variable};
use rave_core::permission::{Access, Action, ManageProject, ReadPipelines, RunPipelines};
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use super::pipelines::inputs_of;
use super::shapes::{Shaper, extend};
use crate::error::CiError;
use crate::model::{Pipeline, PipelineFilter};
use crate::service::Ci;
use crate::service::schedules::ScheduleChange;
use crate::store::schedule::Schedule;

type Read = Authorized<ReadPipelines>;
type Run = Authorized<RunPipelines>;

/// `GET /projects/:id/pipeline_schedules`.
pub(crate) async fn list(
    ci: State,
    Authorized(access): Read,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let active = params.choice("scope", |it| match it {
        "active" => Some(true),
        "inactive" => Some(false),
        _ => None,
    });
    params.check()?;
    let page = ci
        .list_schedules(&access, active, pagination.slice())
        .await?;
    let owners = page.items.iter().map(|it| it.0.owner);
    let shaper = Shaper::of_users(&ci, access.project(), owners).await?;
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|(it, _)| summary(&shaper, it))
        .collect();
    Ok(pagination.json(&items, page.total))
}

/// `GET …/:pipeline_schedule_id`.
pub(crate) async fn show(
    ci: State,
    Authorized(access): Read,
    path: PathParams,
) -> Result<Response, HttpError> {
    answer(&ci, &access, path.schedule()?, StatusCode::OK).await
}

/// `POST …`.
pub(crate) async fn create(
    ci: State,
    Authorized(access): Run,
    mut params: Params,
) -> Result<Response, HttpError> {
    for name in ["description", "ref", "cron"] {
        params.need_text(name);
    }
    let change = change(&mut params)?;
    let id = ci.create_schedule(&access, change).await?;
    answer(&ci, &access, id, StatusCode::CREATED).await
}

/// `PUT …/:pipeline_schedule_id`.
pub(crate) async fn update(
    ci: State,
    Authorized(access): Run,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let id = path.schedule()?;
    let change = change(&mut params)?;
    ci.update_schedule(&access, id, change).await?;
    answer(&ci, &access, id, StatusCode::OK).await
}

/// `DELETE …/:pipeline_schedule_id`.
pub(crate) async fn delete(
    ci: State,
    Authorized(access): Run,
    path: PathParams,
) -> Result<StatusCode, HttpError> {
    ci.delete_schedule(&access, path.schedule()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/play`: the pipeline comes a moment later.
pub(crate) async fn play(
    ci: State,
    Authorized(access): Run,
    path: PathParams,
) -> Result<Response, HttpError> {
    ci.play_schedule(&access, path.schedule()?).await?;
    let body = json!({ "message": "201 Created" });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `POST …/take_ownership`.
pub(crate) async fn take_ownership(
    ci: State,
    Authorized(access): Authorized<ManageProject>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let id = path.schedule()?;
    ci.take_schedule(&access, id).await?;
    answer(&ci, &access, id, StatusCode::CREATED).await
}

/// `GET …/pipelines`.
pub(crate) async fn pipelines(
    ci: State,
    Authorized(access): Read,
    path: PathParams,
    pagination: Pagination,
) -> Result<Response, HttpError> {
    let (schedule, _) = ci.load_schedule(&access, path.schedule()?).await?;
    let filter = PipelineFilter {
        schedule: Some(schedule.id),
        ascending: true,
        ..PipelineFilter::default()
    };
    let page = ci
        .list_pipelines(&access, filter, pagination.slice())
        .await?;
    let shaper = Shaper::of_pipelines(&ci, &access, &page.items).await?;
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|it| shaper.pipeline_summary(it))
        .collect();
    Ok(pagination.json(&items, page.total))
}

/// `POST …/variables`.
pub(crate) async fn add_variable(
    ci: State,
    Authorized(access): Run,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let key = params.need_text("key");
    let value = params.text("value");
    if value.is_none() {
        params.need_text("value");
    }
    let file = file(&mut params);
    params.check()?;
    let new = Variable {
        key,
        value: value.unwrap_or_default(),
        file: file.unwrap_or(false),
        ..Variable::default()
    };
    let made = new.clone();
    ci.edit_given(&access, path.schedule()?, move |given| {
        if given.variables.iter().any(|it| it.key == new.key) {
            let why = "has already been taken".to_owned();
            return Err(CiError::Rejected(vec![("key", why)]));
        }
        given.variables.push(new);
        Ok(())
    })
    .await?;
    Ok((StatusCode::CREATED, Json(variable(&made))).into_response())
}

/// `PUT …/variables/:key`.
pub(crate) async fn update_variable(
    ci: State,
    Authorized(access): Run,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let (value, file) = (params.text("value"), file(&mut params));
    params.check()?;
    let key = path.text("key").to_owned();
    let changed = ci
        .edit_given(&access, path.schedule()?, move |given| {
            let found = given.variables.iter_mut().find(|it| it.key == key);
            let found = found.ok_or(CiError::NotFound("Variable"))?;
            found.value = value.unwrap_or_else(|| found.value.clone());
            found.file = file.unwrap_or(found.file);
            Ok(found.clone())
        })
        .await?;
    Ok(Json(variable(&changed)).into_response())
}

/// `DELETE …/variables/:key`.
pub(crate) async fn delete_variable(
    ci: State,
    Authorized(access): Run,
    path: PathParams,
) -> Result<Response, HttpError> {
    let key = path.text("key").to_owned();
    let removed = ci
        .edit_given(&access, path.schedule()?, move |given| {
            let at = given.variables.iter().position(|it| it.key == key);
            Ok(given
                .variables
                .remove(at.ok_or(CiError::NotFound("Variable"))?))
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(variable(&removed))).into_response())
}

fn file(params: &mut Params) -> Option<bool> {
    params.choice("variable_type", |it| match it {
        "env_var" => Some(false),
        "file" => Some(true),
        _ => None,
    })
}

fn change(params: &mut Params) -> Result<ScheduleChange, HttpError> {
    let change = ScheduleChange {
        description: params.text("description"),
        ref_name: params.text("ref"),
        cron: params.text("cron"),
        timezone: params.text("cron_timezone"),
        active: params.bool("active"),
        variables: None,
        inputs: match params.value("inputs") {
            None | Some(Value::Null) => None,
            some => Some(inputs_of(by_name(some).as_ref())?),
        },
    };
    params.check()?;
    Ok(change)
}

/// Inputs of schedules are a list of names and values; a map is taken as well.
fn by_name(value: Option<&Value>) -> Option<Value> {
    let Some(Value::Array(items)) = value else {
        return value.cloned();
    };
    let kept = items.iter().filter(|it| it["destroy"] != true);
    let named = kept.filter_map(|it| Some((it["name"].as_str()?.to_owned(), it["value"].clone())));
    Some(Value::Object(named.collect()))
}

async fn answer<A: Action>(
    ci: &Ci,
    access: &Access<A>,
    id: i64,
    status: StatusCode,
) -> Result<Response, HttpError> {
    let (schedule, last) = ci.load_schedule(access, id).await?;
    let shaper = Shaper::of_users(ci, access.project(), [schedule.owner]).await?;
    let mut value = summary(&shaper, &schedule);
    let more = json!({ "last_pipeline": last.as_ref().map(pipeline) });
    extend(&mut value, more);
    if let Some(given) = ci.given_of(access, &schedule)? {
        let input = |(name, value): &(String, InputValue)| json!({ "name": name, "value": value });
        let more = json!({
            "variables": given.variables.iter().map(variable).collect::<Vec<_>>(),
            "inputs": given.inputs.iter().map(input).collect::<Vec<_>>(),
        });
        extend(&mut value, more);
    }
    Ok((status, Json(value)).into_response())
}

fn summary(shaper: &Shaper<'_>, schedule: &Schedule) -> Value {
    json!({
        "id": schedule.id,
        "description": schedule.description,
        "ref": schedule.ref_name,
        "cron": schedule.cron,
        "cron_timezone": schedule.timezone,
        "next_run_at": schedule.next_run_at.map(|it| it.rfc3339()),
        "active": schedule.active,
        // Why there was no pipeline the last time: RAVE's own.
        "problem": schedule.problem,
        "created_at": schedule.created_at.rfc3339(),
        "updated_at": schedule.updated_at.rfc3339(),
        "owner": shaper.user(Some(schedule.owner)),
    })
}

fn pipeline(pipeline: &Pipeline) -> Value {
    json!({
        "id": pipeline.id.0,
        "sha": pipeline.sha,
        "ref": pipeline.ref_name,
        "status": pipeline.status.label(),
    })
}

fn variable(variable: &Variable) -> Value {
    json!({
        "variable_type": if variable.file { "file" } else { "env_var" },
        "key": variable.key,
        "value": variable.value,
        "raw": variable.raw,
    })
}
