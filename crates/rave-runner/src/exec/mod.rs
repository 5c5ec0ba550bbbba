//! Runs one script of a job, in the sandbox or as a plain process, and says in one value how it ended.

pub(crate) mod cgroup;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{ExecutorKind, Network, RunnerConfig, SandboxPolicy};
use crate::inner::order::{self, Order, Report, Script, View};
use cgroup::{Cgroups, Group, Limits};

/// How a script ended. Everything a caller tells apart is a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The shell ended with this status.
    Exited(i32),
    /// The shell was ended by this signal, which was not the runner's.
    Signaled(i32),
    /// The kernel killed for want of memory.
    OutOfMemory { peak_bytes: u64, limit_bytes: u64 },
    /// The time was up.
    TimedOut,
    /// Someone asked to stop.
    Canceled,
    /// The script never ran.
    Failed(String),
}

/// One script to run.
#[derive(Debug)]
pub(crate) struct Task {
    /// The shell's input.
    pub(crate) script: String,
    /// The shell's environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The directories to write in the sandbox: outside and inside.
    pub(crate) writable: Vec<(PathBuf, PathBuf)>,
    /// Whether the script is the runner's own and has the network whatever the policy says.
    pub(crate) trusted_network: bool,
    /// What the script may use.
    pub(crate) limits: Limits,
    /// When the script is stopped.
    pub(crate) deadline: Instant,
}

/// Runs scripts.
#[derive(Debug)]
pub(crate) struct Executor {
    kind: ExecutorKind,
    binary: PathBuf,
    kill_grace: Duration,
    cgroups: Option<Cgroups>,
    privileged: bool,
}

/// The sandbox cannot be made on this machine.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A trial run failed.
    #[error("the sandbox does not work here: {reason}; hint: {hint}")]
    Sandbox {
        /// What failed.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
}

impl Executor {
    /// Looks at what the machine offers. Without cgroups jobs run, but without limits, which is said once.
    pub(crate) fn new(config: &RunnerConfig, limits: &Limits) -> Self {
        let cgroups = match Cgroups::open() {
            Ok(cgroups) => {
                let missing = cgroups.missing(limits);
                if !missing.is_empty() {
                    tracing::warn!(
                        ?missing,
                        "some limits of jobs have no effect: control groups lack the controllers"
                    );
                }
                Some(cgroups)
            }
            Err(error) => {
                let reason = crate::client::chain(&error);
                tracing::warn!(
                    reason,
                    "jobs run without limits: control groups cannot be used"
                );
                None
            }
        };
        Self {
            kind: config.executor.clone(),
            binary: config.binary.clone(),
            kill_grace: config.kill_grace,
            cgroups,
            privileged: nix::unistd::geteuid().is_root(),
        }
    }

    /// Returns the user that owns the files of jobs, when it is not the runner's own.
    pub(crate) fn owner(&self) -> Option<u32> {
        match &self.kind {
            ExecutorKind::Sandbox(policy) if self.privileged => Some(policy.outer_id),
            _ => None,
        }
    }

    pub(crate) const fn is_sandbox(&self) -> bool {
        matches!(self.kind, ExecutorKind::Sandbox(_))
    }

    /// Runs an empty script, so that what is missing shows at the start and not in somebody's job.
    pub(crate) async fn check(&self, dir: PathBuf) -> Result<(), ExecutorError> {
        let task = Task {
            script: "exit 0\n".to_owned(),
            environment: Vec::new(),
            writable: vec![(dir, PathBuf::from("/builds"))],
            trusted_network: false,
            limits: Limits::default(),
            deadline: Instant::now() + Duration::from_secs(60),
        };
        let never = CancellationToken::new();
        let reason = match self.run(task, &mut |_| {}, &never).await {
            Outcome::Exited(0) => return Ok(()),
            Outcome::Failed(reason) => reason,
            other => format!("a trial run ended as {other:?}"),
        };
        let hint = if self.privileged {
            "run the container privileged, or with CAP_SYS_ADMIN and unmasked /proc; or set executor = \"shell\""
        } else {
            "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu also \
             kernel.apparmor_restrict_unprivileged_userns=0), or run as root; or set executor = \"shell\""
        };
        Err(ExecutorError::Sandbox { reason, hint })
    }

    /// Runs a script to its end, or until `stop` or the deadline: TERM, a grace period, then KILL for all of it.
    ///
    /// Dropping the future kills it at once.
    pub(crate) async fn run(
        &self,
        task: Task,
        output: &mut (dyn FnMut(&[u8]) + Send),
        stop: &CancellationToken,
    ) -> Outcome {
        let limits = task.limits;
        let group = match self.cgroups.as_ref().map(|it| it.make(limits)).transpose() {
            Ok(group) => group,
            Err(error) => return Outcome::Failed(crate::client::chain(&error)),
        };
        let ended = self.run_in(task, group.as_ref(), output, stop).await;
        let memory = group.as_ref().map(Group::memory).unwrap_or_default();
        if let Some(group) = group {
            group.remove().await;
        }
        let ended = ended.unwrap_or_else(|error| {
            Outcome::Failed(format!("cannot run the helper process: {error}"))
        });
        match (ended, limits.memory_bytes) {
            (Outcome::Exited(0), _) => Outcome::Exited(0),
            (Outcome::Exited(_) | Outcome::Signaled(_) | Outcome::Failed(_), Some(limit_bytes))
                if memory.oom_kills > 0 =>
            {
                Outcome::OutOfMemory {
                    peak_bytes: memory.peak_bytes,
                    limit_bytes,
                }
            }
            (ended, _) => ended,
        }
    }

