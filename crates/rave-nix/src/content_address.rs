//! Content addresses: what a path is made of, so that everyone can tell whether it is rightly named.

use std::fmt;
use std::str::FromStr;

use crate::hash::{Algorithm, NixHash, Sha256};
use crate::store_path::{InvalidStorePath, StoreDir, StorePath};

/// What the name of a path was computed from, the `CA` of a narinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentAddress {
    /// A file that Nix itself wrote, by the hash of its text.
    Text(Sha256),
    /// A file by the hash of its content.
    Flat(NixHash),
    /// Anything by the hash of its NAR.
    Nar(NixHash),
    /// Anything by the hash of its git object.
    Git(NixHash),
}

impl ContentAddress {
    /// Returns the path of a given name that refers to `others` and, if `refers_to_itself`, to itself.
    ///
    /// # Errors
    ///
    /// The name is none, or such content cannot have such references.
    pub fn path(
        &self,
        store: &StoreDir,
        name: &str,
        others: &[StorePath],
        refers_to_itself: bool,
    ) -> Result<StorePath, NoStorePath> {
        let lonely = others.is_empty() && !refers_to_itself;
        let path = match self {
            Self::Text(_) if refers_to_itself => return Err(NoStorePath::References(*self)),
            Self::Text(hash) => store.make_path(&kind("text", store, others, false), *hash, name),
            Self::Nar(NixHash::Sha256(hash)) => {
                let kind = kind("source", store, others, refers_to_itself);
                store.make_path(&kind, *hash, name)
            }
            Self::Flat(hash) if lonely => fixed("", hash, store, name),
            Self::Nar(hash) if lonely => fixed("r:", hash, store, name),
            Self::Git(hash) if lonely => fixed("git:", hash, store, name),
            Self::Flat(_) | Self::Nar(_) | Self::Git(_) => {
                return Err(NoStorePath::References(*self));
            }
        };
        Ok(path?)
    }

    /// Whether a path with these references is rightly named by this address.
    pub fn explains(&self, store: &StoreDir, path: &StorePath, references: &[StorePath]) -> bool {
        let others: Vec<StorePath> = references
            .iter()
            .filter(|it| *it != path)
            .cloned()
            .collect();
        let refers_to_itself = others.len() < references.len();
        self.path(store, path.name(), &others, refers_to_itself)
            .as_ref()
            == Ok(path)
    }
}

/// Returns the type of a path with its references, which count sorted and once.
fn kind(kind: &str, store: &StoreDir, others: &[StorePath], refers_to_itself: bool) -> String {
    let mut others: Vec<&StorePath> = others.iter().collect();
    others.sort();
    others.dedup();
    let mut text = kind.to_owned();
    for other in others {
        text.push(':');
        text.push_str(&store.join(other));
    }
    if refers_to_itself {
        text.push_str(":self");
    }
    text
}

fn fixed(
    method: &str,
    hash: &NixHash,
    store: &StoreDir,
    name: &str,
) -> Result<StorePath, InvalidStorePath> {
    let inner = format!("fixed:out:{method}{}:", hash.to_base16());
    store.make_path("output:out", Sha256::of(inner.as_bytes()), name)
}

/// Why there is no path for some content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStorePath {
    #[error(transparent)]
    Name(#[from] InvalidStorePath),
    #[error("what is addressed by {0} cannot have these references")]
    References(ContentAddress),
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(hash) => write!(f, "text:{hash}"),
            Self::Flat(hash) => write!(f, "fixed:{hash}"),
            Self::Nar(hash) => write!(f, "fixed:r:{hash}"),
            Self::Git(hash) => write!(f, "fixed:git:{hash}"),
        }
    }
}

/// The text that is no content address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a content address such as `fixed:r:sha256:…` or `text:sha256:…`")]
pub struct NotAContentAddress(String);

impl FromStr for ContentAddress {
    type Err = NotAContentAddress;

    fn from_str(text: &str) -> Result<Self, NotAContentAddress> {
        parse(text).ok_or_else(|| NotAContentAddress(text.chars().take(200).collect()))
    }
}

fn parse(text: &str) -> Option<ContentAddress> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "text" => Some(ContentAddress::Text(hash(rest)?.try_into().ok()?)),
        "fixed" => match rest.split_once(':')? {
            ("r", rest) => Some(ContentAddress::Nar(hash(rest)?)),
            ("git", rest) => match hash(rest)? {
                it if matches!(it.algorithm(), Algorithm::Sha1 | Algorithm::Sha256) => {
                    Some(ContentAddress::Git(it))
                }
                _ => None,
            },
            _ => Some(ContentAddress::Flat(hash(rest)?)),
        },
        _ => None,
    }
}

/// Reads a hash that is written with a colon, as it always is here.
fn hash(text: &str) -> Option<NixHash> {
    text.contains(':').then(|| text.parse().ok())?
}

impl TryFrom<NixHash> for Sha256 {
    type Error = NixHash;

