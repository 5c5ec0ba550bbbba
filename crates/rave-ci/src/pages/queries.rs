//! What only pages ask of the database.

use std::collections::BTreeMap;

use rave_ci_lang::JobPlan;
use rave_core::id::{JobId, PipelineId, ProjectId, RunnerId};
use rave_core::job::{Status, When};
use rave_core::pipeline::{Graph, Node, Road, stage_status};
use rave_store::{Error, Row, Tx, params};

use super::pipeline_view::Exposed;
use crate::store::{Conditions, corrupt, json, report, state_of};

/// The stages of a pipeline that have jobs, in order, with their statuses.
pub(super) type Stages = Vec<(String, Status)>;

/// Returns the stages of each of these pipelines.
pub(super) fn stages(
    tx: &mut Tx<'_>,
    pipelines: &[PipelineId],
) -> Result<BTreeMap<PipelineId, Stages>, Error> {
    if pipelines.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add_plain("retried = 0");
    where_.add_any("pipeline_id", pipelines.iter().map(|it| it.0));
    let sql = format!(
        "SELECT pipeline_id, stage, stage_index, allow_failure, status, runner_id, failure_reason, scheduled_at
         FROM ci_job WHERE {}",
        where_.sql()
    );
    let mut graphs: BTreeMap<PipelineId, (Graph, BTreeMap<usize, String>)> = BTreeMap::new();
    for row in &tx.query(&sql, where_.params())? {
        let (graph, names) = graphs
            .entry(PipelineId(row.int("pipeline_id")?))
            .or_default();
        let node = node(row)?;
        names.insert(node.stage, row.text("stage")?);
        graph.nodes.push(node);
    }
    let stages = |(graph, names): (Graph, BTreeMap<usize, String>)| {
        names
            .into_iter()
            .filter_map(|(stage, name)| stage_status(&graph, stage).map(|it| (name, it)))
            .collect()
    };
    Ok(graphs
        .into_iter()
        .map(|(id, it)| (id, stages(it)))
        .collect())
}

/// Reads a job as far as its stage's status depends on it.
fn node(row: &Row) -> Result<Node, Error> {
    Ok(Node {
        stage: usize::try_from(row.int("stage_index")?)
            .map_err(|_| corrupt("a stage is negative"))?,
        needs: None,
        when: When::OnSuccess,
        start_in_millis: 0,
        road: Road::default(),
        interruptible: false,
        allow_failure: row.bool("allow_failure")?,
        state: state_of(row)?,
    })
}

/// Returns the artifacts of a pipeline that its file wants shown with it.
pub(super) fn exposed(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Vec<Exposed>, Error> {
    // Inside a JSON text quotes are escaped, so this finds the member of the plan and nothing else.
    let sql = "SELECT id, name, plan FROM ci_job WHERE pipeline_id = $1 AND retried = 0
               AND plan LIKE '%\"expose_as\":\"%' AND EXISTS (
                   SELECT 1 FROM ci_artifact WHERE ci_artifact.job_id = ci_job.id AND file_type = 'archive')
               ORDER BY position LIMIT 50";
    let mut exposed = Vec::new();
    for row in &tx.query(sql, params![pipeline.0])? {
        let plan: JobPlan = json(row, "plan")?;
        let Some(artifacts) = plan.artifacts else {
            continue;
        };
        if let Some(name) = artifacts.expose_as {
            exposed.push(Exposed {
                job: JobId(row.int("id")?),
                job_name: row.text("name")?,
                name,
                paths: artifacts.paths,
            });
        }
    }
    Ok(exposed)
}

/// Returns what changes whenever a page of the pipeline may show something else, runners excepted.
pub(super) fn stamp(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<[i64; 6], Error> {
    let sql = "SELECT COUNT(*) AS jobs, CAST(COALESCE(SUM(version), 0) AS BIGINT) AS versions,
                   (SELECT version FROM ci_pipeline WHERE id = $1) AS version,
                   (SELECT CAST(COALESCE(SUM(version), 0) AS BIGINT) FROM ci_pipeline WHERE upstream_id = $1) AS downstream,
                   (SELECT COUNT(*) FROM ci_report WHERE pipeline_id = $1) AS reports
               FROM ci_job WHERE pipeline_id = $1";
    let row = tx.query_one(sql, params![pipeline.0])?;
    let unread = report::is_unread(tx, pipeline)? || report::is_unsearched(tx, pipeline)?;
    Ok([
        row.int("jobs")?,
        row.int("versions")?,
        row.opt_int("version")?.unwrap_or_default(),
        row.int("downstream")?,
        row.int("reports")?,
        i64::from(unread),
    ])
}

/// Returns whether a job's artifacts are gone, and whether its log may hold secrets.
pub(super) fn leftovers(tx: &mut Tx<'_>, job: JobId) -> Result<(bool, bool), Error> {
    let sql = "SELECT artifacts_gone, trace_debug FROM ci_job WHERE id = $1";
    let row = tx.query_one(sql, params![job.0])?;
    Ok((row.bool("artifacts_gone")?, row.bool("trace_debug")?))
}

/// A job that a runner works on.
pub(super) struct ActiveJob {
    pub(super) runner: RunnerId,
    pub(super) job: JobId,
    pub(super) project: ProjectId,
    pub(super) name: String,
}

/// Returns what all runners work on.
pub(super) fn active_jobs(tx: &mut Tx<'_>) -> Result<Vec<ActiveJob>, Error> {
    let sql = "SELECT runner_id, id, project_id, name FROM ci_job
               WHERE runner_id IS NOT NULL AND status IN ('assigned', 'running', 'canceling') ORDER BY id LIMIT 1000";
    let active = |row: &Row| {
        Ok(ActiveJob {
            runner: RunnerId(row.int("runner_id")?),
            job: JobId(row.int("id")?),
            project: ProjectId(row.int("project_id")?),
            name: row.text("name")?,
        })
    };
    tx.query(sql, params![])?.iter().map(active).collect()
}
