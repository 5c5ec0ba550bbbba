//! Errors of handlers. A handler says what went wrong; the answer's form depends on the caller's dialect.
//!
//! An [`HttpError`] travels in the extensions of an empty response to [`render`], which runs around all handlers, knows
//! the dialect, and logs internal errors once, with their chain.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rave_core::permission::{Denied, Principal};
use rave_core::port::PortError;
use serde_json::{Value, json};

use crate::address::{Dialect, OriginalPath};
use crate::app::Shared;
use crate::page;
use crate::request_log::RequestId;

/// What went wrong with a request.
#[derive(Clone, Debug)]
pub struct HttpError(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    status: StatusCode,
    message: String,
    /// A body for the API that differs from `{"message": …}`.
    body: Option<Value>,
    hint: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl HttpError {
    /// Makes an error with a message for the caller.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            status,
            message: message.into(),
            body: None,
            hint: None,
            headers: Vec::new(),
            source: None,
        }))
    }

    /// 400: the request makes no sense. The API prefixes the message as GitLab does.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: who is asking?
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "401 Unauthorized")
    }

    /// 403: the caller may know of the thing but not do this to it.
    pub fn forbidden(message: impl fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("403 Forbidden - {message}"))
    }

    /// 404: there is no such thing, or the caller may not know. `what` is capitalised as in `404 Project Not Found`.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        let message = if what.is_empty() {
            "404 Not found".to_owned()
        } else {
            format!("404 {what} Not Found")
        };
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: the thing's present state does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 500, or 503 when it passes by itself: our fault. The cause is logged, the caller gets the request id.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "500 Internal Server Error",
        )
        .caused_by(source)
    }

    /// 503: something we rely on is away and expected back.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "503 Service Unavailable")
            .caused_by(source)
            .header(header::RETRY_AFTER, "2")
    }

    /// 507: our disk is full. The caller cannot mend that, and trying again at once makes it no better.
    pub fn insufficient_storage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let message = "507 Insufficient Storage - the server's disk is full: nothing was stored";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, message).caused_by(source)
    }

    fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Returns the answer's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Sets the API's body, for the answers whose shape differs.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.0.body = Some(body);
        self
    }

    /// Says what the caller can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// Returns the message for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Turns a refused access into the answer for this caller.
    #[must_use]
    pub fn denied(denied: &Denied, principal: &Principal) -> Self {
        let anonymous = matches!(principal, Principal::Anonymous);
        match denied {
            Denied::Hidden => Self::not_found("Project"),
            Denied::Forbidden { .. } if anonymous => Self::unauthorized(),
            Denied::InsufficientScope { needed, .. } => {
                let scope = needed
                    .iter()
                    .map(|it| it.label())
                    .collect::<Vec<_>>()
                    .join(" ");
                Self::forbidden(denied).body(json!({
                    "error": "insufficient_scope",
                    "error_description": "The request requires higher privileges than provided by the access token.",
                    "scope": scope,
                }))
            }
            Denied::Forbidden { .. } | Denied::Archived => Self::forbidden(denied),
        }
    }
}

impl From<PortError> for HttpError {
    fn from(error: PortError) -> Self {
        if error.transient {
            Self::unavailable(error)
        } else {
            Self::internal(error)
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives the errors of handlers the form that the caller's dialect asks for.
pub async fn render(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let dialect = request
        .extensions()
        .get::<Dialect>()
        .copied()
        .unwrap_or(Dialect::Plain);
    let principal = request
        .extensions()
        .get::<Principal>()
        .cloned()
        .unwrap_or(Principal::Anonymous);
    let request_id = request
        .extensions()
        .get::<RequestId>()
        .cloned()
        .unwrap_or_default();
    let path = request
        .extensions()
        .get::<OriginalPath>()
        .map(|it| it.0.clone())
        .unwrap_or_default();
    let is_get = request.method() == axum::http::Method::GET;
    let response = next.run(request).await;
    let error = match response.extensions().get::<HttpError>() {
        Some(error) => error.clone(),
        // The router's own answers have no body either.
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed")
        }
        None => return response,
    };
    if let Some(source) = &error.0.source {
        tracing::error!(error = %chain(source.as_ref()), request.id = %request_id.0, "cannot answer the request");
    }
    let mut answer = match dialect {
        Dialect::Api => Json(api_body(&error)).into_response(),
        Dialect::Cache => Json(cache_body(&error)).into_response(),
        Dialect::Git | Dialect::Plain => plain_body(&error).into_response(),
        Dialect::Page if error.0.status == StatusCode::UNAUTHORIZED && is_get => {
            let target = format!(
                "{}/-/login?return_to={}",
                shared.prefix(),
                crate::page::encode_query(&path)
            );
            return axum::response::Redirect::to(&target).into_response();
        }
        Dialect::Page => {
            page::error_page(&shared, &principal, &path, &error, &request_id).into_response()
        }
    };
    *answer.status_mut() = error.0.status;
    add_headers(answer.headers_mut(), &error, dialect);
    answer
}

fn add_headers(headers: &mut HeaderMap, error: &HttpError, dialect: Dialect) {
    if dialect == Dialect::Git && error.0.status == StatusCode::UNAUTHORIZED {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"RAVE\", charset=\"UTF-8\""),
        );
    }
    for (name, value) in &error.0.headers {
        headers.insert(name.clone(), value.clone());
    }
}

fn api_body(error: &HttpError) -> Value {
    error
        .0
        .body
        .clone()
        .unwrap_or_else(|| json!({ "message": error.0.message }))
}

/// What Attic's clients read. The part names its own errors; the others are the router's.
fn cache_body(error: &HttpError) -> Value {
    let name = match error.0.status {
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "AccessError",
        StatusCode::NOT_FOUND => "NotFound",
        it if it.is_server_error() => "InternalServerError",
        _ => "RequestError",
    };
    error.0.body.clone().unwrap_or_else(
        || json!({ "code": error.0.status.as_u16(), "error": name, "message": error.0.message }),
    )
}

fn plain_body(error: &HttpError) -> String {
    let hint = error
        .0
        .hint
        .as_ref()
        .map(|it| format!("hint: {it}\n"))
        .unwrap_or_default();
    format!("{}\n{hint}", error.0.message)
}

impl HttpError {
    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// Returns an error with its causes, outermost first.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
