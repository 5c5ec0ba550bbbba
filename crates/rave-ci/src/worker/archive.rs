//! Moves the logs of ended jobs out of the database.

use std::sync::Arc;
use std::time::Duration;

use rave_store::{EventSignal, Progress, StepError, Worker};

use crate::service::Ci;
use crate::store;

const BATCH: u32 = 20;
const TIMER: Duration = Duration::from_secs(60);

pub(crate) struct Archive {
    ci: Arc<Ci>,
    signal: EventSignal,
}

impl Archive {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self {
            signal: ci.db.events(),
            ci,
        }
    }
}

impl Worker for Archive {
    fn name(&self) -> &'static str {
        "ci.archive"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let jobs = self
            .ci
            .db
            .read("ci_to_archive", |tx| store::trace::to_archive(tx, BATCH))
            .await?;
        for (job, size) in &jobs {
            let archived = self.ci.archive_log(*job, *size).await;
            archived.map_err(|error| {
                StepError::new(format!("the log of job {job} cannot be archived"), error)
            })?;
        }
        Ok(if jobs.is_empty() {
            Progress::Idle
        } else {
            Progress::Worked
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.signal.changed() => {}
            () = tokio::time::sleep(TIMER) => {}
        }
    }
}
