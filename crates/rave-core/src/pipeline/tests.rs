//! GitLab's vectors for composite statuses, scenarios, and properties over random pipelines.

mod neighbourhood;

use proptest::prelude::*;

use super::*;
use crate::id::RunnerId;
use crate::job::FailureReason;

fn node(stage: usize, needs: Option<&[usize]>, when: When) -> Node {
    Node {
        stage,
        needs: needs.map(<[usize]>::to_vec),
        when,
        start_in_millis: 60_000,
        road: Road::default(),
        interruptible: false,
        allow_failure: false,
        state: JobState::Created,
    }
}

fn state_of(label: &str) -> JobState {
    let runner = RunnerId(1);
    match label {
        "created" => JobState::Created,
        "manual" => JobState::Manual,
        "scheduled" => JobState::Scheduled { at: Timestamp(0) },
        "waiting_for_resource" => JobState::WaitingForResource,
        "pending" => JobState::Pending,
        "running" => JobState::Running { runner },
        "canceling" => JobState::Canceling { runner },
        "success" => JobState::Success,
        "failed" => JobState::Failed(FailureReason::ScriptFailure),
        "canceled" => JobState::Canceled,
        "skipped" => JobState::Skipped,
        other => panic!("no such status: {other}"),
    }
}

/// Checks the status of a set, as a stage or pipeline and as the gate of a job with needs. A `*` allows failure.
fn check(set: &str, as_stage: &str, as_gate: &str) {
    let jobs: Vec<Node> = set
        .split(' ')
        .map(|it| Node {
            allow_failure: it.ends_with('*'),
            state: state_of(it.trim_end_matches('*')),
            ..node(0, None, When::OnSuccess)
        })
        .collect();
    let found = [false, true].map(|dag| {
        Tally::of(jobs.iter())
            .status(dag)
            .expect("not empty")
            .label()
    });
    assert_eq!(found, [as_stage, as_gate], "{set}");
}

#[test]
fn composite_statuses_are_those_of_gitlab() {
    check("success", "success", "success");
    check("failed", "failed", "failed");
    check("failed*", "success", "success");
    check("success failed*", "success", "success");
    check("success failed", "failed", "failed");
    check("manual", "manual", "manual");
    check("manual*", "skipped", "skipped");
    check("success manual*", "success", "skipped");
    check("success manual", "manual", "manual");
    check("skipped", "skipped", "skipped");
    check("success skipped", "success", "skipped");
    check("skipped failed*", "success", "skipped");
    check("canceled", "canceled", "canceled");
    check("canceled*", "success", "success");
    check("success canceled", "canceled", "canceled");
    check("failed canceled", "failed", "failed");
    check("created", "created", "created");
    check("created success", "running", "running");
    check("created success skipped", "running", "skipped");
    check("created failed", "running", "running");
    check("pending created", "pending", "pending");
    check("pending success", "running", "running");
    check("running manual", "running", "running");
    check("manual created", "manual", "manual");
    check("manual success created", "manual", "manual");
    check("manual failed", "manual", "manual");
    check("scheduled success", "scheduled", "scheduled");
    check("scheduled manual", "manual", "manual");
    check("canceling success", "canceling", "canceling");
    check("canceling failed", "canceling", "canceling");
    check("canceling running", "running", "running");
    check("skipped manual*", "skipped", "skipped");
    check("manual* failed*", "success", "skipped");
    check("canceled skipped", "canceled", "skipped");
    check("pending skipped", "pending", "skipped");
    check("created failed*", "created", "created");
    check("created skipped", "pending", "skipped");
    check("success created skipped failed*", "running", "skipped");
    check("failed skipped", "failed", "skipped");
    check("created canceled", "running", "running");
    check("manual canceled", "manual", "manual");
    check(
        "waiting_for_resource",
        "waiting_for_resource",
        "waiting_for_resource",
    );
    check(
        "waiting_for_resource success",
        "waiting_for_resource",
        "waiting_for_resource",
    );
    check("waiting_for_resource pending", "running", "running");
    check(
        "waiting_for_resource manual created",
        "waiting_for_resource",
        "waiting_for_resource",
    );
}

fn settle(nodes: Vec<Node>) -> Graph {
    let mut graph = Graph { nodes };
    step(&mut graph, PipelineEvent::Settle, Timestamp(0)).expect("settling refuses nothing");
    graph
}

fn states(graph: &Graph) -> Vec<&'static str> {
    graph
        .nodes
        .iter()
        .map(|it| it.state.status().label())
        .collect()
}

fn run(graph: &mut Graph, node: usize, end: JobEvent) {
    for event in [JobEvent::Assign(RunnerId(1)), JobEvent::Start, end] {
        step(graph, PipelineEvent::Job { node, event }, Timestamp(0)).expect("a pending job runs");
    }
}

