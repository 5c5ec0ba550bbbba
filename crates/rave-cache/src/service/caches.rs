//! Making, changing and destroying caches, and their keys.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use rave_nix::{PublicKey, SecretKey, StoreDir};
use rave_store::Error;

use super::Caches;
use super::visit::Visitor;
use crate::error::CacheError;
use crate::keys::{self, OpenCache, ShownKey};
use crate::model::{CacheName, Settings};
use crate::rights::{Allowed, Configure, Destroy, Pull};
use crate::store;

/// How long a cache's settings are used without asking whether another process changed them.
const FRESH_MS: i64 = 3_000;
/// How many caches are kept open.
const OPEN: usize = 4_096;
const KEYS: usize = 16;

/// Caches that were asked for lately, by name.
#[derive(Default)]
pub(crate) struct Names(RwLock<HashMap<CacheName, Arc<OpenCache>>>);

impl Caches {
    /// Returns the cache with this name.
    pub(crate) async fn open(
        &self,
        name: &CacheName,
    ) -> Result<Option<Arc<OpenCache>>, CacheError> {
        let now = self.now();
        let known = {
            let names = self.names.0.read().unwrap_or_else(PoisonError::into_inner);
            names.get(name).cloned()
        };
        if let Some(open) = known
            .as_ref()
            .filter(|it| now.since(it.loaded_at) < FRESH_MS)
        {
            return Ok(Some(open.clone()));
        }
        let wanted = name.as_str().to_owned();
        let found = self
            .db
            .read("cache_open", move |tx| {
                let Some(cache) = store::caches::find(tx, &wanted)? else {
                    return Ok::<_, Error>(None);
                };
                let keys = store::caches::keys(tx, cache.id)?;
                Ok(Some((cache, keys)))
            })
            .await?;
        let Some((cache, rows)) = found else {
            self.forget_cache(name);
            return Ok(None);
        };
        let shown: Vec<String> = rows.iter().map(|it| it.public_key.clone()).collect();
        let same = known.filter(|it| it.cache == cache && it.public_keys() == shown);
        let generation = match same {
            Some(it) => it.generation,
            None => self.generations.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let open = Arc::new(OpenCache::new(
            cache,
            &rows,
            &self.sealing,
            generation,
            now,
        )?);
        let mut names = self.names.0.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= OPEN {
            names.clear();
        }
        names.insert(name.clone(), open.clone());
        Ok(Some(open))
    }

    /// Has a cache read anew when it is next asked for.
    pub(crate) fn forget_cache(&self, name: &CacheName) {
        let mut names = self.names.0.write().unwrap_or_else(PoisonError::into_inner);
        names.remove(name);
    }

    /// Makes a cache with a key: the one given, or one of its own.
    pub(crate) async fn create(
        &self,
        visitor: &Visitor,
        name: &CacheName,
        settings: Settings,
        key: Option<&str>,
    ) -> Result<(), CacheError> {
        let caller = self.allow_create(visitor, name).await?;
        check(&settings)?;
        let key = match key {
            Some(text) => read_key(text)?,
            None => keys::generate(name.as_str())?,
        };
        let (public_key, sealed) = keys::seal(&key, &self.sealing)?;
        let wanted = name.clone();
        let (label, user) = (caller.label.clone(), caller.user);
        let made = self
            .db
            .write("cache_create", move |tx| {
                let made = store::caches::insert(tx, &wanted, &settings, &label, user)?;
                if let Some(id) = made {
                    store::caches::add_key(tx, id, &public_key, sealed)?;
                }
                Ok::<_, Error>(made)
            })
            .await?;
        if made.is_none() {
            return Err(CacheError::Exists);
        }
        self.forget_cache(name);
        tracing::info!(cache = %name, by = caller.label, "made a binary cache");
        Ok(())
    }

    /// Changes a cache's settings.
    pub(crate) async fn configure(
        &self,
        allowed: &Allowed<Configure>,
        settings: Settings,
    ) -> Result<(), CacheError> {
        check(&settings)?;
        let cache = &allowed.cache.cache;
        if settings.store_dir != cache.settings.store_dir {
            let id = cache.id;
            let holdings = self
                .db
                .read("cache_holdings", move |tx| {
                    store::statistics::holdings(tx, id)
                })
                .await?;
            if holdings.paths > 0 {
                let why = "The store directory of a cache with paths in it cannot change.";
                return Err(CacheError::invalid(why));
            }
        }
        let id = cache.id;
        let done = self
            .db
            .write("cache_update", move |tx| {
                store::caches::update(tx, id, &settings)
            })
            .await?;
        self.forget_cache(&cache.name);
        if done {
            Ok(())
        } else {
            Err(CacheError::NoSuchCache)
        }
    }

    /// Deletes a cache. Its name is free at once; a worker deletes what was in it.
    pub(crate) async fn destroy(&self, allowed: &Allowed<Destroy>) -> Result<(), CacheError> {
        let cache = &allowed.cache.cache;
        let id = cache.id;
        self.db
            .write("cache_destroy", move |tx| {
                store::caches::mark_deleted(tx, id)
            })
            .await?;
        self.forget_cache(&cache.name);
        self.tidy.notify_one();
        tracing::info!(cache = %cache.name, by = allowed.caller.label, "destroyed a binary cache");
        Ok(())
    }

    /// Returns a cache's keys, the primary one first.
    pub(crate) async fn list_keys(
        &self,
        allowed: &Allowed<Pull>,
    ) -> Result<Vec<ShownKey>, CacheError> {
        let id = allowed.cache.cache.id;
        let rows = self
            .db
            .read("cache_keys", move |tx| store::caches::keys(tx, id))
            .await?;
        Ok(rows.into_iter().map(ShownKey::from).collect())
    }

    /// Gives a cache another key, which becomes the primary one. Those before go on signing until they are removed.
    pub(crate) async fn rotate_key(
        &self,
        allowed: &Allowed<Configure>,
        key: Option<&str>,
    ) -> Result<String, CacheError> {
        let cache = &allowed.cache;
        let known = cache.public_keys();
        if known.len() >= KEYS {
            return Err(CacheError::invalid(format!(
                "A cache has at most {KEYS} keys: remove one that nobody trusts any more."
            )));
        }
        let key = match key {
            Some(text) => read_key(text)?,
            None => keys::generate(&next_name(cache.name().as_str(), &known))?,
        };
        let (public_key, sealed) = keys::seal(&key, &self.sealing)?;
        let (id, shown) = (cache.cache.id, public_key.clone());
        self.db
            .write("cache_rotate", move |tx| {
                store::caches::add_key(tx, id, &public_key, sealed)
            })
            .await?;
        self.forget_cache(cache.name());
        Ok(shown)
    }

    /// Makes another of a cache's keys the primary one.
    pub(crate) async fn choose_key(
        &self,
        allowed: &Allowed<Configure>,
        key: i64,
    ) -> Result<(), CacheError> {
        let id = allowed.cache.cache.id;
        let done = self
            .db
            .write("cache_choose_key", move |tx| {
                store::caches::choose_key(tx, id, key)
            })
            .await?;
        self.forget_cache(allowed.cache.name());
        if done {
            Ok(())
        } else {
            Err(CacheError::NoSuchObject("key"))
        }
    }

    /// Removes a key: from now on nothing is signed with it.
    pub(crate) async fn remove_key(
        &self,
        allowed: &Allowed<Configure>,
        key: i64,
    ) -> Result<(), CacheError> {
        let id = allowed.cache.cache.id;
        let done = self
            .db
            .write("cache_remove_key", move |tx| {
                store::caches::remove_key(tx, id, key)
            })
            .await?;
        self.forget_cache(allowed.cache.name());
        if done {
            Ok(())
        } else {
            Err(CacheError::Conflict(
                "There is no such key, or it is the primary one: choose another first.".into(),
            ))
        }
    }
}

fn read_key(text: &str) -> Result<SecretKey, CacheError> {
    text.parse()
        .map_err(|it| CacheError::Invalid(format!("The key pair cannot be used: {it}")))
}

/// Returns a name that tells a new key from those before.
fn next_name(cache: &str, known: &[String]) -> String {
    let taken = |name: &str| known.iter().any(|it| it.split(':').next() == Some(name));
    let mut names = (2..).map(|it| format!("{cache}-{it}"));
    names.find(|it| !taken(it)).expect("numbers do not end")
}

/// Checks settings that came from outside.
fn check(settings: &Settings) -> Result<(), CacheError> {
    StoreDir::new(&settings.store_dir)
        .map_err(|it| CacheError::Invalid(format!("The store directory is none: {it}")))?;
    if i32::try_from(settings.priority).is_err() {
        return Err(CacheError::invalid(
            "The priority is not a number that clients can read.",
        ));
    }
    let upstream = settings.upstreams.iter().flat_map(|it| &it.public_keys);
    for key in settings.trusted_keys.iter().chain(upstream) {
        key.parse::<PublicKey>()
            .map_err(|it| CacheError::Invalid(format!("`{key}` is no public key: {it}")))?;
    }
    for upstream in &settings.upstreams {
        super::pull::check(upstream)?;
    }
    let negative = |it: Option<i64>| it.is_some_and(|it| it < 0);
    if negative(settings.retention_secs) || negative(settings.quota_bytes) {
        return Err(CacheError::invalid(
            "Retention period and quota cannot be negative.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_keys_have_names_of_their_own() {
        assert_eq!(next_name("c", &["c:AA".into()]), "c-2");
        assert_eq!(next_name("c", &["c:AA".into(), "c-2:AA".into()]), "c-3");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        assert!(check(&Settings::default()).is_ok());
        for wrong in [
            Settings {
                store_dir: "nix".into(),
                ..Settings::default()
            },
            Settings {
                priority: 1 << 40,
                ..Settings::default()
            },
            Settings {
                trusted_keys: vec!["x".into()],
                ..Settings::default()
            },
            Settings {
                retention_secs: Some(-1),
                ..Settings::default()
            },
        ] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
    }
}
