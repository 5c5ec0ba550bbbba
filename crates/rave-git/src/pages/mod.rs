//! What people see of projects, files and history.

mod blob;
mod commit;
mod commits;
mod highlight;
mod home;
mod pieces;
mod projects;
mod raw;
mod readme;
mod references;
mod settings;
mod tree;

pub(crate) use highlight::forget_syntaxes;

use std::sync::Arc;

use rave_http::Routes;

use crate::service::Git;

/// Returns the routes of the pages.
pub(crate) fn routes() -> Routes<Arc<Git>> {
    Routes::new()
        .get("/", projects::list)
        .get("/-/projects/new", projects::new)
        .post("/-/projects/new", projects::create)
        .get("{project}", home::home)
        .get("{project}/-/tree/{*rest}", tree::tree)
        .get("{project}/-/blob/{*rest}", blob::blob)
        .get("{project}/-/raw/{*rest}", raw::raw)
        .get("{project}/-/commits", commits::of_default)
        .get("{project}/-/commits/{*rest}", commits::of_path)
        .get("{project}/-/commit/{sha}", commit::commit)
        .get("{project}/-/branches", references::branches)
        .post("{project}/-/branches", references::create_branch)
        .post("{project}/-/branches/delete", references::delete_branch)
        .get("{project}/-/tags", references::tags)
        .get("{project}/-/settings", settings::show)
        .post("{project}/-/settings", settings::update)
        .post("{project}/-/settings/protected_branches", settings::protect)
        .post(
            "{project}/-/settings/protected_branches/remove",
            settings::unprotect,
        )
        .post("{project}/-/settings/archive", settings::archive)
        .post("{project}/-/settings/delete", settings::delete)
}
