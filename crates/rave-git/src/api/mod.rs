//! The repository part of the API, in GitLab's shapes.

mod archive;
mod branches;
mod commits;
mod compare;
mod files;
mod projects;
mod protection;
mod shapes;
mod tags;

use std::path::PathBuf;
use std::sync::Arc;

use rave_core::name::ObjectId;
use rave_core::permission::{Access, Action, Project};
use rave_http::{HttpError, Routes};

use crate::git::batch::Batch;
use crate::git::refs;
use crate::service::Git;
use crate::sync::MoveError;

/// Returns the routes of the API.
pub(crate) fn routes() -> Routes<Arc<Git>> {
    Routes::new()
        .get("/api/v4/projects", projects::list)
        .post("/api/v4/projects", projects::create)
        .get("/api/v4/projects/{id}", projects::show)
        .put("/api/v4/projects/{id}", projects::update)
        .delete("/api/v4/projects/{id}", projects::delete)
        .post("/api/v4/projects/{id}/archive", projects::archive)
        .post("/api/v4/projects/{id}/unarchive", projects::unarchive)
        .get("/api/v4/groups/{id}/projects", projects::of_group)
        .get("/api/v4/users/{id}/projects", projects::of_user)
        .get("/api/v4/projects/{id}/protected_branches", protection::list)
        .post(
            "/api/v4/projects/{id}/protected_branches",
            protection::create,
        )
        .get(
            "/api/v4/projects/{id}/protected_branches/{name}",
            protection::show,
        )
        .patch(
            "/api/v4/projects/{id}/protected_branches/{name}",
            protection::update,
        )
        .delete(
            "/api/v4/projects/{id}/protected_branches/{name}",
            protection::delete,
        )
        .get("/api/v4/projects/{id}/repository/branches", branches::list)
        .post(
            "/api/v4/projects/{id}/repository/branches",
            branches::create,
        )
        .get(
            "/api/v4/projects/{id}/repository/branches/{branch}",
            branches::show,
        )
        .delete(
            "/api/v4/projects/{id}/repository/branches/{branch}",
            branches::delete,
        )
        .get("/api/v4/projects/{id}/repository/tags", tags::list)
        .post("/api/v4/projects/{id}/repository/tags", tags::create)
        .get("/api/v4/projects/{id}/repository/tags/{tag}", tags::show)
        .delete("/api/v4/projects/{id}/repository/tags/{tag}", tags::delete)
        .get("/api/v4/projects/{id}/repository/commits", commits::list)
        .get(
            "/api/v4/projects/{id}/repository/commits/{sha}",
            commits::show,
        )
        .get(
            "/api/v4/projects/{id}/repository/commits/{sha}/diff",
            commits::diff,
        )
        .get(
            "/api/v4/projects/{id}/repository/commits/{sha}/refs",
            commits::refs,
        )
        .get("/api/v4/projects/{id}/repository/tree", files::tree)
        .get("/api/v4/projects/{id}/repository/files/{path}", files::show)
        .get(
            "/api/v4/projects/{id}/repository/files/{path}/raw",
            files::raw,
        )
        .get("/api/v4/projects/{id}/repository/blobs/{sha}", files::blob)
        .get(
            "/api/v4/projects/{id}/repository/blobs/{sha}/raw",
            files::blob_raw,
        )
        .get("/api/v4/projects/{id}/repository/compare", compare::compare)
        .get(
            "/api/v4/projects/{id}/repository/merge_base",
            compare::merge_base,
        )
        .get("/api/v4/projects/{id}/repository/archive", archive::tar_gz)
        .get(
            "/api/v4/projects/{id}/repository/archive.tar.gz",
            archive::tar_gz,
        )
        .get("/api/v4/projects/{id}/repository/archive.tar", archive::tar)
        .get("/api/v4/projects/{id}/repository/archive.zip", archive::zip)
}

/// Largest file that an answer holds in memory.
const FILE_BYTES: u64 = 32 << 20;

/// A project's repository that a request reads.
struct Reading {
    git: Arc<Git>,
    project: Project,
    path: PathBuf,
}

impl Reading {
    async fn open<A: Action>(git: &Arc<Git>, access: &Access<A>) -> Result<Self, HttpError> {
        let project = access.project().clone();
        let path = git.repository(&project).await?;
        Ok(Self {
            git: git.clone(),
            project,
            path,
        })
    }

    async fn batch(&self) -> Result<Batch, HttpError> {
        Ok(Batch::open(&self.git.runner, &self.path).await?)
    }

    /// Finds the commit that a parameter names; without one, the default branch's.
    async fn find(&self, name: Option<&str>) -> Result<Option<ObjectId>, HttpError> {
        let name = name.filter(|it| !it.is_empty() && *it != "HEAD");
        let name = name.unwrap_or(&self.project.default_branch);
        let found = self.batch().await?.resolve(name).await?;
        Ok(found.map(|it| it.0))
    }

    /// Finds the commit, or answers 404 with what is missing.
    async fn commit(&self, name: Option<&str>, missing: &str) -> Result<ObjectId, HttpError> {
        let found = self.find(name).await?;
        found.ok_or_else(|| HttpError::not_found(missing))
    }

    async fn references(&self, listing: refs::Listing) -> Result<Vec<refs::Reference>, HttpError> {
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
struct StoreFailure(rave_store::Error);

impl From<rave_store::Error> for StoreFailure {
    fn from(error: rave_store::Error) -> Self {
        Self(error)
    }
}

/// Returns one page of a list that is in memory.
fn cut<T>(all: Vec<T>, slice: rave_core::port::Slice) -> Vec<T> {
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    all.into_iter()
        .skip(number(slice.offset))
        .take(number(slice.limit))
        .collect()
}
