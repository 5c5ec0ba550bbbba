//! Secrets: text that does not print, and tokens that are stored only as digests.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Text that must not reach a log. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a token is for. The prefix tells people and secret scanners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A personal access token.
    Personal,
    /// A runner's authentication token.
    Runner,
    /// A token by which runners register themselves.
    Registration,
    /// A running job's token.
    Job,
    /// A token that starts pipelines.
    Trigger,
    /// A browser session.
    Session,
    /// The link by which the first administrator claims the instance.
    Claim,
}

impl TokenKind {
    /// Returns the prefix. The first five are the ones that GitLab's clients and secret scanners know.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "glpat-",
            Self::Runner => "glrt-",
            Self::Registration => "GR1348941",
            Self::Job => "glcbt-",
            Self::Trigger => "glptt-",
            Self::Session => "rvs-",
            Self::Claim => "rvc-",
        }
    }
}

/// The randomness of the machine failed.
#[derive(Debug, thiserror::Error)]
#[error("the machine gives no random numbers")]
pub struct NoRandomness;

/// Makes a token: the prefix and 32 characters of `[A-Za-z0-9]`, about 190 bits.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn generate_token(kind: TokenKind) -> Result<Secret, NoRandomness> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::from(kind.prefix());
    let wanted = text.len() + 32;
    while text.len() < wanted {
        let mut bytes = [0_u8; 48];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        // Bytes past the largest multiple of 62 are dropped, so that every character is equally likely.
        let usable = bytes
            .iter()
            .filter(|it| **it < 248)
            .map(|it| char::from(ALPHABET[usize::from(it % 62)]));
        text.extend(usable.take(wanted - text.len()));
    }
    Ok(Secret(text))
}

/// The digest by which a token is stored and looked up.
///
/// Plain SHA-256 suffices because tokens are random; passwords are hashed by argon2id elsewhere. A lookup by digest
/// tells an attacker nothing useful by its timing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest(String);

impl TokenDigest {
    /// Digests a presented token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(hex::encode(Sha256::digest(token.as_bytes())))
    }

    /// Returns the digest as stored: 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_prefixed_random_and_do_not_print() {
        let one = generate_token(TokenKind::Personal).expect("randomness");
        let two = generate_token(TokenKind::Personal).expect("randomness");
        assert!(
            one.expose().starts_with("glpat-") && one.expose().len() == 38,
            "{}",
            one.expose()
        );
        assert_ne!(one, two);
        assert_eq!(format!("{one} {one:?}"), "[redacted] [redacted]");
        assert_ne!(TokenDigest::of(one.expose()), TokenDigest::of(two.expose()));
    }
}
