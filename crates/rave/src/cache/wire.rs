//! The JSON of the Attic API, version 1, as clients send and read it.

use rave_nix::{PathInfo, StoreDir};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize)]
pub(super) struct CreateCache<'a> {
    pub(super) keypair: KeyPair,
    pub(super) is_public: bool,
    pub(super) store_dir: &'a str,
    pub(super) priority: i32,
    pub(super) upstream_cache_key_names: &'a [String],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum KeyPair {
    Generate,
    Keypair(String),
}

/// What a server says of a cache, or what of it is to be changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CacheConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keypair: Option<KeyPair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) substituter_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) public_key: Option<String>,
    /// All keys that signatures may be of, where a server rotates them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) public_keys: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) store_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream_cache_key_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retention_period: Option<Retention>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Retention {
    /// As the server's configuration says.
    Global,
    /// Seconds since the last use; 0 keeps everything.
    Period(u32),
}

#[derive(Debug, Serialize)]
pub(super) struct GetMissingPaths<'a> {
    pub(super) cache: &'a str,
    pub(super) store_path_hashes: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MissingPaths {
    pub(super) missing_paths: Vec<String>,
}

/// What comes with the NAR of a path.
#[derive(Debug, Serialize)]
pub(super) struct UploadInfo<'a> {
    cache: &'a str,
    store_path_hash: String,
    store_path: String,
    references: Vec<String>,
    system: Option<String>,
    deriver: Option<String>,
    sigs: Vec<String>,
    ca: Option<String>,
    nar_hash: String,
    nar_size: u64,
}

impl<'a> UploadInfo<'a> {
    pub(super) fn new(cache: &'a str, store: &StoreDir, info: &PathInfo) -> Self {
        Self {
            cache,
            store_path_hash: info.path.hash_part().to_string(),
            store_path: store.join(&info.path),
            references: info.references.iter().map(ToString::to_string).collect(),
            system: None,
            deriver: info.deriver.as_ref().map(ToString::to_string),
            sigs: info.signatures.iter().map(ToString::to_string).collect(),
            ca: info.content_address.as_ref().map(ToString::to_string),
            nar_hash: format!("sha256:{}", info.nar_hash.to_base16()),
            nar_size: info.nar_size,
        }
    }
}

/// What became of an upload. Kinds that this client does not know are uploads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UploadResult {
    kind: String,
}

impl UploadResult {
    /// Whether the server had the content already.
    pub(super) fn is_deduplicated(&self) -> bool {
        self.kind == "Deduplicated"
    }
}

/// The body of an answer that refuses.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
    pub(super) message: String,
}
