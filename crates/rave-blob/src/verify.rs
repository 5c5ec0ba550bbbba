//! Everything at rest, read and compared with what was put.
//!
//! It may run while objects are put, read and swept. What it finds damaged is marked, so that it is not served and its content
//! is stored anew when it is put again. What it takes back is only done when it is asked to repair.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rave_core::time::Timestamp;

use crate::frame::{self, Damage};
use crate::marks::Marks;
use crate::table::{self, chunk::Located};
use crate::{Blobs, Digest, StoreError, manifest};

/// How many chunks are read at once. Each is at most as large as chunks are cut.
const AT_ONCE: usize = 4;
/// How many chunks are looked for in one transaction.
const BATCH: u32 = 64;
/// How many objects are.
const OBJECTS: u32 = 200;
/// How many findings of a kind a report names. All are counted.
const NAMED: usize = 1000;

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    pub chunks: u64,
    pub of_chunks: u64,
    pub stored_bytes: u64,
    pub of_stored_bytes: u64,
}

/// What a verification found. Lists name the first thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub packs: u64,
    pub chunks: u64,
    pub stored_bytes: u64,
    pub objects: u64,
    pub damaged_chunks: u64,
    pub damaged: Vec<DamagedChunk>,
    pub damaged_objects: u64,
    /// The objects that are not served.
    pub not_served: Vec<Digest>,
    /// Objects that are marked as damaged and are whole. Repairing takes the mark away.
    pub whole_again: u64,
    /// Packs that are recorded and hold chunks, and have no file.
    pub lost_packs: Vec<String>,
    /// Files that are no pack of this store. Repairing deletes them.
    pub strays: Vec<Stray>,
    /// Whether marks and strays were removed.
    pub repaired: bool,
}

/// A chunk that is not what was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedChunk {
    pub pack: String,
    pub position: u64,
    pub stored_bytes: u64,
    pub what: String,
}

/// A pack's file without a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub pack: String,
    pub size_bytes: u64,
    pub age_secs: u64,
}

impl Verified {
    /// Whether everything can be served.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged_chunks == 0 && self.damaged_objects == 0 && self.lost_packs.is_empty()
    }
}

impl Blobs {
    /// Reads every chunk, pack by pack, and compares it with its checksum and its digest. With `repair`, what is marked as
    /// damaged and is not is served again, and files that are no pack of this store are deleted.
    pub async fn verify(
        &self,
        repair: bool,
        mut progress: impl FnMut(VerifyProgress) + Send,
    ) -> Result<Verified, StoreError> {
        let totals = self
            .0
            .db
            .read("blob_verify_totals", table::chunk::totals)
            .await?;
        let mut found = Verified {
            repaired: repair,
            ..Verified::default()
        };
        let (mut sound, mut after) = (Marks::default(), 0);
        let mut report = |found: &Verified| {
            progress(VerifyProgress {
                chunks: found.chunks,
                of_chunks: totals.count.max(found.chunks),
                stored_bytes: found.stored_bytes,
                of_stored_bytes: totals.stored_bytes.max(found.stored_bytes),
            });
        };
        report(&found);
        let next = |after| {
            self.0
                .db
                .read("blob_next_pack", move |tx| table::pack::next(tx, after))
        };
        while let Some(pack) = next(after).await? {
            after = pack;
            found.packs += 1;
            let mut position = -1;
            loop {
                let chunks = self.0.db.read("blob_pack_chunks", move |tx| {
                    table::chunk::of_pack(tx, pack, position, BATCH)
                });
                let chunks = chunks.await?;
                let Some(last) = chunks.last() else { break };
                position = i64::try_from(last.position).unwrap_or(i64::MAX);
                self.verify_chunks(chunks, repair, &mut sound, &mut found)
                    .await?;
                report(&found);
            }
        }
        self.verify_objects(repair, &sound, &mut found).await?;
        self.verify_files(repair, &mut found).await?;
        Ok(found)
    }

