//! Rows about pipelines that belong together: which bridge made which, who follows whom, and how large a family is.

use std::collections::BTreeMap;

use rave_ci_lang::Diagnostic;
use rave_core::id::{JobId, PipelineId, ProjectId, UserId};
use rave_core::job::{JobState, Status};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{Conditions, count, json, label, pipeline, state_of, to_json};
use crate::model::{Source, Strategy};

/// Returns up to `limit` bridges whose pipeline is about to be found.
pub(crate) fn triggering(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<JobId>, Error> {
    let sql = "SELECT id FROM ci_job WHERE status = 'triggering' ORDER BY id LIMIT $1";
    tx.query(sql, params![limit])?
        .iter()
        .map(|row| row.int("id").map(JobId))
        .collect()
}

/// The pipeline that a bridge made, as far as an earlier try came.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) pipeline: PipelineId,
    /// Whether everyone sees it.
    pub(crate) ready: bool,
    /// What keeps it from having jobs.
    pub(crate) errors: Vec<Diagnostic>,
}

/// Returns the pipeline that a bridge made.
pub(crate) fn find_made(tx: &mut Tx<'_>, bridge: JobId) -> Result<Option<Made>, Error> {
    let sql = "SELECT id, ready, errors FROM ci_pipeline WHERE bridge_job_id = $1";
    let Some(row) = tx.query_opt(sql, params![bridge.0])? else {
        return Ok(None);
    };
    Ok(Some(Made {
        pipeline: PipelineId(row.int("id")?),
        ready: row.bool("ready")?,
        errors: json(&row, "errors")?,
    }))
}

/// Returns the pipelines that these bridges made or follow, and whether they made them.
pub(crate) fn linked(
    tx: &mut Tx<'_>,
    bridges: &[JobId],
) -> Result<Vec<(JobId, PipelineId, bool)>, Error> {
    let mut places = Conditions::default();
    let list: Vec<String> = bridges.iter().map(|it| places.param(it.0)).collect();
    let list = list.join(", ");
    let sql = format!(
        "SELECT bridge_job_id AS bridge, id AS pipeline, CAST(1 AS BIGINT) AS made FROM ci_pipeline
         WHERE bridge_job_id IN ({list}) AND ready = 1
         UNION SELECT job_id AS bridge, pipeline_id AS pipeline, CAST(0 AS BIGINT) AS made FROM ci_follow
         WHERE job_id IN ({list}) AND NOT EXISTS (SELECT 1 FROM ci_pipeline WHERE bridge_job_id = ci_follow.job_id)
         ORDER BY bridge"
    );
    tx.query(&sql, places.params())?
        .iter()
        .map(|row| {
            Ok((
                JobId(row.int("bridge")?),
                PipelineId(row.int("pipeline")?),
                row.int("made")? == 1,
            ))
        })
        .collect()
}

/// Returns the children of a pipeline, in order.
pub(crate) fn children(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Vec<PipelineId>, Error> {
    let sql = "SELECT id FROM ci_pipeline WHERE upstream_id = $1 AND source = 'parent_pipeline' AND ready = 1 ORDER BY id";
    tx.query(sql, params![pipeline.0])?
        .iter()
        .map(|row| row.int("id").map(PipelineId))
        .collect()
}

/// Notes why a bridge has no pipeline.
pub(crate) fn put_errors(tx: &mut Tx<'_>, bridge: JobId, errors: &[String]) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET bridge_errors = $2 WHERE id = $1";
    tx.execute(sql, params![bridge.0, to_json(errors)?])
        .map(drop)
}

/// Returns why these bridges have no pipeline.
pub(crate) fn errors_of(
    tx: &mut Tx<'_>,
    bridges: &[JobId],
) -> Result<BTreeMap<JobId, Vec<String>>, Error> {
    if bridges.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add_any("id", bridges.iter().map(|it| it.0));
    let sql = format!(
        "SELECT id, bridge_errors FROM ci_job WHERE {} AND bridge_errors <> '[]'",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((JobId(row.int("id")?), json(row, "bridge_errors")?)))
        .collect()
}

/// Lets a bridge follow a pipeline from now on, and look at once.
pub(crate) fn follow(
    tx: &mut Tx<'_>,
    bridge: JobId,
    pipeline: PipelineId,
    strategy: Strategy,
) -> Result<(), Error> {
    let sql = "INSERT INTO ci_follow (job_id, pipeline_id, strategy, due, ended) VALUES ($1, $2, $3, 1, 0)
               ON CONFLICT (job_id) DO UPDATE SET pipeline_id = excluded.pipeline_id, due = 1";
    tx.execute(sql, params![bridge.0, pipeline.0, strategy.label()])
        .map(drop)
}

/// A bridge that has to look at the pipeline it follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follow {
    pub(crate) bridge: JobId,
    /// The bridge's own pipeline.
    pub(crate) upstream: PipelineId,
    pub(crate) state: JobState,
    /// Whether a newer try took the bridge's place.
    pub(crate) retried: bool,
    /// The status of what it follows.
    pub(crate) status: Status,
    pub(crate) strategy: Strategy,
    /// Whether bridge and pipeline have ended together.
    pub(crate) ended: bool,
}

