//! Where packs are: files in a directory, or objects in a bucket.

mod bucket;
mod disk;
mod faulty;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rave_core::time::Timestamp;

pub use self::bucket::Bucket;
pub(crate) use self::bucket::BucketShelf;
pub(crate) use self::disk::DiskShelf;
pub(crate) use self::faulty::FaultyShelf;
pub use self::faulty::{Faults, Unsettled};
use crate::error::PutError;
use crate::frame::Frame;

/// Where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The number of the pack's row.
    pub(crate) pack: i64,
    pub(crate) position: u64,
}

/// A pack that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnShelf {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) changed_at: Timestamp,
}

/// Returns the packs in which there are frames.
pub(crate) fn packs<'a>(spots: impl IntoIterator<Item = &'a Spot>) -> Vec<i64> {
    let mut packs: Vec<i64> = spots.into_iter().map(|it| it.pack).collect();
    packs.sort_unstable();
    packs.dedup();
    packs
}

/// A place for packs.
///
/// A frame that was appended counts only when [`Shelf::settle`] returned and a chunk's row names it: whatever else is in a
/// pack is dead.
#[async_trait]
pub(crate) trait Shelf: Send + Sync {
    /// Appends frames to a pack that is open. They may not be on the disk yet.
    async fn append(&self, frames: &[Frame]) -> Result<Vec<Spot>, PutError>;

    /// Waits until everything that was appended to these packs before survives a power failure. Callers that wait at the same
    /// time share one wait. When it fails once, it fails for every caller that appended to the pack.
    async fn settle(&self, packs: &[i64]) -> Result<(), PutError>;

    /// Reads a part of a pack. Fails with `UnexpectedEof` or `NotFound` when it is not there.
    async fn read(&self, pack: &Arc<str>, range: Range<u64>) -> io::Result<Bytes>;

    /// Returns the packs that are there, whether anyone knows them or not.
    async fn list(&self) -> io::Result<Vec<OnShelf>>;

    /// Deletes a pack. One that is gone already is no mistake.
    async fn remove(&self, pack: &str) -> io::Result<()>;

    /// Whether packs that are open when a process begins were left by the one before it.
    fn is_owned(&self) -> bool;

    /// Seals what was begun before `before` and still grows, and gives up what was begun then and never came to be, so that
    /// what is dead in it can be cleared up.
    async fn rotate(&self, before: Timestamp) -> Result<(), PutError>;

    /// Cuts off what a crash left after the last frame that counts.
    async fn truncate(&self, pack: &str, length_bytes: u64) -> io::Result<()>;
}
