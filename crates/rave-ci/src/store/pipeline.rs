//! Rows of pipelines.

use rave_ci_lang::{Diagnostic, Variable};
use rave_core::id::{JobId, PipelineId, ProjectId, UserId};
use rave_core::job::Status;
use rave_core::pipeline::Tallies;
use rave_core::port::{Page, PipelineBadge, Slice};
use rave_core::trace::TraceContext;
use rave_store::{Error, Row, Tx, params};

use super::{Conditions, count, given, json, label, limits, progress, to_json};
use crate::model::{
    OnJobFailure, OnNewCommit, Pipeline, PipelineFailure, PipelineFilter, PipelineOrder, Source,
    Upstream,
};
use rave_core::sealing::SealingKey;

const COLUMNS: &str = "id, iid, project_id, ref, tag, protected, sha, before_sha, source, status, user_id, name,
    failure_reason, errors, notices, stages, traceparent, created_at, updated_at, started_at, finished_at,
    bridge_job_id, upstream_id, auto_canceled_by";

fn of_row(row: &Row) -> Result<Pipeline, Error> {
    let failure = row.opt_text("failure_reason")?;
    Ok(Pipeline {
        id: PipelineId(row.int("id")?),
        iid: row.int("iid")?,
        project: ProjectId(row.int("project_id")?),
        ref_name: row.text("ref")?,
        tag: row.bool("tag")?,
        protected: row.bool("protected")?,
        sha: row.text("sha")?,
        before_sha: row.text("before_sha")?,
        source: label(row, "source", Source::from_label)?,
        status: label(row, "status", Status::from_label)?,
        user: row.opt_int("user_id")?.map(UserId),
        name: row.opt_text("name")?,
        failure: failure.as_deref().and_then(PipelineFailure::from_label),
        errors: json(row, "errors")?,
        notices: json(row, "notices")?,
        stages: json(row, "stages")?,
        trace: row
            .opt_text("traceparent")?
            .as_deref()
            .and_then(TraceContext::parse),
        upstream: upstream(row)?,
        auto_canceled_by: row.opt_int("auto_canceled_by")?.map(PipelineId),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
    })
}

fn upstream(row: &Row) -> Result<Option<Upstream>, Error> {
    let (pipeline, bridge) = (row.opt_int("upstream_id")?, row.opt_int("bridge_job_id")?);
    Ok(pipeline.zip(bridge).map(|(pipeline, bridge)| Upstream {
        pipeline: PipelineId(pipeline),
        bridge: JobId(bridge),
    }))
}

/// What is known of a pipeline before its jobs.
#[derive(Clone, Debug)]
pub(crate) struct NewPipeline {
    pub(crate) project: ProjectId,
    pub(crate) ref_name: String,
    pub(crate) tag: bool,
    pub(crate) protected: bool,
    pub(crate) sha: String,
    pub(crate) before_sha: String,
    pub(crate) source: Source,
    pub(crate) user: Option<UserId>,
    /// The schedule that asks for it.
    pub(crate) schedule: Option<i64>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) upstream: Option<Upstream>,
}

/// Makes the row of a pipeline that nobody sees until [`publish`]. Returns its id and its number in the project.
pub(crate) fn insert(tx: &mut Tx<'_>, new: &NewPipeline) -> Result<(PipelineId, i64), Error> {
    let sql = "INSERT INTO ci_counter (project_id, last_iid) VALUES ($1, 1)
               ON CONFLICT (project_id) DO UPDATE SET last_iid = ci_counter.last_iid + 1 RETURNING last_iid";
    let iid = tx.query_one(sql, params![new.project.0])?.int("last_iid")?;
    let sql = "INSERT INTO ci_pipeline (iid, project_id, ref, tag, protected, sha, before_sha, source, status, user_id,
                   traceparent, ready, created_at, updated_at, schedule_id, upstream_id, bridge_job_id)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $12, $13, $14, $15) RETURNING id";
    let params = params![
        iid,
        new.project.0,
        &new.ref_name,
        new.tag,
        new.protected,
        &new.sha,
        &new.before_sha,
        new.source.label(),
        Status::Created.label(),
        new.user.map(|it| it.0),
        new.trace.map(|it| it.to_string()),
        tx.now(),
        new.schedule,
        new.upstream.map(|it| it.pipeline.0),
        new.upstream.map(|it| it.bridge.0),
    ];
    Ok((PipelineId(tx.query_one(sql, params)?.int("id")?), iid))
}

/// What the plan brings to a pipeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Planned {
    pub(crate) name: Option<String>,
    pub(crate) stages: Vec<String>,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) notices: Vec<Diagnostic>,
    /// The text of the file, `None` without one.
    pub(crate) config: Option<String>,
    pub(crate) predefined: Vec<Variable>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) on_new_commit: Option<OnNewCommit>,
    pub(crate) on_job_failure: Option<OnJobFailure>,
    /// What the plan was made from, packed. `None`: it is not kept.
    pub(crate) origin: Option<Vec<u8>>,
}

