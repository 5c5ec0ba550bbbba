//! Keeps the gauges near the truth: when something changed, at most once a second.

use std::sync::Arc;
use std::time::Duration;

use rave_store::{EventSignal, Progress, StepError, Worker};

use crate::service::Ci;
use crate::store;

const PAUSE: Duration = Duration::from_secs(1);
/// Runners come and go without an event.
const TIMER: Duration = Duration::from_secs(30);
const ONLINE_MS: i64 = 2 * 60 * 1000;

pub(crate) struct Figures {
    ci: Arc<Ci>,
    signal: EventSignal,
}

impl Figures {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self {
            signal: ci.db.events(),
            ci,
        }
    }
}

impl Worker for Figures {
    fn name(&self) -> &'static str {
        "ci.figures"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let (jobs, online) = self
            .ci
            .db
            .read("ci_figures", |tx| {
                let since = tx.now().plus_millis(-ONLINE_MS);
                Ok::<_, rave_store::Error>((
                    store::job::active(tx)?,
                    store::runner::count_online(tx, since)?,
                ))
            })
            .await?;
        self.ci.metrics.set_jobs(&jobs);
        self.ci.metrics.set_runners_online(online);
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = self.signal.changed() => {}
            () = tokio::time::sleep(TIMER) => {}
        }
    }
}
