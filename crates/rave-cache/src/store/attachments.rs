//! Which projects and groups a cache belongs to: their members and jobs may use it.

use rave_core::id::{NamespaceId, ProjectId};
use rave_store::{Error, Row, Tx, params};

use crate::model::CacheId;

/// What a cache is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Project(ProjectId),
    Group(NamespaceId),
}

impl Target {
    fn columns(self) -> (&'static str, i64) {
        match self {
            Self::Project(id) => ("project", id.0),
            Self::Group(id) => ("group", id.0),
        }
    }
}

/// A cache at a project or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) cache: CacheId,
    pub(crate) target: Target,
    /// Whether jobs may push, not only read.
    pub(crate) jobs_push: bool,
}

fn read(row: &Row) -> Result<Attachment, Error> {
    let id = row.int("target_id")?;
    let target = match row.text("kind")?.as_str() {
        "project" => Target::Project(ProjectId(id)),
        _ => Target::Group(NamespaceId(id)),
    };
    Ok(Attachment {
        cache: CacheId(row.int("cache_id")?),
        target,
        jobs_push: row.bool("jobs_push")?,
    })
}

/// Attaches a cache, or changes what jobs may do.
pub(crate) fn put(tx: &mut Tx<'_>, it: Attachment) -> Result<(), Error> {
    let ((kind, id), now) = (it.target.columns(), tx.now());
    tx.execute(
        "INSERT INTO cache_attachment (cache_id, kind, target_id, jobs_push, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (cache_id, kind, target_id) DO UPDATE SET jobs_push = excluded.jobs_push",
        params![it.cache.0, kind, id, it.jobs_push, now],
    )?;
    Ok(())
}

/// Detaches a cache. Returns whether it was attached.
pub(crate) fn remove(tx: &mut Tx<'_>, cache: CacheId, target: Target) -> Result<bool, Error> {
    let (kind, id) = target.columns();
    let done = tx.execute(
        "DELETE FROM cache_attachment WHERE cache_id = $1 AND kind = $2 AND target_id = $3",
        params![cache.0, kind, id],
    )?;
    Ok(done == 1)
}

/// Returns what a cache is attached to.
pub(crate) fn of_cache(tx: &mut Tx<'_>, cache: CacheId) -> Result<Vec<Attachment>, Error> {
    let rows = tx.query(
        "SELECT cache_id, kind, target_id, jobs_push FROM cache_attachment WHERE cache_id = $1 ORDER BY created_at, target_id",
        params![cache.0],
    )?;
    rows.iter().map(read).collect()
}

/// Returns all attachments to a project or to any of some groups.
pub(crate) fn of_targets(
    tx: &mut Tx<'_>,
    project: ProjectId,
    groups: &[NamespaceId],
) -> Result<Vec<Attachment>, Error> {
    let list = groups.iter().map(|it| it.0).collect::<Vec<_>>();
    let groups = match list.len() {
        0 => "1 = 0".to_owned(),
        count => format!(
            "a.kind = 'group' AND a.target_id IN ({})",
            super::places(2, count)
        ),
    };
    let sql = format!(
        "SELECT a.cache_id, a.kind, a.target_id, a.jobs_push FROM cache_attachment a
         JOIN cache_cache c ON c.id = a.cache_id AND c.deleted_at IS NULL
         WHERE (a.kind = 'project' AND a.target_id = $1) OR ({groups}) ORDER BY c.priority, c.name"
    );
    let rows = tx.query(&sql, &super::with_list(params![project.0], &list))?;
    rows.iter().map(read).collect()
}