/// The variables of a [`Planned`] as they are kept.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) predefined: String,
    pub(crate) variables: String,
}

/// Lets everyone see the pipeline, as it was planned.
pub(crate) fn publish(
    tx: &mut Tx<'_>,
    id: PipelineId,
    status: Status,
    failure: Option<PipelineFailure>,
    planned: &Planned,
    sealed: &Sealed,
) -> Result<(), Error> {
    let sql = "UPDATE ci_pipeline SET ready = 1, status = $2, failure_reason = $3, name = $4, stages = $5, errors = $6,
                   notices = $7, config = $8, predefined = $9, variables = $10, updated_at = $11, finished_at = $12,
                   on_new_commit = COALESCE($13, on_new_commit), on_job_failure = COALESCE($14, on_job_failure)
               WHERE id = $1 AND ready = 0";
    let now = tx.now();
    let params = params![
        id.0,
        status.label(),
        failure.map(PipelineFailure::label),
        planned.name.clone(),
        to_json(&planned.stages)?,
        to_json(&planned.errors)?,
        to_json(&planned.notices)?,
        planned.config.clone(),
        &sealed.predefined,
        &sealed.variables,
        now,
        status.is_finished().then_some(now),
        planned.on_new_commit.map(OnNewCommit::label),
        planned.on_job_failure.map(OnJobFailure::label),
    ];
    match tx.execute(sql, params)? {
        1 => Ok(()),
        _ => Err(super::corrupt(format!("pipeline {id} was published twice"))),
    }
}

/// What a change of a pipeline starts from.
#[derive(Clone, Debug)]
pub(crate) struct Locked {
    pub(crate) pipeline: PipelineId,
    pub(crate) project: ProjectId,
    pub(crate) iid: i64,
    pub(crate) status: Status,
    pub(crate) ref_name: String,
    pub(crate) sha: String,
    pub(crate) on_job_failure: OnJobFailure,
    pub(crate) trace: Option<TraceContext>,
    /// How many jobs of each kind its stages have; `None` if nobody has counted since somebody else changed them.
    pub(crate) tallies: Option<Tallies>,
    /// The version of the pipeline's row that new tallies are counted for.
    pub(crate) version: i64,
}

/// Keeps others from changing the pipeline until the transaction ends. `None` when it does not exist.
pub(crate) fn lock(tx: &mut Tx<'_>, id: PipelineId) -> Result<Option<Locked>, Error> {
    let counted = progress::lock(tx, id)?;
    let sql = "SELECT project_id, iid, status, ref, sha, on_job_failure, traceparent, version FROM ci_pipeline
               WHERE id = $1 AND ready = 1";
    let Some(row) = tx.query_opt(sql, params![id.0])? else {
        progress::delete(tx, id)?;
        return Ok(None);
    };
    let version = row.int("version")?;
    Ok(Some(Locked {
        pipeline: id,
        project: ProjectId(row.int("project_id")?),
        iid: row.int("iid")?,
        status: label(&row, "status", Status::from_label)?,
        ref_name: row.text("ref")?,
        sha: row.text("sha")?,
        on_job_failure: label(&row, "on_job_failure", OnJobFailure::from_label)?,
        trace: row
            .opt_text("traceparent")?
            .as_deref()
            .and_then(TraceContext::parse),
        tallies: counted
            .filter(|it| it.version == version)
            .map(|it| it.tallies),
        version,
    }))
}

/// Stores a pipeline's status, the times that follow from it, and that whoever follows it has to look. Returns whether
/// anybody does.
pub(crate) fn put_status(tx: &mut Tx<'_>, id: PipelineId, status: Status) -> Result<bool, Error> {
    let sql = "UPDATE ci_pipeline SET status = $2, updated_at = $3, finished_at = $4,
                   started_at = CASE WHEN CAST($5 AS BIGINT) = 1 THEN COALESCE(started_at, $3) ELSE started_at END
               WHERE id = $1";
    let now = tx.now();
    let finished = status.is_finished().then_some(now);
    let params = params![
        id.0,
        status.label(),
        now,
        finished,
        status == Status::Running
    ];
    tx.execute(sql, params)?;
    let sql = "UPDATE ci_follow SET due = 1 WHERE pipeline_id = $1";
    Ok(tx.execute(sql, params![id.0])? > 0)
}

/// Returns a pipeline of a project.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    project: ProjectId,
    id: PipelineId,
) -> Result<Option<Pipeline>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_pipeline WHERE id = $1 AND project_id = $2 AND ready = 1"
    );
    tx.query_opt(&sql, params![id.0, project.0])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns a pipeline wherever it is, for workers.
