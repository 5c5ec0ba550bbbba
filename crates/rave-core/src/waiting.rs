//! Why a job waits: one pure answer for pages, the API and the command line.
//!
//! What a graph of jobs cannot tell, such as whether there is a runner, is given by the caller.

use crate::job::JobState;
use crate::memory::Shortage;
use crate::pipeline::Graph;
use crate::time::Timestamp;

/// Why a job does not run yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Jobs of earlier stages have not ended.
    Stages {
        /// The stages that have such jobs, in order.
        stages: Vec<usize>,
        /// Those of the first of these stages.
        jobs: Vec<usize>,
    },
    /// Jobs that it needs have not ended.
    Needs { jobs: Vec<usize> },
    /// Nothing holds it up any more: it is let go in a moment.
    Turn,
    /// A person has to start it.
    Person,
    /// It is delayed.
    Until { at: Timestamp },
    /// Another job has the resource that it needs.
    Resource {
        group: String,
        holder: Option<String>,
    },
    /// No runner has taken it. The obstacle says why none will, if there is one.
    Runner { obstacle: Option<String> },
    /// The runners that would take it lack memory.
    Memory(Shortage),
    /// Runners will take it when they have done other jobs, as the sentence says.
    Busy { sentence: String },
    /// A runner was given it and is about to begin.
    Handover,
    /// It is about to make another pipeline.
    Trigger,
    /// Another pipeline has not ended, which perhaps waits for a person itself.
    Pipeline { blocked: bool },
    /// It was told to stop, and its runner clears up.
    Stopping,
}

/// What the graph of one pipeline cannot tell of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Why no runner takes it, should it wait for one.
    pub obstacle: Option<String>,
    /// The memory that it lacks, should it wait for a runner.
    pub memory: Option<Shortage>,
    /// What the runners are busy with that will take it, should it wait for one.
    pub busy: Option<String>,
    /// The resource group that it waits for, and the job that has the resource.
    pub resource: Option<(String, Option<String>)>,
}

impl Reason {
    /// Returns the name of the reason, for programs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Stages { .. } => "stages",
            Self::Needs { .. } => "needs",
            Self::Turn => "turn",
            Self::Person => "manual",
            Self::Until { .. } => "delayed",
            Self::Resource { .. } => "resource_group",
            Self::Runner { .. } | Self::Busy { .. } => "runner",
            Self::Memory(_) => "memory",
            Self::Handover => "handover",
            Self::Trigger => "trigger",
            Self::Pipeline { .. } => "pipeline",
            Self::Stopping => "stopping",
        }
    }

    /// Returns the jobs that it names, by their positions in the graph.
    #[must_use]
    pub fn jobs(&self) -> &[usize] {
        match self {
            Self::Stages { jobs, .. } | Self::Needs { jobs } => jobs,
            _ => &[],
        }
    }

    /// Whether nothing but a change from outside lets the job go on, so that somebody should look.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        matches!(self, Self::Runner { obstacle: Some(_) })
    }

    /// Returns the reason in words, without a full stop. `job` and `stage` name what has a position.
    #[must_use]
    pub fn sentence<'a>(
        &self,
        job: impl Fn(usize) -> &'a str,
        stage: impl Fn(usize) -> &'a str,
    ) -> String {
        let jobs = |of: &[usize]| listed(&of.iter().map(|it| job(*it)).collect::<Vec<_>>());
        match self {
            Self::Stages { stages, jobs: of } => match stages.as_slice() {
                [one] => format!("Waits for stage {}: {}", stage(*one), jobs(of)),
                several => {
                    let names: Vec<&str> = several.iter().map(|it| stage(*it)).collect();
                    format!("Waits for stages {}", listed(&names))
                }
            },
            Self::Needs { jobs: of } => format!("Waits for {}", jobs(of)),
            Self::Turn => "Waits for its turn".into(),
            Self::Person => "Waits for somebody to start it".into(),
            Self::Until { at } => {
                let at = at.rfc3339().replace('T', " ");
                format!("Waits until {} UTC", at.get(..16).unwrap_or(&at))
            }
            Self::Resource {
                group,
                holder: Some(holder),
            } => format!("Waits for resource group {group}, which {holder} holds"),
            Self::Resource {
                group,
                holder: None,
            } => format!("Waits for resource group {group}"),
            Self::Runner {
                obstacle: Some(obstacle),
            } => obstacle.clone(),
            Self::Runner { obstacle: None } => "Waits for a free runner".into(),
            Self::Memory(shortage) => shortage.sentence(),
            Self::Busy { sentence } => sentence.clone(),
            Self::Handover => "A runner is about to start it".into(),
            Self::Trigger => "Is about to start another pipeline".into(),
            Self::Pipeline { blocked: false } => "Waits for another pipeline".into(),
            Self::Pipeline { blocked: true } => {
                "Waits for another pipeline, which waits for somebody".into()
            }
            Self::Stopping => "Is being stopped".into(),
        }
    }
}

