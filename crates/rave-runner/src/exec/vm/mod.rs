//! Runs jobs in virtual machines of their own: a kernel that the job may break, with the machine's system or the job's image
//! below it.
//!
//! The scripts of the runner itself (getting the source, listing files) run in the sandbox. The machine starts with the job's
//! first own script and serves all of them. Its emulator runs in a sandbox, too, and files are shared with it by virtiofsd:
//! what the job writes to its directories is outside at once; what it writes elsewhere is lost at the end.

mod command;
mod initial;
mod machine;
mod modules;
mod newc;

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::command::{INSIDE, Parts, Size};
use self::machine::{Machine, Start};
use super::cgroup::{JobGroup, Limits};
use super::launcher::{Launch, Launcher};
use super::sandbox::{JobImage, Sandbox, clear};
use super::{
    Executor, ExecutorError, Layout, Outcome, Output, PATH, Session, Setup, SetupError, Task, Whose,
};
use crate::config::{Accelerator, Network, RunnerConfig, VmPolicy};
use crate::inner::order::{self, Guest, Net, Order, Program, Root, Script, View};
use crate::job::place::Place;
use crate::trace::Tone;

/// The machine's memory, if neither the job nor the configuration says.
const MEMORY: u64 = 2 << 30;
/// What the programs around a machine may need of the job's memory.
const AROUND: u64 = 512 << 20;
/// How long the trial machine may take with the processor's help, and without.
const FAST: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(120);
/// The place of a machine in its slot.
pub(crate) const DIRECTORY: &str = ".vm";

/// The executor.
pub(super) struct Vm {
    launcher: Arc<Launcher>,
    sandbox: Sandbox,
    policy: VmPolicy,
    owner: Option<u32>,
    kill_grace: Duration,
    program: PathBuf,
    /// What all machines share.
    common: PathBuf,
    builds: PathBuf,
    ready: OnceCell<Ready>,
    tasks: TaskTracker,
}

/// What the trial found.
#[derive(Clone, Debug)]
struct Ready {
    parts: Parts,
    accelerator: Accelerator,
}

