//! Rows of jobs: what the graph needs, what lists show, what a runner takes.

use std::collections::BTreeMap;

use rave_ci_lang::{JobPlan, Variable};
use rave_core::id::{JobId, PipelineId, ProjectId, RunnerId, UserId};
use rave_core::job::{JobState, When};
use rave_core::pipeline::{Graph, Node, Road};
use rave_core::port::{JobIdentity, Page, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{
    Conditions, corrupt, count, json, label, limits, number, resource, state_label, state_of,
    to_json,
};
use crate::model::Job;

const COLUMNS: &str = "id, pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, bridge, interruptible,
    resource_group_id, tags, protected, status, runner_id, failure_reason, scheduled_at, allow_failure, exit_code, retried, user_id, timeout_ms,
    created_at, queued_at, started_at, finished_at, trace_bytes, erased_at, coverage";

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
        protected: row.bool("protected")?,
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

/// A job of a new pipeline.
pub(crate) struct NewJob {
    pub(crate) node: Node,
    pub(crate) plan: JobPlan,
    pub(crate) timeout_ms: i64,
}

/// Adds the jobs of a new pipeline in order, each in its node's state, which is [`JobState::Created`].
pub(crate) fn insert_all(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    project: ProjectId,
    protected: bool,
    user: Option<UserId>,
    jobs: &[NewJob],
) -> Result<(), Error> {
    const AT_ONCE: usize = 100;
    let now = tx.now();
    let groups = resource_groups(tx, project, jobs)?;
    let mut position = 0;
    for jobs in jobs.chunks(AT_ONCE) {
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for job in jobs {
            let needs = job.node.needs.as_ref().map(to_json).transpose()?;
            let group = job.plan.resource_group.as_deref();
            let group = group.and_then(|it| groups.get(it)).copied();
            let row = params![
                pipeline.0,
                project.0,
                number(position),
                &job.plan.name,
                &job.plan.stage,
                number(job.node.stage),
                needs,
                when_label(job.node.when),
                job.node.start_in_millis,
                to_json(&job.plan)?,
                to_json(&job.plan.tags)?,
                protected,
                "created",
                job.node.allow_failure,
                job.node.allow_failure,
                user.map(|it| it.0),
                job.timeout_ms,
                now,
                job.node.road.bridge,
                job.node.interruptible,
                group,
            ];
            let first = values.len() + 1;
            let places = (first..first + row.len()).map(|it| format!("${it}"));
            rows.push(format!("({})", places.collect::<Vec<_>>().join(", ")));
            values.extend_from_slice(row);
            position += 1;
        }
        let sql = format!(
            "INSERT INTO ci_job (pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, start_in_ms,
                 plan, tags, protected, status, may_fail, allow_failure, user_id, timeout_ms, created_at, bridge,
                 interruptible, resource_group_id) VALUES {}",
            rows.join(", ")
        );
        tx.execute(&sql, &values)?;
    }
    Ok(())
}

/// Returns the resource groups that jobs name.
fn resource_groups<'a>(
    tx: &mut Tx<'_>,
    project: ProjectId,
    jobs: &'a [NewJob],
) -> Result<BTreeMap<&'a str, i64>, Error> {
    let mut groups = BTreeMap::new();
    for name in jobs
        .iter()
        .filter_map(|it| it.plan.resource_group.as_deref())
    {
        if !groups.contains_key(name) {
            groups.insert(name, resource::ensure(tx, project, name)?);
        }
    }
    Ok(groups)
}

/// Which row a node of the graph is, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) job: JobId,
    pub(crate) version: i64,
    pub(crate) graceful: bool,
    pub(crate) tries: i64,
    pub(crate) resource_group: Option<i64>,
}

