//! Every change of a job that can matter to other jobs: the graph is loaded, stepped by the pure state machine, and what
//! changed is stored with its events, all in one transaction.
//!
//! A job that is given to a runner or begins to run changes nothing for others, so `assign` does without the graph.

use std::collections::BTreeMap;

use rave_ci_lang::JobPlan;
use rave_core::event::{EventKind, NewEvent};
use rave_core::id::{JobId, PipelineId, UserId};
use rave_core::job::{self, FailureReason, JobEvent, JobState, Refused, Status};
use rave_core::pipeline::{self, Graph, PipelineEvent, Which};
use rave_core::time::Timestamp;
use rave_store::Tx;
use serde_json::json;

use super::Ci;
use crate::config::{CiConfig, millis};
use crate::error::CiError;
use crate::model::{ChoreKind, OnJobFailure, Strategy};
use crate::store;
use crate::store::job::{Change, Place, Stored};
use crate::store::pipeline::Locked;

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

/// The settings that decide about time and tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) pending_ms: i64,
    pub(crate) assign_ms: i64,
    pub(crate) lost_ms: i64,
    pub(crate) lost_retries: u32,
}

impl Rules {
    pub(crate) fn of(config: &CiConfig) -> Self {
        Self {
            pending_ms: millis(config.pending_timeout),
            assign_ms: millis(config.assign_timeout),
            lost_ms: millis(config.lost_after),
            lost_retries: config.lost_retries,
        }
    }

    /// Returns when somebody has to look at a job that is in `state` since `now`.
    pub(crate) fn due(&self, state: JobState, now: Timestamp) -> Option<Timestamp> {
        match state {
            JobState::Pending => Some(now.plus_millis(self.pending_ms)),
            JobState::Scheduled { at } => Some(at),
            JobState::Assigned { .. } => Some(now.plus_millis(self.assign_ms)),
            JobState::Running { .. } | JobState::Canceling { .. } => {
                Some(now.plus_millis(self.lost_ms))
            }
            _ => None,
        }
    }

    /// Returns when somebody has to look at a running job that spoke at `now`: when it would have been silent for too
    /// long, or should long have ended.
    pub(crate) fn due_running(
        &self,
        started_at: Option<Timestamp>,
        timeout_ms: i64,
        now: Timestamp,
    ) -> Timestamp {
        let silent = now.plus_millis(self.lost_ms);
        let overdue = Self::overdue(started_at.unwrap_or(now), timeout_ms);
        silent.min(overdue.max(now))
    }

    /// Returns when the server itself ends a job. Its runner does so first, and then has some time to clear up.
    pub(crate) fn overdue(started_at: Timestamp, timeout_ms: i64) -> Timestamp {
        const GRACE_MS: i64 = 10 * 60 * 1000;
        started_at.plus_millis(timeout_ms.saturating_add(GRACE_MS))
    }

