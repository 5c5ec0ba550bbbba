//! Runs scripts in namespaces of their own, seeing the system read-only, or an image, and the job's directories.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cgroup::JobGroup;
use super::launcher::{Launch, Launcher};
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

    fn session(
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
        }
    }

    /// Makes the job's image available, if it has one.
    async fn image(&self, setup: &Setup<'_>) -> Result<Option<JobImage>, SetupError> {
        let Some(wanted) = Wanted::image(setup, &self.image_policy)? else {
            return Ok(None);
        };
        let image = self.pull(setup, &wanted).await?;
        let scratch = setup.place.image_scratch();
        // What a runner that was killed left.
        clear(&scratch).await.map_err(|error| {
            SetupError::System(format!("cannot remove {}: {error}", scratch.display()))
        })?;
        Ok(Some(JobImage::new(setup, &wanted, image, scratch)))
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
async fn clear(dir: &Path) -> std::io::Result<()> {
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
        match self.policy.images {
            true => session.image = self.image(&setup).await?,
            false => setup.warn_of_unused_images("sandbox"),
        }
        Ok(Box::new(session))
    }
}

/// A job's part of it.
struct SandboxSession {
    launcher: Arc<Launcher>,
    policy: Arc<SandboxPolicy>,
    owner: Option<u32>,
    /// The directories to write: outside and inside.
    writable: Vec<(PathBuf, PathBuf)>,
    group: Option<Arc<JobGroup>>,
    image: Option<JobImage>,
}

/// The image of a job, and how it is run.
struct JobImage {
    image: Image,
    place: Place,
    scratch: PathBuf,
    user: String,
    entrypoint: Vec<String>,
    environment: Vec<(String, String)>,
}

impl JobImage {
    fn new(setup: &Setup<'_>, wanted: &Wanted, image: Image, scratch: PathBuf) -> Self {
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
            scratch,
            image,
        }
    }

    fn root(&self, hosts: String) -> ImageRoot {
        ImageRoot {
            layers: self.image.layers(),
            scratch: self.scratch.clone(),
            user: self.user.clone(),
            hosts,
            host_name: "localhost\n".to_owned(),
            resolver: None,
        }
    }
}

/// The longest value that is put into the environment of an entrypoint: the kernel takes no more than 128 KiB.
const LONGEST_VARIABLE: usize = 100_000;

impl SandboxSession {
    fn orders(&self, task: Task) -> std::io::Result<Vec<u8>> {
        let image = self.image.as_ref().filter(|_| task.whose == Whose::Job);
        let network = match self.policy.network == Network::Host || task.whose == Whose::Runner {
            true => Net::Machine,
            false => Net::None,
        };
        let (root, program, environment) = match image {
            None => {
                let environment = super::base_environment(PATH, "rave", crate::inner::HOME);
                (Root::System, Program::Shell { login: false }, environment)
            }
            Some(image) => {
                let (entrypoint, directory) = (
                    image.entrypoint.clone(),
                    image.image.settings.working_dir.clone(),
                );
                let root = Root::Image(image.root(hosts(&network)));
                (
                    root,
                    Program::ImageShell {
                        entrypoint,
                        directory,
                    },
                    image.environment.clone(),
                )
            }
        };
        let script = Script {
            text: task.script,
            environment: [environment, task.environment].concat(),
            program,
        };
        let mut writable = self.writable.clone();
        // An image has its own.
        writable.retain(|it| image.is_none() || it.1 != Path::new("/tmp"));
        let view = View {
            root,
            writable,
            read_only: self.policy.read_only_paths.clone(),
            outer_id: self.owner,
            nested_namespaces: self.policy.nested_namespaces,
        };
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

/// Returns the text of `/etc/hosts`.
fn hosts(network: &Net) -> String {
    let alone = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
    match network {
        Net::Machine => std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| alone.to_owned()),
        Net::None => alone.to_owned(),
    }
}

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
        if let Some(image) = &self.image
            && let Err(error) = clear(&image.scratch).await
        {
            tracing::warn!(dir = %image.scratch.display(), %error, "cannot remove what a job changed in its image");
        }
    }
}
