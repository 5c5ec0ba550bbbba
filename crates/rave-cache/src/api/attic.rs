//! Attic's API, version 1.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use rave_http::HttpError;
use serde_json::json;

use super::shapes::{ConfigureCache, CreateCache, MissingPaths, NarInfoJson, cache_config};
use super::{Answer, incoming, json as read_json};
use crate::error::CacheError;
use crate::model::{CacheName, Settings};
use crate::rights::{Configure, ConfigureRetention, Destroy, Pull, Push};
use crate::service::Caches;
use crate::service::receive::Incoming;
use crate::service::visit::Visitor;

const INFO: &str = "x-attic-nar-info";
const PREAMBLE: &str = "x-attic-nar-info-preamble-size";
/// The largest description of a path that may stand in front of its NAR.
const PREAMBLE_BYTES: usize = 1 << 20;

pub(super) async fn config(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let answer = Json(cache_config(&allowed.cache, &caches.config)).into_response();
    Ok(super::nix_read::marked(&allowed.cache, answer))
}

pub(super) async fn create(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
    body: Body,
) -> Result<(), HttpError> {
    let name = CacheName::parse(&name).map_err(CacheError::invalid)?;
    // Who may not is told so before anything is looked at.
    caches.allow_create(&visitor, &name).await?;
    let asked: CreateCache = read_json(body).await?;
    let settings = Settings {
        is_public: asked.is_public,
        store_dir: asked.store_dir,
        priority: asked.priority,
        upstream_key_names: asked.upstream_cache_key_names,
        ..Settings::default()
    };
    Ok(caches
        .create(&visitor, &name, settings, asked.keypair.given())
        .await?)
}

pub(super) async fn configure(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Configure>(&visitor, &name).await?;
    let asked: ConfigureCache = read_json(body).await?;
    if asked.changes_retention() {
        allowed
            .also::<ConfigureRetention>()
            .map_err(CacheError::from)?;
    }
    if asked.keypair.is_none() && !asked.changes_settings() {
        return Err(CacheError::invalid("No modifiable fields were set.").into());
    }
    if let Some(pair) = &asked.keypair {
        caches.rotate_key(&allowed, pair.given()).await?;
    }
    if asked.changes_settings() {
        let settings = asked.over(&allowed.cache.cache.settings);
        caches.configure(&allowed, settings).await?;
    }
    Ok(())
}

pub(super) async fn destroy(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Destroy>(&visitor, &name).await?;
    Ok(caches.destroy(&allowed).await?)
}

pub(super) async fn missing_paths(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    body: Body,
) -> Answer {
    let asked: MissingPaths = read_json(body).await?;
    let allowed = caches.allow::<Push>(&visitor, &asked.cache).await?;
    let missing = caches
        .missing_paths(&allowed, asked.store_path_hashes)
        .await?;
    Ok(Json(json!({ "missing_paths": missing })).into_response())
}

/// Takes a path. What is said of it stands in a header, or in front of the NAR.
pub(super) async fn upload_path(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (info, nar) = split(&headers, incoming(body)).await?;
    let info: NarInfoJson = serde_json::from_slice(&info).map_err(|it| {
        CacheError::Invalid(format!(
            "The description of the path is not the JSON that belongs there: {it}"
        ))
    })?;
    let allowed = caches.allow::<Push>(&visitor, &info.cache).await?;
    let info = info.into_info(&allowed.cache.store_dir)?;
    let (received, _) = caches.upload(&allowed, info, nar).await?;
    Ok(uploaded(
        received.was_known,
        received.nar_size,
        received.added_bytes,
    ))
}

fn uploaded(was_known: bool, nar_size: u64, added_bytes: u64) -> Response {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no single bytes")]
    let known = 1.0 - added_bytes.min(nar_size) as f64 / nar_size.max(1) as f64;
    let kind = if was_known {
        "Deduplicated"
    } else {
        "Uploaded"
    };
    Json(json!({
        "kind": kind,
        "file_size": added_bytes,
        "frac_deduplicated": if was_known { 1.0 } else { known },
    }))
    .into_response()
}

/// Returns the description of a path, and the NAR.
async fn split(
    headers: &HeaderMap,
    mut body: Incoming<'static>,
) -> Result<(Vec<u8>, Incoming<'static>), CacheError> {
    let text = |name: &str| headers.get(name).map(|it| it.as_bytes().to_vec());
    if let Some(info) = text(INFO) {
        return Ok((info, body));
    }
    let size = text(PREAMBLE).ok_or_else(|| {
        CacheError::Invalid(format!(
            "One of the headers {INFO} and {PREAMBLE} must be set."
        ))
    })?;
    let size = String::from_utf8(size)
        .ok()
        .and_then(|it| it.trim().parse::<usize>().ok());
    let size = size.filter(|it| *it <= PREAMBLE_BYTES).ok_or_else(|| {
        CacheError::Invalid(format!("{PREAMBLE} is no number up to {PREAMBLE_BYTES}."))
    })?;
    let mut front = BytesMut::new();
    while front.len() < size {
        let Some(piece) = body.next().await else {
            return Err(CacheError::invalid(
                "The body ended within the description of the path.",
            ));
        };
        front.extend_from_slice(&piece.map_err(CacheError::Upload)?);
    }
    let rest: Bytes = front.split_off(size).freeze();
    let rest = stream::once(async move { Ok::<_, io::Error>(rest) });
    Ok((front.to_vec(), Box::pin(rest.chain(body))))
}
