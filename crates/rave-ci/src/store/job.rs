//! Rows of jobs: what pages and lists show. How jobs come to be and change is told by the files beside.

mod assign;
mod change;
mod graph;
mod held;
mod insert;

use rave_ci_lang::{JobPlan, Variable};
use rave_core::id::{JobId, PipelineId, ProjectId, RunnerId, UserId};
use rave_core::job::When;
use rave_core::port::{Page, Slice};
use rave_store::{Error, Row, Tx, params};

use super::{
    Conditions, corrupt, count, given, int, json, label, limits, opt_json, state_of, to_json,
};
use crate::model::Job;
use rave_core::sealing::SealingKey;

pub(crate) use assign::{Assignment, Taken, assign};
pub(crate) use change::{Change, Stored, put_released, put_state};
pub(crate) use graph::{Located, Place, find_located, load_at, load_graph, needing, waiting};
pub(crate) use held::{
    Held, active, due, find_by_token, find_held, forgive, next_due, orphan, put_due, touch,
};
pub(crate) use insert::{NewJob, NewTry, insert_all, insert_retry};

const COLUMNS: &str = "id, pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, bridge, interruptible,
    resource_group_id, tags, status, runner_id, failure_reason, scheduled_at, allow_failure, exit_code, retried, user_id, timeout_ms,
    created_at, queued_at, started_at, finished_at, trace_bytes, erased_at, coverage,
    resource_usage";

fn of_row(row: &Row) -> Result<Job, Error> {
    Ok(Job {
        id: JobId(row.int("id")?),
        pipeline: PipelineId(row.int("pipeline_id")?),
        project: ProjectId(row.int("project_id")?),
        position: position(row, "position")?,
        name: row.text("name")?,
        stage: row.text("stage")?,
        stage_index: position(row, "stage_index")?,
        needs: needs(row)?,
        when: label(row, "run_when", when_of)?,
        bridge: row.bool("bridge")?,
        interruptible: row.bool("interruptible")?,
        resource_group: row.opt_int("resource_group_id")?,
        tags: json(row, "tags")?,
        state: state_of(row)?,
        runner: row.opt_int("runner_id")?.map(RunnerId),
        allow_failure: row.bool("allow_failure")?,
        exit_code: row.opt_int("exit_code")?,
        retried: row.bool("retried")?,
        user: row.opt_int("user_id")?.map(UserId),
        timeout_ms: row.int("timeout_ms")?,
        created_at: row.time("created_at")?,
        queued_at: row.opt_time("queued_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
        trace_bytes: count(row, "trace_bytes")?,
        erased_at: row.opt_time("erased_at")?,
        coverage: row.opt_float("coverage")?,
        usage: opt_json(row, "resource_usage")?,
    })
}

fn position(row: &Row, column: &str) -> Result<usize, Error> {
    usize::try_from(row.int(column)?).map_err(|_| corrupt(format!("column {column} is negative")))
}

fn needs(row: &Row) -> Result<Option<Vec<usize>>, Error> {
    match row.opt_text("needs")? {
        None => Ok(None),
        Some(_) => json(row, "needs").map(Some),
    }
}

fn when_of(label: &str) -> Option<When> {
    [
        When::OnSuccess,
        When::OnFailure,
        When::Always,
        When::Manual,
        When::Delayed,
    ]
    .into_iter()
    .find(|it| when_label(*it) == label)
}

fn when_label(when: When) -> &'static str {
    match when {
        When::OnSuccess => "on_success",
        When::OnFailure => "on_failure",
        When::Always => "always",
        When::Manual => "manual",
        When::Delayed => "delayed",
    }
}

/// Returns a job of a project.
pub(crate) fn find(tx: &mut Tx<'_>, project: ProjectId, id: JobId) -> Result<Option<Job>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_job WHERE id = $1 AND project_id = $2");
    tx.query_opt(&sql, params![id.0, project.0])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns a job wherever it is, for its own runner and for workers.
pub(crate) fn find_anywhere(tx: &mut Tx<'_>, id: JobId) -> Result<Option<Job>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_job WHERE id = $1");
    tx.query_opt(&sql, params![id.0])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns all jobs of a pipeline in order, tries that were replaced only on demand.
pub(crate) fn of_pipeline(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    retried: bool,
) -> Result<Vec<Job>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_job WHERE pipeline_id = $1 AND (retried = 0 OR CAST($2 AS BIGINT) = 1) ORDER BY position, id"
    );
    tx.query(&sql, params![pipeline.0, retried])?
        .iter()
        .map(of_row)
        .collect()
}

/// Which jobs a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobFilter {
    pub(crate) pipeline: Option<PipelineId>,
    /// Stored names of states; empty: all.
    pub(crate) status: Vec<&'static str>,
    pub(crate) include_retried: bool,
    /// Only bridges, or only what runs scripts.
    pub(crate) bridges: Option<bool>,
}

