//! What runs the scripts of jobs: an [`Executor`] per runner, and a [`Session`] of it per job.
//!
//! Two kinds of scripts exist. Those of the runner itself (getting the source, listing files) run in a view of the machine
//! that has git, whatever image the job names; those of the job run where the job wants. Both see the same directories.

pub(crate) mod cgroup;
mod container;
mod launcher;
mod pod;
mod sandbox;
mod services;
mod shell;
pub(crate) mod vm;
pub(crate) mod wanted;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ExecutorKind, RunnerConfig, SandboxPolicy};
use crate::job::place::Place;
use crate::trace::{Tone, Trace};
use crate::variables::Variables;
use crate::wire;
use cgroup::{JobGroup, Limits, Overrun};
use launcher::Launcher;

/// Where programs are looked for, unless the job says otherwise.
pub(crate) const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// How a script ended. Everything a caller tells apart is a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The shell ended with this status.
    Exited(i32),
    /// The shell was ended by this signal, which was not the runner's.
    Signaled(i32),
    /// The kernel killed for want of memory.
    OutOfMemory,
    /// The runner ended the job, because it had too much of something.
    Overrun(Overrun),
    /// The time was up.
    TimedOut,
    /// Someone asked to stop.
    Canceled,
    /// The script never ran.
    Failed(String),
}

/// Takes what a script prints, in pieces, as they come.
pub(crate) type Output<'a> = dyn FnMut(&[u8]) + Send + 'a;

/// One script to run.
#[derive(Debug)]
pub(crate) struct Task {
    /// The shell's input.
    pub(crate) script: String,
    /// What the shell's environment has beside that of every script; the job's variables are in the script.
    pub(crate) environment: Vec<(String, String)>,
    /// Who wrote the script.
    pub(crate) whose: Whose,
    /// When the script is stopped.
    pub(crate) deadline: Instant,
}

/// Who wrote a script, and so where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The runner: it needs the machine's git, and the network whatever the policy says.
    Runner,
    /// The runner, which only looks at files.
    Inspection,
    /// The job: in its image, with the network that the policy gives.
    Job,
}

/// Where and as whom the scripts of an executor run, as far as it is the same for all jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Whether each job sees its directories at the same place, and nothing of other jobs.
    pub(crate) disposable: bool,
    /// The user that owns the files of jobs, when it is not the runner's own.
    pub(crate) owner: Option<u32>,
    /// Whether scripts see at once what the runner writes into a job's directories, and a session costs next to nothing.
    pub(crate) direct: bool,
}

/// What an executor is told of a job before its first script. The directories of `place` exist.
pub(crate) struct Setup<'a> {
    pub(crate) job: &'a wire::Job,
    pub(crate) variables: &'a Variables,
    pub(crate) place: &'a Place,
    pub(crate) limits: Limits,
    /// The job's control group, where the machine has groups: whatever the executor starts for the job belongs below it.
    pub(crate) group: Option<Arc<JobGroup>>,
    /// The log, for what takes long or went wrong without ending the job.
    pub(crate) trace: &'a Trace,
    pub(crate) deadline: Instant,
    /// Set when nothing more is to be done for the job.
    pub(crate) stop: &'a CancellationToken,
}

impl Setup<'_> {
    /// Says in the log which images the job names in vain.
    fn warn_of_unused_images(&self, executor: &str) {
        let images = std::iter::once(("image", &self.job.image));
        let services = self.job.services.iter().map(|it| ("service", it));
        for (what, image) in images.chain(services).filter(|it| !it.1.name.is_empty()) {
            let name = &image.name;
            let text = format!(
                "WARNING: the {what} {name} is recorded but not used by the {executor} executor"
            );
            self.trace.line(Tone::Warning, &text);
        }
    }
}

