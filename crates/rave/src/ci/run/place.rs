//! Where runs keep their things: below the user's cache directory, one directory per project.
//!
//! What a run needs while it lasts is in a directory of its own that is locked. One that is not locked was left by a run
//! that was killed, and the next one removes it.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use crate::ci::remote::cache_directory;

/// How directories of runs begin.
const RUN: &str = "run-";

/// The directories of a project.
#[derive(Clone, Debug)]
pub(super) struct Place {
    base: PathBuf,
    images: PathBuf,
}

/// The directory of one run, removed when it is dropped unless it is to be kept.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    keep: bool,
    _lock: Flock<File>,
}

impl Place {
    /// Returns the directories of the project whose top this is.
    pub(super) fn of(root: &Path) -> Self {
        let base = cache_directory().unwrap_or_else(|| {
            // Without a home, runs of different users must not meet.
            std::env::temp_dir().join(format!("rave-{}", nix::unistd::geteuid()))
        });
        let digest = hex::encode(Sha256::digest(root.as_os_str().as_encoded_bytes()));
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name
            .chars()
            .map(|it| if it.is_alphanumeric() { it } else { '-' })
            .collect();
        Self {
            images: base.join("images"),
            base: base.join("ci").join(format!("{name}-{}", &digest[..12])),
        }
    }

    /// The images of jobs, which all projects share.
    pub(super) fn images(&self) -> PathBuf {
        self.images.clone()
    }

    /// The caches of jobs, which stay from run to run.
    pub(super) fn caches(&self) -> PathBuf {
        self.base.join("cache")
    }

    /// Logs and artifacts of the last run.
    pub(super) fn last(&self) -> PathBuf {
        self.base.join("last")
    }

    /// Makes the directory of a run, and removes those of runs that were killed.
    pub(super) fn begin(&mut self) -> anyhow::Result<RunDirectory> {
        let shown = self.base.display().to_string();
        let failed = || format!("cannot prepare {shown}");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.base)
            .with_context(failed)?;
        // The sandbox shows directories by their real paths.
        self.base = self.base.canonicalize().with_context(failed)?;
        self.sweep();
        let made = tempfile::Builder::new().prefix(RUN).tempdir_in(&self.base);
        let path = made.with_context(failed)?.keep();
        // Between these two lines another run may remove it: then the lock fails, and with it this run.
        let lock = lock(&path).with_context(failed)?;
        Ok(RunDirectory {
            path,
            keep: false,
            _lock: lock,
        })
    }

    fn sweep(&self) {
        let entries = fs::read_dir(&self.base).into_iter().flatten().flatten();
        for path in entries.map(|it| it.path()) {
            let is_run = path
                .file_name()
                .is_some_and(|it| it.to_string_lossy().starts_with(RUN));
            if is_run && is_old(&path) && lock(&path).is_ok() {
                // What cannot be removed now is tried again by the next run.
                let _ = rave_runner::remove_tree(&path);
            }
        }
    }
}

/// Whether a run would have locked its directory by now.
fn is_old(path: &Path) -> bool {
    let modified = fs::metadata(path.join("lock")).and_then(|it| it.modified());
    modified.is_ok_and(|it| it.elapsed().is_ok_and(|it| it.as_secs() > 5))
}

fn lock(path: &Path) -> std::io::Result<Flock<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|it| it.1.into())
}

impl RunDirectory {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory where it is.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if !self.keep {
            // What is left, the next run removes.
            let _ = rave_runner::remove_tree(&self.path);
        }
    }
}
