//! Trigger tokens, and the pipelines that programs start by them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_ci_lang::Variable;
use rave_core::permission::ManageProject;
use rave_core::port::ProjectRef;
use rave_core::secret::Secret;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Map, Value, json};

use super::State;
use super::numbers::PathParams;
use super::pipelines::inputs_of;
use super::shapes::Shaper;
use crate::service::Ci;
use crate::setting::is_key;
use crate::store::trigger::Trigger;

/// The whole request as a file, for jobs that want to know what a webhook said.
const PAYLOAD: &str = "TRIGGER_PAYLOAD";

type Manage = Authorized<ManageProject>;

/// `GET /projects/:id/triggers`.
pub(crate) async fn list(
    ci: State,
    Authorized(access): Manage,
    pagination: Pagination,
) -> Result<Response, HttpError> {
    let page = ci.list_triggers(&access, pagination.slice()).await?;
    let owners = page.items.iter().map(|it| it.owner);
    let shaper = Shaper::of_users(&ci, access.project(), owners).await?;
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|it| shape(&shaper, it, &it.short_token))
        .collect();
    Ok(pagination.json(&items, page.total))
}

/// `POST /projects/:id/triggers`: the only answer that ever shows the token.
pub(crate) async fn create(
    ci: State,
    Authorized(access): Manage,
    mut params: Params,
) -> Result<Response, HttpError> {
    let description = params.need_text("description");
    params.check()?;
    let (made, token) = ci.create_trigger(&access, description).await?;
    let shaper = Shaper::of_users(&ci, access.project(), [made.owner]).await?;
    let body = shape(&shaper, &made, token.expose());
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `GET /projects/:id/triggers/:trigger_id`.
pub(crate) async fn show(
    ci: State,
    Authorized(access): Manage,
    path: PathParams,
) -> Result<Response, HttpError> {
    let trigger = ci.load_trigger(&access, path.trigger()?).await?;
    answer(&ci, &access, &trigger).await
}

/// `PUT /projects/:id/triggers/:trigger_id`.
pub(crate) async fn update(
    ci: State,
    Authorized(access): Manage,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let description = params.text("description");
    params.check()?;
    let trigger = ci
        .update_trigger(&access, path.trigger()?, description)
        .await?;
    answer(&ci, &access, &trigger).await
}

/// `DELETE /projects/:id/triggers/:trigger_id`.
pub(crate) async fn delete(
    ci: State,
    Authorized(access): Manage,
    path: PathParams,
) -> Result<StatusCode, HttpError> {
    ci.delete_trigger(&access, path.trigger()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn answer(
    ci: &Ci,
    access: &rave_core::permission::Access<ManageProject>,
    trigger: &Trigger,
) -> Result<Response, HttpError> {
    let shaper = Shaper::of_users(ci, access.project(), [trigger.owner]).await?;
    Ok(Json(shape(&shaper, trigger, &trigger.short_token)).into_response())
}

fn shape(shaper: &Shaper<'_>, trigger: &Trigger, token: &str) -> Value {
    json!({
        "id": trigger.id,
        "token": token,
        "description": trigger.description,
        "created_at": trigger.created_at.rfc3339(),
        "updated_at": trigger.updated_at.rfc3339(),
        "last_used": trigger.used_at.map(|it| it.rfc3339()),
        "expires_at": null,
        "deleted_at": null,
        "owner": shaper.user(Some(trigger.owner)),
    })
}

/// `POST /projects/:id/trigger/pipeline` and `POST /projects/:id/ref/:ref/trigger/pipeline`. The token in the request is
/// all that counts; who else makes it does not matter.
pub(crate) async fn run(
    ci: State,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let token = Secret::new(params.need_text("token"));
    let ref_name = match path.text("ref") {
        "" => params.need_text("ref"),
        named => named.to_owned(),
    };
    params.check()?;
    let mut variables = variables_of(params.value("variables"))?;
    let inputs = inputs_of(params.value("inputs"))?;
    variables.push(payload(&params));
    let at = project_ref(path.text("id")).ok_or_else(|| HttpError::not_found(""))?;
    let mut triggered = ci.triggered(&at, &token, ref_name).await?;
    triggered.wish.variables = variables;
    triggered.wish.inputs = inputs;
    let access = triggered.access;
    let pipeline = ci.create_pipeline(&access, triggered.wish).await?;
    let shaper = Shaper::of_pipelines(&ci, &access, std::slice::from_ref(&pipeline)).await?;
    Ok((StatusCode::CREATED, Json(shaper.pipeline(&pipeline))).into_response())
}

fn project_ref(text: &str) -> Option<ProjectRef> {
    match text.parse() {
        Ok(id) => Some(ProjectRef::Id(rave_core::id::ProjectId(id))),
        Err(_) => rave_core::name::FullPath::parse(text)
            .ok()
            .map(ProjectRef::Path),
    }
}

fn variables_of(value: Option<&Value>) -> Result<Vec<Variable>, HttpError> {
    let invalid = || {
        let why = "400 Bad request - variables needs to be a map of key-valued strings";
        HttpError::bad_request(why)
    };
    let map = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(invalid()),
    };
    let variable = |(key, value): (&String, &Value)| {
        let value = value.as_str().filter(|_| is_key(key)).ok_or_else(invalid)?;
        Ok(Variable {
            key: key.clone(),
            value: value.to_owned(),
            ..Variable::default()
        })
    };
    map.iter().map(variable).collect()
}

fn payload(params: &Params) -> Variable {
    let given: Map<String, Value> = params
        .all()
        .iter()
        .filter(|(name, _)| *name != "token")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Variable {
        key: PAYLOAD.to_owned(),
        value: Value::Object(given).to_string(),
        file: true,
        raw: true,
        ..Variable::default()
    }
}
