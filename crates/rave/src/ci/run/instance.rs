//! A server of our own for one run: the parts that `rave up` consists of, in a directory that goes with it, on an address
//! of this machine only, with credentials that nobody is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rave_ci::Ci;
use rave_core::id::UserId;
use rave_core::name::FullPath;
use rave_core::permission::{Access, Principal, Project, ProjectFacts, Role, RunPipelines, decide};
use rave_core::port::{Directory as _, NewProject};
use rave_core::secret::{TokenKind, generate_token};
use rave_git::Git;
use rave_runner::{ExecutorKind, Runner, RunnerConfig, RunnerError};
use rave_store::Durability;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::snapshot::Snapshot;
use crate::config::{self, Overrides};
use crate::failure::hinted;
use crate::up::Server;
use crate::{logging, runner};

/// What a repository is configured with whose objects have SHA-256 names.
const LONG_NAMES: &str =
    "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n";

/// The first administrator, on whose behalf everything happens.
const ROOT: UserId = UserId(1);

/// What a run wants of its server.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Where the server keeps its things.
    pub(super) directory: &'a Path,
    /// Where caches of jobs stay.
    pub(super) caches: PathBuf,
    /// Where images of jobs stay.
    pub(super) images: PathBuf,
    /// Path of the project on its real server.
    pub(super) project_path: &'a str,
    pub(super) default_branch: &'a str,
    /// `None`: the sandbox, or else plain processes.
    pub(super) executor: Option<config::Executor>,
    pub(super) read_only_paths: Vec<PathBuf>,
    pub(super) concurrency: usize,
    pub(super) timeout_secs: Option<u64>,
    /// Hears what is to be said to the user.
    pub(super) notices: mpsc::Sender<String>,
}

/// The runner. It ends early only when no jobs can run.
pub(super) type Running = JoinHandle<Result<(), RunnerError>>;