/// Returns the jobs of a pipeline, each in its latest try, in order.
pub(crate) fn load_graph(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
) -> Result<(Graph, Vec<Place>), Error> {
    let sql = "SELECT id, position, stage_index, needs, run_when, start_in_ms, allow_failure, status, runner_id,
                   failure_reason, scheduled_at, version, graceful, tries, bridge, interruptible, resource_group_id
               FROM ci_job WHERE pipeline_id = $1 AND retried = 0 ORDER BY position";
    let rows = tx.query(sql, params![pipeline.0])?;
    let (mut graph, mut places) = (Graph::default(), Vec::with_capacity(rows.len()));
    for (index, row) in rows.iter().enumerate() {
        if position(row, "position")? != index {
            return Err(corrupt(format!(
                "pipeline {pipeline} lacks job {index} of its plan"
            )));
        }
        graph.nodes.push(Node {
            stage: position(row, "stage_index")?,
            needs: needs(row)?,
            when: label(row, "run_when", when_of)?,
            start_in_millis: row.int("start_in_ms")?,
            road: Road {
                resource: row.opt_int("resource_group_id")?.is_some(),
                bridge: row.bool("bridge")?,
            },
            interruptible: row.bool("interruptible")?,
            allow_failure: row.bool("allow_failure")?,
            state: state_of(row)?,
        });
        places.push(Place {
            job: JobId(row.int("id")?),
            version: row.int("version")?,
            graceful: row.bool("graceful")?,
            tries: row.int("tries")?,
            resource_group: row.opt_int("resource_group_id")?,
        });
    }
    Ok((graph, places))
}

/// What a change of a job's state stores besides the state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub(crate) allow_failure: bool,
    pub(crate) exit_code: Option<i64>,
    /// When somebody has to look at the job again.
    pub(crate) due_at: Option<Timestamp>,
}

/// What a changed job tells the log of events and the metrics.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) resource_group: Option<i64>,
}

fn stored_of(row: &Row) -> Result<Stored, Error> {
    Ok(Stored {
        name: row.text("name")?,
        stage: row.text("stage")?,
        started_at: row.opt_time("started_at")?,
        resource_group: row.opt_int("resource_group_id")?,
    })
}

/// Stores a job's state and what follows from it: times, and that an ended job gives its resource back; unless the job changed since version `seen`.
pub(crate) fn put_state(
    tx: &mut Tx<'_>,
    job: JobId,
    seen: i64,
    to: JobState,
    change: Change,
) -> Result<Option<Stored>, Error> {
    let sql = "UPDATE ci_job SET status = $3, version = version + 1, failure_reason = $4, scheduled_at = $5,
                   allow_failure = $6, exit_code = COALESCE($7, exit_code), due_at = $8,
                   runner_id = CASE WHEN $3 = 'pending' THEN NULL ELSE COALESCE($9, runner_id) END,
                   token_digest = CASE WHEN $3 = 'pending' THEN NULL ELSE token_digest END,
                   queued_at = CASE $3 WHEN 'pending' THEN COALESCE(queued_at, $10) WHEN 'created' THEN NULL ELSE queued_at END,
                   started_at = CASE WHEN $3 IN ('running', 'following', 'blocked', 'success') THEN COALESCE(started_at, $10) ELSE started_at END,
                   finished_at = CASE WHEN $3 IN ('success', 'failed', 'canceled') THEN $10 ELSE NULL END
               WHERE id = $1 AND version = $2 RETURNING name, stage, started_at, resource_group_id";
    let (reason, at) = match to {
        JobState::Failed(reason) => (Some(reason.label()), None),
        JobState::Scheduled { at } => (None, Some(at)),
        _ => (None, None),
    };
    let now = tx.now();
    let params = params![
        job.0,
        seen,
        state_label(to),
        reason,
        at,
        change.allow_failure,
        change.exit_code,
        change.due_at,
        to.runner().map(|it| it.0),
        now,
    ];
    let Some(row) = tx.query_opt(sql, params)? else {
        return Ok(None);
    };
    let stored = stored_of(&row)?;
    if let Some(group) = stored.resource_group.filter(|_| to.status().is_finished()) {
        resource::release(tx, group, job)?;
    }
    Ok(Some(stored))
}

