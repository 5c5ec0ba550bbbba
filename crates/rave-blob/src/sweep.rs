//! What nothing refers to goes: objects first, then chunks, then packs.
//!
//! Nothing is counted. An object stays while a part refers to it or while it is young; a chunk stays while an object is made of
//! it or while it is promised; a pack stays while a chunk lies in it or while an upload may still record one that it wrote
//! there. Each of these promises is a time in a row, so a process that ends in the middle of anything leaves only what the
//! next sweep finds.
//!
//! Why no chunk is taken from an upload: whoever is given a chunk is promised it until some time after the upload's last
//! moment. The sweep reads all manifests, and takes what it saw in none of them only if its promise had ended *before it began
//! to read*. An object that was recorded later than that is made of chunks whose promises ended later, too.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rave_core::time::Timestamp;
use rave_store::{BoxError, Progress, StepError, Worker};

use crate::frame::{self, Frame, Label};
use crate::manifest;
use crate::marks::Marks;
use crate::shelf;
use crate::table::{self, chunk::Located, pack::Sealed};
use crate::{Blobs, Digest, StoreError};

/// How many objects or chunks are looked at in one transaction.
const BATCH: u32 = 500;
/// How long a reader may go on with a pack that it found before it was emptied.
const READERS_MS: i64 = 10 * 60 * 1000;
/// How often a server sweeps.
const EVERY: Duration = Duration::from_secs(3600);

/// A part that keeps digests of objects.
#[async_trait]
pub trait Referrer: Send + Sync {
    /// Returns those of the objects that the part still needs.
    async fn referenced(&self, digests: &[Digest]) -> Result<HashSet<Digest>, BoxError>;
}

/// Takes away what nothing refers to.
pub struct Sweeper {
    blobs: Blobs,
    referrers: Vec<Arc<dyn Referrer>>,
    grace: Duration,
    owns_packs: bool,
}

/// What a sweep took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub objects: u64,
    pub chunks: u64,
    /// What the chunks took in their packs.
    pub chunk_bytes: u64,
    /// Packs of which the living part was moved elsewhere.
    pub packs_emptied: u64,
    /// Packs that were deleted.
    pub packs: u64,
    pub pack_bytes: u64,
}

impl Sweeper {
    /// Makes a sweeper of objects that none of `referrers` needs and that were last put longer than `grace` ago: longer than
    /// any time between a put and the transaction that refers to it.
    #[must_use]
    pub fn new(blobs: Blobs, referrers: Vec<Arc<dyn Referrer>>, grace: Duration) -> Self {
        Self {
            blobs,
            referrers,
            grace,
            owns_packs: true,
        }
    }

    /// Makes it a sweeper of a process that is not the owner of the directory: it appends to no pack, because the owner's next
    /// start would cut that off, so it empties none.
    #[must_use]
    pub fn beside_the_owner(self) -> Self {
        Self {
            owns_packs: false,
            ..self
        }
    }