/// Joins names as in `a, b and 3 more`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] if first.len() < 4 => format!("{} and {last}", first.join(", ")),
        [a, b, c, rest @ ..] => format!("{a}, {b}, {c} and {} more", rest.len()),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The jobs of a pipeline that hold others up, found once for all questions.
#[derive(Clone, Debug)]
pub struct Waiting<'a> {
    graph: &'a Graph,
    /// Jobs that have not ended and are not left to chance, by stage.
    open: Vec<(usize, usize)>,
}

impl<'a> Waiting<'a> {
    /// Looks at a pipeline.
    #[must_use]
    pub fn new(graph: &'a Graph) -> Self {
        let mut open: Vec<(usize, usize)> = (0..graph.nodes.len())
            .filter(|it| is_open(graph, *it))
            .map(|it| (graph.nodes[it].stage, it))
            .collect();
        open.sort_unstable();
        Self { graph, open }
    }

    /// Returns why a job waits, `None` when it runs or has ended.
    #[must_use]
    pub fn reason(&self, node: usize, outside: &Outside) -> Option<Reason> {
        Some(match self.graph.nodes[node].state {
            JobState::Created => self.before(node),
            JobState::Manual => Reason::Person,
            JobState::Scheduled { at } => Reason::Until { at },
            JobState::WaitingForResource => {
                let (group, holder) = outside.resource.clone().unwrap_or_default();
                Reason::Resource { group, holder }
            }
            JobState::Pending => match (&outside.obstacle, &outside.memory, &outside.busy) {
                (None, Some(shortage), _) => Reason::Memory(shortage.clone()),
                (None, None, Some(busy)) => Reason::Busy {
                    sentence: busy.clone(),
                },
                (obstacle, _, _) => Reason::Runner {
                    obstacle: obstacle.clone(),
                },
            },
            JobState::Triggering => Reason::Trigger,
            JobState::Following { blocked } => Reason::Pipeline { blocked },
            JobState::Assigned { .. } => Reason::Handover,
            JobState::Canceling { .. } => Reason::Stopping,
            JobState::Running { .. }
            | JobState::Success
            | JobState::Failed(_)
            | JobState::Canceled
            | JobState::Skipped => return None,
        })
    }

    fn before(&self, node: usize) -> Reason {
        let job = &self.graph.nodes[node];
        if let Some(needs) = &job.needs {
            let open = needs.iter().copied().filter(|it| is_open(self.graph, *it));
            let jobs: Vec<usize> = open.collect();
            return match jobs.is_empty() {
                true => Reason::Turn,
                false => Reason::Needs { jobs },
            };
        }
        let earlier = self.open.partition_point(|(stage, _)| *stage < job.stage);
        let earlier = &self.open[..earlier];
        let Some((first, _)) = earlier.first() else {
            return Reason::Turn;
        };
        let mut stages: Vec<usize> = earlier.iter().map(|it| it.0).collect();
        stages.dedup();
        let of_first = earlier.iter().filter(|it| it.0 == *first);
        Reason::Stages {
            jobs: of_first.map(|it| it.1).collect(),
            stages,
        }
    }
}

