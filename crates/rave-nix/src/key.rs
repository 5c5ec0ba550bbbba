//! Ed25519 keys and signatures with the names they go by.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use smol_str::SmolStr;

use crate::hash::BASE64;

/// Text that is no key or signature. It never contains the text itself, which may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the text has no `name:` before the base 64")]
    NoName,
    #[error("the name is empty, or has a colon, a space or a control character")]
    Name,
    #[error("what follows the name is not {0} bytes in base 64")]
    Bytes(usize),
    #[error("the public half does not belong to the secret one")]
    Halves,
}

/// Splits `name:base64`.
fn split<const N: usize>(text: &str) -> Result<(SmolStr, [u8; N]), KeyError> {
    let (name, rest) = text.trim().split_once(':').ok_or(KeyError::NoName)?;
    let name = check_name(name)?;
    if rest.len() > N.div_ceil(3) * 4 {
        return Err(KeyError::Bytes(N));
    }
    let bytes = BASE64.decode(rest).map_err(|_| KeyError::Bytes(N))?;
    Ok((name, bytes.try_into().map_err(|_| KeyError::Bytes(N))?))
}

fn check_name(name: &str) -> Result<SmolStr, KeyError> {
    let wrong = |it: char| it == ':' || it.is_whitespace() || it.is_control();
    match name.is_empty() || name.contains(wrong) {
        true => Err(KeyError::Name),
        false => Ok(name.into()),
    }
}

/// A key that signs. It prints without its secret; [`SecretKey::expose`] is the text with it.
#[derive(Clone)]
pub struct SecretKey {
    name: SmolStr,
    seed: [u8; 32],
    pair: Arc<Ed25519KeyPair>,
}

impl SecretKey {
    /// Makes the key of 32 random bytes.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        let name = check_name(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Bytes(32))?;
        Ok(Self {
            name,
            seed,
            pair: Arc::new(pair),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn public_key(&self) -> PublicKey {
        let bytes = self.pair.public_key().as_ref().try_into();
        PublicKey {
            name: self.name.clone(),
            bytes: bytes.expect("an Ed25519 key has 32 bytes"),
        }
    }

    pub fn sign(&self, message: &str) -> Signature {
        let bytes = self.pair.sign(message.as_bytes()).as_ref().try_into();
        Signature {
            key_name: self.name.clone(),
            bytes: bytes.expect("an Ed25519 signature has 64 bytes"),
        }
    }

    /// Returns `name:base64` with the secret, as Nix keeps it in files.
    pub fn expose(&self) -> String {
        let halves = [self.seed, self.public_key().bytes].concat();
        format!("{}:{}", self.name, BASE64.encode(halves))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}:[redacted])", self.name)
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, halves) = split::<64>(text)?;
        let (seed, public) = halves.split_at(32);
        let pair =
            Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| KeyError::Halves)?;
        let seed = seed.try_into().expect("half of 64 bytes");
        Ok(Self {
            name,
            seed,
            pair: Arc::new(pair),
        })
    }
}

/// A key that verifies, `name:base64` as text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    name: SmolStr,
    bytes: [u8; 32],
}

impl PublicKey {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the signature is this key's, by name and by mathematics.
    pub fn verifies(&self, message: &str, signature: &Signature) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.bytes);
        signature.key_name == self.name && key.verify(message.as_bytes(), &signature.bytes).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, BASE64.encode(self.bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = split(text)?;
        Ok(Self { name, bytes })
    }
}

/// A signature with the name of its key, `name:base64` as text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signature {
    key_name: SmolStr,
    bytes: [u8; 64],
}

impl Signature {
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// Returns the base 64 without the name.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.bytes)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key_name, self.to_base64())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (key_name, bytes) = split(text)?;
        Ok(Self { key_name, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SecretKey {
        SecretKey::from_seed(name, [7; 32]).unwrap()
    }

    #[test]
    fn texts_lead_back_to_the_keys() {
        let secret = key("cache-1");
        let again: SecretKey = secret.expose().parse().unwrap();
        assert_eq!(again.public_key(), secret.public_key());
        assert_eq!(again.sign("m"), secret.sign("m"));
        let public = secret.public_key();
        assert_eq!(format!(" {public}\n").parse(), Ok(public));
        let signature = secret.sign("m");
        assert_eq!(signature.to_string().parse(), Ok(signature));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", key("a")), "SecretKey(a:[redacted])");
    }

    #[test]
    fn only_the_key_itself_verifies() {
        let (secret, public) = (key("a"), key("a").public_key());
        assert!(public.verifies("m", &secret.sign("m")));
        assert!(!public.verifies("n", &secret.sign("m")));
        assert!(!public.verifies("m", &key("b").sign("m")), "another name");
        let other = SecretKey::from_seed("a", [8; 32]).unwrap();
        assert!(!public.verifies("m", &other.sign("m")), "another key");
    }

    #[test]
    fn wrong_texts_are_refused() {
        let check = |text: &str, error: KeyError| {
            assert_eq!(text.parse::<PublicKey>(), Err(error), "{text}")
        };
        check("", KeyError::NoName);
        check(":AAAA", KeyError::Name);
        check("a b:AAAA", KeyError::Name);
        check("a:AAAA", KeyError::Bytes(32));
        check(&format!("a:{}", "A".repeat(1 << 20)), KeyError::Bytes(32));
        let (one, other) = (
            key("a").expose(),
            SecretKey::from_seed("a", [8; 32]).unwrap().expose(),
        );
        let mixed = format!("{}{}", &one[..44], &other[44..]);
        assert_eq!(mixed.parse::<SecretKey>().unwrap_err(), KeyError::Halves);
    }
}
