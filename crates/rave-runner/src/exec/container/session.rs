//! One job's containers, and its scripts in them.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, EngineError, ImageConfig};
use super::files;
use super::stream::Frames;
use crate::exec::wanted::Wanted;
use crate::exec::{Outcome, Output, Session, Setup, Task, Whose};

/// How long a container may take to end after a KILL.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// A job's containers.
pub(super) struct ContainerSession {
    engine: Engine,
    /// Runs the runner's own scripts.
    own: Box<dyn Session>,
    grace: Duration,
    /// The job's directories outside.
    dirs: Vec<PathBuf>,
    /// The user that they belong to between the job's scripts.
    owner: Option<u32>,
    build: Option<Build>,
    services: Vec<String>,
    network: Option<String>,
}

/// The job's own container.
struct Build {
    id: String,
    /// Whether its processes are of another user than root.
    ordinary: bool,
}

impl ContainerSession {
    pub(super) fn new(
        engine: Engine,
        own: Box<dyn Session>,
        setup: &Setup<'_>,
        grace: Duration,
    ) -> Self {
        let mounts = setup.place.mounts();
        Self {
            engine,
            own,
            grace,
            dirs: mounts.into_iter().map(|it| it.0).collect(),
            owner: setup.place.owner(),
            build: None,
            services: Vec::new(),
            network: None,
        }
    }

    pub(super) fn built(&mut self, id: String, wanted: &Wanted, image: &ImageConfig) {
        let user = match wanted.user.as_str() {
            "" => image.user.as_str(),
            user => user,
        };
        let name = user.split(':').next().unwrap_or_default();
        let ordinary = !matches!(name, "" | "0" | "root");
        self.build = Some(Build { id, ordinary });
    }

    pub(super) fn add_service(&mut self, id: String) {
        self.services.push(id);
    }

    pub(super) fn add_network(&mut self, name: String) {
        self.network = Some(name);
    }

    pub(super) fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    /// Runs one script in the job's container.
    async fn run_in(
        &self,
        build: &Build,
        task: Task,
        output: &mut Output<'_>,
        stop: &CancellationToken,
    ) -> Result<Outcome, EngineError> {
        let attached = self.engine.attach(&build.id).await?;
        self.engine.start(&build.id).await?;
        let (mut feed, mut frames) = attached.split();
        let environment = task
            .environment
            .iter()
            .map(|(key, value)| format!("export {key}={}\n", crate::script::quote(value)));
        let script: String = environment.chain([task.script]).collect();
        // A shell that ends early does not read all of it, which its exit status tells better.
        let feeding = async {
            let _ = feed.write(script.as_bytes()).await;
            std::future::pending::<()>().await;
        };
        let mut stopped = None;
        let following = self.follow(
            build,
            &mut frames,
            task.deadline,
            output,
            stop,
            &mut stopped,
        );
        tokio::select! {
            () = feeding => {}
            () = following => {}
        }
        let code = match timeout(AFTER_KILL, self.engine.wait(&build.id)).await {
            Ok(code) => code?,
            Err(_) => {
                self.engine.kill(&build.id, "KILL").await?;
                self.engine.wait(&build.id).await?
            }
        };
        if let Some(outcome) = stopped {
            return Ok(outcome);
        }
        let status = self.engine.status(&build.id).await?;
        Ok(match code {
            code if code != 0 && status.out_of_memory => Outcome::OutOfMemory,
            code => Outcome::Exited(code),
        })
    }

    /// Passes on output until there is no more, and stops the script when told to.
    async fn follow<R: tokio::io::AsyncRead + Unpin>(
        &self,
        build: &Build,
        frames: &mut Frames<R>,
        deadline: Instant,
        output: &mut Output<'_>,
        stop: &CancellationToken,
        stopped: &mut Option<Outcome>,
    ) {
        let mut buffer = vec![0; 64 << 10];
        let mut kill_at = None;
        loop {
            let far = deadline + Duration::from_secs(86_400);
            tokio::select! {
                read = frames.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(len) => output(&buffer[..len]),
                },
                () = stop.cancelled(), if stopped.is_none() => {
                    *stopped = Some(Outcome::Canceled);
                    kill_at = Some(self.terminate(build).await);
                }
                () = sleep_until(deadline), if stopped.is_none() => {
                    *stopped = Some(Outcome::TimedOut);
                    kill_at = Some(self.terminate(build).await);
                }
                () = sleep_until(kill_at.unwrap_or(far)), if kill_at.is_some() => {
                    // What the engine says of it shows when its end is waited for.
                    let _ = self.engine.kill(&build.id, "KILL").await;
                    kill_at = Some(Instant::now() + AFTER_KILL);
                }
            }
        }
    }

    /// Asks all processes of the job to end, and returns when they are to be killed.
    async fn terminate(&self, build: &Build) -> Instant {
        // The shell itself only hears it when its command has ended, so that all are told.
        if self.engine.terminate_all(&build.id).await.is_err() {
            let _ = self.engine.kill(&build.id, "TERM").await;
        }
        Instant::now() + self.grace
    }

    /// Gives the job's files to those who need them next.
    async fn hand_over(&self, to: files::Holder) -> Result<(), String> {
        let dirs = self.dirs.clone();
        let handed = tokio::task::spawn_blocking(move || {
            dirs.iter().try_for_each(|it| files::hand_over(it, to))
        });
        match handed.await {
            Ok(done) => done.map_err(|error| format!("cannot give away the job's files: {error}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[async_trait]
impl Session for ContainerSession {
    async fn run(&self, task: Task, output: &mut Output<'_>, stop: &CancellationToken) -> Outcome {
        let Some(build) = self.build.as_ref().filter(|_| task.whose == Whose::Job) else {
            return self.own.run(task, output, stop).await;
        };
        if build.ordinary
            && let Err(reason) = self.hand_over(files::Holder::Anybody).await
        {
            return Outcome::Failed(reason);
        }
        match self.run_in(build, task, output, stop).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // Nothing of the job goes on behind the runner's back.
                let _ = self.engine.kill(&build.id, "KILL").await;
                Outcome::Failed(error.to_string())
            }
        }
    }

    async fn collect(&self) -> Result<(), String> {
        match self.owner {
            Some(owner) => self.hand_over(files::Holder::User(owner)).await,
            None => Ok(()),
        }
    }

    async fn destroy(self: Box<Self>) {
        let build = self.build.iter().map(|it| &it.id);
        for id in build.chain(&self.services) {
            if let Err(error) = self.engine.remove(id).await {
                tracing::warn!(%error, "a container of a job is left until the runner starts again");
            }
        }
        if let Some(network) = &self.network
            && let Err(error) = self.engine.remove_network(network).await
        {
            tracing::warn!(%error, "a network of a job is left until the runner starts again");
        }
        self.own.destroy().await;
    }
}
