//! A neighbourhood against the whole graph, and what it reads.

use proptest::prelude::*;

use super::{node, pipelines, settle};
use crate::id::RunnerId;
use crate::job::{FailureReason, JobEvent, JobState, Refused, When};
use crate::pipeline::{
    Change, Graph, Jobs, Neighbourhood, Node, PipelineEvent, Tallies, Tally, Which, status, step,
};
use crate::time::Timestamp;

/// A graph as a store: jobs as they were before the event, and a note of each that was asked for.
struct Stored {
    graph: Graph,
    read: Vec<usize>,
}

impl Stored {
    fn select(&mut self, wanted: impl Fn(&Node) -> bool) -> Vec<(usize, Node)> {
        let nodes = self.graph.nodes.iter().enumerate();
        let found = nodes.filter(|it| it.1.state == JobState::Created && wanted(it.1));
        let found: Vec<_> = found.map(|(at, node)| (at, node.clone())).collect();
        self.read.extend(found.iter().map(|it| it.0));
        found
    }
}

impl Jobs for Stored {
    type Error = Refused;

    fn load(&mut self, nodes: &[usize]) -> Result<Vec<(usize, Node)>, Refused> {
        self.read.extend(nodes);
        let found = nodes.iter().map(|it| (*it, self.graph.nodes[*it].clone()));
        Ok(found.collect())
    }

    fn needing(&mut self, nodes: &[usize]) -> Result<Vec<(usize, Node)>, Refused> {
        Ok(self.select(|it| it.needs.iter().flatten().any(|need| nodes.contains(need))))
    }

    fn waiting(&mut self, stage: usize) -> Result<Vec<(usize, Node)>, Refused> {
        Ok(self.select(|it| it.stage == stage && it.needs.is_none()))
    }
}

/// What a neighbourhood makes of an event.
struct Found {
    changes: Vec<Change>,
    tallies: Tallies,
    read: Vec<usize>,
}

fn near(
    graph: &Graph,
    tallies: &Tallies,
    node: usize,
    event: JobEvent,
    allow_failure: bool,
) -> Result<Found, Refused> {
    let mut stored = Stored {
        graph: graph.clone(),
        read: Vec::new(),
    };
    let mut near = Neighbourhood::new(&mut stored, tallies.clone(), []);
    let changes = near.step(node, event, allow_failure, Timestamp(0))?;
    let (_, tallies) = near.into_parts();
    Ok(Found {
        changes,
        tallies,
        read: stored.read,
    })
}

#[test]
fn an_event_reads_only_the_jobs_that_it_can_reach() {
    const JOBS: usize = 1000;
    let chain = (0..JOBS).map(|it| {
        let before: Vec<usize> = it.checked_sub(1).into_iter().collect();
        node(0, Some(&before), When::OnSuccess)
    });
    let wide = (0..JOBS).map(|it| node(it / 10, None, When::OnSuccess));
    let check = |nodes: Vec<Node>, at: usize, expected: Vec<usize>| {
        let graph = settle(nodes);
        let end = JobEvent::Fail(FailureReason::ScriptFailure);
        let found = near(&graph, &Tallies::of(&graph), at, end, true);
        let mut read = found.expect("a pending job can fail").read;
        read.sort_unstable();
        assert_eq!(read, expected);
    };
    check(chain.collect(), 0, vec![0, 1]);
    check(wide.clone().collect(), 3, vec![3]);
    let last_of_its_stage = wide.enumerate().map(|(at, it)| match at {
        3 => it,
        0..10 => Node {
            state: JobState::Success,
            ..it
        },
        _ => it,
    });
    check(
        last_of_its_stage.collect(),
        3,
        (3..4).chain(10..20).collect(),
    );
}

#[test]
fn tallies_have_a_form_to_be_kept_in() {
    let graph = settle(vec![
        node(0, None, When::Manual),
        Node {
            allow_failure: true,
            ..node(0, None, When::Manual)
        },
        node(2, None, When::OnSuccess),
        node(2, None, When::OnSuccess),
    ]);
    let tallies = Tallies::of(&graph);
    let counts: Vec<Vec<_>> = tallies
        .stages()
        .iter()
        .map(|it| it.counts().collect())
        .collect();
    assert_eq!(
        counts,
        [
            vec![("ignored", 1), ("manual", 1)],
            vec![],
            vec![("created", 2)]
        ]
    );
    let again = counts
        .into_iter()
        .map(Tally::from_counts)
        .collect::<Option<_>>();
    assert_eq!(again.map(Tallies::new), Some(tallies));
    assert_eq!(Tally::from_counts([("lost", 1)]), None);
}

proptest! {
    /// The neighbourhood comes to what the whole graph comes to, and its tallies stay those of the jobs.
    #[test]
    fn a_neighbourhood_decides_as_the_whole_graph_does(nodes in pipelines(), choices in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..20, any::<bool>()), 0..60)) {
        let mut graph = settle(nodes);
        let mut tallies = Tallies::of(&graph);
        for (which, what, flag) in choices {
            let at = which.index(graph.nodes.len());
            let whole = match what {
                0 => Some(PipelineEvent::Cancel { graceful: flag, which: if flag { Which::All } else { Which::Interruptible } }),
                1 | 2 => Some(PipelineEvent::Retry { node: at }),
                3 => Some(PipelineEvent::Reopen { node: at }),
                4 => Some(PipelineEvent::Settle),
                _ => None,
            };
            if let Some(event) = whole {
                if step(&mut graph, event, Timestamp(0)).is_ok() {
                    tallies = Tallies::of(&graph);
                }
                continue;
            }
            let event = match what {
                5 | 6 => JobEvent::Fail(FailureReason::ScriptFailure),
                7 | 8 => JobEvent::Succeed,
                9 | 10 => JobEvent::Assign(RunnerId(1)),
                11 => JobEvent::Start,
                12 => JobEvent::Release,
                13 => JobEvent::Cancel { graceful: flag },
                14 => JobEvent::Follow { blocked: flag },
                15 => JobEvent::Unschedule,
                16 => JobEvent::Skip,
                // Whoever plays a job asks for this, and so do the time of a delayed job and a free resource.
                _ => JobEvent::Enqueue,
            };
            if event == JobEvent::Enqueue && graph.nodes[at].state == JobState::Created {
                continue;
            }
            let allowed = flag && matches!(event, JobEvent::Fail(_));
            let found = near(&graph, &tallies, at, event, allowed);
            let mut after = graph.clone();
            after.nodes[at].allow_failure |= allowed;
            let mut expected = match step(&mut after, PipelineEvent::Job { node: at, event }, Timestamp(0)) {
                Ok(changes) => changes,
                Err(refused) => {
                    prop_assert_eq!(found.err(), Some(refused));
                    continue;
                }
            };
            graph = after;
            let Found { mut changes, tallies: kept, .. } = found.expect("the whole graph takes it");
            changes.sort_by_key(|it| it.node);
            expected.sort_by_key(|it| it.node);
            prop_assert_eq!(changes, expected);
            prop_assert_eq!(&kept, &Tallies::of(&graph));
            prop_assert_eq!(kept.status(), status(&graph));
            tallies = kept;
        }
    }
}
