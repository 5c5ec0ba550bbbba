//! Runs jobs in containers of Docker or Podman, through the Docker Engine API.
//!
//! The job's directories are the machine's, mounted into the container. The runner's own scripts (getting the source,
//! listing files) run in its sandbox on the same directories, so that no image needs git, and nothing of the runner is in
//! an image. Each script of the job starts the job's one container anew, so that what a script installs is there for the
//! next.

pub(super) mod engine;
mod files;
mod ready;
mod services;
mod session;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use rave_core::secret::Secret;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::cgroup::Limits;
use super::sandbox::Sandbox;
use super::wanted::Wanted;
use super::{Executor, ExecutorError, Layout, Session, Setup, SetupError};
use crate::client::chain;
use crate::config::{ContainerPolicy, ImagePolicy, PullPolicy, RunnerConfig};
use crate::image::{Credential, JobCredentials, Reference};
use crate::trace::Tone;
use engine::{Engine, EngineError, ImageConfig};
use session::ContainerSession;

/// The label of everything that this runner makes in the engine, by which what a crash left is found.
const LABEL: &str = "dev.rave.runner";

/// The executor.
pub(super) struct Containers {
    engine: Engine,
    policy: ContainerPolicy,
    images: ImagePolicy,
    /// Runs the runner's own scripts.
    own: Arc<Sandbox>,
    /// Tells this runner's containers from those of others.
    owner: String,
    grace: Duration,
    /// How long services may take before the job goes on without their answer. Zero: they are not waited for.
    patience: Duration,
    numbers: std::sync::atomic::AtomicU64,
}

impl Containers {
    /// `own` runs the runner's own scripts.
    ///
    /// # Errors
    /// When the engine's address is none.
    pub(super) fn new(
        config: &RunnerConfig,
        policy: ContainerPolicy,
        own: Arc<Sandbox>,
        patience: Duration,
    ) -> Result<Self, ExecutorError> {
        let engine = Engine::new(&policy.host).map_err(unusable)?;
        Ok(Self {
            engine,
            policy,
            images: config.images.clone(),
            own,
            owner: owner(config),
            grace: config.kill_grace,
            patience,
            numbers: std::sync::atomic::AtomicU64::new(0),
        })
    }

    fn labels(&self) -> Value {
        json!({ LABEL: self.owner })
    }

    /// Removes what an earlier process of this runner left.
    async fn sweep(&self) -> Result<(), EngineError> {
        let label = format!("{LABEL}={}", self.owner);
        let (containers, networks) = self.engine.labelled(&label).await?;
        for id in containers {
            self.engine.remove(&id).await?;
        }
        for name in networks {
            self.engine.remove_network(&name).await?;
        }
        Ok(())
    }

    /// Sees to it that the engine has an image, by the pull policies in their order.
    async fn ensure(
        &self,
        wanted: &Wanted,
        credentials: &JobCredentials,
        setup: &Setup<'_>,
    ) -> Result<ImageConfig, SetupError> {
        let image = Reference::parse(&wanted.name)
            .map_err(|error| SetupError::Configuration(error.to_string()))?;
        let name = image.to_string();
        let mut failure = None;
        for policy in &wanted.pull_policies {
            let here = self.engine.image(&name).await.map_err(system)?;
            let pull = match (policy, &here) {
                (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, None) => true,
                (PullPolicy::IfNotPresent | PullPolicy::Never, _) => false,
            };
            if pull {
                setup
                    .trace
                    .line(Tone::Plain, &format!("Pulling the image {name} ..."));
                setup.trace.flush();
                let auth = credentials.find(&image).map(|it| registry_auth(it.0));
                let pulled =
                    self.engine
                        .pull(&name, &wanted.platform, auth.as_ref().map(Secret::expose));
                match pulled.await {
                    Ok(()) => {}
                    Err(error @ EngineError::Unreachable { .. }) => return Err(system(error)),
                    Err(error) => {
                        failure = Some(SetupError::Image(error.to_string()));
                        continue;
                    }
                }
            }
            let found = match pull {
                true => self.engine.image(&name).await.map_err(system)?,
                false => here,
            };
            match found {
                Some(config) => {
                    let text = format!("Using the image {name} (pull policy {})", policy.name());
                    setup.trace.line(Tone::Plain, &text);
                    return Ok(config);
                }
                None => {
                    let text = format!(
                        "the image {name} is not here, and the pull policy {:?} forbids to fetch it",
                        policy.name()
                    );
                    failure = Some(SetupError::Image(text));
                }
            }
        }
        Err(failure.unwrap_or_else(|| {
            SetupError::Configuration("the runner has no pull policy".to_owned())
        }))
    }

    async fn make(&self, setup: &Setup<'_>) -> Result<ContainerSession, SetupError> {
        let Some(image) = Wanted::image(setup, &self.images)? else {
            let text = "the job names no image, and the runner has no default_image";
            return Err(SetupError::Configuration(text.to_owned()));
        };
        let services = Wanted::services(setup, &self.images)?;
        let credentials = JobCredentials::new(setup, &self.images)
            .map_err(|error| SetupError::Configuration(chain(&error)))?;
        let own = self.own.bare(setup);
        let number = self
            .numbers
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("rave-{}-job-{}-{number}", self.owner, setup.job.id);
        let mut session = ContainerSession::new(self.engine.clone(), own, setup, self.grace);
        let made = async {
            let config = self.ensure(&image, &credentials, setup).await?;
            let hosts = self
                .start_services(&mut session, &name, &services, &credentials, setup)
                .await?;
            let spec = self.spec(&image, setup, &session, &hosts);
            let id = self.engine.create(&name, &spec).await.map_err(system)?;
            session.built(id, &image, &config);
            Ok(())
        };
        match made.await {
            Ok(()) => Ok(session),
            Err(error) => {
                Box::new(session).destroy().await;
                Err(error)
            }
        }
    }

