//! Lets schedules run when their time has come.

use std::sync::Arc;
use std::time::Duration;

use rave_core::time::Timestamp;
use rave_store::{Progress, StepError, Worker};

use crate::service::Ci;

/// Longest wait: another server may have made or changed a schedule.
const TIMER: Duration = Duration::from_secs(20);

pub(crate) struct Schedules {
    ci: Arc<Ci>,
    next: Option<Timestamp>,
}

impl Schedules {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self { ci, next: None }
    }
}

impl Worker for Schedules {
    fn name(&self) -> &'static str {
        "ci.schedules"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let ran = self.ci.run_due_schedules().await;
        let (count, next) = ran.map_err(|error| StepError::new("cannot run schedules", error))?;
        self.next = next;
        Ok(if count == 0 {
            Progress::Idle
        } else {
            Progress::Worked
        })
    }

    async fn wait(&mut self) {
        let until_next = self.next.map_or(TIMER, |it| {
            let millis = u64::try_from(it.since(self.ci.now())).unwrap_or(0);
            Duration::from_millis(millis.max(1)).min(TIMER)
        });
        tokio::select! {
            () = self.ci.wakes.schedules.notified() => {}
            () = tokio::time::sleep(until_next) => {}
        }
    }
}
