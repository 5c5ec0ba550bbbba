//! The JSON of Attic's dialect and of our own.

use rave_nix::{PathInfo, StoreDir, StorePath};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::config::CacheConfig;
use crate::error::CacheError;
use crate::keys::OpenCache;
use crate::model::{Settings, StoredPath, Upstream};
use crate::service::plan::Reason;
use crate::store::paths::Bare;
use crate::store::statistics::Figures;

/// A cache that is to be made.
#[derive(Deserialize)]
pub(super) struct CreateCache {
    pub(super) keypair: KeyPair,
    pub(super) is_public: bool,
    pub(super) store_dir: String,
    pub(super) priority: i64,
    #[serde(default)]
    pub(super) upstream_cache_key_names: Vec<String>,
}

/// The keys of a new cache: our choice, or given. `"Generate"` or `{"Keypair": "name:base64"}`.
#[derive(Deserialize)]
pub(super) enum KeyPair {
    Generate,
    Keypair(String),
}

impl KeyPair {
    pub(super) fn given(&self) -> Option<&str> {
        match self {
            Self::Generate => None,
            Self::Keypair(text) => Some(text),
        }
    }
}

/// How long unused paths are kept. `"Global"` or `{"Period": seconds}`.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) enum RetentionPeriod {
    Global,
    Period(u32),
}

/// What is to change about a cache; what is not given stays. The read-only fields of Attic's type are passed over.
#[derive(Default, Deserialize)]
pub(super) struct ConfigureCache {
    pub(super) keypair: Option<KeyPair>,
    is_public: Option<bool>,
    store_dir: Option<String>,
    priority: Option<i64>,
    upstream_cache_key_names: Option<Vec<String>>,
    pub(super) retention_period: Option<RetentionPeriod>,
    upstreams: Option<Vec<Upstream>>,
    trusted_keys: Option<Vec<String>>,
    trusts_pushers: Option<bool>,
    /// `null` lifts the limit.
    #[serde(default, deserialize_with = "given")]
    pub(super) quota_bytes: Option<Option<i64>>,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::<i64>::deserialize(deserializer).map(Some)
}

impl ConfigureCache {
    /// Whether anything but keys is to change.
    pub(super) fn changes_settings(&self) -> bool {
        self.is_public.is_some()
            || self.store_dir.is_some()
            || self.priority.is_some()
            || self.upstream_cache_key_names.is_some()
            || self.changes_retention()
            || self.upstreams.is_some()
            || self.trusted_keys.is_some()
            || self.trusts_pushers.is_some()
    }

    /// Whether how long paths are kept is to change.
    pub(super) fn changes_retention(&self) -> bool {
        self.retention_period.is_some() || self.quota_bytes.is_some()
    }

    /// Returns the settings as they are to be.
    pub(super) fn over(self, settings: &Settings) -> Settings {
        let old = settings.clone();
        Settings {
            is_public: self.is_public.unwrap_or(old.is_public),
            store_dir: self.store_dir.unwrap_or(old.store_dir),
            priority: self.priority.unwrap_or(old.priority),
            upstream_key_names: self
                .upstream_cache_key_names
                .unwrap_or(old.upstream_key_names),
            upstreams: self.upstreams.unwrap_or(old.upstreams),
            trusted_keys: self.trusted_keys.unwrap_or(old.trusted_keys),
            trusts_pushers: self.trusts_pushers.unwrap_or(old.trusts_pushers),
            retention_secs: match self.retention_period {
                None => old.retention_secs,
                Some(RetentionPeriod::Global) => None,
                Some(RetentionPeriod::Period(secs)) => Some(secs.into()),
            },
            quota_bytes: self.quota_bytes.unwrap_or(old.quota_bytes),
        }
    }
}

/// Returns a cache's configuration as Attic shows it, and what it does not know.
pub(super) fn cache_config(open: &OpenCache, config: &CacheConfig) -> Value {
    let (settings, keys) = (&open.cache.settings, open.public_keys());
    let retention = match settings.retention_secs {
        None => RetentionPeriod::Global,
        Some(secs) => RetentionPeriod::Period(u32::try_from(secs).unwrap_or(u32::MAX)),
    };
    json!({
        "substituter_endpoint": format!("{}{}", config.endpoint(), open.name()),
        "api_endpoint": config.endpoint(),
        "public_key": keys.first(),
        "public_keys": keys,
        "is_public": settings.is_public,
        "store_dir": settings.store_dir,
        "priority": settings.priority,
        "upstream_cache_key_names": settings.upstream_key_names,
        "retention_period": retention,
        "upstreams": settings.upstreams,
        "trusted_keys": settings.trusted_keys,
        "trusts_pushers": settings.trusts_pushers,
        "quota_bytes": settings.quota_bytes,
    })
}

