//! Caches on this machine's disk: found by key, replaced whole, and deleted when they grow too much.
//!
//! Those in a bucket are the business of [`s3`].

pub(crate) mod s3;
mod sign;

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rave_core::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::files::pack::{Level, PackError, pack};
use crate::files::tree::{Relative, Tree};
use crate::files::unpack::{OutwardLinks, UnpackError, unpack};

/// The caches of all projects.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    dir: PathBuf,
    limit_bytes: u64,
}

/// A cache failed. No job fails for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("cannot use the cache file {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot pack the cache")]
    Pack(#[from] PackError),
    #[error("cannot unpack the cache")]
    Unpack(#[from] UnpackError),
}

/// Cleans a key as other runners do. `None` when nothing is left of it.
pub(crate) fn clean_key(key: &str) -> Option<String> {
    let decoded = key
        .replace("%2f", "/")
        .replace("%2F", "/")
        .replace("%2e", ".")
        .replace("%2E", ".")
        .replace('\\', "/");
    let parts: Vec<&str> = decoded
        .split('/')
        .map(str::trim_end)
        .filter(|it| !matches!(*it, "" | "." | ".."))
        .collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

impl Caches {
    pub(crate) const fn new(dir: PathBuf, limit_bytes: u64) -> Self {
        Self { dir, limit_bytes }
    }

    /// Where a cache is. Keys are hashed, because they may be long and hold anything.
    fn file(&self, project_id: i64, key: &str) -> PathBuf {
        let hash = hex::encode(Sha256::digest(key.as_bytes()));
        self.dir
            .join(project_id.to_string())
            .join(hash)
            .join("cache.zip")
    }

    /// Unpacks the cache of the first key that has one, and returns that key.
    pub(crate) fn restore<'a>(
        &self,
        project_id: i64,
        keys: &'a [String],
        tree: &Tree,
        now: Timestamp,
    ) -> Result<Option<&'a str>, CacheError> {
        for key in keys {
            let path = self.file(project_id, key);
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(|source| CacheError::File {
                    path: path.clone(),
                    source,
                })?,
            };
            // The time of the file is when it was last used, by which old ones are found. A failure only ages it.
            let _ = file.set_modified(system_time(now));
            unpack(file, tree, OutwardLinks::Make)?;
            return Ok(Some(key));
        }
        Ok(None)
    }

    /// Packs files as the cache of a key. Readers see the old one or the new one. Returns the number of entries.
    pub(crate) fn save<'a>(
        &self,
        project_id: i64,
        key: &str,
        tree: &Tree,
        paths: impl Iterator<Item = &'a Relative>,
        level: Level,
        now: Timestamp,
    ) -> Result<usize, CacheError> {
        let path = self.file(project_id, key);
        let failed = |source| CacheError::File {
            path: path.clone(),
            source,
        };
        let dir = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(dir).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
        let count = pack(tree, paths, "zip", level, file.as_file_mut())?;
        file.as_file_mut().rewind().map_err(failed)?;
        file.as_file()
            .set_modified(system_time(now))
            .map_err(failed)?;
        file.persist(&path).map_err(|it| failed(it.error))?;
        self.evict(&path).map_err(failed)?;
        Ok(count)
    }

    /// Removes archives that were being written when the runner was killed.
    pub(crate) fn sweep(&self) {
        let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
        let caches = below(&self.dir).flat_map(|project| below(&project.path()));
        for file in caches.flat_map(|cache| below(&cache.path())) {
            let unfinished = file.file_name().to_string_lossy().starts_with(".tmp");
            if unfinished && let Err(error) = fs::remove_file(file.path()) {
                tracing::warn!(%error, path = %file.path().display(), "cannot remove an unfinished cache");
            }
        }
    }

    /// Deletes the least recently used caches above the limit, except the one just made.
    fn evict(&self, keep: &Path) -> io::Result<()> {
        let mut all = Vec::new();
        for project in fs::read_dir(&self.dir)?.flatten() {
            for cache in fs::read_dir(project.path()).into_iter().flatten().flatten() {
                let path = cache.path().join("cache.zip");
                if let Ok(meta) = fs::metadata(&path) {
                    all.push((meta.modified()?, meta.len(), path));
                }
            }
        }
        all.sort();
        let mut total: u64 = all.iter().map(|it| it.1).sum();
        for (_, len, path) in all.into_iter().filter(|it| it.2 != keep) {
            if total <= self.limit_bytes {
                break;
            }
            fs::remove_file(&path)?;
            // The directory of a key may be in use again already, and then it stays.
            let _ = path.parent().map(fs::remove_dir);
            total -= len;
            tracing::info!(path = %path.display(), size_bytes = len, "deleted a cache to make room");
        }
        Ok(())
    }
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cleaned() {
        assert_eq!(clean_key("a/b").as_deref(), Some("a/b"));
        assert_eq!(clean_key("..%2f..%2Fx \\y").as_deref(), Some("x/y"));
        assert_eq!((clean_key(""), clean_key("../.")), (None, None));
    }

    #[test]
    fn the_first_key_wins_and_the_oldest_caches_go() {
        let (store, work) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        fs::write(work.path().join("f"), "1").expect("written");
        let tree = Tree::open(work.path(), None).expect("opened");
        let paths = [Relative::new(Path::new("f")).expect("relative")];
        let caches = Caches::new(store.path().to_owned(), u64::MAX);
        let keys = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let both = keys(&["main", "fallback"]);
        assert_eq!(
            caches
                .restore(1, &both, &tree, Timestamp(1))
                .expect("restored"),
            None
        );
        caches
            .save(
                1,
                "fallback",
                &tree,
                paths.iter(),
                Level::default(),
                Timestamp(1000),
            )
            .expect("saved");
        fs::write(work.path().join("f"), "2").expect("written");
        assert_eq!(
            caches
                .restore(1, &both, &tree, Timestamp(5000))
                .expect("restored"),
            Some("fallback")
        );
        assert_eq!(
            fs::read_to_string(work.path().join("f")).expect("read"),
            "1"
        );
        assert_eq!(
            caches
                .restore(2, &both, &tree, Timestamp(1))
                .expect("restored"),
            None,
            "another project's"
        );
        caches
            .save(
                1,
                "older",
                &tree,
                paths.iter(),
                Level::default(),
                Timestamp(3000),
            )
            .expect("saved");
        let size = fs::metadata(caches.file(1, "older")).expect("there").len();
        let small = Caches::new(store.path().to_owned(), size * 2);
        small
            .save(
                1,
                "new",
                &tree,
                paths.iter(),
                Level::default(),
                Timestamp(9000),
            )
            .expect("saved");
        let left = |key| small.file(1, key).exists();
        assert_eq!(
            (left("older"), left("fallback"), left("new")),
            (false, true, true)
        );
    }
}
