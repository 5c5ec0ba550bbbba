//! What a runner is told when it starts, and the checks of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rave_core::secret::Secret;
use rave_core::time::Clock;

use crate::budget::size::MemoryPolicy;
use crate::metrics::{Metrics, RunnerLabels};
use crate::overlay::Overlay;
use crate::pool::Pool;

/// How jobs run.
#[derive(Clone, Debug)]
pub enum ExecutorKind {
    /// In namespaces of their own, seeing the system read-only and their project directory.
    Sandbox(SandboxPolicy),
    /// In a virtual machine of their own.
    Vm(VmPolicy),
    /// As plain processes of the runner's user or another one. An explicit opt-in: a job can do what that user can.
    Shell,
    /// In containers of Docker or Podman. The runner's own scripts run in the sandbox.
    Container(ContainerPolicy, SandboxPolicy),
}

impl ExecutorKind {
    /// Returns the name under which the executor is shown.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::Vm(_) => "vm",
            Self::Shell => "shell",
            Self::Container(..) => "container",
        }
    }
}

/// Whether jobs in the sandbox reach the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The machine's network, which fetching dependencies needs.
    Host,
    /// Only a loopback device of their own, and their services. Fetching the source still has the network.
    None,
    /// One of their own that leads to the world, but neither to this machine nor to private addresses.
    Own,
}

/// What the sandbox gives to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxPolicy {
    /// Whether scripts reach the network.
    pub network: Network,
    /// Whether jobs with a network of their own reach this machine and private addresses, too.
    pub private_addresses: bool,
    /// How long the ports of services are tried before the job goes on with a warning. Zero: they are not tried.
    pub services_timeout: Duration,
    /// Paths of the machine that jobs may read, beside the system's own. Absent ones are left out.
    pub read_only_paths: Vec<PathBuf>,
    /// Devices of the machine that jobs may use, such as `/dev/kvm`, as far as the device's group may. Absent ones are left out.
    pub devices: Vec<PathBuf>,
    /// The user and group outside the sandbox that jobs run as when the runner is root. It should own nothing.
    pub outer_id: u32,
    /// Whether a job may make user namespaces of its own (as nix, bubblewrap and podman do).
    pub nested_namespaces: bool,
    /// Whether jobs run in the images that they name. If not, they run on the machine's system, and their logs say so.
    pub images: bool,
    /// Registries that are spoken to without TLS, as `host:port`. Those of this machine always are.
    pub insecure_registries: Vec<String>,
    /// The largest image, both as it is downloaded and unpacked.
    pub image_limit_bytes: u64,
    /// The size above which the least recently used images are deleted.
    pub image_store_limit_bytes: u64,
}

impl Default for SandboxPolicy {
    fn default() -> Self {
        Self {
            network: Network::Host,
            private_addresses: false,
            services_timeout: Duration::from_secs(30),
            read_only_paths: Vec::new(),
            devices: Vec::new(),
            outer_id: 200_000,
            nested_namespaces: false,
            images: true,
            insecure_registries: Vec::new(),
            image_limit_bytes: 20 << 30,
            image_store_limit_bytes: 20 << 30,
        }
    }
}

/// What containers of jobs may do.
#[derive(Clone, Debug)]
pub struct ContainerPolicy {
    /// The engine's address, as in `DOCKER_HOST`: `unix:///run/podman/podman.sock`, `tcp://127.0.0.1:2375`.
    pub host: String,
    /// The network of jobs without services, as the engine names it. Without one it is the engine's own choice.
    pub network: Option<String>,
    /// Whether jobs have all rights on the machine. Only for runners whose jobs are trusted with it.
    pub privileged: bool,
    /// The same for services, such as a Docker in Docker.
    pub privileged_services: bool,
    /// More of the machine or of named volumes, as `SOURCE:PATH[:OPTIONS]`.
    pub volumes: Vec<String>,
    /// Devices that jobs may use, such as `/dev/kvm`.
    pub devices: Vec<String>,
}