/// Stores that jobs which waited for others are let go, or ruled out, all to the same state. Their pipeline is locked, and
/// nobody else changes a job that waits so. Returns what changed, in no order; fewer than asked for if that is not so.
pub(crate) fn put_released(
    tx: &mut Tx<'_>,
    jobs: &[JobId],
    to: JobState,
    due_at: Option<Timestamp>,
) -> Result<Vec<(JobId, Stored)>, Error> {
    let at = match to {
        JobState::Scheduled { at } => Some(at),
        _ => None,
    };
    let now = tx.now();
    let queued_at = (to == JobState::Pending).then_some(now);
    let mut where_ = Conditions::default();
    let state = where_.param(state_label(to));
    let (at, due_at) = (where_.param(at), where_.param(due_at));
    let queued_at = where_.param(queued_at);
    where_.add_plain("status = 'created'");
    where_.add_any("id", jobs.iter().map(|it| it.0));
    let sql = format!(
        "UPDATE ci_job SET status = {state}, version = version + 1, scheduled_at = {at}, due_at = {due_at},
             queued_at = COALESCE(queued_at, {queued_at})
         WHERE {} RETURNING id, name, stage, started_at, resource_group_id",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((JobId(row.int("id")?), stored_of(row)?)))
        .collect()
}

/// Puts a new try in the place of an ended job, in the state in which one begins. Returns its id.
pub(crate) fn insert_retry(
    tx: &mut Tx<'_>,
    old: JobId,
    user: Option<UserId>,
    state: JobState,
    due_at: Option<Timestamp>,
) -> Result<(JobId, Stored), Error> {
    tx.execute(
        "UPDATE ci_job SET retried = 1, version = version + 1 WHERE id = $1",
        params![old.0],
    )?;
    let sql = "INSERT INTO ci_job (pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, start_in_ms,
                   plan, tags, protected, status, may_fail, allow_failure, tries, user_id, variables, timeout_ms, created_at,
                   bridge, interruptible, resource_group_id, queued_at, due_at)
               SELECT pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, start_in_ms,
                   plan, tags, protected, CAST($5 AS TEXT), may_fail, may_fail,
                   tries + 1, COALESCE(CAST($2 AS BIGINT), user_id), variables, timeout_ms, CAST($3 AS BIGINT),
                   bridge, interruptible, resource_group_id, CAST($6 AS BIGINT), CAST($4 AS BIGINT)
               FROM ci_job WHERE id = $1 RETURNING id, name, stage, started_at, resource_group_id";
    let now = tx.now();
    let queued_at = (state == JobState::Pending).then_some(now);
    let params = params![
        old.0,
        user.map(|it| it.0),
        now,
        due_at,
        state_label(state),
        queued_at,
    ];
    let row = tx.query_one(sql, params)?;
    Ok((JobId(row.int("id")?), stored_of(&row)?))
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

/// A job that waits for a runner.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) job: JobId,
    pub(crate) version: i64,
    pub(crate) project: ProjectId,
    pub(crate) tags: Vec<String>,
    pub(crate) protected: bool,
}

/// Returns up to `limit` jobs that wait for a runner, after `after`, in the order in which they came.
pub(crate) fn pending(
    tx: &mut Tx<'_>,
    after: JobId,
    project: Option<ProjectId>,
    limit: u32,
) -> Result<Vec<Candidate>, Error> {
    let sql = "SELECT id, version, project_id, tags, protected FROM ci_job
               WHERE status = 'pending' AND id > $1 AND (CAST($2 AS BIGINT) IS NULL OR project_id = CAST($2 AS BIGINT))
               ORDER BY id LIMIT $3";
    let candidate = |row: &Row| {
        Ok(Candidate {
            job: JobId(row.int("id")?),
            version: row.int("version")?,
            project: ProjectId(row.int("project_id")?),
            tags: json(row, "tags")?,
            protected: row.bool("protected")?,
        })
    };
    tx.query(sql, params![after.0, project.map(|it| it.0), limit])?
        .iter()
        .map(candidate)
        .collect()
}

/// What is stored when a runner takes a job.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) runner: RunnerId,
    pub(crate) system_id: String,
    pub(crate) token_digest: String,
    /// Whether the runner can stop a script and still run what comes after.
    pub(crate) graceful: bool,
    /// The least of the job's and the runner's limit is stored.
    pub(crate) runner_timeout_ms: i64,
    pub(crate) due_at: Timestamp,
}

/// A job that a runner takes, with what the file says of it.
pub(crate) struct Taken {
    pub(crate) job: Job,
    pub(crate) plan: JobPlan,
    pub(crate) variables: Vec<Variable>,
}

