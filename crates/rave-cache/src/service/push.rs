//! Paths on their way in: judged by what vouches for them, and visible once their closure is.

use std::collections::HashSet;

use rave_nix::{HashPart, PathInfo};
use rave_store::Error;

use super::Caches;
use super::receive::{Expected, Incoming, Received};
use crate::error::CacheError;
use crate::keys::OpenCache;
use crate::memory::Key;
use crate::model::NewPath;
use crate::rights::{Allowed, Delete, Push};
use crate::store::paths::{self, Added, Elsewhere};
use crate::store::uploads::Upload;
use crate::store::{caches, extras, uploads};

/// How many hash parts one question may have.
const ASKED_AT_ONCE: usize = 200_000;
/// How many references a path may have.
const REFERENCES: usize = 20_000;

impl Caches {
    /// Returns which of some paths a client should push. Those that wait for others are not missing.
    pub(crate) async fn missing_paths(
        &self,
        allowed: &Allowed<Push>,
        hashes: Vec<String>,
    ) -> Result<Vec<String>, CacheError> {
        if hashes.len() > ASKED_AT_ONCE {
            return Err(CacheError::Invalid(format!(
                "Ask for at most {ASKED_AT_ONCE} paths at once."
            )));
        }
        for hash in &hashes {
            hash.parse::<rave_nix::HashPart>()
                .map_err(CacheError::invalid)?;
        }
        let cache = &allowed.cache.cache;
        let (id, asked) = (cache.id, hashes.clone());
        let known = self
            .db
            .read("cache_known", move |tx| paths::known(tx, id, &asked))
            .await?;
        let missing: Vec<String> = hashes
            .into_iter()
            .filter(|it| !known.contains_key(it))
            .collect();
        if !missing.is_empty() && presumes(&allowed.cache) {
            let announced = missing.clone();
            self.db
                .write("cache_announce", move |tx| {
                    paths::announce(tx, id, &announced)
                })
                .await?;
        }
        Ok(missing)
    }

    /// Takes a path with its NAR in one, as Attic's clients push.
    pub(crate) async fn upload(
        &self,
        allowed: &Allowed<Push>,
        info: PathInfo,
        incoming: Incoming<'_>,
    ) -> Result<(Received, Added), CacheError> {
        self.judge_path(&allowed.cache, &info)?;
        let expected = Expected {
            nar_hash: Some(info.nar_hash),
            nar_size: Some(info.nar_size),
            hashes_file: false,
        };
        let received = self
            .receive(incoming, rave_nix::Compression::None, expected)
            .await?;
        let added = self.add(allowed, info, &received).await?;
        Ok((received, added))
    }

    /// Takes a NAR whose narinfo is to follow.
    pub(crate) async fn upload_nar(
        &self,
        allowed: &Allowed<Push>,
        file_name: &str,
        incoming: Incoming<'_>,
    ) -> Result<(), CacheError> {
        let compression = rave_nix::Compression::of_file_name(file_name);
        let expected = Expected {
            hashes_file: true,
            ..Expected::default()
        };
        let received = self.receive(incoming, compression, expected).await?;
        let number = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
        let upload = Upload {
            file_name: file_name.to_owned(),
            nar_digest: received.nar_hash.to_base16(),
            nar_size: number(received.nar_size),
            file_hash: received.file_hash.to_base16(),
            file_size: number(received.file_size),
            uploaded_by: allowed.caller.label.clone(),
            // The bytes are counted when the narinfo comes.
            added_bytes: number(received.added_bytes),
        };
        let id = allowed.cache.cache.id;
        self.db
            .write("cache_upload", move |tx| uploads::put(tx, id, &upload))
            .await?;
        Ok(())
    }

    /// Returns the NAR that was put under a name and waits for its narinfo.
    pub(crate) async fn find_upload(
        &self,
        allowed: &Allowed<Push>,
        file_name: &str,
    ) -> Result<Option<Upload>, CacheError> {
        let (id, name) = (allowed.cache.cache.id, file_name.to_owned());
        let found = self
            .db
            .read("cache_find_upload", move |tx| uploads::find(tx, id, &name));
        Ok(found.await?)
    }

    /// Adds a path whose NAR is stored, and makes it visible when its closure is complete.
    pub(crate) async fn add(
        &self,
        allowed: &Allowed<Push>,
        info: PathInfo,
        received: &Received,
    ) -> Result<Added, CacheError> {
        let cache = &allowed.cache;
        self.judge_path(cache, &info)?;
        self.check_content(&info).await?;
        let new = NewPath {
            info,
            fetch_from: None,
            pushed_by: allowed.caller.label.clone(),
        };
        // Who may delete a path may also put another build in its place.
        let replaces = allowed.also::<Delete>().is_ok();
        let added = self.put_path(cache, new, replaces).await?;
        if added != Added::Kept {
            let (nar, stored) = (received.nar_size, received.added_bytes);
            self.note_pushed(cache.cache.id, &allowed.caller, nar, stored);
        }
        Ok(added)
    }

