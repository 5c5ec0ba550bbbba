//! What requests of the API and of pages share: a repository that is read, and failures on their way to an answer.

use std::path::PathBuf;
use std::sync::Arc;

use rave_core::name::ObjectId;
use rave_core::permission::{Access, Action, Project};
use rave_core::port::Slice;
use rave_http::HttpError;

use crate::git::batch::Batch;
use crate::git::refs;
use crate::service::Git;
use crate::sync::MoveError;

/// Largest file that an answer holds in memory.
pub(crate) const FILE_BYTES: u64 = 32 << 20;

/// A project's repository that a request reads.
pub(crate) struct Reading {
    pub(crate) git: Arc<Git>,
    pub(crate) project: Project,
    pub(crate) path: PathBuf,
}

impl Reading {
    pub(crate) async fn open<A: Action>(
        git: &Arc<Git>,
        access: &Access<A>,
    ) -> Result<Self, HttpError> {
        let project = access.project().clone();
        let path = git.repository(&project).await?;
        Ok(Self {
            git: git.clone(),
            project,
            path,
        })
    }

    pub(crate) async fn batch(&self) -> Result<Batch, HttpError> {
        Ok(Batch::open(&self.git.runner, &self.path).await?)
    }

    /// Finds the commit that a parameter names; without one, the default branch's.
    pub(crate) async fn find(&self, name: Option<&str>) -> Result<Option<ObjectId>, HttpError> {
        let name = name.filter(|it| !it.is_empty() && *it != "HEAD");
        let name = name.unwrap_or(&self.project.default_branch);
        let found = self.batch().await?.resolve(name).await?;
        Ok(found.map(|it| it.0))
    }

    /// Finds the commit, or answers 404 with what is missing.
    pub(crate) async fn commit(
        &self,
        name: Option<&str>,
        missing: &str,
    ) -> Result<ObjectId, HttpError> {
        let found = self.find(name).await?;
        found.ok_or_else(|| HttpError::not_found(missing))
    }

    pub(crate) async fn references(
        &self,
        listing: refs::Listing,
    ) -> Result<Vec<refs::Reference>, HttpError> {
        Ok(refs::list(&self.git.runner, &self.path, listing).await?)
    }
}

impl From<MoveError> for HttpError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Refused(reason) => Self::forbidden(reason),
            MoveError::Changed => {
                Self::conflict("409 Conflict - the reference has changed meanwhile")
            }
            MoveError::Git(error) => error.into(),
        }
    }
}

impl From<StoreFailure> for HttpError {
    fn from(error: StoreFailure) -> Self {
        crate::GitError::from(error.0).into()
    }
}

/// A failure of the store on its way to an answer.
pub(crate) struct StoreFailure(pub(crate) rave_store::Error);

impl From<rave_store::Error> for StoreFailure {
    fn from(error: rave_store::Error) -> Self {
        Self(error)
    }
}

/// Returns one page of a list that is in memory.
pub(crate) fn cut<T>(all: Vec<T>, slice: Slice) -> Vec<T> {
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    all.into_iter()
        .skip(number(slice.offset))
        .take(number(slice.limit))
        .collect()
}
