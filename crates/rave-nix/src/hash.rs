//! Hashes and their four texts: nix32, base 16, base 64 and SRI. Which one it is follows from the length.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::nix32;

/// Base 64 that takes texts with and without padding, as Nix does.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A SHA-256, the only hash that NARs and narinfo files have.
///
/// It shows as `sha256:<nix32>` and is read from any of the four texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Returns the hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Self::from_digest(&digest)
    }

    pub(crate) fn from_digest(digest: &ring::digest::Digest) -> Self {
        let bytes = digest.as_ref().try_into();
        Self(bytes.expect("a SHA-256 has 32 bytes"))
    }

    /// Returns the 52 characters without the algorithm's name.
    pub fn to_nix32(self) -> String {
        nix32::encode(&self.0)
    }

    /// Returns the 64 hexadecimal digits without the algorithm's name.
    pub fn to_base16(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NixHash::Sha256(*self).fmt(f)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        match text.parse()? {
            NixHash::Sha256(hash) => Ok(hash),
            _ => Err(NotAHash(text.to_owned())),
        }
    }
}

/// The algorithms that content addresses know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let all = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];
        all.into_iter().find(|it| it.name() == name)
    }
}

/// A hash with its algorithm.
///
/// It shows as `<algorithm>:<nix32>` and is read from any of the four texts, the algorithm always named.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NixHash {
    Md5([u8; 16]),
    Sha1([u8; 20]),
    Sha256(Sha256),
    Sha512([u8; 64]),
}

impl NixHash {
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Md5(bytes) => bytes,
            Self::Sha1(bytes) => bytes,
            Self::Sha256(hash) => &hash.0,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// Returns `<algorithm>:<hexadecimal digits>`.
    pub fn to_base16(&self) -> String {
        format!(
            "{}:{}",
            self.algorithm().name(),
            hex::encode(self.as_bytes())
        )
    }

    /// Returns `<algorithm>-<base 64>`.
    pub fn to_sri(&self) -> String {
        format!(
            "{}-{}",
            self.algorithm().name(),
            BASE64.encode(self.as_bytes())
        )
    }
}

impl From<Sha256> for NixHash {
    fn from(hash: Sha256) -> Self {
        Self::Sha256(hash)
    }
}

impl fmt::Display for NixHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.algorithm().name(),
            nix32::encode(self.as_bytes())
        )
    }
}

impl fmt::Debug for NixHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text that is no hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hash such as `sha256:…` in base 16, 32 or 64, or `sha256-…`")]
pub struct NotAHash(pub String);

impl FromStr for NixHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        parse(text).ok_or_else(|| NotAHash(text.chars().take(200).collect()))
    }
}

fn parse(text: &str) -> Option<NixHash> {
    let at = text.find([':', '-'])?;
    let (name, rest) = (&text[..at], &text[at + 1..]);
    let sri = text.as_bytes()[at] == b'-';
    Some(match Algorithm::of_name(name)? {
        Algorithm::Md5 => NixHash::Md5(bytes(rest, sri)?),
        Algorithm::Sha1 => NixHash::Sha1(bytes(rest, sri)?),
        Algorithm::Sha256 => NixHash::Sha256(Sha256(bytes(rest, sri)?)),
        Algorithm::Sha512 => NixHash::Sha512(bytes(rest, sri)?),
    })
}

fn bytes<const N: usize>(text: &str, sri: bool) -> Option<[u8; N]> {
    if !sri && text.len() == N * 2 {
        let mut bytes = [0; N];
        return hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes);
    }
    if !sri && text.len() == nix32::encoded_len(N) {
        return nix32::decode(text.as_bytes());
    }
    // More text than the longest hash needs is not worth decoding.
    if text.len() > N.div_ceil(3) * 4 {
        return None;
    }
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_texts_of_a_hash_are_read() {
        // nix hash to-base16, to-base32, to-base64, to-sri
        let hello = Sha256::of(b"hello\n");
        for text in [
            "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
            "sha256:WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM=",
            "sha256:WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM",
            "sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM=",
        ] {
            assert_eq!(text.parse(), Ok(hello), "{text}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let check = |text: &str| assert!(text.parse::<NixHash>().is_err(), "{text}");
        check("");
        check("sha256");
        check("sha256:");
        check("sha3:00");
        check("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        check("sha256-5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        check("md5:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        check("sha256:zz91b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        check(&format!("sha256-{}", "A".repeat(1 << 20)));
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(a: [u8; 32], b: [u8; 20], c: [u8; 16], d: [u8; 32], e: [u8; 32]) {
            let long = [d, e].concat().try_into().expect("64 bytes");
            let hashes = [NixHash::Sha256(Sha256(a)), NixHash::Sha1(b), NixHash::Md5(c), NixHash::Sha512(long)];
            for hash in hashes {
                prop_assert_eq!(hash.to_string().parse(), Ok(hash));
                prop_assert_eq!(hash.to_base16().parse(), Ok(hash));
                prop_assert_eq!(hash.to_sri().parse(), Ok(hash));
                prop_assert_eq!(hash.to_sri().replacen('-', ":", 1).parse(), Ok(hash));
            }
        }
    }
}
