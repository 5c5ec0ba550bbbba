//! Variables that jobs leave to later ones.

use rave_core::id::{JobId, PipelineId};
use rave_store::{Error, Row, Tx, params};

use super::{corrupt, number};

/// Stores what a job left.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    job: JobId,
    variables: &[(String, String)],
) -> Result<(), Error> {
    let sql = "INSERT INTO ci_dotenv (job_id, position, name, value) VALUES ($1, $2, $3, $4)
               ON CONFLICT (job_id, name) DO NOTHING";
    for (position, (name, value)) in variables.iter().enumerate() {
        tx.execute(sql, params![job.0, number(position), name, value])?;
    }
    Ok(())
}

/// A variable that a job of a pipeline left.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// The job's name.
    pub(crate) job: String,
    pub(crate) stage_index: usize,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Returns what the jobs of a pipeline left, in the order of the jobs.
pub(crate) fn of_pipeline(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Vec<Left>, Error> {
    let sql = "SELECT ci_job.name AS job, stage_index, ci_dotenv.name AS name, value
               FROM ci_dotenv JOIN ci_job ON ci_job.id = ci_dotenv.job_id
               WHERE pipeline_id = $1 AND retried = 0 ORDER BY ci_job.position, ci_dotenv.position";
    let left = |row: &Row| {
        Ok(Left {
            job: row.text("job")?,
            stage_index: usize::try_from(row.int("stage_index")?)
                .map_err(|_| corrupt("a stage is negative"))?,
            name: row.text("name")?,
            value: row.text("value")?,
        })
    };
    tx.query(sql, params![pipeline.0])?
        .iter()
        .map(left)
        .collect()
}