    /// Describes the job's container.
    fn spec(
        &self,
        image: &Wanted,
        setup: &Setup<'_>,
        session: &ContainerSession,
        hosts: &[String],
    ) -> Value {
        let mounts = setup.place.mounts();
        let mounts = mounts
            .iter()
            .map(|(outside, inside)| format!("{}:{inside}", outside.display()));
        let binds: Vec<String> = mounts.chain(self.policy.volumes.iter().cloned()).collect();
        let mut spec = self.common(image, setup.limits);
        spec["Cmd"] = json!(["sh", "-c", FIND_SHELL]);
        spec["WorkingDir"] = json!(setup.place.job_project);
        spec["Hostname"] = json!("job");
        for key in [
            "OpenStdin",
            "StdinOnce",
            "AttachStdin",
            "AttachStdout",
            "AttachStderr",
        ] {
            spec[key] = json!(true);
        }
        let host = &mut spec["HostConfig"];
        host["Binds"] = json!(binds);
        host["ExtraHosts"] = json!(hosts);
        host["Privileged"] = json!(self.policy.privileged);
        host["Devices"] = self
            .policy
            .devices
            .iter()
            .map(|it| json!({"PathOnHost": it, "PathInContainer": it, "CgroupPermissions": "rwm"}))
            .collect();
        if let Some(network) = session.network().or(self.policy.network.as_deref()) {
            host["NetworkMode"] = json!(network);
        }
        spec
    }

    /// Describes what is the same for the job's container and those of services.
    fn common(&self, image: &Wanted, limits: Limits) -> Value {
        let environment: Vec<String> = image
            .environment
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut spec = json!({
            "Image": Reference::parse(&image.name).map_or_else(|_| image.name.clone(), |it| it.to_string()),
            "Env": environment,
            "Labels": self.labels(),
            "HostConfig": {"AutoRemove": false, "Init": false},
        });
        if let Some(entrypoint) = &image.entrypoint {
            spec["Entrypoint"] = json!(entrypoint);
        }
        if !image.user.is_empty() {
            spec["User"] = json!(image.user);
        }
        let host = &mut spec["HostConfig"];
        if let Some(bytes) = limits.memory_bytes {
            (host["Memory"], host["MemorySwap"]) = (json!(bytes), json!(bytes));
        }
        if let Some(cpus) = limits.cpus.filter(|it| it.is_finite() && *it > 0.0) {
            #[expect(clippy::cast_possible_truncation, reason = "bounded by the clamp")]
            let nano = (cpus.clamp(0.01, 10_000.0) * 1e9) as i64;
            host["NanoCpus"] = json!(nano);
        }
        if let Some(pids) = limits.pids {
            host["PidsLimit"] = json!(pids);
        }
        spec
    }
}

#[async_trait]
impl Executor for Containers {
    fn layout(&self) -> Layout {
        Layout {
            direct: false,
            ..self.own.layout()
        }
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        self.own.check().await?;
        let version = self.engine.version().await.map_err(unusable)?;
        tracing::info!(
            engine = version,
            host = self.policy.host,
            "jobs run in containers"
        );
        self.sweep().await.map_err(unusable)
    }

    async fn prepare(&self, setup: Setup<'_>) -> Result<Box<dyn Session>, SetupError> {
        let stopped = stopped(&setup);
        tokio::select! {
            made = self.make(&setup) => made.map(|it| Box::new(it) as Box<dyn Session>),
            () = stopped => Err(SetupError::Stopped),
        }
    }
}

/// Tells runners of one machine from each other, and is the same over restarts.
fn owner(config: &RunnerConfig) -> String {
    let dir = config.builds_dir.as_os_str().as_encoded_bytes();
    let digest = hex::encode(Sha256::digest(dir));
    format!("{}-{}", config.system_id, &digest[..8])
}

/// Waits until there is no use in going on.
async fn stopped(setup: &Setup<'_>) {
    let stop: &CancellationToken = setup.stop;
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep_until(setup.deadline) => {}
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn system(error: EngineError) -> SetupError {
    SetupError::System(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unusable(error: EngineError) -> ExecutorError {
    ExecutorError::Containers {
        reason: error.to_string(),
    }
}

/// Writes credentials as the engine takes them.
fn registry_auth(credential: &Credential) -> Secret {
    let json = match credential {
        Credential::Password { username, password } => {
            json!({"username": username, "password": password.expose()})
        }
        Credential::Identity(token) => json!({"identitytoken": token.expose()}),
        Credential::Registry(token) => json!({"registrytoken": token.expose()}),
    };
    Secret::new(base64::engine::general_purpose::URL_SAFE.encode(json.to_string()))
}

/// Starts the best shell that the image has; the script comes by standard input.
const FIND_SHELL: &str = "for shell in /usr/local/bin/bash /usr/bin/bash /bin/bash /usr/local/bin/sh /usr/bin/sh /bin/sh /busybox/sh; do \
     if [ -x \"$shell\" ]; then exec \"$shell\"; fi; done; echo 'the image has no shell' >&2; exit 127";
