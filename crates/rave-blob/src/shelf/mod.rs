//! Where packs are: files in a directory, or objects in a bucket.

mod disk;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rave_core::time::Timestamp;

pub(crate) use self::disk::DiskShelf;
use crate::error::PutError;
use crate::frame::Frame;

/// Where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The number of the pack's row.
    pub(crate) pack: i64,
    pub(crate) position: u64,
}

/// A place for packs.
///
/// A frame that was appended counts only when [`Shelf::settle`] returned and a chunk's row names it: whatever else is in a
/// pack is dead.
#[async_trait]
pub(crate) trait Shelf: Send + Sync {
    /// Appends frames to a pack that is open. They may not be on the disk yet.
    async fn append(&self, frames: &[Frame]) -> Result<Vec<Spot>, PutError>;

    /// Waits until everything that this caller appended survives a power failure. Callers that wait at the same time share
    /// one wait.
    async fn settle(&self) -> Result<(), PutError>;

    /// Reads a part of a pack. Fails with `UnexpectedEof` or `NotFound` when it is not there.
    async fn read(&self, pack: &Arc<str>, range: Range<u64>) -> io::Result<Bytes>;

    /// Deletes a pack. One that is gone already is no mistake.
    async fn remove(&self, pack: &str) -> io::Result<()>;

    /// Seals the pack that grows if it was begun before `before`, so that what dies in it can be cleared up.
    async fn rotate(&self, before: Timestamp) -> Result<(), PutError>;

    /// Cuts off what a crash left after the last frame that counts.
    async fn truncate(&self, pack: &str, length_bytes: u64) -> io::Result<()>;
}
