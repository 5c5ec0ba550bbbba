//! Looks at the memory of jobs while some run, and does what [`guard`] decides.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Host;
use super::common::{Entry, State};
use crate::budget::guard::{self, Act, Running};
use crate::exec::cgroup::{Overrun, Sample};

/// How often. A build can take hundreds of megabytes in a second, and a look is a few reads per job.
const INTERVAL: Duration = Duration::from_millis(200);

impl Host {
    /// Watches until `stop`. May be dropped at any point.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        // One of the runners of this process watches the jobs of all.
        let _watching = tokio::select! {
            watching = self.common.watching.lock() => watching,
            () = stop.cancelled() => return,
        };
        loop {
            let idle = self.lock().running.is_empty();
            tokio::select! {
                () = self.common.began.notified(), if idle => {}
                () = tokio::time::sleep(INTERVAL), if !idle => self.look(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks once, and acts.
    fn look(&self) {
        let groups: Vec<_> = {
            let state = self.lock();
            let groups = state.running.iter().map(|it| (it.job, it.group.clone()));
            groups.collect()
        };
        let samples: Vec<_> = groups
            .into_iter()
            .filter_map(|(job, group)| Some((job, group.sample()?)))
            .collect();
        let budget = self.terms().budget_bytes;
        let mut state = self.lock();
        for (job, sample) in samples {
            if let Some(entry) = state.running.iter_mut().find(|it| it.job == job) {
                entry.note(sample);
            }
        }
        let running: Vec<Running> = state.running.iter().map(Entry::running).collect();
        let decision = guard::decide(budget, &running);
        if let Some(act) = decision.act {
            state.act(act);
        }
        let open = decision.admits;
        let opened = open && state.refuses.is_some();
        state.refuses = (!open).then(|| "its jobs use most of its memory".to_owned());
        state.ledger.set_open(open);
        drop(state);
        if opened {
            self.common.changed.notify_waiters();
        }
    }
}

impl Entry {
    /// Takes note of what the job has now, and ends all of it when the kernel ended a part.
    pub(super) fn note(&mut self, sample: Sample) {
        if sample.held_bytes > self.share.limit_bytes / 5 * 4 {
            let seen = self.tally.largest.as_ref().map_or(0, |it| it.1);
            let larger = self.group.largest().filter(|it| it.1 > seen);
            self.tally.largest = larger.or(self.tally.largest.take());
        }
        if sample.oom_kills > self.tally.oom_kills {
            self.tally.largest = self.group.killed().or(self.tally.largest.take());
            // Who lost one process seldom makes sense of it. A group of version 2 is ended as a whole by the kernel.
            self.group.kill();
        }
        self.tally.add(sample);
        self.last = sample;
    }

    fn running(&self) -> Running {
        Running {
            job: self.job,
            held_bytes: self.last.held_bytes,
            request_bytes: self.share.request_bytes,
            frozen: self.frozen,
            ending: self.ending,
        }
    }
}

impl State {
    fn act(&mut self, act: Act) {
        let (Act::Freeze(job) | Act::Thaw(job) | Act::Kill(job)) = act;
        let Some(entry) = self.running.iter_mut().find(|it| it.job == job) else {
            return;
        };
        let held_bytes = entry.last.held_bytes;
        let id = job.job.0;
        match act {
            Act::Freeze(_) => {
                // Where nothing can stand still, what follows is the next threshold.
                entry.frozen = entry.group.freeze(true);
                if entry.frozen {
                    tracing::info!(
                        job.id = id,
                        held_bytes,
                        "a job stands still until others need less memory"
                    );
                }
            }
            Act::Thaw(_) => {
                entry.group.freeze(false);
                entry.frozen = false;
                tracing::info!(job.id = id, "a job goes on");
            }
            Act::Kill(_) => {
                entry.ending = true;
                entry.frozen = false;
                tracing::warn!(
                    job.id = id,
                    held_bytes,
                    "ending a job: the jobs of this machine need more memory than it has"
                );
                entry.group.end(Overrun::Memory);
            }
        }
    }
}
