//! What the forge is told at start.

use std::path::PathBuf;
use std::time::Duration;

/// Where repositories are and how many children work on them.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// The directory of all repositories.
    pub repos: PathBuf,
    /// This program, which is also the pre-receive hook.
    pub binary: PathBuf,
    /// Files that live as long as the process: hooks, an empty home for git.
    pub run_dir: PathBuf,
    /// What clone addresses begin with, without a trailing slash: the external URL.
    pub clone_http_base: String,
    /// Where children look for programs.
    pub path: String,
    /// How many `git upload-pack` work at once; others wait. Each may hold a pack's index and a window of objects.
    pub max_uploads: usize,
    /// How many `git receive-pack` work at once.
    pub max_receives: usize,
    /// How many short git commands work at once, for pages and the API.
    pub max_reads: usize,
    /// How long a push waits for news of its pipelines.
    pub report_deadline: Duration,
}

impl GitConfig {
    /// Makes a configuration for a small machine.
    #[must_use]
    pub fn new(repos: PathBuf, binary: PathBuf, run_dir: PathBuf, clone_http_base: String) -> Self {
        Self {
            repos,
            binary,
            run_dir,
            clone_http_base,
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin".into(),
            max_uploads: 8,
            max_receives: 16,
            max_reads: 8,
            report_deadline: Duration::from_secs(3),
        }
    }
}