/// Gives a waiting job to a runner, unless it changed since version `seen`.
pub(crate) fn assign(
    tx: &mut Tx<'_>,
    job: JobId,
    seen: i64,
    to: &Assignment,
) -> Result<Option<Taken>, Error> {
    let sql = format!(
        "UPDATE ci_job SET status = 'assigned', version = version + 1, runner_id = $3, system_id = $4, token_digest = $5,
             graceful = $6, due_at = $7, contact_at = $8, timeout_ms = CASE WHEN timeout_ms > $9 THEN $9 ELSE timeout_ms END
         WHERE id = $1 AND version = $2 AND status = 'pending' RETURNING {COLUMNS}, plan, variables"
    );
    let now = tx.now();
    let params = params![
        job.0,
        seen,
        to.runner.0,
        &to.system_id,
        &to.token_digest,
        to.graceful,
        to.due_at,
        now,
        to.runner_timeout_ms,
    ];
    let Some(row) = tx.query_opt(&sql, params)? else {
        return Ok(None);
    };
    Ok(Some(Taken {
        job: of_row(&row)?,
        plan: json(&row, "plan")?,
        variables: json(&row, "variables")?,
    }))
}

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
    pub(crate) allow_failure: bool,
}

/// Returns the job that this token was made for, in whatever state it is now.
pub(crate) fn find_held(tx: &mut Tx<'_>, job: JobId, digest: &str) -> Result<Option<Held>, Error> {
    let sql = "SELECT id, pipeline_id, project_id, status, runner_id, failure_reason, scheduled_at, version,
                   started_at, contact_at, timeout_ms, trace_bytes, trace_crc, allow_failure
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
        allow_failure: row.bool("allow_failure")?,
    })
}

/// A job whose success can matter to others, or cannot.
pub(crate) struct Ending {
    pub(crate) state: JobState,
    pub(crate) version: i64,
    pub(crate) allow_failure: bool,
    /// Whether jobs of the same or an earlier stage are with a runner or wait for one: no later stage can begin.
    pub(crate) busy: bool,
    /// Whether a job that waits names this one in its needs.
    pub(crate) needed: bool,
}

/// Returns what a job's end can matter to, `None` when a newer try took its place.
pub(crate) fn ending(tx: &mut Tx<'_>, job: JobId) -> Result<Option<Ending>, Error> {
    let sql = "SELECT status, runner_id, failure_reason, scheduled_at, version, allow_failure,
                   CAST(CASE WHEN EXISTS (
                       SELECT 1 FROM ci_job AS other WHERE other.pipeline_id = own.pipeline_id AND other.id <> own.id
                       AND other.retried = 0 AND other.stage_index <= own.stage_index
                       AND other.status IN ('pending', 'assigned', 'running')) THEN 1 ELSE 0 END AS BIGINT) AS busy,
                   CAST(CASE WHEN EXISTS (
                       SELECT 1 FROM ci_job AS other WHERE other.pipeline_id = own.pipeline_id
                       AND other.status = 'created' AND other.needs IS NOT NULL
                       AND REPLACE(REPLACE(other.needs, '[', ','), ']', ',') LIKE '%,' || CAST(own.position AS TEXT) || ',%'
                   ) THEN 1 ELSE 0 END AS BIGINT) AS needed
               FROM ci_job AS own WHERE id = $1 AND retried = 0";
    let Some(row) = tx.query_opt(sql, params![job.0])? else {
        return Ok(None);
    };
    Ok(Some(Ending {
        state: state_of(&row)?,
        version: row.int("version")?,
        allow_failure: row.bool("allow_failure")?,
        busy: row.bool("busy")?,
        needed: row.bool("needed")?,
    }))
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
                   started_at, contact_at, timeout_ms, trace_bytes, trace_crc, allow_failure, due_at
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

/// Sets what a person gives a manual job, and who the person is.
pub(crate) fn put_player(
    tx: &mut Tx<'_>,
    job: JobId,
    user: Option<UserId>,
    variables: &[Variable],
) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET user_id = COALESCE($2, user_id), variables = $3 WHERE id = $1";
    tx.execute(
        sql,
        params![job.0, user.map(|it| it.0), to_json(variables)?],
    )
    .map(drop)
}

/// Returns what the retry rules of a job say.
pub(crate) fn load_plan(tx: &mut Tx<'_>, job: JobId) -> Result<JobPlan, Error> {
    json(
        &tx.query_one("SELECT plan FROM ci_job WHERE id = $1", params![job.0])?,
        "plan",
    )
}

/// Returns what the file says of a job, and the variables that it was given by whoever started it.
pub(crate) fn load_order(tx: &mut Tx<'_>, job: JobId) -> Result<(JobPlan, Vec<Variable>), Error> {
    let sql = "SELECT plan, variables FROM ci_job WHERE id = $1";
    let row = tx.query_one(sql, params![job.0])?;
    Ok((json(&row, "plan")?, json(&row, "variables")?))
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