pub(crate) fn find_anywhere(tx: &mut Tx<'_>, id: PipelineId) -> Result<Option<Pipeline>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_pipeline WHERE id = $1 AND ready = 1");
    tx.query_opt(&sql, params![id.0])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns pipelines of a project by their ids.
pub(crate) fn list_by_id(
    tx: &mut Tx<'_>,
    project: ProjectId,
    ids: &[PipelineId],
) -> Result<Vec<Pipeline>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut where_ = Conditions::default();
    where_.add("project_id = ?", project.0);
    where_.add_any("id", ids.iter().map(|it| it.0));
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_pipeline WHERE {} AND ready = 1",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(of_row)
        .collect()
}

/// Lists the pipelines of a project.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    project: ProjectId,
    filter: &PipelineFilter,
    slice: Slice,
) -> Result<Page<Pipeline>, Error> {
    let mut where_ = conditions(project, filter);
    let sql = format!(
        "SELECT COUNT(*) AS total FROM ci_pipeline WHERE {}",
        where_.sql()
    );
    let total = count(&tx.query_one(&sql, where_.params())?, "total")?;
    let column = match filter.order {
        PipelineOrder::Id => "id",
        PipelineOrder::Status => "status",
        PipelineOrder::Ref => "ref",
        PipelineOrder::UpdatedAt => "updated_at",
        PipelineOrder::UserId => "user_id",
    };
    let direction = if filter.ascending { "ASC" } else { "DESC" };
    let conditions = where_.sql();
    let (limit, offset) = limits(slice);
    let (limit, offset) = (where_.param(limit), where_.param(offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_pipeline WHERE {conditions}
         ORDER BY {column} {direction}, id {direction} LIMIT {limit} OFFSET {offset}"
    );
    let rows = tx.query(&sql, where_.params())?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

fn conditions(project: ProjectId, filter: &PipelineFilter) -> Conditions {
    let mut where_ = Conditions::default();
    where_.add("project_id = ?", project.0);
    where_.add_plain("ready = 1");
    where_.add_any("status", filter.status.iter().map(|it| it.label()));
    match filter.source {
        Some(source) => where_.add("source = ?", source.label()),
        // Children are shown with their parents, and alone to those who ask for them.
        None => where_.add_plain("source <> 'parent_pipeline'"),
    }
    if let Some(ref_name) = &filter.ref_name {
        where_.add("ref = ?", ref_name);
    }
    if let Some(sha) = &filter.sha {
        where_.add("sha = ?", sha);
    }
    if let Some(tag) = filter.tag {
        where_.add("tag = ?", tag);
    }
    if let Some(user) = filter.user {
        where_.add("user_id = ?", user.0);
    }
    if let Some(name) = &filter.name {
        where_.add("name = ?", name);
    }
    if let Some(schedule) = filter.schedule {
        where_.add("schedule_id = ?", schedule);
    }
    if let Some(after) = filter.updated_after {
        where_.add("updated_at > ?", after);
    }
    if let Some(before) = filter.updated_before {
        where_.add("updated_at < ?", before);
    }
    match filter.yaml_errors {
        Some(true) => where_.add_plain("failure_reason = 'config_error'"),
        Some(false) => {
            where_.add_plain("(failure_reason IS NULL OR failure_reason <> 'config_error')")
        }
        None => {}
    }
    where_
}

/// Returns the latest pipeline of each commit.
pub(crate) fn badges(
    tx: &mut Tx<'_>,
    project: ProjectId,
    commits: &[String],
) -> Result<Vec<(String, PipelineBadge)>, Error> {
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let mut where_ = Conditions::default();
    where_.add("project_id = ?", project.0);
    where_.add_any("sha", commits);
    let sql = format!(
        "SELECT id, sha, status FROM ci_pipeline WHERE id IN (
             SELECT MAX(id) FROM ci_pipeline WHERE {} AND ready = 1 AND source <> 'parent_pipeline' GROUP BY sha)",
        where_.sql()
    );
    let badge = |row: &Row| {
        let badge = PipelineBadge {
            pipeline: PipelineId(row.int("id")?),
            status: label(row, "status", Status::from_label)?,
        };
        Ok((row.text("sha")?, badge))
    };
    tx.query(&sql, where_.params())?.iter().map(badge).collect()
}

/// Returns the latest pipeline of a ref, of those with `status` if one is given.
pub(crate) fn find_latest(
    tx: &mut Tx<'_>,
    project: ProjectId,
    ref_name: &str,
    status: Option<Status>,
) -> Result<Option<Pipeline>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_pipeline WHERE project_id = $1 AND ref = $2 AND ready = 1
         AND source <> 'parent_pipeline' AND (CAST($3 AS TEXT) IS NULL OR status = CAST($3 AS TEXT)) ORDER BY id DESC LIMIT 1"
    );
    let status = status.map(Status::label);
    tx.query_opt(&sql, params![project.0, ref_name, status])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns the latest pipeline of a schedule.