    fn try_from(hash: NixHash) -> Result<Self, NixHash> {
        match hash {
            NixHash::Sha256(hash) => Ok(hash),
            other => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of a file `hello\n` and of directories, as Nix 2.8 made them: `nix-store --add`,
    /// `nix-store --add-fixed [--recursive] ALGORITHM`, `builtins.toFile` and content-addressed derivations with references.
    fn check(address: &str, name: &str, others: &[&str], expected: &str) {
        let address: ContentAddress = address.parse().expect("an address");
        let others: Vec<StorePath> = others
            .iter()
            .map(|it| it.parse().expect("a path"))
            .collect();
        let path = address.path(&StoreDir::default(), name, &others, false);
        assert_eq!(path.expect("a path").to_string(), expected);
    }

    #[test]
    fn paths_are_those_that_nix_makes() {
        check(
            "fixed:md5:4425hx5d1mc9y39llj4k4nm55i",
            "hello",
            &[],
            "nwyv04d03kciinw9gbbrg1bgc8c3j886-hello",
        );
        check(
            "fixed:r:md5:4ycxcbh0ac0abr4zxw23l6isnk",
            "hello",
            &[],
            "vg8g3qw4yizd02f231kbfq4q1zq3gzzn-hello",
        );
        check(
            "fixed:sha1:iwjz551fyw0cxcjgf4l6c879zabd6wpm",
            "hello",
            &[],
            "032avhrrgjp8441c41iid7ywc92j4z76-hello",
        );
        check(
            "fixed:r:sha1:wz60bbf44cw7nswp1wv8vcsyfg155sqd",
            "hello",
            &[],
            "ypkrwry3mx50aca2g82vp7if8fbg2skq-hello",
        );
        check(
            "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
            "hello",
            &[],
            "8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello",
        );
        check(
            "fixed:r:sha256:0xafl9pn4pmxs2gz1q263nhjh3ja05ngk9ssxwmzxpf9v5gs6424",
            "dir",
            &[],
            "cv2s7lrsv4d7fmzksm7kdqsfm1mvsx78-dir",
        );
        check(
            "fixed:sha512:0lrc0dwnvipqviibf7qfm1y492qvjwb1zhkcyi05cndmva1mr5gjcgrnz1x36djmk0sfg8djd2n0qv68vib2jg590mwznar9jcjphp7",
            "hello",
            &[],
            "5vapip0agyanfv7221kfbjiphdy7pzzp-hello",
        );
        let (a, b) = (
            "xzdc2x2gw25hj9wm4h6jrpz0cm584xzy-a",
            "z5klf56pmifb1fp9as5gn99b7f4plkfj-b",
        );
        check(
            "text:sha256:13m0c4a596fdhhdhprz0xdgj7jvqbk7vmdhvf81qz9fap1j7p4x7",
            "a",
            &[],
            a,
        );
        check(
            "text:sha256:1ccy9glxly9wz2gbw1hxvxh5ns4sdasnhsb3imcjsbr15ai8v52z",
            "b",
            &[a],
            b,
        );
        check(
            "fixed:r:sha256:0j5p1wpzh2hllw3jx1kgwpg1cgnj3cj3fibkw7fgrd1dvx9kfib2",
            "ca-1",
            &[b],
            "smc3apwlfqmvrh29l2z5qcx5y0hrl9ja-ca-1",
        );
    }

    #[test]
    fn references_must_fit() {
        let store = StoreDir::default();
        let other = ["00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60"
            .parse()
            .unwrap()];
        let check = |address: ContentAddress, others: &[StorePath], itself: bool, fine: bool| {
            assert_eq!(
                address.path(&store, "x", others, itself).is_ok(),
                fine,
                "{address}"
            );
        };
        let (sha256, sha1) = (NixHash::Sha256(Sha256([0; 32])), NixHash::Sha1([0; 20]));
        check(ContentAddress::Text(Sha256([0; 32])), &other, false, true);
        check(ContentAddress::Text(Sha256([0; 32])), &[], true, false);
        check(ContentAddress::Nar(sha256), &other, true, true);
        check(ContentAddress::Nar(sha1), &[], false, true);
        check(ContentAddress::Nar(sha1), &other, false, false);
        check(ContentAddress::Flat(sha256), &other, false, false);
        check(ContentAddress::Flat(sha256), &[], true, false);
    }

    #[test]
    fn an_address_explains_its_path_alone() {
        let store = StoreDir::default();
        let address = ContentAddress::Nar(NixHash::Sha256(Sha256::of(b"x")));
        let other: StorePath = "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60"
            .parse()
            .unwrap();
        let path = address
            .path(&store, "x", std::slice::from_ref(&other), true)
            .unwrap();
        assert!(address.explains(&store, &path, &[other.clone(), path.clone()]));
        assert!(!address.explains(&store, &path, std::slice::from_ref(&other)));
        assert!(!address.explains(&store, &path, &[]));
        assert!(!address.explains(
            &StoreDir::new("/other").unwrap(),
            &path,
            &[other.clone(), path.clone()]
        ));
        assert!(
            !ContentAddress::Nar(NixHash::Sha256(Sha256::of(b"y"))).explains(
                &store,
                &path,
                &[other, path.clone()]
            )
        );
    }

    #[test]
    fn texts_lead_back() {
        let hash = NixHash::Sha1([3; 20]);
        for address in [
            ContentAddress::Text(Sha256([1; 32])),
            ContentAddress::Flat(hash),
            ContentAddress::Nar(hash),
            ContentAddress::Git(hash),
        ] {
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for wrong in [
            "",
            "text",
            "text:sha1:00",
            "fixed",
            "fixed:",
            "fixed:r",
            "fixed:r:sha256",
            "other:sha256:00",
        ] {
            assert!(wrong.parse::<ContentAddress>().is_err(), "{wrong}");
        }
    }
}
