//! The forge: what its routes, its port and its workers share.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rave_core::id::ProjectId;
use rave_core::name::RefName;
use rave_core::permission::{Principal, Project};
use rave_core::port::{Directory, Pipelines};
use rave_core::time::Clock;
use rave_http::{HttpError, Routes};
use rave_store::{Db, Error as StoreError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::GitConfig;
use crate::error::GitError;
use crate::git::command::Runner;
use crate::git::refs;
use crate::hook;
use crate::policy::ProtectedBranch;
use crate::repository::Repositories;
use crate::{store, worker};

/// The forge.
pub struct Git {
    pub(crate) db: Db,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) pipelines: Arc<dyn Pipelines>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: GitConfig,
    pub(crate) repositories: Repositories,
    pub(crate) runner: Runner,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) receives: Arc<Semaphore>,
    /// Packs on their way. Shutdown waits for them.
    pub(crate) tasks: TaskTracker,
    /// Pushes that a task of this process will record.
    active: Mutex<HashSet<i64>>,
}

impl std::fmt::Debug for Git {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Git")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Git {
    /// Prepares the directories and makes the forge.
    ///
    /// # Errors
    /// When a directory or the hook cannot be written.
    pub fn new(
        db: Db,
        directory: Arc<dyn Directory>,
        pipelines: Arc<dyn Pipelines>,
        clock: Arc<dyn Clock>,
        config: GitConfig,
    ) -> Result<Arc<Self>, GitError> {
        let repositories = Repositories::new(config.repos.clone());
        repositories.prepare()?;
        let home = config.run_dir.join("git-home");
        std::fs::create_dir_all(&home)
            .map_err(|it| GitError::files(format!("make {}", home.display()), it))?;
        let git = Self {
            runner: Runner::new(home, &config.path, config.max_reads),
            uploads: Arc::new(Semaphore::new(config.max_uploads.max(1))),
            receives: Arc::new(Semaphore::new(config.max_receives.max(1))),
            repositories,
            tasks: TaskTracker::new(),
            active: Mutex::default(),
            db,
            directory,
            pipelines,
            clock,
            config,
        };
        git.install_hook()?;
        Ok(Arc::new(git))
    }

    /// Returns the routes of the part.
    pub fn routes(self: &Arc<Self>) -> Routes {
        crate::routes::routes(self.clone())
    }

    /// Makes and removes repositories, records pushes that a crash cut off, and maintains, until `shutdown`. Then waits
    /// for the packs that are on their way.
    pub async fn run_workers(self: Arc<Self>, shutdown: CancellationToken) {
        worker::run(&self, shutdown).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Returns the directory of hooks, in which the hook is.
    ///
    /// Without the hook git would take every push, so it is looked for before each.
    pub(crate) fn install_hook(&self) -> Result<PathBuf, GitError> {
        let hooks = self.config.run_dir.join("hooks");
        let path = hooks.join("pre-receive");
        if std::fs::read(&path).is_ok_and(|it| it == hook::SCRIPT.as_bytes()) {
            return Ok(hooks);
        }
        let failed = |source| GitError::files(format!("write {}", path.display()), source);
        std::fs::create_dir_all(&hooks).map_err(failed)?;
        let fresh = hooks.join(format!("new-{}", uuid::Uuid::now_v7()));
        std::fs::write(&fresh, hook::SCRIPT).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&fresh, mode).map_err(failed)?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        Ok(hooks)
    }

    /// Returns the project's repository, made if it is not there yet.
    pub(crate) async fn repository(&self, project: &Project) -> Result<PathBuf, GitError> {
        self.repositories.ensure(&self.runner, project).await
    }

    /// Returns a project's repository, made if it is not there yet, for a program that fills it itself. What it puts there
    /// counts as having been there always: nobody is told, and no pipelines come of it.
    ///
    /// # Errors
    /// When the repository cannot be made.
    pub async fn bare_repository(&self, project: &Project) -> Result<PathBuf, GitError> {
        self.repository(project).await
    }

    /// Returns the project's address for people.
    pub(crate) fn web_url(&self, project: &Project) -> String {
        format!("{}/{}", self.config.clone_http_base, project.path)
    }

    /// Returns the address that a clone by SSH would have.
    pub(crate) fn ssh_url(&self, project: &Project) -> String {
        let base = &self.config.clone_http_base;
        let host = base.split_once("://").map_or(base.as_str(), |it| it.1);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        format!("git@{host}:{}.git", project.path)
    }

    /// Returns a caller as the author of what the server writes on their behalf.
    pub(crate) fn signature(&self, principal: &Principal) -> String {
        let plain = |it: &str| it.replace(['<', '>', '\n', '\0'], "");
        let (name, username) = match principal.user() {
            Some(user) => (plain(&user.name), plain(&user.username)),
            None => ("RAVE".into(), "rave".into()),
        };
        let base = &self.config.clone_http_base;
        let host = base.split_once("://").map_or(base.as_str(), |it| it.1);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        format!(
            "{name} <{username}@users.noreply.{host}> {} +0000",
            self.clock.now().0 / 1000
        )
    }

    /// Checks that a branch can become the default one.
    pub(crate) async fn need_branch(
        &self,
        project: &Project,
        branch: &str,
    ) -> Result<(), HttpError> {
        let repository = self.repository(project).await?;
        let refused = || {
            HttpError::bad_request(format!(
                "Could not change HEAD: branch '{branch}' does not exist"
            ))
        };
        let name = RefName::parse(&format!("refs/heads/{branch}")).map_err(|_| refused())?;
        let targets = refs::list_targets(&self.runner, &repository).await?;
        // A project without branches may say how its first one shall be called.
        if targets.is_empty() || targets.contains_key(name.as_str()) {
            Ok(())
        } else {
            Err(refused())
        }
    }

    /// Returns the rules of the project's protected branches.
    pub(crate) async fn protected_branches(
        &self,
        project: ProjectId,
    ) -> Result<Vec<ProtectedBranch>, StoreError> {
        self.db
            .read("git_protected_branches", move |tx| {
                store::protected_branches(tx, project)
            })
            .await
    }

    /// Whether a task of this process will record this push.
    pub(crate) fn is_active(&self, push: i64) -> bool {
        self.active().contains(&push)
    }

    /// Claims a push for a task of this process until the claim is dropped.
    pub(crate) fn claim(self: &Arc<Self>, push: i64) -> Claim {
        self.active().insert(push);
        Claim {
            git: self.clone(),
            push,
        }
    }

    fn active(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a push is someone's to record.
#[derive(Debug)]
pub(crate) struct Claim {
    git: Arc<Git>,
    push: i64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.git.active().remove(&self.push);
    }
}
