//! Short git commands: a cleaned environment, a deadline, a bounded output, a bounded number at once.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::error::GitError;
use crate::git::child::Group;

/// Longest run of a short command.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much of a child's complaints is kept.
const STDERR_BYTES: usize = 8 << 10;
/// How much a short command may answer unless its caller says otherwise.
const OUTPUT_BYTES: usize = 64 << 20;

/// Settings that hold for every git child, over whatever the repository's own file says.
///
/// They are given with each call and not written into repositories, so that a new release needs no walk over them.
const SETTINGS: &[(&str, &str)] = &[
    // The server may run as another user than the one who owns the files.
    ("safe.directory", "*"),
    // A push that was acknowledged survives the end of the machine's power, its references included.
    ("core.fsync", "all"),
    ("core.fsyncMethod", "batch"),
    // Maintenance is a worker of this program: a push must not wait for it.
    ("gc.auto", "0"),
    ("receive.autogc", "false"),
    ("maintenance.auto", "false"),
    ("core.quotePath", "false"),
    // Memory is a budget: a clone of a large repository takes what a small one takes, and some time.
    ("pack.threads", "1"),
    ("pack.windowMemory", "32m"),
    ("pack.deltaCacheSize", "16m"),
    ("core.packedGitLimit", "256m"),
    ("core.packedGitWindowSize", "16m"),
    ("core.deltaBaseCacheLimit", "16m"),
    ("core.bigFileThreshold", "16m"),
    ("repack.writeBitmaps", "true"),
    ("core.multiPackIndex", "true"),
    ("diff.renames", "true"),
    ("diff.renameLimit", "400"),
];

/// Starts git. Clones share the bound on how many run at once.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    home: Arc<PathBuf>,
    path: Arc<str>,
    reads: Arc<Semaphore>,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    /// Whether there was more than the caller wanted; the child was ended.
    pub(crate) truncated: bool,
    pub(crate) success: bool,
    pub(crate) stderr: String,
    status: String,
}

impl Output {
    /// Returns the answer of a command that has to succeed.
    pub(crate) fn need(self, command: &'static str) -> Result<Vec<u8>, GitError> {
        if self.success || self.truncated {
            Ok(self.stdout)
        } else {
            Err(GitError::Failed {
                command,
                status: self.status,
                message: self.stderr,
            })
        }
    }

    /// Whether the command failed because an object that it was told to look at does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        const SIGNS: [&str; 6] = [
            "bad object",
            "bad revision",
            "unknown revision",
            "Not a valid",
            "ambiguous argument",
            "bad source",
        ];
        !self.success && SIGNS.iter().any(|it| self.stderr.contains(it))
    }
}

impl Runner {
    pub(crate) fn new(home: PathBuf, path: &str, max_reads: usize) -> Self {
        Self {
            home: Arc::new(home),
            path: path.into(),
            reads: Arc::new(Semaphore::new(max_reads.max(1))),
        }
    }

    /// Makes a command that begins with `git`. Nothing of this process's environment reaches it.
    pub(crate) fn command(&self, directory: &Path, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", &*self.path)
            .env("HOME", &*self.home)
            .env("XDG_CONFIG_HOME", &*self.home)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .current_dir(directory);
        let all = || SETTINGS.iter().chain(settings);
        command.env("GIT_CONFIG_COUNT", all().count().to_string());
        for (index, (key, value)) in all().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{index}"), key)
                .env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Returns leave to run one more short command, when there is room.
    pub(crate) async fn permit(&self) -> tokio::sync::OwnedSemaphorePermit {
        let permit = self.reads.clone().acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    /// Runs a command in a repository to its end. `name` is its name in errors.
    pub(crate) async fn run<I, S>(
        &self,
        directory: &Path,
        name: &'static str,
        arguments: I,
    ) -> Result<Output, GitError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.run_with(
            directory,
            name,
            arguments,
            Vec::new(),
            OUTPUT_BYTES,
            DEADLINE,
        )
        .await
    }

    /// Runs a command that reads `input` and may answer with `limit_bytes`; more is cut off.
    pub(crate) async fn run_with<I, S>(
        &self,
        directory: &Path,
        name: &'static str,
        arguments: I,
        input: Vec<u8>,
        limit_bytes: usize,
        deadline: Duration,
    ) -> Result<Output, GitError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let failed = |source| GitError::Child {
            command: name,
            source,
        };
        let mut command = self.command(directory, &[]);
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let _permit = self.permit().await;
        let span = tracing::info_span!("git", git.command = name);
        let mut group = Group::spawn(&mut command).map_err(failed)?;
        let child = group.child();
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A child that has seen enough closes its end.
                let _ = stdin.write_all(&input).await;
            }
        };
        let read = async {
            let (_, out, err) = tokio::join!(
                feed,
                read_up_to(stdout, limit_bytes),
                read_up_to(stderr, STDERR_BYTES)
            );
            let (stdout, truncated) = out?;
            let (stderr, _) = err?;
            if truncated {
                return Ok((stdout, true, false, String::new(), stderr));
            }
            let status = group.wait().await?;
            Ok((stdout, false, status.success(), status.to_string(), stderr))
        };
        let read = read.instrument(span);
        let (stdout, truncated, success, status, stderr) = tokio::time::timeout(deadline, read)
            .await
            .map_err(|_| GitError::Deadline {
                command: name,
                limit: deadline,
            })?
            .map_err(failed)?;
        Ok(Output {
            stdout,
            truncated,
            success,
            stderr: String::from_utf8_lossy(&stderr).trim().to_owned(),
            status,
        })
    }
}

/// Reads until the end or the limit. Returns whether there was more.
async fn read_up_to(
    source: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let Some(source) = source else {
        return Ok((bytes, false));
    };
    let wanted = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.take(wanted).read_to_end(&mut bytes).await?;
    let truncated = bytes.len() > limit;
    bytes.truncate(limit);
    Ok((bytes, truncated))
}
