//! The settings of a runner: of a configuration file, of the pipelines of a working tree, and what all of them have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rave_core::secret::Secret;
use rave_core::time::SystemClock;
use rave_runner::{
    ContainerPolicy, ExecutorKind, Overlay, PullPolicy, RunnerConfig, SandboxPolicy, VmPolicy,
};
use sha2::{Digest as _, Sha256};

use super::commands::environment;
use super::file::{Entry, File};
use super::host_name;
use crate::config::Executor;
use crate::wiring::VERSION;

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

pub(super) struct Limits {
    pub(super) memory: Option<u64>,
    pub(super) cpus: Option<f64>,
    pub(super) pids: Option<u64>,
}

pub(super) fn settings(
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
pub(super) fn directory_of(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned())
}

/// Returns what is enough to speak to a server.
pub(super) fn bare_config(url: &str, token: Secret, directory: &Path) -> RunnerConfig {
    let mut config = RunnerConfig::new(url, token, directory, Arc::new(SystemClock));
    config.version = VERSION.to_owned();
    config.system_id = system_id(&directory.display().to_string());
    config
}

/// Returns the settings of a runner of a configuration file.
pub(super) fn config_of(
    entry: &Entry,
    directory: &Path,
    file: &File,
) -> anyhow::Result<RunnerConfig> {
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

pub(super) fn executor(
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

/// Tells this machine from others that use the same token, and stays the same over restarts.
fn system_id(name: &str) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_else(|_| host_name());
    let digest = hex::encode(Sha256::digest(format!("{}/{name}", machine.trim())));
    format!("s_{}", &digest[..12])
}
