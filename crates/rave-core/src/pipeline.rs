//! A pipeline's state machine: one pure function, [`step`], over a graph of jobs and an event.
//!
//! After each event the graph *settles*: jobs whose predecessors are done are let go, set aside or skipped, until nothing
//! moves. What runs the jobs, stores the changes and tells the world is left to others.
//!
//! What happens to one job of a settled graph can also be decided by a [`Neighbourhood`], which comes to the same and
//! looks at nothing but the jobs that the event can reach.

mod graph;
mod neighbourhood;
mod tally;

use crate::job::{self, JobEvent, JobState, Refused, Status, When};
use crate::time::Timestamp;

pub use neighbourhood::{Jobs, Neighbourhood};
pub use tally::{Tallies, Tally};

/// A job as far as the order of jobs is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The position of the job's stage.
    pub stage: usize,
    /// The jobs it needs, by their position in the graph. `None` means all jobs of all earlier stages.
    pub needs: Option<Vec<usize>>,
    pub when: When,
    /// How long a delayed job waits, in milliseconds.
    pub start_in_millis: i64,
    /// What it is let go to.
    pub road: Road,
    /// Whether a newer pipeline may stop it.
    pub interruptible: bool,
    pub allow_failure: bool,
    pub state: JobState,
}

/// What a job waits for once the jobs before it have let it go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Road {
    /// It shares a resource with other jobs, and waits for that first.
    pub resource: bool,
    /// It makes or follows another pipeline instead of going to a runner.
    pub bridge: bool,
}

impl Road {
    /// Returns what letting the job go means in this state: a job that waits for its resource was let go before.
    fn enqueue(self, state: JobState) -> JobEvent {
        match self {
            Self { resource: true, .. } if state != JobState::WaitingForResource => {
                JobEvent::AwaitResource
            }
            Self { bridge: true, .. } => JobEvent::Trigger,
            Self { .. } => JobEvent::Enqueue,
        }
    }

    /// Returns the state in which a new try begins.
    #[must_use]
    pub fn first_state(self) -> JobState {
        job::next(JobState::Created, self.enqueue(JobState::Created))
            .expect("a created job can be let go")
    }
}

/// The jobs of a pipeline, each in its latest try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    pub nodes: Vec<Node>,
}

/// What happens to a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineEvent {
    /// It was made, or something outside changed: let go what can go.
    Settle,
    /// Something happened to one job.
    Job { node: usize, event: JobEvent },
    /// Everything of the kind that has not ended stops.
    Cancel { graceful: bool, which: Which },
    /// A bridge that ended goes on, because the pipeline that it followed does, and what was skipped because of its end
    /// is looked at again.
    Reopen { node: usize },
    /// A new try takes the place of an ended job, and what was skipped because of it is looked at again.
    Retry { node: usize },
}

/// Which jobs a [`PipelineEvent::Cancel`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    /// Those that say that a newer pipeline may stop them.
    Interruptible,
}

/// One job changed its state. A [`PipelineEvent::Retry`] reports the new try as a change from the old state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub node: usize,
    pub from: JobState,
    pub to: JobState,
}

/// Applies `event` at `now` and lets the graph settle. Returns the changes in the order in which they happened.
///
/// # Errors
/// When a job refuses the event; the graph is then unchanged.
pub fn step(
    graph: &mut Graph,
    event: PipelineEvent,
    now: Timestamp,
) -> Result<Vec<Change>, Refused> {
    let mut changes = Vec::new();
    match event {
        PipelineEvent::Settle => {}
        PipelineEvent::Job { node, event } => graph.apply(node, event, &mut changes)?,
        PipelineEvent::Cancel { graceful, which } => {
            for node in 0..graph.nodes.len() {
                // Those that have ended, or are already stopping, refuse and stay as they are.
                let stopping = matches!(graph.nodes[node].state, JobState::Canceling { .. });
                let meant = which == Which::All || graph.nodes[node].interruptible;
                if meant && !stopping {
                    let _ = graph.apply(node, JobEvent::Cancel { graceful }, &mut changes);
                }
            }
        }
        PipelineEvent::Reopen { node } => {
            let following = JobState::Following { blocked: false };
            graph.revive(node, following, &mut changes)?;
        }
        PipelineEvent::Retry { node } => {
            let first = graph.nodes[node].road.first_state();
            graph.revive(node, first, &mut changes)?;
        }
    }
    graph.settle(now, &mut changes);
    Ok(changes)
}

/// Returns a pipeline's status; an empty one counts as skipped.
#[must_use]
pub fn status(graph: &Graph) -> Status {
    Tally::of(graph.nodes.iter())
        .status(false)
        .unwrap_or(Status::Skipped)
}

/// Returns a stage's status, `None` when it has no jobs.
#[must_use]
pub fn stage_status(graph: &Graph, stage: usize) -> Option<Status> {
    Tally::of(graph.nodes.iter().filter(|it| it.stage == stage)).status(false)
}

impl Node {
    /// Whether it waits for a person who need not come.
    pub(crate) fn is_ignored(&self) -> bool {
        self.state == JobState::Manual && self.allow_failure
    }

    /// Changes the state. Returns the old and the new one.
    fn apply(&mut self, event: JobEvent) -> Result<(JobState, JobState), Refused> {
        let from = self.state;
        let event = match event {
            JobEvent::Enqueue => self.road.enqueue(from),
            event => event,
        };
        self.state = job::next(from, event)?;
        Ok((from, self.state))
    }

    /// Decides what becomes of a created job: `None` while its predecessors have not ended. Nobody before it lets it go.
    fn release(&self, gate: Option<Status>, now: Timestamp) -> Option<JobEvent> {
        let gate = gate.unwrap_or(Status::Success);
        if !gate.is_finished() {
            return None;
        }
        let on_success =
            gate == Status::Success || (gate == Status::Skipped && self.needs.is_none());
        Some(match self.when {
            When::OnSuccess if on_success => JobEvent::Enqueue,
            When::Manual if on_success => JobEvent::Actionize,
            When::Delayed if on_success => JobEvent::Schedule {
                at: now.plus_millis(self.start_in_millis),
            },
            When::OnFailure if gate == Status::Failed => JobEvent::Enqueue,
            When::Always if gate != Status::Canceled => JobEvent::Enqueue,
            When::OnSuccess | When::Manual | When::Delayed | When::OnFailure | When::Always => {
                JobEvent::Skip
            }
        })
    }
}

#[cfg(test)]
mod tests;
