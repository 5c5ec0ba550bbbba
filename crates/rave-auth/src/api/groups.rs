//! Groups. Their projects are listed elsewhere.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::NamespaceId;
use rave_core::permission::{Principal, Role, Visibility};
use rave_http::caller::need_scope;
use rave_http::{Caller, HttpError, Pagination, Params, SignedIn};
use serde_json::{Value, json};

use super::{Instance, Part, READ, WRITE, wire};
use crate::AuthError;
use crate::service::groups::NewGroup;
use crate::store::namespaces::NamespaceFilter;

/// Lists the groups that the caller may see.
pub(crate) async fn list(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    page: Pagination,
    params: Params,
) -> Result<Response, HttpError> {
    answer_list(&part, &shared, &caller, &page, params, None).await
}

/// Lists the groups directly below one.
pub(crate) async fn subgroups(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    page: Pagination,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, HttpError> {
    let parent = part.group_access(&caller, &id).await?.namespace.id;
    answer_list(&part, &shared, &caller, &page, params, Some(parent)).await
}

async fn answer_list(
    part: &Part,
    shared: &Instance,
    caller: &Principal,
    page: &Pagination,
    mut params: Params,
    parent: Option<NamespaceId>,
) -> Result<Response, HttpError> {
    need_scope(caller, READ)?;
    let least = params.int("min_access_level").and_then(Role::from_level);
    let owned = params.bool("owned").unwrap_or(false);
    let filter = NamespaceFilter {
        groups: true,
        search: params.text("search").filter(|it| !it.is_empty()),
        role: if owned { Some(Role::Owner) } else { least },
        parent,
        top_level: params.bool("top_level_only").unwrap_or(false),
        own: None,
    };
    params.check()?;
    let found = part.list_namespaces(caller, filter, page.slice()).await?;
    let items: Vec<Value> = found
        .items
        .iter()
        .map(|(it, _)| wire::group(shared, it))
        .collect();
    Ok(page.json(&items, found.total))
}

/// Returns a group.
pub(crate) async fn get(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, HttpError> {
    need_scope(&caller, READ)?;
    let found = part.group_access(&caller, &id).await?;
    Ok(Json(wire::group(&shared, &found.namespace)))
}

/// Makes a group.
pub(crate) async fn create(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    mut params: Params,
) -> Result<Response, HttpError> {
    caller.need_scope(WRITE)?;
    let new = NewGroup {
        name: params.need_text("name"),
        path: params.need_text("path"),
        parent: params.int("parent_id").map(NamespaceId),
        description: params.text("description").unwrap_or_default(),
        visibility: params
            .choice("visibility", Visibility::from_label)
            .unwrap_or(Visibility::Private),
    };
    params.check()?;
    let group = part.create_group(&caller.0, new).await.map_err(refusal)?;
    Ok((StatusCode::CREATED, Json(wire::group(&shared, &group))).into_response())
}

/// Says why a group was not saved, in the words that clients look for.
fn refusal(error: AuthError) -> HttpError {
    let (field, why) = match &error {
        AuthError::Taken { field } => (*field, "has already been taken"),
        AuthError::Invalid { field, why } => (*field, why.as_str()),
        _ => return error.into(),
    };
    let message = format!("Failed to save group {{:{field}=>[\"{why}\"]}}");
    HttpError::bad_request(message.clone()).body(json!({ "message": message }))
}

/// Changes a group's name, description and visibility.
pub(crate) async fn update(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Json<Value>, HttpError> {
    caller.need_scope(WRITE)?;
    let access = part.group_access(&Principal::User(caller.0), &id).await?;
    let group = access.owned()?;
    let name = params.text("name").filter(|it| !it.is_empty());
    let description = params.text("description");
    let visibility = params.choice("visibility", Visibility::from_label);
    params.check()?;
    let updated = part
        .update_group(&group, name, description, visibility)
        .await
        .map_err(refusal)?;
    Ok(Json(wire::group(&shared, &updated)))
}

/// Deletes a group with everything in it.
pub(crate) async fn delete(
    part: Part,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    caller.need_scope(WRITE)?;
    let access = part
        .group_access(&Principal::User(caller.0.clone()), &id)
        .await?;
    part.delete_group(&access.owned()?, &caller.0).await?;
    let body = json!({"message": "202 Accepted"});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}
