//! Packs as files in a directory of one process.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rave_core::time::Timestamp;
use rave_store::Db;
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::task::TaskTracker;

use super::{OnShelf, Shelf, Spot};
use crate::error::PutError;
use crate::frame::Frame;
use crate::table;

/// How many packs are kept open for readers.
const OPEN_FILES: usize = 32;

/// Packs in a directory.
pub(crate) struct DiskShelf {
    shared: Arc<Shared>,
    /// What holds a lock runs in a task of its own: a caller that stops asking for its future must not hold up the others.
    tasks: TaskTracker,
}

struct Shared {
    root: PathBuf,
    db: Db,
    pack_bytes: u64,
    open: AsyncMutex<Option<Arc<OpenPack>>>,
    /// Packs that were written to and whose writes no one has waited for yet.
    unsettled: Mutex<Vec<Arc<OpenPack>>>,
    /// Packs of which a write never reached the disk. The system reports that once and forgets it, so that a later wait would
    /// succeed over what is lost.
    broken: Mutex<HashSet<i64>>,
    readers: Mutex<VecDeque<(Arc<str>, Arc<File>)>>,
}

/// A pack that grows.
struct OpenPack {
    id: i64,
    begun_at: Timestamp,
    file: File,
    /// Where the next frame goes.
    length: AtomicU64,
    /// How many writes have returned.
    written: AtomicU64,
    /// How many of them are on the disk for certain.
    synced: AsyncMutex<u64>,
    /// Whether that failed once; set under the lock of `synced`.
    failed: AtomicBool,
}

impl DiskShelf {
    /// Opens the directory, and makes it when it does not exist.
    pub(crate) async fn open(root: PathBuf, db: Db, pack_bytes: u64) -> io::Result<Self> {
        let directory = root.clone();
        blocking(move || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)?;
            directory.parent().map_or(Ok(()), sync_directory)
        })
        .await?;
        let shared = Arc::new(Shared {
            root,
            db,
            pack_bytes,
            open: AsyncMutex::new(None),
            unsettled: Mutex::new(Vec::new()),
            broken: Mutex::default(),
            readers: Mutex::new(VecDeque::new()),
        });
        Ok(Self {
            shared,
            tasks: TaskTracker::new(),
        })
    }
}