pub(crate) fn last_of_schedule(
    tx: &mut Tx<'_>,
    project: ProjectId,
    schedule: i64,
) -> Result<Option<Pipeline>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_pipeline WHERE schedule_id = $1 AND project_id = $2 AND ready = 1
         ORDER BY id DESC LIMIT 1"
    );
    tx.query_opt(&sql, params![schedule, project.0])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// The variables given with a pipeline, and the text of its file.
pub(crate) type Inputs = (Vec<Variable>, Option<String>);

/// Returns what a pipeline was made from.
pub(crate) fn inputs(
    tx: &mut Tx<'_>,
    key: &SealingKey,
    project: ProjectId,
    id: PipelineId,
) -> Result<Option<Inputs>, Error> {
    let sql =
        "SELECT variables, config FROM ci_pipeline WHERE id = $1 AND project_id = $2 AND ready = 1";
    let Some(row) = tx.query_opt(sql, params![id.0, project.0])? else {
        return Ok(None);
    };
    let variables = given::open(key, id, &row, "variables")?;
    Ok(Some((variables, row.opt_text("config")?)))
}

/// What a job is told of its pipeline.
pub(crate) struct JobSide {
    pub(crate) pipeline: Pipeline,
    pub(crate) predefined: Vec<Variable>,
    pub(crate) variables: Vec<Variable>,
}

/// Returns what a job is told of its pipeline.
pub(crate) fn load_job_side(
    tx: &mut Tx<'_>,
    key: &SealingKey,
    id: PipelineId,
) -> Result<JobSide, Error> {
    let sql = format!("SELECT {COLUMNS}, predefined, variables FROM ci_pipeline WHERE id = $1");
    let row = tx.query_one(&sql, params![id.0])?;
    Ok(JobSide {
        pipeline: of_row(&row)?,
        predefined: given::open(key, id, &row, "predefined")?,
        variables: given::open(key, id, &row, "variables")?,
    })
}

/// Deletes a pipeline with all its rows. What is left in the blob store is swept later.
pub(crate) fn delete(tx: &mut Tx<'_>, id: PipelineId) -> Result<(), Error> {
    // First of all: whoever changes the pipeline holds this row.
    progress::delete(tx, id)?;
    super::report::delete_of_pipeline(tx, id)?;
    for sql in [
        "DELETE FROM ci_artifact WHERE job_id IN (SELECT id FROM ci_job WHERE pipeline_id = $1)",
        "DELETE FROM ci_dotenv WHERE job_id IN (SELECT id FROM ci_job WHERE pipeline_id = $1)",
        "DELETE FROM ci_follow WHERE pipeline_id = $1 OR job_id IN (SELECT id FROM ci_job WHERE pipeline_id = $1)",
        "DELETE FROM ci_chore WHERE pipeline_id = $1",
        "DELETE FROM ci_plan_origin WHERE pipeline_id = $1",
        "DELETE FROM ci_trace_chunk WHERE job_id IN (SELECT id FROM ci_job WHERE pipeline_id = $1)",
        "DELETE FROM ci_job WHERE pipeline_id = $1",
        "UPDATE ci_push SET pipeline_id = NULL WHERE pipeline_id = $1",
        "DELETE FROM ci_pipeline WHERE id = $1",
    ] {
        tx.execute(sql, params![id.0])?;
    }
    Ok(())
}

/// Returns up to `limit` pipelines of a project, for its deletion.
pub(crate) fn ids_of_project(
    tx: &mut Tx<'_>,
    project: ProjectId,
    limit: u32,
) -> Result<Vec<PipelineId>, Error> {
    let sql = "SELECT id FROM ci_pipeline WHERE project_id = $1 ORDER BY id LIMIT $2";
    tx.query(sql, params![project.0, limit])?
        .iter()
        .map(|row| Ok(PipelineId(row.int("id")?)))
        .collect()
}

/// Deletes what was begun more than `age_ms` ago and nobody will finish: requests that a crash cut off. A push that is
/// not dealt with yet goes on with its own.
pub(crate) fn delete_unfinished(tx: &mut Tx<'_>, age_ms: i64) -> Result<u64, Error> {
    let sql = "DELETE FROM ci_pipeline WHERE ready = 0 AND created_at < $1
               AND NOT EXISTS (SELECT 1 FROM ci_push WHERE ci_push.pipeline_id = ci_pipeline.id AND ci_push.done = 0)";
    let before = tx.now().plus_millis(-age_ms);
    tx.execute(sql, params![before])
}
