//! Jobs as the state machine of pipelines sees them.

use rave_core::id::{JobId, PipelineId};
use rave_core::job::JobState;
use rave_core::pipeline::{Graph, Node, Road};
use rave_store::{Error, Tx, params};

use super::{needs, position, when_of};
use crate::store::{corrupt, label, state_of};

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