    async fn verify_chunks(
        &self,
        chunks: Vec<Located>,
        repair: bool,
        sound: &mut Marks,
        found: &mut Verified,
    ) -> Result<(), StoreError> {
        let checked = stream::iter(chunks)
            .map(|it| self.verify_chunk(it))
            .buffered(AT_ONCE);
        let checked: Vec<(Located, Option<String>)> = checked.try_collect().await?;
        for (chunk, damage) in checked {
            found.chunks += 1;
            found.stored_bytes += u64::from(chunk.stored_bytes);
            let (id, at) = (chunk.id, (chunk.pack_id, chunk.position));
            match damage {
                None if !chunk.damaged => sound.add(id),
                None if repair => {
                    self.mark_chunk(id, at, false).await?;
                    sound.add(id);
                }
                // Until it is repaired, nothing that it is part of is served.
                None => {}
                Some(what) => {
                    if !chunk.damaged {
                        self.0.metrics.note_damage();
                        tracing::error!(chunk = id, pack = %chunk.pack, position = chunk.position, what, "a chunk is damaged");
                        self.mark_chunk(id, at, true).await?;
                    }
                    found.damaged_chunks += 1;
                    name(
                        &mut found.damaged,
                        DamagedChunk {
                            pack: chunk.pack.to_string(),
                            position: chunk.position,
                            stored_bytes: u64::from(chunk.stored_bytes),
                            what,
                        },
                    );
                }
            }
        }
        Ok(())
    }

    /// Reads a chunk. Returns what is wrong with it, and where it was at last: a sweep may have moved it.
    async fn verify_chunk(&self, chunk: Located) -> Result<(Located, Option<String>), StoreError> {
        let first = self.check_chunk(&chunk).await?;
        if first.is_none() {
            return Ok((chunk, None));
        }
        let failed = |it| StoreError::new("cannot look for a chunk", it);
        let now = self.locate(vec![chunk.id]).await.map_err(failed)?;
        match now.get(&chunk.id) {
            // It was swept meanwhile.
            None => Ok((chunk, None)),
            Some(now) if (&now.pack, now.position) == (&chunk.pack, chunk.position) => {
                Ok((now.clone(), first))
            }
            Some(moved) => Ok((moved.clone(), self.check_chunk(moved).await?)),
        }
    }

    async fn check_chunk(&self, chunk: &Located) -> Result<Option<String>, StoreError> {
        let range = chunk.position..chunk.position + u64::from(chunk.stored_bytes);
        let bytes = match self.0.shelf.read(&chunk.pack, range).await {
            Ok(bytes) => bytes,
            Err(it)
                if matches!(
                    it.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Ok(Some(Damage::Short.to_string()));
            }
            Err(it) if it.raw_os_error() == Some(UNREADABLE) => {
                return Ok(Some(format!("the disk cannot read it: {it}")));
            }
            Err(it) => {
                let what = format!("cannot read pack {}", chunk.pack);
                return Err(StoreError::new(what, it));
            }
        };
        let (checksum, digest, size_bytes) = (chunk.checksum, chunk.digest, chunk.size_bytes);
        let checked = tokio::task::spawn_blocking(move || {
            frame::check(&bytes, checksum)?;
            frame::unpack(&bytes, digest, size_bytes).map(drop)
        });
        let checked = checked
            .await
            .map_err(|it| StoreError::new("a task of the verification ended early", it))?;
        Ok(checked.err().map(|it| it.to_string()))
    }

    async fn mark_chunk(&self, id: i64, at: (i64, u64), damaged: bool) -> Result<(), StoreError> {
        let marked = self.0.db.write("blob_mark_chunk", move |tx| {
            table::chunk::mark_at(tx, id, at, damaged)
        });
        Ok(marked.await?)
    }