/// Lists the jobs that a runner had, the newest first, those of one of its machines or in some states on demand.
pub(crate) fn of_runner(
    tx: &mut Tx<'_>,
    runner: RunnerId,
    system_id: Option<&str>,
    status: &[&'static str],
    ascending: bool,
    slice: Slice,
) -> Result<Page<Job>, Error> {
    let mut where_ = Conditions::default();
    where_.add("runner_id = ?", runner.0);
    if let Some(system_id) = system_id {
        where_.add("system_id = ?", system_id);
    }
    where_.add_any("status", status.iter().copied());
    let conditions = where_.sql();
    let sql = format!("SELECT COUNT(*) AS total FROM ci_job WHERE {conditions}");
    let total = count(&tx.query_one(&sql, where_.params())?, "total")?;
    let (limit, offset) = limits(slice);
    let (limit, offset) = (where_.param(limit), where_.param(offset));
    let order = if ascending { "" } else { "DESC" };
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_job WHERE {conditions} ORDER BY id {order} LIMIT {limit} OFFSET {offset}"
    );
    let rows = tx.query(&sql, where_.params())?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// Lists the jobs of a project, the newest first.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    project: ProjectId,
    filter: &JobFilter,
    slice: Slice,
) -> Result<Page<Job>, Error> {
    let mut where_ = Conditions::default();
    where_.add("project_id = ?", project.0);
    if let Some(pipeline) = filter.pipeline {
        where_.add("pipeline_id = ?", pipeline.0);
    }
    if !filter.include_retried {
        where_.add_plain("retried = 0");
    }
    if let Some(bridges) = filter.bridges {
        where_.add("bridge = ?", bridges);
    }
    where_.add_any("status", filter.status.iter().copied());
    let sql = format!(
        "SELECT COUNT(*) AS total FROM ci_job WHERE {}",
        where_.sql()
    );
    let total = count(&tx.query_one(&sql, where_.params())?, "total")?;
    let conditions = where_.sql();
    let (limit, offset) = limits(slice);
    let (limit, offset) = (where_.param(limit), where_.param(offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_job WHERE {conditions} ORDER BY id DESC LIMIT {limit} OFFSET {offset}"
    );
    let rows = tx.query(&sql, where_.params())?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// Sets what a person gives a manual job, sealed, and who the person is.
pub(crate) fn put_player(
    tx: &mut Tx<'_>,
    job: JobId,
    user: Option<UserId>,
    sealed: &str,
    memory_asked: Option<u64>,
) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET user_id = COALESCE($2, user_id), variables = $3,
                   memory_asked = COALESCE($4, memory_asked) WHERE id = $1";
    let asked = memory_asked.map(int);
    tx.execute(sql, params![job.0, user.map(|it| it.0), sealed, asked])
        .map(drop)
}

/// Sets what a job is to do, before it is handed out.
pub(crate) fn put_plan(tx: &mut Tx<'_>, job: JobId, plan: &JobPlan) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET plan = $2 WHERE id = $1";
    tx.execute(sql, params![job.0, to_json(plan)?]).map(drop)
}

/// Returns what the retry rules of a job say.
pub(crate) fn load_plan(tx: &mut Tx<'_>, job: JobId) -> Result<JobPlan, Error> {
    json(
        &tx.query_one("SELECT plan FROM ci_job WHERE id = $1", params![job.0])?,
        "plan",
    )
}

/// Returns what the file says of a job, and the variables that it was given by whoever started it.
pub(crate) fn load_order(
    tx: &mut Tx<'_>,
    key: &SealingKey,
    job: JobId,
) -> Result<(JobPlan, Vec<Variable>), Error> {
    let sql = "SELECT plan, variables, pipeline_id FROM ci_job WHERE id = $1";
    let row = tx.query_one(sql, params![job.0])?;
    let pipeline = PipelineId(row.int("pipeline_id")?);
    let variables = given::open(key, pipeline, &row, "variables")?;
    Ok((json(&row, "plan")?, variables))
}

/// Returns the newest successful job of a name in a pipeline.
pub(crate) fn find_named(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    name: &str,
) -> Result<Option<Job>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_job WHERE pipeline_id = $1 AND retried = 0 AND name = $2"
    );
    tx.query_opt(&sql, params![pipeline.0, name])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Notes that a job's log and artifacts were erased.
pub(crate) fn put_erased(tx: &mut Tx<'_>, job: JobId) -> Result<(), Error> {
    super::report::delete_of_job(tx, job)?;
    let sql = "UPDATE ci_job SET erased_at = $2, trace_bytes = 0, trace_crc = 0, trace_digest = NULL, artifacts_gone = 1
               WHERE id = $1";
    let now = tx.now();
    tx.execute(sql, params![job.0, now])?;
    tx.execute(
        "DELETE FROM ci_trace_chunk WHERE job_id = $1",
        params![job.0],
    )?;
    tx.execute("DELETE FROM ci_artifact WHERE job_id = $1", params![job.0])
        .map(drop)
}

/// Whether the runner of a job can stop its script and still run what comes after.
pub(crate) fn is_graceful(tx: &mut Tx<'_>, job: JobId) -> Result<bool, Error> {
    let sql = "SELECT graceful FROM ci_job WHERE id = $1";
    tx.query_opt(sql, params![job.0])?
        .map_or(Ok(false), |row| row.bool("graceful"))
}