#[test]
fn stages_run_one_after_another() {
    let mut graph = settle(vec![
        node(0, None, When::OnSuccess),
        node(1, None, When::OnSuccess),
        node(2, None, When::Always),
    ]);
    assert_eq!(states(&graph), ["pending", "created", "created"]);
    run(&mut graph, 0, JobEvent::Fail(FailureReason::ScriptFailure));
    assert_eq!(states(&graph), ["failed", "skipped", "pending"]);
    run(&mut graph, 2, JobEvent::Succeed);
    assert_eq!(status(&graph), Status::Failed);
}

#[test]
fn needs_overtake_stages() {
    let mut graph = settle(vec![
        node(0, None, When::OnSuccess),
        node(0, None, When::OnSuccess),
        node(1, Some(&[0]), When::OnSuccess),
        node(2, Some(&[]), When::OnSuccess),
    ]);
    assert_eq!(states(&graph), ["pending", "pending", "created", "pending"]);
    run(&mut graph, 0, JobEvent::Succeed);
    assert_eq!(states(&graph), ["success", "pending", "pending", "pending"]);
}

#[test]
fn a_blocking_manual_job_holds_the_later_stages_until_it_is_played() {
    let mut graph = settle(vec![
        node(0, None, When::Manual),
        node(1, None, When::OnSuccess),
    ]);
    assert_eq!(
        (states(&graph), status(&graph)),
        (vec!["manual", "created"], Status::Manual)
    );
    step(
        &mut graph,
        PipelineEvent::Job {
            node: 0,
            event: JobEvent::Enqueue,
        },
        Timestamp(0),
    )
    .expect("played");
    run(&mut graph, 0, JobEvent::Succeed);
    assert_eq!(states(&graph), ["success", "pending"]);
}

#[test]
fn an_optional_manual_job_holds_nobody() {
    let optional = Node {
        allow_failure: true,
        ..node(0, None, When::Manual)
    };
    let graph = settle(vec![optional, node(1, None, When::OnSuccess)]);
    assert_eq!(states(&graph), ["manual", "pending"]);
}

#[test]
fn a_retry_brings_back_what_was_skipped_because_of_it() {
    let mut graph = settle(vec![
        node(0, None, When::OnSuccess),
        node(1, None, When::OnSuccess),
        node(1, Some(&[0]), When::OnSuccess),
        node(1, Some(&[2]), When::OnSuccess),
    ]);
    run(&mut graph, 0, JobEvent::Fail(FailureReason::ScriptFailure));
    assert_eq!(states(&graph), ["failed", "skipped", "skipped", "skipped"]);
    step(&mut graph, PipelineEvent::Retry { node: 0 }, Timestamp(0))
        .expect("an ended job can be retried");
    assert_eq!(states(&graph), ["pending", "created", "created", "created"]);
    run(&mut graph, 0, JobEvent::Succeed);
    assert_eq!(states(&graph), ["success", "pending", "pending", "created"]);
    assert!(
        step(&mut graph, PipelineEvent::Retry { node: 1 }, Timestamp(0)).is_err(),
        "a pending job cannot be retried"
    );
}

#[test]
fn a_delayed_job_waits_for_its_time() {
    let graph = settle(vec![node(0, None, When::Delayed)]);
    assert_eq!(
        graph.nodes[0].state,
        JobState::Scheduled {
            at: Timestamp(60_000)
        }
    );
}

#[test]
fn a_cancel_stops_everything_that_has_not_ended() {
    let mut graph = settle(vec![
        node(0, None, When::OnSuccess),
        node(0, None, When::OnSuccess),
        node(1, None, When::Always),
    ]);
    run(&mut graph, 0, JobEvent::Succeed);
    step(
        &mut graph,
        PipelineEvent::Job {
            node: 1,
            event: JobEvent::Assign(RunnerId(1)),
        },
        Timestamp(0),
    )
    .expect("pending");
    step(
        &mut graph,
        PipelineEvent::Job {
            node: 1,
            event: JobEvent::Start,
        },
        Timestamp(0),
    )
    .expect("assigned");
    step(
        &mut graph,
        PipelineEvent::Cancel {
            graceful: true,
            which: Which::All,
        },
        Timestamp(0),
    )
    .expect("never refused");
    assert_eq!(states(&graph), ["success", "canceling", "canceled"]);
    step(
        &mut graph,
        PipelineEvent::Job {
            node: 1,
            event: JobEvent::Fail(FailureReason::ScriptFailure),
        },
        Timestamp(0),
    )
    .expect("ends");
    assert_eq!(status(&graph), Status::Canceled);
}