impl ContainerPolicy {
    /// Where Docker listens, and Podman in its place.
    pub const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

    /// Gives jobs nothing beyond a container in the engine's default network.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            network: None,
            privileged: false,
            privileged_services: false,
            volumes: Vec::new(),
            devices: Vec::new(),
        }
    }
}

/// What emulates the processor of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself, by the kernel's help.
    Kvm,
    /// A translator, which needs nobody's help and is many times slower.
    Tcg,
}

impl Accelerator {
    /// Returns the name under which it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What the virtual machines of jobs are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmPolicy {
    /// The sandbox in which the emulator runs, as do the scripts of the runner itself. Its network is that of the machines.
    pub sandbox: SandboxPolicy,
    /// The kernel. `None`: that which this machine runs, from `/boot`.
    pub kernel: Option<PathBuf>,
    /// The directory of the kernel's modules, with `modules.dep`. `None`: that of this machine's kernel.
    pub modules: Option<PathBuf>,
    /// The memory of each. `None`: the job's limit.
    pub memory_bytes: Option<u64>,
    /// The processors of each. `None`: the job's limit.
    pub cpus: Option<u32>,
    /// The disk for what jobs change outside their directories. `None`: memory.
    pub disk_bytes: Option<u64>,
    /// `None`: the first that boots a trial machine.
    pub accelerator: Option<Accelerator>,
}

impl VmPolicy {
    /// Returns the kernel, and the directory of its modules.
    pub(crate) fn kernel(&self) -> Result<(PathBuf, PathBuf), String> {
        let release = || {
            let names = nix::sys::utsname::uname();
            let names = names.map_err(|error| format!("cannot ask the kernel's name: {error}"))?;
            Ok::<_, String>(names.release().to_string_lossy().into_owned())
        };
        let kernel = match &self.kernel {
            Some(kernel) => kernel.clone(),
            None => PathBuf::from(format!("/boot/vmlinuz-{}", release()?)),
        };
        let modules = match &self.modules {
            Some(modules) => modules.clone(),
            None => PathBuf::from(format!("/lib/modules/{}", release()?)),
        };
        Ok((kernel, modules))
    }
}

/// When an image is fetched from its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// For every job, though what is here already is not fetched again.
    Always,
    /// When it is not here yet.
    IfNotPresent,
    /// Never: it has to be here.
    Never,
}

impl PullPolicy {
    /// Reads the name that `pull_policy` has in job files and in configurations.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "always" => Some(Self::Always),
            "if-not-present" => Some(Self::IfNotPresent),
            "never" => Some(Self::Never),
            _ => None,
        }
    }

    /// Returns that name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::IfNotPresent => "if-not-present",
            Self::Never => "never",
        }
    }
}

/// Which images jobs may use, and when they are fetched. The same for all executors that have images.
#[derive(Clone, Debug)]
pub struct ImagePolicy {
    /// The image of jobs that name none. Without one the executor decides.
    pub default_image: Option<String>,
    /// Tried in order until one yields the image.
    pub pull_policies: Vec<PullPolicy>,
    /// What a job's `pull_policy` may choose. Empty: only `pull_policies`.
    pub allowed_pull_policies: Vec<PullPolicy>,
    /// Patterns with `*` and `?` that images of jobs must match. Empty: all.
    pub allowed_images: Vec<String>,
    /// The same for services.
    pub allowed_services: Vec<String>,
    /// A Docker configuration with credentials for registries.
    pub auth_file: Option<PathBuf>,
}

impl Default for ImagePolicy {
    fn default() -> Self {
        Self {
            default_image: None,
            pull_policies: vec![PullPolicy::Always],
            allowed_pull_policies: Vec::new(),
            allowed_images: Vec::new(),
            allowed_services: Vec::new(),
            auth_file: None,
        }
    }
}