    async fn run_in(
        &self,
        task: Task,
        group: Option<&Group>,
        output: &mut (dyn FnMut(&[u8]) + Send),
        stop: &CancellationToken,
    ) -> io::Result<Outcome> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let (reader, writer) = io::pipe()?;
        if let Some(owner) = self.owner() {
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
        let deadline = task.deadline;
        let orders = self.orders(task)?;
        let mut socket = UnixStream::from_std(ours)?;
        let mut watch = Watch {
            grace: self.kill_grace,
            group,
            child: &mut child,
            stopped: None,
            kill_at: None,
        };
        // A helper that ends early says why, which is worth more than the broken pipe.
        let sent = timeout(Duration::from_secs(60), socket.write_all(&orders)).await;
        if !matches!(sent, Ok(Ok(()))) {
            watch.kill(&mut socket).await;
        }
        let report = watch
            .follow(&mut socket, &mut reader, output, deadline, stop)
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

    fn orders(&self, task: Task) -> io::Result<Vec<u8>> {
        let login = !self.is_sandbox();
        let script = Script {
            text: task.script,
            environment: task.environment,
            login,
        };
        let ExecutorKind::Sandbox(policy) = &self.kind else {
            return order::encode(&Order::Supervise(script));
        };
        let SandboxPolicy {
            network,
            read_only_paths,
            nested_namespaces,
            ..
        } = policy;
        let network = *network == Network::Host || task.trusted_network;
        let view = View {
            writable: task.writable,
            read_only: read_only_paths.clone(),
            outer_id: self.owner(),
            nested_namespaces: *nested_namespaces,
        };
        let first = order::encode(&Order::Isolate {
            network,
            privileged: self.privileged,
        })?;
        Ok([first, order::encode(&Order::Enclose(view, script))?].concat())
    }
}

/// Where programs are looked for, unless the job says otherwise.
pub(crate) const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// A script that is running.
struct Watch<'a> {
    grace: Duration,
    group: Option<&'a Group>,
    child: &'a mut Child,
    stopped: Option<Outcome>,
    kill_at: Option<Instant>,
}

impl Watch<'_> {
    /// Passes on output and stops the script when told to, until it has reported and all its output is read.
    async fn follow(
        &mut self,
        socket: &mut UnixStream,
        reader: &mut pipe::Receiver,
        output: &mut (dyn FnMut(&[u8]) + Send),
        deadline: Instant,
        stop: &CancellationToken,
    ) -> io::Result<Option<Report>> {
        let mut buffer = vec![0; 64 << 10];
        let mut said = Vec::new();
        let (mut silent, mut closed) = (false, false);
        let mut killed = false;
        // The socket closes when the helper has ended, and with it everything that could still print.
        while !closed || !silent {
            let far = Instant::now() + Duration::from_secs(86_400);
            tokio::select! {
                read = reader.read(&mut buffer), if !silent => match read? {
                    0 => silent = true,
                    len => output(&buffer[..len]),
                },
                read = socket.read_buf(&mut said), if !closed => {
                    if matches!(read, Ok(0) | Err(_)) {
                        closed = true;
                        // Nothing prints any more; what lingers in the pipe is read within moments.
                        self.kill_at = Some(Instant::now() + Duration::from_secs(2));
                    }
                }
                () = stop.cancelled(), if self.stopped.is_none() => self.stop(socket, Outcome::Canceled).await,
                () = sleep_until(deadline), if self.stopped.is_none() => self.stop(socket, Outcome::TimedOut).await,
                () = sleep_until(self.kill_at.unwrap_or(far)), if self.kill_at.is_some() => {
                    if closed || killed {
                        // It did not help: give up on the output of whatever survives a KILL.
                        self.kill(socket).await;
                        let _ = self.child.start_kill();
                        break;
                    }
                    self.kill(socket).await;
                    killed = true;
                    self.kill_at = Some(Instant::now() + Duration::from_secs(5));
                }
            }
        }
        let body = said.get(4..).unwrap_or_default();
        Ok(serde_json::from_slice(body).ok())
    }

    async fn stop(&mut self, socket: &mut UnixStream, outcome: Outcome) {
        self.stopped = Some(outcome);
        self.kill_at = Some(Instant::now() + self.grace);
        // The helper may be gone already, which is what is wanted.
        let _ = socket.write_all(&[order::TERMINATE]).await;
    }

    async fn kill(&mut self, socket: &mut UnixStream) {
        let _ = socket.write_all(&[order::KILL]).await;
        if let Some(group) = self.group {
            group.kill();
            let _ = self.child.start_kill();
        }
    }
}
