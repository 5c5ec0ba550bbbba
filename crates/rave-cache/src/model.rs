//! What a binary cache is: its name, its settings, and the paths in it.

use std::fmt;

use rave_core::time::Timestamp;
use rave_nix::PathInfo;
use serde::{Deserialize, Serialize};

/// A cache, unique on the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CacheId(pub(crate) i64);

/// A path in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathId(pub(crate) i64);

/// A cache's name.
///
/// Invariant: 1 to 50 letters, digits, `-`, `_` and `+`, of which the first is a letter or digit: what Attic allows. It is
/// therefore safe in an address and cannot be taken for `_api`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CacheName(String);

/// Text that is no cache's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cache's name has 1 to 50 letters, digits, `-`, `_` and `+`, and begins with a letter or digit"
)]
pub(crate) struct InvalidName;

impl CacheName {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let starts = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let allowed = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'+');
        if starts && bytes.len() <= 50 && bytes.iter().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Another cache that has what this one need not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    /// Without a trailing slash.
    pub(crate) url: String,
    /// The keys by one of which its paths must be signed.
    pub(crate) public_keys: Vec<String>,
    /// Whether what it has is fetched, kept and served from here.
    #[serde(default)]
    pub(crate) pull: bool,
}

/// What may be changed about a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) is_public: bool,
    pub(crate) store_dir: String,
    pub(crate) priority: i64,
    /// Names of keys: what they signed need not be pushed.
    pub(crate) upstream_key_names: Vec<String>,
    pub(crate) upstreams: Vec<Upstream>,
    /// Public keys by which paths of others become visible.
    pub(crate) trusted_keys: Vec<String>,
    /// Whether the right to push suffices for a path to become visible.
    pub(crate) trusts_pushers: bool,
    /// `None` follows the instance; 0 keeps for ever.
    pub(crate) retention_secs: Option<i64>,
    /// How many bytes of NARs there may be. `None` sets no limit.
    pub(crate) quota_bytes: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_public: false,
            store_dir: "/nix/store".into(),
            priority: 41,
            upstream_key_names: Vec::new(),
            upstreams: Vec::new(),
            trusted_keys: Vec::new(),
            trusts_pushers: true,
            retention_secs: None,
            quota_bytes: None,
        }
    }
}

/// A cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) id: CacheId,
    pub(crate) name: CacheName,
    pub(crate) settings: Settings,
    pub(crate) created_by: String,
    /// The user who made it, if one did.
    pub(crate) creator: Option<i64>,
    pub(crate) created_at: Timestamp,
}

/// A path that is to be put into a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewPath {
    pub(crate) info: PathInfo,
    /// Where its NAR is to be fetched from when it is asked for; `None` when it is stored here.
    pub(crate) fetch_from: Option<Source>,
    pub(crate) pushed_by: String,
}

/// Where the NAR of a path is that was seen in an upstream cache and not fetched yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) url: String,
    pub(crate) compression: String,
}

/// A path in a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPath {
    pub(crate) id: PathId,
    pub(crate) path: NewPath,
    /// Whether its closure is complete.
    pub(crate) visible: bool,
    pub(crate) downloads: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) last_access_at: Timestamp,
}

/// Returns the hash part of a base name or store path's last segment.
pub(crate) fn hash_part(base_name: &str) -> &str {
    base_name.get(..32).unwrap_or(base_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_attic_allows() {
        for good in ["a", "ci-cache", "A+b_c", "0", &"x".repeat(50)] {
            assert!(CacheName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "_api",
            "+x",
            "a.b",
            "a/b",
            "a b",
            "ä",
            &"x".repeat(51),
        ] {
            assert!(CacheName::parse(bad).is_err(), "{bad}");
        }
    }
}
