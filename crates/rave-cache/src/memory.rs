//! What is answered without asking the database: narinfo files as they go out, and what is known not to be there.
//!
//! Entries are kept in two halves: what is asked for again moves to the young one, and when that is full it becomes the old
//! one, whose rest is forgotten. That is nearly as good as forgetting the least recently used, and cheap.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rave_core::time::Timestamp;
use rave_nix::{HashPart, Sha256};

use crate::model::{CacheId, PathId, Source};

const SHARDS: usize = 16;
/// What an entry takes beside its text.
const OVERHEAD_BYTES: usize = 256;
/// How long a path counts as present, and as absent, when another process may have changed it.
const PRESENT_MS: i64 = 300_000;
const ABSENT_MS: i64 = 5_000;

/// A path that is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) id: PathId,
    pub(crate) hash: HashPart,
    pub(crate) narinfo: Bytes,
    pub(crate) nar_hash: Sha256,
    pub(crate) nar_size: u64,
    pub(crate) fetch_from: Option<Source>,
}

/// What something is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Path(HashPart),
    Nar(Sha256),
}

/// What is known: `None` is known to be absent.
type Known = Option<Arc<Served>>;

struct Entry {
    known: Known,
    generation: u64,
    at: Timestamp,
}

#[derive(Default)]
struct Shard {
    young: HashMap<(CacheId, Key), Entry>,
    old: HashMap<(CacheId, Key), Entry>,
    young_bytes: usize,
    /// Counts changes, so that what was read before one is not put in after it.
    epoch: u64,
}

/// Remembers what was served lately.
pub(crate) struct Index {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    half_bytes: usize,
}

/// The state in which something was not known, to be shown when it is put in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(u64);

impl Index {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            half_bytes: limit_bytes / 2 / SHARDS,
        }
    }

    fn shard(&self, cache: CacheId, key: Key) -> std::sync::MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one((cache, key));
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known of something in this state of its cache.
    pub(crate) fn find(
        &self,
        cache: CacheId,
        generation: u64,
        key: Key,
        now: Timestamp,
    ) -> Result<Known, Epoch> {
        let mut shard = self.shard(cache, key);
        let fresh = |it: &Entry| {
            let life = if it.known.is_some() {
                PRESENT_MS
            } else {
                ABSENT_MS
            };
            it.generation == generation && now.since(it.at) < life
        };
        if let Some(entry) = shard.young.get(&(cache, key)).filter(|it| fresh(it)) {
            return Ok(entry.known.clone());
        }
        let Some(entry) = shard.old.remove(&(cache, key)).filter(|it| fresh(it)) else {
            return Err(Epoch(shard.epoch));
        };
        let known = entry.known.clone();
        self.insert(&mut shard, (cache, key), entry);
        Ok(known)
    }

    /// Remembers something that was not known in `epoch`, unless anything changed since.
    pub(crate) fn put(
        &self,
        cache: CacheId,
        generation: u64,
        key: Key,
        known: Known,
        epoch: Epoch,
        now: Timestamp,
    ) {
        let mut shard = self.shard(cache, key);
        if shard.epoch == epoch.0 {
            let entry = Entry {
                known,
                generation,
                at: now,
            };
            self.insert(&mut shard, (cache, key), entry);
        }
    }

    fn insert(&self, shard: &mut Shard, key: (CacheId, Key), entry: Entry) {
        shard.young_bytes += OVERHEAD_BYTES + entry.known.as_ref().map_or(0, |it| it.narinfo.len());
        shard.young.insert(key, entry);
        if shard.young_bytes > self.half_bytes {
            shard.old = std::mem::take(&mut shard.young);
            shard.young_bytes = 0;
        }
    }

    /// Forgets what is known of something that changed.
    pub(crate) fn forget(&self, cache: CacheId, key: Key) {
        let mut shard = self.shard(cache, key);
        shard.epoch += 1;
        shard.young.remove(&(cache, key));
        shard.old.remove(&(cache, key));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            *shard = Shard {
                epoch: shard.epoch + 1,
                ..Shard::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: CacheId = CacheId(1);
    const NOW: Timestamp = Timestamp(1_000_000);

    fn key(n: u8) -> Key {
        Key::Path(HashPart([n; 20]))
    }

    fn served(size: usize) -> Known {
        Some(Arc::new(Served {
            id: PathId(1),
            hash: HashPart([0; 20]),
            narinfo: vec![0; size].into(),
            nar_hash: Sha256([0; 32]),
            nar_size: 1,
            fetch_from: None,
        }))
    }

    fn put(index: &Index, n: u8, known: Known) {
        let Err(epoch) = index.find(CACHE, 1, key(n), NOW) else {
            panic!("{n} is known already");
        };
        index.put(CACHE, 1, key(n), known, epoch, NOW);
    }

    #[test]
    fn what_is_put_is_found_until_it_is_too_old_or_the_cache_changed() {
        let index = Index::new(1 << 20);
        put(&index, 1, served(10));
        put(&index, 2, None);
        assert!(index.find(CACHE, 1, key(1), NOW).unwrap().is_some());
        assert!(index.find(CACHE, 1, key(2), NOW).unwrap().is_none());
        assert!(
            index.find(CACHE, 2, key(1), NOW).is_err(),
            "another generation"
        );
        assert!(
            index.find(CacheId(2), 1, key(1), NOW).is_err(),
            "another cache"
        );
        let later = NOW.plus_millis(ABSENT_MS);
        assert!(index.find(CACHE, 1, key(1), later).is_ok());
        assert!(index.find(CACHE, 1, key(2), later).is_err());
        assert!(
            index
                .find(CACHE, 1, key(1), NOW.plus_millis(PRESENT_MS))
                .is_err()
        );
    }

    #[test]
    fn what_was_read_before_a_change_is_not_put_in_after_it() {
        let index = Index::new(1 << 20);
        let epoch = index.find(CACHE, 1, key(1), NOW).err().unwrap();
        index.forget(CACHE, key(1));
        index.put(CACHE, 1, key(1), None, epoch, NOW);
        assert!(index.find(CACHE, 1, key(1), NOW).is_err());
        let epoch = index.find(CACHE, 1, key(1), NOW).err().unwrap();
        index.clear();
        index.put(CACHE, 1, key(1), None, epoch, NOW);
        assert!(index.find(CACHE, 1, key(1), NOW).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let index = Index::new(SHARDS * 20_000);
        for n in 0..=255 {
            put(&index, n, served(1000));
        }
        let count: usize = index
            .shards
            .iter()
            .map(|it| it.lock().unwrap())
            .map(|it| it.young.len() + it.old.len())
            .sum();
        assert!((16..=SHARDS * 17).contains(&count), "{count}");
    }
}
