//! Store directories, the paths in them, and the digests that these have from what they stand for.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use crate::hash::Sha256;
use crate::nix32;

/// The 160 bits of a store path, 32 characters as text. A narinfo is asked for by them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashPart(pub [u8; 20]);

impl HashPart {
    /// The number of characters of its text.
    pub const LEN: usize = 32;
}

/// In the order of the texts, whose first character comes from the last bits.
impl Ord for HashPart {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for HashPart {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HashPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&nix32::encode(&self.0))
    }
}

impl fmt::Debug for HashPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HashPart {
    type Err = InvalidStorePath;

    fn from_str(text: &str) -> Result<Self, InvalidStorePath> {
        let bytes = nix32::decode(text.as_bytes());
        bytes
            .map(Self)
            .ok_or_else(|| InvalidStorePath::new(text, Why::HashPart))
    }
}

/// A path in a store, without the store's directory: what Nix calls its base name, `<hash part>-<name>`.
///
/// Invariant: the name has 1 to 211 characters of `A-Za-z0-9+-._?=` and is none of `.`, `..`, `.-…`, `..-…`. It is
/// therefore safe to join to a directory. Paths are in the order of their texts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorePath {
    hash_part: HashPart,
    name: SmolStr,
}

/// The most characters that a name may have.
const MAX_NAME: usize = 211;

impl StorePath {
    /// Makes a path of its parts.
    pub fn new(hash_part: HashPart, name: &str) -> Result<Self, InvalidStorePath> {
        match check_name(name) {
            Ok(()) => Ok(Self {
                hash_part,
                name: name.into(),
            }),
            Err(why) => Err(InvalidStorePath::new(name, why)),
        }
    }

    pub fn hash_part(&self) -> HashPart {
        self.hash_part
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_name(name: &str) -> Result<(), Why> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Why::Length);
    }
    let allowed = |it: u8| it.is_ascii_alphanumeric() || b"+-._?=".contains(&it);
    if !name.bytes().all(allowed) {
        return Err(Why::Character);
    }
    let dots = name.split('-').next();
    if matches!(dots, Some("." | "..")) {
        return Err(Why::Dots);
    }
    Ok(())
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hash_part, self.name)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StorePath {
    type Err = InvalidStorePath;

    fn from_str(text: &str) -> Result<Self, InvalidStorePath> {
        let wrong = |why| InvalidStorePath::new(text, why);
        let (hash_part, name) = text
            .split_at_checked(HashPart::LEN)
            .ok_or_else(|| wrong(Why::HashPart))?;
        let hash_part = nix32::decode(hash_part.as_bytes()).ok_or_else(|| wrong(Why::HashPart))?;
        let name = name.strip_prefix('-').ok_or_else(|| wrong(Why::Dash))?;
        check_name(name).map_err(wrong)?;
        Ok(Self {
            hash_part: HashPart(hash_part),
            name: name.into(),
        })
    }
}

/// Where a store is, `/nix/store` nearly always.
///
/// Invariant: an absolute path without a slash at its end, without empty, `.` or `..` parts and control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreDir(SmolStr);

