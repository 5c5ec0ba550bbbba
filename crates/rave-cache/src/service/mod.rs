//! What this part does, whoever asks. Methods that concern one cache take proof of the right to do it.

pub(crate) mod accounts;
pub(crate) mod attach;
pub(crate) mod caches;
pub(crate) mod collect;
pub(crate) mod look;
pub(crate) mod nars;
pub(crate) mod plan;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod read;
pub(crate) mod receive;
pub(crate) mod tokens;
pub(crate) mod visit;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::registry::Registry;
use rave_blob::Blobs;
use rave_core::port::{Authenticator, Directory};
use rave_core::sealing::SealingKey;
use rave_core::time::{Clock, Timestamp};
use rave_http::Routes;
use rave_store::Db;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use crate::bytes::Objects;
use crate::config::CacheConfig;
use crate::memory::Index;
use crate::metrics::CacheMetrics;
use crate::token::TokenKey;
use crate::{api, pages, worker};

/// What this part needs of others.
#[derive(Clone)]
pub struct Ports {
    pub directory: Arc<dyn Directory>,
    pub authenticator: Arc<dyn Authenticator>,
}

/// The binary caches of an instance.
pub struct Caches {
    pub(crate) db: Db,
    pub(crate) objects: Objects,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: CacheConfig,
    /// What keys are sealed with.
    pub(crate) sealing: SealingKey,
    pub(crate) index: Index,
    pub(crate) names: caches::Names,
    pub(crate) verdicts: visit::Verdicts,
    pub(crate) accounts: accounts::Accounts,
    pub(crate) upstreams: pull::Upstreams,
    pub(crate) token_keys: OnceCell<Vec<TokenKey>>,
    pub(crate) generations: AtomicU64,
    pub(crate) metrics: CacheMetrics,
    /// Wakes the collector.
    pub(crate) tidy: Notify,
}

impl Caches {
    /// Makes the part. The tables have to exist; `sealing` has to be the same at every start.
    #[must_use]
    pub fn new(
        db: Db,
        blobs: Blobs,
        ports: Ports,
        clock: Arc<dyn Clock>,
        config: CacheConfig,
        sealing: SealingKey,
    ) -> Arc<Self> {
        Arc::new(Self {
            db,
            objects: Objects::new(blobs),
            directory: ports.directory,
            authenticator: ports.authenticator,
            clock,
            index: Index::new(config.index_bytes),
            names: caches::Names::default(),
            verdicts: visit::Verdicts::default(),
            accounts: accounts::Accounts::default(),
            upstreams: pull::Upstreams::new(config.private_upstreams),
            token_keys: OnceCell::new(),
            generations: AtomicU64::new(0),
            metrics: CacheMetrics::default(),
            tidy: Notify::new(),
            config,
            sealing,
        })
    }

    /// Returns the part's routes.
    #[must_use]
    pub fn routes(self: &Arc<Self>) -> Routes {
        let routes = pages::routes(api::routes(Routes::new()));
        routes.with_state(self.clone())
    }

    /// Registers the part's metrics.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Runs the part's workers until `shutdown`.
    pub async fn run_workers(self: Arc<Self>, shutdown: CancellationToken) {
        worker::run(self, shutdown).await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
