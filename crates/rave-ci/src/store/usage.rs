//! What jobs used, and what they are therefore expected to need.

use rave_core::id::{JobId, ProjectId};
use rave_core::memory::{History, Run, history_name};
use rave_store::{Error, Tx, params};

use super::{json, to_json};
use crate::usage::Usage;

/// Notes what a job used, and remembers what it needed for its next runs.
pub(crate) fn note(tx: &mut Tx<'_>, job: JobId, usage: &Usage, success: bool) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET resource_usage = $2 WHERE id = $1 AND resource_usage IS NULL
               RETURNING project_id, name";
    // A result that is said twice counts once.
    let Some(row) = tx.query_opt(sql, params![job.0, to_json(usage)?])? else {
        return Ok(());
    };
    if usage.peak_bytes == 0 {
        return Ok(());
    }
    let (project, name) = (ProjectId(row.int("project_id")?), row.text("name")?);
    let mut history = history(tx, project, &name)?;
    let run = Run {
        peak_bytes: usage.peak_bytes,
        outgrew: usage.outgrew,
    };
    history.note(run, success);
    let sql = "INSERT INTO ci_memory (project_id, name, runs) VALUES ($1, $2, $3)
               ON CONFLICT (project_id, name) DO UPDATE SET runs = excluded.runs";
    tx.execute(
        sql,
        params![project.0, history_name(&name), to_json(&history)?],
    )
    .map(drop)
}

fn history(tx: &mut Tx<'_>, project: ProjectId, job: &str) -> Result<History, Error> {
    let sql = "SELECT runs FROM ci_memory WHERE project_id = $1 AND name = $2";
    match tx.query_opt(sql, params![project.0, history_name(job)])? {
        Some(row) => json(&row, "runs"),
        None => Ok(History::default()),
    }
}

/// Returns what a job is expected to need of memory, if it ran before.
pub(crate) fn expected(
    tx: &mut Tx<'_>,
    project: ProjectId,
    job: &str,
) -> Result<Option<u64>, Error> {
    Ok(history(tx, project, job)?.estimate())
}
