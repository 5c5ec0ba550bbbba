//! Changes that may reach any job: they load the whole graph of a pipeline.

use rave_core::id::{JobId, UserId};
use rave_core::job::{self, JobEvent, JobState, Refused};
use rave_core::pipeline::{self, Graph, PipelineEvent, Tallies, Which};
use rave_core::time::Timestamp;
use rave_store::Tx;

use super::outcome::{Moved, Outcome};
use crate::error::CiError;
use crate::store;
use crate::store::job::Place;
use crate::store::pipeline::Locked;

/// The graph of a pipeline on its way from one stored state to the next.
pub(super) struct Whole {
    graph: Graph,
    places: Vec<Place>,
    before: Vec<(JobState, bool)>,
    /// For nodes that get a new try: the state in which the old one ends.
    retried: Vec<(usize, JobState)>,
    canceled: Option<Which>,
    exit_code: Option<(usize, i64)>,
    /// The memory of the only new try.
    memory_given: Option<u64>,
    user: Option<UserId>,
}

impl Whole {
    /// Loads all jobs. Those of a pipeline that was never counted get what [`super::near`] needs.
    pub(super) fn load(tx: &mut Tx<'_>, locked: &Locked) -> Result<Self, CiError> {
        let (graph, places) = store::job::load_graph(tx, locked.pipeline)?;
        if locked.tallies.is_none() {
            store::progress::put_needs(tx, locked.pipeline, &graph)?;
        }
        let nodes = graph.nodes.iter();
        let before = nodes.map(|it| (it.state, it.allow_failure)).collect();
        Ok(Self {
            graph,
            places,
            before,
            retried: Vec::new(),
            canceled: None,
            exit_code: None,
            memory_given: None,
            user: None,
        })
    }

    /// Counts the jobs.
    pub(super) fn tallies(&self) -> Tallies {
        Tallies::of(&self.graph)
    }

    pub(super) fn node(&self, job: JobId) -> Result<usize, CiError> {
        let found = self.places.iter().position(|it| it.job == job);
        found.ok_or(CiError::Forbidden("Job is not retryable"))
    }

    pub(super) fn step(&mut self, event: PipelineEvent, now: Timestamp) -> Result<(), Refused> {
        pipeline::step(&mut self.graph, event, now).map(drop)
    }

    pub(super) fn cancel(&mut self, which: Which, now: Timestamp) -> Result<(), Refused> {
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

    pub(super) fn retry(
        &mut self,
        node: usize,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let ended = self.graph.nodes[node].state;
        self.step(PipelineEvent::Retry { node }, now)?;
        self.retried.push((node, ended));
        self.user = user;
        Ok(())
    }

    pub(super) fn retry_all(
        &mut self,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        for node in 0..self.graph.nodes.len() {
            if matches!(
                self.graph.nodes[node].state,
                JobState::Failed(_) | JobState::Canceled
            ) {
                self.retry(node, user, now)?;
            }
        }
        Ok(())
    }

    /// Tries a job again that fails now, before anything after it hears of the failure.
    pub(super) fn fail_and_retry(
        &mut self,
        node: usize,
        failed: JobState,
        exit_code: Option<i64>,
        memory_given: Option<u64>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.graph.nodes[node].state = failed;
        self.memory_given = memory_given;
        self.exit_code = exit_code.map(|code| (node, code));
        self.retry(node, None, now)
    }

    /// Fails a job for good, and stops everything else.
    pub(super) fn fail_and_cancel(
        &mut self,
        node: usize,
        event: JobEvent,
        exit_code: Option<i64>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.exit_code = exit_code.map(|code| (node, code));
        self.step(PipelineEvent::Job { node, event }, now)?;
        self.cancel(Which::All, now)
    }

    pub(super) fn outcome(self) -> Outcome {
        let tallies = self.tallies();
        let mut moved = Vec::new();
        for (node, before) in self.before.iter().enumerate() {
            let after = &self.graph.nodes[node];
            let retried = self.retried.iter().find(|it| it.0 == node).map(|it| it.1);
            let after = (after.state, after.allow_failure);
            if after != *before || retried.is_some() {
                moved.push(Moved {
                    place: self.places[node],
                    before: *before,
                    after,
                    retried,
                    exit_code: self.exit_code.filter(|it| it.0 == node).map(|it| it.1),
                    memory_given: self.memory_given.filter(|_| retried.is_some()),
                });
            }
        }
        Outcome {
            moved,
            tallies,
            follows: false,
            canceled: self.canceled,
            user: self.user,
        }
    }
}
