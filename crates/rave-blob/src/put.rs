//! An object on its way in: cut, looked up, compressed, appended, recorded.
//!
//! Cutting and hashing run one batch ahead of the rest, so that two cores have work. What an upload wrote counts from the
//! transaction that records it; until then it is dead bytes in a pack, which is why a stream that breaks leaves nothing to
//! clear up. Chunks of long uploads are recorded on the way: who sends again sends over what is known.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rave_core::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::chunk::{Chunk, ChunkDigest, Cutter};
use crate::error::PutError;
use crate::frame::{self, Label};
use crate::manifest::{self, Part};
use crate::shelf::{self, Spot};
use crate::table::{self, object::Object};
use crate::{Blobs, ByteStream, Digest};

/// How much is gathered before it is hashed and cut.
const BATCH_BYTES: usize = 2 << 20;
/// The same in pieces: a sender of single bytes must not cost more memory than others.
const BATCH_PIECES: usize = 4096;
/// How many batches are between cutting and appending at once.
const BATCHES: usize = 2;
/// How many new chunks are recorded before the object's end.
const RECORD_CHUNKS: usize = 256;

/// What a caller says of an object before it comes.
#[derive(Clone, Copy, Debug)]
pub struct PutOptions {
    /// The most bytes that are taken.
    pub limit_bytes: u64,
    /// The digest that the bytes must have. An object that is known by it is only hashed.
    pub expected: Option<Digest>,
}

impl PutOptions {
    /// Takes at most `limit_bytes` of whatever comes.
    #[must_use]
    pub const fn at_most(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            expected: None,
        }
    }
}

/// An object that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub digest: Digest,
    pub size_bytes: u64,
    /// What it added to the packs, compressed.
    pub added_bytes: u64,
    /// Whether it was there before.
    pub was_known: bool,
}

/// A chunk of the object, as far as its place is known.
enum Placed {
    Known {
        id: i64,
        stored_bytes: u64,
    },
    New {
        label: Label,
        spot: Spot,
    },
    /// The same as a new one before it.
    Again(ChunkDigest),
}

/// What was cut.
struct Batch {
    chunks: Vec<Chunk>,
    /// At the end: what the whole was.
    end: Option<(Digest, u64)>,
}

/// The stream on its way through hash and knife.
struct Intake<'a> {
    /// Asked once more after its end, which not every stream bears.
    stream: stream::Fuse<ByteStream<'a>>,
    work: Option<(Sha256, Cutter)>,
    size_bytes: u64,
    limit_bytes: u64,
}

impl Blobs {
    /// Stores what the stream yields. When this returns, the object survives a power failure.
    ///
    /// When the future is dropped or the stream fails, no object comes of it. Memory stays within some 16 MiB, whatever the
    /// object's size.
    pub async fn put(
        &self,
        stream: ByteStream<'_>,
        options: PutOptions,
    ) -> Result<Stored, PutError> {
        let begun = Instant::now();
        let stored = self.put_any(stream, options).await?;
        self.0.metrics.note_put(&stored, begun.elapsed());
        Ok(stored)
    }

    async fn put_any(
        &self,
        stream: ByteStream<'_>,
        options: PutOptions,
    ) -> Result<Stored, PutError> {
        let intake = Intake {
            stream: stream.fuse(),
            work: Some((Sha256::new(), Cutter::new(self.0.options.chunks))),
            size_bytes: 0,
            limit_bytes: options.limit_bytes,
        };
        if let Some(expected) = options.expected
            && let Ok(Some(known)) = self.describe(&expected).await
        {
            return self.prove(intake, expected, known.size_bytes).await;
        }
        Upload::new(self).run(intake, options.expected).await
    }

    /// Reads what is known already, because who puts an object has to have it.
    async fn prove(
        &self,
        mut intake: Intake<'_>,
        expected: Digest,
        size_bytes: u64,
    ) -> Result<Stored, PutError> {
        let mut hasher = Sha256::new();
        while let Some(pieces) = intake.gather().await? {
            hasher = blocking(move || {
                pieces.iter().for_each(|it| hasher.update(it));
                Ok(hasher)
            })
            .await?;
        }
        let actual = Digest::from(hasher);
        if actual != expected {
            return Err(PutError::Mismatch { expected, actual });
        }
        let touched = self
            .0
            .db
            .write("blob_touch", move |tx| table::object::touch(tx, &expected))
            .await?;
        match touched {
            true => Ok(Stored {
                digest: expected,
                size_bytes,
                added_bytes: 0,
                was_known: true,
            }),
            // It was swept or found damaged while it was sent.
            false => Err(PutError::Io(std::io::Error::other(
                "the object that was known went away meanwhile: send it again",
            ))),
        }
    }
}

