//! Variables of projects, groups and the instance: one set of handlers at three addresses.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::secret::Secret;
use rave_http::{HttpError, Pagination, Params};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use crate::service::settings::{Keeper, SettingChange};
use crate::setting::{EVERYWHERE, Owner, Setting};

/// `GET …/variables`.
pub(crate) async fn list(
    keeper: Keeper,
    ci: State,
    pagination: Pagination,
) -> Result<Response, HttpError> {
    let page = ci.list_settings(keeper, pagination.slice()).await?;
    let items: Vec<Value> = page.items.iter().map(|it| shape(keeper, it)).collect();
    Ok(pagination.json(&items, page.total))
}

/// `GET …/variables/:key`.
pub(crate) async fn show(
    keeper: Keeper,
    ci: State,
    path: PathParams,
    params: Params,
) -> Result<Response, HttpError> {
    let scope = filter(&params);
    let setting = ci
        .load_setting(keeper, path.text("key"), scope.as_deref())
        .await?;
    Ok(Json(shape(keeper, &setting)).into_response())
}

/// `POST …/variables`.
pub(crate) async fn create(
    keeper: Keeper,
    ci: State,
    mut params: Params,
) -> Result<Response, HttpError> {
    if !params.has("value") {
        params.need_text("value");
    }
    let hidden = params.bool("masked_and_hidden").unwrap_or(false);
    let key = params.need_text("key");
    let change = change(&mut params, keeper);
    params.check()?;
    let new = Setting {
        key,
        value: change.value.unwrap_or_else(|| Secret::new("")),
        file: change.file.unwrap_or(false),
        masked: hidden || change.masked.unwrap_or(false),
        hidden,
        protected: change.protected.unwrap_or(false),
        raw: change.raw.unwrap_or(false),
        scope: change.scope.unwrap_or_else(|| EVERYWHERE.to_owned()),
        description: change.description,
    };
    let made = ci.create_setting(keeper, new).await?;
    Ok((StatusCode::CREATED, Json(shape(keeper, &made))).into_response())
}

/// `PUT …/variables/:key`.
pub(crate) async fn update(
    keeper: Keeper,
    ci: State,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let scope = filter(&params);
    let change = change(&mut params, keeper);
    params.check()?;
    let setting = ci
        .update_setting(keeper, path.text("key"), scope.as_deref(), change)
        .await?;
    Ok(Json(shape(keeper, &setting)).into_response())
}

/// `DELETE …/variables/:key`.
pub(crate) async fn delete(
    keeper: Keeper,
    ci: State,
    path: PathParams,
    params: Params,
) -> Result<StatusCode, HttpError> {
    let scope = filter(&params);
    ci.delete_setting(keeper, path.text("key"), scope.as_deref())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads `filter[environment_scope]`, which tells variables of one key apart.
fn filter(params: &Params) -> Option<String> {
    let scope = params.value("filter")?.get("environment_scope")?;
    scope.as_str().map(str::to_owned)
}

fn change(params: &mut Params, keeper: Keeper) -> SettingChange {
    let kind = params.choice("variable_type", |it| match it {
        "env_var" => Some(false),
        "file" => Some(true),
        _ => None,
    });
    let scope = params.text("environment_scope");
    SettingChange {
        value: params.text("value").map(Secret::new),
        file: kind,
        masked: params.bool("masked"),
        protected: params.bool("protected"),
        raw: params.bool("raw"),
        // The instance's variables count everywhere.
        scope: scope.filter(|_| keeper.owner() != Owner::Instance),
        description: params.text("description"),
    }
}

fn shape(keeper: Keeper, setting: &Setting) -> Value {
    let mut value = json!({
        "variable_type": if setting.file { "file" } else { "env_var" },
        "key": setting.key,
        "value": setting.shown_value(),
        "hidden": setting.hidden,
        "protected": setting.protected,
        "masked": setting.masked,
        "raw": setting.raw,
        "description": setting.description,
    });
    if keeper.owner() != Owner::Instance {
        value["environment_scope"] = json!(setting.scope);
    }
    value
}