    /// Finds the objects that cannot be served, once it is known which chunks can.
    async fn verify_objects(
        &self,
        repair: bool,
        sound: &Marks,
        found: &mut Verified,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let walked = self.0.db.read("blob_walk", move |tx| {
                table::object::walk(tx, after.as_ref(), OBJECTS)
            });
            let walked = walked.await?;
            let Some(last) = walked.last() else {
                return Ok(());
            };
            after = Some(last.digest);
            for object in &walked {
                found.objects += 1;
                let parts = manifest::decode(&object.manifest).ok();
                let unseen: Option<Vec<i64>> = parts.as_ref().map(|parts| {
                    let ids = parts.iter().map(|it| it.chunk);
                    let mut ids: Vec<i64> = ids.filter(|it| !sound.has(*it)).collect();
                    ids.sort_unstable();
                    ids.dedup();
                    ids
                });
                // What came while packs were read is as sound as its row says.
                let is_whole = match unseen {
                    None => false,
                    Some(ids) => self.are_sound(ids).await?,
                };
                match (is_whole, object.damaged) {
                    (true, false) => {}
                    (true, true) => {
                        found.whole_again += 1;
                        if repair {
                            self.mark_object(object, false).await?;
                        }
                    }
                    (false, was) => {
                        if !was {
                            self.mark_object(object, true).await?;
                        }
                        found.damaged_objects += 1;
                        name(&mut found.not_served, object.digest);
                    }
                }
            }
        }
    }

    async fn are_sound(&self, ids: Vec<i64>) -> Result<bool, StoreError> {
        if ids.is_empty() {
            return Ok(true);
        }
        let count = ids.len();
        let located = self
            .locate(ids)
            .await
            .map_err(|it| StoreError::new("cannot look for chunks", it))?;
        Ok(located.len() == count && located.values().all(|it| !it.damaged))
    }

    async fn mark_object(
        &self,
        object: &table::object::Walked,
        damaged: bool,
    ) -> Result<(), StoreError> {
        let (digest, manifest) = (object.digest, object.manifest.clone());
        let marked = self.0.db.write("blob_mark_object", move |tx| {
            table::object::mark_as(tx, &digest, &manifest, damaged)
        });
        Ok(marked.await?)
    }

    /// Compares the files with the rows. A row is there before its file and stays until after it, so a file that is seen
    /// before rows are asked for and has none is nobody's.
    async fn verify_files(&self, repair: bool, found: &mut Verified) -> Result<(), StoreError> {
        let listed = self
            .0
            .db
            .read("blob_pack_names", table::pack::names)
            .await?;
        let failed = |it| StoreError::new("cannot list the packs", it);
        let files = self.0.shelf.list().await.map_err(failed)?;
        let names: HashSet<&str> = files.iter().map(|it| it.name.as_str()).collect();
        let (rows, now) = self
            .0
            .db
            .read("blob_pack_names", |tx| {
                Ok::<_, rave_store::Error>((table::pack::names(tx)?, tx.now()))
            })
            .await?;
        let rows: HashMap<String, bool> = rows.into_iter().collect();
        for (pack, _) in listed {
            if !names.contains(pack.as_str()) && rows.get(&pack).is_some_and(|holds| *holds) {
                name(&mut found.lost_packs, pack);
            }
        }
        for file in files.iter().filter(|it| !rows.contains_key(&it.name)) {
            if repair {
                let removed = self.0.shelf.remove(&file.name).await;
                removed.map_err(|it| {
                    StoreError::new(format!("cannot delete pack {}", file.name), it)
                })?;
            }
            let Timestamp(age_ms) = now.plus_millis(-file.changed_at.0);
            name(
                &mut found.strays,
                Stray {
                    pack: file.name.clone(),
                    size_bytes: file.size_bytes,
                    age_secs: u64::try_from(age_ms / 1000).unwrap_or(0),
                },
            );
        }
        Ok(())
    }
}

/// What the system says of a place on a disk that cannot be read: EIO.
const UNREADABLE: i32 = 5;

/// Adds a finding, up to as many as a report names.
fn name<T>(findings: &mut Vec<T>, finding: T) {
    if findings.len() < NAMED {
        findings.push(finding);
    }
}
