//! `rave up`: a server from start to drained end.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rave_auth::Bootstrap;
use rave_core::secret::Secret;
use rave_http::server;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::UpArgs;
use crate::config::{self, Config};
use crate::data_dir::Lock;
use crate::failure::hinted;
use crate::logging;
use crate::memory;
use crate::runner;
use crate::terminal::{Style, say};
use crate::wiring::{self, Base, Parts};

/// How long workers and jobs may take to end.
const DRAIN: Duration = Duration::from_secs(30);

/// A server that is running.
pub(crate) struct Server {
    pub(crate) parts: Parts,
    pub(crate) base: Base,
    workers: CancellationToken,
    runner: Option<runner::Embedded>,
    listening: tokio::task::JoinHandle<std::io::Result<()>>,
    pub(crate) tasks: TaskTracker,
    /// The link by which the administrator's account is claimed, while it is open.
    pub(crate) claim: Option<String>,
    /// Under which address people reach the server.
    pub(crate) url: String,
    _lock: Lock,
}

/// Runs the server until it is told to stop.
pub(crate) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let mut overrides = args.server.overrides();
    overrides.listen.clone_from(&args.listen);
    overrides.external_url.clone_from(&args.external_url);
    overrides.log_format.clone_from(&args.log_format);
    let config = config::load(args.server.config.as_deref(), &overrides)?;
    let password = args
        .admin_password_file
        .as_deref()
        .map(read_password)
        .transpose()?;
    logging::start(&config.log, &logging::Target::Stderr)?;
    memory::outlive_others();
    wiring::runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let server = Server::start(&config, password.as_ref()).await?;
        greet(&server);
        signals.wait().await;
        tracing::info!(
            "stopping: running requests and steps finish first; a second signal stops at once"
        );
        tokio::select! {
            () = server.stop() => {}
            () = signals.wait() => tracing::warn!("stopped without waiting"),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

fn greet(server: &Server) {
    let style = Style::stderr();
    say(&format!(
        "{} is ready on {}",
        style.bold("RAVE"),
        style.cyan(&server.url)
    ));
    if let Some(claim) = &server.claim {
        say(&format!(
            "Claim the administrator's account: {}",
            style.cyan(claim)
        ));
    }
}

/// Makes the server's own runner known to it, and gives up what its predecessor was at. Returns its token.
async fn register_runner(base: &Base, parts: &Parts) -> anyhow::Result<Secret> {
    let token = base.dir.runner_token()?;
    let registered = parts.ci.ensure_embedded_runner(&token).await;
    registered.context("cannot register the embedded runner")?;
    Ok(token)
}

impl Server {
    /// Starts everything: afterwards the address answers.
    pub(crate) async fn start(config: &Config, password: Option<&Secret>) -> anyhow::Result<Self> {
        let base = Base::open(config).await?;
        let lock = base.dir.lock()?;
        base.succeed().await?;
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            let hint = "stop what listens there, or choose another address with --listen";
            hinted(
                format!("cannot listen on {}", config.listen),
                hint,
                Some(error.into()),
            )
        })?;
        let local = listener
            .local_addr()
            .context("cannot read the listener's address")?;
        let url = config
            .external_url
            .clone()
            .unwrap_or_else(|| format!("http://{local}"));
        let bootstrap = base
            .auth
            .bootstrap(password)
            .await
            .context("cannot set up the administrator's account")?;
        let claim = match bootstrap {
            Bootstrap::Claim(token) => Some(format!("{url}/-/claim/{}", token.expose())),
            Bootstrap::Ready { .. } => None,
        };
        let parts = Parts::assemble(&base, config, &url).await?;
        let recovered = parts.blobs.recover().await;
        recovered
            .context("cannot finish what a process before this one left in the object store")?;

        // Before the workers begin: what both change, they would lock in different orders.
        let token = match config.runner.embedded {
            true => Some(register_runner(&base, &parts).await?),
            false => None,
        };
        let workers = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(parts.auth.clone().run_workers(workers.clone()));
        tasks.spawn(parts.git.clone().run_workers(workers.clone()));
        tasks.spawn(parts.ci.clone().run_workers(workers.clone()));
        tasks.spawn(parts.caches.clone().run_workers(workers.clone()));
        tasks.spawn(rave_store::run_worker(parts.sweeper(), workers.clone()));
        let listening = tasks.spawn(server::serve(listener, parts.app()));
        let runner = token
            .map(|token| runner::Embedded::start(config, &base, &loopback(local), token, &tasks));
        let runner = runner.transpose()?;
        Ok(Self {
            parts,
            base,
            workers,
            runner,
            listening,
            tasks,
            claim,
            url,
            _lock: lock,
        })
    }

    /// Stops: the runner first, while it can still report; then requests, then workers, then the database.
    pub(crate) async fn stop(self) {
        if let Some(runner) = self.runner {
            runner.stop().await;
        }
        self.parts.shared.shutdown.cancel();
        match self.listening.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the listener failed"),
            Err(error) => tracing::error!(%error, "the listener ended abnormally"),
        }
        self.workers.cancel();
        self.tasks.close();
        self.parts.shared.tasks.close();
        let drained = tokio::time::timeout(DRAIN, async {
            self.tasks.wait().await;
            self.parts.shared.tasks.wait().await;
        });
        if drained.await.is_err() {
            tracing::warn!("some work did not finish in time; it is taken up at the next start");
        }
        self.base.db.close().await;
        tracing::info!("stopped");
    }
}

/// The address by which the embedded runner reaches its own server, whatever address people use.
fn loopback(local: SocketAddr) -> String {
    let host = match local {
        SocketAddr::V4(it) if it.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(it) if it.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(it) => it.ip().to_string(),
        SocketAddr::V6(it) => format!("[{}]", it.ip()),
    };
    format!("http://{host}:{}", local.port())
}

/// The signals that ask for an end.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
