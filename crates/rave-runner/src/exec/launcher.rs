//! Starts the helper process that runs one script, in a control group of its own, and says how the script ended.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::cgroup::{JobGroup, ScriptGroup};
use super::watch::Watch;
use super::{Outcome, Output, PATH};
use crate::config::RunnerConfig;
use crate::inner::order::Report;

/// Starts helper processes.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) binary: PathBuf,
    kill_grace: Duration,
    /// Whether the runner is root.
    pub(super) privileged: bool,
}

/// What a helper process is to do.
pub(super) struct Launch {
    /// The encoded orders.
    pub(super) orders: Vec<u8>,
    /// The user that the script runs as, when it is not the runner's own.
    pub(super) owner: Option<u32>,
    /// The job's group, where the machine has groups.
    pub(super) group: Option<Arc<JobGroup>>,
    pub(super) deadline: Instant,
    /// How long there is between TERM and KILL, if not as long as for jobs.
    pub(super) grace: Option<Duration>,
}

impl Launcher {
    pub(super) fn new(config: &RunnerConfig) -> Self {
        Self {
            binary: config.binary.clone(),
            kill_grace: config.kill_grace,
            privileged: nix::unistd::geteuid().is_root(),
        }
    }

    /// Runs a helper to its end, or until `stop` or the deadline.
    pub(super) async fn run(
        &self,
        launch: Launch,
        output: &mut Output<'_>,
        stop: &CancellationToken,
    ) -> Outcome {
        let job = launch.group.clone();
        let oom_kills = || job.as_ref().and_then(|it| it.sample());
        let oom_kills = || oom_kills().map_or(0, |it| it.oom_kills);
        let before = oom_kills();
        let group = match job.as_ref().map(JobGroup::script).transpose() {
            Ok(group) => group,
            Err(error) => return Outcome::Failed(crate::client::chain(&error)),
        };
        let ended = self.run_in(launch, group.as_ref(), output, stop).await;
        if let Some(group) = group {
            group.remove().await;
        }
        let ended = ended.unwrap_or_else(|error| {
            Outcome::Failed(format!("cannot run the helper process: {error}"))
        });
        let overrun = job.as_ref().and_then(|it| it.overrun());
        if let Some(overrun) = overrun {
            return Outcome::Overrun(overrun.clone());
        }
        match ended {
            Outcome::Exited(_) | Outcome::Signaled(_) | Outcome::Failed(_)
                if oom_kills() > before =>
            {
                Outcome::OutOfMemory
            }
            ended => ended,
        }
    }

    async fn run_in(
        &self,
        launch: Launch,
        group: Option<&ScriptGroup>,
        output: &mut Output<'_>,
        stop: &CancellationToken,
    ) -> io::Result<Outcome> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let (reader, writer) = io::pipe()?;
        if let Some(owner) = launch.owner {
            // A job may open its own output anew, as /dev/stdout, for which it must own the pipe.
            nix::unistd::fchown(
                &writer,
                Some(Uid::from_raw(owner)),
                Some(Gid::from_raw(owner)),
            )?;
        }
        let reader = OwnedFd::from(reader);
        nix::fcntl::fcntl(
            &reader,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        let mut reader = pipe::Receiver::from_owned_fd(reader)?;
        let mut helper = Command::new(&self.binary);
        helper
            .arg("__sandbox")
            .env_clear()
            .env("PATH", PATH)
            .process_group(0)
            .kill_on_drop(true);
        helper.stdin(Stdio::from(OwnedFd::from(theirs)));
        helper
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer));
        let mut child = helper.spawn()?;
        // The command holds copies of the pipe's end, without whose closing the output would never end.
        drop(helper);
        if let (Some(group), Some(pid)) = (group, child.id()) {
            group
                .add(pid)
                .map_err(|it| io::Error::other(crate::client::chain(&it)))?;
        }
        let mut socket = UnixStream::from_std(ours)?;
        let mut watch = Watch::new(launch.grace.unwrap_or(self.kill_grace), group, &mut child);
        // A helper that ends early says why, which is worth more than the broken pipe.
        let sent = timeout(Duration::from_secs(60), socket.write_all(&launch.orders)).await;
        if !matches!(sent, Ok(Ok(()))) {
            watch.kill(&mut socket).await;
        }
        let report = watch
            .follow(&mut socket, &mut reader, output, launch.deadline, stop)
            .await?;
        let stopped = watch.stopped;
        let status = child.wait().await?;
        Ok(match (stopped, report) {
            (Some(outcome), _) => outcome,
            (None, Some(Report::Exited(code))) => Outcome::Exited(code),
            (None, Some(Report::Signaled(signal))) => Outcome::Signaled(signal),
            (None, Some(Report::Failed(reason))) => Outcome::Failed(reason),
            (None, None) => Outcome::Failed(format!(
                "the helper process ended without a word ({status})"
            )),
        })
    }
}
