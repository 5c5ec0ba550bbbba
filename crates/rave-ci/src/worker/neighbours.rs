//! Wakes held requests for jobs that another process of the same database put into the queue.

use std::sync::Arc;
use std::time::Duration;

use rave_core::event::EventKind;
use rave_core::job::Status;
use rave_store::{Engine, EventSignal, Progress, StepError, Worker};

use crate::service::Ci;

const BATCH: u32 = 256;
const TIMER: Duration = Duration::from_secs(10);

pub(crate) struct Neighbours {
    ci: Arc<Ci>,
    signal: EventSignal,
    /// Up to where the log was read. Older events are of no use: who asks later looks for itself.
    cursor: Option<i64>,
}

impl Neighbours {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self {
            signal: ci.db.events(),
            ci,
            cursor: None,
        }
    }
}

impl Worker for Neighbours {
    fn name(&self) -> &'static str {
        "ci.neighbours"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let cursor = self.cursor;
        let (events, last) = self
            .ci
            .db
            .read("ci_neighbours", move |tx| {
                let last = tx.last_event()?;
                let events = match cursor {
                    Some(cursor) if cursor < last => tx.events_after(
                        cursor,
                        &[EventKind::JobChanged, EventKind::JobFinished],
                        BATCH,
                    )?,
                    _ => Vec::new(),
                };
                Ok::<_, rave_store::Error>((events, last))
            })
            .await?;
        let full = events.len() == BATCH as usize;
        self.cursor = match events.last() {
            Some(event) if full => Some(event.seq),
            _ => Some(last),
        };
        let pending =
            |it: &rave_core::event::Event| it.what.payload["status"] == Status::Pending.label();
        let ended = |it: &rave_core::event::Event| it.what.kind == EventKind::JobFinished;
        if events.iter().any(pending) || (self.ci.queue.passed.is_any() && events.iter().any(ended))
        {
            self.ci.queue.ring();
        }
        Ok(if full {
            Progress::Worked
        } else {
            Progress::Idle
        })
    }

    async fn wait(&mut self) {
        if self.ci.db.engine() == Engine::Sqlite {
            // One process has the file, and it rings for itself.
            return std::future::pending().await;
        }
        tokio::select! {
            () = self.signal.changed() => {}
            () = tokio::time::sleep(TIMER) => {}
        }
    }
}
