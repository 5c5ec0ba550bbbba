//! Tokens in Attic's form that this instance makes, and the keys by which any are checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rave_core::sealing::SealingKey;
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_store::Db;

use super::Caches;
use crate::config::AtticKey;
use crate::error::CacheError;
use crate::store;
use crate::token::{self, TokenKey, TokenRequest};

/// The name of the own key, which is also what it is sealed as.
const OWN_KEY: &str = "token signing key";

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a token")]
pub struct TokenFailed(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Caches {
    /// Returns the keys by which tokens are checked: our own first.
    pub(crate) async fn token_keys(&self) -> Result<&[TokenKey], CacheError> {
        let keys = self.token_keys.get_or_try_init(|| async {
            let own = own_key(&self.db, &self.sealing).await?;
            let mut keys = vec![TokenKey::hs256(own.expose()).map_err(unusable)?];
            for key in &self.config.attic_keys {
                keys.push(read(key).map_err(unusable)?);
            }
            Ok::<_, CacheError>(keys)
        });
        Ok(keys.await?.as_slice())
    }
}

/// Returns the key that signs tokens, made when it is first asked for.
async fn own_key(db: &Db, sealing: &SealingKey) -> Result<Secret, CacheError> {
    let random = |it| CacheError::internal("cannot make a key", it);
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| random(rave_core::secret::NoRandomness))?;
    let sealed = sealing
        .seal(OWN_KEY, &STANDARD.encode(bytes))
        .map_err(random)?;
    let sealed = db
        .write("cache_token_key", move |tx| {
            store::caches::keep_secret(tx, OWN_KEY, sealed)
        })
        .await?;
    sealing
        .open(OWN_KEY, &sealed)
        .map_err(|it| CacheError::internal("cannot open the key of cache tokens", it))
}

/// Makes a token of Attic's kind, whether a server runs or not. Its claims are [`crate::claims_of`] the request.
///
/// # Errors
/// When the key cannot be read or made.
pub async fn make_token(
    db: &Db,
    sealing: &SealingKey,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Secret, TokenFailed> {
    let key = own_key(db, sealing)
        .await
        .map_err(|it| TokenFailed(it.into()))?;
    let claims = token::claims_of(request, now);
    token::sign(&claims, key.expose()).map_err(|it| TokenFailed(it.into()))
}

fn read(key: &AtticKey) -> Result<TokenKey, token::InvalidTokenKey> {
    match key {
        AtticKey::Hs256(it) => TokenKey::hs256(it.expose()),
        AtticKey::Rs256(it) => TokenKey::rs256(it.expose()),
    }
}

fn unusable(error: token::InvalidTokenKey) -> CacheError {
    CacheError::internal("a key for tokens cannot be used", error)
}

impl AtticKey {
    /// Checks that the key can be used, so that the configuration is refused rather than every token.
    ///
    /// # Errors
    /// With what is wrong about it.
    pub fn check(&self) -> Result<(), token::InvalidTokenKey> {
        read(self).map(drop)
    }
}
