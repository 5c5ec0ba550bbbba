//! A child process and all that it started, as one thing that ends together.

use std::sync::LazyLock;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// How long a child that was asked to end may tidy up: git removes its lock files and temporary objects.
const GRACE: Duration = Duration::from_secs(3);

/// Whether this process asked the kernel to be ended after others when memory runs out, which its children inherit: a clone
/// that takes too much is to go before the server.
static OUTLIVES: LazyLock<bool> = LazyLock::new(|| {
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    score.trim().parse().is_ok_and(|it: i32| it < 0)
});

/// A child in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    /// `None` once the child was waited for: its number may belong to someone else by then.
    group: Option<Pid>,
}

impl Group {
    /// Starts a child.
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child
            .id()
            .and_then(|it| i32::try_from(it).ok())
            .map(Pid::from_raw);
        if let Some(pid) = group.filter(|_| *OUTLIVES) {
            // It may have ended already.
            let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
        }
        Ok(Self { child, group })
    }

    /// Returns the child, to take its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until the child ended by itself.
    pub(crate) async fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        let status = self.child.wait().await?;
        self.group = None;
        Ok(status)
    }

    /// Asks the group to end, waits a little, and ends it.
    pub(crate) async fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_ok() {
            // Grandchildren that ignored the request go as well; the leader is gone but its group may not be.
            self.signal(Signal::SIGKILL);
            self.group = None;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended this moment, which is what is wanted.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
