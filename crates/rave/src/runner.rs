//! The runner: embedded in the server, or alone by `rave runner`, from the command line or a configuration file.

mod commands;
mod doctor;
mod edit;
mod file;
mod metrics_page;
mod process;
mod table;
mod tls;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rave_core::secret::Secret;
use rave_core::time::SystemClock;
use rave_runner::{
    ContainerPolicy, ExecutorKind, Network, Overlay, Profile, PullPolicy, Runner, RunnerConfig,
    S3Cache, SandboxPolicy, VmPolicy,
};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config, Executor};
use crate::failure::hinted;
use crate::logging;
use crate::up::Signals;
use crate::wiring::{self, Base, VERSION};
use commands::environment;
use file::{Entry, File};
use tls::TlsFiles;

/// How long the embedded runner may take to report the jobs that it gives up.
const REPORT: Duration = Duration::from_secs(15);

/// `rave runner`: a command about the configuration file, or one runner without a file.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RunnerArgs {
    #[command(subcommand)]
    command: Option<RunnerCommand>,
    #[command(flatten)]
    alone: AloneArgs,
}

#[derive(Debug, Subcommand)]
enum RunnerCommand {
    /// Add a runner of a server to the configuration file
    #[command(
        after_help = "The token is the one that the server shows when a runner is made: on its Runners pages, or by POST /api/v4/user/runners.

Examples:
  rave runner register --url https://rave.example.org --token glrt-...
  rave runner register --url https://gitlab.com --token glrt-... --name laptop --executor shell
  rave runner register --url https://rave.corp --token glrt-... --tls-ca-file /etc/ssl/corp.pem
  rave runner register --url https://old.example.org --registration-token GR1348941... --tag-list nix,linux"
    )]
    Register(Box<commands::RegisterArgs>),
    /// Run jobs for all runners of the configuration file
    #[command(
        after_help = "The file has gitlab-runner's own keys; what of it is not carried out is said once, with its line. Changes are taken up
within seconds, or at once on SIGHUP. SIGQUIT, SIGTERM and SIGINT let running jobs finish; a second one gives them up.

Examples:
  rave runner run
  rave runner run --config /etc/gitlab-runner/config.toml
  rave runner run --listen-address 127.0.0.1:9252    serve metrics under gitlab-runner's names"
    )]
    Run(process::RunArgs),
    /// Ask the servers whether they know the runners of the configuration file
    #[command(
        after_help = "Exits with 1 if one of them is not known or does not answer.

Examples:
  rave runner verify
  rave runner verify --name laptop
  rave runner verify --delete        forget those that their servers do not know any more"
    )]
    Verify(commands::VerifyArgs),
    /// Print the runners of the configuration file
    #[command(after_help = "Examples:
  rave runner list
  rave runner list --json --config /etc/gitlab-runner/config.toml")]
    List(commands::ListArgs),
    /// Take a runner off its server and out of the configuration file
    #[command(
        after_help = "A runner that was made on the server stays there for its other machines; one that registered itself goes altogether.

Examples:
  rave runner unregister --name laptop
  rave runner unregister --all-runners"
    )]
    Unregister(commands::UnregisterArgs),
    /// Say what of this machine serves to run jobs, and what to do about the rest
    #[command(
        after_help = "Tries each executor and changes nothing. Exits with 1 if the one asked for does not work.

Examples:
  rave runner doctor
  rave runner doctor --executor container --container-host unix:///run/podman/podman.sock
  rave runner doctor --json"
    )]
    Doctor(doctor::DoctorArgs),
}

