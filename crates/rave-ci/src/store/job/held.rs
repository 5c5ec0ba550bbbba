//! Jobs that runners have: who speaks for which, and when one has been silent for too long.

use rave_core::id::{JobId, PipelineId, ProjectId, RunnerId, UserId};
use rave_core::job::JobState;
use rave_core::port::JobIdentity;
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use crate::store::{count, state_of};

/// A job that its runner speaks of, found by its id and token.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) job: JobId,
    pub(crate) pipeline: PipelineId,
    pub(crate) project: ProjectId,
    pub(crate) state: JobState,
    pub(crate) version: i64,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) contact_at: Option<Timestamp>,
    pub(crate) timeout_ms: i64,
    pub(crate) trace_bytes: u64,
    pub(crate) trace_crc: u32,
}

/// Returns the job that this token was made for, in whatever state it is now.
pub(crate) fn find_held(tx: &mut Tx<'_>, job: JobId, digest: &str) -> Result<Option<Held>, Error> {
    let sql = "SELECT id, pipeline_id, project_id, status, runner_id, failure_reason, scheduled_at, version,
                   started_at, contact_at, timeout_ms, trace_bytes, trace_crc
               FROM ci_job WHERE id = $1 AND token_digest = $2";
    let Some(row) = tx.query_opt(sql, params![job.0, digest])? else {
        return Ok(None);
    };
    held_of(&row).map(Some)
}

fn held_of(row: &Row) -> Result<Held, Error> {
    Ok(Held {
        job: JobId(row.int("id")?),
        pipeline: PipelineId(row.int("pipeline_id")?),
        project: ProjectId(row.int("project_id")?),
        state: state_of(row)?,
        version: row.int("version")?,
        started_at: row.opt_time("started_at")?,
        contact_at: row.opt_time("contact_at")?,
        timeout_ms: row.int("timeout_ms")?,
        trace_bytes: count(row, "trace_bytes")?,
        trace_crc: u32::try_from(row.int("trace_crc")?).unwrap_or_default(),
    })
}

/// Notes that the runner of a job spoke.
pub(crate) fn touch(tx: &mut Tx<'_>, job: JobId, due_at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET contact_at = $2, due_at = $3 WHERE id = $1 AND status IN ('running', 'canceling')";
    let now = tx.now();
    tx.execute(sql, params![job.0, now, due_at]).map(drop)
}

/// Returns up to `limit` jobs that somebody has to look at, the longest due first.
pub(crate) fn due(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<(Held, Timestamp)>, Error> {
    let sql = "SELECT id, pipeline_id, project_id, status, runner_id, failure_reason, scheduled_at, version,
                   started_at, contact_at, timeout_ms, trace_bytes, trace_crc, due_at
               FROM ci_job WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2";
    let now = tx.now();
    tx.query(sql, params![now, limit])?
        .iter()
        .map(|row| Ok((held_of(row)?, row.time("due_at")?)))
        .collect()
}

/// Returns when the next job is due.
pub(crate) fn next_due(tx: &mut Tx<'_>) -> Result<Option<Timestamp>, Error> {
    tx.query_one(
        "SELECT MIN(due_at) AS at FROM ci_job WHERE due_at IS NOT NULL",
        &[],
    )?
    .opt_time("at")
}

/// Gives runners that work until `until` to speak, because the server itself was away.
pub(crate) fn forgive(tx: &mut Tx<'_>, until: Timestamp) -> Result<u64, Error> {
    let sql = "UPDATE ci_job SET due_at = $1 WHERE due_at < $1 AND contact_at > 0
               AND status IN ('assigned', 'running', 'canceling')";
    tx.execute(sql, params![until])
}

/// Counts a runner's jobs as silent since ever: what worked on them is known to be gone.
pub(crate) fn orphan(tx: &mut Tx<'_>, runner: RunnerId) -> Result<u64, Error> {
    let sql = "UPDATE ci_job SET contact_at = 0, due_at = 0
               WHERE runner_id = $1 AND status IN ('assigned', 'running', 'canceling')";
    tx.execute(sql, params![runner.0])
}

/// Sets when somebody has to look at a job again.
pub(crate) fn put_due(tx: &mut Tx<'_>, job: JobId, seen: i64, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET due_at = $3 WHERE id = $1 AND version = $2";
    tx.execute(sql, params![job.0, seen, at]).map(drop)
}

/// Returns how many jobs are in each state that does not end by itself. Names are the stored ones.
pub(crate) fn active(tx: &mut Tx<'_>) -> Result<Vec<(String, i64)>, Error> {
    let sql =
        "SELECT status, COUNT(*) AS jobs FROM ci_job WHERE due_at IS NOT NULL GROUP BY status";
    tx.query(sql, &[])?
        .iter()
        .map(|row| Ok((row.text("status")?, row.int("jobs")?)))
        .collect()
}

/// Returns the running job that has this token.
pub(crate) fn find_by_token(tx: &mut Tx<'_>, digest: &str) -> Result<Option<JobIdentity>, Error> {
    let sql = "SELECT id, project_id, user_id FROM ci_job
               WHERE token_digest = $1 AND status IN ('assigned', 'running', 'canceling')";
    let Some(row) = tx.query_opt(sql, params![digest])? else {
        return Ok(None);
    };
    Ok(Some(JobIdentity {
        job: JobId(row.int("id")?),
        project: ProjectId(row.int("project_id")?),
        user: row.opt_int("user_id")?.map(UserId),
    }))
}