fn happens(graph: &mut Graph, node: usize, event: JobEvent) {
    step(graph, PipelineEvent::Job { node, event }, Timestamp(0)).expect("fits the state");
}

#[test]
fn a_job_that_shares_a_resource_waits_for_it_whoever_starts_it() {
    let road = Road {
        resource: true,
        bridge: false,
    };
    let mut graph = settle(vec![
        Node {
            road,
            ..node(0, None, When::OnSuccess)
        },
        Node {
            road,
            ..node(0, None, When::Manual)
        },
        node(1, None, When::OnSuccess),
    ]);
    assert_eq!(
        states(&graph),
        ["waiting_for_resource", "manual", "created"]
    );
    assert_eq!(status(&graph), Status::WaitingForResource);
    happens(&mut graph, 0, JobEvent::Enqueue);
    happens(&mut graph, 1, JobEvent::Enqueue);
    assert_eq!(
        states(&graph),
        ["pending", "waiting_for_resource", "created"]
    );
    run(&mut graph, 0, JobEvent::Fail(FailureReason::ScriptFailure));
    step(&mut graph, PipelineEvent::Retry { node: 0 }, Timestamp(0)).expect("an ended job");
    assert_eq!(states(&graph)[0], "waiting_for_resource");
}

#[test]
fn a_bridge_goes_on_with_the_pipeline_that_it_follows() {
    let bridge = Node {
        road: Road {
            resource: false,
            bridge: true,
        },
        ..node(0, None, When::OnSuccess)
    };
    let mut graph = settle(vec![bridge, node(1, None, When::OnSuccess)]);
    assert_eq!(graph.nodes[0].state, JobState::Triggering);
    assert_eq!(states(&graph), ["pending", "created"]);
    happens(&mut graph, 0, JobEvent::Follow { blocked: false });
    assert_eq!(states(&graph), ["running", "created"]);
    happens(&mut graph, 0, JobEvent::Follow { blocked: true });
    assert_eq!(status(&graph), Status::Manual);
    happens(
        &mut graph,
        0,
        JobEvent::Fail(FailureReason::DownstreamPipelineCreationFailed),
    );
    assert_eq!(states(&graph), ["failed", "skipped"]);
    step(&mut graph, PipelineEvent::Reopen { node: 0 }, Timestamp(0)).expect("it ended");
    assert_eq!(states(&graph), ["running", "created"]);
    happens(&mut graph, 0, JobEvent::Succeed);
    assert_eq!(states(&graph), ["success", "pending"]);
}

#[test]
fn a_newer_pipeline_stops_what_may_be_interrupted() {
    let mut graph = settle(vec![
        Node {
            interruptible: true,
            ..node(0, None, When::OnSuccess)
        },
        node(0, None, When::OnSuccess),
        node(1, None, When::OnSuccess),
    ]);
    let event = PipelineEvent::Cancel {
        graceful: false,
        which: Which::Interruptible,
    };
    step(&mut graph, event, Timestamp(0)).expect("never refused");
    assert_eq!(states(&graph), ["canceled", "pending", "created"]);
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        Just(When::OnSuccess),
        Just(When::OnFailure),
        Just(When::Always),
        Just(When::Manual),
        Just(When::Delayed)
    ]
}

/// A pipeline as the language makes it: needs point to other jobs of the same or an earlier stage, without circles.
fn pipelines() -> impl Strategy<Value = Vec<Node>> {
    let job = (
        0_usize..4,
        when(),
        any::<[bool; 4]>(),
        proptest::option::of(proptest::collection::vec(
            any::<prop::sample::Index>(),
            0..3,
        )),
    );
    proptest::collection::vec(job, 1..9).prop_map(|mut jobs| {
        jobs.sort_by_key(|it| it.0);
        let made = jobs.iter().enumerate().map(
            |(at, (stage, when, [allow_failure, interruptible, resource, bridge], needs))| {
                let needs = needs.as_ref().map(|them| {
                    if at == 0 {
                        vec![]
                    } else {
                        them.iter().map(|it| it.index(at)).collect::<Vec<_>>()
                    }
                });
                Node {
                    allow_failure: *allow_failure,
                    interruptible: *interruptible,
                    road: Road {
                        resource: *resource,
                        bridge: *bridge,
                    },
                    ..node(*stage, needs.as_deref(), *when)
                }
            },
        );
        made.collect()
    })
}