impl Vm {
    pub(super) fn new(launcher: Arc<Launcher>, policy: VmPolicy, config: &RunnerConfig) -> Self {
        let sandbox = Sandbox::new(launcher.clone(), policy.sandbox.clone(), config);
        Self {
            owner: sandbox.layout().owner,
            launcher,
            sandbox,
            kill_grace: config.kill_grace,
            program: config.binary.clone(),
            common: config.builds_dir.join(DIRECTORY),
            builds: config.builds_dir.clone(),
            policy,
            ready: OnceCell::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Finds the programs, makes the initial root, and boots it for a trial.
    async fn make_ready(&self) -> Result<Ready, String> {
        if self.policy.sandbox.network == Network::Own {
            return Err("they have no network = \"own\": choose \"host\" or \"none\"".to_owned());
        }
        let (kernel, modules) = self.policy.kernel()?;
        // Copies: a distribution's kernel may be readable by root only.
        let (to, initial) = (self.common.join("kernel"), self.common.join("initial"));
        let (common, program) = (self.common.clone(), self.program.clone());
        let (copy, written) = (to.clone(), initial.clone());
        let write = move || {
            let failed = |error| format!("cannot prepare {}: {error}", common.display());
            std::fs::create_dir_all(&common).map_err(failed)?;
            let bytes = std::fs::read(&kernel)
                .map_err(|error| format!("cannot read the kernel {}: {error}", kernel.display()))?;
            initial::put(&copy, &bytes).map_err(failed)?;
            initial::write(&written, &program, &modules::list(&modules)?)
        };
        let made = tokio::task::spawn_blocking(write).await;
        made.map_err(|error| error.to_string())??;
        let parts = Parts::find(to, initial)?;
        let chosen = match self.policy.accelerator {
            Some(chosen) => vec![(chosen, SLOW)],
            None => vec![(Accelerator::Kvm, FAST), (Accelerator::Tcg, SLOW)],
        };
        let mut reason = String::new();
        for (accelerator, patience) in chosen {
            let ready = Ready {
                parts: parts.clone(),
                accelerator,
            };
            match self.trial(&ready, patience).await {
                Ok(()) => {
                    tracing::info!(
                        accelerator = accelerator.name(),
                        "virtual machines work here"
                    );
                    return Ok(ready);
                }
                Err(why) => {
                    tracing::info!(
                        accelerator = accelerator.name(),
                        reason = why,
                        "a trial machine did not start"
                    );
                    reason = why;
                }
            }
        }
        Err(reason)
    }

    /// Boots a machine and runs a script that does nothing.
    async fn trial(&self, ready: &Ready, patience: Duration) -> Result<(), String> {
        if ready.accelerator == Accelerator::Kvm && !Path::new(KVM).exists() {
            return Err(format!("there is no {KVM}"));
        }
        let deadline = Instant::now() + patience;
        let session = self.session(
            ready,
            Vec::new(),
            (Limits::default(), None),
            None,
            self.common.join("trial"),
            deadline,
        );
        let task = Task {
            script: "exit 0\n".to_owned(),
            environment: Vec::new(),
            whose: Whose::Job,
            deadline,
        };
        let never = CancellationToken::new();
        let ended = session.in_machine(task, &mut |_| {}, &never).await;
        session.end().await;
        match ended {
            Outcome::Exited(0) => Ok(()),
            Outcome::Failed(reason) => Err(reason),
            Outcome::TimedOut => Err(format!("it took longer than {} s", patience.as_secs())),
            other => Err(format!("it ended as {other:?}")),
        }
    }

    fn session(
        &self,
        ready: &Ready,
        writable: Vec<(PathBuf, PathBuf)>,
        (limits, group): (Limits, Option<Arc<JobGroup>>),
        image: Option<JobImage>,
        dir: PathBuf,
        deadline: Instant,
    ) -> VmSession {
        let room = limits
            .memory_bytes
            .map(|it| it.saturating_sub(AROUND).max(it / 2));
        let wanted = self.policy.memory_bytes.or(room).unwrap_or(MEMORY);
        let memory_bytes = room.map_or(wanted, |it| it.min(wanted));
        let asked = limits.cpus.map_or(2, |it| (it.ceil() as u32).max(1));
        let size = Size {
            accelerator: ready.accelerator,
            memory_bytes,
            cpus: self.policy.cpus.unwrap_or(asked),
            disk_bytes: self.policy.disk_bytes,
            network: self.policy.sandbox.network == Network::Host,
        };
        VmSession {
            inner: self.sandbox.session(writable.clone(), group.clone()),
            group,
            launcher: self.launcher.clone(),
            tasks: self.tasks.clone(),
            ready: ready.clone(),
            policy: self.policy.clone(),
            owner: self.owner,
            kill_grace: self.kill_grace,
            // The machine has a /tmp of its own.
            writable: writable
                .into_iter()
                .filter(|it| it.1 != Path::new("/tmp"))
                .collect(),
            size,
            image,
            dir,
            deadline,
            machine: Mutex::new(None),
        }
    }
}

const KVM: &str = "/dev/kvm";

#[async_trait]
impl Executor for Vm {
    fn layout(&self) -> Layout {
        self.sandbox.layout()
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        self.sandbox.check().await?;
        // What a runner that was killed left.
        for entry in std::fs::read_dir(&self.builds)
            .into_iter()
            .flatten()
            .flatten()
        {
            let dir = entry.path().join(DIRECTORY);
            if let Err(error) = clear(&dir).await {
                tracing::warn!(dir = %dir.display(), %error, "cannot remove what an earlier machine left");
            }
        }
        let ready = self.ready.get_or_try_init(|| self.make_ready()).await;
        ready
            .map(drop)
            .map_err(|reason| ExecutorError::Machine { reason })
    }

    async fn prepare(&self, setup: Setup<'_>) -> Result<Box<dyn Session>, SetupError> {
        let unchecked = || SetupError::System("virtual machines were not tried".to_owned());
        let ready = self.ready.get().ok_or_else(unchecked)?;
        let image = self.sandbox.image(&setup).await?;
        let dir = setup.place.machine_dir(DIRECTORY);
        let session = self.session(
            ready,
            setup.place.writable(),
            (setup.limits, setup.group.clone()),
            image,
            dir,
            setup.deadline,
        );
        let size = &session.size;
        let text = format!(
            "The job gets a virtual machine with {} MiB of memory and {} CPUs ({})",
            size.memory_bytes >> 20,
            size.cpus,
            size.accelerator.name()
        );
        setup.trace.line(Tone::Plain, &text);
        for service in setup.job.services.iter().filter(|it| !it.name.is_empty()) {
            let text = format!(
                "WARNING: the service {} is not started: virtual machines have none",
                service.name
            );
            setup.trace.line(Tone::Warning, &text);
        }
        Ok(Box::new(VmJob {
            session,
            place: setup.place.clone(),
        }))
    }
}

/// A job's part of it.
struct VmJob {
    session: VmSession,
    place: Place,
}

/// A machine that runs or will run.
struct VmSession {
    inner: super::sandbox::SandboxSession,
    launcher: Arc<Launcher>,
    tasks: TaskTracker,
    ready: Ready,
    policy: VmPolicy,
    owner: Option<u32>,
    kill_grace: Duration,
    group: Option<Arc<JobGroup>>,
    writable: Vec<(PathBuf, PathBuf)>,
    size: Size,
    image: Option<JobImage>,
    dir: PathBuf,
    deadline: Instant,
    machine: Mutex<Option<Machine>>,
}

impl VmSession {
    async fn in_machine(
        &self,
        task: Task,
        output: &mut Output<'_>,
        stop: &CancellationToken,
    ) -> Outcome {
        let mut slot = self.machine.lock().await;
        // Taken out: when this future is dropped, the machine ends.
        let mut machine = match slot.take() {
            Some(machine) => machine,
            None => match self.start(task.deadline, stop).await {
                Ok(machine) => machine,
                Err(outcome) => return outcome,
            },
        };
        let (script, user) = self.script(&task);
        let (script, deadline) = ((&script, user.as_str()), task.deadline);
        let outcome = machine
            .run(script, output, deadline, stop, self.kill_grace)
            .await;
        *slot = Some(machine);
        outcome
    }

    fn script(&self, task: &Task) -> (Script, String) {
        let (program, environment, user) = match &self.image {
            None => {
                let environment = super::base_environment(PATH, "root", "/root");
                (Program::Shell { login: false }, environment, String::new())
            }
            Some(image) => {
                let program = Program::ImageShell {
                    entrypoint: image.entrypoint.clone(),
                    directory: image.image.settings.working_dir.clone(),
                };
                (program, image.environment.clone(), image.user.clone())
            }
        };
        let script = Script {
            text: task.script.clone(),
            environment: [environment, task.environment.clone()].concat(),
            program,
        };
        (script, user)
    }

    async fn start(&self, deadline: Instant, stop: &CancellationToken) -> Result<Machine, Outcome> {
        let failed = |error: &dyn std::fmt::Display| {
            Outcome::Failed(format!("cannot prepare {}: {error}", self.dir.display()))
        };
        clear(&self.dir).await.map_err(|it| failed(&it))?;
        self.make_dirs().map_err(|it| failed(&it))?;
        let orders = self.orders().map_err(|it| failed(&it))?;
        let launch = Launch {
            orders,
            owner: self.owner,
            group: self.group.clone(),
            deadline: self.deadline + self.kill_grace,
            grace: None,
        };
        let guest = self.guest();
        let start = Start {
            launcher: self.launcher.clone(),
            tasks: &self.tasks,
            launch,
            dir: &self.dir,
            guest: &guest,
        };
        Machine::start(start, deadline, stop).await
    }

    fn make_dirs(&self) -> std::io::Result<()> {
        for dir in [self.dir.clone(), self.dir.join("run")] {
            std::fs::create_dir_all(&dir)?;
            chown(&dir, self.owner, self.owner)?;
        }
        if let Some(bytes) = self.size.disk_bytes {
            let disk = self.dir.join("disk");
            std::fs::File::create(&disk)?.set_len(bytes)?;
            chown(&disk, self.owner, self.owner)?;
        }
        Ok(())
    }

    fn orders(&self) -> std::io::Result<Vec<u8>> {
        let network = match self.size.network {
            true => Net::Machine,
            false => Net::None,
        };
        let own = [
            (self.dir.clone(), PathBuf::from(INSIDE)),
            // Where the program that shares files insists on a lock.
            (self.dir.join("run"), PathBuf::from("/var/run/virtiofsd")),
        ];
        let mut read_only = self.policy.sandbox.read_only_paths.clone();
        read_only.push(self.ready.parts.kernel.clone());
        read_only.push(self.ready.parts.initial.clone());
        if let Some(image) = &self.image {
            read_only.extend(image.image.layers());
        }
        let mut devices = self.policy.sandbox.devices.clone();
        if self.size.accelerator == Accelerator::Kvm {
            devices.push(KVM.into());
        }
        let view = View {
            root: Root::System,
            writable: own.into_iter().chain(self.writable.clone()).collect(),
            hosts: None,
            resolver: None,
            read_only,
            devices,
            outer_id: self.owner,
            nested_namespaces: false,
        };
        let machine = self.ready.parts.machine(&self.size);
        let first = order::encode(&Order::Isolate {
            network,
            privileged: self.launcher.privileged,
        })?;
        Ok([
            first,
            order::encode(&Order::Emulate(Box::new(view), machine))?,
        ]
        .concat())
    }

    fn guest(&self) -> Guest {
        let host_name = "machine".to_owned();
        let mut shown: Vec<PathBuf> = self.writable.iter().map(|it| it.1.clone()).collect();
        let exist = self.policy.sandbox.read_only_paths.iter();
        shown.extend(exist.filter(|it| it.is_dir()).cloned());
        let layers = self.image.as_ref().map(|it| it.image.layers());
        Guest {
            layers: layers.unwrap_or_default(),
            shown,
            disk: self.size.disk_bytes.is_some(),
            network: self.size.network,
            hosts: format!(
                "127.0.0.1 localhost {host_name}\n::1 localhost ip6-localhost ip6-loopback\n"
            ),
            host_name,
        }
    }

    /// Ends the machine, if it runs, and removes what it left.
    async fn end(&self) {
        if let Some(machine) = self.machine.lock().await.take() {
            machine.end().await;
        }
        if let Err(error) = clear(&self.dir).await {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove what a machine left");
        }
    }
}

#[async_trait]
impl Session for VmJob {
    async fn run(&self, task: Task, output: &mut Output<'_>, stop: &CancellationToken) -> Outcome {
        match task.whose {
            Whose::Job => self.session.in_machine(task, output, stop).await,
            Whose::Runner | Whose::Inspection => self.session.inner.run(task, output, stop).await,
        }
    }

    async fn collect(&self) -> Result<(), String> {
        let place = self.place.clone();
        let taken = tokio::task::spawn_blocking(move || place.take_back()).await;
        taken
            .map_err(|it| it.to_string())?
            .map_err(|it| it.to_string())
    }

    async fn destroy(self: Box<Self>) {
        self.session.end().await;
    }
}
