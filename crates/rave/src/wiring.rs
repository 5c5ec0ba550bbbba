//! How the parts are put together. Each port gets its implementation here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use rave_auth::Auth;
use rave_blob::{Blobs, Sweeper};
use rave_cache::Caches;
use rave_ci::{Ci, JobTokenStore, PipelineReports};
use rave_core::port::PortError;
use rave_core::time::{Clock, SystemClock};
use rave_git::Git;
use rave_http::app::{self, App, Probe, Shared};
use rave_http::metrics::Metrics;
use rave_store::{DatabaseUrl, Db, Options};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::config::bucket::Bucket;
use crate::data_dir::DataDir;
use crate::failure::hinted;

/// RAVE's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long an object may be without anyone who refers to it: longer than any request.
const BLOB_GRACE: Duration = Duration::from_secs(6 * 3600);

/// Makes the runtime. Few threads suffice: work that blocks has threads of its own.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, |it| it.get().clamp(2, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    runtime.context("cannot start the runtime")
}

/// The parts that work without a listener.
pub(crate) struct Base {
    pub(crate) dir: DataDir,
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) auth: Arc<Auth>,
}

impl Base {
    /// Opens data directory and database, and brings the schema up to date.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let dir = DataDir::open(&config.data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = match &config.database.url {
            Some(url) => DatabaseUrl::parse(url.expose())?,
            None => DatabaseUrl::Sqlite(dir.database()),
        };
        let options = Options {
            durability: config.database.durability,
            ..Options::default()
        };
        let db = Db::open(&url, clock.clone(), options)
            .await
            .map_err(|error| {
                let hint = match config.database.url {
                    Some(_) => "check database.url and that PostgreSQL accepts connections",
                    None => "check that the data directory is on a local disk with free space",
                };
                hinted("cannot open the database", hint, Some(error.into()))
            })?;
        db.migrate(&[
            rave_blob::MIGRATIONS,
            rave_auth::MIGRATIONS,
            rave_git::MIGRATIONS,
            rave_ci::MIGRATIONS,
            rave_cache::MIGRATIONS,
        ])
        .await
        .context("cannot bring the database's schema up to date")?;
        let auth = Auth::new(
            db.clone(),
            JobTokenStore::new(db.clone()),
            rave_auth::AuthConfig {
                signing_key: Some(dir.signing_key()),
                ..rave_auth::AuthConfig::default()
            },
        );
        Ok(Self {
            dir,
            db,
            clock,
            auth,
        })
    }

    /// Takes the place of the process that used the data directory before, and ends its leases: a server that was killed
    /// comes back without waiting for them to expire.
    pub(crate) async fn succeed(&self) -> anyhow::Result<()> {
        let Some(predecessor) = self.dir.succeed(self.db.holder())? else {
            return Ok(());
        };
        let ended = self
            .db
            .write("end_leases", move |tx| tx.release_leases_of(&predecessor))
            .await;
        ended
            .map(|_| ())
            .map_err(|error: rave_store::Error| error)
            .context("cannot end the leases of the process before")
    }
}

/// Opens the object store: in the data directory, or in a bucket.
pub(crate) async fn open_blobs(
    db: &Db,
    dir: &DataDir,
    bucket: Option<&Bucket>,
) -> anyhow::Result<Blobs> {
    let options = rave_blob::Options::default();
    let Some(bucket) = bucket else {
        return Ok(Blobs::on_disk(db.clone(), dir.blobs(), options).await?);
    };
    let credentials = bucket.credentials()?;
    let bucket = rave_blob::Bucket {
        endpoint: Some(bucket.server_address.clone()).filter(|it| !it.is_empty()),
        name: bucket.name.clone(),
        region: bucket.region.clone(),
        access_key: credentials.access_key,
        secret_key: credentials.secret_key,
        session_token: credentials.session_token,
        prefix: bucket.path.clone(),
    };
    Ok(Blobs::in_bucket(db.clone(), &bucket, options)?)
}

/// All parts of a server.
pub(crate) struct Parts {
    pub(crate) auth: Arc<Auth>,
    pub(crate) git: Arc<Git>,
    pub(crate) ci: Arc<Ci>,
    pub(crate) blobs: Blobs,
    pub(crate) caches: Arc<Caches>,
    pub(crate) shared: Arc<Shared>,
}

