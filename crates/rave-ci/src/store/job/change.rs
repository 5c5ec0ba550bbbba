//! How a job's state changes, and what follows from it at once.

use rave_core::id::JobId;
use rave_core::job::JobState;
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use crate::store::{Conditions, resource, state_label};

/// What a change of a job's state stores besides the state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub(crate) allow_failure: bool,
    pub(crate) exit_code: Option<i64>,
    /// When somebody has to look at the job again.
    pub(crate) due_at: Option<Timestamp>,
}

/// What a changed job tells the log of events and the metrics.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) resource_group: Option<i64>,
}

pub(super) fn stored_of(row: &Row) -> Result<Stored, Error> {
    Ok(Stored {
        name: row.text("name")?,
        stage: row.text("stage")?,
        started_at: row.opt_time("started_at")?,
        resource_group: row.opt_int("resource_group_id")?,
    })
}

/// Stores a job's state and what follows from it: times, and that an ended job gives its resource back; unless the job changed since version `seen`.
pub(crate) fn put_state(
    tx: &mut Tx<'_>,
    job: JobId,
    seen: i64,
    to: JobState,
    change: Change,
) -> Result<Option<Stored>, Error> {
    let sql = "UPDATE ci_job SET status = $3, version = version + 1, failure_reason = $4, scheduled_at = $5,
                   allow_failure = $6, exit_code = COALESCE($7, exit_code), due_at = $8,
                   runner_id = CASE WHEN $3 = 'pending' THEN NULL ELSE COALESCE($9, runner_id) END,
                   token_digest = CASE WHEN $3 = 'pending' THEN NULL ELSE token_digest END,
                   queued_at = CASE $3 WHEN 'pending' THEN COALESCE(queued_at, $10) WHEN 'created' THEN NULL ELSE queued_at END,
                   started_at = CASE WHEN $3 IN ('running', 'following', 'blocked', 'success') THEN COALESCE(started_at, $10) ELSE started_at END,
                   finished_at = CASE WHEN $3 IN ('success', 'failed', 'canceled') THEN $10 ELSE NULL END
               WHERE id = $1 AND version = $2 RETURNING name, stage, started_at, resource_group_id";
    let (reason, at) = match to {
        JobState::Failed(reason) => (Some(reason.label()), None),
        JobState::Scheduled { at } => (None, Some(at)),
        _ => (None, None),
    };
    let now = tx.now();
    let params = params![
        job.0,
        seen,
        state_label(to),
        reason,
        at,
        change.allow_failure,
        change.exit_code,
        change.due_at,
        to.runner().map(|it| it.0),
        now,
    ];
    let Some(row) = tx.query_opt(sql, params)? else {
        return Ok(None);
    };
    let stored = stored_of(&row)?;
    if let Some(group) = stored.resource_group.filter(|_| to.status().is_finished()) {
        resource::release(tx, group, job)?;
    }
    Ok(Some(stored))
}

/// Stores that jobs which waited for others are let go, or ruled out, all to the same state. Their pipeline is locked, and
/// nobody else changes a job that waits so. Returns what changed, in no order; fewer than asked for if that is not so.
pub(crate) fn put_released(
    tx: &mut Tx<'_>,
    jobs: &[JobId],
    to: JobState,
    due_at: Option<Timestamp>,
) -> Result<Vec<(JobId, Stored)>, Error> {
    let at = match to {
        JobState::Scheduled { at } => Some(at),
        _ => None,
    };
    let now = tx.now();
    let queued_at = (to == JobState::Pending).then_some(now);
    let mut where_ = Conditions::default();
    let state = where_.param(state_label(to));
    let (at, due_at) = (where_.param(at), where_.param(due_at));
    let queued_at = where_.param(queued_at);
    where_.add_plain("status = 'created'");
    where_.add_any("id", jobs.iter().map(|it| it.0));
    let sql = format!(
        "UPDATE ci_job SET status = {state}, version = version + 1, scheduled_at = {at}, due_at = {due_at},
             queued_at = COALESCE(queued_at, {queued_at})
         WHERE {} RETURNING id, name, stage, started_at, resource_group_id",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((JobId(row.int("id")?), stored_of(row)?)))
        .collect()
}
