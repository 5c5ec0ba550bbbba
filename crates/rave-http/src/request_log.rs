//! One span and one log line per request, with its id and trace; request counts and latencies.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use rave_core::trace::TraceContext;
use tracing::Instrument as _;

use crate::address::OriginalPath;
use crate::app::Shared;

/// The id under which a request is found in the log, and which its caller is told.
#[derive(Clone, Debug, Default)]
pub struct RequestId(pub String);

/// The trace that a request belongs to. Events and jobs that the request causes carry it on.
#[derive(Clone, Copy, Debug)]
pub struct Trace(pub TraceContext);

/// Wraps a request in its span and writes its line.
pub async fn log(
    State(shared): State<Arc<Shared>>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let trace = inherited(request.headers()).map_or_else(TraceContext::start, |it| it.child());
    let id = request_id(request.headers()).unwrap_or_else(|| trace.trace_id());
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(Trace(trace));
    let method = request.method().clone();
    // The route, not the path, is a metric's label: its values come from a closed set.
    let route = matched.map_or_else(|| "unmatched".to_owned(), |it| it.as_str().to_owned());
    let path = request
        .extensions()
        .get::<OriginalPath>()
        .map_or_else(String::new, |it| shown(&it.0).to_owned());
    let span = tracing::info_span!("request", request.id = %id, trace.id = %trace.trace_id(), http.method = %method, http.path = %path);
    let start = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = start.elapsed();
    let status = response.status();
    shared
        .metrics
        .http
        .observe(method.as_str(), &route, status.as_u16(), elapsed);
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(http.status = status.as_u16(), http.route = %route, duration_ms, "request answered"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    if let Ok(value) = HeaderValue::from_str(&trace.to_string()) {
        response.headers_mut().insert("traceparent", value);
    }
    response
}

/// Hides what of a path is a secret: a claim link works for whoever reads it first.
fn shown(path: &str) -> &str {
    if path.starts_with("/-/claim/") {
        "/-/claim/[redacted]"
    } else {
        path
    }
}

fn inherited(headers: &HeaderMap) -> Option<TraceContext> {
    headers
        .get("traceparent")
        .and_then(|it| it.to_str().ok())
        .and_then(TraceContext::parse)
}

/// Takes a caller's own id when it is short and plain, so that logs cannot be forged through it.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-request-id")?.to_str().ok()?;
    let plain = text
        .bytes()
        .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'));
    (plain && (8..=64).contains(&text.len())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_link_is_not_shown() {
        assert_eq!(shown("/-/claim/rvc-secret"), "/-/claim/[redacted]");
        assert_eq!(shown("/team/app/-/jobs/3"), "/team/app/-/jobs/3");
    }
}