/// Whether a job holds up those after it: one that need not be started by the person it waits for does not.
fn is_open(graph: &Graph, node: usize) -> bool {
    let Some(job) = graph.nodes.get(node) else {
        return false;
    };
    !job.state.status().is_finished() && !job.is_ignored()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunnerId;
    use crate::job::When;
    use crate::pipeline::{Node, Road};

    fn node(stage: usize, needs: Option<&[usize]>, state: JobState) -> Node {
        Node {
            stage,
            needs: needs.map(<[usize]>::to_vec),
            when: When::OnSuccess,
            start_in_millis: 0,
            road: Road::default(),
            interruptible: false,
            allow_failure: false,
            state,
        }
    }

    fn reasons(nodes: Vec<Node>, obstacle: Option<&str>) -> Vec<String> {
        let graph = Graph { nodes };
        let waiting = Waiting::new(&graph);
        let names = ["a", "b", "c", "d", "e", "f"];
        let outside = Outside {
            obstacle: obstacle.map(str::to_owned),
            memory: None,
            busy: None,
            resource: Some(("production".into(), Some("deploy #7".into()))),
        };
        let sentence = |at: usize| match waiting.reason(at, &outside) {
            None => "-".into(),
            Some(it) => it.sentence(|job| names[job], |stage| ["one", "two", "three"][stage]),
        };
        (0..graph.nodes.len()).map(sentence).collect()
    }

    #[test]
    fn a_job_waits_for_the_first_open_stages_or_its_needs() {
        use JobState as S;
        let running = S::Running {
            runner: RunnerId(1),
        };
        assert_eq!(
            reasons(
                vec![
                    node(0, None, S::Success),
                    node(0, None, running),
                    node(1, None, S::Created),
                    node(1, Some(&[0, 1]), S::Created),
                    node(2, None, S::Created),
                    node(2, Some(&[0]), S::Created),
                ],
                None
            ),
            [
                "-",
                "-",
                "Waits for stage one: b",
                "Waits for b",
                "Waits for stages one and two",
                "Waits for its turn",
            ]
        );
    }

    #[test]
    fn each_other_state_has_its_own_reason() {
        use JobState as S;
        let runner = RunnerId(1);
        let mut ignored = node(0, None, S::Manual);
        ignored.allow_failure = true;
        assert_eq!(
            reasons(
                vec![
                    ignored,
                    node(0, None, S::Scheduled { at: Timestamp(5) }),
                    node(0, None, S::Pending),
                    node(0, None, S::Assigned { runner }),
                    node(0, None, S::Canceling { runner }),
                    node(1, Some(&[0]), S::Created),
                    node(1, None, S::WaitingForResource),
                    node(1, None, S::Triggering),
                    node(1, None, S::Following { blocked: true }),
                ],
                Some("No runner has the tag arm")
            ),
            [
                "Waits for somebody to start it",
                "Waits until 1970-01-01 00:00 UTC",
                "No runner has the tag arm",
                "A runner is about to start it",
                "Is being stopped",
                "Waits for its turn",
                "Waits for resource group production, which deploy #7 holds",
                "Is about to start another pipeline",
                "Waits for another pipeline, which waits for somebody",
            ]
        );
    }

    #[test]
    fn needs_that_do_not_exist_hold_nothing_up() {
        let nodes = vec![node(0, Some(&[7]), JobState::Created)];
        assert_eq!(reasons(nodes, None), ["Waits for its turn"]);
    }

    #[test]
    fn a_job_that_waits_for_memory_says_so_unless_no_runner_takes_it_anyway() {
        let graph = Graph {
            nodes: vec![node(0, None, JobState::Pending)],
        };
        let shortage = Shortage {
            needs_bytes: 2,
            ..Shortage::default()
        };
        let reason = |obstacle: Option<&str>| {
            let outside = Outside {
                obstacle: obstacle.map(str::to_owned),
                memory: Some(shortage.clone()),
                busy: None,
                resource: None,
            };
            Waiting::new(&graph)
                .reason(0, &outside)
                .map(|it| it.label())
        };
        assert_eq!(reason(None), Some("memory"));
        assert_eq!(reason(Some("No runner")), Some("runner"));
    }

    #[test]
    fn names_are_joined_as_people_write_them() {
        let check = |names: &[&str], expected| assert_eq!(listed(names), expected);
        check(&[], "");
        check(&["a"], "a");
        check(&["a", "b"], "a and b");
        check(&["a", "b", "c", "d"], "a, b, c and d");
        check(&["a", "b", "c", "d", "e", "f"], "a, b, c and 3 more");
    }
}
