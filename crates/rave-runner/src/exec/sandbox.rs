//! Runs scripts in namespaces of their own, seeing the system read-only, or an image, and the job's directories.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cgroup::JobGroup;
use super::launcher::{Launch, Launcher};
use super::pod::Pod;
use super::services::{self, Service};
use super::wanted::Wanted;
use super::{
    Executor, ExecutorError, Layout, Outcome, Output, PATH, Session, Setup, SetupError, Task, Whose,
};
use crate::client::chain;
use crate::config::{ImagePolicy, Network, RunnerConfig, SandboxPolicy};
use crate::image::{Image, ImageError, Images, JobCredentials, Owners};
use crate::inner::order::{self, ImageRoot, Net, Order, Program, Root, Script, View};
use crate::job::place::{Place, remove_tree};
use crate::trace::Tone;

/// The executor.
pub(super) struct Sandbox {
    launcher: Arc<Launcher>,
    policy: Arc<SandboxPolicy>,
    image_policy: ImagePolicy,
    images: Images,
    /// An empty directory for a trial run.
    trial: PathBuf,
}

impl Sandbox {
    pub(super) fn new(
        launcher: Arc<Launcher>,
        policy: SandboxPolicy,
        config: &RunnerConfig,
    ) -> Self {
        let owners = match launcher.privileged {
            true => Owners::From(policy.outer_id),
            false => Owners::OneUser,
        };
        Self {
            images: Images::new(config, &policy, owners),
            launcher,
            policy: Arc::new(policy),
            image_policy: config.images.clone(),
            trial: config.builds_dir.join(".trial"),
        }
    }

    /// Makes what the runner's own scripts of a job run in, when its own run elsewhere.
    pub(super) fn bare(&self, setup: &Setup<'_>) -> Box<dyn Session> {
        Box::new(self.session(setup.place.writable(), setup.group.clone()))
    }

    /// Makes what a job runs in, when it has services or a network of its own.
    async fn pod(&self, setup: &Setup<'_>, session: &mut SandboxSession) -> Result<(), SetupError> {
        let wanted = match self.policy.images {
            true => Wanted::services(setup, &self.image_policy)?,
            false => Vec::new(),
        };
        if wanted.is_empty() && self.policy.network != Network::Own {
            return Ok(());
        }
        let mut images = Vec::new();
        for service in &wanted {
            images.push(Arc::new(self.pull(setup, service).await?));
        }
        let warn = |text: &str| setup.trace.line(Tone::Warning, text);
        let pod = Pod::make(&self.launcher, &self.policy, wanted.len(), warn)
            .await
            .map_err(SetupError::System)?;
        let mut hosts = ALONE.to_owned();
        for (number, service) in wanted.iter().enumerate() {
            let address = pod.service(number).map(|it| it.1);
            hosts.extend(address.map(|it| Service::hosts(it, &service.aliases)));
        }
        session.hosts = Some(hosts);
        let show = setup
            .variables
            .is_on("CI_DEBUG_SERVICES")
            .then(|| setup.trace.clone());
        for ((number, service), image) in wanted.iter().enumerate().zip(images) {
            let Some((network, address)) = pod.service(number) else {
                continue;
            };
            let scratch = setup
                .place
                .image_scratch()
                .join(format!("service-{number}"));
            let orders = session.service_orders(service, &image, scratch, network, &pod);
            let launch = Launch {
                orders: orders.map_err(|error| SetupError::System(error.to_string()))?,
                owner: session.owner,
                group: session.group.clone(),
                deadline: setup.deadline + Duration::from_secs(3600),
                grace: Some(services::GRACE),
            };
            let started = Service::start(
                &self.launcher,
                launch,
                service,
                image,
                address,
                show.clone(),
            );
            session.services.push(started);
        }
        let patience = self.policy.services_timeout;
        if !session.services.is_empty() && !patience.is_zero() {
            services::await_ready(
                &session.services,
                &pod,
                patience,
                setup.trace,
                setup.stop,
                setup.deadline,
            )
            .await?;
        }
        session.pod = Some(pod);
        Ok(())
    }