/// A bucket in which several runners share their caches. Its names are those of GitLab Runner's `[runners.cache.s3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Cache {
    /// The server's host and port, or its whole address; empty for Amazon's own.
    pub server_address: String,
    /// Whether a server without a scheme in its address is spoken to without TLS.
    pub insecure: bool,
    /// The bucket.
    pub bucket: String,
    /// Where the bucket is, such as `eu-central-1`.
    pub region: String,
    /// The name of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: Secret,
    /// What belongs to a key that is good for a while only.
    pub session_token: Option<Secret>,
    /// What the names of all objects begin with.
    pub path: String,
    /// Whether runners with other tokens use the same caches.
    pub shared: bool,
    /// Whether the bucket is the first part of the path. Without a word it is part of the host only at Amazon.
    pub path_style: Option<bool>,
}

/// Everything a [`Runner`](crate::Runner) needs to know.
#[derive(Clone)]
pub struct RunnerConfig {
    /// The server, without `/api/v4`.
    pub url: String,
    /// The runner's authentication token.
    pub token: Secret,
    /// The name shown in logs.
    pub name: String,
    /// Tells this machine from others that use the same token.
    pub system_id: String,
    /// How many jobs run at once.
    pub concurrency: usize,
    /// How many requests for a job are open at once, as far as there are places for the jobs.
    pub request_concurrency: usize,
    /// How jobs run.
    pub executor: ExecutorKind,
    /// The user that jobs of the shell executor run as, when the runner is root. `None` is the runner's own.
    pub shell_user: Option<String>,
    /// Which images jobs may use.
    pub images: ImagePolicy,
    /// Where working copies live. Private to the runner; made when absent.
    pub builds_dir: PathBuf,
    /// Where caches live. Private to the runner; made when absent.
    pub cache_dir: PathBuf,
    /// Where unpacked images live. Made when a job needs one.
    pub images_dir: PathBuf,
    /// Where it is kept which jobs run, for the case that the runner is killed. Private to the runner; made when absent.
    pub state_dir: PathBuf,
    /// The executable whose `__sandbox` subcommand calls [`sandbox_main`](crate::sandbox_main).
    pub binary: PathBuf,
    /// The version shown in logs and sent to the server.
    pub version: String,
    /// What of the machine's memory jobs get.
    pub memory: MemoryPolicy,
    /// The memory limit of a job that asks for none. `None`: all that jobs get, or what the profile says.
    pub default_memory_bytes: Option<u64>,
    /// The most memory that a job may ask for. `None`: all that jobs get.
    pub max_memory_bytes: Option<u64>,
    /// Below this much free space where working copies live no job begins; at most a twentieth of the file system.
    pub disk_reserve_bytes: u64,
    /// What a job may write to the disk. `None`: half of what is free as it begins.
    pub job_disk_bytes: Option<u64>,
    /// Processors' worth of time per job.
    pub cpus: Option<f64>,
    /// The most processes and threads per job.
    pub pids: Option<u64>,
    /// The longest log of a job.
    pub output_limit_bytes: u64,
    /// The size above which the least recently used caches are deleted.
    pub cache_limit_bytes: u64,
    /// Where caches are instead, for several machines.
    pub cache_s3: Option<S3Cache>,
    /// The size above which the least recently used fetched objects are deleted; 0 keeps none.
    pub object_limit_bytes: u64,
    /// Whether jobs choose their directory by `GIT_CLONE_PATH`. Without a word they do where each has a file system of its own.
    pub custom_build_dir: Option<bool>,
    /// How long processes have between TERM and KILL.
    pub kill_grace: Duration,
    /// Variables that every job gets, before its own.
    pub extra_env: BTreeMap<String, String>,
    /// The places that this runner shares with others of its process. `None`: it has its own.
    pub pool: Option<Pool>,
    /// The pause after an answer without a job, of a server that holds no requests.
    pub check_interval: Duration,
    /// What is added to every job.
    pub overlay: Overlay,
    /// Whom to trust, and who this runner is, in TLS.
    pub tls: Tls,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Certificates for the connection to the server, as PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// Certificates to trust besides the machine's.
    pub roots: Option<String>,
    /// This runner's certificate, followed by its key.
    pub identity: Option<Secret>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn apply(
        &self,
        mut builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, ConfigError> {
        if let Some(roots) = &self.roots {
            let roots = reqwest::Certificate::from_pem_bundle(roots.as_bytes());
            builder = builder.tls_certs_merge(roots.map_err(ConfigError::Certificates)?);
        }
        if let Some(identity) = &self.identity {
            let identity = reqwest::Identity::from_pem(identity.expose().as_bytes());
            builder = builder.identity(identity.map_err(ConfigError::Certificates)?);
        }
        Ok(builder)
    }
}

impl fmt::Debug for RunnerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerConfig")
            .field("url", &self.url)
            .field("name", &self.name)
            .field("executor", &self.executor)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

impl RunnerConfig {
    /// Makes a configuration with the defaults: one job at a time, in the sandbox, a log of 4 MiB, caches of 5 GiB,
    /// 4096 processes, memory as the machine has it, a GiB of the disk kept free.
    #[must_use]
    pub fn new(
        url: impl Into<String>,
        token: Secret,
        data: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let data = data.into();
        Self {
            url: url.into(),
            token,
            name: "rave".to_owned(),
            system_id: "s_000000000000".to_owned(),
            concurrency: 1,
            request_concurrency: 1,
            executor: ExecutorKind::Sandbox(SandboxPolicy::default()),
            shell_user: None,
            images: ImagePolicy::default(),
            builds_dir: data.join("builds"),
            cache_dir: data.join("cache"),
            images_dir: data.join("images"),
            state_dir: data.join("state"),
            binary: PathBuf::from("/proc/self/exe"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            memory: MemoryPolicy::default(),
            default_memory_bytes: None,
            max_memory_bytes: None,
            disk_reserve_bytes: 1 << 30,
            job_disk_bytes: None,
            cpus: None,
            pids: Some(4096),
            output_limit_bytes: 4 << 20,
            cache_limit_bytes: 5 << 30,
            cache_s3: None,
            object_limit_bytes: 10 << 30,
            custom_build_dir: None,
            kill_grace: Duration::from_secs(10),
            extra_env: BTreeMap::new(),
            pool: None,
            check_interval: Duration::from_secs(3),
            overlay: Overlay::default(),
            tls: Tls::default(),
            metrics: Arc::default(),
            clock,
        }
    }

    /// Returns what tells this runner's figures from others'.
    pub(crate) fn labels(&self) -> RunnerLabels {
        RunnerLabels {
            runner: self.short_token(),
            runner_name: self.name.clone(),
            system_id: self.system_id.clone(),
        }
    }

    /// Returns the first characters of the token without its prefix: how people tell runners apart.
    pub(crate) fn short_token(&self) -> String {
        let token = self.token.expose();
        let bare = token.strip_prefix("glrt-").unwrap_or(token);
        let bare = ["t1_", "t2_", "t3_"]
            .iter()
            .find_map(|it| bare.strip_prefix(it))
            .unwrap_or(bare);
        bare.chars().take(9).collect()
    }
}

/// The runner cannot start with what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address is not an `http` or `https` URL.
    #[error("the server's address {url:?} is not an http or https URL")]
    Url {
        /// The address given.
        url: String,
    },
    /// No job could ever run.
    #[error("concurrency must be at least 1")]
    Concurrency,
    /// The place of shared caches is none.
    #[error("cannot use the shared cache: {0}")]
    Cache(String),
    /// The certificates or the key are none.
    #[error("cannot use the certificates for TLS")]
    Certificates(#[source] reqwest::Error),
    /// The HTTP client cannot be built, for example for want of certificates.
    #[error("cannot set up the HTTP client")]
    Http(#[source] reqwest::Error),
    /// A directory cannot be made.
    #[error("cannot prepare the directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
