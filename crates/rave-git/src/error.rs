//! What can go wrong with a repository, in the cases that a caller treats differently.

use std::time::Duration;

use rave_core::port::{ForgeError, PortError};
use rave_http::HttpError;

/// The forge failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A child could not be started or talked to.
    #[error("cannot run git {command}")]
    Child {
        command: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// A child ended badly.
    #[error("git {command} failed with {status}: {message}")]
    Failed {
        command: &'static str,
        status: String,
        message: String,
    },
    /// A child took too long.
    #[error("git {command} took longer than {} seconds", .limit.as_secs())]
    Deadline {
        command: &'static str,
        limit: Duration,
    },
    /// A child said something that this program does not understand.
    #[error("git {command} answered with something unexpected")]
    Answer { command: &'static str },
    /// A file or directory could not be made or removed.
    #[error("cannot {doing}")]
    Files {
        doing: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the store failed")]
    Store(#[from] rave_store::Error),
    #[error(transparent)]
    Port(#[from] PortError),
}

impl GitError {
    pub(crate) fn files(doing: impl Into<String>, source: std::io::Error) -> Self {
        Self::Files {
            doing: doing.into(),
            source,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_unavailable(),
            Self::Port(error) => error.transient,
            Self::Deadline { .. } => true,
            Self::Child { .. } | Self::Failed { .. } | Self::Answer { .. } | Self::Files { .. } => {
                false
            }
        }
    }
}

impl From<GitError> for HttpError {
    fn from(error: GitError) -> Self {
        match error.is_transient() {
            true => Self::unavailable(error),
            false => Self::internal(error),
        }
    }
}

impl From<GitError> for PortError {
    fn from(error: GitError) -> Self {
        match error {
            GitError::Port(error) => error,
            error if error.is_transient() => Self::transient("read the repository", error),
            error => Self::new("read the repository", error),
        }
    }
}

impl From<GitError> for ForgeError {
    fn from(error: GitError) -> Self {
        Self::Port(error.into())
    }
}
