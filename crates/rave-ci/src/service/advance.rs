//! Every change of a job that shows: decided by the pure state machine, and stored with its events, all in one transaction
//! that holds the pipeline.
//!
//! What happens to one job is decided from what surrounds it ([`near`]). The whole graph is loaded ([`whole`]) where any
//! job may change: when a pipeline begins or is canceled, and when an ended job goes on, since that brings back what was
//! skipped because of it, however far away. A job that is given to a runner shows as pending still, so `assign` does
//! without all this.

mod near;
mod outcome;
mod rules;
mod whole;

use rave_core::id::{JobId, PipelineId, UserId};
use rave_core::job::{JobEvent, JobState, Status};
use rave_core::pipeline::{PipelineEvent, Which};
use rave_core::time::Timestamp;
use rave_store::Tx;

use super::Ci;
use crate::error::CiError;
use crate::model::Strategy;
use crate::store;
use crate::store::job::Stored;
use whole::Whole;

pub(crate) use rules::Rules;

/// How often a change is tried again that another one came before.
const TRIES: usize = 10;

/// What happens to a pipeline.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Let go what can go.
    Settle,
    /// Something happens to one job.
    Job {
        job: JobId,
        event: JobEvent,
        exit_code: Option<i64>,
    },
    /// A free resource is given to the job that waits for it.
    Grant { job: JobId },
    /// The pipeline of a bridge exists: the bridge follows it, or is done.
    Attach {
        job: JobId,
        pipeline: PipelineId,
        strategy: Option<Strategy>,
    },
    /// A bridge that ended goes on, because what it followed does.
    Reopen { job: JobId },
    /// Everything of the kind that has not ended stops, and so does what it brought forth.
    Cancel(Which),
    /// One ended job is tried again.
    Retry { job: JobId, user: Option<UserId> },
    /// Every job that failed or was canceled is tried again.
    RetryAll { user: Option<UserId> },
}

/// What a change came to.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) status: Status,
    /// Whether jobs wait for a runner that did not before.
    pub(crate) queued: bool,
    /// Whether jobs wait for a resource, or one was given back.
    pub(crate) resources: bool,
    /// Whether bridges have to be looked after, or other pipelines.
    pub(crate) chores: bool,
    /// The new try of a [`Action::Retry`].
    pub(crate) new_job: Option<JobId>,
    /// Jobs that ended: their status and when they started.
    pub(crate) ended: Vec<(Status, Option<Timestamp>)>,
}

impl Ci {
    /// Applies an action to a pipeline, again if another change came first.
    pub(crate) async fn apply(
        &self,
        pipeline: PipelineId,
        action: Action,
    ) -> Result<Applied, CiError> {
        let rules = Rules::of(&self.config);
        let mut tries = 0;
        let applied = loop {
            let tried = self
                .db
                .write("ci_apply", move |tx| apply(tx, &rules, pipeline, action))
                .await;
            tries += 1;
            match tried {
                Err(CiError::Conflict) if tries < TRIES => {}
                other => break other?,
            }
        };
        self.note(&applied);
        Ok(applied)
    }

    /// Wakes runners and counts, once a change is committed.
    pub(crate) fn note(&self, applied: &Applied) {
        // A job that ended has given back its memory.
        if applied.queued || (!applied.ended.is_empty() && self.queue.passed.is_any()) {
            self.queue.ring();
        }
        if applied.resources {
            self.wakes.resources.notify_one();
        }
        if applied.chores {
            self.wakes.chores.notify_one();
        }
        let now = self.now();
        for (status, started_at) in &applied.ended {
            self.metrics.job_ended(*status, *started_at, now);
        }
    }
}

/// Applies an action in the caller's transaction.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    rules: &Rules,
    pipeline: PipelineId,
    action: Action,
) -> Result<Applied, CiError> {
    let locked = store::pipeline::lock(tx, pipeline)?.ok_or(CiError::NotFound("Pipeline"))?;
    let now = tx.now();
    let outcome = match action {
        Action::Job {
            job,
            event,
            exit_code,
        } => near::happen(tx, rules, &locked, job, event, exit_code)?,
        Action::Grant { job } => near::grant(tx, &locked, job)?,
        Action::Attach {
            job,
            pipeline,
            strategy,
        } => near::attach(tx, &locked, job, pipeline, strategy)?,
        Action::Settle => {
            let mut whole = Whole::load(tx, &locked)?;
            whole.step(PipelineEvent::Settle, now)?;
            whole.outcome()
        }
        Action::Reopen { job } => {
            let mut whole = Whole::load(tx, &locked)?;
            let node = whole.node(job)?;
            whole.step(PipelineEvent::Reopen { node }, now)?;
            whole.outcome()
        }
        Action::Cancel(which) => {
            let mut whole = Whole::load(tx, &locked)?;
            whole.cancel(which, now)?;
            whole.outcome()
        }
        Action::Retry { job, user } => {
            let mut whole = Whole::load(tx, &locked)?;
            let node = whole.node(job)?;
            whole.retry(node, user, now)?;
            whole.outcome()
        }
        Action::RetryAll { user } => {
            let mut whole = Whole::load(tx, &locked)?;
            whole.retry_all(user, now)?;
            whole.outcome()
        }
    };
    outcome.store(tx, rules, &locked)
}

impl Applied {
    fn new(status: Status) -> Self {
        Self {
            status,
            queued: false,
            resources: false,
            chores: false,
            new_job: None,
            ended: Vec::new(),
        }
    }

    fn note(&mut self, state: JobState, stored: &Stored) {
        self.queued |= state == JobState::Pending;
        self.chores |= state == JobState::Triggering;
        self.resources |= state == JobState::WaitingForResource
            || (state.status().is_finished() && stored.resource_group.is_some());
        if matches!(
            state,
            JobState::Success | JobState::Failed(_) | JobState::Canceled
        ) {
            self.ended.push((state.status(), stored.started_at));
        }
    }
}
