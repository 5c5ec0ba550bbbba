//! Deletes what has expired. The bytes go with the next sweep of the object store, which asks what is still referred to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rave_blob::{Digest, Referrer};
use rave_core::time::Timestamp;
use rave_store::{BoxError, Error, Progress, StepError, Worker};

use crate::service::Ci;
use crate::store;

const BATCH: u32 = 200;
const HOUR_MS: i64 = 3600 * 1000;
/// How long it is known what became of a push.
const PUSH_MS: i64 = 7 * 24 * HOUR_MS;
const TIMER: Duration = Duration::from_secs(600);

pub(crate) struct Expiry {
    ci: Arc<Ci>,
    next: Option<Timestamp>,
    tidied_at: Option<Timestamp>,
}

impl Expiry {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self {
            ci,
            next: None,
            tidied_at: None,
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
        if unfinished > 0 {
            tracing::info!(unfinished, "cleared up");
        }
        Ok(())
    }
}

#[async_trait]
impl Referrer for Ci {
    async fn referenced(&self, digests: &[Digest]) -> Result<HashSet<Digest>, BoxError> {
        let asked = digests.to_vec();
        let found = self
            .db
            .read("ci_referenced", move |tx| {
                store::artifact::referenced(tx, &asked)
            })
            .await?;
        Ok(found.iter().filter_map(|it| it.parse().ok()).collect())
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
        if self.tidied_at.is_none_or(|it| now.since(it) >= HOUR_MS) {
            self.tidy().await?;
            self.tidied_at = Some(now);
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
