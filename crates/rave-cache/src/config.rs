//! What the operator decides about binary caches.

use std::time::Duration;

use rave_core::secret::Secret;

use crate::token::TokenBounds;

/// Keys of an Attic server that came before, as its configuration has them.
#[derive(Clone, Debug)]
pub enum AtticKey {
    /// Base64 of an HMAC secret.
    Hs256(Secret),
    /// Base64 of a PKCS#1 PEM: of the key pair, or of its public half.
    Rs256(Secret),
}

/// The part's configuration.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Without a trailing slash.
    pub external_url: String,
    /// Whether everyone who is signed in may make caches, or administrators alone.
    pub users_create: bool,
    /// The largest NAR that is taken.
    pub nar_limit_bytes: u64,
    /// How long paths are kept that nobody asks for, in caches that do not say so themselves. Zero keeps them.
    pub retention: Duration,
    /// How long NARs wait for their narinfo, and paths for their references.
    pub hold: Duration,
    /// How long a path stays absent once no upstream cache had it.
    pub absent_for: Duration,
    /// Whether upstream caches may be at addresses of this machine's own neighbourhood.
    pub private_upstreams: bool,
    /// How much memory narinfo files may take.
    pub index_bytes: usize,
    /// Keys of tokens that were made elsewhere.
    pub attic_keys: Vec<AtticKey>,
    pub token_bounds: TokenBounds,
}

impl CacheConfig {
    /// The defaults, for an address without a trailing slash.
    #[must_use]
    pub fn new(external_url: String) -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            external_url,
            users_create: true,
            nar_limit_bytes: 64 << 30,
            retention: Duration::ZERO,
            hold: 24 * hour,
            absent_for: hour,
            private_upstreams: false,
            index_bytes: 32 << 20,
            attic_keys: Vec::new(),
            token_bounds: TokenBounds::default(),
        }
    }

    /// Returns the address below which caches are: Attic's endpoint, with its slash.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}/-/cache/", self.external_url)
    }
}

/// Returns a duration as the database counts time.
pub(crate) fn millis(it: Duration) -> i64 {
    i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
}