/// One runner, by its address and token.
#[derive(Debug, Args)]
struct AloneArgs {
    /// The server, such as `https://rave.example.org`
    #[arg(long, value_name = "URL", env = "RAVE_RUNNER_URL", required = true)]
    url: Option<String>,
    /// The runner's authentication token (better in the environment than on the command line)
    #[arg(
        long,
        value_name = "TOKEN",
        env = "RAVE_RUNNER_TOKEN",
        hide_env_values = true,
        required = true
    )]
    token: Option<String>,
    /// How jobs are kept from this machine; `shell` gives them all that this user can do
    #[arg(long, value_enum, default_value = "sandbox")]
    executor: Executor,
    /// The user that jobs of the executor `shell` run as, when the runner is root [default: the runner's own]
    #[arg(long, value_name = "USER")]
    shell_user: Option<String>,
    /// The address of Docker or Podman for the executor `container`
    #[arg(
        long,
        value_name = "URL",
        default_value = ContainerPolicy::DOCKER_SOCKET,
        env = "DOCKER_HOST"
    )]
    container_host: String,
    /// When images are fetched: `always`, `if-not-present` or `never`; several are tried in order
    #[arg(long, value_name = "POLICY", default_value = "always", value_delimiter = ',', value_parser = pull_policy)]
    pull_policy: Vec<PullPolicy>,
    /// How many jobs run at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,
    /// The name that logs show [default: this machine's]
    #[arg(long)]
    name: Option<String>,
    /// Directory for working copies and caches
    #[arg(
        long,
        value_name = "DIR",
        default_value = "rave-runner",
        env = "RAVE_RUNNER_DATA"
    )]
    data: PathBuf,
    /// Memory that a job may use, in bytes [default: what all jobs together may use]
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// Memory that all jobs together may use, in bytes [default: the machine's, less a reserve]
    #[arg(long, value_name = "BYTES")]
    budget: Option<u64>,
    /// `safe` runs one job at a time with half of the machine, `full` as many as fit [default: safe below 4 GiB]
    #[arg(long, value_parser = profile)]
    profile: Option<Profile>,
    /// CPUs' worth of time that a job may use
    #[arg(long)]
    cpus: Option<f64>,
    /// What jobs in the sandbox reach
    #[arg(long, value_enum, default_value = "host")]
    network: NetworkArg,
    /// A registry that the sandbox speaks to without TLS, as `host:port`; may be given several times
    #[arg(long, value_name = "REGISTRY")]
    insecure_registry: Vec<String>,
    /// A directory that jobs may read besides the system's own; may be given several times
    #[arg(long, value_name = "DIR")]
    read_only_path: Vec<PathBuf>,
    /// A device that jobs in the sandbox may use, such as `/dev/kvm`; may be given several times
    #[arg(long, value_name = "DEVICE")]
    device: Vec<PathBuf>,
    /// The kernel of virtual machines, for the executor `vm` [default: the one that runs here, from /boot]
    #[arg(long, value_name = "FILE")]
    vm_kernel: Option<PathBuf>,
    /// The directory of that kernel's modules [default: those of the one that runs here]
    #[arg(long, value_name = "DIR")]
    vm_modules: Option<PathBuf>,
    /// The disk of a virtual machine, in bytes; 0: what jobs change stays in its memory
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 30)]
    vm_disk: u64,
    #[command(flatten)]
    tls: TlsFiles,
    /// Log as `human` or `json`
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// What jobs reach of the network.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NetworkArg {
    /// What this machine reaches
    Host,
    /// Nothing but their services
    None,
    /// The world, but neither this machine nor private addresses
    Own,
}

impl From<NetworkArg> for Network {
    fn from(arg: NetworkArg) -> Self {
        match arg {
            NetworkArg::Host => Self::Host,
            NetworkArg::None => Self::None,
            NetworkArg::Own => Self::Own,
        }
    }
}

/// Does what the arguments say.
pub(crate) fn run(args: RunnerArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(RunnerCommand::Register(args)) => commands::register(&args),
        Some(RunnerCommand::Run(args)) => process::run(&args),
        Some(RunnerCommand::Verify(args)) => commands::verify(&args),
        Some(RunnerCommand::List(args)) => commands::list(&args),
        Some(RunnerCommand::Unregister(args)) => commands::unregister(&args),
        Some(RunnerCommand::Doctor(args)) => doctor::run(&args),
        None => run_alone(args.alone),
    }
}

