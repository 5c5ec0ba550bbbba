//! Names of images, such as `ruby:3.3` or `registry.example.com:5000/team/app@sha256:…`, and the digests in them.

use std::fmt;

/// The registry of a name that has none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The longest name that is believed.
const LONGEST: usize = 512;

/// The SHA-256 of something in a registry.
///
/// Invariant: 64 lower-case hexadecimal digits, and therefore safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest(String);

impl Digest {
    /// Reads `sha256:…`. Other algorithms are not in use, and not understood.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let valid = hex.len() == 64
            && hex
                .bytes()
                .all(|it| it.is_ascii_digit() || matches!(it, b'a'..=b'f'));
        valid.then(|| Self(hex.to_owned()))
    }

    /// Takes what a hash function returned.
    pub(crate) fn of(hash: &[u8; 32]) -> Self {
        Self(hex::encode(hash))
    }

    /// Returns the digits alone.
    pub(crate) fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// The name of an image, complete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    /// The registry's host and, if need be, port.
    pub(crate) registry: String,
    /// The path in the registry.
    pub(crate) repository: String,
    /// `latest` unless there is another tag, or only a digest.
    pub(crate) tag: Option<String>,
    /// What the image has to be, whatever the tag says.
    pub(crate) digest: Option<Digest>,
}

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not the name of an image: {reason}")]
pub(crate) struct ReferenceError {
    name: String,
    reason: &'static str,
}

impl Reference {
    /// Reads a name as other tools do: without a registry it is one of Docker Hub, without a tag it is `latest`.
    pub(crate) fn parse(name: &str) -> Result<Self, ReferenceError> {
        let error = |reason| ReferenceError {
            name: name.chars().take(100).collect(),
            reason,
        };
        if name.len() > LONGEST {
            return Err(error("it is too long"));
        }
        let (rest, digest) = match name.split_once('@') {
            None => (name, None),
            Some((rest, digest)) => {
                let digest = Digest::parse(digest)
                    .ok_or_else(|| error("what follows the @ is not a SHA-256 digest"))?;
                (rest, Some(digest))
            }
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, rest),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_host(registry) {
            return Err(error("its registry is not a host and port"));
        }
        if !path.split('/').all(is_part) {
            return Err(error(
                "its path consists of lower-case letters, digits and single separators",
            ));
        }
        if tag.is_some_and(|it| !is_tag(it)) {
            return Err(error("its tag has characters that tags cannot have"));
        }
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        let repository = match path.contains('/') || registry != DEFAULT_REGISTRY {
            true => path.to_owned(),
            false => format!("library/{path}"),
        };
        let tag = match (tag, &digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Returns the host that answers for the registry.
    pub(crate) fn host(&self) -> &str {
        match self.registry.as_str() {
            DEFAULT_REGISTRY => "registry-1.docker.io",
            host => host,
        }
    }

    /// Returns what to ask the registry for: the digest, which cannot lie, rather than the tag.
    pub(crate) fn wanted(&self) -> String {
        let tag = || self.tag.clone().unwrap_or_else(|| "latest".to_owned());
        self.digest.as_ref().map_or_else(tag, Digest::to_string)
    }

    /// Returns registry and path, by which credentials are found.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Says whether the first part of a name is a registry and not a directory of the default one.
fn is_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.starts_with('[')
}

fn is_host(text: &str) -> bool {
    let allowed =
        |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | ':' | '[' | ']');
    text.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '[')
        && text.chars().all(allowed)
}

fn is_part(part: &str) -> bool {
    let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
    let mut separators = part.split(plain).filter(|it| !it.is_empty());
    part.starts_with(plain)
        && part.ends_with(plain)
        && separators.all(|it| matches!(it, "." | "_" | "__") || it.chars().all(|it| it == '-'))
}

fn is_tag(tag: &str) -> bool {
    let mut letters = tag.chars();
    let first = letters
        .next()
        .is_some_and(|it| it.is_ascii_alphanumeric() || it == '_');
    let word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-');
    first && tag.len() <= 128 && letters.all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, full: &str) {
        let reference = Reference::parse(name).expect("a name");
        assert_eq!(reference.to_string(), full, "{name}");
    }

    #[test]
    fn names_are_completed() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        check("ruby", "docker.io/library/ruby:latest");
        check("ruby:3.3", "docker.io/library/ruby:3.3");
        check("team/app", "docker.io/team/app:latest");
        check("index.docker.io/ruby", "docker.io/library/ruby:latest");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/app:1", "localhost:5000/app:1");
        check(
            "reg.example.com/a/b__c/d.e--f:v1_x.y",
            "reg.example.com/a/b__c/d.e--f:v1_x.y",
        );
        check(
            &format!("ruby@{digest}"),
            &format!("docker.io/library/ruby@{digest}"),
        );
        check(
            &format!("r.io:1/x:t@{digest}"),
            &format!("r.io:1/x:t@{digest}"),
        );
        check("[::1]:5000/app", "[::1]:5000/app:latest");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(600);
        for name in [
            "",
            "UPPER",
            "a//b",
            "a/../b",
            "../a",
            "a:",
            "a:b c",
            "a@sha256:12",
            "a@md5:00",
            "-a",
            "a_",
            "a._b",
            "r.io/",
            "ex ample.com/a",
            "a:-x",
            "r.io/a?b",
            "r.io@x/a",
            &long,
        ] {
            assert!(Reference::parse(name).is_err(), "{name:?}");
        }
    }
}
