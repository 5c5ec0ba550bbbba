//! Runs scripts as plain processes of the runner's user.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::cgroup::Limits;
use super::launcher::{Launch, Launcher};
use super::{
    Executor, ExecutorError, Layout, Outcome, Output, PATH, Session, Setup, SetupError, Task,
};
use crate::inner::order::{self, Order, Program, Script};

/// The executor.
#[derive(Debug)]
pub(super) struct Shell {
    launcher: Arc<Launcher>,
}

impl Shell {
    pub(super) const fn new(launcher: Arc<Launcher>) -> Self {
        Self { launcher }
    }
}

#[async_trait]
impl Executor for Shell {
    fn layout(&self) -> Layout {
        Layout {
            disposable: false,
            owner: None,
            direct: false,
        }
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        Ok(())
    }

    async fn prepare(&self, setup: Setup<'_>) -> Result<Box<dyn Session>, SetupError> {
        setup.warn_of_unused_images("shell");
        Ok(Box::new(ShellSession {
            launcher: self.launcher.clone(),
            limits: setup.limits,
        }))
    }
}

/// A job's part of it.
#[derive(Debug)]
struct ShellSession {
    launcher: Arc<Launcher>,
    limits: Limits,
}

#[async_trait]
impl Session for ShellSession {
    async fn run(&self, task: Task, output: &mut Output<'_>, stop: &CancellationToken) -> Outcome {
        let script = Script {
            text: task.script,
            environment: [environment(), task.environment].concat(),
            program: Program::Shell { login: true },
        };
        match order::encode(&Order::Supervise(script)) {
            Ok(orders) => {
                let launch = Launch {
                    orders,
                    owner: None,
                    limits: self.limits,
                    deadline: task.deadline,
                };
                self.launcher.run(launch, output, stop).await
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

/// Returns what every script's environment has: a login's, little as the runner knows of it.
fn environment() -> Vec<(String, String)> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let (name, home) = match user.ok().flatten() {
        Some(user) => (user.name, user.dir.display().to_string()),
        None => ("rave".to_owned(), crate::inner::HOME.to_owned()),
    };
    super::base_environment(PATH, &name, &home)
}