/// Returns up to `limit` bridges that have to look.
pub(crate) fn due(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<Follow>, Error> {
    let sql = "SELECT ci_job.id AS id, ci_job.pipeline_id AS pipeline_id, ci_job.status AS status, runner_id,
                   ci_job.failure_reason AS failure_reason, scheduled_at, retried, strategy, ended,
                   ci_pipeline.status AS followed
               FROM ci_follow JOIN ci_job ON ci_job.id = ci_follow.job_id
               JOIN ci_pipeline ON ci_pipeline.id = ci_follow.pipeline_id
               WHERE due = 1 ORDER BY ci_follow.job_id LIMIT $1";
    let follow = |row: &Row| {
        Ok(Follow {
            bridge: JobId(row.int("id")?),
            upstream: PipelineId(row.int("pipeline_id")?),
            state: state_of(row)?,
            retried: row.bool("retried")?,
            status: label(row, "followed", Status::from_label)?,
            strategy: label(row, "strategy", Strategy::from_label)?,
            ended: row.bool("ended")?,
        })
    };
    tx.query(sql, params![limit])?.iter().map(follow).collect()
}

/// Notes that a bridge has seen that the pipeline has this status, and whether both have ended.
pub(crate) fn put_seen(
    tx: &mut Tx<'_>,
    bridge: JobId,
    status: Status,
    ended: bool,
) -> Result<(), Error> {
    let sql = "SELECT pipeline_id FROM ci_follow WHERE job_id = $1";
    let Some(row) = tx.query_opt(sql, params![bridge.0])? else {
        return Ok(());
    };
    // The pipeline is held while its status is compared: otherwise its next status and this note pass each other unseen.
    let locked = pipeline::lock(tx, PipelineId(row.int("pipeline_id")?))?;
    if locked.is_none_or(|it| it.status != status) {
        return Ok(());
    }
    let sql = "UPDATE ci_follow SET due = 0, ended = $2 WHERE job_id = $1";
    tx.execute(sql, params![bridge.0, ended]).map(drop)
}

/// Lets a bridge follow nothing any more.
pub(crate) fn unfollow(tx: &mut Tx<'_>, bridge: JobId) -> Result<(), Error> {
    let sql = "DELETE FROM ci_follow WHERE job_id = $1";
    tx.execute(sql, params![bridge.0]).map(drop)
}

/// A pipeline on the way up from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ancestor {
    pub(crate) pipeline: PipelineId,
    pub(crate) project: ProjectId,
    pub(crate) ref_name: String,
    pub(crate) source: Source,
}

/// Returns a pipeline and those above it, the nearest first, at most `limit`.
pub(crate) fn ancestors(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    limit: u32,
) -> Result<Vec<Ancestor>, Error> {
    let sql = "WITH RECURSIVE above (id, upstream_id, depth) AS (
                   SELECT id, upstream_id, 0 FROM ci_pipeline WHERE id = $1
                   UNION ALL SELECT up.id, up.upstream_id, above.depth + 1 FROM ci_pipeline AS up
                   JOIN above ON up.id = above.upstream_id WHERE above.depth < $2)
               SELECT ci_pipeline.id AS id, project_id, ref, source FROM above
               JOIN ci_pipeline ON ci_pipeline.id = above.id ORDER BY depth";
    let ancestor = |row: &Row| {
        Ok(Ancestor {
            pipeline: PipelineId(row.int("id")?),
            project: ProjectId(row.int("project_id")?),
            ref_name: row.text("ref")?,
            source: label(row, "source", Source::from_label)?,
        })
    };
    tx.query(sql, params![pipeline.0, limit])?
        .iter()
        .map(ancestor)
        .collect()
}

/// Returns how many pipelines came from one, itself included, counting no further than `limit`.
pub(crate) fn family_size(tx: &mut Tx<'_>, root: PipelineId, limit: u32) -> Result<u64, Error> {
    let sql = "WITH RECURSIVE below (id) AS (
                   SELECT CAST($1 AS BIGINT)
                   UNION ALL SELECT down.id FROM ci_pipeline AS down JOIN below ON down.upstream_id = below.id)
               SELECT COUNT(*) AS pipelines FROM (SELECT id FROM below LIMIT $2) AS counted";
    count(&tx.query_one(sql, params![root.0, limit])?, "pipelines")
}

/// Returns how many pipelines were triggered since an instant from one commit of a project on a user's behalf.
pub(crate) fn triggered_since(
    tx: &mut Tx<'_>,
    project: ProjectId,
    sha: &str,
    user: Option<UserId>,
    since: Timestamp,
) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) AS pipelines FROM ci_pipeline AS down JOIN ci_pipeline AS up ON down.upstream_id = up.id
               WHERE up.project_id = $1 AND up.sha = $2 AND down.created_at > $3
               AND COALESCE(down.user_id, 0) = CAST($4 AS BIGINT)";
    let user = user.map_or(0, |it| it.0);
    count(
        &tx.query_one(sql, params![project.0, sha, since, user])?,
        "pipelines",
    )
}