    /// Returns how often a job may be tried again by itself after failing so.
    fn retries(&self, plan: &JobPlan, reason: FailureReason, exit_code: Option<i64>) -> u32 {
        use FailureReason as F;
        if matches!(
            reason,
            F::MissingDependencyFailure | F::NoMatchingRunner | F::EnvironmentCreationFailure
        ) {
            return 0;
        }
        let retry = &plan.retry;
        let named = |it: &str| retry.when.iter().any(|when| when == it);
        let stuck = reason == F::NoUpdatesRunning && named(F::StuckOrTimeoutFailure.label());
        let by_code =
            exit_code.is_some_and(|code| retry.exit_codes.iter().any(|it| i64::from(*it) == code));
        if retry.max > 0 && (named("always") || named(reason.label()) || stuck || by_code) {
            return retry.max;
        }
        match reason {
            F::SchedulerFailure => 2,
            // The job is not to blame for its runner.
            F::NoUpdatesRunning | F::RunnerSystemFailure | F::RunnerInterrupted => {
                self.lost_retries
            }
            _ => 0,
        }
    }
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
        if applied.queued {
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

/// The graph of a pipeline on its way from one stored state to the next.
struct Stepping {
    graph: Graph,
    places: Vec<Place>,
    before: Vec<(JobState, bool)>,
    /// For nodes that get a new try: the state in which the old one ends.
    retried: Vec<(usize, JobState)>,
    /// Whether a bridge has a pipeline to look at.
    follows: bool,
    /// What was stopped, so that what it brought forth stops too.
    canceled: Option<Which>,
    exit_code: Option<(usize, i64)>,
    user: Option<UserId>,
}

/// Applies an action in the caller's transaction.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    rules: &Rules,
    pipeline: PipelineId,
    action: Action,
) -> Result<Applied, CiError> {
    let locked = store::pipeline::lock(tx, pipeline)?.ok_or(CiError::NotFound("Pipeline"))?;
    if let Action::Job {
        job,
        event: JobEvent::Succeed,
        ..
    } = action
        && let Some(applied) = succeed(tx, rules, pipeline, &locked, job)?
    {
        return Ok(applied);
    }
    let (graph, places) = store::job::load_graph(tx, pipeline)?;
    let before = graph
        .nodes
        .iter()
        .map(|it| (it.state, it.allow_failure))
        .collect();
    let mut stepping = Stepping {
        graph,
        places,
        before,
        retried: Vec::new(),
        follows: false,
        canceled: None,
        exit_code: None,
        user: None,
    };
    stepping.act(tx, rules, locked.on_job_failure, action)?;
    stepping.store(tx, rules, pipeline, &locked)
}

/// Stores the success of a job that cannot matter to others, which is most jobs of a large pipeline: as long as another
/// job of its stage or an earlier one is with a runner or waits for one, no later stage begins and the pipeline runs.
/// `None` when it can matter. The lock on the pipeline makes jobs that end together take turns.
fn succeed(
    tx: &mut Tx<'_>,
    rules: &Rules,
    pipeline: PipelineId,
    locked: &Locked,
    job: JobId,
) -> Result<Option<Applied>, CiError> {
    let ending = store::job::ending(tx, job)?;
    let Some(ending) = ending.filter(|it| it.busy && !it.needed) else {
        return Ok(None);
    };
    let to = job::next(ending.state, JobEvent::Succeed)?;
    if to != JobState::Success {
        return Ok(None);
    }
    let change = Change {
        allow_failure: ending.allow_failure,
        exit_code: None,
        due_at: rules.due(to, tx.now()),
    };
    let stored = store::job::put_state(tx, job, ending.version, to, change)?;
    let stored = stored.ok_or(CiError::Conflict)?;
    let mut applied = Applied::new(Status::Running);
    applied.note(to, &stored);
    let event = job_event(locked, pipeline, job, &stored, to, ending.allow_failure);
    if locked.status != applied.status {
        applied.chores |= store::pipeline::put_status(tx, pipeline, applied.status)?;
        tx.append(pipeline_event(locked, pipeline, applied.status))?;
    }
    tx.append(event)?;
    Ok(Some(applied))
}

impl Stepping {
    fn act(
        &mut self,
        tx: &mut Tx<'_>,
        rules: &Rules,
        on_job_failure: OnJobFailure,
        action: Action,
    ) -> Result<(), CiError> {
        let now = tx.now();
        match action {
            Action::Settle => self.step(PipelineEvent::Settle, now)?,
            Action::Job {
                job,
                event,
                exit_code,
            } => {
                let node = self.node(job)?;
                self.exit_code = exit_code.map(|code| (node, code));
                match event {
                    JobEvent::Fail(reason) => {
                        let lasting = self.fail(tx, rules, node, reason, exit_code)?;
                        if lasting && on_job_failure == OnJobFailure::CancelAll {
                            self.cancel(Which::All, now)?;
                        }
                    }
                    event => self.step(PipelineEvent::Job { node, event }, now)?,
                }
            }
            Action::Grant { job } => {
                let node = self.node(job)?;
                let event = JobEvent::Enqueue;
                let waits = self.graph.nodes[node].state == JobState::WaitingForResource;
                let group = self.places[node].resource_group.filter(|_| waits);
                if !group.map_or(Ok(false), |it| store::resource::take(tx, it, job))? {
                    return Err(CiError::Forbidden("the job does not get the resource"));
                }
                self.step(PipelineEvent::Job { node, event }, now)?;
            }
            Action::Attach {
                job,
                pipeline,
                strategy,
            } => {
                let node = self.node(job)?;
                let event = match strategy {
                    Some(_) => JobEvent::Follow { blocked: false },
                    None => JobEvent::Succeed,
                };
                self.step(PipelineEvent::Job { node, event }, now)?;
                if let Some(strategy) = strategy {
                    store::downstream::follow(tx, job, pipeline, strategy)?;
                    self.follows = true;
                }
            }
            Action::Reopen { job } => {
                let node = self.node(job)?;
                self.step(PipelineEvent::Reopen { node }, now)?;
            }
            Action::Cancel(which) => self.cancel(which, now)?,
            Action::Retry { job, user } => {
                self.user = user;
                let node = self.node(job)?;
                self.retry(node, now)?;
            }
            Action::RetryAll { user } => {
                self.user = user;
                for node in 0..self.graph.nodes.len() {
                    if matches!(
                        self.graph.nodes[node].state,
                        JobState::Failed(_) | JobState::Canceled
                    ) {
                        self.retry(node, now)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn node(&self, job: JobId) -> Result<usize, CiError> {
        let found = self.places.iter().position(|it| it.job == job);
        found.ok_or(CiError::Forbidden("Job is not retryable"))
    }

    fn step(&mut self, event: PipelineEvent, now: Timestamp) -> Result<(), Refused> {
        pipeline::step(&mut self.graph, event, now).map(drop)
    }

    fn cancel(&mut self, which: Which, now: Timestamp) -> Result<(), Refused> {
        for (node, place) in self.graph.nodes.iter_mut().zip(&self.places) {
            // A runner that cannot stop gracefully is told to drop everything.
            let meant = which == Which::All || node.interruptible;
            if meant && matches!(node.state, JobState::Running { .. }) && !place.graceful {
                node.state = job::next(node.state, JobEvent::Cancel { graceful: false })?;
            }
        }
        self.canceled = Some(which);
        let graceful = true;
        self.step(PipelineEvent::Cancel { graceful, which }, now)
    }

    fn retry(&mut self, node: usize, now: Timestamp) -> Result<(), Refused> {
        let ended = self.graph.nodes[node].state;
        self.step(PipelineEvent::Retry { node }, now)?;
        self.retried.push((node, ended));
        Ok(())
    }

    /// A failed job is tried again if its rules say so, before anything after it hears of the failure. Returns whether
    /// the job failed for good.
    fn fail(
        &mut self,
        tx: &mut Tx<'_>,
        rules: &Rules,
        node: usize,
        reason: FailureReason,
        exit_code: Option<i64>,
    ) -> Result<bool, CiError> {
        let now = tx.now();
        let failed = job::next(self.graph.nodes[node].state, JobEvent::Fail(reason))?;
        if matches!(failed, JobState::Failed(_)) {
            let plan = store::job::load_plan(tx, self.places[node].job)?;
            let tries = self.places[node].tries;
            if tries < i64::from(rules.retries(&plan, reason, exit_code)) {
                self.graph.nodes[node].state = failed;
                self.retry(node, now)?;
                return Ok(false);
            }
            let allowed = &plan.allow_failure_exit_codes;
            let listed =
                exit_code.is_some_and(|code| allowed.iter().any(|it| i64::from(*it) == code));
            self.graph.nodes[node].allow_failure |= listed;
        }
        let event = JobEvent::Fail(reason);
        self.step(PipelineEvent::Job { node, event }, now)?;
        let lasting = matches!(failed, JobState::Failed(_));
        Ok(lasting && !self.graph.nodes[node].allow_failure)
    }

    fn store(
        self,
        tx: &mut Tx<'_>,
        rules: &Rules,
        pipeline: PipelineId,
        locked: &Locked,
    ) -> Result<Applied, CiError> {
        let now = tx.now();
        let mut applied = Applied::new(pipeline::status(&self.graph));
        applied.chores = self.follows;
        if let Some(which) = self.canceled {
            let kind = match which {
                Which::All => ChoreKind::Cancel,
                Which::Interruptible => ChoreKind::Interrupt,
            };
            applied.chores |= store::chore::insert_below(tx, kind, pipeline)? > 0;
        }
        let mut events = Vec::new();
        let released = self.put_released(tx, rules)?;
        for (node, before) in self.before.iter().enumerate() {
            let after = &self.graph.nodes[node];
            let place = self.places[node];
            let retried = self.retried.iter().find(|it| it.0 == node).map(|it| it.1);
            // What the row of the old try has to say; a new try is another row.
            let to = retried.unwrap_or(after.state);
            if let Some(stored) = released.get(&place.job) {
                applied.note(to, stored);
                let allowed = after.allow_failure;
                events.push(job_event(locked, pipeline, place.job, stored, to, allowed));
            } else if (to, after.allow_failure) != *before {
                let change = Change {
                    allow_failure: after.allow_failure,
                    exit_code: self.exit_code.filter(|it| it.0 == node).map(|it| it.1),
                    due_at: rules.due(to, now),
                };
                let stored = store::job::put_state(tx, place.job, place.version, to, change)?;
                let stored = stored.ok_or(CiError::Conflict)?;
                applied.note(to, &stored);
                events.push(job_event(
                    locked,
                    pipeline,
                    place.job,
                    &stored,
                    to,
                    after.allow_failure,
                ));
            }
            if retried.is_some() {
                let due = rules.due(after.state, now);
                let (job, stored) =
                    store::job::insert_retry(tx, place.job, self.user, after.state, due)?;
                applied.new_job = Some(job);
                applied.note(after.state, &stored);
                events.push(job_event(
                    locked,
                    pipeline,
                    job,
                    &stored,
                    after.state,
                    after.allow_failure,
                ));
            }
        }
        if applied.status != locked.status {
            applied.chores |= store::pipeline::put_status(tx, pipeline, applied.status)?;
            events.push(pipeline_event(locked, pipeline, applied.status));
        }
        // Last, because on PostgreSQL an append makes other appends wait.
        tx.append_all(&events)?;
        Ok(applied)
    }

    /// Stores the jobs that were let go or ruled out: of those there may be very many at once.
    fn put_released(
        &self,
        tx: &mut Tx<'_>,
        rules: &Rules,
    ) -> Result<BTreeMap<JobId, Stored>, CiError> {
        const AT_ONCE: usize = 500;
        let now = tx.now();
        let mut groups: Vec<(JobState, Vec<JobId>)> = Vec::new();
        for (node, (state, allow_failure)) in self.before.iter().enumerate() {
            let after = &self.graph.nodes[node];
            let changed = *state == JobState::Created && after.state != JobState::Created;
            let alone = after.allow_failure == *allow_failure
                && !after.state.status().is_finished() | (after.state == JobState::Skipped)
                && self.retried.iter().all(|it| it.0 != node);
            if !changed || !alone {
                continue;
            }
            let job = self.places[node].job;
            match groups.iter_mut().find(|it| it.0 == after.state) {
                Some((_, jobs)) => jobs.push(job),
                None => groups.push((after.state, vec![job])),
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

/// Makes the event of a job's change: `job.finished` at its end, `job.changed` before.
pub(crate) fn job_event(
    locked: &Locked,
    pipeline: PipelineId,
    job: JobId,
    stored: &Stored,
    state: JobState,
    allow_failure: bool,
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
        "pipeline_id": pipeline.0,
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
pub(crate) fn pipeline_event(locked: &Locked, pipeline: PipelineId, status: Status) -> NewEvent {
    let ended = status.is_finished();
    let kind = if ended {
        EventKind::PipelineFinished
    } else {
        EventKind::PipelineChanged
    };
    let payload = json!({
        "id": pipeline.0,
        "iid": locked.iid,
        "ref": locked.ref_name,
        "sha": locked.sha,
        "status": status.label(),
    });
    NewEvent::new(kind, format!("pipeline/{pipeline}"))
        .project(locked.project)
        .payload(payload)
        .trace(locked.trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_ci_lang::Retry;

    fn retries(retry: Retry, reason: FailureReason, exit_code: Option<i64>) -> u32 {
        let plan: JobPlan = JobPlan {
            retry,
            ..crate::service::plan::tests::job("a")
        };
        Rules::of(&CiConfig::new("http://x", "1")).retries(&plan, reason, exit_code)
    }

    #[test]
    fn retries_follow_the_file_and_forgive_runners() {
        use FailureReason as F;
        let retry = |max, when: &[&str], exit_codes: &[i32]| Retry {
            max,
            when: when.iter().map(ToString::to_string).collect(),
            exit_codes: exit_codes.to_vec(),
        };
        assert_eq!(retries(retry(0, &[], &[]), F::ScriptFailure, Some(1)), 0);
        assert_eq!(
            retries(retry(2, &["always"], &[]), F::ScriptFailure, Some(1)),
            2
        );
        assert_eq!(
            retries(retry(2, &["script_failure"], &[]), F::ApiFailure, None),
            0
        );
        assert_eq!(
            retries(retry(2, &[], &[137]), F::ScriptFailure, Some(137)),
            2
        );
        assert_eq!(retries(retry(2, &[], &[137]), F::ScriptFailure, Some(1)), 0);
        assert_eq!(retries(retry(0, &[], &[]), F::NoUpdatesRunning, None), 1);
        assert_eq!(
            retries(
                retry(2, &["stuck_or_timeout_failure"], &[]),
                F::NoUpdatesRunning,
                None
            ),
            2
        );
        assert_eq!(
            retries(
                retry(2, &["always"], &[]),
                F::MissingDependencyFailure,
                None
            ),
            0
        );
    }
}
