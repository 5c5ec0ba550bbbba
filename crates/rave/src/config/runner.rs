//! The section of the embedded runner.

use std::path::PathBuf;
use std::time::Duration;

use rave_runner::{
    Accelerator, ContainerPolicy, ImagePolicy, MemoryPolicy, Network, Profile, PullPolicy,
    SandboxPolicy, VmPolicy,
};

use super::bucket::Bucket;
use super::reader::Reader;

/// The embedded runner.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) embedded: bool,
    pub(crate) executor: Executor,
    pub(crate) concurrency: usize,
    pub(crate) memory: MemoryPolicy,
    pub(crate) job_memory_bytes: Option<u64>,
    pub(crate) disk_reserve_bytes: u64,
    pub(crate) job_disk_bytes: Option<u64>,
    pub(crate) job_cpus: Option<f64>,
    pub(crate) job_pids: Option<u64>,
    pub(crate) sandbox: SandboxPolicy,
    pub(crate) shell_user: Option<String>,
    /// `None`: in the data directory.
    pub(crate) builds_dir: Option<PathBuf>,
    pub(crate) images: ImagePolicy,
    pub(crate) container: ContainerPolicy,
    pub(crate) cache: Option<Bucket>,
    /// Whether runners with other tokens use the same caches.
    pub(crate) cache_shared: bool,
    /// Without the sandbox around the machines.
    pub(crate) vm: VmPolicy,
}

/// How jobs are kept from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Executor {
    Sandbox,
    Container,
    Vm,
    Shell,
}

impl Runner {
    pub(super) fn read(reader: &mut Reader) -> Self {
        const SECTION: &str = "runner";
        let some = |it: u64| (it > 0).then_some(it);
        let concurrency =
            usize::try_from(reader.count(SECTION, "concurrency", 0)).unwrap_or(usize::MAX);
        let cpus = reader.number(SECTION, "job_cpus").unwrap_or_default();
        let executors = [
            ("sandbox", Executor::Sandbox),
            ("container", Executor::Container),
            ("vm", Executor::Vm),
            ("shell", Executor::Shell),
        ];
        Self {
            embedded: reader.flag(SECTION, "embedded").unwrap_or_default(),
            executor: reader
                .choice(SECTION, "executor", &executors)
                .unwrap_or(Executor::Sandbox),
            concurrency: match concurrency {
                0 => default_concurrency(),
                some => some,
            },
            memory: MemoryPolicy {
                profile: reader
                    .choice(
                        SECTION,
                        "profile",
                        &[
                            ("auto", None),
                            ("safe", Some(Profile::Safe)),
                            ("full", Some(Profile::Full)),
                        ],
                    )
                    .unwrap_or_default(),
                budget_bytes: some(reader.count(SECTION, "memory_bytes", 0)),
                request_bytes: reader.count(SECTION, "job_request_bytes", 1 << 20),
            },
            job_memory_bytes: some(reader.count(SECTION, "job_memory_bytes", 0)),
            disk_reserve_bytes: reader.count(SECTION, "disk_reserve_bytes", 0),
            job_disk_bytes: some(reader.count(SECTION, "job_disk_bytes", 0)),
            job_cpus: (cpus > 0.0).then_some(cpus),
            job_pids: some(reader.count(SECTION, "job_pids", 0)),
            sandbox: sandbox(reader),
            shell_user: text(reader.text(SECTION, "shell_user")),
            builds_dir: text(reader.text(SECTION, "builds_dir")).map(PathBuf::from),
            images: images(reader),
            container: container(reader),
            cache: Bucket::read(reader, "runner.cache"),
            cache_shared: reader.flag("runner.cache", "shared").unwrap_or_default(),
            vm: vm(reader),
        }
    }
}