impl<'a> Intake<'a> {
    /// Gathers some pieces; `None` at the end.
    async fn gather(&mut self) -> Result<Option<Vec<Bytes>>, PutError> {
        let (mut pieces, mut gathered) = (Vec::new(), 0);
        while gathered < BATCH_BYTES && pieces.len() < BATCH_PIECES {
            let Some(piece) = self.stream.next().await else {
                break;
            };
            let piece = piece.map_err(PutError::Stream)?;
            gathered += piece.len();
            self.size_bytes = self.size_bytes.saturating_add(piece.len() as u64);
            if self.size_bytes > self.limit_bytes {
                let limit_bytes = self.limit_bytes;
                return Err(PutError::TooLarge { limit_bytes });
            }
            pieces.push(piece);
        }
        Ok((!pieces.is_empty()).then_some(pieces))
    }

    /// Cuts some more.
    async fn next(mut self) -> Result<Option<(Batch, Self)>, PutError> {
        let Some((mut hasher, mut cutter)) = self.work.take() else {
            return Ok(None);
        };
        let Some(pieces) = self.gather().await? else {
            let size_bytes = self.size_bytes;
            let batch = blocking(move || {
                Ok(Batch {
                    chunks: cutter.finish(),
                    end: Some((hasher.into(), size_bytes)),
                })
            });
            return Ok(Some((batch.await?, self)));
        };
        let (chunks, work) = blocking(move || {
            pieces.iter().for_each(|it| hasher.update(it));
            Ok((cutter.push(&pieces), (hasher, cutter)))
        })
        .await?;
        self.work = Some(work);
        Ok(Some((Batch { chunks, end: None }, self)))
    }
}

/// An object that comes in.
struct Upload<'a> {
    blobs: &'a Blobs,
    begun: Instant,
    /// Until when it may record what it was promised. By the database's clock, because `begun` stands still while the machine
    /// sleeps and promises do not.
    record_until: Timestamp,
    /// Until when what is promised to this upload is kept.
    keep_until: Timestamp,
    /// New chunks that a batch is storing or has stored.
    claimed: Mutex<HashSet<ChunkDigest>>,
}

/// What of an object is recorded and what is not yet.
#[derive(Default)]
struct Progress {
    parts: Vec<(Slot, u32)>,
    new: Vec<(Label, Spot)>,
    ids: HashMap<ChunkDigest, i64>,
    /// The frames of chunks that were known.
    stored_bytes: u64,
    added_bytes: u64,
    /// The frames of new chunks.
    lengths: HashMap<ChunkDigest, u64>,
}

#[derive(Clone, Copy)]
enum Slot {
    Id(i64),
    Digest(ChunkDigest),
}

impl<'a> Upload<'a> {
    fn new(blobs: &'a Blobs) -> Self {
        Self {
            blobs,
            begun: Instant::now(),
            record_until: Timestamp(0),
            keep_until: Timestamp(0),
            claimed: Mutex::default(),
        }
    }

    async fn run(
        mut self,
        intake: Intake<'_>,
        expected: Option<Digest>,
    ) -> Result<Stored, PutError> {
        let lease = self.blobs.0.options.lease_ms();
        let now = self
            .blobs
            .0
            .db
            .read("blob_now", |tx| Ok::<_, rave_store::Error>(tx.now()))
            .await?;
        self.record_until = now.plus_millis(lease / 2);
        self.keep_until = now.plus_millis(lease);
        let batches = stream::try_unfold(intake, Intake::next);
        let mut placed = batches
            .map_ok(|batch| self.place(batch))
            .try_buffered(BATCHES)
            .boxed();
        let (mut progress, mut end) = (Progress::default(), None);
        while let Some((batch, last)) = placed.try_next().await? {
            progress.add(batch);
            end = last;
            if progress.new.len() >= RECORD_CHUNKS && end.is_none() {
                self.record(&mut progress).await?;
            }
        }
        drop(placed);
        let Some((digest, size_bytes)) = end else {
            return Err(PutError::Io(std::io::Error::other("the object has no end")));
        };
        if let Some(expected) = expected.filter(|it| *it != digest) {
            return Err(PutError::Mismatch {
                expected,
                actual: digest,
            });
        }
        self.finish(progress, digest, size_bytes).await
    }

