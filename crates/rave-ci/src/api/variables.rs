//! Variables of projects, groups and the instance: one set of handlers at three addresses.

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use rave_core::permission::{ManageProject, Principal, Scope};
use rave_core::port::GroupRef;
use rave_core::secret::Secret;
use rave_http::address::Dialect;
use rave_http::{Authorized, Caller, HttpError, Pagination, Params, SignedIn};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use crate::service::Ci;
use crate::service::settings::{Keeper, SettingChange};
use crate::setting::{EVERYWHERE, Owner, Setting};

/// The owner that the address names, if the caller may change its variables.
impl FromRequestParts<Arc<Ci>> for Keeper {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, ci: &Arc<Ci>) -> Result<Self, HttpError> {
        let path = parts.uri.path().to_owned();
        let page = parts.extensions.get() == Some(&Dialect::Page);
        if path.starts_with("/api/v4/projects/") || path.starts_with("/~project/") {
            let Authorized(access) =
                Authorized::<ManageProject>::from_request_parts(parts, ci).await?;
            return Ok(Self::of_project(&access));
        }
        let user = SignedIn::from_request_parts(parts, ci).await?;
        user.need_scope(&[Scope::Api])?;
        if path.starts_with("/api/v4/groups/") || path.starts_with("/-/groups/") {
            let group = PathParams::from_request_parts(parts, ci).await?;
            let Ok(Caller(principal)) = Caller::from_request_parts(parts, ci).await;
            return of_group(ci, &principal, group.text("id")).await;
        }
        Self::of_instance(&user.0).ok_or_else(|| {
            if page {
                // As for all of an administrator's pages: others need not know that they exist.
                HttpError::not_found("Page")
            } else {
                HttpError::forbidden("only administrators change the instance's variables")
            }
        })
    }
}

async fn of_group(ci: &Ci, principal: &Principal, text: &str) -> Result<Keeper, HttpError> {
    let missing = || HttpError::not_found("Group");
    let at = GroupRef::parse(text).ok_or_else(missing)?;
    let facts = ci.directory.find_group(principal, &at).await?;
    let facts = facts.ok_or_else(missing)?;
    Keeper::of_group(&facts)
        .ok_or_else(|| HttpError::forbidden("only an owner of the group may do this"))
}

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
