//! Deletes what has expired, and then the bytes that nothing refers to any more.

use std::sync::Arc;
use std::time::Duration;

use rave_core::time::Timestamp;
use rave_store::{Error, Progress, StepError, Worker};

use crate::config::millis;
use crate::service::Ci;
use crate::store;

const BATCH: u32 = 200;
/// How many objects are compared with the database at once.
const OBJECTS: usize = 500;
const HOUR_MS: i64 = 3600 * 1000;
/// How long it is known what became of a push.
const PUSH_MS: i64 = 7 * 24 * HOUR_MS;
const TIMER: Duration = Duration::from_secs(600);

pub(crate) struct Expiry {
    ci: Arc<Ci>,
    next: Option<Timestamp>,
    swept_at: Option<Timestamp>,
}

impl Expiry {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self {
            ci,
            next: None,
            swept_at: None,
        }
    }

    /// Deletes objects that nothing refers to and that are older than any upload under way. Returns how many.
    pub(crate) async fn sweep(&self) -> Result<u64, StepError> {
        let failed = |error| StepError::new("cannot sweep the blob store", error);
        let until = self
            .ci
            .now()
            .plus_millis(-millis(self.ci.config.blob_grace));
        let (mut after, mut deleted) = (None, 0);
        loop {
            let entries = self.ci.blobs.list(after, OBJECTS).await.map_err(failed)?;
            let Some(last) = entries.last() else {
                return Ok(deleted);
            };
            after = Some(last.digest);
            let old: Vec<_> = entries
                .iter()
                .filter(|it| it.put_at <= until)
                .map(|it| it.digest)
                .collect();
            let asked = old.clone();
            let referenced = self
                .ci
                .db
                .read("ci_referenced", move |tx| {
                    store::artifact::referenced(tx, &asked)
                })
                .await?;
            for digest in old
                .iter()
                .filter(|it| !referenced.contains(&it.to_string()))
            {
                deleted += u64::from(self.ci.blobs.delete(digest, until).await.map_err(failed)?);
            }
        }
    }

    async fn tidy(&self) -> Result<(), StepError> {
        let unfinished = self
            .ci
            .db
            .write("ci_tidy", |tx| {
                store::push::forget(tx, PUSH_MS)?;
                store::pipeline::delete_unfinished(tx, HOUR_MS)
            })
            .await?;
        let swept = self.sweep().await?;
        if unfinished + swept > 0 {
            tracing::info!(unfinished, swept, "cleared up");
        }
        Ok(())
    }
}

impl Worker for Expiry {
    fn name(&self) -> &'static str {
        "ci.expiry"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let (expired, next) = self
            .ci
            .db
            .write("ci_expire", |tx| {
                let expired = store::artifact::delete_expired(tx, BATCH)?;
                Ok::<_, Error>((expired, store::artifact::next_expiry(tx)?))
            })
            .await?;
        self.next = next;
        if expired > 0 {
            tracing::info!(artifacts = expired, "artifacts expired");
            return Ok(Progress::Worked);
        }
        let now = self.ci.now();
        if self.swept_at.is_none_or(|it| now.since(it) >= HOUR_MS) {
            self.tidy().await?;
            self.swept_at = Some(now);
        }
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        let until_next = self.next.map_or(TIMER, |it| {
            let millis = u64::try_from(it.since(self.ci.now())).unwrap_or(0);
            Duration::from_millis(millis.max(1000)).min(TIMER)
        });
        tokio::time::sleep(until_next).await;
    }
}
