//! What has to be done to pipelines because of something that is done already: noted in the transaction that did it, done
//! by a worker after its commit, and struck off when done. Each may be done twice.

use rave_core::id::{PipelineId, ProjectId};
use rave_store::{Error, Row, Tx, params};

use super::label;
use crate::model::{ChoreKind, OnNewCommit};

/// A thing to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chore {
    pub(crate) id: i64,
    pub(crate) kind: ChoreKind,
    pub(crate) pipeline: PipelineId,
}

/// Notes a thing to do.
pub(crate) fn insert(tx: &mut Tx<'_>, kind: ChoreKind, pipeline: PipelineId) -> Result<(), Error> {
    let sql = "INSERT INTO ci_chore (kind, pipeline_id, created_at) VALUES ($1, $2, $3)";
    let now = tx.now();
    tx.execute(sql, params![kind.label(), pipeline.0, now])
        .map(drop)
}

/// Notes that the pipelines below one that stops shall stop too: its children, and with [`ChoreKind::Cancel`] also those
/// of other projects that its bridges wait for. Returns how many there are.
pub(crate) fn insert_below(
    tx: &mut Tx<'_>,
    kind: ChoreKind,
    pipeline: PipelineId,
) -> Result<u64, Error> {
    let followed = match kind {
        ChoreKind::Cancel => {
            "OR EXISTS (SELECT 1 FROM ci_follow WHERE ci_follow.job_id = ci_pipeline.bridge_job_id)"
        }
        ChoreKind::Interrupt | ChoreKind::Redundant => "",
    };
    let sql = format!(
        "INSERT INTO ci_chore (kind, pipeline_id, created_at)
         SELECT CAST($1 AS TEXT), id, CAST($2 AS BIGINT) FROM ci_pipeline
         WHERE upstream_id = $3 AND ready = 1 AND status NOT IN ('success', 'failed', 'canceled', 'skipped')
         AND (source = 'parent_pipeline' {followed})"
    );
    let now = tx.now();
    tx.execute(&sql, params![kind.label(), now, pipeline.0])
}

/// Returns up to `limit` things to do, the oldest first.
pub(crate) fn list(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<Chore>, Error> {
    let chore = |row: &Row| {
        Ok(Chore {
            id: row.int("id")?,
            kind: label(row, "kind", ChoreKind::from_label)?,
            pipeline: PipelineId(row.int("pipeline_id")?),
        })
    };
    tx.query(
        "SELECT id, kind, pipeline_id FROM ci_chore ORDER BY id LIMIT $1",
        params![limit],
    )?
    .iter()
    .map(chore)
    .collect()
}

/// Strikes a thing off.
pub(crate) fn delete(tx: &mut Tx<'_>, chore: i64) -> Result<(), Error> {
    tx.execute("DELETE FROM ci_chore WHERE id = $1", params![chore])
        .map(drop)
}

/// Whether a project's newer pipelines stop its redundant ones.
pub(crate) fn auto_cancels(tx: &mut Tx<'_>, project: ProjectId) -> Result<bool, Error> {
    let sql = "SELECT auto_cancel FROM ci_project WHERE project_id = $1";
    tx.query_opt(sql, params![project.0])?
        .map_or(Ok(true), |row| row.bool("auto_cancel"))
}

/// Sets whether a project's newer pipelines stop its redundant ones.
pub(crate) fn put_auto_cancel(
    tx: &mut Tx<'_>,
    project: ProjectId,
    auto_cancel: bool,
) -> Result<(), Error> {
    let sql = "INSERT INTO ci_project (project_id, auto_cancel) VALUES ($1, $2)
               ON CONFLICT (project_id) DO UPDATE SET auto_cancel = excluded.auto_cancel";
    tx.execute(sql, params![project.0, auto_cancel]).map(drop)
}

/// A pipeline that a newer one may make redundant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redundant {
    pub(crate) pipeline: PipelineId,
    pub(crate) on_new_commit: OnNewCommit,
}

/// Returns the pipelines that `newer` makes redundant: of the same ref, not ended, older but by a week at most, and of
/// another commit than `newer` and than the ref has now. Children share the fate of their parents.
pub(crate) fn redundant(
    tx: &mut Tx<'_>,
    newer: PipelineId,
    head: Option<&str>,
) -> Result<Vec<Redundant>, Error> {
    const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
    let sql = "SELECT old.id AS id, old.on_new_commit AS on_new_commit FROM ci_pipeline AS old
               JOIN ci_pipeline AS newer ON newer.id = $1 AND old.project_id = newer.project_id AND old.ref = newer.ref
                   AND old.tag = newer.tag AND old.sha <> newer.sha AND old.id < newer.id
               WHERE old.ready = 1 AND old.created_at >= newer.created_at - $2 AND old.source <> 'parent_pipeline'
               AND old.status NOT IN ('success', 'failed', 'canceled', 'skipped', 'canceling')
               AND (CAST($3 AS TEXT) IS NULL OR old.sha <> CAST($3 AS TEXT)) ORDER BY old.id DESC LIMIT 3000";
    let redundant = |row: &Row| {
        Ok(Redundant {
            pipeline: PipelineId(row.int("id")?),
            on_new_commit: label(row, "on_new_commit", OnNewCommit::from_label)?,
        })
    };
    tx.query(sql, params![newer.0, WEEK_MS, head])?
        .iter()
        .map(redundant)
        .collect()
}

/// Whether a job of the pipeline or its children has started that may not be interrupted.
pub(crate) fn has_uninterruptible(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<bool, Error> {
    let sql = "WITH RECURSIVE family (id) AS (
                   SELECT CAST($1 AS BIGINT)
                   UNION ALL SELECT child.id FROM ci_pipeline AS child JOIN family ON child.upstream_id = family.id
                   WHERE child.source = 'parent_pipeline')
               SELECT CAST(CASE WHEN EXISTS (
                   SELECT 1 FROM ci_job JOIN family ON ci_job.pipeline_id = family.id
                   WHERE interruptible = 0 AND started_at IS NOT NULL) THEN 1 ELSE 0 END AS BIGINT) AS started";
    tx.query_one(sql, params![pipeline.0])?.bool("started")
}

/// Notes which newer pipeline made this one redundant.
pub(crate) fn put_auto_canceled(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    by: PipelineId,
) -> Result<(), Error> {
    let sql = "UPDATE ci_pipeline SET auto_canceled_by = $2 WHERE id = $1";
    tx.execute(sql, params![pipeline.0, by.0]).map(drop)
}
