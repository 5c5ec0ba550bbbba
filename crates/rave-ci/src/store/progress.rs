//! What is kept about a pipeline so that a job's event need not look at all of its jobs: how many of each kind its stages
//! have, and which job waits for which.

use std::collections::BTreeMap;

use rave_core::id::PipelineId;
use rave_core::pipeline::{Graph, Tallies, Tally};
use rave_store::{Error, Row, Tx, Value, params};

use super::{corrupt, json, number, to_json};

/// Tallies as they were counted for one version of the pipeline's row.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) tallies: Tallies,
    pub(crate) version: i64,
}

/// Keeps others from changing the pipeline until the transaction ends. Returns its tallies if they were counted.
pub(crate) fn lock(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Option<Counted>, Error> {
    let sql = "INSERT INTO ci_progress (pipeline_id, version) VALUES ($1, 0)
               ON CONFLICT (pipeline_id) DO UPDATE SET version = ci_progress.version + 1
               RETURNING tallies, tallies_version";
    counted_of(&tx.query_one(sql, params![pipeline.0])?)
}

fn counted_of(row: &Row) -> Result<Option<Counted>, Error> {
    let (Some(_), Some(version)) = (row.opt_text("tallies")?, row.opt_int("tallies_version")?)
    else {
        return Ok(None);
    };
    let stages: Vec<BTreeMap<String, usize>> = json(row, "tallies")?;
    let stages = stages
        .iter()
        .map(|it| Tally::from_counts(it.iter().map(|(kind, count)| (kind.as_str(), *count))));
    let stages: Option<Vec<Tally>> = stages.collect();
    let tallies = stages.ok_or_else(|| corrupt("a tally counts what there is not"))?;
    Ok(Some(Counted {
        tallies: Tallies::new(tallies),
        version,
    }))
}

/// Stores the tallies that hold for a version of the pipeline's row.
pub(crate) fn put(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    version: i64,
    tallies: &Tallies,
) -> Result<(), Error> {
    let stages: Vec<BTreeMap<&str, usize>> = tallies
        .stages()
        .iter()
        .map(|it| it.counts().collect())
        .collect();
    let sql = "UPDATE ci_progress SET tallies = $2, tallies_version = $3 WHERE pipeline_id = $1";
    tx.execute(sql, params![pipeline.0, to_json(&stages)?, version])
        .map(drop)
}

/// Stores which job of a pipeline waits for which. May be called again.
pub(crate) fn put_needs(tx: &mut Tx<'_>, pipeline: PipelineId, graph: &Graph) -> Result<(), Error> {
    const AT_ONCE: usize = 500;
    let nodes = graph.nodes.iter().enumerate();
    let needs = nodes.flat_map(|(position, node)| {
        let needs = node.needs.iter().flatten();
        needs.map(move |needed| (number(*needed), number(position)))
    });
    let needs: Vec<(i64, i64)> = needs.collect();
    for needs in needs.chunks(AT_ONCE) {
        let rows: Vec<String> = (0..needs.len())
            .map(|it| format!("($1, ${}, ${})", 2 * it + 2, 2 * it + 3))
            .collect();
        let values = needs
            .iter()
            .flat_map(|(needed, position)| [*needed, *position]);
        let params: Vec<Value> = std::iter::once(pipeline.0)
            .chain(values)
            .map(Value::from)
            .collect();
        let sql = format!(
            "INSERT INTO ci_need (pipeline_id, needed, position) VALUES {}
             ON CONFLICT (pipeline_id, needed, position) DO NOTHING",
            rows.join(", ")
        );
        tx.execute(&sql, &params)?;
    }
    Ok(())
}

/// Forgets what is kept about a pipeline that is no more.
pub(crate) fn delete(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<(), Error> {
    for sql in [
        "DELETE FROM ci_progress WHERE pipeline_id = $1",
        "DELETE FROM ci_need WHERE pipeline_id = $1",
    ] {
        tx.execute(sql, params![pipeline.0])?;
    }
    Ok(())
}
