//! What the language asks of the tree of a commit, answered by the forge.

use std::sync::{Arc, Mutex};

use rave_ci_lang::{Limits, Tree};
use rave_core::id::ProjectId;
use rave_core::name::{ObjectId, RepoPath};
use rave_core::port::{Forge, ForgeError};
use tokio::runtime::Handle;

use super::Ci;
use super::plan::Occasion;

/// Most paths that conditions look at.
const FILES: usize = 200_000;

/// The tree of a commit, for a thread that may wait.
pub(super) struct CommitTree {
    forge: Arc<dyn Forge>,
    project: ProjectId,
    commit: ObjectId,
    before: ObjectId,
    runtime: Handle,
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
            runtime: Handle::current(),
            failure: Mutex::new(None),
        }
    }
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

impl Tree for CommitTree {
    fn read(&self, path: &str) -> Option<String> {
        let path = RepoPath::parse(path).ok()?;
        let limit = Limits::default().file_bytes as u64;
        let read = self
            .forge
            .read_file(self.project, &self.commit, &path, limit);
        match self.runtime.block_on(read) {
            Ok(file) => file.map(|it| String::from_utf8_lossy(&it).into_owned()),
            // The language says that it cannot be read.
            Err(ForgeError::TooLarge { .. }) => None,
            Err(error) => self.fail(error),
        }
    }

    fn files(&self) -> Vec<String> {
        let list = self.forge.list_files(self.project, &self.commit, FILES);
        self.runtime
            .block_on(list)
            .unwrap_or_else(|error| self.fail(error))
    }

    fn changed(&self) -> Option<Vec<String>> {
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
}
