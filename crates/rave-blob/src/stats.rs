//! What the store holds and what it costs.

use crate::frame::LABEL_BYTES;
use crate::table::pack::Totals as Packs;
use crate::{Blobs, StoreError, table};

/// The store in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub objects: u64,
    /// Of them, those that are not served because a chunk of them is damaged.
    pub damaged_objects: u64,
    /// What the objects are long in sum.
    pub logical_bytes: u64,
    pub chunks: u64,
    pub damaged_chunks: u64,
    /// What of the objects' content is different.
    pub unique_bytes: u64,
    /// What that takes, compressed.
    pub stored_bytes: u64,
    /// Packs that may grow.
    pub open_packs: u64,
    pub sealed_packs: u64,
    /// Packs that go as soon as their last reader must be done.
    pub doomed_packs: u64,
    /// What is on the disk.
    pub pack_bytes: u64,
    /// What of that no object is made of. A sweep clears it up when half of a pack is.
    pub dead_bytes: u64,
}

impl Stats {
    /// How often content is referred to for each time that it is stored.
    #[must_use]
    pub fn dedup_ratio(&self) -> f64 {
        ratio(self.logical_bytes, self.unique_bytes)
    }

    /// How much longer content is than what it takes.
    #[must_use]
    pub fn compression_ratio(&self) -> f64 {
        ratio(self.unique_bytes, self.stored_bytes)
    }
}

/// Of an empty store, nothing is saved.
fn ratio(of: u64, to: u64) -> f64 {
    match to {
        0 => 1.0,
        to => of as f64 / to as f64,
    }
}

impl Blobs {
    /// Counts what is there. Reads every row: for a person or once in a while, not for each request.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let files = self
            .0
            .shelf
            .list()
            .await
            .map_err(|it| StoreError::new("cannot list the packs", it))?;
        let pack_bytes = files.iter().map(|it| it.size_bytes).sum();
        let (objects, chunks, packs) = self
            .0
            .db
            .read("blob_stats", |tx| {
                let objects = table::object::totals(tx)?;
                let chunks = table::chunk::totals(tx)?;
                Ok::<_, rave_store::Error>((objects, chunks, table::pack::totals(tx)?))
            })
            .await?;
        let Packs {
            open,
            sealed,
            doomed,
        } = packs;
        let live_bytes = chunks.stored_bytes + chunks.count * LABEL_BYTES as u64;
        Ok(Stats {
            objects: objects.count,
            damaged_objects: objects.damaged,
            logical_bytes: objects.size_bytes,
            chunks: chunks.count,
            damaged_chunks: chunks.damaged,
            unique_bytes: chunks.size_bytes,
            stored_bytes: chunks.stored_bytes,
            open_packs: open,
            sealed_packs: sealed,
            doomed_packs: doomed,
            pack_bytes,
            dead_bytes: u64::saturating_sub(pack_bytes, live_bytes),
        })
    }
}
