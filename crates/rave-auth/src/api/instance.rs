//! What clients ask first: the version. And the namespaces that projects can be in.

use axum::Json;
use axum::extract::Path;
use axum::response::Response;
use rave_core::permission::Role;
use rave_http::{Caller, HttpError, Pagination, Params, Shared, SignedIn};
use serde_json::{Value, json};

use super::{Instance, Part, READ, READ_USER, wire};
use crate::service::groups::NamespaceRef;
use crate::store::namespaces::NamespaceFilter;

/// The version of the API that this one is modelled on. Clients switch features on by it.
const MODELLED_ON: &str = "18.5.0-rave";

/// Returns the version.
pub(crate) async fn version(caller: SignedIn, shared: Instance) -> Result<Json<Value>, HttpError> {
    caller.need_scope(READ_USER)?;
    Ok(Json(version_of(&shared)))
}

/// Returns the version and what belongs to it.
pub(crate) async fn metadata(caller: SignedIn, shared: Instance) -> Result<Json<Value>, HttpError> {
    caller.need_scope(READ_USER)?;
    let mut all = version_of(&shared);
    all["kas"] = json!({"enabled": false, "externalUrl": null, "externalK8sProxyUrl": null, "version": null});
    all["enterprise"] = false.into();
    Ok(Json(all))
}

fn version_of(shared: &Shared) -> Value {
    json!({"version": MODELLED_ON, "revision": format!("rave-{}", shared.version)})
}

/// Lists the namespaces that the caller belongs to; for administrators, all.
pub(crate) async fn list_namespaces(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    caller.need_scope(READ)?;
    let owned = params.bool("owned_only").unwrap_or(false);
    let filter = NamespaceFilter {
        search: params.text("search").filter(|it| !it.is_empty()),
        role: match (owned, caller.0.admin) {
            (true, _) => Some(Role::Owner),
            (false, true) => None,
            (false, false) => Some(Role::Guest),
        },
        top_level: params.bool("top_level_only").unwrap_or(false),
        ..NamespaceFilter::default()
    };
    params.check()?;
    let principal = rave_core::permission::Principal::User(caller.0);
    let found = part
        .list_namespaces(&principal, filter, page.slice())
        .await?;
    let items: Vec<Value> = found
        .items
        .iter()
        .map(|(it, _)| wire::namespace(&shared, it))
        .collect();
    Ok(page.json(&items, found.total))
}

/// Returns a namespace.
pub(crate) async fn get_namespace(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, HttpError> {
    rave_http::caller::need_scope(&caller, READ)?;
    let missing = || HttpError::not_found("Namespace");
    let at = NamespaceRef::parse(&id).ok_or_else(missing)?;
    let found = part.namespace_access(&caller, at).await?;
    let found = found.ok_or_else(missing)?;
    Ok(Json(wire::namespace(&shared, &found.namespace)))
}

/// Tells whether a namespace exists that the caller may know of.
pub(crate) async fn namespace_exists(
    part: Part,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<Json<Value>, HttpError> {
    caller.need_scope(READ)?;
    let principal = rave_core::permission::Principal::User(caller.0);
    let found = match NamespaceRef::parse(&id) {
        Some(at) => part.namespace_access(&principal, at).await?,
        None => None,
    };
    Ok(Json(json!({"exists": found.is_some(), "suggests": []})))
}
