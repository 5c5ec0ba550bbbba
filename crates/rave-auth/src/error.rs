//! Why a change to users, groups, members or tokens was not made, and how the two dialects say so.

use axum::http::StatusCode;
use rave_core::name::InvalidName;
use rave_core::port::PortError;
use rave_core::secret::NoRandomness;
use rave_http::HttpError;
use serde_json::json;

/// Why something about accounts was not done.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A value breaks a rule.
    #[error("{field} {why}")]
    Invalid { field: &'static str, why: String },
    /// Another one has it.
    #[error("{field} has already been taken")]
    Taken { field: &'static str },
    /// There is no such thing, or the caller may not know of it.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// The caller may know of the thing but not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The thing's present state does not allow it.
    #[error("{0}")]
    Conflict(&'static str),
    /// The store failed.
    #[error("the account store failed")]
    Store(#[from] rave_store::Error),
    /// Something else failed that is not the caller's doing.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl AuthError {
    pub(crate) fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            why: why.into(),
        }
    }
}

impl From<InvalidName> for AuthError {
    fn from(error: InvalidName) -> Self {
        let text = error.to_string();
        Self::invalid("path", text.strip_prefix("path ").unwrap_or(&text))
    }
}

impl From<NoRandomness> for AuthError {
    fn from(error: NoRandomness) -> Self {
        Self::Port(PortError::new("making a token", error))
    }
}

impl From<AuthError> for HttpError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Invalid { field, why } => {
                Self::bad_request(format!("{field} {why}")).body(json!({"message": {field: [why]}}))
            }
            AuthError::Taken { .. } | AuthError::Conflict(_) => {
                Self::new(StatusCode::CONFLICT, capitalized(&error.to_string()))
            }
            AuthError::NotFound(what) => Self::not_found(what),
            AuthError::Forbidden(why) => Self::forbidden(why),
            AuthError::Store(source) => port_error("working on accounts", source).into(),
            AuthError::Port(source) => source.into(),
        }
    }
}

/// Wraps a failure of the store for a port, keeping whether it passes by itself.
pub(crate) fn port_error(doing: &str, source: rave_store::Error) -> PortError {
    if source.is_unavailable() {
        PortError::transient(doing, source)
    } else {
        PortError::new(doing, source)
    }
}

/// Returns a message as the API and pages write it: with a capital letter.
pub(crate) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|it| it.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
