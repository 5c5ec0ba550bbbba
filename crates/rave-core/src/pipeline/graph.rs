//! How a whole graph settles, and what a new try of a job brings back.

use std::collections::BTreeMap;

use super::{Change, Graph, Tally};
use crate::job::{JobEvent, JobState, Refused};
use crate::time::Timestamp;

impl Graph {
    pub(super) fn apply(
        &mut self,
        node: usize,
        event: JobEvent,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        let (from, to) = self.nodes[node].apply(event)?;
        changes.push(Change { node, from, to });
        Ok(())
    }

    /// Puts an ended job back into an earlier state. A bridge may have been skipped with the pipeline that it mirrors.
    pub(super) fn revive(
        &mut self,
        node: usize,
        to: JobState,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        let from = self.nodes[node].state;
        let skipped = from == JobState::Skipped && !self.nodes[node].road.bridge;
        if !from.status().is_finished() || skipped {
            return Err(Refused {
                state: from,
                event: JobEvent::Reset,
            });
        }
        self.nodes[node].state = to;
        changes.push(Change { node, from, to });
        for later in self.skipped_because_of(node) {
            self.apply(later, JobEvent::Reset, changes)?;
        }
        Ok(())
    }

    /// The skipped jobs that come after `node`, directly or through others.
    fn skipped_because_of(&self, node: usize) -> Vec<usize> {
        let mut after = vec![false; self.nodes.len()];
        after[node] = true;
        for it in self.order() {
            after[it] |= self
                .predecessors(it)
                .into_iter()
                .any(|before| after[before]);
        }
        (0..self.nodes.len())
            .filter(|it| after[*it] && self.nodes[*it].state == JobState::Skipped)
            .collect()
    }

    /// Lets go of every created job whose predecessors are done. One pass in order suffices, since a job's change can
    /// only matter to jobs after it.
    pub(super) fn settle(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        // The jobs of all stages before the one that is looked at; those of that stage follow when it is done.
        let (mut earlier, mut same, mut stage) = (Tally::default(), Vec::new(), 0);
        for node in self.order() {
            if self.nodes[node].stage != stage {
                stage = self.nodes[node].stage;
                same.drain(..)
                    .for_each(|it: usize| earlier.add(&self.nodes[it]));
            }
            same.push(node);
            if self.nodes[node].state != JobState::Created {
                continue;
            }
            let gate = match &self.nodes[node].needs {
                None => earlier.status(false),
                Some(needs) => Tally::of(needs.iter().map(|it| &self.nodes[*it])).status(true),
            };
            let Some(event) = self.nodes[node].release(gate, now) else {
                continue;
            };
            self.apply(node, event, changes)
                .expect("a created job takes each of the releases");
        }
    }

    pub(super) fn predecessors(&self, node: usize) -> Vec<usize> {
        let job = &self.nodes[node];
        job.needs.clone().unwrap_or_else(|| {
            (0..self.nodes.len())
                .filter(|it| self.nodes[*it].stage < job.stage)
                .collect()
        })
    }

    /// The jobs by stage, and within a stage after the jobs of that stage which they need. Jobs that need one another in
    /// a circle, which the language refuses, come last and never run.
    fn order(&self) -> Vec<usize> {
        let mut stages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        // How many jobs of its own stage each waits for, and which wait for it.
        let mut open = vec![0_usize; self.nodes.len()];
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (node, job) in self.nodes.iter().enumerate() {
            stages.entry(job.stage).or_default().push(node);
            for need in job.needs.iter().flatten() {
                if self.nodes[*need].stage == job.stage {
                    open[node] += 1;
                    after[*need].push(node);
                }
            }
        }
        let mut order: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for (_, jobs) in stages {
            let mut next = order.len();
            order.extend(jobs.iter().copied().filter(|it| open[*it] == 0));
            while next < order.len() {
                for later in &after[order[next]] {
                    open[*later] -= 1;
                    if open[*later] == 0 {
                        order.push(*later);
                    }
                }
                next += 1;
            }
            order.extend(jobs.iter().copied().filter(|it| open[*it] > 0));
        }
        order
    }
}
