//! JSON of our own: what there is, one path, keys, and which projects and groups use a cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use rave_core::name::FullPath;
use rave_http::HttpError;
use rave_nix::HashPart;
use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{cache_config, path as path_json};
use super::{Answer, json as read_json};
use crate::error::CacheError;
use crate::rights::{Configure, Delete, Pull, Right, Rights};
use crate::service::Caches;
use crate::service::visit::Visitor;
use crate::store::paths::{PathFilter, PathOrder};

/// How many paths a page may have.
const PER_PAGE: i64 = 1_000;

pub(super) async fn list(State(caches): State<Arc<Caches>>, visitor: Visitor) -> Answer {
    let visible = caches.list_visible(&visitor).await?;
    let shown = visible.iter().map(|(open, rights)| {
        let mut shown = cache_config(open, &caches.config);
        shown["name"] = json!(open.name().as_str());
        shown["permissions"] = permissions(*rights);
        shown
    });
    Ok(Json(json!({ "caches": shown.collect::<Vec<_>>() })).into_response())
}

fn permissions(rights: Rights) -> Value {
    let held = Right::ALL.iter().filter(|it| rights.has(it.0));
    let held: BTreeMap<&str, i64> = held.map(|it| (it.1, 1)).collect();
    json!(held)
}

pub(super) async fn show(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let (holdings, total) = caches.holdings(&allowed).await?;
    let mut shown = cache_config(&allowed.cache, &caches.config);
    shown["name"] = json!(name);
    shown["permissions"] = permissions(allowed.rights());
    shown["created_at"] = json!(allowed.cache.cache.created_at.rfc3339());
    shown["created_by"] = json!(allowed.cache.cache.created_by);
    shown["paths"] = json!(holdings.paths);
    shown["held_paths"] = json!(holdings.held);
    shown["nar_bytes"] = json!(holdings.nar_bytes);
    shown["totals"] = super::shapes::figures(&total);
    Ok(Json(shown).into_response())
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    search: Option<String>,
    order: Option<String>,
    page: Option<i64>,
    per_page: Option<i64>,
}

pub(super) async fn paths(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let order = match query.order.as_deref() {
        None | Some("newest") => PathOrder::Newest,
        Some("downloads") => PathOrder::MostDownloaded,
        Some("size") => PathOrder::Largest,
        Some("unused") => PathOrder::LeastRecentlyUsed,
        Some(other) => {
            let why = format!("There is no order {other}: use newest, downloads, size or unused.");
            return Err(CacheError::Invalid(why).into());
        }
    };
    let filter = PathFilter {
        search: query.search.filter(|it| !it.is_empty()),
        order,
    };
    let per_page = query.per_page.unwrap_or(100).clamp(1, PER_PAGE);
    let page = query.page.unwrap_or(1).clamp(1, i64::MAX / PER_PAGE);
    let (found, total) = caches
        .list_paths(&allowed, filter, (page - 1) * per_page, per_page)
        .await?;
    let shown: Vec<Value> = found
        .iter()
        .map(|it| path_json(&allowed.cache.store_dir, it))
        .collect();
    Ok(
        Json(json!({ "paths": shown, "total": total, "page": page, "per_page": per_page }))
            .into_response(),
    )
}

fn hash(text: &str) -> Result<HashPart, CacheError> {
    let part = text.get(..32).unwrap_or(text);
    part.parse().map_err(CacheError::invalid)
}

pub(super) async fn path(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, text)): Path<(String, String)>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let found = caches.load_path(&allowed, hash(&text)?).await?;
    Ok(Json(path_json(&allowed.cache.store_dir, &found)).into_response())
}

pub(super) async fn delete_path(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, text)): Path<(String, String)>,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Delete>(&visitor, &name).await?;
    Ok(caches.delete_path(&allowed, hash(&text)?).await?)
}

pub(super) async fn keys(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let keys = caches.list_keys(&allowed).await?;
    let shown = keys.into_iter().map(|it| {
        json!({
            "id": it.id,
            "public_key": it.public_key,
            "primary": it.is_primary,
            "created_at": it.created_at.rfc3339(),
        })
    });
    Ok(Json(json!({ "keys": shown.collect::<Vec<_>>() })).into_response())
}

#[derive(Default, Deserialize)]
struct NewKey {
    /// `name:base64` of a key pair. Without it, one is made.
    keypair: Option<String>,
}

pub(super) async fn rotate_key(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    let allowed = caches.allow::<Configure>(&visitor, &name).await?;
    let bytes = super::whole(body).await?;
    let asked = match bytes.is_empty() {
        true => NewKey::default(),
        false => serde_json::from_slice(&bytes).map_err(CacheError::invalid)?,
    };
    let public_key = caches
        .rotate_key(&allowed, asked.keypair.as_deref())
        .await?;
    Ok(Json(json!({ "public_key": public_key })).into_response())
}

pub(super) async fn choose_key(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, key)): Path<(String, i64)>,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Configure>(&visitor, &name).await?;
    Ok(caches.choose_key(&allowed, key).await?)
}

pub(super) async fn remove_key(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, key)): Path<(String, i64)>,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Configure>(&visitor, &name).await?;
    Ok(caches.remove_key(&allowed, key).await?)
}

pub(super) async fn attachments(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let principal = caches.principal(&visitor).await?;
    let attached = caches.list_attached(&allowed, &principal).await?;
    let shown = attached
        .iter()
        .map(|it| json!({ "kind": it.kind, "path": it.path, "jobs_push": it.jobs_push }));
    Ok(Json(json!({ "attachments": shown.collect::<Vec<_>>() })).into_response())
}

#[derive(Deserialize)]
struct Attach {
    /// A project's or group's.
    path: String,
    #[serde(default)]
    jobs_push: bool,
}

pub(super) async fn attach(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Configure>(&visitor, &name).await?;
    let principal = caches.principal(&visitor).await?;
    let asked: Attach = read_json(body).await?;
    let path = FullPath::parse(&asked.path).map_err(CacheError::invalid)?;
    Ok(caches
        .attach(&allowed, &principal, &path, asked.jobs_push)
        .await?)
}

pub(super) async fn detach(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Configure>(&visitor, &name).await?;
    let principal = caches.principal(&visitor).await?;
    let asked: Attach = read_json(body).await?;
    let path = FullPath::parse(&asked.path).map_err(CacheError::invalid)?;
    Ok(caches.detach(&allowed, &principal, &path).await?)
}