    /// Stores what is new of a batch.
    async fn place(
        &self,
        batch: Batch,
    ) -> Result<(Vec<(Placed, u32)>, Option<(Digest, u64)>), PutError> {
        let Batch { chunks, end } = batch;
        if chunks.is_empty() {
            return Ok((Vec::new(), end));
        }
        let known = self.find(&chunks).await?;
        let mut fresh = Vec::new();
        let placed: Vec<_> = {
            let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
            let mut place = |chunk: &Chunk| match known.get(&chunk.digest) {
                Some((id, stored_bytes)) => Some(Placed::Known {
                    id: *id,
                    stored_bytes: *stored_bytes,
                }),
                None if !claimed.insert(chunk.digest) => Some(Placed::Again(chunk.digest)),
                None => {
                    fresh.push(chunk.clone());
                    None
                }
            };
            chunks
                .iter()
                .map(|it| {
                    (
                        place(it),
                        u32::try_from(it.content.len()).unwrap_or(u32::MAX),
                    )
                })
                .collect()
        };
        drop(chunks);
        let level = self.blobs.0.options.level;
        let frames = blocking(move || {
            let frames = fresh.iter().map(|it| frame::pack(it, level));
            frames.collect::<std::io::Result<Vec<_>>>()
        })
        .await?;
        let spots = self.blobs.0.shelf.append(&frames).await?;
        let mut new = frames.iter().zip(spots);
        let mut result = Vec::with_capacity(placed.len());
        for (placed, size) in placed {
            let placed = match (placed, &mut new) {
                (Some(placed), _) => placed,
                (None, new) => match new.next() {
                    Some((frame, spot)) => Placed::New {
                        label: frame.label,
                        spot,
                    },
                    None => {
                        return Err(PutError::Io(std::io::Error::other("a chunk has no place")));
                    }
                },
            };
            result.push((placed, size));
        }
        Ok((result, end))
    }

