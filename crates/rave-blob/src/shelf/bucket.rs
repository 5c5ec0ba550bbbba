//! Packs as objects in a bucket of S3 or of what speaks like it.
//!
//! An object cannot be added to, so a pack grows in memory and is put at once: when it is full, or when someone waits for what
//! is in it. Who waits while others are being put shares the next one, so many small puts make few objects.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload};
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_store::Db;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::{OnShelf, Shelf, Spot};
use crate::error::{PutError, StoreError};
use crate::frame::Frame;
use crate::table;

/// From which size on a pack is put. So much of each pack that is on its way is in memory.
const PACK_BYTES: u64 = 16 << 20;
/// How many packs are put at once.
const PUTS: usize = 2;
/// How often a part of a pack is asked for.
const READS: u32 = 4;

/// A bucket for packs.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The server's address with its scheme; `None` for Amazon's own.
    pub endpoint: Option<String>,
    pub name: String,
    /// Where the bucket is, such as `eu-central-1`.
    pub region: String,
    pub access_key: String,
    pub secret_key: Secret,
    /// What belongs to a key that is good for a while only.
    pub session_token: Option<Secret>,
    /// What the names of all packs begin with.
    pub prefix: String,
}

/// Packs in a bucket.
pub(crate) struct BucketShelf {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    store: AmazonS3,
    prefix: Path,
    db: Db,
    state: Mutex<State>,
    /// Held by whoever begins a pack, so that two do not.
    beginning: tokio::sync::Mutex<()>,
    puts: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    open: Option<Growing>,
    /// Packs that are on their way or did not arrive.
    flying: HashMap<i64, watch::Receiver<Flight>>,
}

/// A pack in memory.
struct Growing {
    id: i64,
    name: String,
    frames: Vec<Bytes>,
    length_bytes: u64,
}

#[derive(Clone)]
enum Flight {
    Under,
    Arrived,
    Lost(Arc<str>),
}

impl BucketShelf {
    pub(crate) fn open(bucket: &Bucket, db: Db) -> Result<Self, StoreError> {
        // Fails when the process has a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |it| StoreError::new(format!("cannot use the bucket {}", bucket.name), it);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.name)
            .with_region(&bucket.region)
            .with_access_key_id(&bucket.access_key)
            .with_secret_access_key(bucket.secret_key.expose());
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"))
                .with_virtual_hosted_style_request(false);
        }
        if let Some(token) = &bucket.session_token {
            builder = builder.with_token(token.expose());
        }
        let store = builder
            .build()
            .map_err(|it| failed(rave_store::BoxError::from(it)))?;
        let prefix = Path::parse(&bucket.prefix).map_err(|it| failed(it.into()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                prefix,
                db,
                state: Mutex::default(),
                beginning: tokio::sync::Mutex::new(()),
                puts: Arc::new(Semaphore::new(PUTS)),
            }),
            tasks: TaskTracker::new(),
        })
    }
}

