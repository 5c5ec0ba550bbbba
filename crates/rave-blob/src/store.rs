//! What parts ask of a store of objects, wherever its bytes are.

use std::{fs::File, io, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use rave_core::time::Timestamp;

use crate::{BlobReader, Digest};

/// An object's bytes on their way in or out.
pub type ByteStream<'a> = BoxStream<'a, io::Result<Bytes>>;

/// A stored object: what a caller's table keeps to refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRef {
    pub digest: Digest,
    pub size_bytes: u64,
}

/// A stored object as a sweeper sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    pub digest: Digest,
    pub size_bytes: u64,
    /// When it was last put.
    pub put_at: Timestamp,
}

/// A store of objects by digest.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Stores what the stream yields, at most `limit_bytes`. When this returns, the object survives a power failure.
    ///
    /// When the future is dropped or the stream fails, nothing is left behind.
    async fn put(&self, stream: ByteStream<'_>, limit_bytes: u64) -> Result<BlobRef, PutError>;

    /// Opens an object, or the part of it between two offsets.
    async fn get(&self, digest: &Digest, range: Option<Range<u64>>)
    -> Result<BlobReader, GetError>;

    /// Returns whether the object is there.
    async fn contains(&self, digest: &Digest) -> Result<bool, StoreError>;

    /// Deletes an object that was last put at `put_until` or before. Returns whether it did: an object that is absent
    /// or was put again in the meantime is left alone.
    async fn delete(&self, digest: &Digest, put_until: Timestamp) -> Result<bool, StoreError>;

    /// Returns up to `limit` objects whose digests follow `after`, in the order of digests. Objects that come or go
    /// meanwhile may be missed; every other one is listed once.
    async fn list(&self, after: Option<Digest>, limit: usize)
    -> Result<Vec<BlobEntry>, StoreError>;

    /// Reads an object and compares it with its digest.
    async fn verify(&self, digest: &Digest) -> Result<(), VerifyError>;

    /// Opens an object as a local file for code that seeks, such as a reader of zip archives.
    async fn open_file(&self, digest: &Digest) -> Result<File, GetError>;
}

/// An object could not be stored. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The stream has more than the caller allows.
    #[error("the object is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// The stream broke: the sender's fault or its network's.
    #[error("the object's bytes stopped coming")]
    Stream(#[source] io::Error),
    /// The disk is full.
    #[error("no space is left for the object")]
    NoSpace(#[source] io::Error),
    /// The store failed.
    #[error("cannot write the object")]
    Io(#[source] io::Error),
}

impl PutError {
    /// Sorts an error of the store's own files.
    pub(crate) fn of_store(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(source),
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
    #[error("cannot read object {digest}")]
    Io {
        digest: Digest,
        #[source]
        source: io::Error,
    },
}

impl GetError {
    pub(crate) fn of_file(digest: Digest, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound(digest),
            _ => Self::Io { digest, source },
        }
    }
}

/// An object is not what its digest says, or that could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("object {0} does not exist")]
    NotFound(Digest),
    #[error("object {digest} is damaged: its bytes have the digest {actual}")]
    Corrupt { digest: Digest, actual: Digest },
    #[error("cannot read object {digest}")]
    Io {
        digest: Digest,
        #[source]
        source: io::Error,
    },
}

/// The store itself failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What could not be done to what, as a lower-case fragment.
    pub what: String,
    #[source]
    pub source: io::Error,
}

impl StoreError {
    pub(crate) fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self {
            what: what.into(),
            source,
        }
    }
}
