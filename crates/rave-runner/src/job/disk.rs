//! What a job may write to the disk: looked at while it runs, at a cost that does not grow with the job's speed.
//!
//! Asking the file system how full it is costs nothing. Only when it filled by a part of what the job may write are the job's
//! directories walked, by a thread of its own, and no more often than that the walks take a twentieth of the time. What was
//! there before the job, such as a working copy of the run before, does not count.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rave_core::memory::shown;
use rave_core::time::Timestamp;
use tokio::time::Instant;

use super::stages::blocking;
use crate::host::Space;

/// How often the file system is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// Walks take at most one part in so many of the time.
const SHARE: u32 = 20;
/// Into so many steps the quota is divided: so much too much may be written before it is seen.
const STEPS: u64 = 16;

/// What a job may write, and where it can.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    pub(super) limit_bytes: u64,
    pub(super) dirs: Vec<PathBuf>,
    /// What was changed before is not the job's.
    pub(super) since: Timestamp,
}

/// A job wrote more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    written_bytes: u64,
    limit_bytes: u64,
}

impl Exceeded {
    /// Explains it, and says what to do.
    pub(super) fn text(&self) -> String {
        format!(
            "The job wrote too much to the disk: {} of the {} that it may, and all of it was ended. Let it write less, or delete \
             what it needs no more; whoever keeps the runner can raise runner.job_disk_bytes.",
            shown(self.written_bytes),
            shown(self.limit_bytes),
        )
    }
}

impl Quota {
    /// Settles the quota of a job: as configured, or half of what is free as it begins.
    pub(super) fn settle(
        configured_bytes: Option<u64>,
        dirs: Vec<PathBuf>,
        since: Timestamp,
    ) -> Option<Self> {
        let half = || Some(space_of(&dirs)?.free_bytes / 2);
        let limit_bytes = configured_bytes.or_else(half)?;
        Some(Self {
            limit_bytes,
            dirs,
            since,
        })
    }

    /// Waits until the job wrote more. May be dropped at any point.
    pub(super) async fn exceeded(&self) -> Exceeded {
        let step = (self.limit_bytes / STEPS).max(1);
        let used =
            || space_of(&self.dirs).map_or(0, |it| it.total_bytes.saturating_sub(it.free_bytes));
        // What others delete meanwhile does not hide what the job writes.
        let (mut least, mut rest_until) = (used(), Instant::now());
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = used();
            least = least.min(now);
            if now - least < step || Instant::now() < rest_until {
                continue;
            }
            least = now;
            let (began, quota) = (Instant::now(), self.clone());
            let written_bytes = blocking(move || Ok(quota.written())).await.unwrap_or(0);
            if written_bytes > self.limit_bytes {
                return Exceeded {
                    written_bytes,
                    limit_bytes: self.limit_bytes,
                };
            }
            rest_until = Instant::now() + began.elapsed() * SHARE;
        }
    }

    /// Adds up what was written to the directories, until it is too much.
    fn written(&self) -> u64 {
        let mut bytes = 0;
        for dir in &self.dirs {
            // A job may remove what is being looked at.
            let _ = self.add(dir, &mut bytes);
        }
        bytes
    }

    fn add(&self, dir: &Path, bytes: &mut u64) -> io::Result<()> {
        let device = fs::symlink_metadata(dir)?.dev();
        let mut left = vec![dir.to_owned()];
        while let Some(dir) = left.pop() {
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for entry in entries.flatten() {
                let Ok(meta) = fs::symlink_metadata(entry.path()) else {
                    continue;
                };
                if meta.dev() != device {
                    continue;
                }
                if meta.is_dir() {
                    left.push(entry.path());
                }
                if meta.ctime() >= self.since.0 / 1000 {
                    // Each of several names of a file counts for a part of it.
                    *bytes += meta.blocks() * 512 / meta.nlink().max(1);
                }
                if *bytes > self.limit_bytes {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Looks at the file system of the first directory that is there.
fn space_of(dirs: &[PathBuf]) -> Option<Space> {
    dirs.iter().find_map(|it| Space::of(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_core::time::{Clock as _, SystemClock};

    fn quota(dir: &Path, limit_bytes: u64, since: Timestamp) -> Quota {
        Quota {
            limit_bytes,
            dirs: vec![dir.join("absent"), dir.to_owned()],
            since,
        }
    }

    #[test]
    fn what_the_job_wrote_counts_and_what_was_there_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("a/b")).expect("made");
        fs::write(dir.path().join("a/b/file"), vec![1; 1 << 20]).expect("written");
        fs::hard_link(dir.path().join("a/b/file"), dir.path().join("again")).expect("linked");
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).expect("linked");
        let now = SystemClock.now();
        let before = quota(dir.path(), u64::MAX, Timestamp(now.0 - 60_000));
        let written = before.written();
        assert!((1 << 20..2 << 20).contains(&written), "{written}");
        let after = quota(dir.path(), u64::MAX, Timestamp(now.0 + 60_000));
        assert_eq!(after.written(), 0);
    }

    #[tokio::test]
    async fn a_job_that_writes_too_much_is_found_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let since = Timestamp(SystemClock.now().0 - 60_000);
        let quota = quota(dir.path(), 1 << 20, since);
        let write = async {
            // The first look has to come before, or there is no growth to see.
            for number in 0.. {
                let file = dir.path().join(number.to_string());
                blocking(move || fs::write(file, vec![1; 256 << 10]))
                    .await
                    .expect("written");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let exceeded = tokio::select! {
            exceeded = quota.exceeded() => exceeded,
            () = write => unreachable!("it goes on for ever"),
        };
        assert!(exceeded.written_bytes > 1 << 20);
        let text = exceeded.text();
        assert!(
            text.contains("of the 1 MiB") && text.contains("job_disk_bytes"),
            "{text}"
        );
    }

    #[test]
    fn without_a_setting_a_job_may_write_half_of_what_is_free() {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = || vec![dir.path().to_owned()];
        let half = Quota::settle(None, dirs(), Timestamp(0)).expect("a file system");
        assert!(half.limit_bytes > 0);
        let set = Quota::settle(Some(7), dirs(), Timestamp(0)).expect("set");
        assert_eq!(set.limit_bytes, 7);
        assert!(Quota::settle(None, Vec::new(), Timestamp(0)).is_none());
    }
}
