//! What can go wrong, and how Attic's clients are told.

use axum::http::{StatusCode, header};
use rave_core::port::{AuthenticateError, PortError};
use rave_http::HttpError;
use serde_json::json;

use crate::rights::Refused;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The caller has no right at all to the name, whether there is such a cache or not.
    #[error("Unauthorized.")]
    Unauthorized,
    #[error("The requested cache does not exist.")]
    NoSuchCache,
    /// There is no such path, log or NAR in the cache.
    #[error("The requested {0} does not exist in this cache.")]
    NoSuchObject(&'static str),
    #[error("{0}")]
    Forbidden(String),
    #[error("The cache already exists.")]
    Exists,
    /// The request makes no sense, or what was sent is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// The thing's present state does not allow it.
    #[error("{0}")]
    Conflict(String),
    #[error("the NAR is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("{requested} does not lie inside the NAR")]
    Range { requested: String, size_bytes: u64 },
    #[error("no space is left on the server")]
    NoSpace(#[source] std::io::Error),
    /// The sender's connection broke.
    #[error("the upload stopped")]
    Upload(#[source] std::io::Error),
    #[error("too many failed tries; try again in {retry_after_secs} seconds")]
    Throttled { retry_after_secs: u64 },
    #[error("the database failed")]
    Store(#[from] rave_store::Error),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("{0}")]
    Upstream(String),
    #[error("{what}")]
    Internal {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CacheError {
    pub(crate) fn invalid(why: impl std::fmt::Display) -> Self {
        Self::Invalid(why.to_string())
    }

    pub(crate) fn internal(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Internal {
            what: what.into(),
            source: source.into(),
        }
    }

    /// The status, and the name that Attic has for the case.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::NoSuchCache => (StatusCode::NOT_FOUND, "NoSuchCache"),
            Self::NoSuchObject(_) => (StatusCode::NOT_FOUND, "NoSuchObject"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "AccessError"),
            Self::Exists => (StatusCode::BAD_REQUEST, "CacheAlreadyExists"),
            Self::Invalid(_) | Self::Upload(_) => (StatusCode::BAD_REQUEST, "RequestError"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "RequestError"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestError"),
            Self::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "RequestError"),
            Self::NoSpace(_) => (StatusCode::INSUFFICIENT_STORAGE, "StorageError"),
            Self::Throttled { .. } => (StatusCode::TOO_MANY_REQUESTS, "RequestError"),
            Self::Upstream(_) => (StatusCode::BAD_GATEWAY, "UpstreamError"),
            Self::Store(_) | Self::Port(_) | Self::Internal { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
            }
        }
    }
}

impl From<Refused> for CacheError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::Unauthorized,
            Refused::Absent => Self::NoSuchCache,
            Refused::Forbidden => Self::Forbidden("You may not do this to the cache.".into()),
        }
    }
}

impl From<AuthenticateError> for CacheError {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Invalid => Self::Unauthorized,
            AuthenticateError::Throttled { retry_after_secs } => {
                Self::Throttled { retry_after_secs }
            }
            AuthenticateError::Port(error) => Self::Port(error),
        }
    }
}

impl From<CacheError> for HttpError {
    fn from(error: CacheError) -> Self {
        let (status, name) = error.kind();
        let message = error.to_string();
        let body =
            |message: &str| json!({ "code": status.as_u16(), "error": name, "message": message });
        match error {
            CacheError::Store(error) if error.is_unavailable() => Self::unavailable(error),
            CacheError::Store(error) => Self::internal(error),
            CacheError::Port(error) => error.into(),
            CacheError::Internal { .. } => Self::internal(error),
            CacheError::Unauthorized => Self::unauthorized().body(body(&message)).header(
                header::WWW_AUTHENTICATE,
                "Basic realm=\"RAVE\", charset=\"UTF-8\"",
            ),
            CacheError::Throttled { retry_after_secs } => Self::new(status, message.clone())
                .body(body(&message))
                .header(header::RETRY_AFTER, &retry_after_secs.to_string()),
            CacheError::Range { size_bytes, .. } => Self::new(status, message.clone())
                .body(body(&message))
                .header(header::CONTENT_RANGE, &format!("bytes */{size_bytes}")),
            CacheError::Upload(ref source) => {
                let message = format!("{message}: {source}");
                Self::new(status, message.clone()).body(body(&message))
            }
            _ => Self::new(status, message.clone()).body(body(&message)),
        }
    }
}