impl StoreDir {
    pub fn new(path: &str) -> Result<Self, InvalidStorePath> {
        let sound =
            |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
        match path.strip_prefix('/') {
            Some(rest) if path.len() <= 4096 && rest.split('/').all(sound) => Ok(Self(path.into())),
            _ => Err(InvalidStorePath::new(path, Why::Directory)),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the full path.
    pub fn join(&self, path: &StorePath) -> String {
        format!("{}/{path}", self.0)
    }

    /// Reads a full path, of which nothing below the store path may be named.
    pub fn parse(&self, full: &str) -> Result<StorePath, InvalidStorePath> {
        let inside = full
            .strip_prefix(self.as_str())
            .and_then(|it| it.strip_prefix('/'));
        inside
            .ok_or_else(|| InvalidStorePath::new(full, Why::Outside(self.0.clone())))?
            .parse()
    }

    /// Returns the path of something of the given type, whose inner fingerprint has the given hash.
    pub(crate) fn make_path(
        &self,
        kind: &str,
        inner: Sha256,
        name: &str,
    ) -> Result<StorePath, InvalidStorePath> {
        let fingerprint = format!("{kind}:sha256:{}:{}:{name}", inner.to_base16(), self.0);
        StorePath::new(HashPart(fold(Sha256::of(fingerprint.as_bytes()))), name)
    }
}

/// Presses a hash into the bytes that a store path has.
fn fold(hash: Sha256) -> [u8; 20] {
    let mut folded = [0; 20];
    for (i, byte) in hash.0.into_iter().enumerate() {
        folded[i % 20] ^= byte;
    }
    folded
}

impl Default for StoreDir {
    fn default() -> Self {
        Self(SmolStr::new_static("/nix/store"))
    }
}

impl fmt::Display for StoreDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StoreDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no store path, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {why}")]
pub struct InvalidStorePath {
    text: String,
    why: Why,
}

impl InvalidStorePath {
    fn new(text: &str, why: Why) -> Self {
        let text = text.chars().take(300).collect();
        Self { text, why }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error("does not begin with the 32 characters of a store path's hash part")]
    HashPart,
    #[error("has no dash after the hash part of a store path")]
    Dash,
    #[error("has no name of 1 to {MAX_NAME} characters, as a store path must")]
    Length,
    #[error("has a character that no store path's name may have")]
    Character,
    #[error("has a name that begins with a part `.` or `..`")]
    Dots,
    #[error("is not an absolute path in its plainest form, as a store's directory must be")]
    Directory,
    #[error("is not in the store {0}")]
    Outside(SmolStr),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60";

    #[test]
    fn paths_are_checked() {
        let store = StoreDir::default();
        let path = store.parse(&format!("/nix/store/{PATH}")).unwrap();
        assert_eq!(
            (path.to_string().as_str(), path.name()),
            (PATH, "net-tools-1.60")
        );
        let check = |name: &str, fine: bool| {
            assert_eq!(
                StorePath::new(path.hash_part(), name).is_ok(),
                fine,
                "{name}"
            );
        };
        check("a", true);
        check(".hidden", true);
        check(".a-b", true);
        check("...", true);
        check("A+b-c._?=9", true);
        check(&"x".repeat(211), true);
        check(&"x".repeat(212), false);
        check("", false);
        check(".", false);
        check("..", false);
        check(".-a", false);
        check("..-a", false);
        check("a/b", false);
        check("a b", false);
        check("ä", false);
        check("a\n", false);
    }

    #[test]
    fn texts_that_are_no_paths_say_why() {
        let check = |text: &str, why: &str| {
            let error = StoreDir::default().parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        check("/nix/store", "not in the store");
        check("/nix/storex/a", "not in the store");
        check(PATH, "not in the store");
        check("/nix/store/short", "32 characters");
        check(
            "/nix/store/e0bgd045z0d4icpbc2yyz4gx48ak44la-x",
            "32 characters",
        );
        check("/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la", "no dash");
        check(
            "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44läx",
            "32 characters",
        );
        check(&format!("/nix/store/{PATH}/bin"), "character");
    }

    #[test]
    fn store_directories_are_plain_absolute_paths() {
        for wrong in [
            "",
            "/",
            "nix/store",
            "/nix/store/",
            "/nix//store",
            "/nix/../store",
            "/a\nb",
        ] {
            assert!(StoreDir::new(wrong).is_err(), "{wrong}");
        }
        assert!(StoreDir::new("/srv/store").is_ok());
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_texts(a: [u8; 20], b: [u8; 20]) {
            let (a, b) = (HashPart(a), HashPart(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
        }

        #[test]
        fn any_text_is_a_path_or_none(text: String) {
            if let Ok(path) = text.parse::<StorePath>() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
