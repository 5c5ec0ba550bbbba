//! Objects on a real disk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod crash;
mod objects;
mod sweep;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rave_blob::{BlobRef, BlobStore, ByteStream, DiskStore, PutError};
use rave_core::time::{ManualClock, Timestamp};

pub(crate) const START: Timestamp = Timestamp(1_767_323_045_678);

/// A store of one test's own.
pub(crate) struct Place {
    pub(crate) store: DiskStore,
    pub(crate) clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let store = DiskStore::open(directory.path().join("blobs"), clock.clone())
            .await
            .unwrap();
        Self {
            store,
            clock,
            directory,
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("blobs")
    }

    pub(crate) async fn put(&self, content: &[u8]) -> BlobRef {
        put(&self.store, content, u64::MAX).await.unwrap()
    }

    pub(crate) async fn read(&self, object: &BlobRef) -> Vec<u8> {
        collect(
            self.store
                .get(&object.digest, None)
                .await
                .unwrap()
                .into_stream(),
        )
        .await
        .unwrap()
    }

    pub(crate) fn file(&self, object: &BlobRef) -> PathBuf {
        let name = object.digest.to_string();
        self.root()
            .join("objects")
            .join(&name[..2])
            .join(&name[2..])
    }
}

pub(crate) async fn put(
    store: &DiskStore,
    content: &[u8],
    limit_bytes: u64,
) -> Result<BlobRef, PutError> {
    store.put(pieces(content), limit_bytes).await
}

/// Yields the content in pieces of an awkward size.
pub(crate) fn pieces(content: &[u8]) -> ByteStream<'static> {
    let pieces: Vec<io::Result<Bytes>> = content
        .chunks(70_001)
        .map(|it| Ok(Bytes::copy_from_slice(it)))
        .collect();
    stream::iter(pieces).boxed()
}

pub(crate) async fn collect(mut stream: ByteStream<'static>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    while let Some(piece) = stream.next().await {
        content.extend_from_slice(&piece?);
    }
    Ok(content)
}

pub(crate) fn files_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}
