//! The repository part of the API, in GitLab's shapes.

mod archive;
mod branches;
mod commits;
mod compare;
mod files;
mod project_shape;
mod projects;
mod protection;
mod shapes;
mod tags;

pub(crate) use files::plain_type;
pub(crate) use projects::{first_commit, slug};

use std::sync::Arc;

use rave_http::Routes;

use crate::reading::{FILE_BYTES, Reading, StoreFailure, cut};
use crate::service::Git;

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
