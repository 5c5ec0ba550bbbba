//! Removes sessions, links and tokens that have ended. They prove nothing any more: this only keeps the tables small.

use std::time::Duration;

use rave_store::{Db, Error, Progress, StepError, Worker};

use crate::store::{claims, sessions, tokens};

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(3600);
/// How long tokens that ended are still listed.
const TOKENS_LISTED_MS: i64 = 30 * 24 * 3600 * 1000;

pub(crate) struct Cleanup {
    db: Db,
}

impl Cleanup {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

impl Worker for Cleanup {
    fn name(&self) -> &'static str {
        "auth.cleanup"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let removed = self.db.write("auth_cleanup", |tx| {
            let before = tx.now().plus_millis(-TOKENS_LISTED_MS);
            let removed = sessions::delete_ended(tx)?
                + claims::delete_ended(tx)?
                + tokens::delete_ended(tx, before)?;
            Ok::<_, Error>(removed)
        });
        let removed = removed.await?;
        if removed > 0 {
            tracing::debug!(removed, "removed credentials that had ended");
        }
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(PAUSE).await;
    }
}
