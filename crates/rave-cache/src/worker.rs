//! What happens by itself: counts are written down, and what is no longer needed is collected.

use std::sync::Arc;
use std::time::Duration;

use rave_core::time::Timestamp;
use rave_store::{Progress, StepError, Worker, run_worker};
use tokio_util::sync::CancellationToken;

use crate::service::Caches;

const SETTLE: Duration = Duration::from_secs(5);
const TIDY: Duration = Duration::from_secs(60);
const TIDY_MS: i64 = 3_600_000;

/// Runs all workers until `shutdown`, and writes down the last counts.
pub(crate) async fn run(caches: Arc<Caches>, shutdown: CancellationToken) {
    tokio::join!(
        run_worker(Settler(caches.clone()), shutdown.clone()),
        run_worker(Tidier::new(caches.clone()), shutdown),
    );
    if let Err(error) = caches.settle().await {
        let error = rave_http::error::chain(&error);
        tracing::warn!(error, "cannot write down the last uses of binary caches");
    }
}

struct Settler(Arc<Caches>);

impl Worker for Settler {
    fn name(&self) -> &'static str {
        "cache.accounts"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        self.0.settle().await?;
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(SETTLE).await;
    }
}

/// Collects every hour, and when there is a reason to.
pub(crate) struct Tidier {
    caches: Arc<Caches>,
    done_at: Option<Timestamp>,
    asked: bool,
}

impl Tidier {
    pub(crate) fn new(caches: Arc<Caches>) -> Self {
        Self {
            caches,
            done_at: None,
            asked: false,
        }
    }
}

impl Worker for Tidier {
    fn name(&self) -> &'static str {
        "cache.collector"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let now = self.caches.now();
        let due = self.done_at.is_none_or(|it| now.since(it) >= TIDY_MS);
        if due || std::mem::take(&mut self.asked) {
            let done = self.caches.tidy().await;
            done.map_err(|it| StepError::new("cannot collect binary caches", it))?;
            self.done_at = Some(now);
        }
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.caches.tidy.notified() => self.asked = true,
            () = tokio::time::sleep(TIDY) => {}
        }
    }
}
