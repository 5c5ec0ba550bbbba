//! What outlives the runner's process: which jobs it has, and their logs.
//!
//! A runner that was killed takes its jobs' processes along. The next one on the same directory finds here whom to tell, with what
//! the server has not seen of the log yet. The directory belongs to one runner at a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rave_core::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::report::Verdict;
use crate::trace;
use crate::wire;

/// The directory of a runner's state, while this process has it.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
    whose: String,
    _lock: Flock<File>,
}

/// The state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another runner works in the same directory.
    #[error("another runner uses the directory {0}: give each its own")]
    InUse(PathBuf),
    /// A file of it failed.
    #[error("cannot use the directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is kept of one job.
#[derive(Debug)]
pub(crate) struct Record {
    dir: PathBuf,
}

/// A job whose runner was killed.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) job: wire::Job,
    /// How it ended, if it had.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) log: trace::Files,
    pub(crate) record: Record,
    /// The directory of its file variables.
    pub(crate) temporary: PathBuf,
}

/// The file that says whose a record is.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Stands for the runner's token, and so for the server: no other gets to see the job's token.
    whose: String,
    /// As much of the job as it takes to report it, in the protocol's own form.
    job: Value,
    temporary: PathBuf,
}

const JOB: &str = "job.json";
const LOG: &str = "log";
const TAIL: &str = "tail";
const VERDICT: &str = "verdict.json";

impl State {
    /// Makes the directory if need be, and keeps every other runner out of it.
    pub(crate) fn open(dir: &Path, token: &Secret) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory {
            path: dir.to_owned(),
            source,
        };
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(dir.join("jobs"));
        made.map_err(failed)?;
        let lock = create(&dir.join("lock"), false).map_err(failed)?;
        let lock =
            Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    Errno::EWOULDBLOCK => StateError::InUse(dir.to_owned()),
                    other => failed(other.into()),
                },
            )?;
        Ok(Self {
            dir: dir.to_owned(),
            whose: hex::encode(Sha256::digest(token.expose())),
            _lock: lock,
        })
    }

    /// Notes a job, and makes the files of its log.
    pub(crate) fn keep(
        &self,
        job: &wire::Job,
        temporary: &Path,
    ) -> io::Result<(Record, trace::Files)> {
        let prefix = format!("{}-", job.id);
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(self.dir.join("jobs"))?
            .keep();
        let record = Record { dir };
        let log = record.files(true)?;
        let kept = Kept {
            whose: self.whose.clone(),
            job: json!({
                "id": job.id,
                "token": job.token,
                "features": {"failure_reasons": job.features.failure_reasons},
            }),
            temporary: temporary.to_owned(),
        };
        record.write(JOB, &kept)?;
        Ok((record, log))
    }

    /// Returns the jobs of the runner before this one, and forgets what says nothing or is another server's.
    pub(crate) fn lost(&self) -> io::Result<Vec<Lost>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir.join("jobs"))? {
            let record = Record { dir: entry?.path() };
            match record.read(&self.whose) {
                Some(read) => found.push(read(record)),
                None => record.remove(),
            }
        }
        Ok(found)
    }
}

impl Record {
    fn files(&self, new: bool) -> io::Result<trace::Files> {
        Ok(trace::Files {
            log: create(&self.dir.join(LOG), new)?,
            tail: create(&self.dir.join(TAIL), new)?,
        })
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        serde_json::to_writer(&mut file, value)?;
        file.persist(self.dir.join(name))?;
        Ok(())
    }

    /// Notes how the job ended, before the server is told. Should it fail, the job counts as lost.
    pub(crate) fn conclude(&self, verdict: &Verdict) {
        if let Err(error) = self.write(VERDICT, verdict) {
            tracing::warn!(%error, "cannot note how a job ended");
        }
    }

    fn read(&self, whose: &str) -> Option<impl FnOnce(Self) -> Lost + use<>> {
        let text = |name: &str| fs::read(self.dir.join(name)).ok();
        let kept: Kept = serde_json::from_slice(&text(JOB)?).ok()?;
        let job: wire::Job = serde_json::from_value(kept.job).ok()?;
        let verdict = text(VERDICT).and_then(|it| serde_json::from_slice(&it).ok());
        let log = self.files(false).ok()?;
        let temporary = kept.temporary;
        (kept.whose == whose).then_some(move |record| Lost {
            job,
            verdict,
            log,
            record,
            temporary,
        })
    }

    /// Forgets the job.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, path = %self.dir.display(), "cannot delete what was kept of a job");
        }
    }
}

/// Opens a file that only this user reads, and makes it if need be.
fn create(path: &Path, new: bool) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).create_new(new);
    options.truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn job() -> wire::Job {
        let text = r#"{"id":7,"token":"secret","features":{"failure_reasons":["x"]},"variables":[{"key":"A","value":"b"}]}"#;
        serde_json::from_str(text).expect("a job")
    }

    #[test]
    fn what_one_runner_kept_the_next_finds() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = State::open(dir.path(), &Secret::new("a")).expect("opened");
        assert!(matches!(
            State::open(dir.path(), &Secret::new("a")),
            Err(StateError::InUse(_))
        ));
        let (record, mut log) = state.keep(&job(), Path::new("/tmp/x")).expect("kept");
        log.log.write_all(b"hello").expect("written");
        let (ended, _log) = state.keep(&job(), Path::new("/tmp/y")).expect("kept");
        ended.conclude(&Verdict::Success);
        let (gone, _log) = state.keep(&job(), Path::new("/tmp/z")).expect("kept");
        gone.remove();
        let kept = fs::read_to_string(record.dir.join(JOB)).expect("readable");
        assert!(!kept.contains("\"A\""), "no variables: {kept}");
        drop(state);
        let state = State::open(dir.path(), &Secret::new("a")).expect("opened");
        let mut lost = state.lost().expect("listed");
        lost.sort_by(|a, b| a.temporary.cmp(&b.temporary));
        let [mut first, second] = <[Lost; 2]>::try_from(lost).expect("two");
        let mut text = String::new();
        first.log.log.read_to_string(&mut text).expect("readable");
        assert_eq!(
            (text.as_str(), first.job.id, first.job.token.as_str()),
            ("hello", 7, "secret")
        );
        assert_eq!(
            (first.verdict, second.verdict),
            (None, Some(Verdict::Success))
        );
        drop(state);
        let other = State::open(dir.path(), &Secret::new("b")).expect("opened");
        assert!(other.lost().expect("listed").is_empty(), "another server's");
        assert_eq!(
            fs::read_dir(dir.path().join("jobs"))
                .expect("listed")
                .count(),
            0
        );
    }
}