    pub(super) fn session(
        &self,
        writable: Vec<(PathBuf, PathBuf)>,
        group: Option<Arc<JobGroup>>,
    ) -> SandboxSession {
        SandboxSession {
            launcher: self.launcher.clone(),
            policy: self.policy.clone(),
            owner: self.layout().owner,
            writable,
            group,
            image: None,
            scratch: None,
            hosts: None,
            services: Vec::new(),
            pod: None,
        }
    }

    /// Makes the job's image available, if it has one.
    pub(super) async fn image(&self, setup: &Setup<'_>) -> Result<Option<JobImage>, SetupError> {
        let Some(wanted) = Wanted::image(setup, &self.image_policy)? else {
            return Ok(None);
        };
        let image = self.pull(setup, &wanted).await?;
        Ok(Some(JobImage::new(setup, &wanted, image)))
    }

    async fn pull(&self, setup: &Setup<'_>, wanted: &Wanted) -> Result<Image, SetupError> {
        let credentials = JobCredentials::new(setup, &self.image_policy)
            .map_err(|error| SetupError::Configuration(chain(&error)))?;
        let say = |text: &str| setup.trace.line(Tone::Plain, text);
        let warn = |text: &str| setup.trace.line(Tone::Warning, text);
        let prepared = tokio::select! {
            prepared = self.images.prepare(wanted, &credentials, &say, &warn) => prepared,
            () = setup.stop.cancelled() => return Err(SetupError::Stopped),
            () = sleep_until(setup.deadline) => return Err(SetupError::Stopped),
        };
        prepared.map_err(|error| match &error {
            ImageError::Refused(_) | ImageError::Credentials(_) => {
                SetupError::Configuration(chain(&error))
            }
            ImageError::Store(_) => SetupError::System(chain(&error)),
            _ => SetupError::Image(chain(&error)),
        })
    }
}

