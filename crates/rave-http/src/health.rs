//! Whether the server lives and is ready, and its metrics.

use std::sync::Arc;

use axum::extract::{Extension, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rave_core::permission::Scope;
use serde_json::json;

use crate::app::Shared;
use crate::caller::{Caller, Peer};
use crate::error::{HttpError, chain};

/// `GET /-/health`: the process answers.
pub async fn health() -> &'static str {
    "RAVE OK\n"
}

/// `GET /-/ready`: everything that answering relies on works.
pub async fn ready(Extension(shared): Extension<Arc<Shared>>) -> Response {
    let mut checks = serde_json::Map::new();
    let mut healthy = !shared.shutdown.is_cancelled();
    for probe in &shared.probes {
        let result = probe.check().await;
        if let Err(error) = &result {
            tracing::warn!(probe = probe.name(), error = %chain(error), "not ready");
        }
        healthy &= result.is_ok();
        checks.insert(
            format!("{}_check", probe.name()),
            json!([{ "status": if result.is_ok() { "ok" } else { "failed" } }]),
        );
    }
    checks.insert(
        "status".into(),
        json!(if healthy { "ok" } else { "failed" }),
    );
    let status = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(checks)).into_response()
}

/// `GET /metrics`: for scrapers on this machine, and elsewhere for administrators' tokens. They tell an outsider too much.
pub async fn metrics(
    Extension(shared): Extension<Arc<Shared>>,
    Caller(principal): Caller,
    request: Request,
) -> Result<Response, HttpError> {
    let local = request
        .extensions()
        .get::<Peer>()
        .is_some_and(|it| it.0.ip().is_loopback());
    let forwarded = ["x-forwarded-for", "forwarded", "x-real-ip"]
        .iter()
        .any(|it| request.headers().contains_key(*it));
    let administrator = principal.is_admin() && principal.has_scope(&[Scope::Api, Scope::ReadApi]);
    if !(administrator || (local && !forwarded)) {
        return Err(HttpError::unauthorized()
            .hint("scrape from this machine, or with an administrator's token"));
    }
    let wants_openmetrics = accepts(request.headers(), "application/openmetrics-text");
    let (text, kind) = if wants_openmetrics {
        (
            shared.metrics.openmetrics(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )
    } else {
        (
            shared.metrics.prometheus(),
            "text/plain; version=0.0.4; charset=utf-8",
        )
    };
    Ok((
        [(header::CONTENT_TYPE, kind)],
        text.map_err(HttpError::internal)?,
    )
        .into_response())
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|it| it.to_str().ok())
        .is_some_and(|it| it.contains(kind))
}