impl Shared {
    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(format!("{name}.pack"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds frames to the open pack. Returns where they are, and the pack if it is full now.
    fn push(&self, frames: &[Frame]) -> Option<(Vec<Spot>, Option<Departure>)> {
        let mut state = self.state();
        let open = state.open.as_mut()?;
        let mut spots = Vec::with_capacity(frames.len());
        for frame in frames {
            spots.push(Spot {
                pack: open.id,
                position: open.length_bytes,
            });
            open.length_bytes += frame.bytes.len() as u64;
            open.frames.push(frame.bytes.clone());
        }
        let full = open.length_bytes >= PACK_BYTES;
        let departure = full.then(|| state.depart()).flatten();
        Some((spots, departure))
    }

    async fn append(
        self: Arc<Self>,
        frames: Vec<Frame>,
        tasks: TaskTracker,
    ) -> Result<Vec<Spot>, PutError> {
        loop {
            if let Some((spots, departure)) = self.push(&frames) {
                if let Some(departure) = departure {
                    // Waiting for room here is what slows senders down to what the bucket takes.
                    let permit = self.permit().await?;
                    tasks.spawn(self.clone().put(departure, permit));
                }
                return Ok(spots);
            }
            let _beginning = self.beginning.lock().await;
            if self.state().open.is_some() {
                continue;
            }
            let name = uuid::Uuid::now_v7().to_string();
            let noted = name.clone();
            let id = self
                .db
                .write("blob_begin_pack", move |tx| table::pack::begin(tx, &noted))
                .await
                .map_err(|error: rave_store::Error| PutError::from(error))?;
            self.state().open = Some(Growing {
                id,
                name,
                frames: Vec::new(),
                length_bytes: 0,
            });
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, PutError> {
        let permit = self.puts.clone().acquire_owned().await;
        permit.map_err(|it| PutError::Io(io::Error::other(it)))
    }

    async fn settle(self: Arc<Self>, pack: i64, tasks: TaskTracker) -> Result<(), PutError> {
        let is_open = |state: &State| state.open.as_ref().is_some_and(|it| it.id == pack);
        if is_open(&self.state()) {
            let permit = self.permit().await?;
            let departure = {
                let mut state = self.state();
                is_open(&state).then(|| state.depart()).flatten()
            };
            if let Some(departure) = departure {
                tasks.spawn(self.clone().put(departure, permit));
            }
        }
        let flight = self.state().flying.get(&pack).cloned();
        // What is neither open nor on its way has arrived.
        let Some(mut flight) = flight else {
            return Ok(());
        };
        let ended = flight
            .wait_for(|it| !matches!(it, Flight::Under))
            .await
            .map(|it| it.clone());
        match ended {
            Ok(Flight::Arrived) => Ok(()),
            Ok(Flight::Lost(why)) => Err(PutError::Io(io::Error::other(why.to_string()))),
            Ok(Flight::Under) | Err(_) => {
                Err(PutError::Io(io::Error::other("the pack was given up")))
            }
        }
    }

    /// Puts a pack into the bucket and notes that it is there.
    async fn put(self: Arc<Self>, departure: Departure, permit: OwnedSemaphorePermit) {
        let Departure { pack, told } = departure;
        let payload: PutPayload = pack.frames.into_iter().collect();
        let put = self.store.put(&self.path(&pack.name), payload).await;
        let sealed = match put {
            Ok(_) => {
                let (id, length_bytes) = (pack.id, pack.length_bytes);
                self.db
                    .write("blob_seal_pack", move |tx| {
                        table::pack::seal(tx, id, length_bytes)
                    })
                    .await
                    .map_err(|it: rave_store::Error| it.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        drop(permit);
        let flight = match sealed {
            Ok(()) => {
                self.state().flying.remove(&pack.id);
                Flight::Arrived
            }
            Err(error) => {
                tracing::error!(
                    error,
                    pack = pack.name,
                    "a pack did not get into the bucket"
                );
                Flight::Lost(format!("a pack did not get into the bucket: {error}").into())
            }
        };
        let _ = told.send(flight);
    }
}

/// A pack that leaves memory.
struct Departure {
    pack: Growing,
    told: watch::Sender<Flight>,
}

impl State {
    fn depart(&mut self) -> Option<Departure> {
        let pack = self.open.take()?;
        // Who wanted to know of an old loss has asked by now.
        if self.flying.len() > 1000 {
            self.flying
                .retain(|_, it| matches!(*it.borrow(), Flight::Under));
        }
        let (told, flight) = watch::channel(Flight::Under);
        self.flying.insert(pack.id, flight);
        Some(Departure { pack, told })
    }
}

#[async_trait]
impl Shelf for BucketShelf {
    async fn append(&self, frames: &[Frame]) -> Result<Vec<Spot>, PutError> {
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        let (shared, frames, tasks) = (self.shared.clone(), frames.to_vec(), self.tasks.clone());
        let task = self.tasks.spawn(shared.append(frames, tasks));
        task.await
            .map_err(|it| PutError::Io(io::Error::other(it)))?
    }

    async fn settle(&self, packs: &[i64]) -> Result<(), PutError> {
        for pack in packs {
            let (shared, tasks) = (self.shared.clone(), self.tasks.clone());
            let task = self.tasks.spawn(shared.settle(*pack, tasks));
            task.await
                .map_err(|it| PutError::Io(io::Error::other(it)))??;
        }
        Ok(())
    }

    async fn read(&self, pack: &Arc<str>, range: Range<u64>) -> io::Result<Bytes> {
        let (wanted, path) = (range.end - range.start, self.shared.path(pack));
        let mut attempt = 1;
        loop {
            // Requests that are refused are repeated below; an answer that breaks off is asked for again here.
            match self.shared.store.get_range(&path, range.clone()).await {
                Ok(bytes) if bytes.len() as u64 == wanted => return Ok(bytes),
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error @ object_store::Error::NotFound { .. }) => return Err(of_bucket(error)),
                Err(error) if attempt >= READS => return Err(of_bucket(error)),
                Err(error) => {
                    tracing::warn!(%error, pack = &**pack, attempt, "a part of a pack did not come");
                    attempt += 1;
                }
            }
        }
    }

    async fn list(&self) -> io::Result<Vec<OnShelf>> {
        let listed = self.shared.store.list(Some(&self.shared.prefix));
        listed
            .map_err(of_bucket)
            .try_filter_map(|it| async move {
                let name = it
                    .location
                    .filename()
                    .and_then(|it| it.strip_suffix(".pack"));
                Ok(name.map(|name| OnShelf {
                    name: name.to_owned(),
                    size_bytes: it.size,
                    changed_at: Timestamp(it.last_modified.timestamp_millis()),
                }))
            })
            .try_collect()
            .await
    }

    async fn remove(&self, pack: &str) -> io::Result<()> {
        match self.shared.store.delete(&self.shared.path(pack)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(of_bucket(error)),
        }
    }

    fn is_owned(&self) -> bool {
        false
    }

    async fn rotate(&self, before: Timestamp) -> Result<(), PutError> {
        let given_up = self
            .shared
            .db
            .read("blob_given_up", move |tx| {
                table::pack::abandoned(tx, before)
            })
            .await?;
        for pack in given_up {
            self.remove(&pack.name).await.map_err(PutError::of_store)?;
            let id = pack.id;
            self.shared
                .db
                .write("blob_forget_pack", move |tx| table::pack::forget(tx, id))
                .await?;
        }
        Ok(())
    }

    async fn truncate(&self, _: &str, _: u64) -> io::Result<()> {
        // Only whole packs are ever put.
        Ok(())
    }
}

fn of_bucket(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        other => io::Error::other(other),
    }
}
