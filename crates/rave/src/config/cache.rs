//! The section about binary caches.

use std::time::Duration;

use rave_cache::{AtticKey, CacheConfig, TokenBounds};

use super::reader::Reader;
use super::secret_file;

/// Binary caches.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    users_create: bool,
    nar_limit_bytes: u64,
    retention_days: u64,
    hold_hours: u64,
    absent_secs: u64,
    private_upstreams: bool,
    index_bytes: u64,
    attic_keys: Vec<AtticKey>,
    token_bounds: TokenBounds,
}

impl Cache {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let issuer = reader.text("cache", "token_bound_issuer");
        Self {
            users_create: reader.flag("cache", "users_create").unwrap_or_default(),
            nar_limit_bytes: reader.count("cache", "nar_limit_bytes", 1),
            retention_days: reader.count("cache", "retention_days", 0),
            hold_hours: reader.count("cache", "hold_hours", 1),
            absent_secs: reader.count("cache", "absent_secs", 1),
            private_upstreams: reader
                .flag("cache", "private_upstreams")
                .unwrap_or_default(),
            index_bytes: reader.count("cache", "index_bytes", 1 << 20),
            attic_keys: attic_keys(reader),
            token_bounds: TokenBounds {
                issuer: issuer.filter(|it| !it.is_empty()),
                audiences: reader.list("cache", "token_bound_audiences"),
            },
        }
    }

    /// Returns the part's own configuration.
    pub(crate) fn part(&self, external_url: &str) -> CacheConfig {
        let hours = |it: u64| Duration::from_secs(it.saturating_mul(3600));
        CacheConfig {
            external_url: external_url.to_owned(),
            users_create: self.users_create,
            nar_limit_bytes: self.nar_limit_bytes,
            retention: hours(self.retention_days.saturating_mul(24)),
            hold: hours(self.hold_hours),
            absent_for: Duration::from_secs(self.absent_secs),
            private_upstreams: self.private_upstreams,
            index_bytes: usize::try_from(self.index_bytes).unwrap_or(usize::MAX),
            attic_keys: self.attic_keys.clone(),
            token_bounds: self.token_bounds.clone(),
        }
    }
}

fn attic_keys(reader: &mut Reader) -> Vec<AtticKey> {
    let kinds = [
        ("token_hs256_secret_base64_file", false),
        ("token_rs256_secret_base64_file", true),
        ("token_rs256_pubkey_base64_file", true),
    ];
    let mut keys = Vec::new();
    for (key, rsa) in kinds {
        let Some(secret) = reader.parse("cache", key, secret_file).flatten() else {
            continue;
        };
        let made = match rsa {
            true => AtticKey::Rs256(secret),
            false => AtticKey::Hs256(secret),
        };
        match made.check() {
            Ok(()) => keys.push(made),
            Err(error) => {
                reader.complain("cache", key, format!("names a file whose content {error}"))
            }
        }
    }
    keys
}
