//! Text from outside that became a checked type at the edge and is never checked again.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {why}")]
pub struct InvalidName {
    what: &'static str,
    why: &'static str,
}

/// First segments of addresses that the server keeps for itself: no user or group may have such a name.
pub const RESERVED_ROOTS: &[&str] = &[
    "admin",
    "api",
    "assets",
    "dashboard",
    "explore",
    "favicon.ico",
    "groups",
    "health",
    "help",
    "hooks",
    "jwt",
    "login",
    "logout",
    "metrics",
    "oauth",
    "profile",
    "projects",
    "public",
    "robots.txt",
    "search",
    "sitemap.xml",
    "snippets",
    "static",
    "uploads",
    "users",
    "v2",
    "webhook",
];

macro_rules! checked_text {
    ($($(#[$doc:meta])* $name:ident by $check:path;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a text.
            ///
            /// # Errors
            /// When the text breaks the invariant of the type.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                $check(text).map(|()| Self(text.to_owned()))
            }

            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                $check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

checked_text! {
    /// One segment of a path: a user name, a group's or a project's last part.
    ///
    /// Invariant: 1 to 255 letters, digits, `_`, `-` and `.`; starts with a letter, digit or `_`; is not `-`; does not
    /// end in `.`, `.git` or `.atom`. It is therefore safe as a directory name and cannot be taken for `/-/`.
    PathSegment by check_segment;
    /// A project's or group's full path, such as `team/app`.
    ///
    /// Invariant: 1 to 21 [`PathSegment`]s joined by `/`. It is therefore safe to join to a directory.
    FullPath by check_full_path;
    /// A path inside a repository.
    ///
    /// Invariant: relative, no empty, `.` or `..` segment, no NUL.
    RepoPath by check_repo_path;
    /// A full reference name, such as `refs/heads/main`, that `git check-ref-format` accepts.
    RefName by check_ref_name;
    /// The id of a git object: 40 or 64 lower-case hex digits.
    ObjectId by check_object_id;
}

impl FullPath {
    /// Returns the parts before the last one, `None` for a path of one segment.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Returns the last part.
    #[must_use]
    pub fn last(&self) -> PathSegment {
        PathSegment(self.0.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// Returns the path with one more segment.
    #[must_use]
    pub fn join(&self, segment: &PathSegment) -> Self {
        Self(format!("{}/{}", self.0, segment.0))
    }
}

impl RefName {
    /// Returns the branch that this reference is, if it is one.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.0.strip_prefix("refs/heads/")
    }

    /// Returns the tag that this reference is, if it is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.0.strip_prefix("refs/tags/")
    }
}

impl ObjectId {
    /// The id that stands for "no object" in pushes and hooks.
    pub const ZERO: &'static str = "0000000000000000000000000000000000000000";

    /// Whether this is the id that stands for "no object".
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|it| it == b'0')
    }

    /// Returns the first eight digits, as GitLab abbreviates.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

fn refuse(what: &'static str, why: &'static str) -> Result<(), InvalidName> {
    Err(InvalidName { what, why })
}

fn check_segment(text: &str) -> Result<(), InvalidName> {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
    match text.as_bytes() {
        [] => refuse("path", "can't be blank"),
        bytes if bytes.len() > 255 => refuse("path", "is too long (maximum is 255 characters)"),
        bytes if !bytes.iter().copied().all(allowed) => {
            refuse("path", "can contain only letters, digits, '_', '-' and '.'")
        }
        [b'-' | b'.', ..] => refuse("path", "must not start with '-' or '.'"),
        [.., b'.'] => refuse("path", "must not end with '.'"),
        bytes
            if ends_with_ignore_case(bytes, b".git") || ends_with_ignore_case(bytes, b".atom") =>
        {
            refuse("path", "must not end in '.git' or '.atom'")
        }
        _ => Ok(()),
    }
}

fn ends_with_ignore_case(bytes: &[u8], suffix: &[u8]) -> bool {
    bytes.len() >= suffix.len() && bytes[bytes.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

fn check_full_path(text: &str) -> Result<(), InvalidName> {
    if text.split('/').count() > 21 {
        return refuse("path", "is nested too deeply");
    }
    text.split('/').try_for_each(check_segment)
}

fn check_repo_path(text: &str) -> Result<(), InvalidName> {
    let bad = |it: &str| it.is_empty() || it == "." || it == ".." || it.contains('\0');
    if text.split('/').any(bad) {
        refuse("file path", "is not inside the repository")
    } else {
        Ok(())
    }
}

fn check_ref_name(text: &str) -> Result<(), InvalidName> {
    let bad_char = |it: char| it.is_control() || " ~^:?*[\\\u{7f}".contains(it);
    let bad_part = |it: &str| it.is_empty() || it.starts_with('.') || it.ends_with(".lock");
    let shape = text.starts_with("refs/") && text.split('/').count() > 2;
    let content = text.chars().any(bad_char) || text.split('/').any(bad_part);
    if !shape || content || text.contains("..") || text.contains("@{") || text.ends_with('.') {
        return refuse("reference", "is not a valid name");
    }
    Ok(())
}

fn check_object_id(text: &str) -> Result<(), InvalidName> {
    let hex = text
        .bytes()
        .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    if hex && matches!(text.len(), 40 | 64) {
        Ok(())
    } else {
        refuse("object id", "is not 40 or 64 hex digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_safe_to_join_to_a_directory() {
        for good in ["team", "team/app", "a/b/c", "x.y", "_a", "R2-D2"] {
            assert!(FullPath::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/..", "a/-", "-/a", "a.git", "a.GIT", "a b",
            "ä", "a\0", "a.",
        ] {
            assert!(FullPath::parse(bad).is_err(), "{bad}");
        }
        assert!(FullPath::parse(&vec!["a"; 22].join("/")).is_err());
    }

    #[test]
    fn repository_paths_stay_inside() {
        assert!(
            RepoPath::parse("src/main.rs").is_ok() && RepoPath::parse(".gitlab-ci.yml").is_ok()
        );
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/"] {
            assert!(RepoPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_follow_check_ref_format() {
        let name = RefName::parse("refs/heads/feature/x").expect("valid");
        assert_eq!((name.branch(), name.tag()), (Some("feature/x"), None));
        for bad in [
            "main",
            "refs/heads",
            "refs/heads/",
            "refs/heads/a..b",
            "refs/heads/.a",
            "refs/heads/a.lock",
            "refs/heads/a b",
            "refs/heads/a@{b",
            "refs/heads/a\n",
            "refs/heads/-a\u{7f}",
        ] {
            assert!(RefName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn object_ids_are_lower_case_hex() {
        assert!(ObjectId::parse(ObjectId::ZERO).expect("valid").is_zero());
        assert!(
            ObjectId::parse("ABCDEF0000000000000000000000000000000000").is_err()
                && ObjectId::parse("abc").is_err()
        );
    }
}
