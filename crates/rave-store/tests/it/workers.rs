//! The loop that workers run in: steps, waits, failures, the end.

use std::sync::Arc;

use rave_store::{Progress, StepError, Worker, run_worker};
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::soon;

/// Follows a script, one entry per step, and tells of everything that happens to it.
struct Scripted {
    script: std::vec::IntoIter<Step>,
    told: mpsc::Sender<&'static str>,
    gate: Arc<Notify>,
}

#[derive(Clone, Copy)]
enum Step {
    Work,
    Fail,
    Panic,
    /// Works until the test opens the gate.
    Slow,
}

impl Worker for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let Some(step) = self.script.next() else {
            self.told.send("idle").await.unwrap();
            return Ok(Progress::Idle);
        };
        self.told.send("step").await.unwrap();
        match step {
            Step::Work => Ok(Progress::Worked),
            Step::Fail => Err(StepError::new("cannot do it", "the peer is away")),
            Step::Panic => panic!("on purpose"),
            Step::Slow => {
                self.gate.notified().await;
                self.told.send("finished").await.unwrap();
                Ok(Progress::Worked)
            }
        }
    }

    async fn wait(&mut self) {
        self.told.send("wait").await.unwrap();
        std::future::pending().await
    }
}

struct Running {
    told: mpsc::Receiver<&'static str>,
    gate: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn run(script: Vec<Step>) -> Running {
    let (sender, told) = mpsc::channel(16);
    let (gate, stop, tasks) = (
        Arc::new(Notify::new()),
        CancellationToken::new(),
        TaskTracker::new(),
    );
    let worker = Scripted {
        script: script.into_iter(),
        told: sender,
        gate: gate.clone(),
    };
    tasks.spawn(run_worker(worker, stop.clone()));
    tasks.close();
    Running {
        told,
        gate,
        stop,
        tasks,
    }
}

async fn told(running: &mut Running, count: usize) -> Vec<&'static str> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(soon(running.told.recv()).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_worker_steps_until_it_is_idle_and_a_wait_may_be_dropped() {
    let mut running = run(vec![Step::Work, Step::Work]);
    assert_eq!(
        told(&mut running, 4).await,
        ["step", "step", "idle", "wait"]
    );
    running.stop.cancel();
    soon(running.tasks.wait()).await;
}

#[tokio::test]
async fn failures_and_panics_are_tried_again() {
    let mut running = run(vec![Step::Fail, Step::Panic, Step::Fail, Step::Work]);
    let begin = tokio::time::Instant::now();
    assert_eq!(
        told(&mut running, 6).await,
        ["step", "step", "step", "step", "idle", "wait"]
    );
    assert_eq!(
        begin.elapsed().as_millis() / 100,
        7,
        "pauses of 100, 200 and 400 ms"
    );
    running.stop.cancel();
    soon(running.tasks.wait()).await;
}

#[tokio::test]
async fn shutdown_waits_for_the_step() {
    let mut running = run(vec![Step::Slow, Step::Work]);
    assert_eq!(told(&mut running, 1).await, ["step"]);
    running.stop.cancel();
    running.gate.notify_one();
    assert_eq!(told(&mut running, 1).await, ["finished"]);
    soon(running.tasks.wait()).await;
    assert!(
        running.told.recv().await.is_none(),
        "no further step was begun"
    );
}
