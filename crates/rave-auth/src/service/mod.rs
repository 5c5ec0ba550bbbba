//! What this part does, apart from the dialects that ask for it.

pub(crate) mod bootstrap;
pub(crate) mod claims;
pub(crate) mod groups;
pub(crate) mod members;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;

use std::sync::Arc;

use rave_core::port::JobTokens;
use rave_http::Routes;
use rave_store::{Db, run_worker};
use tokio_util::sync::CancellationToken;

use crate::password::Passwords;
use crate::signing::SigningKey;
use crate::throttle::Throttle;
use crate::worker::Cleanup;
use crate::{AuthConfig, routes};

/// Users, groups, projects and their credentials.
pub struct Auth {
    pub(crate) db: Db,
    pub(crate) jobs: Arc<dyn JobTokens>,
    pub(crate) config: AuthConfig,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) signing: SigningKey,
}

impl Auth {
    /// Makes the part. The database has [`crate::MIGRATIONS`] applied.
    #[must_use]
    pub fn new(db: Db, jobs: Arc<dyn JobTokens>, config: AuthConfig) -> Arc<Self> {
        Arc::new(Self {
            db,
            jobs,
            passwords: Passwords::new(),
            throttle: Throttle::new(config.tries_per_minute),
            signing: SigningKey::new(config.signing_key.clone()),
            config,
        })
    }

    /// Returns the pages and the API of accounts, tokens, groups and members.
    #[must_use]
    pub fn routes(self: &Arc<Self>) -> Routes {
        routes::routes().with_state(self.clone())
    }

    /// Removes what has ended, until `shutdown`.
    pub async fn run_workers(self: Arc<Self>, shutdown: CancellationToken) {
        run_worker(Cleanup::new(self.db.clone()), shutdown).await;
    }

    pub(crate) fn idle_ms(&self) -> i64 {
        self.config.session_idle_secs.saturating_mul(1000)
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("db", &self.db)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
