//! Stores what a change came to: rows, tallies, chores and events.

use std::collections::BTreeMap;

use rave_core::event::{EventKind, NewEvent};
use rave_core::id::{JobId, UserId};
use rave_core::job::{JobState, Status};
use rave_core::pipeline::{Tallies, Which};
use rave_store::Tx;
use serde_json::json;

use super::{Applied, Rules};
use crate::error::CiError;
use crate::model::ChoreKind;
use crate::store;
use crate::store::job::{Change, NewTry, Place, Stored};
use crate::store::pipeline::Locked;

/// A job before and after a change: its state, and whether its failure is allowed.
pub(super) struct Moved {
    pub(super) place: Place,
    pub(super) before: (JobState, bool),
    pub(super) after: (JobState, bool),
    /// With a new try, which `after` then speaks of: the state in which the old one ends.
    pub(super) retried: Option<JobState>,
    pub(super) exit_code: Option<i64>,
    /// The memory that a new try gets, where that is not what the old one had.
    pub(super) memory_given: Option<u64>,
}

impl Moved {
    /// Returns what the row that is there has to say afterwards; a new try is another row.
    fn row(&self) -> (JobState, bool) {
        (self.retried.unwrap_or(self.after.0), self.after.1)
    }

    /// Whether it was only let go or ruled out: of such there may be very many at once.
    fn is_released(&self) -> bool {
        let (to, allow_failure) = self.after;
        self.before.0 == JobState::Created
            && allow_failure == self.before.1
            && (!to.status().is_finished() || to == JobState::Skipped)
            && self.retried.is_none()
    }
}

/// What a change came to, before it is stored.
pub(super) struct Outcome {
    /// In the order of the jobs.
    pub(super) moved: Vec<Moved>,
    pub(super) tallies: Tallies,
    /// Whether a bridge has a pipeline to look at.
    pub(super) follows: bool,
    /// What was stopped, so that what it brought forth stops too.
    pub(super) canceled: Option<Which>,
    /// Who tries jobs again.
    pub(super) user: Option<UserId>,
}

impl Outcome {
    pub(super) fn store(
        self,
        tx: &mut Tx<'_>,
        rules: &Rules,
        locked: &Locked,
    ) -> Result<Applied, CiError> {
        let (now, pipeline) = (tx.now(), locked.pipeline);
        let mut applied = Applied::new(self.tallies.status());
        applied.chores = self.follows;
        if let Some(which) = self.canceled {
            let kind = match which {
                Which::All => ChoreKind::Cancel,
                Which::Interruptible => ChoreKind::Interrupt,
            };
            applied.chores |= store::chore::insert_below(tx, kind, pipeline)? > 0;
        }
        let mut events = Vec::new();
        let mut released = self.put_released(tx, rules)?;
        for moved in &self.moved {
            let (job, row) = (moved.place.job, moved.row());
            let stored = match released.remove(&job) {
                Some(stored) => Some(stored),
                None if row != moved.before => {
                    let change = Change {
                        allow_failure: row.1,
                        exit_code: moved.exit_code,
                        due_at: rules.due(row.0, now),
                    };
                    let version = moved.place.version;
                    let stored = store::job::put_state(tx, job, version, row.0, change)?;
                    Some(stored.ok_or(CiError::Conflict)?)
                }
                None => None,
            };
            if let Some(stored) = stored {
                applied.note(row.0, &stored);
                events.push(job_event(locked, job, &stored, row));
            }
            if moved.retried.is_some() {
                let state = moved.after.0;
                let new = NewTry {
                    user: self.user,
                    state,
                    due_at: rules.due(state, now),
                    memory_given: moved.memory_given,
                };
                let (job, stored) = store::job::insert_retry(tx, job, &new)?;
                applied.new_job = Some(job);
                applied.note(state, &stored);
                events.push(job_event(locked, job, &stored, moved.after));
            }
        }
        if locked.tallies.as_ref() != Some(&self.tallies) {
            store::progress::put(tx, pipeline, locked.version, &self.tallies)?;
        }
        if applied.status != locked.status {
            applied.chores |= store::pipeline::put_status(tx, pipeline, applied.status)?;
            events.push(pipeline_event(locked, applied.status));
        }
        // Last, because on PostgreSQL an append makes other appends wait.
        tx.append_all(&events)?;
        Ok(applied)
    }

    /// Stores the jobs that were let go or ruled out, many at once.
    fn put_released(
        &self,
        tx: &mut Tx<'_>,
        rules: &Rules,
    ) -> Result<BTreeMap<JobId, Stored>, CiError> {
        const AT_ONCE: usize = 500;
        let now = tx.now();
        let mut groups: Vec<(JobState, Vec<JobId>)> = Vec::new();
        for moved in self.moved.iter().filter(|it| it.is_released()) {
            let (job, to) = (moved.place.job, moved.after.0);
            match groups.iter_mut().find(|it| it.0 == to) {
                Some((_, jobs)) => jobs.push(job),
                None => groups.push((to, vec![job])),
            }
        }
        let mut released = BTreeMap::new();
        for (state, jobs) in groups {
            let due = rules.due(state, now);
            for jobs in jobs.chunks(AT_ONCE) {
                let stored = store::job::put_released(tx, jobs, state, due)?;
                if stored.len() != jobs.len() {
                    return Err(CiError::Conflict);
                }
                released.extend(stored);
            }
        }
        Ok(released)
    }
}

/// Makes the event of a job's change: `job.finished` at its end, `job.changed` before.
fn job_event(
    locked: &Locked,
    job: JobId,
    stored: &Stored,
    (state, allow_failure): (JobState, bool),
) -> NewEvent {
    let ended = state.status().is_finished();
    let kind = if ended {
        EventKind::JobFinished
    } else {
        EventKind::JobChanged
    };
    let reason = match state {
        JobState::Failed(reason) => Some(reason.label()),
        _ => None,
    };
    let payload = json!({
        "id": job.0,
        "pipeline_id": locked.pipeline.0,
        "name": stored.name,
        "stage": stored.stage,
        "status": state.status().label(),
        "allow_failure": allow_failure,
        "failure_reason": reason,
    });
    NewEvent::new(kind, format!("job/{job}"))
        .project(locked.project)
        .payload(payload)
        .trace(locked.trace)
}

/// Makes the event of a pipeline's change: `pipeline.finished` at its end, `pipeline.changed` before.
fn pipeline_event(locked: &Locked, status: Status) -> NewEvent {
    let ended = status.is_finished();
    let kind = if ended {
        EventKind::PipelineFinished
    } else {
        EventKind::PipelineChanged
    };
    let payload = json!({
        "id": locked.pipeline.0,
        "iid": locked.iid,
        "ref": locked.ref_name,
        "sha": locked.sha,
        "status": status.label(),
    });
    NewEvent::new(kind, format!("pipeline/{}", locked.pipeline))
        .project(locked.project)
        .payload(payload)
        .trace(locked.trace)
}
