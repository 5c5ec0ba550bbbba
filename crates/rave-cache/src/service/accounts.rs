//! What is asked of caches, counted in memory and written down every few seconds: reading costs no transaction.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rave_core::id::JobId;
use rave_core::time::Timestamp;
use rave_store::Error;

use super::Caches;
use crate::model::{CacheId, PathId};
use crate::rights::Caller;
use crate::store::paths;
use crate::store::statistics::{self, Figures};

/// How many paths may wait to have their use noted. Beyond, uses are not noted: they are only used to tell what is old.
const USES: usize = 200_000;

/// What was not written down yet.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<Open>);

#[derive(Default)]
struct Open {
    caches: HashMap<CacheId, Figures>,
    jobs: HashMap<(JobId, CacheId), Figures>,
    uses: HashMap<PathId, (Timestamp, i64)>,
}

impl Accounts {
    fn add(&self, cache: CacheId, caller: &Caller, figures: &Figures) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.caches.entry(cache).or_default().add(figures);
        if let Some(job) = caller.job {
            open.jobs.entry((job, cache)).or_default().add(figures);
        }
    }

    fn use_path(&self, path: PathId, at: Timestamp, downloads: i64) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.uses.len() < USES || open.uses.contains_key(&path) {
            let noted = open.uses.entry(path).or_insert((at, 0));
            noted.0 = noted.0.max(at);
            noted.1 += downloads;
        }
    }
}

impl Caches {
    /// Notes that a narinfo was asked for.
    pub(crate) fn note_asked(&self, cache: CacheId, caller: &Caller, found: Option<PathId>) {
        let hit = i64::from(found.is_some());
        let figures = Figures {
            hits: hit,
            misses: 1 - hit,
            ..Figures::default()
        };
        self.metrics.asked(found.is_some());
        self.accounts.add(cache, caller, &figures);
        if let Some(path) = found {
            self.accounts.use_path(path, self.now(), 0);
        }
    }

    /// Notes that a NAR is sent.
    pub(crate) fn note_served(&self, cache: CacheId, caller: &Caller, path: PathId, bytes: u64) {
        let served = i64::try_from(bytes).unwrap_or(i64::MAX);
        let figures = Figures {
            bytes_served: served,
            ..Figures::default()
        };
        self.metrics.served(bytes);
        self.accounts.add(cache, caller, &figures);
        self.accounts.use_path(path, self.now(), 1);
    }

    /// Notes that a path was pushed: how large its NAR is, and what of it had to be stored.
    pub(crate) fn note_pushed(
        &self,
        cache: CacheId,
        caller: &Caller,
        nar_bytes: u64,
        stored_bytes: u64,
    ) {
        let number = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
        let figures = Figures {
            paths_added: 1,
            nar_bytes: number(nar_bytes),
            stored_bytes: number(stored_bytes),
            ..Figures::default()
        };
        self.metrics.pushed(nar_bytes, stored_bytes);
        self.accounts.add(cache, caller, &figures);
    }

    /// Writes down what was counted. Returns whether there was anything.
    pub(crate) async fn settle(&self) -> Result<bool, Error> {
        let Open { caches, jobs, uses } = {
            let mut open = self
                .accounts
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *open)
        };
        if caches.is_empty() && uses.is_empty() {
            return Ok(false);
        }
        let mut uses: Vec<_> = uses
            .into_iter()
            .map(|(id, (at, count))| (id, at, count))
            .collect();
        // Whoever else writes them does so in the same order, and does not wait for us.
        uses.sort_unstable_by_key(|it| it.0);
        let (mut caches, mut jobs): (Vec<_>, Vec<_>) =
            (caches.into_iter().collect(), jobs.into_iter().collect());
        caches.sort_unstable_by_key(|it| it.0);
        jobs.sort_unstable_by_key(|it| it.0);
        self.db
            .write("cache_settle", move |tx| {
                for (cache, figures) in &caches {
                    statistics::add(tx, *cache, figures)?;
                }
                for ((job, cache), figures) in &jobs {
                    statistics::add_to_job(tx, job.0, *cache, figures)?;
                }
                paths::note_uses(tx, &uses)
            })
            .await?;
        Ok(true)
    }
}