/// Runs jobs until told to stop. The first signal lets running jobs finish, the second one gives them up.
fn run_alone(args: AloneArgs) -> anyhow::Result<ExitCode> {
    let overrides = config::Overrides {
        log_format: args.log_format.clone(),
        ..Default::default()
    };
    logging::start(
        &config::load(None, &overrides)?.log,
        &logging::Target::Stderr,
    )?;
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("cannot make {}", args.data.display()))?;
    let data = args
        .data
        .canonicalize()
        .with_context(|| format!("cannot find {}", args.data.display()))?;
    let name = args.name.clone().unwrap_or_else(host_name);
    let limits = Limits {
        memory: args.memory,
        cpus: args.cpus,
        pids: Some(4096),
    };
    let container = ContainerPolicy::new(args.container_host);
    let sandbox = SandboxPolicy {
        network: args.network.into(),
        read_only_paths: args.read_only_path,
        insecure_registries: args.insecure_registry,
        devices: args.device,
        ..SandboxPolicy::default()
    };
    let vm = VmPolicy {
        kernel: args.vm_kernel,
        modules: args.vm_modules,
        disk_bytes: Some(args.vm_disk).filter(|it| *it > 0),
        ..VmPolicy::default()
    };
    let executor = executor(args.executor, sandbox, &container, vm);
    let mut config = settings(
        // Both are required where there is no command.
        args.url.unwrap_or_default(),
        Secret::new(args.token.unwrap_or_default()),
        data,
        name,
        executor,
        &limits,
    )?;
    config.concurrency = usize::from(args.concurrency);
    config.images.pull_policies = args.pull_policy;
    config.shell_user = args.shell_user;
    config.memory.budget_bytes = args.budget;
    config.memory.profile = args.profile;
    config.tls = args.tls.read(Path::new(""))?;
    config.overlay.certificates = config.tls.roots.clone();
    wiring::runtime()?.block_on(async {
        let runner = make(config)?;
        runner.verify().await.map_err(|error| {
            hinted("the server does not accept this runner", "check --url and --token; make a token on the server's Runners page", Some(error.into()))
        })?;
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let mut signals = Signals::new()?;
        let running = runner.run(drain.clone(), abort.clone());
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => return finish(ended),
            () = signals.wait() => tracing::info!("taking no more jobs; a second signal gives up those that run"),
        }
        drain.cancel();
        tokio::select! {
            ended = &mut running => return finish(ended),
            () = signals.wait() => abort.cancel(),
        }
        finish(running.await)
    })
}

fn finish(ended: Result<(), rave_runner::RunnerError>) -> anyhow::Result<ExitCode> {
    ended.context("the runner stopped")?;
    Ok(ExitCode::SUCCESS)
}

/// The server's own runner. It speaks HTTP to its server like any other.
pub(crate) struct Embedded {
    drain: CancellationToken,
    abort: CancellationToken,
    running: JoinHandle<()>,
}

impl Embedded {
    pub(crate) fn start(
        config: &Config,
        base: &Base,
        url: &str,
        token: Secret,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let wanted = &config.runner;
        let limits = Limits {
            memory: wanted.job_memory_bytes,
            cpus: wanted.job_cpus,
            pids: wanted.job_pids,
        };
        let sandbox = wanted.sandbox.clone();
        let executor = executor(
            wanted.executor,
            sandbox,
            &wanted.container,
            wanted.vm.clone(),
        );
        let data = base.dir.run().join("runner");
        let mut settings = settings(
            url.to_owned(),
            token,
            data,
            "embedded".to_owned(),
            executor,
            &limits,
        )?;
        settings.concurrency = wanted.concurrency;
        settings.images = wanted.images.clone();
        settings.shell_user.clone_from(&wanted.shell_user);
        if let Some(dir) = &wanted.builds_dir {
            settings.builds_dir.clone_from(dir);
        }
        settings.cache_s3 = wanted.cache.as_ref().map(open_bucket).transpose()?;
        settings.memory = wanted.memory;
        settings.disk_reserve_bytes = wanted.disk_reserve_bytes;
        settings.job_disk_bytes = wanted.job_disk_bytes;
        settings.clock = base.clock.clone();
        let runner = make(settings)?;
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let running = runner.run(drain.clone(), abort.clone());
        let running = tasks.spawn(async move {
            if let Err(error) = running.await {
                tracing::error!(error = %rave_http::error::chain(&error), "the embedded runner stopped; jobs wait for another");
            }
        });
        Ok(Self {
            drain,
            abort,
            running,
        })
    }

