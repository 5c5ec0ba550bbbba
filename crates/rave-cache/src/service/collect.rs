//! Collecting what caches no longer need.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use rave_blob::{Digest, Referrer};
use rave_core::time::Timestamp;
use rave_store::{BoxError, Error};

use super::Caches;
use super::plan::{self, Graph, Policy, Reason};
use crate::config::millis;
use crate::error::CacheError;
use crate::memory::Key;
use crate::model::{Cache, hash_part};
use crate::rights::{Allowed, Delete, Pull, Push};
use crate::store::paths::{self, Bare};
use crate::store::pins::{self, Pin};
use crate::store::{caches, uploads};

/// How many paths are read at once.
const READ_AT_ONCE: i64 = 5_000;
/// How many paths are deleted in one transaction.
const DELETED_AT_ONCE: usize = 500;
/// How long figures of jobs are kept.
const JOB_FIGURES: Duration = Duration::from_secs(90 * 24 * 3600);
const PIN_NAME: usize = 200;

/// What a collection would delete, or deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collection {
    pub(crate) doomed: Vec<(Bare, Reason)>,
    pub(crate) kept_paths: usize,
    pub(crate) kept_bytes: i64,
}

impl Collection {
    pub(crate) fn bytes(&self) -> i64 {
        self.doomed.iter().map(|it| it.0.nar_size).sum()
    }
}

#[async_trait]
impl Referrer for Caches {
    async fn referenced(&self, digests: &[Digest]) -> Result<HashSet<Digest>, BoxError> {
        let asked: Vec<String> = digests.iter().map(ToString::to_string).collect();
        let found = self
            .db
            .read("cache_referenced", move |tx| {
                uploads::referenced(tx, &asked)
            })
            .await?;
        Ok(digests
            .iter()
            .filter(|it| found.contains(&it.to_string()))
            .copied()
            .collect())
    }
}

impl Caches {
    /// Returns what a collection would delete now.
    pub(crate) async fn plan_collection(
        &self,
        allowed: &Allowed<Delete>,
    ) -> Result<Collection, CacheError> {
        self.settle().await?;
        let (collection, _) = self.plan(&allowed.cache.cache).await?;
        Ok(collection)
    }

    /// Deletes what may go.
    pub(crate) async fn collect_now(
        &self,
        allowed: &Allowed<Delete>,
    ) -> Result<Collection, CacheError> {
        let done = self.collect(&allowed.cache.cache).await;
        self.tidy.notify_one();
        done
    }

