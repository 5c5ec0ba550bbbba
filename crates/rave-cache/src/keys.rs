//! The keys that a cache signs with, opened, and the cache around them as requests need it.

use rave_core::sealing::SealingKey;
use rave_core::time::Timestamp;
use rave_nix::{
    BuildTrace, BuildTraceKey, PathInfo, PublicKey, Realisation, SecretKey, Signature, StoreDir,
};

use crate::error::CacheError;
use crate::model::{Cache, CacheName};
use crate::store::caches::KeyRow;

/// A cache with everything that answering for it needs, so that reading takes no SQL.
pub(crate) struct OpenCache {
    pub(crate) cache: Cache,
    pub(crate) store_dir: StoreDir,
    /// The primary one first. All sign.
    keys: Vec<SecretKey>,
    /// Tells this state of the cache's settings and keys from those before.
    pub(crate) generation: u64,
    pub(crate) loaded_at: Timestamp,
}

/// A key as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownKey {
    pub(crate) id: i64,
    pub(crate) public_key: String,
    pub(crate) is_primary: bool,
    pub(crate) created_at: Timestamp,
}

impl From<KeyRow> for ShownKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            public_key: row.public_key,
            is_primary: row.is_primary,
            created_at: row.created_at,
        }
    }
}

impl OpenCache {
    /// Opens the keys of a cache.
    pub(crate) fn new(
        cache: Cache,
        rows: &[KeyRow],
        sealing: &SealingKey,
        generation: u64,
        loaded_at: Timestamp,
    ) -> Result<Self, CacheError> {
        let open = |row: &KeyRow| {
            let what = purpose(&row.public_key);
            let secret = sealing
                .open(&what, &row.sealed)
                .map_err(|it| CacheError::internal("cannot open a cache's key", it))?;
            secret
                .expose()
                .parse::<SecretKey>()
                .map_err(|it| CacheError::internal("cannot read a cache's key", it))
        };
        let store_dir = StoreDir::new(&cache.settings.store_dir)
            .map_err(|it| CacheError::internal("a cache has no store directory", it))?;
        Ok(Self {
            keys: rows.iter().map(open).collect::<Result<_, _>>()?,
            cache,
            store_dir,
            generation,
            loaded_at,
        })
    }

    pub(crate) fn name(&self) -> &CacheName {
        &self.cache.name
    }

    /// Returns the public keys, the primary one first.
    pub(crate) fn public_keys(&self) -> Vec<String> {
        self.keys
            .iter()
            .map(|it| it.public_key().to_string())
            .collect()
    }

    /// Returns the path's signatures: ours, and those that came with it by other keys.
    pub(crate) fn signatures(&self, info: &PathInfo) -> Vec<Signature> {
        let fingerprint = info.fingerprint(&self.store_dir);
        let mut all: Vec<Signature> = self.keys.iter().map(|it| it.sign(&fingerprint)).collect();
        let others = info.signatures.iter();
        let others = others.filter(|it| self.keys.iter().all(|key| key.name() != it.key_name()));
        all.extend(others.cloned());
        all
    }

    /// Adds our signatures to a realisation.
    pub(crate) fn sign_realisation(&self, mut it: Realisation) -> Realisation {
        let own: Vec<Signature> = self.keys.iter().map(|key| it.sign(key)).collect();
        it.signatures
            .retain(|sig| own.iter().all(|own| own.key_name() != sig.key_name()));
        it.signatures.extend(own);
        it
    }

    /// Adds our signatures to a part of a build trace.
    pub(crate) fn sign_trace(&self, named: &BuildTraceKey, mut it: BuildTrace) -> BuildTrace {
        let own: Vec<Signature> = self.keys.iter().map(|key| it.sign(named, key)).collect();
        it.signatures
            .retain(|sig| own.iter().all(|own| own.key_name() != sig.key_name()));
        it.signatures.extend(own);
        it
    }

    /// Returns the keys by one of which a path may be vouched for: trusted ones, those of upstream caches, our own.
    pub(crate) fn trusted_keys(&self) -> Vec<PublicKey> {
        let settings = &self.cache.settings;
        let upstream = settings.upstreams.iter().flat_map(|it| &it.public_keys);
        let given = settings.trusted_keys.iter().chain(upstream);
        let given = given.filter_map(|it| it.parse().ok());
        given
            .chain(self.keys.iter().map(SecretKey::public_key))
            .collect()
    }
}

/// Makes a key pair with a name.
pub(crate) fn generate(name: &str) -> Result<SecretKey, CacheError> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed)
        .map_err(|_| CacheError::internal("cannot make a key", rave_core::secret::NoRandomness))?;
    SecretKey::from_seed(name, seed).map_err(CacheError::invalid)
}

/// Seals a key, for its own row only.
pub(crate) fn seal(key: &SecretKey, sealing: &SealingKey) -> Result<(String, Vec<u8>), CacheError> {
    let public_key = key.public_key().to_string();
    let sealed = sealing
        .seal(&purpose(&public_key), &key.expose())
        .map_err(|it| CacheError::internal("cannot seal a key", it))?;
    Ok((public_key, sealed))
}

fn purpose(public_key: &str) -> String {
    format!("binary cache key {public_key}")
}