/// A server that runs.
pub(super) struct Instance {
    server: Server,
    pub(super) access: Access<RunPipelines>,
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Instance {
    /// Starts everything but the runner's jobs: there are none yet.
    pub(super) async fn start(wanted: &Wanted<'_>) -> anyhow::Result<(Self, Running)> {
        let overrides = Overrides {
            data_dir: Some(wanted.directory.join("data")),
            listen: Some("127.0.0.1:0".to_owned()),
            ..Overrides::default()
        };
        let mut config = config::load(None, &overrides)?;
        config.runner.embedded = false;
        config.database.durability = Durability::Normal;
        if let Some(secs) = wanted.timeout_secs {
            config.ci.job_timeout_secs = secs;
        }
        "warn".clone_into(&mut config.log.level);
        logging::start(
            &config.log,
            &logging::Target::File(&wanted.directory.join("rave.log")),
        )?;
        runner::install_tls();
        let server = Server::start(&config, None).await?;
        let access = make_project(&server, wanted).await?;
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let runner = start_runner(&server, wanted, &drain, &abort).await?;
        let instance = Self {
            server,
            access,
            drain,
            abort,
        };
        Ok((instance, runner))
    }

    pub(super) fn ci(&self) -> &Arc<Ci> {
        &self.server.parts.ci
    }

    /// Puts a snapshot into the project's repository, so that jobs can fetch it under this branch or tag.
    pub(super) async fn fill(&self, snapshot: &Snapshot, reference: &str) -> anyhow::Result<()> {
        fill(
            &self.server.parts.git,
            self.access.project(),
            snapshot,
            reference,
        )
        .await
    }

    /// Stops: jobs that still run are killed first.
    pub(super) async fn stop(self, runner: Running) {
        self.drain.cancel();
        self.abort.cancel();
        if let Ok(Err(error)) = runner.await {
            tracing::warn!(%error, "the runner had stopped");
        }
        self.server.stop().await;
    }
}

async fn make_project(
    server: &Server,
    wanted: &Wanted<'_>,
) -> anyhow::Result<Access<RunPipelines>> {
    let auth = &server.base.auth;
    let user = auth
        .find_principal(ROOT)
        .await?
        .context("the server has no administrator")?;
    let principal = Principal::User(user.clone());
    // A path that this server would not give to a project stands for itself in variables only.
    let paths = [wanted.project_path, "local/project"];
    let mut failure = None;
    for path in paths.iter().filter_map(|it| FullPath::parse(it).ok()) {
        let groups = match path.parent() {
            Some(parent) => auth.ensure_groups(&user, &parent).await,
            None => continue,
        };
        let new = NewProject {
            path,
            name: None,
            description: String::new(),
            visibility: None,
            default_branch: Some(wanted.default_branch.to_owned()),
        };
        let made = match groups {
            Ok(()) => auth
                .create_project(&principal, new)
                .await
                .map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        match made {
            Ok(project) => {
                let role = Some(Role::Owner);
                return Ok(decide(&principal, ProjectFacts { project, role })?);
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| anyhow::anyhow!("the project has no path")))
        .context("cannot set up the project")
}

async fn start_runner(
    server: &Server,
    wanted: &Wanted<'_>,
    drain: &CancellationToken,
    abort: &CancellationToken,
) -> anyhow::Result<Running> {
    let token = generate_token(TokenKind::Runner)?;
    let registered = server.parts.ci.ensure_embedded_runner(&token).await;
    registered.context("cannot register the runner")?;
    let settings = |executor| {
        let data = wanted.directory.join("runner");
        let mut settings = runner::local_settings(
            &server.url,
            token.clone(),
            data,
            executor,
            wanted.read_only_paths.clone(),
        )?;
        settings.cache_dir.clone_from(&wanted.caches);
        settings.images_dir.clone_from(&wanted.images);
        settings.concurrency = wanted.concurrency;
        anyhow::Ok(settings)
    };
    let first = settings(wanted.executor.unwrap_or(config::Executor::Sandbox))?;
    let second = match wanted.executor {
        None => Some(settings(config::Executor::Shell)?),
        Some(_) => None,
    };
    let running = run(
        first,
        second,
        drain.clone(),
        abort.clone(),
        wanted.notices.clone(),
    );
    Ok(server.tasks.spawn(running))
}

/// Runs jobs with the first settings, or with the second ones where the first executor does not work.
async fn run(
    first: RunnerConfig,
    second: Option<RunnerConfig>,
    drain: CancellationToken,
    abort: CancellationToken,
    notices: mpsc::Sender<String>,
) -> Result<(), RunnerError> {
    let sandboxed = matches!(first.executor, ExecutorKind::Sandbox(_));
    let ended = start(first)?.run(drain.clone(), abort.clone()).await;
    match (ended, second) {
        (Err(RunnerError::Executor(error)), Some(second)) if sandboxed => {
            let notice = format!("Jobs run as plain processes of yours: {error}");
            // Nobody listens any more when the run is over.
            let _ = notices.send(notice).await;
            start(second)?.run(drain, abort).await
        }
        (ended, _) => ended,
    }
}

fn start(settings: RunnerConfig) -> Result<Runner, RunnerError> {
    Runner::new(settings).map_err(|error| RunnerError::Directories(std::io::Error::other(error)))
}

/// Returns the failure of a run whose runner ended.
pub(super) fn no_runner(
    ended: Result<Result<(), RunnerError>, tokio::task::JoinError>,
) -> anyhow::Error {
    let source = match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.into()),
        Err(error) => Some(error.into()),
    };
    hinted(
        "no jobs can run here",
        "--executor shell runs them as plain processes of yours",
        source,
    )
}

async fn fill(
    git: &Git,
    project: &Project,
    snapshot: &Snapshot,
    reference: &str,
) -> anyhow::Result<()> {
    let repository = git
        .bare_repository(project)
        .await
        .context("cannot make the repository")?;
    let alternates: String = snapshot
        .objects
        .iter()
        .map(|it| format!("{}\n", it.display()))
        .collect();
    let write = |name: &str, text: &str| {
        let path = repository.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    let config = repository.join("config");
    let known = std::fs::read_to_string(&config).unwrap_or_default();
    if snapshot.commit.as_str().len() == 64 && !known.contains(LONG_NAMES) {
        // It was made for short names, and has no objects yet.
        write("config", &format!("{known}{LONG_NAMES}"))?;
    }
    write("objects/info/alternates", &alternates)?;
    let mut packed: String = String::new();
    for (name, id) in snapshot.references.iter().filter(|it| it.0 != reference) {
        packed += &format!("{id} {name}\n");
    }
    packed += &format!("{} {reference}\n", snapshot.commit);
    write("packed-refs", &packed)?;
    if let Some(shallow) = &snapshot.shallow {
        let text = std::fs::read_to_string(shallow)
            .with_context(|| format!("cannot read {}", shallow.display()))?;
        write("shallow", &text)?;
    }
    Ok(())
}