    /// Writes a path down, and forgets what was known of those that it makes visible.
    pub(crate) async fn put_path(
        &self,
        cache: &OpenCache,
        new: NewPath,
        replaces: bool,
    ) -> Result<Added, CacheError> {
        let id = cache.cache.id;
        let elsewhere = self.elsewhere(cache, &new.info).await?;
        let (key, nar) = (new.info.path.hash_part(), new.info.nar_hash);
        let added = self
            .db
            .write("cache_add", move |tx| {
                if !caches::lock(tx, id)? {
                    return Ok::<_, Error>(None);
                }
                paths::add(tx, id, &new, &elsewhere, replaces).map(Some)
            })
            .await?;
        let (added, uncovered) = added.ok_or(CacheError::NoSuchCache)?;
        self.index.forget(id, Key::Path(key));
        self.index.forget(id, Key::Nar(nar));
        for hash in uncovered.iter().filter_map(|it| it.parse().ok()) {
            self.index.forget(id, Key::Path(hash));
        }
        Ok(added)
    }

    /// Finds out which references other caches have, so that the path need not wait for them.
    async fn elsewhere(&self, cache: &OpenCache, info: &PathInfo) -> Result<Elsewhere, CacheError> {
        let presumed = presumes(cache);
        if cache.cache.settings.upstreams.is_empty() || info.references.is_empty() {
            return Ok(Elsewhere {
                presumed,
                ..Elsewhere::default()
            });
        }
        let (id, own) = (cache.cache.id, info.path.hash_part());
        let others = info.references.iter().filter(|it| it.hash_part() != own);
        let asked: Vec<String> = others.map(|it| it.hash_part().to_string()).collect();
        let wanted = asked.clone();
        let known = self
            .db
            .read("cache_known", move |tx| paths::known(tx, id, &wanted))
            .await?;
        let mut found = HashSet::new();
        for hash in asked.into_iter().filter(|it| !known.contains_key(it)) {
            if let Ok(part) = hash.parse()
                && self.is_upstream(cache, part).await
            {
                found.insert(hash);
            }
        }
        Ok(Elsewhere { found, presumed })
    }

    /// Checks what can be told of a path without its NAR.
    fn judge_path(&self, cache: &OpenCache, info: &PathInfo) -> Result<(), CacheError> {
        if info.references.len() > REFERENCES {
            return Err(CacheError::Invalid(format!(
                "A path has at most {REFERENCES} references."
            )));
        }
        if let Some(address) = &info.content_address {
            if info.is_content_addressed(&cache.store_dir) {
                return Ok(());
            }
            return Err(CacheError::Invalid(format!(
                "{} does not follow from its content address {address} and its references.",
                info.path
            )));
        }
        if cache.cache.settings.trusts_pushers
            || info
                .signed_by(&cache.store_dir, &cache.trusted_keys())
                .is_some()
        {
            return Ok(());
        }
        Err(CacheError::Forbidden(format!(
            "{} is not signed by a key that this cache trusts.",
            info.path
        )))
    }

    /// Checks that the stored NAR is what the content address says.
    async fn check_content(&self, info: &PathInfo) -> Result<(), CacheError> {
        let Some(address) = info.content_address else {
            return Ok(());
        };
        let refers_to_itself = info.references.contains(&info.path);
        if let rave_nix::ContentAddress::Nar(rave_nix::NixHash::Sha256(hash)) = address
            && !refers_to_itself
        {
            let wrong = || {
                CacheError::Invalid(format!(
                    "The NAR of {} is not what {address} says.",
                    info.path
                ))
            };
            return if hash == info.nar_hash {
                Ok(())
            } else {
                Err(wrong())
            };
        }
        self.reread(info, address).await
    }

    /// Adds a realisation or a part of a build trace under its file's name.
    pub(crate) async fn put_realisation(
        &self,
        allowed: &Allowed<Push>,
        name: String,
        body: String,
    ) -> Result<(), CacheError> {
        let id = allowed.cache.cache.id;
        let done = self.db.write("cache_put_realisation", move |tx| {
            extras::put_realisation(tx, id, &name, &body)
        });
        Ok(done.await?)
    }

    /// Deletes a path that no other refers to.
    pub(crate) async fn delete_path(
        &self,
        allowed: &Allowed<Delete>,
        hash: HashPart,
    ) -> Result<(), CacheError> {
        let id = allowed.cache.cache.id;
        let deleted = self
            .db
            .write("cache_delete_path", move |tx| {
                caches::lock(tx, id)?;
                let Some(found) = paths::find(tx, id, &hash.to_string())? else {
                    return Ok::<_, Error>(Err(CacheError::NoSuchObject("path")));
                };
                let referrers = paths::referrers(tx, id, &hash.to_string(), 5)?;
                let pinned = crate::store::pins::list(tx, id)?;
                let pin = pinned
                    .iter()
                    .find(|it| crate::model::hash_part(&it.store_path) == hash.to_string());
                if let Some(pin) = pin {
                    return Ok(Err(CacheError::Conflict(format!(
                        "The pin {} keeps it.",
                        pin.name
                    ))));
                }
                if !referrers.is_empty() {
                    let who = referrers.join(", ");
                    return Ok(Err(CacheError::Conflict(format!(
                        "These paths refer to it: {who}"
                    ))));
                }
                paths::delete(tx, id, &[(found.id, found.last_access_at)])?;
                Ok(Ok(found.path.info.nar_hash))
            })
            .await?;
        let nar = deleted?;
        self.index.forget(id, Key::Path(hash));
        self.index.forget(id, Key::Nar(nar));
        Ok(())
    }
}

/// Whether references that are neither here nor announced are taken to be in a cache that cannot be asked.
///
/// Attic's clients leave out what keys of these names signed, and say of it nothing but its name.
fn presumes(cache: &OpenCache) -> bool {
    !cache.cache.settings.upstream_key_names.is_empty()
}