    /// Sweeps once. Puts, reads and other sweeps may go on meanwhile.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept {
            objects: self.sweep_objects().await?,
            ..Swept::default()
        };
        self.sweep_chunks(&mut swept).await?;
        self.sweep_packs(&mut swept).await?;
        self.blobs.0.metrics.note_sweep(&swept);
        let stats = self.blobs.stats().await?;
        self.blobs.0.metrics.note_stats(&stats);
        if swept != Swept::default() {
            tracing::info!(
                objects = swept.objects,
                chunks = swept.chunks,
                chunk_bytes = swept.chunk_bytes,
                packs = swept.packs,
                pack_bytes = swept.pack_bytes,
                packs_emptied = swept.packs_emptied,
                "swept the object store"
            );
        }
        Ok(swept)
    }

    /// Says what a sweep would take at this moment, and takes nothing. What a sweep empties or gives up today, a later one
    /// deletes: that is not counted.
    pub async fn preview(&self) -> Result<Swept, StoreError> {
        let now = self.now().await?;
        let until = self.grace_ended(now);
        let (mut swept, mut alive, mut after) = (Swept::default(), Marks::default(), None);
        loop {
            let walked = self.walk(after).await?;
            let Some(last) = walked.last() else { break };
            after = Some(last.digest);
            let gone: HashSet<Digest> = self.unneeded(&walked, until).await?.into_iter().collect();
            swept.objects += gone.len() as u64;
            for object in walked.iter().filter(|it| !gone.contains(&it.digest)) {
                mark_object(&mut alive, object)?;
            }
        }
        let mut after = 0;
        loop {
            let idle = self.idle(after, now).await?;
            let Some(&last) = idle.last() else { break };
            after = last;
            let dead: Vec<i64> = idle.into_iter().filter(|it| !alive.has(*it)).collect();
            let located = self.blobs.locate(dead).await;
            let located = located.map_err(|it| StoreError::new("cannot look for chunks", it))?;
            swept.chunks += located.len() as u64;
            let bytes = located.values().map(|it| u64::from(it.stored_bytes));
            swept.chunk_bytes += bytes.sum::<u64>();
        }
        let settled = now.plus_millis(-self.blobs.0.options.lease_ms());
        let packs = self.settled(settled).await?;
        let small = self.small(&packs);
        let emptied = packs.iter().filter(|it| self.is_to_be_emptied(it, small));
        swept.packs_emptied = emptied.count() as u64;
        for pack in self.unread(now).await? {
            swept.packs += 1;
            swept.pack_bytes += pack.size_bytes;
        }
        Ok(swept)
    }

    fn grace_ended(&self, now: Timestamp) -> Timestamp {
        let grace = i64::try_from(self.grace.as_millis()).unwrap_or(i64::MAX);
        now.plus_millis(-grace)
    }

    async fn idle(&self, after: i64, before: Timestamp) -> Result<Vec<i64>, StoreError> {
        let idle = self.blobs.0.db.read("blob_idle_chunks", move |tx| {
            table::chunk::unpromised(tx, after, before, BATCH)
        });
        Ok(idle.await?)
    }

    async fn settled(&self, before: Timestamp) -> Result<Vec<Sealed>, StoreError> {
        let packs = self.blobs.0.db.read("blob_settled_packs", move |tx| {
            table::pack::settled(tx, before)
        });
        Ok(packs.await?)
    }

    /// How many of the packs are small.
    fn small(&self, packs: &[Sealed]) -> usize {
        let small_bytes = self.blobs.0.options.pack_bytes / 4;
        packs
            .iter()
            .filter(|it| it.size_bytes < small_bytes)
            .count()
    }

    /// Returns the packs that were given up so long ago that no one reads them.
    async fn unread(&self, now: Timestamp) -> Result<Vec<Sealed>, StoreError> {
        let unread = now.plus_millis(-READERS_MS);
        let doomed = self.blobs.0.db.read("blob_doomed_packs", move |tx| {
            table::pack::doomed(tx, unread)
        });
        Ok(doomed.await?)
    }

    async fn sweep_objects(&self) -> Result<u64, StoreError> {
        let until = self.grace_ended(self.now().await?);
        let (mut after, mut deleted) = (None, 0);
        loop {
            let walked = self.walk(after).await?;
            let Some(last) = walked.last() else {
                return Ok(deleted);
            };
            after = Some(last.digest);
            for digest in &self.unneeded(&walked, until).await? {
                deleted += u64::from(self.blobs.delete(digest, until).await?);
            }
        }
    }

    /// Returns those of the objects that were last put at `until` or before and that no part needs.
    async fn unneeded(
        &self,
        walked: &[table::object::Walked],
        until: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        let old = walked.iter().filter(|it| it.put_at <= until);
        let mut old: Vec<Digest> = old.map(|it| it.digest).collect();
        for referrer in &self.referrers {
            if old.is_empty() {
                break;
            }
            let needed = referrer
                .referenced(&old)
                .await
                .map_err(|it| StoreError::new("cannot ask which objects are needed", it))?;
            old.retain(|it| !needed.contains(it));
        }
        Ok(old)
    }

    async fn sweep_chunks(&self, swept: &mut Swept) -> Result<(), StoreError> {
        let began = self.now().await?;
        let alive = self.mark().await?;
        let mut after = 0;
        loop {
            let idle = self.idle(after, began).await?;
            let Some(&last) = idle.last() else {
                return Ok(());
            };
            after = last;
            let dead: Vec<i64> = idle.into_iter().filter(|it| !alive.has(*it)).collect();
            let (count, bytes) = self
                .blobs
                .0
                .db
                .write("blob_delete_chunks", move |tx| {
                    table::chunk::delete(tx, &dead, began)
                })
                .await?;
            swept.chunks += count;
            swept.chunk_bytes += bytes;
        }
    }

    /// Finds the chunks that objects are made of.
    async fn mark(&self) -> Result<Marks, StoreError> {
        let (mut alive, mut after) = (Marks::default(), None);
        loop {
            let walked = self.walk(after).await?;
            let Some(last) = walked.last() else {
                return Ok(alive);
            };
            after = Some(last.digest);
            walked
                .iter()
                .try_for_each(|it| mark_object(&mut alive, it))?;
        }
    }

    async fn sweep_packs(&self, swept: &mut Swept) -> Result<(), StoreError> {
        let now = self.now().await?;
        let settled = now.plus_millis(-self.blobs.0.options.lease_ms());
        let failed = |it| StoreError::new("cannot close the pack that is open", it);
        self.blobs
            .0
            .shelf
            .rotate(settled)
            .await
            .map_err(|it| failed(BoxError::from(it)))?;
        let packs = self.settled(settled).await?;
        let small = self.small(&packs);
        for pack in &packs {
            if self.is_to_be_emptied(pack, small) {
                swept.packs_emptied += u64::from(self.empty(pack).await?);
            }
        }
        self.blobs
            .0
            .db
            .write("blob_doom_packs", move |tx| {
                table::pack::doom_empty(tx, settled)
            })
            .await?;
        for pack in self.unread(now).await? {
            let removed = self.blobs.0.shelf.remove(&pack.name).await;
            removed
                .map_err(|it| StoreError::new(format!("cannot delete pack {}", pack.name), it))?;
            let id = pack.id;
            self.blobs
                .0
                .db
                .write("blob_forget_pack", move |tx| table::pack::forget(tx, id))
                .await?;
            swept.packs += 1;
            swept.pack_bytes += pack.size_bytes;
        }
        Ok(())
    }

    /// Whether what lives in a pack is better off in another, when there are so many small packs.
    fn is_to_be_emptied(&self, pack: &Sealed, small: usize) -> bool {
        let small_bytes = self.blobs.0.options.pack_bytes / 4;
        let sparse = pack.live_bytes * 2 < pack.size_bytes;
        let scattered = small >= 4 && pack.size_bytes < small_bytes;
        self.owns_packs && pack.live_bytes > 0 && (sparse || scattered)
    }

    /// Moves what lives in a pack into the open one. Returns whether nothing is left in it.
    async fn empty(&self, pack: &Sealed) -> Result<bool, StoreError> {
        let (id, mut after, mut whole) = (pack.id, -1, true);
        loop {
            let chunks = self
                .blobs
                .0
                .db
                .read("blob_pack_chunks", move |tx| {
                    table::chunk::of_pack(tx, id, after, 32)
                })
                .await?;
            let Some(last) = chunks.last() else {
                return Ok(whole);
            };
            after = i64::try_from(last.position).unwrap_or(i64::MAX);
            let (mut moved, mut frames) = (Vec::new(), Vec::new());
            for chunk in chunks {
                match self.frame(&chunk).await? {
                    Some(frame) => {
                        frames.push(frame);
                        moved.push(chunk);
                    }
                    None => whole = false,
                }
            }
            let failed =
                |it| StoreError::new(format!("cannot move what lives in pack {}", pack.name), it);
            let spots = self.blobs.0.shelf.append(&frames).await.map_err(failed)?;
            let packs = shelf::packs(&spots);
            self.blobs.0.shelf.settle(&packs).await.map_err(failed)?;
            self.blobs
                .0
                .db
                .write("blob_move_chunks", move |tx| {
                    // It was given up while this process stood still: what was written there is gone soon.
                    if !table::pack::are_kept(tx, &packs)? {
                        return Ok(());
                    }
                    for (chunk, spot) in moved.iter().zip(spots) {
                        table::chunk::relocate(tx, chunk.id, id, spot)?;
                    }
                    Ok::<_, rave_store::Error>(())
                })
                .await?;
        }
    }

    /// Reads a chunk as it is stored. A damaged one stays where it is.
    async fn frame(&self, chunk: &Located) -> Result<Option<Frame>, StoreError> {
        let range = chunk.position..chunk.position + u64::from(chunk.stored_bytes);
        let read = self.blobs.0.shelf.read(&chunk.pack, range).await;
        let label = Label {
            digest: chunk.digest,
            stored_bytes: chunk.stored_bytes,
            size_bytes: chunk.size_bytes,
            checksum: chunk.checksum,
        };
        let what = match read {
            Ok(bytes) => match frame::check(&bytes, chunk.checksum) {
                Ok(()) => return Ok(Some(Frame::from_stored(label, &bytes))),
                Err(damage) => damage.to_string(),
            },
            Err(it)
                if matches!(
                    it.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                frame::Damage::Short.to_string()
            }
            Err(it) => {
                return Err(StoreError::new(
                    format!("cannot read pack {}", chunk.pack),
                    it,
                ));
            }
        };
        if !chunk.damaged {
            self.blobs.report_damage(chunk.id, &what).await?;
        }
        Ok(None)
    }

    async fn walk(&self, after: Option<Digest>) -> Result<Vec<table::object::Walked>, StoreError> {
        let walked = self.blobs.0.db.read("blob_walk", move |tx| {
            table::object::walk(tx, after.as_ref(), BATCH)
        });
        Ok(walked.await?)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        let now = self
            .blobs
            .0
            .db
            .read("blob_now", |tx| Ok::<_, rave_store::Error>(tx.now()));
        Ok(now.await?)
    }
}

/// Notes the chunks that an object is made of. Without its manifest it is not known what it needs: nothing may go.
fn mark_object(alive: &mut Marks, object: &table::object::Walked) -> Result<(), StoreError> {
    let parts = manifest::decode(&object.manifest)
        .map_err(|it| StoreError::new(format!("cannot sweep: object {}", object.digest), it))?;
    parts.iter().for_each(|it| alive.add(it.chunk));
    Ok(())
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper")
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

impl Worker for Sweeper {
    fn name(&self) -> &'static str {
        "blob.sweep"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let failed = |error| StepError::new("cannot sweep the object store", error);
        self.sweep().await.map_err(failed)?;
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(EVERY).await;
    }
}
