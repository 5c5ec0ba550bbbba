//! The dialects: Attic's, Nix's both ways, and JSON of our own. Each route stands on one line.

mod attic;
mod collector;
mod manage;
mod nix_read;
mod nix_write;
mod shapes;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::TryStreamExt as _;
use rave_http::{HttpError, Routes};

use crate::error::CacheError;
use crate::service::Caches;
use crate::service::receive::Incoming;

/// The largest body that is read as a whole.
const TEXT_BYTES: usize = 16 << 20;

pub(crate) fn routes(routes: Routes<Arc<Caches>>) -> Routes<Arc<Caches>> {
    let routes = routes
        .get("/-/cache", welcome)
        .get("/-/cache/_api/v1/cache-config/{cache}", attic::config)
        .post("/-/cache/_api/v1/cache-config/{cache}", attic::create)
        .patch("/-/cache/_api/v1/cache-config/{cache}", attic::configure)
        .delete("/-/cache/_api/v1/cache-config/{cache}", attic::destroy)
        .post("/-/cache/_api/v1/get-missing-paths", attic::missing_paths)
        .put("/-/cache/_api/v1/upload-path", attic::upload_path)
        .get("/-/cache/{cache}/{file}", nix_read::file)
        .get("/-/cache/{cache}/nar/{file}", nix_read::nar)
        .get("/-/cache/{cache}/log/{drv}", nix_read::log)
        .get(
            "/-/cache/{cache}/realisations/{file}",
            nix_read::realisation,
        )
        .get(
            "/-/cache/{cache}/build-trace-v2/{drv}/{file}",
            nix_read::build_trace,
        )
        .get("/-/cache/{cache}/debuginfo/{file}", nix_read::debug_info)
        .put("/-/cache/{cache}/{file}", nix_write::file)
        .put("/-/cache/{cache}/nar/{file}", nix_write::nar)
        .put("/-/cache/{cache}/log/{drv}", nix_write::log)
        .put(
            "/-/cache/{cache}/realisations/{file}",
            nix_write::realisation,
        )
        .put(
            "/-/cache/{cache}/build-trace-v2/{drv}/{file}",
            nix_write::build_trace,
        )
        .put("/-/cache/{cache}/debuginfo/{file}", nix_write::debug_info);
    routes
        .get("/-/cache/_api/v1/caches", manage::list)
        .get("/-/cache/_api/v1/caches/{cache}", manage::show)
        .get("/-/cache/_api/v1/caches/{cache}/paths", manage::paths)
        .get("/-/cache/_api/v1/caches/{cache}/paths/{hash}", manage::path)
        .delete(
            "/-/cache/_api/v1/caches/{cache}/paths/{hash}",
            manage::delete_path,
        )
        .get("/-/cache/_api/v1/caches/{cache}/keys", manage::keys)
        .post("/-/cache/_api/v1/caches/{cache}/keys", manage::rotate_key)
        .put(
            "/-/cache/_api/v1/caches/{cache}/keys/{key}",
            manage::choose_key,
        )
        .delete(
            "/-/cache/_api/v1/caches/{cache}/keys/{key}",
            manage::remove_key,
        )
        .get(
            "/-/cache/_api/v1/caches/{cache}/attachments",
            manage::attachments,
        )
        .put(
            "/-/cache/_api/v1/caches/{cache}/attachments",
            manage::attach,
        )
        .delete(
            "/-/cache/_api/v1/caches/{cache}/attachments",
            manage::detach,
        )
        .get("/-/cache/_api/v1/caches/{cache}/pins", collector::pins)
        .put(
            "/-/cache/_api/v1/caches/{cache}/pins/{name}",
            collector::pin,
        )
        .delete(
            "/-/cache/_api/v1/caches/{cache}/pins/{name}",
            collector::unpin,
        )
        .get("/-/cache/_api/v1/caches/{cache}/gc", collector::plan)
        .post("/-/cache/_api/v1/caches/{cache}/gc", collector::run)
        .get(
            "/-/cache/_api/v1/caches/{cache}/statistics",
            collector::statistics,
        )
}

/// Leads people who follow the endpoint's address to the pages.
async fn welcome(State(caches): State<Arc<Caches>>) -> Response {
    Redirect::to(&format!("{}/-/caches", caches.config.external_url)).into_response()
}

/// Returns a body as a stream.
fn incoming(body: Body) -> Incoming<'static> {
    Box::pin(body.into_data_stream().map_err(std::io::Error::other))
}

/// Reads a body that is small.
async fn whole(body: Body) -> Result<Vec<u8>, CacheError> {
    let bytes = axum::body::to_bytes(body, TEXT_BYTES).await;
    let bytes = bytes.map_err(|it| {
        CacheError::Invalid(format!(
            "The body cannot be read, or has more than {TEXT_BYTES} bytes: {it}"
        ))
    })?;
    Ok(bytes.to_vec())
}

async fn text(body: Body) -> Result<String, CacheError> {
    String::from_utf8(whole(body).await?).map_err(|_| CacheError::invalid("The body is no text."))
}

/// Reads a body of JSON.
async fn json<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, CacheError> {
    let bytes = whole(body).await?;
    serde_json::from_slice(&bytes).map_err(|it| {
        CacheError::Invalid(format!("The body is not the JSON that belongs here: {it}"))
    })
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim().to_owned())
}

/// An answer to someone who may know of the cache.
type Answer = Result<Response, HttpError>;
