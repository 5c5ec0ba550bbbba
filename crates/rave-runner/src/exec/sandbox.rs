//! Runs scripts in namespaces of their own, seeing the system read-only and the job's directories.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cgroup::Limits;
use super::launcher::{Launch, Launcher};
use super::{
    Executor, ExecutorError, Layout, Outcome, Output, PATH, Session, Setup, SetupError, Task, Whose,
};
use crate::config::{Network, SandboxPolicy};
use crate::inner::order::{self, Order, Script, View};

/// The executor.
#[derive(Debug)]
pub(super) struct Sandbox {
    launcher: Arc<Launcher>,
    policy: Arc<SandboxPolicy>,
    /// An empty directory for a trial run.
    trial: PathBuf,
}

impl Sandbox {
    pub(super) fn new(launcher: Arc<Launcher>, policy: SandboxPolicy, trial: PathBuf) -> Self {
        Self {
            launcher,
            policy: Arc::new(policy),
            trial,
        }
    }

    fn session(&self, writable: Vec<(PathBuf, PathBuf)>, limits: Limits) -> SandboxSession {
        SandboxSession {
            launcher: self.launcher.clone(),
            policy: self.policy.clone(),
            owner: self.layout().owner,
            writable,
            limits,
        }
    }
}

#[async_trait]
impl Executor for Sandbox {
    fn layout(&self) -> Layout {
        Layout {
            disposable: true,
            owner: self.launcher.privileged.then_some(self.policy.outer_id),
            direct: true,
        }
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        std::fs::create_dir_all(&self.trial).map_err(|source| ExecutorError::Directory {
            path: self.trial.clone(),
            source,
        })?;
        let task = Task {
            script: "exit 0\n".to_owned(),
            environment: Vec::new(),
            whose: Whose::Job,
            deadline: Instant::now() + Duration::from_secs(60),
        };
        let writable = vec![(self.trial.clone(), PathBuf::from("/builds"))];
        let session = self.session(writable, Limits::default());
        let never = CancellationToken::new();
        let reason = match session.run(task, &mut |_| {}, &never).await {
            Outcome::Exited(0) => return Ok(()),
            Outcome::Failed(reason) => reason,
            other => format!("a trial run ended as {other:?}"),
        };
        let hint = if self.launcher.privileged {
            "run the container privileged, or with CAP_SYS_ADMIN and unmasked /proc; or set executor = \"shell\""
        } else {
            "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu also \
             kernel.apparmor_restrict_unprivileged_userns=0), or run as root; or set executor = \"shell\""
        };
        Err(ExecutorError::Sandbox { reason, hint })
    }

    async fn prepare(&self, setup: Setup<'_>) -> Result<Box<dyn Session>, SetupError> {
        setup.warn_of_unused_images("sandbox");
        Ok(Box::new(self.session(setup.place.writable(), setup.limits)))
    }
}

/// A job's part of it.
#[derive(Debug)]
struct SandboxSession {
    launcher: Arc<Launcher>,
    policy: Arc<SandboxPolicy>,
    owner: Option<u32>,
    /// The directories to write: outside and inside.
    writable: Vec<(PathBuf, PathBuf)>,
    limits: Limits,
}

impl SandboxSession {
    fn orders(&self, task: Task) -> std::io::Result<Vec<u8>> {
        let script = Script {
            text: task.script,
            environment: [
                super::base_environment(PATH, "rave", crate::inner::HOME),
                task.environment,
            ]
            .concat(),
            login: false,
        };
        let view = View {
            writable: self.writable.clone(),
            read_only: self.policy.read_only_paths.clone(),
            outer_id: self.owner,
            nested_namespaces: self.policy.nested_namespaces,
        };
        let first = order::encode(&Order::Isolate {
            network: self.policy.network == Network::Host || task.whose == Whose::Runner,
            privileged: self.launcher.privileged,
        })?;
        Ok([first, order::encode(&Order::Enclose(view, script))?].concat())
    }
}

#[async_trait]
impl Session for SandboxSession {
    async fn run(&self, task: Task, output: &mut Output<'_>, stop: &CancellationToken) -> Outcome {
        let deadline = task.deadline;
        match self.orders(task) {
            Ok(orders) => {
                let launch = Launch {
                    orders,
                    owner: self.owner,
                    limits: self.limits,
                    deadline,
                };
                self.launcher.run(launch, output, stop).await
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}
