//! Gives resources that are free to jobs that wait for them.

use std::sync::Arc;
use std::time::Duration;

use rave_store::{Progress, StepError, Worker};

use crate::service::Ci;

/// How soon what another process left is found.
const TIMER: Duration = Duration::from_secs(10);

pub(crate) struct Resources {
    ci: Arc<Ci>,
    /// Whether to look for resources that ended jobs still have: at the start and by the timer.
    reclaim: bool,
}

impl Resources {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self { ci, reclaim: true }
    }
}

impl Worker for Resources {
    fn name(&self) -> &'static str {
        "ci.resources"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        if std::mem::take(&mut self.reclaim) {
            let reclaimed = self.ci.reclaim_resources().await;
            reclaimed.map_err(|error| StepError::new("take resources back", error))?;
        }
        let granted = self.ci.grant_resources().await;
        match granted.map_err(|error| StepError::new("give resources to jobs", error))? {
            0 => Ok(Progress::Idle),
            _ => Ok(Progress::Worked),
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.ci.wakes.resources.notified() => {}
            () = tokio::time::sleep(TIMER) => self.reclaim = true,
        }
    }
}