/// A chain of needs within one stage, and a stage of many after one job: each job is looked at a few times at most.
#[test]
fn large_pipelines_settle_at_once() {
    const JOBS: usize = 20_000;
    let chain = (0..JOBS).map(|it| {
        let before: Vec<usize> = it.checked_sub(1).into_iter().collect();
        node(0, Some(&before), When::OnSuccess)
    });
    let mut graph = settle(chain.collect());
    assert_eq!(graph.nodes[0].state, JobState::Pending);
    run(&mut graph, 0, JobEvent::Succeed);
    assert_eq!(graph.nodes[1].state, JobState::Pending);
    let wide = (0..JOBS).map(|it| node(usize::from(it > 0), None, When::OnSuccess));
    let mut graph = settle(wide.collect());
    run(&mut graph, 0, JobEvent::Succeed);
    assert!(
        graph.nodes[1..]
            .iter()
            .all(|it| it.state == JobState::Pending)
    );
}

/// GitLab lets a job that always runs go as soon as one of its needs is set aside, whatever the others do.
fn needs_nothing_more(graph: &Graph, node: usize) -> bool {
    let job = &graph.nodes[node];
    let set_aside =
        |it: &usize| graph.nodes[*it].state == JobState::Skipped || graph.nodes[*it].is_ignored();
    job.when == When::Always && job.needs.iter().flatten().any(set_aside)
}

#[test]
fn a_skipped_need_lets_a_job_that_always_runs_go_before_the_other_needs_end() {
    let mut graph = settle(vec![
        node(0, None, When::OnSuccess),
        node(1, None, When::OnSuccess),
        node(1, None, When::OnFailure),
        node(2, Some(&[1, 2]), When::Always),
        node(2, Some(&[1, 2]), When::OnSuccess),
    ]);
    run(&mut graph, 0, JobEvent::Fail(FailureReason::ScriptFailure));
    assert_eq!(
        states(&graph),
        ["failed", "skipped", "pending", "pending", "skipped"]
    );
}

proptest! {
    /// Whatever runners and people do, a job starts only when the jobs before it have ended or need not run (but for
    /// [`needs_nothing_more`]), and once everyone has done their part the pipeline ends.
    #[test]
    fn every_pipeline_ends_and_no_job_runs_before_its_needs(nodes in pipelines(), choices in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..12), 0..60)) {
        let mut graph = settle(nodes);
        for (which, what) in choices {
            let at = which.index(graph.nodes.len());
            let event = match what {
                0 => PipelineEvent::Cancel { graceful: true, which: Which::All },
                1 => PipelineEvent::Retry { node: at },
                2 => PipelineEvent::Job { node: at, event: JobEvent::Fail(FailureReason::ScriptFailure) },
                3 => PipelineEvent::Job { node: at, event: JobEvent::Succeed },
                4 => PipelineEvent::Job { node: at, event: JobEvent::Assign(RunnerId(1)) },
                5 => PipelineEvent::Job { node: at, event: JobEvent::Start },
                6 => PipelineEvent::Job { node: at, event: JobEvent::Release },
                7 => PipelineEvent::Cancel { graceful: false, which: Which::Interruptible },
                8 if graph.nodes[at].state != JobState::Created => PipelineEvent::Job { node: at, event: JobEvent::Enqueue },
                9 => PipelineEvent::Job { node: at, event: JobEvent::Follow { blocked: false } },
                10 => PipelineEvent::Reopen { node: at },
                _ => PipelineEvent::Settle,
            };
            let before = graph.clone();
            match step(&mut graph, event, Timestamp(0)) {
                Err(_) => prop_assert_eq!(&before, &graph, "a refused event changes nothing"),
                Ok(changes) => for change in changes {
                    let released = change.from == JobState::Created && change.to == graph.nodes[change.node].road.first_state();
                    let open = |it: &usize| { let job = &graph.nodes[*it]; !job.state.status().is_finished() && !job.is_ignored() };
                    let early = released && graph.predecessors(change.node).iter().any(open);
                    prop_assert!(!early || needs_nothing_more(&graph, change.node), "job {} ran early", change.node);
                },
            }
        }
        // Everyone does their part: people play, time passes, runners finish.
        for _ in 0..graph.nodes.len() * 8 {
            for at in 0..graph.nodes.len() {
                let event = match graph.nodes[at].state {
                    JobState::Manual | JobState::Scheduled { .. } | JobState::WaitingForResource => JobEvent::Enqueue,
                    JobState::Triggering => JobEvent::Follow { blocked: true },
                    JobState::Following { .. } => JobEvent::Succeed,
                    JobState::Pending => JobEvent::Assign(RunnerId(1)),
                    JobState::Assigned { .. } => JobEvent::Start,
                    JobState::Running { .. } | JobState::Canceling { .. } => JobEvent::Succeed,
                    _ => continue,
                };
                step(&mut graph, PipelineEvent::Job { node: at, event }, Timestamp(0)).expect("fits the state");
            }
        }
        prop_assert!(status(&graph).is_finished(), "{:?}", states(&graph));
        prop_assert!(graph.nodes.iter().all(|it| it.state.status().is_finished()), "{:?}", states(&graph));
    }
}
