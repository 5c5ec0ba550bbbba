//! Other projects and other servers, as one compilation reaches them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use rave_ci_lang::{Foreign, Limits, OpenError, RemoteError, RemoteFile, Requester};
use rave_core::id::{ProjectId, UserId};
use rave_core::name::{FullPath, ObjectId};
use rave_core::permission::{Principal, Project, ReadCode, decide};
use rave_core::port::{Directory, Forge, ForgeError, ProjectRef};
use rave_core::time::Clock;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Ci;
use super::components::tag_of;
use crate::remote::RemoteFiles;

/// For all files of one compilation, the tries of each included.
const FETCH_TIME: Duration = Duration::from_secs(30);
const FETCHES_AT_ONCE: usize = 4;

/// Opens projects on behalf of the user who asks for a pipeline.
pub(super) struct Projects {
    forge: Arc<dyn Forge>,
    directory: Arc<dyn Directory>,
    user: Option<UserId>,
    principal: OnceCell<Principal>,
    /// The ids of those that were opened, by path.
    opened: Mutex<HashMap<String, ProjectId>>,
}

type Opened = Result<Result<Foreign, OpenError>, ForgeError>;

impl Projects {
    pub(super) fn new(ci: &Ci, user: Option<UserId>) -> Self {
        Self {
            forge: ci.forge.clone(),
            directory: ci.directory.clone(),
            user,
            principal: OnceCell::new(),
            opened: Mutex::default(),
        }
    }

    /// Returns whom a project has to let in. A user who is gone is nobody.
    async fn principal(&self, by: Requester) -> Result<Principal, ForgeError> {
        let (Requester::User, Some(user)) = (by, self.user) else {
            return Ok(Principal::Anonymous);
        };
        let find = || async {
            let found = self.directory.find_principal(user).await?;
            Ok::<_, ForgeError>(found.map_or(Principal::Anonymous, Principal::User))
        };
        Ok(self.principal.get_or_try_init(find).await?.clone())
    }

    async fn project(&self, path: &str, by: Requester) -> Result<Option<Project>, ForgeError> {
        let Ok(path) = FullPath::parse(path) else {
            return Ok(None);
        };
        let principal = self.principal(by).await?;
        let at = ProjectRef::Path(path);
        let Some(facts) = self.directory.find_project(&principal, &at).await? else {
            return Ok(None);
        };
        let access = decide::<ReadCode>(&principal, facts).ok();
        Ok(access.map(|it| it.project().clone()))
    }

    /// Opens a project at a branch, tag or commit.
    pub(super) async fn open(&self, path: &str, reference: &str, by: Requester) -> Opened {
        let Some(project) = self.project(path, by).await? else {
            return Ok(Err(OpenError::NoProject));
        };
        let found = self.forge.resolve(project.id, reference).await?;
        Ok(self.remember(&project, found.map(|it| it.0), reference))
    }

    /// Opens a project at a version: a full commit id, else a tag, else a branch.
    pub(super) async fn open_component(&self, path: &str, version: &str, by: Requester) -> Opened {
        let Some(project) = self.project(path, by).await? else {
            return Ok(Err(OpenError::NoProject));
        };
        if let Ok(id) = ObjectId::parse(version) {
            let commit = self.forge.commit(project.id, &id).await?;
            return Ok(self.remember(&project, commit.map(|it| it.id), version));
        }
        let tags = self.forge.tags(project.id).await?;
        let (chosen, full) = match tag_of(version, &tags) {
            Some(tag) => (tag, format!("refs/tags/{tag}")),
            None => (version, format!("refs/heads/{version}")),
        };
        let found = self.forge.resolve(project.id, &full).await?;
        Ok(self.remember(&project, found.map(|it| it.0), chosen))
    }

    fn remember(
        &self,
        project: &Project,
        commit: Option<ObjectId>,
        reference: &str,
    ) -> Result<Foreign, OpenError> {
        let commit = commit.ok_or(OpenError::NoReference)?;
        let path = project.path.as_str().to_owned();
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.insert(path.clone(), project.id);
        Ok(Foreign {
            project: path,
            sha: commit.as_str().to_owned(),
            reference: reference.to_owned(),
        })
    }

    /// Returns the project and commit of something that was opened.
    pub(super) fn find(&self, at: &Foreign) -> Option<(ProjectId, ObjectId)> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let project = *opened.get(&at.project)?;
        Some((project, ObjectId::parse(&at.sha).ok()?))
    }
}

/// Fetches the files of other servers that one compilation asks for, each once.
pub(super) struct Servers {
    remote: Arc<RemoteFiles>,
    clock: Arc<dyn Clock>,
    deadline: OnceCell<Instant>,
    limits: Limits,
    /// How much more may be kept in memory.
    bytes_left: AtomicUsize,
    answers: Mutex<HashMap<RemoteFile, Result<String, RemoteError>>>,
}

impl Servers {
    pub(super) fn new(ci: &Ci) -> Self {
        Self {
            remote: ci.remote.clone(),
            clock: ci.clock.clone(),
            deadline: OnceCell::new(),
            limits: ci.config.limits,
            bytes_left: AtomicUsize::new(ci.config.limits.total_bytes),
            answers: Mutex::default(),
        }
    }

    pub(super) async fn prefetch(&self, files: &[RemoteFile]) {
        let fetches = stream::iter(files).map(|it| self.fetch(it));
        fetches
            .buffer_unordered(FETCHES_AT_ONCE)
            .for_each(|_| std::future::ready(()))
            .await;
    }

    pub(super) async fn fetch(&self, file: &RemoteFile) -> Result<String, RemoteError> {
        let known = |answers: &Mutex<HashMap<RemoteFile, _>>| {
            let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.get(file).cloned()
        };
        if let Some(answer) = known(&self.answers) {
            return answer;
        }
        let start = || async { Instant::now() + FETCH_TIME };
        let deadline = *self.deadline.get_or_init(start).await;
        let limit = self
            .limits
            .file_bytes
            .min(self.bytes_left.load(Ordering::Relaxed));
        let now = self.clock.now();
        let answer = self.remote.fetch(file, limit, deadline, now).await;
        let size = answer.as_ref().map_or(0, String::len);
        let less = |left: usize| Some(left.saturating_sub(size));
        let _ = self
            .bytes_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(file.clone(), answer.clone());
        answer
    }
}
