//! Coverage: lines of files as reports count them, and the percentages that logs of jobs tell.

use std::collections::BTreeMap;

use rave_core::id::{JobId, PipelineId, ProjectId};
use rave_store::{Error, Row, Tx, Value, params};

use super::Unread;
use crate::findings::FileCoverage;
use crate::store::Conditions;

const COLUMNS: [&str; 7] = [
    "job_id",
    "kind",
    "path",
    "pipeline_id",
    "line_count",
    "covered",
    "missed",
];

/// Adds the files that a report of a job names.
pub(crate) fn insert(tx: &mut Tx<'_>, of: &Unread, files: &[FileCoverage]) -> Result<(), Error> {
    let row = |it: &FileCoverage| -> Vec<Value> {
        vec![
            of.job.0.into(),
            (&of.kind).into(),
            (&it.path).into(),
            of.pipeline.0.into(),
            it.lines.into(),
            it.covered.into(),
            (&it.missed).into(),
        ]
    };
    super::insert_rows(tx, "ci_coverage_file", &COLUMNS, files.iter().map(row))
}

/// Returns the files of a pipeline by path. Of a file that several jobs measured the best is taken: which lines each of
/// them ran is not kept.
pub(crate) fn files(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Vec<FileCoverage>, Error> {
    let sql = "SELECT path, line_count, covered, missed FROM ci_coverage_file AS file
               JOIN ci_job AS job ON job.id = file.job_id AND job.retried = 0
               WHERE file.pipeline_id = $1 ORDER BY path, covered DESC";
    let file = |row: &Row| {
        Ok(FileCoverage {
            path: row.text("path")?,
            lines: row.int("line_count")?,
            covered: row.int("covered")?,
            missed: row.text("missed")?,
        })
    };
    let rows = tx.query(sql, params![pipeline.0])?;
    let mut files: Vec<FileCoverage> = rows.iter().map(file).collect::<Result<_, Error>>()?;
    files.dedup_by(|later, first| later.path == first.path);
    Ok(files)
}

/// Returns the mean of the percentages that the jobs of these pipelines told, of those that have any.
pub(crate) fn means(
    tx: &mut Tx<'_>,
    pipelines: &[PipelineId],
) -> Result<BTreeMap<PipelineId, f64>, Error> {
    if pipelines.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add_any("pipeline_id", pipelines.iter().map(|it| it.0));
    let sql = format!(
        "SELECT pipeline_id, AVG(coverage) AS mean FROM ci_job
         WHERE {} AND retried = 0 AND coverage IS NOT NULL GROUP BY pipeline_id",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((PipelineId(row.int("pipeline_id")?), row.float("mean")?)))
        .collect()
}

/// Returns the coverage of the latest successful pipeline of a branch or tag: of one of its jobs, or the mean of all.
pub(crate) fn of_ref(
    tx: &mut Tx<'_>,
    project: ProjectId,
    ref_name: &str,
    job: Option<&str>,
) -> Result<Option<f64>, Error> {
    let sql = "SELECT AVG(coverage) AS mean, COUNT(*) AS jobs FROM ci_job
               WHERE retried = 0 AND coverage IS NOT NULL AND (CAST($3 AS TEXT) IS NULL OR name = CAST($3 AS TEXT))
               AND pipeline_id = (SELECT MAX(id) FROM ci_pipeline
                   WHERE project_id = $1 AND ref = $2 AND ready = 1 AND status = 'success')";
    let row = tx.query_one(sql, params![project.0, ref_name, job])?;
    match row.int("jobs")? {
        0 => Ok(None),
        _ => row.float("mean").map(Some),
    }
}

/// Stores the percentage that a job's log told.
pub(crate) fn put(tx: &mut Tx<'_>, job: JobId, coverage: f64) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET coverage = $2 WHERE id = $1";
    tx.execute(sql, params![job.0, coverage]).map(drop)
}