impl Parts {
    /// Puts the parts together. `external_url` has no trailing slash.
    pub(crate) async fn assemble(
        base: &Base,
        config: &Config,
        external_url: &str,
    ) -> anyhow::Result<Self> {
        let Base {
            dir,
            db,
            clock,
            auth,
        } = base;
        let metrics = Metrics::default();
        let reports = PipelineReports::new(db.clone());
        let binary = std::env::current_exe().context("cannot find this program's own file")?;
        let git = rave_git::GitConfig::new(dir.repos(), binary, dir.run(), external_url.to_owned());
        let git = Git::new(db.clone(), auth.clone(), reports, clock.clone(), git)
            .context("cannot prepare the repositories")?;
        let blobs = open_blobs(db, dir, config.blobs.as_ref())
            .await
            .context("cannot open the object store")?;
        let days = Duration::from_secs(24 * 3600);
        let ci = rave_ci::CiConfig {
            job_timeout: Duration::from_secs(config.ci.job_timeout_secs),
            lost_after: Duration::from_secs(config.ci.lost_runner_secs),
            artifact_limit_bytes: config.ci.artifact_limit_bytes,
            artifact_expiry: days
                .saturating_mul(u32::try_from(config.ci.artifact_expiry_days).unwrap_or(u32::MAX)),
            include_private_addresses: config.ci.include_private_addresses,
            limits: config.ci.limits,
            runner_registration: config.ci.runner_registration,
            runner_token_lifetime: config
                .ci
                .runner_token_days
                .map(|it| days.saturating_mul(u32::try_from(it).unwrap_or(u32::MAX))),
            ..rave_ci::CiConfig::new(external_url.to_owned(), VERSION.to_owned())
        };
        let caches = Caches::new(
            db.clone(),
            blobs.clone(),
            rave_cache::Ports {
                directory: auth.clone(),
                authenticator: auth.clone(),
            },
            clock.clone(),
            config.cache.part(external_url),
            dir.sealing_key()?,
        );
        let ci = Ci::new(
            db.clone(),
            blobs.clone(),
            rave_ci::Ports {
                forge: git.clone(),
                directory: auth.clone(),
                issuer: auth.clone(),
                caches: caches.clone(),
            },
            clock.clone(),
            ci,
            dir.sealing_key()?,
        );
        metrics.register(|registry| ci.register_metrics(registry));
        metrics.register(|registry| caches.register_metrics(registry));
        metrics.register(|registry| blobs.register_metrics(registry));
        let shared = Shared {
            directory: auth.clone(),
            authenticator: auth.clone(),
            clock: clock.clone(),
            metrics,
            probes: vec![Arc::new(DatabaseProbe(db.clone()))],
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            external_url: external_url.to_owned(),
            version: VERSION,
        };
        Ok(Self {
            auth: auth.clone(),
            git,
            ci,
            blobs,
            caches,
            shared: Arc::new(shared),
        })
    }

    /// Returns what clears up the object store, with every part that keeps objects.
    pub(crate) fn sweeper(&self) -> Sweeper {
        Sweeper::new(
            self.blobs.clone(),
            vec![self.ci.clone(), self.caches.clone()],
            BLOB_GRACE,
        )
    }

    /// Returns the server's application.
    pub(crate) fn app(&self) -> App {
        app::build(self.shared.clone(), self.routes())
    }

    fn routes(&self) -> rave_http::Routes {
        self.auth
            .routes()
            .merge(self.git.routes())
            .merge(self.ci.routes())
            .merge(self.caches.routes())
    }
}

/// Returns every route of the server as JSON, for the test that walks them all.
pub(crate) fn routes_json() -> anyhow::Result<String> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let overrides = crate::config::Overrides {
        data_dir: Some(dir.path().to_owned()),
        ..Default::default()
    };
    let config = crate::config::load(None, &overrides)?;
    runtime()?.block_on(async {
        let base = Base::open(&config).await?;
        let parts = Parts::assemble(&base, &config, "http://127.0.0.1").await?;
        let routes = app::own_routes().merge(parts.routes()).list();
        base.db.close().await;
        let list: Vec<_> = routes
            .iter()
            .map(|it| serde_json::json!({"method": it.method, "path": it.path}))
            .collect();
        Ok(serde_json::to_string_pretty(&list)? + "\n")
    })
}

struct DatabaseProbe(Db);

#[async_trait]
impl Probe for DatabaseProbe {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<(), PortError> {
        self.0
            .ping()
            .await
            .map_err(|error| PortError::transient("cannot reach the database", error))
    }
}
