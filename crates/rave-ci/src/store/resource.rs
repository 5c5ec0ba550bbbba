//! Rows of resource groups: what at most one job of a project uses at a time.
//!
//! A group's row names the job that has the resource. It is given with a comparison, so of two that want it one gets it,
//! and given back in the transaction that ends the job.

use rave_core::id::{JobId, PipelineId, ProjectId};
use rave_store::{Error, Row, Tx, params};

use super::label;
use crate::model::{ProcessMode, ResourceGroup};

const COLUMNS: &str = "id, project_id, name, process_mode, created_at, updated_at";

fn of_row(row: &Row) -> Result<ResourceGroup, Error> {
    Ok(ResourceGroup {
        id: row.int("id")?,
        name: row.text("name")?,
        process_mode: label(row, "process_mode", ProcessMode::from_label)?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// Returns the group of this name, which is made if the project has none.
pub(crate) fn ensure(tx: &mut Tx<'_>, project: ProjectId, name: &str) -> Result<i64, Error> {
    let sql = "INSERT INTO ci_resource_group (project_id, name, process_mode, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $4) ON CONFLICT (project_id, name) DO UPDATE SET name = ci_resource_group.name
               RETURNING id";
    let now = tx.now();
    tx.query_one(
        sql,
        params![project.0, name, ProcessMode::Unordered.label(), now],
    )?
    .int("id")
}

/// Lists the groups of a project.
pub(crate) fn list(tx: &mut Tx<'_>, project: ProjectId) -> Result<Vec<ResourceGroup>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_resource_group WHERE project_id = $1 ORDER BY id");
    tx.query(&sql, params![project.0])?
        .iter()
        .map(of_row)
        .collect()
}

/// Returns a project's group of a name.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    project: ProjectId,
    name: &str,
) -> Result<Option<ResourceGroup>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM ci_resource_group WHERE project_id = $1 AND name = $2");
    tx.query_opt(&sql, params![project.0, name])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Sets the order in which waiting jobs get the resource.
pub(crate) fn put_mode(tx: &mut Tx<'_>, group: i64, mode: ProcessMode) -> Result<(), Error> {
    let sql = "UPDATE ci_resource_group SET process_mode = $2, updated_at = $3 WHERE id = $1";
    let now = tx.now();
    tx.execute(sql, params![group, mode.label(), now]).map(drop)
}

/// Gives a free resource to a job. Returns whether it has it now.
pub(crate) fn take(tx: &mut Tx<'_>, group: i64, job: JobId) -> Result<bool, Error> {
    let sql = "UPDATE ci_resource_group SET job_id = $2 WHERE id = $1 AND (job_id IS NULL OR job_id = $2)";
    Ok(tx.execute(sql, params![group, job.0])? == 1)
}

/// Takes a resource back from a job that ended, whether or not it had it.
pub(crate) fn release(tx: &mut Tx<'_>, group: i64, job: JobId) -> Result<(), Error> {
    let sql = "UPDATE ci_resource_group SET job_id = NULL WHERE id = $1 AND job_id = $2";
    tx.execute(sql, params![group, job.0]).map(drop)
}

/// Takes resources back from jobs that do not need them any more, such as those of deleted pipelines.
pub(crate) fn reclaim(tx: &mut Tx<'_>) -> Result<u64, Error> {
    let sql = "UPDATE ci_resource_group SET job_id = NULL WHERE job_id IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM ci_job WHERE ci_job.id = ci_resource_group.job_id
                   AND ci_job.status IN ('pending', 'assigned', 'running', 'canceling', 'triggering', 'following', 'blocked'))";
    tx.execute(sql, &[])
}

/// Returns the job that has the resource.
pub(crate) fn holder(tx: &mut Tx<'_>, group: i64) -> Result<Option<JobId>, Error> {
    let row = tx.query_opt(
        "SELECT job_id FROM ci_resource_group WHERE id = $1",
        params![group],
    )?;
    row.map_or(Ok(None), |it| Ok(it.opt_int("job_id")?.map(JobId)))
}

/// What a job waits for that waits for its resource group.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) group: String,
    /// The job that has the resource, and its name.
    pub(crate) holder: Option<(JobId, String)>,
}

/// Returns what a group is called and who has its resource.
pub(crate) fn wait_for(tx: &mut Tx<'_>, group: i64) -> Result<Option<Wait>, Error> {
    let sql = "SELECT ci_resource_group.name AS name, ci_job.id AS job_id, ci_job.name AS job_name
               FROM ci_resource_group LEFT JOIN ci_job ON ci_job.id = ci_resource_group.job_id
               WHERE ci_resource_group.id = $1";
    let Some(row) = tx.query_opt(sql, params![group])? else {
        return Ok(None);
    };
    let holder = match row.opt_int("job_id")? {
        Some(job) => Some((JobId(job), row.text("job_name")?)),
        None => None,
    };
    Ok(Some(Wait {
        group: row.text("name")?,
        holder,
    }))
}

/// Returns up to `limit` groups whose resource is free while jobs wait for it.
pub(crate) fn free(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<(i64, ProcessMode)>, Error> {
    let sql = "SELECT id, process_mode FROM ci_resource_group WHERE job_id IS NULL AND EXISTS (
                   SELECT 1 FROM ci_job WHERE ci_job.resource_group_id = ci_resource_group.id
                   AND ci_job.status = 'waiting_for_resource') ORDER BY id LIMIT $1";
    tx.query(sql, params![limit])?
        .iter()
        .map(|row| {
            Ok((
                row.int("id")?,
                label(row, "process_mode", ProcessMode::from_label)?,
            ))
        })
        .collect()
}

/// A job that will get a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upcoming {
    pub(crate) job: JobId,
    pub(crate) pipeline: PipelineId,
    /// Whether it waits for nothing else.
    pub(crate) waits: bool,
}

/// Returns the jobs that will get a resource, in the order of the mode. By age also those count that are not let go yet:
/// a later pipeline does not overtake an earlier one whose turn is still to come.
pub(crate) fn upcoming(
    tx: &mut Tx<'_>,
    group: i64,
    mode: ProcessMode,
    limit: u32,
) -> Result<Vec<Upcoming>, Error> {
    let (states, order) = match mode {
        ProcessMode::Unordered => ("'waiting_for_resource'", "id"),
        ProcessMode::NewestReadyFirst => ("'waiting_for_resource'", "pipeline_id DESC, id"),
        ProcessMode::OldestFirst => (
            "'waiting_for_resource', 'created', 'scheduled'",
            "pipeline_id, waits DESC, id",
        ),
        ProcessMode::NewestFirst => (
            "'waiting_for_resource', 'created', 'scheduled'",
            "pipeline_id DESC, waits DESC, id",
        ),
    };
    let sql = format!(
        "SELECT id, pipeline_id, CAST(CASE WHEN status = 'waiting_for_resource' THEN 1 ELSE 0 END AS BIGINT) AS waits FROM ci_job
         WHERE resource_group_id = $1 AND retried = 0 AND status IN ({states}) ORDER BY {order} LIMIT $2"
    );
    tx.query(&sql, params![group, limit])?
        .iter()
        .map(|row| {
            Ok(Upcoming {
                job: JobId(row.int("id")?),
                pipeline: PipelineId(row.int("pipeline_id")?),
                waits: row.bool("waits")?,
            })
        })
        .collect()
}
