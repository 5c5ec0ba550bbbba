//! Objects as files: `objects/ab/cdef…` by digest, and `tmp/` for those that are not complete.

mod incoming;

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_util::StreamExt;
use rave_core::time::{Clock, Timestamp};
use sha2::{Digest as _, Sha256};

use self::incoming::Incoming;
use crate::{
    BlobEntry, BlobReader, BlobRef, BlobStore, ByteStream, Digest, GetError, PutError, StoreError,
    VerifyError,
};

/// How much is gathered before a thread is asked to hash and write it.
const BATCH_BYTES: usize = 256 * 1024;

/// Objects in a directory of one process. Clones share it.
#[derive(Clone)]
pub struct DiskStore(Arc<Shared>);

struct Shared {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    /// Held while an object's file is replaced, made young or deleted, so that a put never relies on an object that a
    /// sweep is about to delete.
    files: Mutex<()>,
}

impl DiskStore {
    /// Opens the directory, makes it when it does not exist, and removes what a crash left unfinished.
    pub async fn open(root: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let root = root.into();
        let what = format!("cannot open the objects in {}", root.display());
        let shared = Arc::new(Shared {
            root,
            clock,
            files: Mutex::new(()),
        });
        let opened = shared.clone();
        blocking(move || opened.prepare())
            .await
            .map_err(|it| StoreError::new(what, it))?;
        Ok(Self(shared))
    }

    /// Runs file work on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
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
            if batched >= BATCH_BYTES {
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

impl Shared {
    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.objects().join(&name[..2]).join(&name[2..])
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(self.objects())?;
        private.create(self.temporary())?;
        let mut removed = 0;
        for entry in fs::read_dir(self.temporary())? {
            fs::remove_file(entry?.path())?;
            removed += 1;
        }
        if removed > 0 {
            tracing::info!(
                objects = removed,
                "removed objects that a crash had left unfinished"
            );
        }
        sync_directory(&self.root)
    }

    /// Gives a complete object its name. Of two puts of the same bytes, the second only makes the object young.
    fn keep(&self, incoming: Incoming) -> io::Result<Digest> {
        let complete = incoming.finish(system_time(self.clock.now()))?;
        let path = self.path(&complete.digest);
        let directory = path.parent().unwrap_or(&self.root);
        let _files = self.lock();
        match File::open(&path) {
            // A file that lost bytes is not that object: it is replaced.
            Ok(file) if file.metadata()?.len() == complete.size_bytes => {
                file.set_modified(system_time(self.clock.now()))?;
                return Ok(complete.digest);
            }
            Err(it) if it.kind() != io::ErrorKind::NotFound => return Err(it),
            _ => {}
        }
        if !directory.try_exists()? {
            DirBuilder::new().mode(0o700).create(directory)?;
            sync_directory(&self.objects())?;
        }
        complete.file.persist(&path).map_err(|it| it.error)?;
        sync_directory(directory)?;
        Ok(complete.digest)
    }

    fn delete(&self, digest: &Digest, put_until: Timestamp) -> io::Result<bool> {
        let path = self.path(digest);
        let _files = self.lock();
        let metadata = match fs::metadata(&path) {
            Err(it) if it.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        if timestamp(metadata.modified()?) > put_until {
            return Ok(false);
        }
        // Not synced: an object that returns after a power failure is swept again.
        fs::remove_file(&path)?;
        Ok(true)
    }

    fn list(&self, after: Option<Digest>, limit: usize) -> io::Result<Vec<BlobEntry>> {
        let first = after.map(|it| it.to_string()[..2].to_owned());
        let mut entries = Vec::new();
        for name in sorted_names(&self.objects())?
            .into_iter()
            .filter(|it| first.as_ref().is_none_or(|first| it >= first))
        {
            let directory = self.objects().join(&name);
            for rest in sorted_names(&directory)? {
                if entries.len() >= limit {
                    return Ok(entries);
                }
                // A file of another name is not ours and is left alone.
                let Ok(digest) = format!("{name}{rest}").parse::<Digest>() else {
                    continue;
                };
                if after.is_some_and(|after| digest <= after) {
                    continue;
                }
                match fs::metadata(directory.join(&rest)) {
                    Ok(it) => entries.push(BlobEntry {
                        digest,
                        size_bytes: it.len(),
                        put_at: timestamp(it.modified()?),
                    }),
                    Err(it) if it.kind() == io::ErrorKind::NotFound => {}
                    Err(it) => return Err(it),
                }
            }
        }
        Ok(entries)
    }

    fn hash(&self, digest: &Digest) -> io::Result<Digest> {
        let mut file = File::open(self.path(digest))?;
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; BATCH_BYTES]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hasher.into()),
                read => hasher.update(&piece[..read]),
            }
        }
    }
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DiskStore").field(&self.0.root).finish()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// Makes the names in a directory survive a power failure.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sorted_names(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?
        .filter_map(|it| it.map(|it| it.file_name().into_string().ok()).transpose());
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
