//! The tokens of running jobs, for whoever authenticates requests.

use std::sync::Arc;

use async_trait::async_trait;
use rave_core::port::{JobIdentity, JobTokens, PortError};
use rave_core::secret::TokenDigest;
use rave_store::Db;

use crate::store;

/// Knows the tokens of running jobs. Needs nothing but the database, because authentication comes before the rest.
#[derive(Debug)]
pub struct JobTokenStore {
    db: Db,
}

impl JobTokenStore {
    /// Makes the store. The tables have to exist before it is asked.
    #[must_use]
    pub fn new(db: Db) -> Arc<Self> {
        Arc::new(Self { db })
    }
}

#[async_trait]
impl JobTokens for JobTokenStore {
    async fn find_job(&self, digest: &TokenDigest) -> Result<Option<JobIdentity>, PortError> {
        let digest = digest.clone();
        self.db
            .read("ci_job_token", move |tx| {
                store::job::find_by_token(tx, digest.as_str())
            })
            .await
            .map_err(|error| port_error("look a job's token up", error))
    }
}

/// Tells the other parts that the database failed.
pub(crate) fn port_error(doing: &str, error: rave_store::Error) -> PortError {
    match error {
        error @ rave_store::Error::Unavailable { .. } => PortError::transient(doing, error),
        error => PortError::new(doing, error),
    }
}
