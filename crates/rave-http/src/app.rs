//! What all requests share, and the layers that every request passes.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::any;
use rave_core::port::{Authenticator, Directory, PortError};
use rave_core::time::Clock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::address::{self, Dialect};
use crate::caller::Peer;
use crate::error::{self, HttpError};
use crate::metrics::Metrics;
use crate::routes::Routes;
use crate::{assets, caller, health, page, request_log};

/// Largest body of a request that does not stream, in bytes.
const BODY_LIMIT_BYTES: usize = 2 << 20;

/// Something that must work for the server to be ready, such as the database.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Names it in the answer of `/-/ready`.
    fn name(&self) -> &'static str;
    /// Returns whether it works.
    async fn check(&self) -> Result<(), PortError>;
}

/// What all requests share.
pub struct Shared {
    pub directory: Arc<dyn Directory>,
    pub authenticator: Arc<dyn Authenticator>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub probes: Vec<Arc<dyn Probe>>,
    /// Cancelled when the server is about to stop: held requests (long polls, live pages) end.
    pub shutdown: CancellationToken,
    /// Tracks tasks that outlive their request; shutdown waits for them.
    pub tasks: TaskTracker,
    /// The address under which people reach the server, without a trailing slash, such as `https://rave.example.org`.
    pub external_url: String,
    /// RAVE's own version.
    pub version: &'static str,
}

impl Shared {
    /// Returns an absolute URL of this server. `path` begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.external_url)
    }

    /// Returns the path of the external URL, empty at the root: what links begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let after_scheme = self.external_url.find("://").map_or(0, |it| it + 3);
        self.external_url[after_scheme..]
            .find('/')
            .map_or("", |it| &self.external_url[after_scheme + it..])
    }

    /// Returns scheme, host and port of the external URL.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.external_url[..self.external_url.len() - self.prefix().len()]
    }

    /// Whether people reach the server by HTTPS, so that cookies can insist on it.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.external_url.starts_with("https://")
    }
}

/// A server that can be listened on: see [`crate::server::serve`].
#[derive(Clone)]
pub struct App {
    pub(crate) router: Router,
    pub(crate) shared: Arc<Shared>,
}

impl App {
    /// Answers one request from `peer`, as [`crate::server::serve`] does for each of a connection.
    pub async fn answer(&self, request: Request, peer: SocketAddr) -> Response {
        let mut request = address::rewrite(request, self.shared.prefix());
        request.extensions_mut().insert(Peer(peer));
        let Ok(response) = self.router.clone().oneshot(request).await;
        response
    }
}

/// Joins the parts' routes with those of this crate and puts the layers around them.
#[must_use]
pub fn build(shared: Arc<Shared>, parts: Routes) -> App {
    let router = own_routes()
        .merge(parts)
        .into_router()
        .route("/~missing", any(missing))
        .fallback(missing)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        // The last layer is the outermost.
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            error::render,
        ))
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            caller::authenticate,
        ))
        // Around the authentication as well, so that its refusals have the caller's dialect.
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            error::render,
        ))
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            security_headers,
        ))
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            request_log::log,
        ));
    App { router, shared }
}

/// Returns the routes of this crate.
#[must_use]
pub fn own_routes() -> Routes {
    Routes::new()
        .get("/-/health", health::health)
        .get("/-/liveness", health::health)
        .get("/-/ready", health::ready)
        .get("/-/readiness", health::ready)
        .get("/metrics", health::metrics)
        .get("/-/assets/{version}/{name}", assets::serve)
}

async fn missing(dialect: axum::Extension<Dialect>) -> HttpError {
    match *dialect {
        Dialect::Api => {
            HttpError::not_found("").body(serde_json::json!({ "error": "404 Not Found" }))
        }
        Dialect::Git => HttpError::unauthorized(),
        Dialect::Cache | Dialect::Page | Dialect::Plain => HttpError::not_found("Page"),
    }
}

async fn security_headers(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let dialect = request
        .extensions()
        .get::<Dialect>()
        .copied()
        .unwrap_or(Dialect::Plain);
    request.extensions_mut().insert(shared);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if dialect == Dialect::Page {
        set(
            header::CONTENT_SECURITY_POLICY,
            page::CONTENT_SECURITY_POLICY,
        );
        set(header::X_FRAME_OPTIONS, "DENY");
        set(header::REFERRER_POLICY, "same-origin");
        set(header::CACHE_CONTROL, "private, no-store");
    }
    if dialect == Dialect::Api {
        set(header::CACHE_CONTROL, "max-age=0, private, must-revalidate");
        set(header::VARY, "Origin");
    }
    response
}
