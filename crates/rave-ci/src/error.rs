//! What can go wrong when this part is asked to do something, and how each case is answered.

use axum::http::StatusCode;
use rave_blob::{GetError, PutError, StoreError};
use rave_core::job::Refused;
use rave_core::port::{ForgeError, PortError};
use rave_http::HttpError;
use serde_json::{Map, json};

use crate::setting::Mistake;
use rave_core::sealing::Unreadable;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CiError {
    /// There is no such thing, or the caller may not know.
    #[error("404 {0} Not Found")]
    NotFound(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The file makes no pipeline: GitLab's list of reasons.
    #[error("the pipeline was not created: {}", .0.join("; "))]
    NoPipeline(Vec<String>),
    /// Fields that hold what they must not, each with the reason.
    #[error("{}", mistakes(.0))]
    Rejected(Vec<Mistake>),
    /// The request names more than one thing.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// The thing's present state does not allow it.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Another change came first.
    #[error("the job changed meanwhile")]
    Conflict,
    #[error("the job cannot be changed so")]
    Refused(#[from] Refused),
    #[error("the upload is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// The sender's fault.
    #[error("the upload stopped")]
    Upload(#[source] std::io::Error),
    #[error("the store failed")]
    Store(#[from] rave_store::Error),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("the forge does not answer")]
    Forge(#[from] ForgeError),
    #[error("cannot store an object")]
    Put(#[source] PutError),
    #[error("cannot read an object")]
    Get(#[from] GetError),
    #[error("the blob store failed")]
    Blob(#[from] StoreError),
    #[error("an archive cannot be read")]
    Archive(#[from] zip::result::ZipError),
    #[error("stored data cannot be understood: {what}")]
    Data {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    NoRandomness(#[from] rave_core::secret::NoRandomness),
    #[error("a task of the server ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl CiError {
    /// Whether trying again later may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Store(rave_store::Error::Unavailable { .. }) | Self::Conflict | Self::Task(_) => {
                true
            }
            Self::Port(error) | Self::Forge(ForgeError::Port(error)) => error.transient,
            _ => false,
        }
    }
}

impl From<PutError> for CiError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::TooLarge { limit_bytes } => Self::TooLarge { limit_bytes },
            PutError::Stream(source) => Self::Upload(source),
            PutError::Database(source) => Self::Store(source),
            other => Self::Put(other),
        }
    }
}

impl From<CiError> for HttpError {
    fn from(error: CiError) -> Self {
        match error {
            CiError::NotFound(what) => Self::not_found(what),
            CiError::Invalid(message) => Self::bad_request(message),
            CiError::NoPipeline(reasons) => Self::bad_request(reasons.join("\n"))
                .body(json!({ "message": { "base": reasons } })),
            CiError::Rejected(mistakes) => {
                let mut fields = Map::new();
                for (field, why) in &mistakes {
                    let whys = fields.entry(*field).or_insert_with(|| json!([]));
                    whys.as_array_mut().expect("made so").push(json!(why));
                }
                Self::bad_request(self::mistakes(&mistakes)).body(json!({ "message": fields }))
            }
            CiError::Ambiguous(why) => Self::conflict(why),
            CiError::Forbidden(why) => Self::forbidden(why),
            CiError::Conflict => Self::conflict("409 Conflict - try again"),
            CiError::Refused(refused) => Self::bad_request(format!("400 Bad request - {refused}")),
            CiError::TooLarge { limit_bytes } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("413 Request Entity Too Large - at most {limit_bytes} bytes"),
            ),
            CiError::Upload(source) => Self::bad_request(format!("400 Bad request - {source}")),
            CiError::Put(source @ PutError::NoSpace(_)) => Self::insufficient_storage(source),
            CiError::Get(GetError::NotFound(_)) => Self::not_found(""),
            CiError::Port(error) => error.into(),
            error if error.is_transient() => Self::unavailable(error),
            error => Self::internal(error),
        }
    }
}

/// Writes mistakes as sentences.
pub(crate) fn mistakes(list: &[Mistake]) -> String {
    let sentence = |(field, why): &Mistake| match *field {
        "base" => why.clone(),
        field => format!("{field} {why}"),
    };
    list.iter().map(sentence).collect::<Vec<_>>().join("; ")
}
