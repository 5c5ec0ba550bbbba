//! Rows of artifacts: what jobs left, until when, and which objects anything refers to.

use rave_blob::Digest;
use rave_core::id::{JobId, PipelineId, ProjectId};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, Value, params};

use super::{Conditions, corrupt, count, int, label};
use crate::findings;
use crate::model::{Artifact, ArtifactFormat, Audience};

const COLUMNS: &str =
    "job_id, file_type, file_format, filename, digest, size_bytes, access, expire_at";

fn of_row(row: &Row) -> Result<Artifact, Error> {
    let digest = row.text("digest")?.parse();
    Ok(Artifact {
        job: JobId(row.int("job_id")?),
        file_type: row.text("file_type")?,
        format: label(row, "file_format", ArtifactFormat::from_label)?,
        filename: row.text("filename")?,
        digest: digest.map_err(|_| corrupt("an artifact has no valid digest"))?,
        size_bytes: count(row, "size_bytes")?,
        audience: label(row, "access", Audience::from_label)?,
        expire_at: row.opt_time("expire_at")?,
    })
}

/// Adds an artifact of a job. Returns whether it was added: one of its type may exist.
pub(crate) fn insert(tx: &mut Tx<'_>, project: ProjectId, new: &Artifact) -> Result<bool, Error> {
    let sql = "INSERT INTO ci_artifact (job_id, project_id, file_type, file_format, filename, digest, size_bytes, access,
                   expire_at, created_at, is_read)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (job_id, file_type) DO NOTHING";
    let now = tx.now();
    let params = params![
        new.job.0,
        project.0,
        &new.file_type,
        new.format.label(),
        &new.filename,
        new.digest.to_string(),
        int(new.size_bytes),
        new.audience.label(),
        new.expire_at,
        now,
        !findings::is_read(&new.file_type),
    ];
    Ok(tx.execute(sql, params)? == 1)
}

/// Returns a job's artifact of one type.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    job: JobId,
    file_type: &str,
) -> Result<Option<Artifact>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_artifact WHERE job_id = $1 AND file_type = $2");
    tx.query_opt(&sql, params![job.0, file_type])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns the artifacts of these jobs, by job and in the order in which they came.
pub(crate) fn of_jobs(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<Vec<Artifact>, Error> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut where_ = Conditions::default();
    where_.add_any("job_id", jobs.iter().map(|it| it.0));
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_artifact WHERE {} ORDER BY job_id, id",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(of_row)
        .collect()
}

/// Another job of a pipeline as a job that downloads from it sees it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) job: JobId,
    pub(crate) name: String,
    pub(crate) stage_index: usize,
    /// Name and size of its archive, if it left one that is still there.
    pub(crate) archive: Option<(String, u64)>,
    /// Whether it left one that is not there any more.
    pub(crate) gone: bool,
}

const SOURCE: &str = "SELECT ci_job.id AS id, ci_job.name AS name, stage_index, artifacts_gone, filename, size_bytes
    FROM ci_job LEFT JOIN ci_artifact ON ci_artifact.job_id = ci_job.id AND ci_artifact.file_type = 'archive'";

fn source_of(row: &Row) -> Result<Source, Error> {
    let archive = match row.opt_text("filename")? {
        Some(name) => Some((name, count(row, "size_bytes")?)),
        None => None,
    };
    Ok(Source {
        job: JobId(row.int("id")?),
        name: row.text("name")?,
        stage_index: usize::try_from(row.int("stage_index")?)
            .map_err(|_| corrupt("a stage is negative"))?,
        gone: archive.is_none() && row.bool("artifacts_gone")?,
        archive,
    })
}

