//! Runs scripts as plain processes of the runner's user, or of another one.

use std::ffi::CString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::unistd::{Gid, User, getgrouplist};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cgroup::JobGroup;
use super::launcher::{Launch, Launcher};
use super::{
    Executor, ExecutorError, Layout, Outcome, Output, PATH, Session, Setup, SetupError, Task, Whose,
};
use crate::config::RunnerConfig;
use crate::inner::order::{self, Order, Person, Program, Script};

/// The executor.
#[derive(Debug)]
pub(super) struct Shell {
    launcher: Arc<Launcher>,
    login: Arc<Login>,
    builds_dir: PathBuf,
}

/// Who jobs run as.
#[derive(Debug)]
struct Login {
    name: String,
    home: String,
    /// `None` is the runner's own user.
    person: Option<Person>,
}

impl Shell {
    /// Takes the user that the configuration names, or the runner's own.
    ///
    /// # Errors
    /// When there is no such user, or the runner may not become it.
    pub(super) fn new(
        launcher: Arc<Launcher>,
        config: &RunnerConfig,
    ) -> Result<Self, ExecutorError> {
        let login = match &config.shell_user {
            Some(name) => Login::of(name, launcher.privileged)?,
            None => Login::own(),
        };
        Ok(Self {
            launcher,
            login: Arc::new(login),
            builds_dir: config.builds_dir.clone(),
        })
    }

    fn session(&self, group: Option<Arc<JobGroup>>) -> ShellSession {
        ShellSession {
            launcher: self.launcher.clone(),
            login: self.login.clone(),
            group,
        }
    }
}

impl Login {
    fn own() -> Self {
        let user = User::from_uid(nix::unistd::geteuid());
        let (name, home) = match user.ok().flatten() {
            Some(user) => (user.name, user.dir.display().to_string()),
            None => ("rave".to_owned(), crate::inner::HOME.to_owned()),
        };
        Self {
            name,
            home,
            person: None,
        }
    }

    fn of(name: &str, privileged: bool) -> Result<Self, ExecutorError> {
        let failed = |reason: &str| ExecutorError::ShellUser {
            user: name.to_owned(),
            reason: reason.to_owned(),
        };
        let user = User::from_name(name).ok().flatten();
        let user = user.ok_or_else(|| failed("there is no such user"))?;
        if user.uid == nix::unistd::geteuid() {
            return Ok(Self::own());
        }
        if !privileged {
            return Err(failed("only root can run jobs as somebody else"));
        }
        let c_name = CString::new(name).map_err(|_| failed("its name has a zero byte"))?;
        let groups = getgrouplist(&c_name, user.gid)
            .map_err(|error| failed(&format!("its groups cannot be read: {error}")))?;
        Ok(Self {
            name: user.name,
            home: user.dir.display().to_string(),
            person: Some(Person {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                groups: groups.into_iter().map(Gid::as_raw).collect(),
            }),
        })
    }
}

#[async_trait]
impl Executor for Shell {
    fn layout(&self) -> Layout {
        Layout {
            disposable: false,
            owner: self.login.person.as_ref().map(|it| it.uid),
            direct: false,
        }
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        if self.login.person.is_none() {
            return Ok(());
        }
        let failed = |reason: String| ExecutorError::ShellUser {
            user: self.login.name.clone(),
            reason,
        };
        // Passed through to a project's directory, though not listed.
        let passable = Permissions::from_mode(0o711);
        std::fs::set_permissions(&self.builds_dir, passable)
            .map_err(|error| failed(format!("{}: {error}", self.builds_dir.display())))?;
        let dir = self.builds_dir.display().to_string();
        let task = Task {
            script: format!("cd {}\n", crate::script::quote(&dir)),
            environment: Vec::new(),
            whose: Whose::Job,
            deadline: Instant::now() + Duration::from_secs(60),
        };
        let never = CancellationToken::new();
        let session = self.session(None);
        match session.run(task, &mut |_| {}, &never).await {
            Outcome::Exited(0) => Ok(()),
            Outcome::Exited(_) => Err(failed(format!(
                "it cannot reach {dir}; hint: name a directory for working copies that it may pass through, such as /var/lib/rave-builds"
            ))),
            other => Err(failed(format!("a trial run ended as {other:?}"))),
        }
    }

    async fn prepare(&self, setup: Setup<'_>) -> Result<Box<dyn Session>, SetupError> {
        setup.warn_of_unused_images("shell");
        Ok(Box::new(self.session(setup.group)))
    }
}

/// A job's part of it.
#[derive(Debug)]
struct ShellSession {
    launcher: Arc<Launcher>,
    login: Arc<Login>,
    group: Option<Arc<JobGroup>>,
}

#[async_trait]
impl Session for ShellSession {
    async fn run(&self, task: Task, output: &mut Output<'_>, stop: &CancellationToken) -> Outcome {
        let script = Script {
            text: task.script,
            environment: [
                super::base_environment(PATH, &self.login.name, &self.login.home),
                task.environment,
            ]
            .concat(),
            program: Program::Shell { login: true },
        };
        match order::encode(&Order::Supervise(self.login.person.clone(), script)) {
            Ok(orders) => {
                let launch = Launch {
                    orders,
                    owner: self.login.person.as_ref().map(|it| it.uid),
                    group: self.group.clone(),
                    deadline: task.deadline,
                    grace: None,
                };
                self.launcher.run(launch, output, stop).await
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}
