//! Checks that the content of a path is what its content address says, while its NAR streams by.

use md5::Digest as _;
use ring::digest;

use crate::content_address::ContentAddress;
use crate::hash::{Algorithm, NixHash, Sha256};
use crate::nar::Event;
use crate::references::ReferenceScanner;
use crate::store_path::{HashPart, StorePath};

/// Hashes a NAR, or the file in it, as a content address demands.
///
/// A path that refers to itself is hashed with zero bytes in the place of its own hash part, followed by where those were,
/// as Nix does it, since the hash part follows from the hash. Whether a file is executable is not judged.
pub struct ContentCheck {
    address: ContentAddress,
    hasher: Hasher,
    /// For what is hashed as a NAR.
    own: Option<OwnHash>,
    /// Whether the root is a file. `None`: nothing came yet.
    is_file: Option<bool>,
}

impl ContentCheck {
    /// Begins the check of a path. `None`: the address is of a kind that is not checked here (git objects).
    pub fn new(address: ContentAddress, path: &StorePath) -> Option<Self> {
        let (algorithm, whole) = match address {
            ContentAddress::Text(_) => (Algorithm::Sha256, false),
            ContentAddress::Flat(hash) => (hash.algorithm(), false),
            ContentAddress::Nar(hash) => (hash.algorithm(), true),
            ContentAddress::Git(_) => return None,
        };
        Some(Self {
            address,
            hasher: Hasher::new(algorithm),
            own: whole.then(|| OwnHash::new(path.hash_part())),
            is_file: None,
        })
    }

    /// Takes the next bytes of the NAR.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some(own) = &mut self.own {
            own.push(bytes, &mut self.hasher);
        }
    }

    /// Takes what the same bytes mean.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            _ if self.own.is_some() => {}
            Event::Contents(bytes) => self.hasher.update(bytes),
            event => {
                self.is_file
                    .get_or_insert(matches!(event, Event::Regular { .. }));
            }
        }
    }

    /// Compares at the end of the NAR.
    pub fn finish(mut self) -> Result<(), WrongContent> {
        let expected = match self.address {
            ContentAddress::Text(hash) => NixHash::Sha256(hash),
            ContentAddress::Flat(hash) | ContentAddress::Nar(hash) | ContentAddress::Git(hash) => {
                hash
            }
        };
        match self.own.take() {
            Some(own) => own.finish(&mut self.hasher),
            None if self.is_file != Some(true) => return Err(WrongContent::NotAFile(self.address)),
            None => {}
        }
        let found = self.hasher.finish();
        match found == expected {
            true => Ok(()),
            false => Err(WrongContent::Hash {
                expected: expected.to_string(),
                found: found.to_string(),
            }),
        }
    }
}

/// Why content and content address do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongContent {
    #[error("the content has the hash {found}, the content address says {expected}")]
    Hash { expected: String, found: String },
    #[error("the content address {0} is of a file, and the content is none")]
    NotAFile(ContentAddress),
}

/// Replaces one hash part by zero bytes on the way to a hasher.
struct OwnHash {
    scanner: ReferenceScanner,
    found: Vec<u64>,
    /// Bytes that are not hashed yet, because a hash part may end after them.
    waiting: Vec<u8>,
    hashed: u64,
}

impl OwnHash {
    fn new(hash_part: HashPart) -> Self {
        Self {
            scanner: ReferenceScanner::new([&hash_part]),
            found: Vec::new(),
            waiting: Vec::new(),
            hashed: 0,
        }
    }

    fn push(&mut self, bytes: &[u8], hasher: &mut Hasher) {
        let known = self.found.len();
        let found = &mut self.found;
        self.scanner.push(bytes, &mut |it| found.push(it.offset));
        self.waiting.extend_from_slice(bytes);
        let end = self.waiting.len();
        for offset in &self.found[known..] {
            let from = usize::try_from(offset - self.hashed)
                .unwrap_or(end)
                .min(end);
            self.waiting[from..end.min(from + HashPart::LEN)].fill(0);
        }
        let ready = end.saturating_sub(HashPart::LEN - 1);
        hasher.update(&self.waiting[..ready]);
        self.waiting.drain(..ready);
        self.hashed += ready as u64;
    }

    fn finish(self, hasher: &mut Hasher) {
        hasher.update(&self.waiting);
        for offset in self.found {
            hasher.update(format!("|{offset}").as_bytes());
        }
    }
}

enum Hasher {
    Ring(Algorithm, digest::Context),
    Md5(md5::Md5),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        let ring = |it| Self::Ring(algorithm, digest::Context::new(it));
        match algorithm {
            Algorithm::Md5 => Self::Md5(md5::Md5::new()),
            Algorithm::Sha1 => ring(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Algorithm::Sha256 => ring(&digest::SHA256),
            Algorithm::Sha512 => ring(&digest::SHA512),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Ring(_, context) => context.update(bytes),
            Self::Md5(context) => context.update(bytes),
        }
    }