/// Returns the jobs of a pipeline that left an archive, in order.
pub(crate) fn sources(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Vec<Source>, Error> {
    let sql = format!(
        "{SOURCE} WHERE ci_job.pipeline_id = $1 AND retried = 0 AND (filename IS NOT NULL OR artifacts_gone = 1)
         ORDER BY position"
    );
    tx.query(&sql, params![pipeline.0])?
        .iter()
        .map(source_of)
        .collect()
}

/// Returns one job as those see it that download from it.
pub(crate) fn source(tx: &mut Tx<'_>, job: JobId) -> Result<Option<Source>, Error> {
    let sql = format!("{SOURCE} WHERE ci_job.id = $1");
    tx.query_opt(&sql, params![job.0])?
        .as_ref()
        .map(source_of)
        .transpose()
}

/// Keeps a job's artifacts until somebody erases them.
pub(crate) fn keep(tx: &mut Tx<'_>, job: JobId) -> Result<u64, Error> {
    tx.execute(
        "UPDATE ci_artifact SET expire_at = NULL WHERE job_id = $1",
        params![job.0],
    )
}

/// Deletes a job's artifacts, and what its reports said.
pub(crate) fn delete_of_job(tx: &mut Tx<'_>, job: JobId) -> Result<u64, Error> {
    super::report::delete_of_job(tx, job)?;
    let sql = "UPDATE ci_job SET artifacts_gone = 1
               WHERE id = $1 AND EXISTS (SELECT 1 FROM ci_artifact WHERE job_id = $1 AND file_type = 'archive')";
    tx.execute(sql, params![job.0])?;
    tx.execute("DELETE FROM ci_artifact WHERE job_id = $1", params![job.0])
}

/// Deletes all artifacts of a project that are not kept on purpose.
pub(crate) fn delete_of_project(tx: &mut Tx<'_>, project: ProjectId) -> Result<u64, Error> {
    let sql = "UPDATE ci_job SET artifacts_gone = 1 WHERE id IN (
                   SELECT job_id FROM ci_artifact WHERE project_id = $1 AND file_type = 'archive' AND expire_at IS NOT NULL)";
    tx.execute(sql, params![project.0])?;
    let sql = "DELETE FROM ci_artifact WHERE project_id = $1 AND expire_at IS NOT NULL";
    tx.execute(sql, params![project.0])
}

/// An artifact is spared while its pipeline is the latest successful one of its ref.
const EXPIRED: &str = "expire_at IS NOT NULL AND expire_at <= $1 AND NOT EXISTS (
    SELECT 1 FROM ci_job JOIN ci_pipeline ON ci_pipeline.id = ci_job.pipeline_id
    WHERE ci_job.id = ci_artifact.job_id AND ci_pipeline.status = 'success' AND NOT EXISTS (
        SELECT 1 FROM ci_pipeline AS newer WHERE newer.project_id = ci_pipeline.project_id
        AND newer.ref = ci_pipeline.ref AND newer.tag = ci_pipeline.tag AND newer.id > ci_pipeline.id
        AND newer.status = 'success'))";

/// Deletes up to `limit` artifacts that have expired. Returns how many.
pub(crate) fn delete_expired(tx: &mut Tx<'_>, limit: u32) -> Result<u64, Error> {
    let sql = format!(
        "SELECT id, job_id, file_type FROM ci_artifact WHERE {EXPIRED} ORDER BY expire_at LIMIT $2"
    );
    let now = tx.now();
    let rows = tx.query(&sql, params![now, limit])?;
    for row in &rows {
        if row.text("file_type")? == "archive" {
            let sql = "UPDATE ci_job SET artifacts_gone = 1 WHERE id = $1";
            tx.execute(sql, params![row.int("job_id")?])?;
        }
        tx.execute(
            "DELETE FROM ci_artifact WHERE id = $1",
            params![row.int("id")?],
        )?;
    }
    Ok(rows.len() as u64)
}

/// Returns when the next artifact expires that has not yet.
pub(crate) fn next_expiry(tx: &mut Tx<'_>) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT MIN(expire_at) AS at FROM ci_artifact WHERE expire_at > $1";
    let now = tx.now();
    tx.query_one(sql, params![now])?.opt_time("at")
}

/// Returns those of these objects that an artifact or a log refers to.
pub(crate) fn referenced(tx: &mut Tx<'_>, digests: &[Digest]) -> Result<Vec<String>, Error> {
    if digests.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<String> = (1..=digests.len()).map(|it| format!("${it}")).collect();
    let places = places.join(", ");
    let sql = format!(
        "SELECT digest FROM ci_artifact WHERE digest IN ({places})
         UNION SELECT trace_digest AS digest FROM ci_job WHERE trace_digest IN ({places})"
    );
    let params: Vec<Value> = digests
        .iter()
        .map(|it| Value::from(it.to_string()))
        .collect();
    tx.query(&sql, &params)?
        .iter()
        .map(|row| row.text("digest"))
        .collect()
}
