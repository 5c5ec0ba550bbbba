//! What happens to one job: it is decided from the job, the tallies of its pipeline and the jobs that wait for it.

use std::collections::BTreeMap;

use rave_core::id::{JobId, PipelineId};
use rave_core::job::{self, FailureReason, JobEvent, JobState};
use rave_core::pipeline::{Jobs, Neighbourhood, Node, Tallies};
use rave_store::Tx;

use super::Rules;
use super::outcome::{Moved, Outcome};
use super::rules::more_memory;
use super::whole::Whole;
use crate::error::CiError;
use crate::model::{OnJobFailure, Strategy};
use crate::store;
use crate::store::job::{Located, Place};
use crate::store::pipeline::Locked;

/// Something happens to a job.
pub(super) fn happen(
    tx: &mut Tx<'_>,
    rules: &Rules,
    locked: &Locked,
    job: JobId,
    event: JobEvent,
    exit_code: Option<i64>,
) -> Result<Outcome, CiError> {
    let found = find(tx, locked, job)?;
    match event {
        JobEvent::Fail(reason) => fail(tx, rules, locked, found, reason, exit_code),
        event => step(tx, locked, &found, event, false, exit_code),
    }
}

/// A free resource is given to the job that waits for it.
pub(super) fn grant(tx: &mut Tx<'_>, locked: &Locked, job: JobId) -> Result<Outcome, CiError> {
    let found = find(tx, locked, job)?;
    let waits = found.node.state == JobState::WaitingForResource;
    let group = found.place.resource_group.filter(|_| waits);
    if !group.map_or(Ok(false), |it| store::resource::take(tx, it, job))? {
        return Err(CiError::Forbidden("the job does not get the resource"));
    }
    step(tx, locked, &found, JobEvent::Enqueue, false, None)
}

/// The pipeline of a bridge exists: the bridge follows it, or is done.
pub(super) fn attach(
    tx: &mut Tx<'_>,
    locked: &Locked,
    job: JobId,
    pipeline: PipelineId,
    strategy: Option<Strategy>,
) -> Result<Outcome, CiError> {
    let found = find(tx, locked, job)?;
    let event = match strategy {
        Some(_) => JobEvent::Follow { blocked: false },
        None => JobEvent::Succeed,
    };
    let outcome = step(tx, locked, &found, event, false, None)?;
    if let Some(strategy) = strategy {
        store::downstream::follow(tx, job, pipeline, strategy)?;
    }
    Ok(Outcome {
        follows: strategy.is_some(),
        ..outcome
    })
}

fn find(tx: &mut Tx<'_>, locked: &Locked, job: JobId) -> Result<Located, CiError> {
    let found = store::job::find_located(tx, locked.pipeline, job)?;
    found.ok_or(CiError::Forbidden("Job is not retryable"))
}

/// A failed job is tried again if its rules say so, before anything after it hears of the failure.
fn fail(
    tx: &mut Tx<'_>,
    rules: &Rules,
    locked: &Locked,
    found: Located,
    reason: FailureReason,
    exit_code: Option<i64>,
) -> Result<Outcome, CiError> {
    let event = JobEvent::Fail(reason);
    let failed = job::next(found.node.state, event)?;
    if !matches!(failed, JobState::Failed(_)) {
        return step(tx, locked, &found, event, false, exit_code);
    }
    let now = tx.now();
    let plan = store::job::load_plan(tx, found.place.job)?;
    let ended = store::usage::ended(tx, found.place.job)?;
    let given = more_memory(&plan, reason, &ended);
    if given.is_some() || found.place.tries < i64::from(rules.retries(&plan, reason, exit_code)) {
        let mut whole = Whole::load(tx, locked)?;
        whole.fail_and_retry(found.position, failed, exit_code, given, now)?;
        return Ok(whole.outcome());
    }
    let allowed = &plan.allow_failure_exit_codes;
    let listed = exit_code.is_some_and(|code| allowed.iter().any(|it| i64::from(*it) == code));
    let lasting = !found.node.allow_failure && !listed;
    if lasting && locked.on_job_failure == OnJobFailure::CancelAll {
        let mut whole = Whole::load(tx, locked)?;
        whole.fail_and_cancel(found.position, event, exit_code, now)?;
        return Ok(whole.outcome());
    }
    step(tx, locked, &found, event, listed, exit_code)
}

fn step(
    tx: &mut Tx<'_>,
    locked: &Locked,
    found: &Located,
    event: JobEvent,
    allow_failure: bool,
    exit_code: Option<i64>,
) -> Result<Outcome, CiError> {
    let now = tx.now();
    let tallies = tallies(tx, locked, &found.node)?;
    let mut around = Around {
        tx,
        pipeline: locked.pipeline,
        seen: BTreeMap::new(),
    };
    let known = around.note(vec![found.clone()]);
    let mut near = Neighbourhood::new(&mut around, tallies, known);
    let mut changed = near.step(found.position, event, allow_failure, now)?;
    changed.sort_by_key(|it| it.node);
    let (nodes, tallies) = near.into_parts();
    let moved = changed.iter().map(|it| {
        let (place, before) = around.seen[&it.node];
        let after = &nodes[&it.node];
        Moved {
            place,
            before,
            after: (after.state, after.allow_failure),
            retried: None,
            exit_code: exit_code.filter(|_| it.node == found.position),
            memory_given: None,
        }
    });
    Ok(Outcome {
        moved: moved.filter(|it| it.before != it.after).collect(),
        tallies,
        follows: false,
        canceled: None,
        user: None,
    })
}

/// Returns the tallies of a pipeline that has this job, counted now if nobody did.
fn tallies(tx: &mut Tx<'_>, locked: &Locked, job: &Node) -> Result<Tallies, CiError> {
    if let Some(tallies) = locked.tallies.as_ref().filter(|it| it.has(job)) {
        return Ok(tallies.clone());
    }
    Ok(Whole::load(tx, locked)?.tallies())
}

/// The jobs of a pipeline in the database, and which rows those are that were looked at.
struct Around<'a, 't> {
    tx: &'a mut Tx<'t>,
    pipeline: PipelineId,
    seen: BTreeMap<usize, (Place, (JobState, bool))>,
}

impl Around<'_, '_> {
    fn note(&mut self, found: Vec<Located>) -> Vec<(usize, Node)> {
        let nodes = found.into_iter().map(|it| {
            let before = (it.node.state, it.node.allow_failure);
            self.seen.insert(it.position, (it.place, before));
            (it.position, it.node)
        });
        nodes.collect()
    }
}

impl Jobs for Around<'_, '_> {
    type Error = CiError;

    fn load(&mut self, nodes: &[usize]) -> Result<Vec<(usize, Node)>, CiError> {
        let found = store::job::load_at(self.tx, self.pipeline, nodes)?;
        Ok(self.note(found))
    }

    fn needing(&mut self, nodes: &[usize]) -> Result<Vec<(usize, Node)>, CiError> {
        let found = store::job::needing(self.tx, self.pipeline, nodes)?;
        Ok(self.note(found))
    }

    fn waiting(&mut self, stage: usize) -> Result<Vec<(usize, Node)>, CiError> {
        let found = store::job::waiting(self.tx, self.pipeline, stage)?;
        Ok(self.note(found))
    }
}