    fn finish(self) -> NixHash {
        match self {
            Self::Md5(context) => NixHash::Md5(context.finalize().into()),
            Self::Ring(algorithm, context) => {
                let digest = context.finish();
                let bytes = digest.as_ref();
                match algorithm {
                    Algorithm::Sha1 => {
                        NixHash::Sha1(bytes.try_into().expect("a SHA-1 has 20 bytes"))
                    }
                    Algorithm::Sha512 => {
                        NixHash::Sha512(bytes.try_into().expect("a SHA-512 has 64 bytes"))
                    }
                    Algorithm::Sha256 | Algorithm::Md5 => {
                        NixHash::Sha256(Sha256::from_digest(&digest))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nar::{NarEncoder, NarParser};
    use crate::store_path::StoreDir;

    fn nar(content: &[u8]) -> Vec<u8> {
        let mut encoder = NarEncoder::new(Vec::new());
        let size = content.len() as u64;
        for event in [
            Event::Regular {
                executable: false,
                size,
                offset: 0,
            },
            Event::Contents(content),
            Event::End,
        ] {
            encoder.write(&event).expect("memory takes everything");
        }
        encoder.finish()
    }

    fn check(
        address: &ContentAddress,
        path: &StorePath,
        nar: &[u8],
        step: usize,
    ) -> Result<(), WrongContent> {
        let mut check = ContentCheck::new(*address, path).expect("checkable");
        let mut parser = NarParser::new();
        for mut piece in nar.chunks(step) {
            check.push(piece);
            while let Some(event) = parser.next(&mut piece).expect("a NAR") {
                check.event(&event);
            }
        }
        check.finish()
    }

    #[test]
    fn files_and_nars_are_hashed_by_what_their_address_says() {
        // nix-hash --base32 [--flat] --type … of a file.
        let file = nar(b"hello\n");
        for address in [
            "fixed:md5:4425hx5d1mc9y39llj4k4nm55i",
            "fixed:sha1:iwjz551fyw0cxcjgf4l6c879zabd6wpm",
            "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
            "fixed:sha512:0lrc0dwnvipqviibf7qfm1y492qvjwb1zhkcyi05cndmva1mr5gjcgrnz1x36djmk0sfg8djd2n0qv68vib2jg590mwznar9jcjphp7",
            "text:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
            "fixed:r:md5:4ycxcbh0ac0abr4zxw23l6isnk",
            "fixed:r:sha1:wz60bbf44cw7nswp1wv8vcsyfg155sqd",
            "fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw",
        ] {
            let address: ContentAddress = address.parse().expect("an address");
            let path = address
                .path(&StoreDir::default(), "x", &[], false)
                .expect("a path");
            for step in [1, 7, 4096] {
                assert_eq!(check(&address, &path, &file, step), Ok(()), "{address}");
                assert!(
                    check(&address, &path, &nar(b"hullo\n"), step).is_err(),
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn a_path_may_refer_to_itself() {
        // A content-addressed derivation whose output names itself twice, built by Nix 2.8.
        let path: StorePath = "9rhz257rrgnma72vkldpvj8b165d6msi-ca-self".parse().unwrap();
        let address: ContentAddress =
            "fixed:r:sha256:1iyxcf7k4rl3baj9icf65c4bsx3pwgskirfcy18l93dvifs2i753"
                .parse()
                .unwrap();
        let content = format!(
            "/nix/store/z5klf56pmifb1fp9as5gn99b7f4plkfj-b xx /nix/store/{path} yy /nix/store/{path}\n"
        );
        let nar = nar(content.as_bytes());
        let expected = "sha256:11dxgr6ccnv6g0gnhl1lid5vr8lsgzm49yqazbd2qn7x74ajh1d4";
        assert_eq!(Sha256::of(&nar).to_string(), expected);
        for step in [1, 5, 31, 32, 33, 100, 4096] {
            assert_eq!(
                check(&address, &path, &nar, step),
                Ok(()),
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn what_a_file_is_said_to_be_must_be_one() {
        let mut encoder = NarEncoder::new(Vec::new());
        for event in [Event::Directory, Event::End] {
            encoder.write(&event).expect("memory takes everything");
        }
        let address = ContentAddress::Text(Sha256::of(b""));
        let path = address
            .path(&StoreDir::default(), "x", &[], false)
            .expect("a path");
        assert_eq!(
            check(&address, &path, &encoder.finish(), 8),
            Err(WrongContent::NotAFile(address))
        );
    }
}