/// What a client says of a path that it pushes.
#[derive(Deserialize)]
pub(super) struct NarInfoJson {
    pub(super) cache: String,
    store_path_hash: String,
    store_path: String,
    #[serde(default)]
    references: Vec<String>,
    deriver: Option<String>,
    #[serde(default)]
    sigs: Vec<String>,
    ca: Option<String>,
    nar_hash: String,
    nar_size: u64,
}

impl NarInfoJson {
    /// Checks it against the store that the cache is for.
    pub(super) fn into_info(self, store: &StoreDir) -> Result<PathInfo, CacheError> {
        let path = store.parse(&self.store_path).map_err(CacheError::invalid)?;
        if path.hash_part().to_string() != self.store_path_hash {
            return Err(CacheError::Invalid(format!(
                "{} does not begin with the hash {}.",
                self.store_path, self.store_path_hash
            )));
        }
        let base = |it: &String| -> Result<StorePath, CacheError> {
            let parsed = if it.starts_with('/') {
                store.parse(it)
            } else {
                it.parse()
            };
            parsed.map_err(CacheError::invalid)
        };
        if self.nar_size == 0 {
            return Err(CacheError::invalid("A NAR is not empty."));
        }
        let references: Vec<StorePath> =
            self.references.iter().map(base).collect::<Result<_, _>>()?;
        let deriver = self.deriver.filter(|it| !it.is_empty());
        let address = self.ca.filter(|it| !it.is_empty());
        Ok(PathInfo {
            path,
            nar_hash: self.nar_hash.parse().map_err(CacheError::invalid)?,
            nar_size: self.nar_size,
            references: PathInfo::sorted(references),
            deriver: deriver.as_ref().map(base).transpose()?,
            signatures: self.sigs.iter().filter_map(|it| it.parse().ok()).collect(),
            content_address: address
                .map(|it| it.parse())
                .transpose()
                .map_err(CacheError::invalid)?,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct MissingPaths {
    pub(super) cache: String,
    pub(super) store_path_hashes: Vec<String>,
}

/// Returns a path as a list shows it.
pub(super) fn path(store: &StoreDir, stored: &StoredPath) -> Value {
    let info = &stored.path.info;
    let texts = |it: &[StorePath]| it.iter().map(ToString::to_string).collect::<Vec<_>>();
    let signatures = info.signatures.iter().map(ToString::to_string);
    json!({
        "store_path": store.join(&info.path),
        "store_path_hash": info.path.hash_part().to_string(),
        "nar_hash": info.nar_hash.to_string(),
        "nar_size": info.nar_size,
        "references": texts(&info.references),
        "deriver": info.deriver.as_ref().map(ToString::to_string),
        "ca": info.content_address.map(|it| it.to_string()),
        "sigs": signatures.collect::<Vec<_>>(),
        "visible": stored.visible,
        "stored": stored.path.fetch_from.is_none(),
        "pushed_by": stored.path.pushed_by,
        "downloads": stored.downloads,
        "created_at": stored.created_at.rfc3339(),
        "last_accessed_at": stored.last_access_at.rfc3339(),
    })
}

/// Returns a path that goes, and why.
pub(super) fn doomed(store: &StoreDir, (path, reason): &(Bare, Reason)) -> Value {
    let (name, text) = match reason {
        Reason::Unused => (
            "unused",
            format!(
                "nobody asked for it since {}",
                path.last_access_at.rfc3339()
            ),
        ),
        Reason::Quota => (
            "quota",
            format!(
                "the cache is above its quota, and this was last asked for at {}",
                path.last_access_at.rfc3339()
            ),
        ),
    };
    json!({
        "store_path": format!("{store}/{}", path.path),
        "nar_size": path.nar_size,
        "last_accessed_at": path.last_access_at.rfc3339(),
        "reason": name,
        "message": text,
    })
}

/// Returns figures, with the shares that people ask for.
pub(super) fn figures(it: &Figures) -> Value {
    json!({
        "hits": it.hits,
        "misses": it.misses,
        "bytes_served": it.bytes_served,
        "paths_added": it.paths_added,
        "bytes_pushed": it.nar_bytes,
        "bytes_stored": it.stored_bytes,
        "bytes_saved": it.nar_bytes - it.stored_bytes,
    })
}
