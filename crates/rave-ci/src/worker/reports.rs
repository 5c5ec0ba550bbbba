//! Reads the reports that jobs uploaded, one after another and never while they are uploaded.

use std::sync::Arc;
use std::time::Duration;

use rave_store::{EventSignal, Progress, StepError, Worker};

use crate::service::Ci;
use crate::store;

const BATCH: u32 = 10;
const TIMER: Duration = Duration::from_secs(60);

pub(crate) struct Reports {
    ci: Arc<Ci>,
    signal: EventSignal,
}

impl Reports {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self {
            signal: ci.db.events(),
            ci,
        }
    }
}

impl Worker for Reports {
    fn name(&self) -> &'static str {
        "ci.reports"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let unread = self
            .ci
            .db
            .read("ci_unread", |tx| store::report::unread(tx, BATCH))
            .await?;
        for it in &unread {
            let read = self.ci.read_report(it).await;
            read.map_err(|error| {
                StepError::new(
                    format!("cannot read the {} report of job {}", it.kind, it.job),
                    error,
                )
            })?;
        }
        Ok(if unread.is_empty() {
            Progress::Idle
        } else {
            Progress::Worked
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.ci.wakes.reports.notified() => {}
            // A process that shares the database may have taken an upload, and it appends no event for it.
            () = self.signal.changed() => {}
            () = tokio::time::sleep(TIMER) => {}
        }
    }
}
