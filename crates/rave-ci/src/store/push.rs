//! What became of each push, by the id of its event.

use rave_core::id::PipelineId;
use rave_store::{Error, Tx, Value, params};

use super::{json, to_json};

/// How far the handling of a push came.
pub(crate) enum Progress {
    /// It was not begun.
    New,
    /// A pipeline's row exists; its jobs do not yet.
    Begun(PipelineId),
    Done,
}

/// Returns how far the handling of a push came.
pub(crate) fn progress(tx: &mut Tx<'_>, event: &str) -> Result<Progress, Error> {
    let sql = "SELECT pipeline_id, done FROM ci_push WHERE event_id = $1";
    let Some(row) = tx.query_opt(sql, params![event])? else {
        return Ok(Progress::New);
    };
    Ok(match row.opt_int("pipeline_id")? {
        _ if row.bool("done")? => Progress::Done,
        Some(id) => Progress::Begun(PipelineId(id)),
        None => Progress::New,
    })
}

/// Notes that a push has a pipeline to be.
pub(crate) fn begin(tx: &mut Tx<'_>, event: &str, pipeline: PipelineId) -> Result<(), Error> {
    let sql = "INSERT INTO ci_push (event_id, pipeline_id, done, at) VALUES ($1, $2, 0, $3)";
    let now = tx.now();
    tx.execute(sql, params![event, pipeline.0, now]).map(drop)
}

/// Notes that a push was dealt with, and what to tell whoever pushed.
pub(crate) fn finish(
    tx: &mut Tx<'_>,
    event: &str,
    pipeline: Option<PipelineId>,
    report: &[String],
) -> Result<(), Error> {
    let sql =
        "INSERT INTO ci_push (event_id, pipeline_id, done, report, at) VALUES ($1, $2, 1, $3, $4)
               ON CONFLICT (event_id) DO UPDATE SET done = 1, report = excluded.report";
    let now = tx.now();
    let pipeline = pipeline.map(|it| it.0);
    tx.execute(sql, params![event, pipeline, to_json(report)?, now])
        .map(drop)
}

/// Returns the lines of those pushes that were dealt with, in the order asked, each once it was.
pub(crate) fn reports(
    tx: &mut Tx<'_>,
    events: &[String],
) -> Result<Vec<Option<Vec<String>>>, Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<String> = (1..=events.len()).map(|it| format!("${it}")).collect();
    let sql = format!(
        "SELECT event_id, report FROM ci_push WHERE done = 1 AND event_id IN ({})",
        places.join(", ")
    );
    let params: Vec<Value> = events.iter().map(Value::from).collect();
    let rows = tx.query(&sql, &params)?;
    let mut found = std::collections::BTreeMap::new();
    for row in &rows {
        found.insert(row.text("event_id")?, json::<Vec<String>>(row, "report")?);
    }
    Ok(events.iter().map(|it| found.remove(it)).collect())
}

/// Forgets pushes that were dealt with more than `age_ms` ago.
pub(crate) fn forget(tx: &mut Tx<'_>, age_ms: i64) -> Result<u64, Error> {
    let before = tx.now().plus_millis(-age_ms);
    tx.execute(
        "DELETE FROM ci_push WHERE done = 1 AND at < $1",
        params![before],
    )
}
