//! Jobs as the state machine of pipelines sees them.

use std::collections::BTreeMap;

use rave_core::id::{JobId, PipelineId};
use rave_core::pipeline::{Graph, Node, Road};
use rave_store::{Error, Row, Tx, Value, params};

use super::{needs, position, when_of};
use crate::store::{corrupt, label, number, state_of};

/// Which row a node of the graph is, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) job: JobId,
    pub(crate) version: i64,
    pub(crate) graceful: bool,
    pub(crate) tries: i64,
    pub(crate) resource_group: Option<i64>,
}

/// A job as a node, with the row that it is.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) position: usize,
    pub(crate) node: Node,
    pub(crate) place: Place,
}

const COLUMNS: &str = "id, position, stage_index, needs, run_when, start_in_ms, allow_failure, status, runner_id, failure_reason,
    scheduled_at, version, graceful, tries, bridge, interruptible, resource_group_id";

/// How many positions one statement names.
const AT_ONCE: usize = 500;

fn located_of(row: &Row) -> Result<Located, Error> {
    Ok(Located {
        position: position(row, "position")?,
        node: Node {
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
        },
        place: Place {
            job: JobId(row.int("id")?),
            version: row.int("version")?,
            graceful: row.bool("graceful")?,
            tries: row.int("tries")?,
            resource_group: row.opt_int("resource_group_id")?,
        },
    })
}

fn select(tx: &mut Tx<'_>, conditions: &str, params: &[Value]) -> Result<Vec<Located>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_job WHERE pipeline_id = $1 AND retried = 0 AND {conditions} ORDER BY position"
    );
    tx.query(&sql, params)?.iter().map(located_of).collect()
}

/// Returns the jobs of a pipeline, each in its latest try, in order.
pub(crate) fn load_graph(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
) -> Result<(Graph, Vec<Place>), Error> {
    let found = select(tx, "1 = 1", params![pipeline.0])?;
    let (mut graph, mut places) = (Graph::default(), Vec::with_capacity(found.len()));
    for (index, it) in found.into_iter().enumerate() {
        if it.position != index {
            return Err(corrupt(format!(
                "pipeline {pipeline} lacks job {index} of its plan"
            )));
        }
        graph.nodes.push(it.node);
        places.push(it.place);
    }
    Ok((graph, places))
}

/// Returns a job of a pipeline, `None` when a newer try took its place.
pub(crate) fn find_located(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    job: JobId,
) -> Result<Option<Located>, Error> {
    let found = select(tx, "id = $2", params![pipeline.0, job.0])?;
    Ok(found.into_iter().next())
}

/// Returns the jobs of a pipeline at these positions.
pub(crate) fn load_at(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    positions: &[usize],
) -> Result<Vec<Located>, Error> {
    let mut found = Vec::with_capacity(positions.len());
    for positions in positions.chunks(AT_ONCE) {
        let (list, params) = listed(pipeline, positions);
        found.extend(select(tx, &format!("position IN ({list})"), &params)?);
    }
    if found.len() != positions.len() {
        return Err(corrupt(format!(
            "pipeline {pipeline} lacks a job that others need"
        )));
    }
    Ok(found)
}

/// Returns the created jobs of a pipeline that need one of those at these positions.
pub(crate) fn needing(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    positions: &[usize],
) -> Result<Vec<Located>, Error> {
    let mut found: BTreeMap<usize, Located> = BTreeMap::new();
    for positions in positions.chunks(AT_ONCE) {
        let (list, params) = listed(pipeline, positions);
        let conditions = format!(
            "status = 'created' AND position IN (SELECT position FROM ci_need WHERE pipeline_id = $1 AND needed IN ({list}))"
        );
        let rows = select(tx, &conditions, &params)?;
        found.extend(rows.into_iter().map(|it| (it.position, it)));
    }
    Ok(found.into_values().collect())
}

/// Returns the created jobs of a stage that wait for all earlier stages.
pub(crate) fn waiting(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    stage: usize,
) -> Result<Vec<Located>, Error> {
    let conditions = "status = 'created' AND needs IS NULL AND stage_index = $2";
    select(tx, conditions, params![pipeline.0, number(stage)])
}

/// Returns positions as a list of parameters after the first, which is the pipeline.
fn listed(pipeline: PipelineId, positions: &[usize]) -> (String, Vec<Value>) {
    let places: Vec<String> = (2..positions.len() + 2)
        .map(|it| format!("${it}"))
        .collect();
    let values = positions.iter().map(|it| number(*it));
    let params = std::iter::once(pipeline.0).chain(values).map(Value::from);
    (places.join(", "), params.collect())
}
