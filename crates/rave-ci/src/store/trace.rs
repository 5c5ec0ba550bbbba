//! The logs of jobs: pieces while they arrive, then one object.

use rave_blob::Digest;
use rave_ci_lang::JobPlan;
use rave_core::id::{JobId, ProjectId};
use rave_core::time::Timestamp;
use rave_store::{Error, Tx, params};

use super::{corrupt, count, int};

/// Appends a piece to a running job's log whose size was `start`, which is also a sign of life. Returns whether the log
/// still had that size and the job still ran.
pub(crate) fn append(
    tx: &mut Tx<'_>,
    job: JobId,
    start: u64,
    body: &[u8],
    crc: u32,
    due_at: Timestamp,
) -> Result<bool, Error> {
    let end = int(start + body.len() as u64);
    let sql = "UPDATE ci_job SET trace_bytes = $3, trace_crc = $4, contact_at = $5, due_at = $6
               WHERE id = $1 AND trace_bytes = $2 AND status IN ('running', 'canceling')";
    let now = tx.now();
    if tx.execute(
        sql,
        params![job.0, int(start), end, i64::from(crc), now, due_at],
    )? == 0
    {
        return Ok(false);
    }
    let sql = "INSERT INTO ci_trace_chunk (job_id, start, body) VALUES ($1, $2, $3)";
    tx.execute(sql, params![job.0, int(start), body])?;
    Ok(true)
}

/// Where a log is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) size_bytes: u64,
    /// The object that holds all of it, once the job has ended.
    pub(crate) digest: Option<Digest>,
    /// Whether the job has ended.
    pub(crate) complete: bool,
}

/// Returns where a job's log is.
pub(crate) fn place(tx: &mut Tx<'_>, job: JobId) -> Result<Option<Place>, Error> {
    let sql = "SELECT trace_bytes, trace_digest, status FROM ci_job WHERE id = $1";
    let Some(row) = tx.query_opt(sql, params![job.0])? else {
        return Ok(None);
    };
    let digest = row.opt_text("trace_digest")?.map(|it| it.parse());
    let ended = ["success", "failed", "canceled", "skipped"];
    Ok(Some(Place {
        size_bytes: count(&row, "trace_bytes")?,
        digest: digest
            .transpose()
            .map_err(|_| corrupt("a log has no valid digest"))?,
        complete: ended.contains(&row.text("status")?.as_str()),
    }))
}

/// Returns the pieces of a log from offset `from` on, about `limit` bytes of them.
pub(crate) fn read(tx: &mut Tx<'_>, job: JobId, from: u64, limit: usize) -> Result<Vec<u8>, Error> {
    let sql = "SELECT start, body FROM ci_trace_chunk WHERE job_id = $1 AND start >=
                   (SELECT COALESCE(MAX(start), 0) FROM ci_trace_chunk WHERE job_id = $1 AND start <= $2)
               ORDER BY start LIMIT 64";
    let mut bytes = Vec::new();
    let mut next = from;
    while bytes.len() < limit {
        let rows = tx.query(sql, params![job.0, int(next)])?;
        let before = next;
        for row in &rows {
            let (start, body) = (count(row, "start")?, row.blob("body")?);
            let skip = usize::try_from(next.saturating_sub(start)).unwrap_or(usize::MAX);
            let fresh = body.get(skip..).unwrap_or_default();
            bytes.extend_from_slice(fresh);
            next += fresh.len() as u64;
            if bytes.len() >= limit {
                break;
            }
        }
        if next == before {
            break;
        }
    }
    bytes.truncate(limit);
    Ok(bytes)
}

/// Returns up to `limit` jobs that have ended and whose logs are still in pieces, with the logs' sizes.
pub(crate) fn to_archive(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<(JobId, u64)>, Error> {
    let sql =
        "SELECT id, trace_bytes AS size FROM ci_job WHERE trace_bytes > 0 AND trace_digest IS NULL
               AND status IN ('success', 'failed', 'canceled', 'skipped') ORDER BY id LIMIT $1";
    tx.query(sql, params![limit])?
        .iter()
        .map(|row| Ok((JobId(row.int("id")?), count(row, "size")?)))
        .collect()
}

/// Returns the pattern that finds a percentage in a job's log, if the file gives one.
pub(crate) fn coverage_pattern(tx: &mut Tx<'_>, job: JobId) -> Result<Option<String>, Error> {
    let sql = "SELECT plan FROM ci_job WHERE id = $1";
    match tx.query_opt(sql, params![job.0])? {
        Some(row) => Ok(super::json::<JobPlan>(&row, "plan")?.coverage),
        None => Ok(None),
    }
}

/// Puts an object in the place of a log's pieces, unless the log changed from `size` bytes.
pub(crate) fn put_archived(
    tx: &mut Tx<'_>,
    job: JobId,
    size: u64,
    digest: &Digest,
) -> Result<bool, Error> {
    let sql = "UPDATE ci_job SET trace_digest = $3 WHERE id = $1 AND trace_bytes = $2";
    if tx.execute(sql, params![job.0, int(size), digest.to_string()])? == 0 {
        return Ok(false);
    }
    tx.execute(
        "DELETE FROM ci_trace_chunk WHERE job_id = $1",
        params![job.0],
    )?;
    Ok(true)
}

/// Marks a log as one that shows every command, secrets included.
pub(crate) fn put_debug(tx: &mut Tx<'_>, job: JobId) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET trace_debug = 1 WHERE id = $1 AND trace_debug = 0";
    tx.execute(sql, params![job.0]).map(drop)
}

/// Returns whether a job's log shows every command, `None` when the project has no such job.
pub(crate) fn is_debug(
    tx: &mut Tx<'_>,
    project: ProjectId,
    job: JobId,
) -> Result<Option<bool>, Error> {
    let sql = "SELECT trace_debug FROM ci_job WHERE id = $1 AND project_id = $2";
    let row = tx.query_opt(sql, params![job.0, project.0])?;
    row.map(|it| it.bool("trace_debug")).transpose()
}