    /// Gives up the jobs that run, while the server can still note it: they are tried again after the next start.
    pub(crate) async fn stop(self) {
        self.drain.cancel();
        self.abort.cancel();
        if tokio::time::timeout(REPORT, self.running).await.is_err() {
            tracing::warn!("the embedded runner did not stop in time");
        }
    }
}

/// Reads the key of a bucket, from a file as Amazon's own tools write it.
fn open_bucket(bucket: &config::bucket::Bucket) -> anyhow::Result<S3Cache> {
    let path = &bucket.credentials_file;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let find = |key: &str| {
        let mut pairs = text.lines().filter_map(|it| it.split_once('='));
        let value = pairs.find(|it| it.0.trim() == key)?.1.trim();
        Some(value.to_owned())
    };
    let need = |key: &str| find(key).with_context(|| format!("{} has no {key}", path.display()));
    Ok(S3Cache {
        server_address: bucket.server_address.clone(),
        insecure: false,
        bucket: bucket.name.clone(),
        region: bucket.region.clone(),
        access_key: need("aws_access_key_id")?,
        secret_key: Secret::new(need("aws_secret_access_key")?),
        session_token: find("aws_session_token").map(Secret::new),
        path: bucket.path.clone(),
        shared: bucket.shared,
        path_style: None,
    })
}

/// Returns the settings of a runner for the pipelines of a working tree: what it runs is its user's own.
pub(crate) fn local_settings(
    url: &str,
    token: Secret,
    data: PathBuf,
    executor: Executor,
    read_only_paths: Vec<PathBuf>,
) -> anyhow::Result<RunnerConfig> {
    let limits = Limits {
        memory: None,
        cpus: None,
        pids: Some(4096),
    };
    // What runs is the user's own, so the engine is the one that the user's other tools talk to.
    let host = environment("DOCKER_HOST");
    let host = host.unwrap_or_else(|| ContainerPolicy::DOCKER_SOCKET.to_owned());
    let sandbox = SandboxPolicy {
        read_only_paths,
        ..SandboxPolicy::default()
    };
    let executor = self::executor(
        executor,
        sandbox,
        &ContainerPolicy::new(host),
        VmPolicy::default(),
    );
    let mut config = settings(
        url.to_owned(),
        token,
        data,
        "local".to_owned(),
        executor,
        &limits,
    )?;
    // The repository is on this machine, and the runner's directory is gone after the run.
    config.object_limit_bytes = 0;
    // A laptop is not always online, and what is here was fetched by its own user.
    config.images.pull_policies = vec![PullPolicy::IfNotPresent];
    Ok(config)
}

struct Limits {
    memory: Option<u64>,
    cpus: Option<f64>,
    pids: Option<u64>,
}

fn settings(
    url: String,
    token: Secret,
    data: PathBuf,
    name: String,
    executor: ExecutorKind,
    limits: &Limits,
) -> anyhow::Result<RunnerConfig> {
    let mut config = RunnerConfig::new(url, token, data, Arc::new(SystemClock));
    config.system_id = system_id(&name);
    config.name = name;
    config.executor = executor;
    config.binary = std::env::current_exe().context("cannot find this program's own file")?;
    config.version = VERSION.to_owned();
    config.default_memory_bytes = limits.memory;
    config.cpus = limits.cpus;
    config.pids = limits.pids;
    Ok(config)
}

/// Returns the directory that a configuration file is in, where its runners keep what they need.
fn directory_of(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned())
}

/// Returns what is enough to speak to a server.
fn bare_config(url: &str, token: Secret, directory: &Path) -> RunnerConfig {
    let mut config = RunnerConfig::new(url, token, directory, Arc::new(SystemClock));
    config.version = VERSION.to_owned();
    config.system_id = system_id(&directory.display().to_string());
    config
}

