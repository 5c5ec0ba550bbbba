//! The style sheet, script and icon, embedded in the binary. Their address carries a digest of their content, so that
//! browsers keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::error::HttpError;

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const ASSETS: &[Asset] = &[
    Asset {
        name: "app.css",
        kind: "text/css; charset=utf-8",
        content: include_str!("../assets/app.css"),
    },
    Asset {
        name: "app.js",
        kind: "text/javascript; charset=utf-8",
        content: include_str!("../assets/app.js"),
    },
    Asset {
        name: "icon.svg",
        kind: "image/svg+xml",
        content: include_str!("../assets/icon.svg"),
    },
];

/// A short digest over all assets (FNV-1a). It only has to change when they do.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let bytes = ASSETS.iter().flat_map(|it| it.content.bytes());
    let digest = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{digest:016x}")
});

/// Returns the address of an asset below the external URL's path.
#[must_use]
pub fn path(name: &str) -> String {
    format!("/-/assets/{}/{name}", *VERSION)
}

/// `GET /-/assets/{version}/{name}`.
///
/// # Errors
/// 404 for an unknown name. Any version is answered, with the present content.
pub async fn serve(Path((_, name)): Path<(String, String)>) -> Result<Response, HttpError> {
    let asset = ASSETS
        .iter()
        .find(|it| it.name == name)
        .ok_or_else(|| HttpError::not_found("Page"))?;
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.content).into_response())
}
