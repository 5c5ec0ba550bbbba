//! What the language asks of the tree of a commit, and of what it includes from elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rave_ci_lang::{Foreign, Limits, OpenError, RemoteError, RemoteFile, Requester, Tree};
use rave_core::id::ProjectId;
use rave_core::name::{ObjectId, RepoPath};
use rave_core::port::{Forge, ForgeError, PortError};
use tokio::runtime::Handle;

use super::Ci;
use super::elsewhere::{Projects, Servers};
use super::local::Surroundings;
use super::parent_artifacts::ParentArtifacts;
use super::plan::Occasion;
use crate::templates;

const NO_PARENT: &str =
    "Including configs from artifacts is only allowed when triggering child pipelines";
/// Most paths that conditions look at.
const FILES: usize = 200_000;

/// The tree of a commit, for a thread that may wait.
pub(super) struct CommitTree {
    forge: Arc<dyn Forge>,
    project: ProjectId,
    commit: ObjectId,
    before: ObjectId,
    parent: Option<ParentArtifacts>,
    /// What answers for other projects and servers, and for changes, when the pipeline is that of a working tree.
    surroundings: Option<Surroundings>,
    projects: Projects,
    servers: Servers,
    runtime: Handle,
    limits: Limits,
    /// Files that were not given because of their size.
    oversized: Mutex<HashMap<(ObjectId, String), u64>>,
    /// The first time the forge did not answer: the plan is then worth nothing.
    failure: Mutex<Option<ForgeError>>,
}

impl Ci {
    pub(super) fn commit_tree(&self, occasion: &Occasion) -> CommitTree {
        CommitTree {
            forge: self.forge.clone(),
            project: occasion.project.id,
            commit: occasion.commit.id.clone(),
            before: occasion.before.clone(),
            parent: occasion.parent.map(|pipeline| ParentArtifacts {
                db: self.db.clone(),
                blobs: self.blobs.clone(),
                pipeline,
            }),
            surroundings: self.surroundings(),
            projects: Projects::new(self, occasion.user),
            servers: Servers::new(self),
            runtime: Handle::current(),
            limits: self.config.limits,
            oversized: Mutex::default(),
            failure: Mutex::new(None),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CommitTree {
    /// Returns why the answers, and with them the plan, are worth nothing.
    pub(super) fn into_failure(self) -> Option<ForgeError> {
        self.failure.into_inner().ok().flatten()
    }

    fn fail<T: Default>(&self, error: ForgeError) -> T {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        T::default()
    }
}

impl CommitTree {
    fn read_of(&self, project: ProjectId, commit: &ObjectId, path: &str) -> Option<String> {
        let parsed = RepoPath::parse(path).ok()?;
        let limit = self.limits.file_bytes as u64;
        let read = self.forge.read_file(project, commit, &parsed, limit);
        match self.runtime.block_on(read) {
            Ok(file) => file.map(|it| String::from_utf8_lossy(&it).into_owned()),
            Err(ForgeError::TooLarge { size_bytes, .. }) => {
                let mut oversized = lock(&self.oversized);
                oversized.insert((commit.clone(), path.to_owned()), size_bytes);
                None
            }
            Err(error) => self.fail(error),
        }
    }

    fn files_of(&self, project: ProjectId, commit: &ObjectId) -> Vec<String> {
        let list = self.forge.list_files(project, commit, FILES);
        let list = self.runtime.block_on(list);
        list.unwrap_or_else(|error| self.fail(error))
    }

    /// Passes an answer on; a failure of the forge ends as a project that does not exist, in a plan that is worth nothing.
    fn opened(
        &self,
        answer: Result<Result<Foreign, OpenError>, ForgeError>,
    ) -> Result<Foreign, OpenError> {
        answer.unwrap_or_else(|error| {
            self.fail::<()>(error);
            Err(OpenError::NoProject)
        })
    }
}

impl Tree for CommitTree {
    fn read(&self, path: &str) -> Option<String> {
        self.read_of(self.project, &self.commit, path)
    }

    fn files(&self) -> Vec<String> {
        self.files_of(self.project, &self.commit)
    }

    fn changed(&self) -> Option<Vec<String>> {
        if let Some(around) = &self.surroundings {
            return around.tree.changed();
        }
        if self.before.is_zero() {
            return None;
        }
        let changed = self
            .forge
            .changed_files(self.project, &self.before, &self.commit);
        match self.runtime.block_on(changed) {
            Ok(files) => Some(files),
            Err(error) => self.fail(error),
        }
    }

    fn changed_since(&self, reference: &str) -> Option<Vec<String>> {
        if let Some(around) = &self.surroundings {
            return around.tree.changed_since(reference);
        }
        let forge = &self.forge;
        let work = async {
            let Some((since, _)) = forge.resolve(self.project, reference).await? else {
                return Ok(None);
            };
            let base = forge.merge_base(self.project, &since, &self.commit).await?;
            let base = base.unwrap_or(since);
            let changed = forge
                .changed_files(self.project, &base, &self.commit)
                .await?;
            Ok(Some(changed))
        };
        self.runtime
            .block_on(work)
            .unwrap_or_else(|error| self.fail(error))
    }

    fn open(
        &self,
        project: &str,
        reference: Option<&str>,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        if let Some(around) = &self.surroundings {
            return around.tree.open(project, reference, by);
        }
        let opened = self.projects.open(project, reference.unwrap_or("HEAD"), by);
        self.opened(self.runtime.block_on(opened))
    }

    fn read_at(&self, at: &Foreign, path: &str) -> Option<String> {
        if let Some(around) = &self.surroundings {
            return around.tree.read_at(at, path);
        }
        let (project, commit) = self.projects.find(at)?;
        self.read_of(project, &commit, path)
    }

    fn files_at(&self, at: &Foreign) -> Vec<String> {
        if let Some(around) = &self.surroundings {
            return around.tree.files_at(at);
        }
        match self.projects.find(at) {
            Some((project, commit)) => self.files_of(project, &commit),
            None => Vec::new(),
        }
    }

    fn open_component(
        &self,
        project: &str,
        version: &str,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        if let Some(around) = &self.surroundings {
            return around.tree.open_component(project, version, by);
        }
        let opened = self.projects.open_component(project, version, by);
        self.opened(self.runtime.block_on(opened))
    }

    fn oversize(&self, at: Option<&Foreign>, path: &str) -> Option<u64> {
        let commit = match at {
            None => self.commit.clone(),
            Some(foreign) => self.projects.find(foreign)?.1,
        };
        let oversized = lock(&self.oversized);
        oversized.get(&(commit, path.to_owned())).copied()
    }

    fn prefetch(&self, files: &[RemoteFile]) {
        match &self.surroundings {
            Some(around) => around.tree.prefetch(files),
            None => self.runtime.block_on(self.servers.prefetch(files)),
        }
    }

    fn remote(&self, file: &RemoteFile) -> Result<String, RemoteError> {
        match &self.surroundings {
            Some(around) => around.tree.remote(file),
            None => self.runtime.block_on(self.servers.fetch(file)),
        }
    }

    fn template(&self, name: &str) -> Option<String> {
        templates::find(name).map(str::to_owned)
    }

    fn artifact(&self, job: &str, path: &str) -> Result<String, String> {
        let Some(parent) = &self.parent else {
            return Err(NO_PARENT.to_owned());
        };
        match self.runtime.block_on(parent.read(job, path)) {
            Ok(answer) => answer,
            Err(error) => {
                self.fail::<()>(PortError::new("read an artifact of the parent", error).into());
                Err("the artifacts cannot be read".to_owned())
            }
        }
    }
}
