//! What this part does, whoever asks: pages, the API, runners and workers call it.
//!
//! Methods that concern a project take proof of permission. What a runner or a worker asks for is proven by the job's
//! token or by being part of this server.

pub(crate) mod act;
pub(crate) mod advance;
pub(crate) mod artifacts;
pub(crate) mod assign;
pub(crate) mod cache_key;
mod commit_tree;
mod components;
pub(crate) mod contact;
pub(crate) mod create;
mod dispatch;
pub(crate) mod downstream;
mod elsewhere;
pub(crate) mod explain;
pub(crate) mod findings;
pub(crate) mod follow;
pub(crate) mod foreign;
pub(crate) mod identity;
pub(crate) mod links;
pub mod local;
pub(crate) mod log;
mod look;
pub(crate) mod memory;
pub(crate) mod origin;
mod parent_artifacts;
pub(crate) mod plan;
pub(crate) mod queue;
pub(crate) mod read;
pub(crate) mod redundant;
pub(crate) mod report;
pub(crate) mod resources;
pub(crate) mod runner_access;
pub(crate) mod runners;
pub(crate) mod schedules;
pub(crate) mod settings;
mod stuck;
pub(crate) mod triggers;

use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;
use rave_blob::Blobs;
use rave_core::port::{BinaryCaches, Directory, Forge, Issuer};
use rave_core::time::{Clock, Timestamp};
use rave_http::Routes;
use rave_store::Db;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::CiConfig;
use crate::metrics::CiMetrics;
use crate::remote::RemoteFiles;
use crate::{api, pages, worker};
use log::LogSignal;
use queue::Queue;
use rave_core::sealing::SealingKey;

/// Wakes workers for what this process knows that there is to do. Their timers find what others left.
#[derive(Default)]
pub(crate) struct Wakes {
    /// Jobs became due without an event.
    pub(crate) due: Notify,
    /// Jobs wait for a resource, or one is free.
    pub(crate) resources: Notify,
    /// Bridges have to be looked after, or there are chores.
    pub(crate) chores: Notify,
    /// A schedule was made or changed.
    pub(crate) schedules: Notify,
    /// A report was uploaded.
    pub(crate) reports: Notify,
}

/// What this part needs of others.
#[derive(Clone)]
pub struct Ports {
    pub forge: Arc<dyn Forge>,
    pub directory: Arc<dyn Directory>,
    /// Signs the identity tokens of jobs.
    pub issuer: Arc<dyn Issuer>,
    pub caches: Arc<dyn BinaryCaches>,
}

/// Continuous integration.
pub struct Ci {
    pub(crate) db: Db,
    pub(crate) blobs: Blobs,
    pub(crate) forge: Arc<dyn Forge>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) issuer: Arc<dyn Issuer>,
    pub(crate) caches: Arc<dyn BinaryCaches>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<CiConfig>,
    /// What values of variables are sealed with.
    pub(crate) key: SealingKey,
    pub(crate) queue: Queue,
    /// When machines were last written down.
    pub(crate) contacts: contact::Contacts,
    pub(crate) wakes: Wakes,
    pub(crate) logs: LogSignal,
    pub(crate) metrics: CiMetrics,
    /// Files of other servers that pipelines include.
    pub(crate) remote: Arc<RemoteFiles>,
    /// What is around the working tree that this process runs pipelines of, if it does.
    pub(crate) surroundings: Mutex<Option<local::Surroundings>>,
    /// Work that must outlive the request that began it; [`Ci::run_workers`] waits for it.
    pub(crate) tasks: TaskTracker,
}

impl Ci {
    /// Makes the part. The tables have to exist; `key` has to be the same at every start.
    #[must_use]
    pub fn new(
        db: Db,
        blobs: Blobs,
        ports: Ports,
        clock: Arc<dyn Clock>,
        config: CiConfig,
        key: SealingKey,
    ) -> Arc<Self> {
        let remote = RemoteFiles::new(config.include_private_addresses, &config.version);
        Arc::new(Self {
            db,
            blobs,
            forge: ports.forge,
            directory: ports.directory,
            issuer: ports.issuer,
            caches: ports.caches,
            clock,
            remote: Arc::new(remote),
            config: Arc::new(config),
            key,
            queue: Queue::new(),
            contacts: contact::Contacts::default(),
            wakes: Wakes::default(),
            logs: LogSignal::new(),
            metrics: CiMetrics::default(),
            surroundings: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Returns the routes of the runner protocol, the API and the pages.
    #[must_use]
    pub fn routes(self: &Arc<Self>) -> Routes {
        api::routes()
            .with_state(self.clone())
            .merge(pages::routes(self.clone()))
    }

    /// Runs what happens by itself, until `shutdown`; then waits for what requests left behind.
    pub async fn run_workers(self: Arc<Self>, shutdown: CancellationToken) {
        worker::run(self.clone(), shutdown).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Adds this part's metrics to those that `/metrics` shows.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl std::fmt::Debug for Ci {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ci")
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}
