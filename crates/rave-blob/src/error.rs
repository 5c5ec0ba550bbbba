//! What can go wrong with an object on its way in, on its way out, and at rest.

use std::io;

use crate::Digest;

/// An object could not be stored. Nothing refers to what was written of it.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The stream has more than the caller allows: 413.
    #[error("the object is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// The stream broke: the sender's fault or its network's.
    #[error("the object's bytes stopped coming")]
    Stream(#[source] io::Error),
    /// The bytes are not those that were announced.
    #[error("the bytes have the digest {actual}, not {expected}")]
    Mismatch { expected: Digest, actual: Digest },
    /// The upload took longer than chunks are kept for it.
    #[error(
        "the upload took longer than {longest_secs} seconds: send it again, what arrived is known by now"
    )]
    TooSlow { longest_secs: u64 },
    /// Disk or bucket is full: 507.
    #[error("no space is left for the object")]
    NoSpace(#[source] io::Error),
    /// The store failed.
    #[error("cannot write the object")]
    Io(#[source] io::Error),
    #[error("cannot record the object")]
    Database(#[source] rave_store::Error),
}

impl From<rave_store::Error> for PutError {
    /// The database is often on the disk on which the packs are.
    fn from(source: rave_store::Error) -> Self {
        match source.is_full() {
            true => Self::NoSpace(io::Error::new(io::ErrorKind::StorageFull, source)),
            false => Self::Database(source),
        }
    }
}

impl PutError {
    /// Sorts an error of the store's own files.
    pub(crate) fn of_store(source: io::Error) -> Self {
        match source.kind() {
            // A limit on the length of files is space that is not there either.
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace(source),
            _ => Self::Io(source),
        }
    }
}

/// An object could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("object {0} does not exist")]
    NotFound(Digest),
    /// The range does not lie inside the object: answer 416 with its size.
    #[error("bytes {start} to {end} do not lie inside object {digest} of {size_bytes} bytes")]
    Range {
        digest: Digest,
        start: u64,
        end: u64,
        size_bytes: u64,
    },
    /// What is stored is not what was put. It is never served.
    #[error("object {digest} is damaged: {what}")]
    Damaged { digest: Digest, what: String },
    #[error("cannot read object {digest}")]
    Io {
        digest: Digest,
        #[source]
        source: io::Error,
    },
    #[error("cannot look for an object")]
    Database(#[from] rave_store::Error),
}

/// The store itself failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What could not be done to what, as a lower-case fragment.
    pub what: String,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    pub(crate) fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            what: what.into(),
            source: source.into(),
        }
    }
}

impl From<rave_store::Error> for StoreError {
    fn from(source: rave_store::Error) -> Self {
        Self::new("the database of objects failed", source)
    }
}

/// Something at rest is not what was written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);
