//! How a runner takes a job.

use rave_ci_lang::{JobPlan, Variable};
use rave_core::id::{JobId, RunnerId};
use rave_core::time::Timestamp;
use rave_store::{Error, Tx, params};

use super::{COLUMNS, of_row};
use crate::model::Job;
use crate::store::{given, json, opt_count};
use rave_core::sealing::SealingKey;

/// What is stored when a runner takes a job.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) runner: RunnerId,
    pub(crate) system_id: String,
    pub(crate) token_digest: String,
    /// Whether the runner can stop a script and still run what comes after.
    pub(crate) graceful: bool,
    /// The least of the job's and the runner's limit is stored.
    pub(crate) runner_timeout_ms: i64,
    pub(crate) due_at: Timestamp,
}

/// A job that a runner takes, with what the file says of it.
pub(crate) struct Taken {
    pub(crate) job: Job,
    pub(crate) plan: JobPlan,
    pub(crate) variables: Vec<Variable>,
    /// What it is expected to need of memory, after its past runs.
    pub(crate) expected_bytes: Option<u64>,
    /// What it gets because its last try had too little.
    pub(crate) given_bytes: Option<u64>,
}

/// Gives a waiting job to a runner, unless it changed since version `seen`.
pub(crate) fn assign(
    tx: &mut Tx<'_>,
    key: &SealingKey,
    job: JobId,
    seen: i64,
    to: &Assignment,
) -> Result<Option<Taken>, Error> {
    let sql = format!(
        "UPDATE ci_job SET status = 'assigned', version = version + 1, runner_id = $3, system_id = $4, token_digest = $5,
             graceful = $6, due_at = $7, contact_at = $8, timeout_ms = CASE WHEN timeout_ms > $9 THEN $9 ELSE timeout_ms END
         WHERE id = $1 AND version = $2 AND status = 'pending' RETURNING {COLUMNS}, plan, variables, memory_given"
    );
    let now = tx.now();
    let params = params![
        job.0,
        seen,
        to.runner.0,
        &to.system_id,
        &to.token_digest,
        to.graceful,
        to.due_at,
        now,
        to.runner_timeout_ms,
    ];
    let Some(row) = tx.query_opt(&sql, params)? else {
        return Ok(None);
    };
    let job = of_row(&row)?;
    Ok(Some(Taken {
        plan: json(&row, "plan")?,
        variables: given::open(key, job.pipeline, &row, "variables")?,
        expected_bytes: crate::store::usage::expected(tx, job.project, &job.name)?,
        given_bytes: opt_count(&row, "memory_given")?,
        job,
    }))
}
