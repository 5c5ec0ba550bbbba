//! Sealing what must be read again, such as the values of variables, so that a copy of the database alone does not show it.

use std::fmt;

use crate::secret::{NoRandomness, Secret};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

/// What sealed bytes begin with, should there ever be another way to seal.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// The key that values are sealed with. It lives outside the database.
#[derive(Clone)]
pub struct SealingKey(XChaCha20Poly1305);

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error("a sealing key is 64 hexadecimal digits")]
pub struct InvalidKey;

/// Sealed bytes cannot be read: the key is another one, or they were changed or belong elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read with this server's key")]
pub struct Unreadable {
    what: String,
}

impl SealingKey {
    /// Makes a key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Secret, NoRandomness> {
        let mut bytes = [0_u8; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Secret::new(hex::encode(bytes)))
    }

    /// Reads a key as [`SealingKey::generate`] made it.
    ///
    /// # Errors
    /// When the text is no key.
    pub fn parse(text: &Secret) -> Result<Self, InvalidKey> {
        let mut bytes = [0_u8; KEY_BYTES];
        hex::decode_to_slice(text.expose(), &mut bytes).map_err(|_| InvalidKey)?;
        Ok(Self(XChaCha20Poly1305::new(&Key::from(bytes))))
    }

    /// Seals a text. It can only be opened as the same `what`, so that one row's value cannot be put into another.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal(&self, what: &str, text: &str) -> Result<Vec<u8>, NoRandomness> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| NoRandomness)?;
        let payload = Payload {
            msg: text.as_bytes(),
            aad: what.as_bytes(),
        };
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a text is far shorter than the cipher's limit");
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// Opens what [`SealingKey::seal`] made.
    ///
    /// # Errors
    /// When it was sealed with another key or as something else, or was changed.
    pub fn open(&self, what: &str, bytes: &[u8]) -> Result<Secret, Unreadable> {
        let unreadable = || Unreadable {
            what: what.to_owned(),
        };
        let [FORMAT, rest @ ..] = bytes else {
            return Err(unreadable());
        };
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(unreadable)?;
        let payload = Payload {
            msg: sealed,
            aad: what.as_bytes(),
        };
        let text = self
            .0
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| unreadable())?;
        String::from_utf8(text)
            .map(Secret::new)
            .map_err(|_| unreadable())
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SealingKey {
        SealingKey::parse(&SealingKey::generate().expect("randomness")).expect("a key")
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_as_the_same_thing_only() {
        let (own, other) = (key(), key());
        let sealed = own.seal("variable A", "hunter2").expect("sealed");
        assert!(!sealed.windows(7).any(|it| it == b"hunter2"));
        assert_ne!(sealed, own.seal("variable A", "hunter2").expect("sealed"));
        assert_eq!(
            own.open("variable A", &sealed).expect("opened").expose(),
            "hunter2"
        );
        assert!(own.open("variable B", &sealed).is_err());
        assert!(other.open("variable A", &sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        for wrong in [&changed[..], &sealed[..20], &[], b"hunter2"] {
            assert!(own.open("variable A", wrong).is_err());
        }
        assert_eq!(format!("{own:?}"), "SealingKey([redacted])");
    }

    #[test]
    fn a_key_is_hexadecimal() {
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(66)] {
            assert!(SealingKey::parse(&Secret::new(wrong)).is_err());
        }
    }
}
