//! `rave runner --url URL --token TOKEN`: one runner without a configuration file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use rave_core::secret::Secret;
use rave_runner::{ContainerPolicy, Network, Profile, PullPolicy, SandboxPolicy, VmPolicy};
use tokio_util::sync::CancellationToken;

use super::settings::{Limits, executor, settings};
use super::tls::TlsFiles;
use super::{host_name, make};
use crate::config::{self, Executor};
use crate::failure::hinted;
use crate::logging;
use crate::up::Signals;
use crate::wiring;

/// One runner, by its address and token.
#[derive(Debug, Args)]
pub(super) struct AloneArgs {
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

/// Runs jobs until told to stop. The first signal lets running jobs finish, the second one gives them up.
pub(super) fn run(args: AloneArgs) -> anyhow::Result<ExitCode> {
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

fn pull_policy(name: &str) -> Result<PullPolicy, String> {
    PullPolicy::parse(name).ok_or_else(|| "must be always, if-not-present or never".to_owned())
}

fn profile(name: &str) -> Result<Profile, String> {
    match name {
        "safe" => Ok(Profile::Safe),
        "full" => Ok(Profile::Full),
        _ => Err("is neither safe nor full".to_owned()),
    }
}