/// Returns the settings of a runner of a configuration file.
fn config_of(entry: &Entry, directory: &Path, file: &File) -> anyhow::Result<RunnerConfig> {
    let mut config = bare_config(&entry.url, entry.token.clone(), directory);
    let own = hex::encode(Sha256::digest(entry.key()));
    let own = &own[..12];
    // Runners of several servers may have projects with the same number: none shares its directories.
    let base = |given: &Option<PathBuf>, name: &str| match given {
        Some(path) => directory.join(path).join(own),
        None => directory.join(name).join(own),
    };
    config.builds_dir = base(&entry.builds_dir, "builds");
    config.cache_dir = base(&entry.cache_dir, "cache");
    config.state_dir = base(&None, "state");
    config.name = entry.name.clone();
    let host = entry
        .container
        .host
        .clone()
        .or_else(|| environment("DOCKER_HOST"));
    let container = ContainerPolicy {
        network: entry.container.network.clone(),
        privileged: entry.container.privileged,
        privileged_services: entry.container.services_privileged,
        volumes: entry.container.volumes.clone(),
        devices: entry.container.devices.clone(),
        ..ContainerPolicy::new(host.unwrap_or_else(|| ContainerPolicy::DOCKER_SOCKET.to_owned()))
    };
    let (sandbox, vm) = (entry.sandbox.clone(), entry.vm.clone());
    config.executor = executor(entry.executor, sandbox, &container, vm);
    config.cache_s3 = entry.cache.clone();
    config.custom_build_dir = entry.custom_build_dir;
    config.images.default_image = entry.images.image.clone();
    if !entry.images.pull_policies.is_empty() {
        config.images.pull_policies = entry.images.pull_policies.clone();
    }
    config.images.allowed_pull_policies = entry.images.allowed_pull_policies.clone();
    config.images.allowed_images = entry.images.allowed_images.clone();
    config.images.allowed_services = entry.images.allowed_services.clone();
    config.binary = std::env::current_exe().context("cannot find this program's own file")?;
    config.default_memory_bytes = entry.memory_bytes;
    config.cpus = entry.cpus;
    config.concurrency = entry.limit.unwrap_or(file.concurrent).min(file.concurrent);
    config.request_concurrency = entry.request_concurrency;
    config.check_interval = file.check_interval;
    config.extra_env = entry.environment.clone();
    if let Some(bytes) = entry.output_limit_bytes {
        config.output_limit_bytes = bytes;
    }
    config.tls = entry.tls.read(directory)?;
    config.overlay = Overlay {
        clone_url: entry.clone_url.clone(),
        pre_get_sources_script: entry.pre_get_sources_script.clone(),
        post_get_sources_script: entry.post_get_sources_script.clone(),
        pre_build_script: entry.pre_build_script.clone(),
        post_build_script: entry.post_build_script.clone(),
        certificates: config.tls.roots.clone(),
    };
    Ok(config)
}

fn make(config: RunnerConfig) -> anyhow::Result<Runner> {
    install_tls();
    Runner::new(config).map_err(|error| {
        let hint = "if this machine does not allow namespaces, executor = \"shell\" runs jobs as plain processes of this user: choose it only for people you trust with this user's account";
        hinted("cannot start the runner", hint, Some(error.into()))
    })
}

/// Chooses the implementation of cryptography for TLS, once per process.
pub(crate) fn install_tls() {
    // A second call finds the first one's choice, which is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn pull_policy(name: &str) -> Result<PullPolicy, String> {
    PullPolicy::parse(name).ok_or_else(|| "must be always, if-not-present or never".to_owned())
}

fn executor(
    wanted: Executor,
    sandbox: SandboxPolicy,
    container: &ContainerPolicy,
    vm: VmPolicy,
) -> ExecutorKind {
    match wanted {
        Executor::Shell => ExecutorKind::Shell,
        Executor::Sandbox => ExecutorKind::Sandbox(sandbox),
        Executor::Container => ExecutorKind::Container(container.clone(), sandbox),
        Executor::Vm => ExecutorKind::Vm(VmPolicy { sandbox, ..vm }),
    }
}

fn profile(name: &str) -> Result<Profile, String> {
    match name {
        "safe" => Ok(Profile::Safe),
        "full" => Ok(Profile::Full),
        _ => Err("is neither safe nor full".to_owned()),
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "runner".to_owned(), |it| it.trim().to_owned())
}

/// Tells this machine from others that use the same token, and stays the same over restarts.
fn system_id(name: &str) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_else(|_| host_name());
    let digest = hex::encode(Sha256::digest(format!("{}/{name}", machine.trim())));
    format!("s_{}", &digest[..12])
}