fn sandbox(reader: &mut Reader) -> SandboxPolicy {
    const SECTION: &str = "runner";
    let networks = [
        ("host", Network::Host),
        ("none", Network::None),
        ("own", Network::Own),
    ];
    let paths = reader.list(SECTION, "read_only_paths").into_iter();
    let devices = reader.list(SECTION, "devices").into_iter();
    SandboxPolicy {
        network: reader
            .choice(SECTION, "network", &networks)
            .unwrap_or(Network::Host),
        private_addresses: reader
            .flag(SECTION, "private_addresses")
            .unwrap_or_default(),
        read_only_paths: paths.map(PathBuf::from).collect(),
        devices: devices.map(PathBuf::from).collect(),
        insecure_registries: reader.list("runner.images", "insecure_registries"),
        services_timeout: Duration::from_secs(reader.count(SECTION, "services_timeout_secs", 0)),
        nested_namespaces: reader
            .flag(SECTION, "nested_namespaces")
            .unwrap_or_default(),
        image_limit_bytes: reader.count("runner.images", "limit_bytes", 1 << 20),
        image_store_limit_bytes: reader.count("runner.images", "store_bytes", 1 << 20),
        ..SandboxPolicy::default()
    }
}

fn images(reader: &mut Reader) -> ImagePolicy {
    const SECTION: &str = "runner.images";
    ImagePolicy {
        default_image: text(reader.text(SECTION, "default_image")),
        pull_policies: policies(reader, SECTION, "pull_policies"),
        allowed_pull_policies: policies(reader, SECTION, "allowed_pull_policies"),
        allowed_images: reader.list(SECTION, "allowed_images"),
        allowed_services: reader.list(SECTION, "allowed_services"),
        auth_file: text(reader.text(SECTION, "auth_file")).map(PathBuf::from),
    }
}

/// Takes the empty text for none.
fn text(found: Option<String>) -> Option<String> {
    found.filter(|it| !it.is_empty())
}

fn policies(reader: &mut Reader, section: &str, key: &str) -> Vec<PullPolicy> {
    let names = reader.list(section, key);
    let known: Option<Vec<_>> = names.iter().map(|it| PullPolicy::parse(it)).collect();
    known.unwrap_or_else(|| {
        let why = "must be a list of \"always\", \"if-not-present\" and \"never\"";
        reader.complain(section, key, why.to_owned());
        Vec::new()
    })
}

fn container(reader: &mut Reader) -> ContainerPolicy {
    const SECTION: &str = "runner.container";
    let host = reader.text(SECTION, "host").unwrap_or_default();
    ContainerPolicy {
        network: text(reader.text(SECTION, "network")),
        privileged: reader.flag(SECTION, "privileged").unwrap_or_default(),
        privileged_services: reader
            .flag(SECTION, "privileged_services")
            .unwrap_or_default(),
        volumes: reader.list(SECTION, "volumes"),
        devices: reader.list(SECTION, "devices"),
        ..ContainerPolicy::new(host)
    }
}

fn vm(reader: &mut Reader) -> VmPolicy {
    const SECTION: &str = "runner.vm";
    let some = |it: u64| (it > 0).then_some(it);
    let accelerators = [
        ("auto", None),
        ("kvm", Some(Accelerator::Kvm)),
        ("tcg", Some(Accelerator::Tcg)),
    ];
    let accelerator = reader.choice(SECTION, "accelerator", &accelerators);
    let path = |it| text(it).map(PathBuf::from);
    VmPolicy {
        kernel: path(reader.text(SECTION, "kernel")),
        modules: path(reader.text(SECTION, "modules")),
        memory_bytes: some(reader.count(SECTION, "memory_bytes", 0)),
        cpus: some(reader.count(SECTION, "cpus", 0))
            .map(|it| u32::try_from(it).unwrap_or(u32::MAX)),
        disk_bytes: some(reader.count(SECTION, "disk_bytes", 0)),
        accelerator: accelerator.flatten(),
        ..VmPolicy::default()
    }
}

/// One job for every two CPUs, at least two, so that a build does not hold up a quick check.
fn default_concurrency() -> usize {
    std::thread::available_parallelism().map_or(2, |it| (it.get() / 2).max(2))
}
