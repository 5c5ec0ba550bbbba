//! The store as parts see it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rave_core::time::Timestamp;
use rave_store::Db;

use crate::frame::LABEL_BYTES;
use crate::metrics::BlobMetrics;
use crate::shelf::{Bucket, BucketShelf, DiskShelf, Faults, FaultyShelf, Shelf};
use crate::table;
use crate::{Digest, Options, StoreError};

/// Objects by digest. Clones share the store.
#[derive(Clone)]
pub struct Blobs(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) db: Db,
    pub(crate) shelf: Box<dyn Shelf>,
    pub(crate) options: Options,
    /// The directory where the packs are, and what is left of the former layout.
    root: Option<PathBuf>,
    pub(crate) metrics: BlobMetrics,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    pub size_bytes: u64,
    /// What its chunks take, compressed, those included that it shares with others: the length of [`Blobs::frames`].
    pub stored_bytes: u64,
}

/// An object among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub digest: Digest,
    pub size_bytes: u64,
    /// When it was last put.
    pub put_at: Timestamp,
}

impl Blobs {
    /// Opens a store whose packs are files in `root`, which is made when it does not exist. The database must have the
    /// tables of [`crate::MIGRATIONS`].
    pub async fn on_disk(
        db: Db,
        root: impl Into<PathBuf>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let root: PathBuf = root.into();
        let shelf = Self::shelf(&db, &root, options).await?;
        Ok(Self::new(db, Box::new(shelf), options, Some(root)))
    }

    /// Opens a store for a process that ends where a test says.
    #[doc(hidden)]
    pub async fn on_disk_with_faults(
        db: Db,
        root: impl Into<PathBuf>,
        options: Options,
        faults: Faults,
    ) -> Result<Self, StoreError> {
        let root: PathBuf = root.into();
        let inner = Box::new(Self::shelf(&db, &root, options).await?);
        let shelf = Box::new(FaultyShelf { inner, faults });
        Ok(Self::new(db, shelf, options, Some(root)))
    }

    async fn shelf(db: &Db, root: &Path, options: Options) -> Result<DiskShelf, StoreError> {
        let what = format!("cannot open the packs in {}", root.display());
        DiskShelf::open(root.join("packs"), db.clone(), options.pack_bytes)
            .await
            .map_err(|it| StoreError::new(what, it))
    }

    fn new(db: Db, shelf: Box<dyn Shelf>, options: Options, root: Option<PathBuf>) -> Self {
        Self(Arc::new(Shared {
            db,
            shelf,
            options,
            root,
            metrics: BlobMetrics::default(),
        }))
    }

    /// Opens a store whose packs are objects in a bucket. Several processes may share it with their database.
    pub fn in_bucket(db: Db, bucket: &Bucket, options: Options) -> Result<Self, StoreError> {
        let shelf = BucketShelf::open(bucket, db.clone())?;
        Ok(Self::new(db, Box::new(shelf), options, None))
    }

