//! JSON of our own: pins, what a collection would delete and why, statistics.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use rave_core::time::Timestamp;
use rave_http::HttpError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{doomed, figures};
use super::{Answer, json as read_json};
use crate::error::CacheError;
use crate::keys::OpenCache;
use crate::model::hash_part;
use crate::rights::{Delete, Pull, Push};
use crate::service::Caches;
use crate::service::collect::Collection;
use crate::service::visit::Visitor;

/// How many days of statistics there are at most.
const DAYS: i64 = 366;
/// How many paths of a collection are listed; the sums count all.
const LISTED: usize = 10_000;

pub(super) async fn pins(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let store = &allowed.cache.store_dir;
    let pins = caches.list_pins(&allowed).await?;
    let shown = pins.iter().map(|it| {
        json!({
            "name": it.name,
            "store_path": format!("{store}/{}", it.store_path),
            "created_by": it.created_by,
            "created_at": it.created_at.rfc3339(),
            "expires_at": it.expires_at.map(Timestamp::rfc3339),
        })
    });
    Ok(Json(json!({ "pins": shown.collect::<Vec<_>>() })).into_response())
}

#[derive(Deserialize)]
struct NewPin {
    /// In full, its base name, or its hash part.
    store_path: String,
    /// RFC 3339. Without it the pin holds until it is removed.
    expires_at: Option<String>,
}

pub(super) async fn pin(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, pin)): Path<(String, String)>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    let asked: NewPin = read_json(body).await?;
    let base = asked.store_path.rsplit('/').next().unwrap_or_default();
    let hash = hash_part(base).parse().map_err(CacheError::invalid)?;
    let expires_at = match &asked.expires_at {
        None => None,
        Some(text) => {
            let wrong = || {
                CacheError::Invalid(format!("`{text}` is no time such as 2030-01-31T00:00:00Z."))
            };
            Some(Timestamp::parse_rfc3339(text).ok_or_else(wrong)?)
        }
    };
    Ok(caches.pin(&allowed, &pin, hash, expires_at).await?)
}

pub(super) async fn unpin(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, pin)): Path<(String, String)>,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    Ok(caches.unpin(&allowed, &pin).await?)
}

/// Says what a collection would delete.
pub(super) async fn plan(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answer {
    let allowed = caches.allow::<Delete>(&visitor, &name).await?;
    let planned = caches.plan_collection(&allowed).await?;
    Ok(shown(&allowed.cache, &planned))
}

/// Collects, and says what was deleted.
pub(super) async fn run(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answer {
    let allowed = caches.allow::<Delete>(&visitor, &name).await?;
    let done = caches.collect_now(&allowed).await?;
    Ok(shown(&allowed.cache, &done))
}

fn shown(open: &OpenCache, collection: &Collection) -> Response {
    let listed = collection.doomed.iter().take(LISTED);
    let listed: Vec<Value> = listed.map(|it| doomed(&open.store_dir, it)).collect();
    Json(json!({
        "paths": listed,
        "total": collection.doomed.len(),
        "nar_bytes": collection.bytes(),
        "kept_paths": collection.kept_paths,
        "kept_bytes": collection.kept_bytes,
    }))
    .into_response()
}

#[derive(Deserialize)]
pub(super) struct DaysQuery {
    days: Option<i64>,
}

pub(super) async fn statistics(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
    Query(query): Query<DaysQuery>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let (holdings, total) = caches.holdings(&allowed).await?;
    let days = caches
        .days(&allowed, query.days.unwrap_or(30).clamp(1, DAYS))
        .await?;
    let days = days.iter().map(|(day, it)| {
        let mut shown = figures(it);
        let at = Timestamp(day.saturating_mul(24 * 3_600_000)).rfc3339();
        shown["day"] = json!(at.get(..10));
        shown
    });
    Ok(Json(json!({
        "paths": holdings.paths,
        "held_paths": holdings.held,
        "nar_bytes": holdings.nar_bytes,
        "totals": figures(&total),
        "days": days.collect::<Vec<_>>(),
    }))
    .into_response())
}