impl Shared {
    /// Begins a pack: its row first, so that a file without a row is none of ours.
    async fn begin(&self) -> Result<Arc<OpenPack>, PutError> {
        let name = uuid::Uuid::now_v7().to_string();
        let path = self.path(&name);
        let (id, begun_at) = self
            .db
            .write("blob_begin_pack", move |tx| {
                Ok::<_, PutError>((table::pack::begin(tx, &name)?, tx.now()))
            })
            .await?;
        let root = self.root.clone();
        let made = blocking(move || {
            let file = OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&path)?;
            sync_directory(&root).or_else(|it| fs::remove_file(&path).and(Err(it)))?;
            Ok(file)
        });
        let file = match made.await {
            Ok(file) => file,
            Err(error) => {
                // On a full disk every upload comes this way: none may leave a row for the next start to clear up.
                let forget = self
                    .db
                    .write("blob_forget_pack", move |tx| table::pack::forget(tx, id));
                if let Err(error) = forget.await {
                    tracing::warn!(%error, pack = id, "cannot forget a pack that could not be made");
                }
                return Err(PutError::of_store(error));
            }
        };
        Ok(Arc::new(OpenPack {
            id,
            begun_at,
            file,
            length: AtomicU64::new(0),
            written: AtomicU64::new(0),
            synced: AsyncMutex::new(0),
            failed: AtomicBool::new(false),
        }))
    }

    /// Lets the open pack grow no more.
    async fn seal(&self, open: &mut Option<Arc<OpenPack>>) -> Result<(), PutError> {
        if let Some(full) = open {
            let (id, length_bytes) = (full.id, full.length.load(Ordering::Acquire));
            self.db
                .write("blob_seal_pack", move |tx| {
                    table::pack::seal(tx, id, length_bytes)
                })
                .await?;
            *open = None;
        }
        Ok(())
    }

    /// Sets aside room in the open pack. Returns it with where the room begins.
    async fn reserve(&self, length_bytes: u64) -> Result<(Arc<OpenPack>, u64), PutError> {
        let mut open = self.open.lock().await;
        if open.as_ref().is_some_and(|it| {
            it.length.load(Ordering::Acquire) >= self.pack_bytes
                || lock(&self.broken).contains(&it.id)
        }) {
            self.seal(&mut open).await?;
        }
        let pack = match &*open {
            Some(pack) => pack.clone(),
            None => open.insert(self.begin().await?).clone(),
        };
        let position = pack.length.fetch_add(length_bytes, Ordering::AcqRel);
        Ok((pack, position))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.pack"))
    }

    /// Returns a pack's file, opened before or now.
    fn reader(&self, name: &Arc<str>) -> io::Result<Arc<File>> {
        let mut readers = lock(&self.readers);
        if let Some(at) = readers.iter().position(|(of, _)| of == name)
            && let Some(found) = readers.remove(at)
        {
            let file = found.1.clone();
            readers.push_front(found);
            return Ok(file);
        }
        let file = Arc::new(File::open(self.path(name))?);
        readers.push_front((name.clone(), file.clone()));
        readers.truncate(OPEN_FILES);
        Ok(file)
    }

    async fn append(&self, frames: &[Frame]) -> Result<Vec<Spot>, PutError> {
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        let total = frames.iter().map(|it| it.bytes.len() as u64).sum();
        let (pack, position) = self.reserve(total).await?;
        let mut spots = Vec::with_capacity(frames.len());
        let mut at = position;
        for frame in frames {
            spots.push(Spot {
                pack: pack.id,
                position: at,
            });
            at += frame.bytes.len() as u64;
        }
        let (target, bytes) = (
            pack.clone(),
            frames.iter().map(|it| it.bytes.clone()).collect::<Vec<_>>(),
        );
        blocking(move || {
            let mut at = position;
            for bytes in bytes {
                target.file.write_all_at(&bytes, at)?;
                at += bytes.len() as u64;
            }
            target.written.fetch_add(1, Ordering::AcqRel);
            Ok(())
        })
        .await
        .map_err(PutError::of_store)?;
        let mut unsettled = lock(&self.unsettled);
        if !unsettled.iter().any(|it| it.id == pack.id) {
            unsettled.push(pack);
        }
        Ok(spots)
    }

    async fn settle(&self, packs: &[i64]) -> Result<(), PutError> {
        let mut unsettled = lock(&self.unsettled).clone();
        unsettled.retain(|it| packs.contains(&it.id));
        for pack in unsettled {
            if let Err(error) = pack.sync().await {
                lock(&self.broken).insert(pack.id);
                lock(&self.unsettled).retain(|it| it.id != pack.id);
                return Err(PutError::of_store(error));
            }
            let covered = *pack.synced.lock().await;
            // Another's write may have come since: it finds the pack here, or puts it here again.
            lock(&self.unsettled)
                .retain(|it| it.id != pack.id || it.written.load(Ordering::Acquire) > covered);
        }
        match packs.iter().any(|it| lock(&self.broken).contains(it)) {
            true => Err(PutError::Io(io::Error::other(
                "what was written to the pack before did not reach the disk: send it again",
            ))),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Shelf for DiskShelf {
    async fn append(&self, frames: &[Frame]) -> Result<Vec<Spot>, PutError> {
        let (shared, frames) = (self.shared.clone(), frames.to_vec());
        let task = self
            .tasks
            .spawn(async move { shared.append(&frames).await });
        task.await
            .map_err(|it| PutError::Io(io::Error::other(it)))?
    }

    async fn settle(&self, packs: &[i64]) -> Result<(), PutError> {
        let (shared, packs) = (self.shared.clone(), packs.to_vec());
        let task = self.tasks.spawn(async move { shared.settle(&packs).await });
        task.await
            .map_err(|it| PutError::Io(io::Error::other(it)))?
    }

    async fn read(&self, pack: &Arc<str>, range: Range<u64>) -> io::Result<Bytes> {
        let file = self.shared.reader(pack)?;
        blocking(move || {
            let length =
                usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, range.start)?;
            Ok(buffer.into())
        })
        .await
    }

    async fn list(&self) -> io::Result<Vec<OnShelf>> {
        let root = self.shared.root.clone();
        blocking(move || {
            let mut found = Vec::new();
            for entry in fs::read_dir(root)? {
                let entry = entry?;
                let path = entry.path();
                let stem = path.file_stem().and_then(|it| it.to_str());
                let is_pack = path.extension().is_some_and(|it| it == "pack");
                let Some(name) = stem.filter(|it| is_pack && uuid::Uuid::parse_str(it).is_ok())
                else {
                    continue;
                };
                match entry.metadata() {
                    Ok(metadata) => found.push(OnShelf {
                        name: name.to_owned(),
                        size_bytes: metadata.len(),
                        changed_at: Timestamp(metadata.mtime().saturating_mul(1000)),
                    }),
                    // It was deleted since.
                    Err(it) if it.kind() == io::ErrorKind::NotFound => {}
                    Err(it) => return Err(it),
                }
            }
            Ok(found)
        })
        .await
    }

    async fn remove(&self, pack: &str) -> io::Result<()> {
        lock(&self.shared.readers).retain(|(of, _)| &**of != pack);
        let path = self.shared.path(pack);
        blocking(move || match fs::remove_file(path) {
            Err(it) if it.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .await
    }

    fn is_owned(&self) -> bool {
        true
    }

    async fn rotate(&self, before: Timestamp) -> Result<(), PutError> {
        let shared = self.shared.clone();
        let task = self.tasks.spawn(async move {
            let mut open = shared.open.lock().await;
            match open.as_ref().filter(|it| it.begun_at < before) {
                Some(_) => shared.seal(&mut open).await,
                None => Ok(()),
            }
        });
        task.await
            .map_err(|it| PutError::Io(io::Error::other(it)))?
    }

    async fn truncate(&self, pack: &str, length_bytes: u64) -> io::Result<()> {
        let path = self.shared.path(pack);
        blocking(move || {
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() > length_bytes {
                file.set_len(length_bytes)?;
                file.sync_all()?;
            }
            Ok(())
        })
        .await
    }
}

impl OpenPack {
    /// Waits until every write that has returned is on the disk. Who comes while another waits finds the work done.
    async fn sync(self: &Arc<Self>) -> io::Result<()> {
        let wanted = self.written.load(Ordering::Acquire);
        let mut synced = self.synced.lock().await;
        if *synced >= wanted {
            return Ok(());
        }
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the disk did not take it in before"));
        }
        let covered = self.written.load(Ordering::Acquire);
        let pack = self.clone();
        let done = blocking(move || pack.file.sync_data()).await;
        self.failed.store(done.is_err(), Ordering::Release);
        done?;
        *synced = covered;
        Ok(())
    }
}

/// Makes the names in a directory survive a power failure.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
