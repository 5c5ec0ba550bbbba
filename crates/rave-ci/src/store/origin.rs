//! What pipelines were planned from, as packed by the service.

use rave_core::id::PipelineId;
use rave_store::{Error, Tx, params};

/// Keeps what a pipeline was planned from.
pub(crate) fn insert(tx: &mut Tx<'_>, pipeline: PipelineId, packed: &[u8]) -> Result<(), Error> {
    let sql = "INSERT INTO ci_plan_origin (pipeline_id, packed) VALUES ($1, $2)
               ON CONFLICT (pipeline_id) DO UPDATE SET packed = EXCLUDED.packed";
    tx.execute(sql, params![pipeline.0, packed])?;
    Ok(())
}

/// Returns what a pipeline was planned from. `None`: it was not kept.
pub(crate) fn find(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Option<Vec<u8>>, Error> {
    let sql = "SELECT packed FROM ci_plan_origin WHERE pipeline_id = $1";
    let row = tx.query_opt(sql, params![pipeline.0])?;
    row.map(|it| it.blob("packed")).transpose()
}