/// Removes a directory, if it is there.
pub(super) async fn clear(dir: &Path) -> std::io::Result<()> {
    let dir = dir.to_owned();
    let removed = tokio::task::spawn_blocking(move || remove_tree(&dir)).await;
    match removed.map_err(std::io::Error::other)? {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[async_trait]
impl Executor for Sandbox {
    fn layout(&self) -> Layout {
        Layout {
            disposable: true,
            owner: self.launcher.privileged.then_some(self.policy.outer_id),
            direct: true,
        }
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        std::fs::create_dir_all(&self.trial).map_err(|source| ExecutorError::Directory {
            path: self.trial.clone(),
            source,
        })?;
        let task = Task {
            script: "exit 0\n".to_owned(),
            environment: Vec::new(),
            whose: Whose::Job,
            deadline: Instant::now() + Duration::from_secs(60),
        };
        let writable = vec![(self.trial.clone(), PathBuf::from("/builds"))];
        let session = self.session(writable, None);
        let never = CancellationToken::new();
        let reason = match session.run(task, &mut |_| {}, &never).await {
            Outcome::Exited(0) => return Ok(()),
            Outcome::Failed(reason) => reason,
            other => format!("a trial run ended as {other:?}"),
        };
        let hint = if self.launcher.privileged {
            "run the container privileged, or with CAP_SYS_ADMIN and unmasked /proc; or set executor = \"shell\""
        } else {
            "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu also \
             kernel.apparmor_restrict_unprivileged_userns=0), or run as root; or set executor = \"shell\""
        };
        Err(ExecutorError::Sandbox { reason, hint })
    }

    async fn prepare(&self, setup: Setup<'_>) -> Result<Box<dyn Session>, SetupError> {
        let mut session = self.session(setup.place.writable(), setup.group.clone());
        let scratch = setup.place.image_scratch();
        // What a runner that was killed left.
        clear(&scratch).await.map_err(|error| {
            SetupError::System(format!("cannot remove {}: {error}", scratch.display()))
        })?;
        session.scratch = Some(scratch);
        match self.policy.images {
            true => session.image = self.image(&setup).await?,
            false => setup.warn_of_unused_images("sandbox"),
        }
        // One that fails half way ends in order, too.
        if let Err(error) = self.pod(&setup, &mut session).await {
            Box::new(session).destroy().await;
            return Err(error);
        }
        Ok(Box::new(session))
    }
}

/// A job's part of it.
pub(super) struct SandboxSession {
    launcher: Arc<Launcher>,
    policy: Arc<SandboxPolicy>,
    owner: Option<u32>,
    /// The directories to write: outside and inside.
    writable: Vec<(PathBuf, PathBuf)>,
    group: Option<Arc<JobGroup>>,
    image: Option<JobImage>,
    /// What the images' layers of this job are in, until it ends.
    scratch: Option<PathBuf>,
    /// The text of `/etc/hosts`, unless it is the machine's.
    hosts: Option<String>,
    services: Vec<Service>,
    pod: Option<Pod>,
}

/// The image of a job, and how it is run.
pub(super) struct JobImage {
    pub(super) image: Image,
    place: Place,
    pub(super) user: String,
    pub(super) entrypoint: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl JobImage {
    fn new(setup: &Setup<'_>, wanted: &Wanted, image: Image) -> Self {
        let settings = &image.settings;
        let entrypoint = wanted.entrypoint.as_ref().unwrap_or(&settings.entrypoint);
        // A list with an empty word is how job files say that there is to be none.
        let entrypoint: Vec<String> = entrypoint
            .iter()
            .filter(|it| !it.is_empty())
            .cloned()
            .collect();
        let mut environment = vec![("PATH".to_owned(), PATH.to_owned())];
        environment.extend(settings.environment());
        if !entrypoint.is_empty() {
            // The script sets the variables for itself; what starts it may want to know them, too.
            let short = setup
                .variables
                .list()
                .filter(|it| it.1.len() < LONGEST_VARIABLE);
            environment.extend(short.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        let user = if wanted.user.is_empty() {
            &settings.user
        } else {
            &wanted.user
        };
        Self {
            user: user.clone(),
            entrypoint,
            environment,
            place: setup.place.clone(),
            image,
        }
    }
}

/// The longest value that is put into the environment of an entrypoint: the kernel takes no more than 128 KiB.
const LONGEST_VARIABLE: usize = 100_000;

impl SandboxSession {
    fn orders(&self, task: Task) -> std::io::Result<Vec<u8>> {
        let of_job = task.whose == Whose::Job;
        let image = self.image.as_ref().filter(|_| of_job);
        let pod = self.pod.as_ref().filter(|_| of_job);
        let network = match pod {
            Some(pod) => pod.job(),
            None if self.policy.network == Network::Host || task.whose == Whose::Runner => {
                Net::Machine
            }
            None => Net::None,
        };
        let (root, program, environment) = match (image, &self.scratch) {
            (Some(image), Some(scratch)) => {
                let root = Root::Image(ImageRoot {
                    layers: image.image.layers(),
                    scratch: scratch.join("job"),
                    user: image.user.clone(),
                });
                let (entrypoint, directory) = (
                    image.entrypoint.clone(),
                    image.image.settings.working_dir.clone(),
                );
                let program = Program::ImageShell {
                    entrypoint,
                    directory,
                };
                (root, program, image.environment.clone())
            }
            _ => {
                let environment = super::base_environment(PATH, "rave", crate::inner::HOME);
                (Root::System, Program::Shell { login: false }, environment)
            }
        };
        let mut writable = self.writable.clone();
        // An image has its own.
        writable.retain(|it| image.is_none() || it.1 != Path::new("/tmp"));
        let alone = (network == Net::None && image.is_some()).then(|| ALONE.to_owned());
        let view = View {
            root,
            writable,
            hosts: pod.and(self.hosts.clone()).or(alone),
            resolver: pod.map(|it| it.resolver.clone()),
            read_only: self.policy.read_only_paths.clone(),
            devices: self.policy.devices.clone(),
            outer_id: self.owner,
            nested_namespaces: self.policy.nested_namespaces,
        };
        let script = Script {
            text: task.script,
            environment: [environment, task.environment].concat(),
            program,
        };
        self.encode(network, view, script)
    }

    /// Returns the orders for a service, which sees its image and nothing of the job.
    fn service_orders(
        &self,
        wanted: &Wanted,
        image: &Image,
        scratch: PathBuf,
        network: Net,
        pod: &Pod,
    ) -> std::io::Result<Vec<u8>> {
        let settings = &image.settings;
        let (entrypoint, command) = match (&wanted.entrypoint, &wanted.command) {
            (None, None) => (&settings.entrypoint, &settings.cmd),
            (None, Some(command)) => (&settings.entrypoint, command),
            // What an image would give to its own entrypoint means nothing to another.
            (Some(entrypoint), None) => (entrypoint, &Vec::new()),
            (Some(entrypoint), Some(command)) => (entrypoint, command),
        };
        let arguments = entrypoint
            .iter()
            .chain(command)
            .filter(|it| !it.is_empty())
            .cloned()
            .collect();
        let path = [("PATH".to_owned(), PATH.to_owned())].into_iter();
        let own = wanted
            .environment
            .iter()
            .filter(|it| it.1.len() < LONGEST_VARIABLE)
            .cloned();
        let user = if wanted.user.is_empty() {
            &settings.user
        } else {
            &wanted.user
        };
        let view = View {
            root: Root::Image(ImageRoot {
                layers: image.layers(),
                scratch,
                user: user.clone(),
            }),
            writable: Vec::new(),
            hosts: self.hosts.clone(),
            resolver: Some(pod.resolver.clone()),
            read_only: Vec::new(),
            devices: Vec::new(),
            outer_id: self.owner,
            nested_namespaces: false,
        };
        let directory = settings.working_dir.clone();
        let script = Script {
            text: String::new(),
            environment: path.chain(settings.environment()).chain(own).collect(),
            program: Program::Command {
                arguments,
                directory,
            },
        };
        self.encode(network, view, script)
    }

    fn encode(&self, network: Net, view: View, script: Script) -> std::io::Result<Vec<u8>> {
        let privileged = self.launcher.privileged;
        let first = order::encode(&Order::Isolate {
            network,
            privileged,
        })?;
        Ok([
            first,
            order::encode(&Order::Enclose(Box::new(view), script))?,
        ]
        .concat())
    }
}

/// The text of `/etc/hosts` where the machine's would mislead.
const ALONE: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

#[async_trait]
impl Session for SandboxSession {
    async fn run(&self, task: Task, output: &mut Output<'_>, stop: &CancellationToken) -> Outcome {
        let deadline = task.deadline;
        match self.orders(task) {
            Ok(orders) => {
                let launch = Launch {
                    orders,
                    owner: self.owner,
                    group: self.group.clone(),
                    deadline,
                    grace: None,
                };
                self.launcher.run(launch, output, stop).await
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn collect(&self) -> Result<(), String> {
        let Some(image) = &self.image else {
            return Ok(());
        };
        let place = image.place.clone();
        let taken = tokio::task::spawn_blocking(move || place.take_back()).await;
        taken
            .map_err(|it| it.to_string())?
            .map_err(|it| it.to_string())
    }

    async fn destroy(self: Box<Self>) {
        let Self {
            services,
            pod,
            scratch,
            ..
        } = *self;
        services::end(services).await;
        if let Some(pod) = pod {
            pod.end().await;
        }
        if let Some(dir) = scratch
            && let Err(error) = clear(&dir).await
        {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove what a job changed in its images");
        }
    }
}
