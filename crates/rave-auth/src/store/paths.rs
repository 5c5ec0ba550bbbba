//! The space of paths that users, groups and projects share.

use rave_core::id::{NamespaceId, ProjectId};
use rave_core::name::{FullPath, RESERVED_ROOTS};
use rave_store::{Error, Tx, params};

use crate::AuthError;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Namespace(NamespaceId),
    Project(ProjectId),
}

/// Returns what is at a path, without regard to case.
pub(crate) fn find_place(tx: &mut Tx<'_>, path: &FullPath) -> Result<Option<Place>, Error> {
    let sql = "SELECT namespace_id, project_id FROM auth_path WHERE key = $1";
    let Some(row) = tx.query_opt(sql, params![path.as_str().to_ascii_lowercase()])? else {
        return Ok(None);
    };
    let namespace = row
        .opt_int("namespace_id")?
        .map(|it| Place::Namespace(NamespaceId(it)));
    let project = row
        .opt_int("project_id")?
        .map(|it| Place::Project(ProjectId(it)));
    Ok(namespace.or(project))
}

/// Takes a path for a namespace or project. Fails when something else has it, or the server keeps it for itself.
pub(crate) fn claim_path(
    tx: &mut Tx<'_>,
    path: &FullPath,
    place: Place,
    field: &'static str,
) -> Result<(), AuthError> {
    let key = path.as_str().to_ascii_lowercase();
    check_reserved(&key, field)?;
    let (namespace, project) = match place {
        Place::Namespace(id) => (Some(id.0), None),
        Place::Project(id) => (None, Some(id.0)),
    };
    let sql = "INSERT INTO auth_path (key, namespace_id, project_id) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING";
    match tx.execute(sql, params![key, namespace, project])? {
        1 => Ok(()),
        _ => Err(AuthError::Taken { field }),
    }
}

/// Refuses paths whose addresses would lead elsewhere. Git asks for some of them without `.git`.
fn check_reserved(key: &str, field: &'static str) -> Result<(), AuthError> {
    let services = ["/info/refs", "/git-upload-pack", "/git-receive-pack"];
    let root = key.split('/').next().unwrap_or_default();
    if RESERVED_ROOTS.contains(&root) || services.iter().any(|it| key.ends_with(it)) {
        return Err(AuthError::invalid(field, "is a reserved name"));
    }
    Ok(())
}
