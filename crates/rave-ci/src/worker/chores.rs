//! Does to pipelines what follows from what happened to others: bridges get their pipelines and follow them, redundant
//! ones are canceled, and what a canceled one brought forth.

use std::sync::Arc;
use std::time::Duration;

use rave_store::{Progress, StepError, Worker};

use crate::service::Ci;

/// How soon what another process left is found.
const TIMER: Duration = Duration::from_secs(10);

pub(crate) struct Chores {
    ci: Arc<Ci>,
}

impl Chores {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self { ci }
    }
}

impl Worker for Chores {
    fn name(&self) -> &'static str {
        "ci.chores"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let failed = |what: &'static str| move |error| StepError::new(what, error);
        let done = self.ci.do_chores().await;
        let done = done.map_err(failed("look after pipelines"))?;
        let followed = self.ci.follow_pipelines().await;
        let followed = followed.map_err(failed("let bridges follow pipelines"))?;
        let triggered = self.ci.trigger_bridges().await;
        let triggered = triggered.map_err(failed("trigger pipelines"))?;
        match done + followed + triggered {
            0 => Ok(Progress::Idle),
            _ => Ok(Progress::Worked),
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.ci.wakes.chores.notified() => {}
            () = tokio::time::sleep(TIMER) => {}
        }
    }
}