    /// Finishes the packs that a process before this one left open: what counts in them stays, the rest is cut off. Then takes
    /// in the objects of the former layout, a file each.
    ///
    /// Only for the process that owns the directory, and before it puts anything. Returns how many packs there were.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        if !self.0.shelf.is_owned() {
            return Ok(0);
        }
        let left = self.0.db.read("blob_open_packs", table::pack::open).await?;
        let count = left.len();
        for pack in left {
            let failed = |it| StoreError::new(format!("cannot mend pack {}", pack.name), it);
            let end = pack.end.and_then(|it| u64::try_from(it).ok());
            match end.map(|it| it + LABEL_BYTES as u64) {
                Some(length) => {
                    match self.0.shelf.truncate(&pack.name, length).await {
                        // The chunks in it are found damaged when they are read.
                        Err(it) if it.kind() == std::io::ErrorKind::NotFound => {
                            tracing::error!(pack = pack.name, "a pack that holds chunks is gone");
                        }
                        other => other.map_err(failed)?,
                    }
                    let id = pack.id;
                    self.0
                        .db
                        .write("blob_seal_pack", move |tx| {
                            table::pack::seal(tx, id, length)
                        })
                        .await?;
                }
                None => {
                    self.0.shelf.remove(&pack.name).await.map_err(failed)?;
                    let id = pack.id;
                    self.0
                        .db
                        .write("blob_forget_pack", move |tx| table::pack::forget(tx, id))
                        .await?;
                }
            }
        }
        if count > 0 {
            tracing::info!(packs = count, "finished what was left open");
        }
        if let Some(root) = &self.0.root {
            self.import(root).await?;
        }
        Ok(count)
    }

    /// Registers the store's metrics.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.0.metrics.register(registry);
    }

    /// Returns whether the object is there and, as far as is known, sound.
    pub async fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.describe(digest).await?.is_some())
    }

    /// Returns what is known of an object that is there and, as far as is known, sound.
    pub async fn describe(&self, digest: &Digest) -> Result<Option<Described>, StoreError> {
        let digest = *digest;
        let found = self
            .0
            .db
            .read("blob_describe", move |tx| table::object::find(tx, &digest))
            .await?;
        Ok(found.filter(|it| !it.damaged).map(|it| Described {
            size_bytes: it.size_bytes,
            stored_bytes: it.stored_bytes,
        }))
    }

    /// Returns up to `limit` objects whose digests follow `after`, in the order of digests.
    pub async fn list(&self, after: Option<Digest>, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let walked = self
            .0
            .db
            .read("blob_list", move |tx| {
                table::object::walk(tx, after.as_ref(), limit)
            })
            .await?;
        let listed = walked.into_iter().map(|it| Listed {
            digest: it.digest,
            size_bytes: it.size_bytes,
            put_at: it.put_at,
        });
        Ok(listed.collect())
    }

    /// Deletes an object that was last put at `put_until` or before. Returns whether it did: an object that is absent or was
    /// put again in the meantime is left alone. Its chunks stay until a sweep finds that nothing else is made of them.
    pub async fn delete(&self, digest: &Digest, put_until: Timestamp) -> Result<bool, StoreError> {
        let digest = *digest;
        let deleted = self
            .0
            .db
            .write("blob_delete", move |tx| {
                table::object::delete(tx, &digest, put_until)
            })
            .await?;
        Ok(deleted)
    }

    /// Notes that a chunk is not what was put, with every object that it is part of.
    pub(crate) async fn report_damage(
        &self,
        chunk: i64,
        what: &str,
    ) -> Result<(), rave_store::Error> {
        self.0.metrics.note_damage();
        tracing::error!(
            chunk,
            what,
            "a chunk is damaged: what it is part of is not served until it is put again"
        );
        self.0
            .db
            .write("blob_mark_damaged", move |tx| {
                table::chunk::mark_damaged(tx, chunk)
            })
            .await?;
        let mut after = None;
        loop {
            let walked = self
                .0
                .db
                .read("blob_walk", move |tx| {
                    table::object::walk(tx, after.as_ref(), 500)
                })
                .await?;
            let Some(last) = walked.last() else {
                return Ok(());
            };
            after = Some(last.digest);
            let hurt: Vec<Digest> = walked
                .iter()
                .filter(|it| {
                    crate::manifest::decode(&it.manifest)
                        .map_or(true, |parts| parts.iter().any(|it| it.chunk == chunk))
                })
                .map(|it| it.digest)
                .collect();
            if !hurt.is_empty() {
                self.0
                    .db
                    .write("blob_mark_objects", move |tx| {
                        hurt.iter()
                            .try_for_each(|it| table::object::mark_damaged(tx, it))
                    })
                    .await?;
            }
        }
    }
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs")
            .field("db", &self.0.db)
            .finish_non_exhaustive()
    }
}
