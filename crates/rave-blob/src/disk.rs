//! Objects as files: `objects/ab/cdef…` by digest, and `tmp/` for those that are not complete.

mod files;
mod incoming;

use std::{fs::File, io, ops::Range, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use futures_util::StreamExt;
use rave_core::time::{Clock, Timestamp};

use self::{files::Files, incoming::Incoming};
use crate::{
    BlobEntry, BlobReader, BlobRef, BlobStore, ByteStream, Digest, GetError, PutError, StoreError,
    VerifyError,
};

/// How much is gathered before a thread is asked to hash and write it.
const BATCH_BYTES: usize = 256 * 1024;
/// The same in pieces: a sender of single bytes must not cost more memory than others.
const BATCH_PIECES: usize = 1024;

/// Objects in a directory of one process. Clones share it.
#[derive(Clone)]
pub struct DiskStore(Arc<Files>);

impl DiskStore {
    /// Opens the directory, makes it when it does not exist, and removes what a crash left unfinished.
    pub async fn open(root: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let root = root.into();
        let what = format!("cannot open the objects in {}", root.display());
        let shared = Arc::new(Files::new(root, clock));
        let opened = shared.clone();
        blocking(move || opened.prepare())
            .await
            .map_err(|it| StoreError::new(what, it))?;
        Ok(Self(shared))
    }

    /// Runs file work on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> T + Send + 'static,
    ) -> io::Result<T> {
        let shared = self.0.clone();
        blocking(move || Ok(work(&shared))).await
    }
}

#[async_trait]
impl BlobStore for DiskStore {
    async fn put(&self, mut stream: ByteStream<'_>, limit_bytes: u64) -> Result<BlobRef, PutError> {
        let shared = self.0.clone();
        let begun = blocking(move || Incoming::begin(&shared.temporary())).await;
        let mut incoming = begun.map_err(PutError::of_store)?;
        let (mut batch, mut batched, mut size_bytes) = (Vec::new(), 0_usize, 0_u64);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(PutError::Stream)?;
            size_bytes = size_bytes.saturating_add(piece.len() as u64);
            if size_bytes > limit_bytes {
                return Err(PutError::TooLarge { limit_bytes });
            }
            batched += piece.len();
            batch.push(piece);
            if batched >= BATCH_BYTES || batch.len() >= BATCH_PIECES {
                let full = std::mem::take(&mut batch);
                batched = 0;
                incoming = blocking(move || incoming.append(&full))
                    .await
                    .map_err(PutError::of_store)?;
            }
        }
        let shared = self.0.clone();
        let finish = move || shared.keep(incoming.append(&batch)?);
        let digest = blocking(finish).await.map_err(PutError::of_store)?;
        Ok(BlobRef { digest, size_bytes })
    }

    async fn get(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<BlobReader, GetError> {
        let digest = *digest;
        let file = tokio::fs::File::from_std(self.open_file(&digest).await?);
        let failed = |source| GetError::Io { digest, source };
        let size_bytes = file.metadata().await.map_err(failed)?.len();
        let range = range.unwrap_or(0..size_bytes);
        if range.start > range.end || range.end > size_bytes {
            return Err(GetError::Range {
                digest,
                start: range.start,
                end: range.end,
                size_bytes,
            });
        }
        BlobReader::new(file, range, size_bytes)
            .await
            .map_err(failed)
    }

    async fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        let digest = *digest;
        let found = self
            .run(move |it| it.path(&digest).try_exists())
            .await
            .flatten();
        found.map_err(|it| StoreError::new(format!("cannot look for object {digest}"), it))
    }

    async fn delete(&self, digest: &Digest, put_until: Timestamp) -> Result<bool, StoreError> {
        let digest = *digest;
        let deleted = self
            .run(move |it| it.delete(&digest, put_until))
            .await
            .flatten();
        deleted.map_err(|it| StoreError::new(format!("cannot delete object {digest}"), it))
    }

    async fn list(
        &self,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<BlobEntry>, StoreError> {
        let listed = self.run(move |it| it.list(after, limit)).await.flatten();
        listed.map_err(|it| StoreError::new("cannot list the objects", it))
    }

    async fn verify(&self, digest: &Digest) -> Result<(), VerifyError> {
        let digest = *digest;
        let hashed = self.run(move |it| it.hash(&digest)).await.flatten();
        match hashed {
            Ok(actual) if actual == digest => Ok(()),
            Ok(actual) => Err(VerifyError::Corrupt { digest, actual }),
            Err(it) if it.kind() == io::ErrorKind::NotFound => Err(VerifyError::NotFound(digest)),
            Err(source) => Err(VerifyError::Io { digest, source }),
        }
    }

    async fn open_file(&self, digest: &Digest) -> Result<File, GetError> {
        let digest = *digest;
        let opened = self
            .run(move |it| File::open(it.path(&digest)))
            .await
            .flatten();
        opened.map_err(|it| GetError::of_file(digest, it))
    }
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DiskStore").field(&self.0.root()).finish()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
