//! How a store of objects behaves.

use std::time::Duration;

use crate::chunk::ChunkSizes;

/// How objects are cut, packed and kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub chunks: ChunkSizes,
    /// The zstd level of chunks.
    pub level: i32,
    /// A pack that is as large is not added to.
    pub pack_bytes: u64,
    /// How long a chunk that an upload was promised, and a pack that an upload wrote to, are kept without being referred to.
    /// An upload may take half of it.
    pub lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunks: ChunkSizes::default(),
            level: 3,
            pack_bytes: 64 << 20,
            lease: Duration::from_secs(12 * 3600),
        }
    }
}

impl Options {
    pub(crate) fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX / 4)
    }

    pub(crate) fn longest_upload(&self) -> Duration {
        self.lease / 2
    }
}
