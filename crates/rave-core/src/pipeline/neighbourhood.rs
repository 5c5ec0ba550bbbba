//! What happens to one job, decided without a look at the whole pipeline: the job, the tallies of the stages, and of the
//! others only those that the event can reach, which the store is asked for.
//!
//! That a graph is settled between events is what makes it possible: a created job can only be let go when a job that it
//! waits for stops being open, so only the jobs that wait for such a one are looked at.

use std::collections::BTreeMap;

use super::tally::Member;
use super::{Change, Node, Tallies, Tally};
use crate::job::{JobEvent, JobState, Refused, Status};
use crate::time::Timestamp;

/// Where the jobs of a pipeline are found, each in its latest try and as it was before the event, by its position.
pub trait Jobs {
    type Error: From<Refused>;

    /// Returns these jobs; fails when one is missing.
    fn load(&mut self, nodes: &[usize]) -> Result<Vec<(usize, Node)>, Self::Error>;

    /// Returns the created jobs that have one of these among their needs.
    fn needing(&mut self, nodes: &[usize]) -> Result<Vec<(usize, Node)>, Self::Error>;

    /// Returns the created jobs of a stage that wait for all earlier stages.
    fn waiting(&mut self, stage: usize) -> Result<Vec<(usize, Node)>, Self::Error>;
}

/// A job of a settled pipeline, and as much of what surrounds it as has been looked at.
#[derive(Debug)]
pub struct Neighbourhood<'a, J> {
    jobs: &'a mut J,
    nodes: BTreeMap<usize, Node>,
    tallies: Tallies,
}

impl<'a, J: Jobs> Neighbourhood<'a, J> {
    /// Begins with a pipeline's tallies, which have to be those of its jobs, and with jobs that were looked at before.
    pub fn new(
        jobs: &'a mut J,
        tallies: Tallies,
        known: impl IntoIterator<Item = (usize, Node)>,
    ) -> Self {
        Self {
            jobs,
            nodes: known.into_iter().collect(),
            tallies,
        }
    }

    /// Applies `event` to a job at `now` and lets the graph settle, as [`step`](super::step) does with a
    /// [`PipelineEvent::Job`](super::PipelineEvent::Job). With `allow_failure` the job's failure is allowed from now on.
    /// Returns the changes.
    ///
    /// # Errors
    /// When the job refuses the event, or the jobs cannot be read; the neighbourhood is then of no use any more.
    pub fn step(
        &mut self,
        node: usize,
        event: JobEvent,
        allow_failure: bool,
        now: Timestamp,
    ) -> Result<Vec<Change>, J::Error> {
        let mut changes = Vec::new();
        self.ensure(&[node])?;
        let job = self.nodes.get_mut(&node).expect("it was loaded");
        let before = job.clone();
        job.allow_failure |= allow_failure;
        let closed = self.apply(node, before, event, &mut changes)?;
        let mut closed: Vec<usize> = closed.into_iter().collect();
        while !closed.is_empty() {
            let mut next = Vec::new();
            for (later, gate) in self.reached(&closed)? {
                let job = &self.nodes[&later];
                if let Some(event) = job.release(gate, now) {
                    let before = job.clone();
                    next.extend(self.apply(later, before, event, &mut changes)?);
                }
            }
            closed = next;
        }
        Ok(changes)
    }

    /// Returns the jobs that were looked at and the tallies, as they are now.
    #[must_use]
    pub fn into_parts(self) -> (BTreeMap<usize, Node>, Tallies) {
        (self.nodes, self.tallies)
    }

    /// Changes a job that was something else `before`. Returns it if later jobs do not wait for it any more.
    fn apply(
        &mut self,
        node: usize,
        before: Node,
        event: JobEvent,
        changes: &mut Vec<Change>,
    ) -> Result<Option<usize>, J::Error> {
        let job = self.nodes.get_mut(&node).expect("it was looked at");
        let (from, to) = job.apply(event)?;
        changes.push(Change { node, from, to });
        self.tallies.recount(&before, job);
        let closed = Member::of(&before).is_open() && !Member::of(job).is_open();
        Ok(closed.then_some(node))
    }

    /// Returns the created jobs that wait for one of these, with the status of all that they wait for.
    fn reached(&mut self, closed: &[usize]) -> Result<Vec<(usize, Option<Status>)>, J::Error> {
        let mut reached = Vec::new();
        let first = closed.iter().map(|it| self.nodes[it].stage).min();
        if let Some((stage, gate)) = self.tallies.begun_after(first.unwrap_or_default()) {
            let found = self.jobs.waiting(stage)?;
            reached.extend(self.still_created(found).map(|it| (it, Some(gate))));
        }
        let found = self.jobs.needing(closed)?;
        let needing: Vec<usize> = self.still_created(found).collect();
        let needs = needing
            .iter()
            .flat_map(|it| self.nodes[it].needs.iter().flatten());
        let needs: Vec<usize> = needs.copied().collect();
        self.ensure(&needs)?;
        reached.extend(needing.into_iter().map(|it| (it, self.gate(it))));
        Ok(reached)
    }

    /// Takes in jobs that were created before the event. Returns those that are so still.
    fn still_created(&mut self, found: Vec<(usize, Node)>) -> impl Iterator<Item = usize> {
        let created = found.into_iter().filter_map(|(at, node)| {
            let known = self.nodes.entry(at).or_insert(node);
            (known.state == JobState::Created).then_some(at)
        });
        created.collect::<Vec<_>>().into_iter()
    }

    /// Loads those that were not looked at yet.
    fn ensure(&mut self, nodes: &[usize]) -> Result<(), J::Error> {
        let mut missing: Vec<usize> = nodes.to_vec();
        missing.retain(|it| !self.nodes.contains_key(it));
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            self.nodes.extend(self.jobs.load(&missing)?);
        }
        Ok(())
    }

    /// Returns the status of what a job needs.
    fn gate(&self, node: usize) -> Option<Status> {
        let needs = self.nodes[&node].needs.iter().flatten();
        Tally::of(needs.map(|it| &self.nodes[it])).status(true)
    }
}