/// What a job runs in cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetupError {
    /// The job asks for what the runner does not have or does not allow.
    #[error("{0}")]
    Configuration(String),
    /// An image cannot be had.
    #[error("{0}")]
    Image(String),
    /// The machine or another program failed.
    #[error("{0}")]
    System(String),
    /// The time was up, or someone asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Runs jobs in one way. One per runner.
#[async_trait]
pub(crate) trait Executor: Send + Sync {
    fn layout(&self) -> Layout;

    /// Tries what every job needs, so that what is missing shows at the start and not in somebody's job.
    async fn check(&self) -> Result<(), ExecutorError>;

    /// Makes what one job runs in.
    async fn prepare(&self, setup: Setup<'_>) -> Result<Box<dyn Session>, SetupError>;
}

/// What one job runs in. Dropping it ends everything of the job at once; [`Session::destroy`] does it in order.
#[async_trait]
pub(crate) trait Session: Send + Sync {
    /// Runs a script to its end, or until `stop` or the deadline: TERM, a grace period, then KILL for all of it.
    ///
    /// Dropping the future kills it at once.
    async fn run(&self, task: Task, output: &mut Output<'_>, stop: &CancellationToken) -> Outcome;

    /// Brings the files that scripts left back to the job's directories, where they are not shared anyway.
    ///
    /// # Errors
    /// Says what failed.
    async fn collect(&self) -> Result<(), String> {
        Ok(())
    }

    /// Ends and removes everything of the job but its directories.
    async fn destroy(self: Box<Self>) {}
}

/// The executor cannot work on this machine.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A trial run of the sandbox failed.
    #[error("the sandbox does not work here: {reason}; hint: {hint}")]
    Sandbox {
        /// What failed.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A trial machine did not start.
    #[error(
        "virtual machines do not work here: {reason}; hint: they need QEMU, virtiofsd, and a kernel with its modules, which the \
         section runner.vm names"
    )]
    Machine {
        /// What failed.
        reason: String,
    },
    /// Jobs cannot run as the user that the configuration names.
    #[error("cannot run jobs as the user {user}: {reason}")]
    ShellUser {
        /// The user.
        user: String,
        /// Why.
        reason: String,
    },
    /// The container engine cannot be used.
    #[error(
        "{reason}; hint: start the engine's socket (systemctl start podman.socket or docker.socket) and see that this user may open it"
    )]
    Containers {
        /// What failed.
        reason: String,
    },
    /// A directory cannot be made.
    #[error("cannot make the directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the executor that the configuration names.
///
/// # Errors
/// When the container engine's address is none, or the user of the shell executor cannot be had.
pub(crate) fn open(config: &RunnerConfig) -> Result<Arc<dyn Executor>, ExecutorError> {
    let launcher = Arc::new(Launcher::new(config));
    let sandbox = |policy: &SandboxPolicy| {
        Arc::new(sandbox::Sandbox::new(
            launcher.clone(),
            policy.clone(),
            config,
        ))
    };
    Ok(match &config.executor {
        ExecutorKind::Shell => Arc::new(shell::Shell::new(launcher, config)?),
        ExecutorKind::Sandbox(policy) => sandbox(policy),
        ExecutorKind::Vm(policy) => Arc::new(vm::Vm::new(launcher.clone(), policy.clone(), config)),
        ExecutorKind::Container(policy, own) => Arc::new(container::Containers::new(
            config,
            policy.clone(),
            sandbox(own),
            own.services_timeout,
        )?),
    })
}

/// Returns the name and version of the container engine at an address, or why it cannot be used.
pub(crate) async fn container_engine(host: &str) -> Result<String, String> {
    let engine = container::engine::Engine::new(host).map_err(|error| error.to_string())?;
    engine.version().await.map_err(|error| error.to_string())
}

/// Returns what every script's environment has.
fn base_environment(path: &str, user: &str, home: &str) -> Vec<(String, String)> {
    let pairs = [
        ("PATH", path),
        ("HOME", home),
        ("USER", user),
        ("LOGNAME", user),
        ("LANG", "C.UTF-8"),
    ];
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