    async fn plan(&self, cache: &Cache) -> Result<(Collection, Graph), CacheError> {
        let id = cache.id;
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let some = self
                .db
                .read("cache_bare", move |tx| {
                    paths::bare(tx, id, after, READ_AT_ONCE)
                })
                .await?;
            let Some(last) = some.last() else {
                break;
            };
            after = last.id.0;
            all.extend(some);
        }
        let pinned = self
            .db
            .read("cache_pins", move |tx| pins::list(tx, id))
            .await?;
        let pinned: HashSet<String> = pinned
            .iter()
            .map(|it| hash_part(&it.store_path).to_owned())
            .collect();
        let now = self.now();
        let default = millis(self.config.retention);
        let keep_ms = cache
            .settings
            .retention_secs
            .map_or(default, |it| it.saturating_mul(1000));
        let policy = Policy {
            unused_since: (keep_ms > 0).then(|| now.plus_millis(-keep_ms)),
            quota_bytes: cache.settings.quota_bytes,
        };
        // Some hundred thousand paths take a while.
        let planned = tokio::task::spawn_blocking(move || {
            let graph = Graph::new(&all);
            let plan = plan::plan(&all, &graph, &pinned, policy);
            let gone: HashSet<usize> = plan.iter().map(|it| it.0).collect();
            let kept: Vec<&Bare> = (0..all.len())
                .filter(|at| !gone.contains(at))
                .map(|at| &all[at])
                .collect();
            let (kept_paths, kept_bytes) = (kept.len(), kept.iter().map(|it| it.nar_size).sum());
            let doomed = plan
                .into_iter()
                .map(|(at, reason)| (all[at].clone(), reason))
                .collect();
            (
                Collection {
                    doomed,
                    kept_paths,
                    kept_bytes,
                },
                graph,
            )
        });
        planned
            .await
            .map_err(|it| CacheError::internal("planning a collection ended early", it))
    }

    /// Collects one cache. What was pushed or asked for meanwhile stays, with all that it refers to.
    pub(crate) async fn collect(&self, cache: &Cache) -> Result<Collection, CacheError> {
        self.settle().await?;
        let began = self.now();
        let (mut collection, _) = self.plan(cache).await?;
        let planned = std::mem::take(&mut collection.doomed);
        if planned.is_empty() {
            return Ok(collection);
        }
        let paths: Vec<Bare> = planned.iter().map(|it| it.0.clone()).collect();
        let graph = std::sync::Arc::new(Graph::new(&paths));
        let paths = std::sync::Arc::new(paths);
        let id = cache.id;
        for first in (0..planned.len()).step_by(DELETED_AT_ONCE) {
            let last = planned.len().min(first + DELETED_AT_ONCE);
            let (graph, paths) = (graph.clone(), paths.clone());
            let deleted = self
                .db
                .write("cache_collect", move |tx| {
                    if !caches::lock(tx, id)? {
                        return Ok::<_, Error>(Vec::new());
                    }
                    let used = paths::used_since(tx, id, began)?;
                    let pinned = pins::list(tx, id)?;
                    let pinned = pinned.iter().map(|it| hash_part(&it.store_path));
                    let used = used.iter().flat_map(|it| it.split(' ')).map(hash_part);
                    let staying = graph.closure(used.chain(pinned));
                    let going: Vec<usize> =
                        (first..last).filter(|it| !staying.contains(it)).collect();
                    let rows: Vec<_> = going.iter().map(|at| (paths[*at].id, began)).collect();
                    paths::delete(tx, id, &rows)?;
                    Ok(going)
                })
                .await?;
            for at in deleted {
                if let Ok(hash) = hash_part(&planned[at].0.path).parse() {
                    self.index.forget(id, Key::Path(hash));
                }
                if let Ok(nar) = format!("sha256:{}", planned[at].0.nar_digest).parse() {
                    self.index.forget(id, Key::Nar(nar));
                }
                collection.doomed.push(planned[at].clone());
            }
        }
        let (count, bytes) = (collection.doomed.len(), collection.bytes());
        tracing::info!(cache = %cache.name, paths = count, bytes, "collected a binary cache");
        Ok(collection)
    }

    /// Does everything that time makes due: collections, and what was begun and never ended.
    pub(crate) async fn tidy(&self) -> Result<(), CacheError> {
        while self
            .db
            .write("cache_clear", |tx| caches::clear_deleted(tx, 500))
            .await?
        {}
        let held = self.now().plus_millis(-millis(self.config.hold));
        let figures = self.now().plus_millis(-millis(JOB_FIGURES));
        let (paths, files) = self
            .db
            .write("cache_drop_held", move |tx| {
                crate::store::statistics::forget_jobs(tx, figures)?;
                Ok::<_, Error>((paths::drop_held(tx, held)?, uploads::drop_old(tx, held)?))
            })
            .await?;
        if paths + files > 0 {
            tracing::info!(paths, files, "dropped uploads whose rest never came");
        }
        let all = self.db.read("cache_all", caches::list_all).await?;
        for cache in all {
            self.collect(&cache).await?;
        }
        Ok(())
    }

    /// Sets what a name keeps, with all that it refers to.
    pub(crate) async fn pin(
        &self,
        allowed: &Allowed<Push>,
        name: &str,
        hash: rave_nix::HashPart,
        expires_at: Option<Timestamp>,
    ) -> Result<(), CacheError> {
        let fine = |it: char| it.is_alphanumeric() || "-_.+/:@".contains(it);
        if name.is_empty() || name.len() > PIN_NAME || !name.chars().all(fine) {
            let why = format!("A pin's name has 1 to {PIN_NAME} letters, digits and `-_.+/:@`.");
            return Err(CacheError::Invalid(why));
        }
        let (id, name, by) = (
            allowed.cache.cache.id,
            name.to_owned(),
            allowed.caller.label.clone(),
        );
        let done = self
            .db
            .write("cache_pin", move |tx| {
                caches::lock(tx, id)?;
                let Some(found) = paths::find(tx, id, &hash.to_string())? else {
                    return Ok::<_, Error>(false);
                };
                let path = found.path.info.path.to_string();
                pins::put(tx, id, &name, &path, &by, expires_at)?;
                Ok(true)
            })
            .await?;
        if done {
            Ok(())
        } else {
            Err(CacheError::NoSuchObject("path"))
        }
    }

    pub(crate) async fn unpin(
        &self,
        allowed: &Allowed<Push>,
        name: &str,
    ) -> Result<(), CacheError> {
        let (id, name) = (allowed.cache.cache.id, name.to_owned());
        let done = self
            .db
            .write("cache_unpin", move |tx| pins::remove(tx, id, &name))
            .await?;
        if done {
            Ok(())
        } else {
            Err(CacheError::NoSuchObject("pin"))
        }
    }

    pub(crate) async fn list_pins(&self, allowed: &Allowed<Pull>) -> Result<Vec<Pin>, CacheError> {
        let id = allowed.cache.cache.id;
        Ok(self
            .db
            .read("cache_pins", move |tx| pins::list(tx, id))
            .await?)
    }
}
