//! Cache keys: the text of the file, or a hash of what some files contain.

use std::collections::BTreeSet;

use rave_ci_lang::{Cache, CacheKey, JobPlan};
use rave_core::name::{ObjectId, RepoPath};
use rave_core::port::ForgeError;
use sha1::{Digest as _, Sha1};

use super::Ci;
use crate::error::CiError;
use crate::model::Pipeline;

/// Largest file that counts; a larger one has the key of an absent one.
const FILE_BYTES: u64 = 16 << 20;
/// Most paths that a pattern is compared with.
const PATHS: usize = 200_000;

impl Ci {
    /// Returns a key for each of the job's caches.
    pub(crate) async fn cache_keys(
        &self,
        plan: &JobPlan,
        pipeline: &Pipeline,
    ) -> Result<Vec<String>, CiError> {
        let mut keys = Vec::with_capacity(plan.cache.len());
        for cache in &plan.cache {
            let key = match &cache.key {
                CacheKey::Text(text) => text.clone(),
                // The ids of commits that touched a file are not to be had from the forge: those of its contents
                // change whenever they do, and only less often otherwise.
                CacheKey::Files { prefix, files, .. } => {
                    self.key_of_files(pipeline, prefix, files).await?
                }
            };
            keys.push(format!("{key}{}", suffix(cache, pipeline.protected)));
        }
        Ok(keys)
    }

    async fn key_of_files(
        &self,
        pipeline: &Pipeline,
        prefix: &str,
        files: &[String],
    ) -> Result<String, CiError> {
        let Ok(commit) = ObjectId::parse(&pipeline.sha) else {
            return Ok(format!("{prefix}-default"));
        };
        let all = if files.iter().any(|it| it.contains('*')) {
            self.forge
                .list_files(pipeline.project, &commit, PATHS)
                .await?
        } else {
            Vec::new()
        };
        let mut ids = BTreeSet::new();
        for pattern in files {
            let matching = all.iter().filter(|it| matches(pattern, it));
            let paths: Vec<&String> = match pattern.contains('*') {
                true => matching.collect(),
                false => vec![pattern],
            };
            for path in paths {
                let Ok(path) = RepoPath::parse(path) else {
                    continue;
                };
                match self
                    .forge
                    .read_file(pipeline.project, &commit, &path, FILE_BYTES)
                    .await
                {
                    Ok(Some(bytes)) => drop(ids.insert(blob_id(&bytes))),
                    Ok(None) | Err(ForgeError::TooLarge { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if ids.is_empty() {
            return Ok(format!("{prefix}-default"));
        }
        let joined = ids.into_iter().collect::<Vec<_>>().join("-");
        Ok(format!("{prefix}-{}", hex::encode(Sha1::digest(joined))))
    }
}

/// Returns what keeps caches of protected refs from others.
pub(crate) fn suffix(cache: &Cache, protected: bool) -> &'static str {
    match (cache.unprotect, protected) {
        (false, true) => "-protected",
        (true, _) | (false, false) => "-non_protected",
    }
}

/// The id that git gives to a file with this content.
fn blob_id(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex::encode(hash.finalize())
}

/// A piece of a pattern.
enum Piece {
    Char(char),
    /// Anything within a directory.
    Star,
    /// Anything.
    Deep,
    /// Any directories and the slash after them, or nothing.
    DeepSlash,
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let (piece, length) = match first {
            '*' if rest.starts_with("**/") => (Piece::DeepSlash, 3),
            '*' if rest.starts_with("**") => (Piece::Deep, 2),
            '*' => (Piece::Star, 1),
            other => (Piece::Char(other), other.len_utf8()),
        };
        pieces.push(piece);
        rest = &rest[length..];
    }
    pieces
}

/// Whether a path matches a pattern: `*` stays within a directory, `**` does not. Takes time in proportion to the
/// product of their lengths, whatever the pattern.
fn matches(pattern: &str, path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    // Which ends of the path's beginnings the pieces so far can reach.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for piece in pieces(pattern) {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            let before = at.checked_sub(1);
            let last = before.map(|it| path[it]);
            next[at] = match piece {
                Piece::Char(wanted) => last == Some(wanted) && before.is_some_and(|it| reached[it]),
                Piece::Star => {
                    reached[at]
                        || (last.is_some_and(|it| it != '/') && before.is_some_and(|it| next[it]))
                }
                Piece::Deep => reached[at] || before.is_some_and(|it| next[it]),
                Piece::DeepSlash => {
                    reached[at] || (last == Some('/') && reached[..at].contains(&true))
                }
            };
        }
        reached = next;
    }
    reached[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_and_across_directories() {
        let check = |pattern: &str, path: &str, expected: bool| {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        };
        check("Cargo.lock", "Cargo.lock", true);
        check("*.lock", "Cargo.lock", true);
        check("*.lock", "a/Cargo.lock", false);
        check("**/*.lock", "a/b/Cargo.lock", true);
        check("**/*.lock", "Cargo.lock", true);
        check("a/*/c", "a/b/c", true);
        check("a/*/c", "a/b/b/c", false);
        check("a/**", "a/b/c", true);
        check("*.lock", "é.lock", true);
    }

    #[test]
    fn ids_are_those_of_git() {
        assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(
            blob_id(b"hello\n"),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
    }
}
