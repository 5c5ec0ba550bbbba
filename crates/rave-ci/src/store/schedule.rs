//! Rows of schedules. What a schedule gives to its pipelines is sealed by the caller.

use rave_core::id::{ProjectId, UserId};
use rave_core::port::{Page, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{count, limits};

/// Pipelines that start by the clock.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) id: i64,
    pub(crate) project: ProjectId,
    pub(crate) owner: UserId,
    pub(crate) description: String,
    pub(crate) ref_name: String,
    pub(crate) cron: String,
    pub(crate) timezone: String,
    pub(crate) active: bool,
    pub(crate) sealed: Vec<u8>,
    pub(crate) next_run_at: Option<Timestamp>,
    /// Why there was no pipeline the last time.
    pub(crate) problem: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

const COLUMNS: &str =
    "id, project_id, owner_id, description, ref, cron, cron_timezone, active, given, next_run_at,
    problem, created_at, updated_at";

fn of_row(row: &Row) -> Result<Schedule, Error> {
    Ok(Schedule {
        id: row.int("id")?,
        project: ProjectId(row.int("project_id")?),
        owner: UserId(row.int("owner_id")?),
        description: row.text("description")?,
        ref_name: row.text("ref")?,
        cron: row.text("cron")?,
        timezone: row.text("cron_timezone")?,
        active: row.bool("active")?,
        sealed: row.blob("given")?,
        next_run_at: row.opt_time("next_run_at")?,
        problem: row.opt_text("problem")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// Stores another schedule. Its `id` and times are given by the store.
pub(crate) fn insert(tx: &mut Tx<'_>, new: &Schedule) -> Result<i64, Error> {
    let sql = "INSERT INTO ci_schedule (project_id, owner_id, description, ref, cron, cron_timezone, active, given,
                   next_run_at, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) RETURNING id";
    let now = tx.now();
    let params = params![
        new.project.0,
        new.owner.0,
        &new.description,
        &new.ref_name,
        &new.cron,
        &new.timezone,
        new.active,
        new.sealed.as_slice(),
        new.next_run_at,
        now,
    ];
    tx.query_one(sql, params)?.int("id")
}

/// Stores everything that people decide about a schedule.
pub(crate) fn update(tx: &mut Tx<'_>, new: &Schedule) -> Result<(), Error> {
    let sql = "UPDATE ci_schedule SET owner_id = $2, description = $3, ref = $4, cron = $5, cron_timezone = $6, active = $7,
                   given = $8, next_run_at = $9, problem = $10, updated_at = $11 WHERE id = $1";
    let now = tx.now();
    let params = params![
        new.id,
        new.owner.0,
        &new.description,
        &new.ref_name,
        &new.cron,
        &new.timezone,
        new.active,
        new.sealed.as_slice(),
        new.next_run_at,
        new.problem.clone(),
        now,
    ];
    tx.execute(sql, params).map(drop)
}

/// Lists the schedules of a project, the newest first; with `active` only those that run, or that do not.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    project: ProjectId,
    active: Option<bool>,
    slice: Slice,
) -> Result<Page<Schedule>, Error> {
    let which = "project_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR active = CAST($2 AS BIGINT))";
    let sql = format!("SELECT COUNT(*) AS total FROM ci_schedule WHERE {which}");
    let total = count(&tx.query_one(&sql, params![project.0, active])?, "total")?;
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_schedule WHERE {which} ORDER BY id DESC LIMIT $3 OFFSET $4"
    );
    let (limit, offset) = limits(slice);
    let rows = tx.query(&sql, params![project.0, active, limit, offset])?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// Returns how many schedules a project has.
pub(crate) fn total(tx: &mut Tx<'_>, project: ProjectId) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) AS total FROM ci_schedule WHERE project_id = $1";
    count(&tx.query_one(sql, params![project.0])?, "total")
}

/// Returns a schedule of a project.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    project: ProjectId,
    id: i64,
) -> Result<Option<Schedule>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_schedule WHERE id = $1 AND project_id = $2");
    let row = tx.query_opt(&sql, params![id, project.0])?;
    row.as_ref().map(of_row).transpose()
}

/// Returns schedules whose time has come.
pub(crate) fn due(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<Schedule>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_schedule WHERE active = 1 AND next_run_at IS NOT NULL AND next_run_at <= $1
         ORDER BY next_run_at LIMIT $2"
    );
    let now = tx.now();
    tx.query(&sql, params![now, limit])?
        .iter()
        .map(of_row)
        .collect()
}

/// Returns when the next schedule runs.
pub(crate) fn next_due(tx: &mut Tx<'_>) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT MIN(next_run_at) AS next FROM ci_schedule WHERE active = 1 AND next_run_at IS NOT NULL";
    tx.query_one(sql, &[])?.opt_time("next")
}

/// Moves a schedule on to its next time. Returns whether it did: not if another server was faster, or somebody changed it.
pub(crate) fn advance(
    tx: &mut Tx<'_>,
    schedule: &Schedule,
    next: Option<Timestamp>,
) -> Result<bool, Error> {
    let sql =
        "UPDATE ci_schedule SET next_run_at = $3 WHERE id = $1 AND next_run_at = $2 AND active = 1";
    let params = params![schedule.id, schedule.next_run_at, next];
    Ok(tx.execute(sql, params)? == 1)
}

/// Notes what kept a schedule from making a pipeline, or that nothing did.
pub(crate) fn put_problem(tx: &mut Tx<'_>, id: i64, problem: Option<&str>) -> Result<(), Error> {
    let sql = "UPDATE ci_schedule SET problem = $2 WHERE id = $1";
    tx.execute(sql, params![id, problem]).map(drop)
}

/// Switches a schedule off and says why.
pub(crate) fn deactivate(tx: &mut Tx<'_>, id: i64, why: &str) -> Result<(), Error> {
    let sql = "UPDATE ci_schedule SET active = 0, problem = $2, updated_at = $3 WHERE id = $1";
    let now = tx.now();
    tx.execute(sql, params![id, why, now]).map(drop)
}

/// Deletes a schedule. Its pipelines stay.
pub(crate) fn delete(tx: &mut Tx<'_>, id: i64) -> Result<(), Error> {
    let sql = "DELETE FROM ci_schedule WHERE id = $1";
    tx.execute(sql, params![id]).map(drop)
}

/// Deletes the schedules of a project that is gone.
pub(crate) fn delete_all(tx: &mut Tx<'_>, project: ProjectId) -> Result<(), Error> {
    let sql = "DELETE FROM ci_schedule WHERE project_id = $1";
    tx.execute(sql, params![project.0]).map(drop)
}