    /// Finds the chunks that are stored already, each promised to this upload.
    async fn find(&self, chunks: &[Chunk]) -> Result<HashMap<ChunkDigest, (i64, u64)>, PutError> {
        let mut digests: Vec<ChunkDigest> = chunks.iter().map(|it| it.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        let db = &self.blobs.0.db;
        let mut known = db
            .read("blob_find_chunks", move |tx| {
                table::chunk::find(tx, &digests)
            })
            .await?;
        // A promise that outlasts the upload needs no writing.
        let until = self.keep_until;
        let enough = until.plus_millis(-self.blobs.0.options.lease_ms() / 2);
        let short: Vec<i64> = known
            .iter()
            .filter(|it| it.keep_until < enough)
            .map(|it| it.id)
            .collect();
        if !short.is_empty() {
            let asked = short.clone();
            let kept = db
                .write("blob_promise", move |tx| {
                    table::chunk::promise(tx, &asked, until)
                })
                .await?;
            // What a sweep took since is new again.
            known.retain(|it| !short.contains(&it.id) || kept.contains(&it.id));
        }
        Ok(known
            .into_iter()
            .map(|it| (it.digest, (it.id, it.stored_bytes)))
            .collect())
    }

    fn check_time(&self) -> Result<(), PutError> {
        match self.begun.elapsed() > self.blobs.0.options.longest_upload() {
            true => Err(self.too_slow()),
            false => Ok(()),
        }
    }

    fn too_slow(&self) -> PutError {
        PutError::TooSlow {
            longest_secs: self.blobs.0.options.longest_upload().as_secs(),
        }
    }

    /// Waits until chunks survive a power failure.
    async fn settle(&self, new: &[(Label, Spot)]) -> Result<(), PutError> {
        let packs = shelf::packs(new.iter().map(|(_, spot)| spot));
        match packs.is_empty() {
            true => Ok(()),
            false => self.blobs.0.shelf.settle(&packs).await,
        }
    }

    /// Records the new chunks so far.
    async fn record(&self, progress: &mut Progress) -> Result<(), PutError> {
        self.check_time()?;
        self.settle(&progress.new).await?;
        let (new, until) = (std::mem::take(&mut progress.new), self.keep_until);
        let (record_until, too_slow) = (self.record_until, self.too_slow());
        let ids = self
            .blobs
            .0
            .db
            .write("blob_record_chunks", move |tx| {
                match tx.now() > record_until {
                    true => Err(too_slow),
                    false => insert(tx, &new, until),
                }
            })
            .await?;
        progress.ids.extend(ids);
        Ok(())
    }

    /// Records the rest and the object.
    async fn finish(
        &self,
        mut progress: Progress,
        digest: Digest,
        size_bytes: u64,
    ) -> Result<Stored, PutError> {
        self.check_time()?;
        self.settle(&progress.new).await?;
        let (until, added_bytes) = (self.keep_until, progress.added_bytes);
        let (record_until, too_slow) = (self.record_until, self.too_slow());
        let was_known = self
            .blobs
            .0
            .db
            .write("blob_record", move |tx| {
                if tx.now() > record_until {
                    return Err(too_slow);
                }
                progress.ids.extend(insert(tx, &progress.new, until)?);
                let (parts, stored_bytes) = progress.resolve()?;
                let object = Object {
                    size_bytes,
                    stored_bytes,
                    manifest: manifest::encode(&parts),
                    damaged: false,
                };
                Ok::<_, PutError>(!table::object::insert(tx, &digest, &object)?)
            })
            .await?;
        Ok(Stored {
            digest,
            size_bytes,
            added_bytes,
            was_known,
        })
    }
}

impl Progress {
    fn add(&mut self, batch: Vec<(Placed, u32)>) {
        for (placed, size_bytes) in batch {
            let slot = match placed {
                Placed::Known { id, stored_bytes } => {
                    self.stored_bytes += stored_bytes;
                    Slot::Id(id)
                }
                Placed::New { label, spot } => {
                    let stored_bytes = u64::from(label.stored_bytes);
                    self.added_bytes += stored_bytes;
                    self.lengths.insert(label.digest, stored_bytes);
                    self.new.push((label, spot));
                    Slot::Digest(label.digest)
                }
                Placed::Again(digest) => Slot::Digest(digest),
            };
            self.parts.push((slot, size_bytes));
        }
    }

    /// Returns the object's chunks and what their frames take in sum. Only at the end: of two batches, the later one may be
    /// the one that stored a chunk.
    fn resolve(&self) -> Result<(Vec<Part>, u64), PutError> {
        let lost = || PutError::Io(std::io::Error::other("a chunk has no number"));
        let (mut parts, mut stored_bytes) =
            (Vec::with_capacity(self.parts.len()), self.stored_bytes);
        for (slot, size_bytes) in &self.parts {
            let chunk = match slot {
                Slot::Id(id) => *id,
                Slot::Digest(digest) => {
                    stored_bytes += self.lengths.get(digest).ok_or_else(lost)?;
                    *self.ids.get(digest).ok_or_else(lost)?
                }
            };
            parts.push(Part {
                chunk,
                size_bytes: *size_bytes,
            });
        }
        Ok((parts, stored_bytes))
    }
}

/// Records chunks. Returns their numbers.
fn insert(
    tx: &mut rave_store::Tx<'_>,
    new: &[(Label, Spot)],
    until: Timestamp,
) -> Result<Vec<(ChunkDigest, i64)>, PutError> {
    let packs = shelf::packs(new.iter().map(|(_, spot)| spot));
    if !table::pack::are_kept(tx, &packs)? {
        return Err(PutError::Io(std::io::Error::other(
            "the pack that the object was written to is gone: send it again",
        )));
    }
    new.iter()
        .map(|(label, spot)| Ok((label.digest, table::chunk::insert(tx, label, *spot, until)?)))
        .collect()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, PutError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|it| PutError::Io(std::io::Error::other(it)))?
        .map_err(PutError::of_store)
}
