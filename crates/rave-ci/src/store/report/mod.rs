//! Rows of reports: which are still to be read, what each came to, and with which pipeline one compares.
//!
//! Only the present tries of a pipeline's jobs count: a retry takes the results of its predecessor away.

pub(crate) mod coverage;
pub(crate) mod finding;
pub(crate) mod test_case;

use rave_blob::Digest;
use rave_core::id::{JobId, PipelineId, ProjectId};
use rave_store::{Error, Row, Tx, Value, params};

use super::{Conditions, corrupt, json, label, to_json};
use crate::findings::Summary;
use crate::model::{ArtifactFormat, Pipeline};

/// How many rows one statement adds.
const ROWS: usize = 50;

/// A report that was uploaded and not read yet.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    pub(crate) artifact: i64,
    pub(crate) job: JobId,
    pub(crate) job_name: String,
    pub(crate) pipeline: PipelineId,
    pub(crate) project: ProjectId,
    pub(crate) sha: String,
    pub(crate) kind: String,
    pub(crate) format: ArtifactFormat,
    pub(crate) digest: Digest,
}

/// Returns up to `limit` reports to be read, in the order in which they came.
pub(crate) fn unread(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<Unread>, Error> {
    let sql = "SELECT artifact.id AS id, artifact.job_id AS job_id, job.name AS name, job.pipeline_id AS pipeline_id,
                   job.project_id AS project_id, pipeline.sha AS sha, file_type, file_format, digest
               FROM ci_artifact AS artifact JOIN ci_job AS job ON job.id = artifact.job_id
               JOIN ci_pipeline AS pipeline ON pipeline.id = job.pipeline_id
               WHERE artifact.is_read = 0 ORDER BY artifact.id LIMIT $1";
    let unread = |row: &Row| {
        let digest = row.text("digest")?.parse();
        Ok(Unread {
            artifact: row.int("id")?,
            job: JobId(row.int("job_id")?),
            job_name: row.text("name")?,
            pipeline: PipelineId(row.int("pipeline_id")?),
            project: ProjectId(row.int("project_id")?),
            sha: row.text("sha")?,
            kind: row.text("file_type")?,
            format: label(row, "file_format", ArtifactFormat::from_label)?,
            digest: digest.map_err(|_| corrupt("an artifact has no valid digest"))?,
        })
    };
    tx.query(sql, params![limit])?.iter().map(unread).collect()
}

/// Whether a pipeline has reports that are not read yet.
pub(crate) fn is_unread(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<bool, Error> {
    let sql = "SELECT 1 AS found FROM ci_artifact WHERE is_read = 0
               AND job_id IN (SELECT id FROM ci_job WHERE pipeline_id = $1) LIMIT 1";
    Ok(tx.query_opt(sql, params![pipeline.0])?.is_some())
}

/// Whether a log of the pipeline's ended jobs is still to be searched for a percentage.
pub(crate) fn is_unsearched(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<bool, Error> {
    // Inside a JSON text quotes are escaped, so this finds the member of the plan and nothing else.
    let sql =
        "SELECT 1 AS found FROM ci_job WHERE pipeline_id = $1 AND retried = 0 AND trace_bytes > 0
               AND trace_digest IS NULL AND status IN ('success', 'failed', 'canceled')
               AND plan LIKE '%\"coverage\":\"%' LIMIT 1";
    Ok(tx.query_opt(sql, params![pipeline.0])?.is_some())
}

/// Notes that an artifact was read.
pub(crate) fn put_read(tx: &mut Tx<'_>, artifact: i64) -> Result<(), Error> {
    let sql = "UPDATE ci_artifact SET is_read = 1 WHERE id = $1";
    tx.execute(sql, params![artifact]).map(drop)
}

/// Deletes what a report of a job said, so that it can be stored again.
pub(crate) fn clear(tx: &mut Tx<'_>, job: JobId, kind: &str) -> Result<(), Error> {
    let params = params![job.0, kind];
    tx.execute(
        "DELETE FROM ci_report WHERE job_id = $1 AND kind = $2",
        params,
    )?;
    tx.execute(
        "DELETE FROM ci_finding WHERE job_id = $1 AND kind = $2",
        params,
    )?;
    tx.execute(
        "DELETE FROM ci_coverage_file WHERE job_id = $1 AND kind = $2",
        params,
    )?;
    if kind == "junit" {
        tx.execute("DELETE FROM ci_test WHERE job_id = $1", params![job.0])?;
    }
    Ok(())
}

/// Tables whose rows belong to jobs, to be deleted with them.
const TABLES: [&str; 4] = ["ci_report", "ci_test", "ci_finding", "ci_coverage_file"];

/// Deletes what all reports of a job said.
pub(crate) fn delete_of_job(tx: &mut Tx<'_>, job: JobId) -> Result<(), Error> {
    for table in TABLES {
        tx.execute(
            &format!("DELETE FROM {table} WHERE job_id = $1"),
            params![job.0],
        )?;
    }
    Ok(())
}

/// Deletes what all reports of a pipeline said.
pub(crate) fn delete_of_pipeline(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<(), Error> {
    for table in TABLES {
        let sql = format!("DELETE FROM {table} WHERE pipeline_id = $1");
        tx.execute(&sql, params![pipeline.0])?;
    }
    Ok(())
}

/// Stores what a report came to.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    of: &Unread,
    error: Option<&str>,
    summary: &Summary,
) -> Result<(), Error> {
    let sql =
        "INSERT INTO ci_report (job_id, kind, pipeline_id, project_id, error, summary, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let now = tx.now();
    let params = params![
        of.job.0,
        &of.kind,
        of.pipeline.0,
        of.project.0,
        error,
        to_json(summary)?,
        now,
    ];
    tx.execute(sql, params).map(drop)
}

/// What one report of a job came to.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) job: JobId,
    pub(crate) job_name: String,
    pub(crate) kind: String,
    pub(crate) error: Option<String>,
    pub(crate) summary: Summary,
}

fn of_row(row: &Row) -> Result<Report, Error> {
    Ok(Report {
        job: JobId(row.int("job_id")?),
        job_name: row.text("name")?,
        kind: row.text("kind")?,
        error: row.opt_text("error")?,
        summary: json(row, "summary")?,
    })
}

const SELECT: &str = "SELECT report.job_id AS job_id, job.name AS name, kind, error, summary
    FROM ci_report AS report JOIN ci_job AS job ON job.id = report.job_id";

/// Returns the reports of a pipeline, by job in the order of the plan.
pub(crate) fn of_pipeline(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Vec<Report>, Error> {
    let sql = format!(
        "{SELECT} WHERE report.pipeline_id = $1 AND job.retried = 0 ORDER BY job.position, kind"
    );
    tx.query(&sql, params![pipeline.0])?
        .iter()
        .map(of_row)
        .collect()
}

/// Returns the reports of a job.
pub(crate) fn of_job(tx: &mut Tx<'_>, job: JobId) -> Result<Vec<Report>, Error> {
    let sql = format!("{SELECT} WHERE report.job_id = $1 ORDER BY kind");
    tx.query(&sql, params![job.0])?.iter().map(of_row).collect()
}

/// Returns the pipeline that one compares another with: the one before it at the same branch or tag that has reports of
/// these kinds, else the one before it at the default branch.
pub(crate) fn base(
    tx: &mut Tx<'_>,
    of: &Pipeline,
    kinds: &[&str],
    default_branch: &str,
) -> Result<Option<PipelineId>, Error> {
    for (name, tag) in [(of.ref_name.as_str(), of.tag), (default_branch, false)] {
        let mut where_ = Conditions::default();
        where_.add("pipeline.project_id = ?", of.project.0);
        where_.add("pipeline.ref = ?", name);
        where_.add("pipeline.tag = ?", tag);
        where_.add("pipeline.id < ?", of.id.0);
        where_.add_any("report.kind", kinds.iter().copied());
        let sql = format!(
            "SELECT pipeline.id AS id FROM ci_pipeline AS pipeline
             JOIN ci_report AS report ON report.pipeline_id = pipeline.id AND report.error IS NULL
             WHERE {} ORDER BY pipeline.id DESC LIMIT 1",
            where_.sql()
        );
        if let Some(row) = tx.query_opt(&sql, where_.params())? {
            return row.int("id").map(|it| Some(PipelineId(it)));
        }
    }
    Ok(None)
}

/// Adds rows to a table, many by one statement.
fn insert_rows(
    tx: &mut Tx<'_>,
    table: &str,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Value>>,
) -> Result<(), Error> {
    let mut values: Vec<Value> = Vec::new();
    let mut waiting = 0;
    let mut flush = |values: &mut Vec<Value>, waiting: &mut usize| -> Result<(), Error> {
        let place = |row: usize| {
            let places: Vec<String> = (1..=columns.len())
                .map(|it| format!("${}", row * columns.len() + it))
                .collect();
            format!("({})", places.join(", "))
        };
        let places: Vec<String> = (0..*waiting).map(place).collect();
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES {}",
            columns.join(", "),
            places.join(", ")
        );
        tx.execute(&sql, values)?;
        values.clear();
        *waiting = 0;
        Ok(())
    };
    for row in rows {
        values.extend(row);
        waiting += 1;
        if waiting == ROWS {
            flush(&mut values, &mut waiting)?;
        }
    }
    if waiting > 0 {
        flush(&mut values, &mut waiting)?;
    }
    Ok(())
}
