//! The stages of a job, in their order, and what of them runs after a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::place::Place;
use super::run_steps;
use crate::exec::cgroup::Overrun;
use crate::exec::{Outcome, Session, Setup, SetupError, Task, Whose};
use crate::host::Grant;
use crate::overlay::CERTIFICATES;
use crate::report::Stops;
use crate::runner::Shared;
use crate::script::{Body, script, with_echo};
use crate::secrets;
use crate::source::Remote;
use crate::trace::{Tone, Trace};
use crate::variables::{Variables, parse_duration};
use crate::wire;

/// Why a job failed. Everything that the result or the stages after it tell apart is a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Exit(i32),
    Signal(i32),
    OutOfMemory,
    /// The runner ended it, because all jobs together needed too much.
    Evicted,
    /// It asks for more than it can ever get.
    TooLarge(String),
    /// The script's own time was up; that of the job was not.
    ScriptTimeout,
    /// The job's time was up.
    Timeout,
    Canceled,
    Interrupted,
    Configuration(String),
    /// It wrote more to the disk than it may.
    Disk,
    /// An image cannot be had.
    Image(String),
    System(String),
}

impl Failure {
    /// Says whether nothing more is to be done for the job.
    const fn ends_everything(&self) -> bool {
        matches!(self, Self::Timeout | Self::Interrupted | Self::Evicted)
    }

    /// Returns what `CI_JOB_STATUS` says of it.
    const fn status(&self) -> &'static str {
        match self {
            Self::Canceled => "canceled",
            Self::ScriptTimeout | Self::Timeout => "timedout",
            _ => "failed",
        }
    }
}

/// Everything the stages of one job need.
pub(crate) struct Stages<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    /// What the job runs in, once it is prepared.
    pub(crate) session: Option<Box<dyn Session>>,
    /// Why the job cannot have the directory that it asks for.
    pub(crate) misplaced: Option<String>,
    pub(crate) job: &'a wire::Job,
    pub(crate) place: Place,
    pub(crate) variables: Variables,
    pub(crate) remote: Remote,
    /// The job's part of the machine.
    pub(crate) grant: Grant,
    pub(crate) trace: Trace,
    pub(crate) stops: Stops,
    pub(crate) deadline: Instant,
}

pub(super) type Stage = Result<(), Failure>;

impl Stages<'_> {
    /// Runs all stages and returns why the job failed, if it did.
    pub(crate) async fn run(&mut self) -> Option<Failure> {
        let config = &self.shared.config;
        self.trace.line(
            Tone::Plain,
            &format!("Running with rave-runner {}", config.version),
        );
        let who = format!(
            "  on {} {}, system ID: {}",
            config.name,
            config.short_token(),
            config.system_id
        );
        self.trace.line(Tone::Plain, &who);
        let ready = match self.resolve_secrets().await {
            Ok(()) => self.prepare().await,
            failed => failed,
        };
        let failure = match ready {
            // Without its directories the job has nothing to archive.
            Err(failure) => Some(failure),
            Ok(()) => self.run_prepared().await,
        };
        let session = self.session.take();
        self.section(
            "cleanup_file_variables",
            "Cleaning up project directory and file based variables",
            async {
                if let Some(session) = session {
                    session.destroy().await;
                }
                let place = self.place.clone();
                if let Err(error) = blocking(move || place.remove_temporary()).await {
                    self.trace
                        .line(Tone::Warning, &format!("WARNING: cannot clean up: {error}"));
                }
            },
        )
        .await;
        failure
    }

    async fn run_prepared(&self) -> Option<Failure> {
        let before = match self.get_sources().await {
            Ok(()) => match self.restore_caches().await {
                Ok(()) => self.download_dependencies().await,
                failed => failed,
            },
            failed => failed,
        };
        let mut failure = match before {
            Ok(()) => {
                let failure = self.run_steps().await;
                failure.or(self.bring_back().await.err())
            }
            Err(failure) => Some(failure),
        };
        if failure.as_ref().is_some_and(Failure::ends_everything) || self.stops.all.is_cancelled() {
            return failure.or_else(|| self.stopped());
        }
        self.save_caches(failure.is_none()).await;
        if let Err(error) = self.upload_artifacts(failure.is_none()).await {
            failure = failure.or(Some(error));
        }
        failure.or_else(|| self.stopped())
    }

    /// Brings back what scripts left, for the stages that keep it.
    async fn bring_back(&self) -> Stage {
        let Some(session) = &self.session else {
            return Ok(());
        };
        let collected = session.collect().await;
        collected.map_err(|reason| {
            Failure::System(format!("cannot bring back the job's files: {reason}"))
        })
    }

    /// Returns the failure of a job that everything was stopped for.
    pub(super) fn stopped(&self) -> Option<Failure> {
        let interrupted = self.stops.interrupted.is_cancelled();
        self.stops.all.is_cancelled().then_some(if interrupted {
            Failure::Interrupted
        } else {
            Failure::Canceled
        })
    }

    /// Wraps a stage in its section of the log.
    pub(super) async fn section<T>(
        &self,
        name: &str,
        title: &str,
        work: impl Future<Output = T>,
    ) -> T {
        self.trace.section_start(name, title);
        let done = work.await;
        self.trace.flush();
        self.trace.section_end(name);
        done
    }

    /// Fetches what other servers know and hides it in the log.
    async fn resolve_secrets(&mut self) -> Stage {
        if self.job.secrets.is_empty() {
            return Ok(());
        }
        let wanted = secrets::resolve(&self.job.secrets);
        let found = self.section("resolve_secrets", "Resolving secrets", async {
            let (stop, deadline) = (&self.stops.script, self.deadline);
            tokio::select! {
                found = wanted => found.map_err(|error| Failure::Configuration(crate::client::chain(&error))),
                () = stop.cancelled() => Err(self.stopped().unwrap_or(Failure::Canceled)),
                () = tokio::time::sleep_until(deadline) => Err(Failure::Timeout),
            }
        });
        for secret in found.await? {
            self.variables.set_secret(secret, &self.place.job_temporary);
        }
        let prefixes = &self.job.features.token_mask_prefixes;
        self.trace.mask(self.variables.masked(), prefixes);
        Ok(())
    }

    async fn prepare(&mut self) -> Stage {
        let executor = self.shared.config.executor.name();
        if let Some(reason) = &self.misplaced {
            return Err(Failure::Configuration(reason.clone()));
        }
        let strategy = self.strategy()?;
        self.prepare_place(strategy.starts_empty()).await?;
        let group = self
            .grant
            .begin()
            .map_err(|error| Failure::System(crate::client::chain(&error)))?;
        let title = format!("Preparing the \"{executor}\" executor");
        let session = self.section("prepare_executor", &title, async {
            self.trace
                .line(Tone::Plain, &format!("Using the {executor} executor..."));
            let prepared = self.shared.executor.prepare(Setup {
                job: self.job,
                variables: &self.variables,
                place: &self.place,
                limits: self.grant.limits(),
                group,
                trace: &self.trace,
                deadline: self.deadline,
                stop: &self.stops.script,
            });
            prepared.await.map_err(|error| match error {
                SetupError::Configuration(text) => Failure::Configuration(text),
                SetupError::Image(text) => Failure::Image(text),
                SetupError::System(text) => Failure::System(text),
                SetupError::Stopped => self.stopped().unwrap_or(Failure::Timeout),
            })
        });
        self.session = Some(session.await?);
        self.section("prepare_script", "Preparing environment", async {
            let host = nix::unistd::gethostname().unwrap_or_default();
            let text = format!(
                "Running on {} in {}",
                host.display(),
                self.place.job_project
            );
            self.trace.line(Tone::Plain, &text);
        })
        .await;
        Ok(())
    }

    /// Makes the job's directories, the working copy empty if so told.
    pub(super) async fn prepare_place(&self, empty: bool) -> Stage {
        let (place, variables) = (self.place.clone(), self.variables.clone());
        let prepared = blocking(move || place.prepare(empty, &variables)).await;
        prepared.map_err(|error| {
            Failure::System(format!("cannot prepare the project's directory: {error}"))
        })
    }

    /// Runs the steps in order. The first failure ends the script; `after_script` follows in any case.
    async fn run_steps(&self) -> Option<Failure> {
        let mut failure = None;
        let run = match self.job.run.as_str() {
            "" => Vec::new(),
            run => match run_steps::steps(run) {
                Ok(steps) => steps,
                Err(reason) => return Some(Failure::Configuration(reason)),
            },
        };
        let steps = self.job.steps.iter().chain(&run);
        for step in steps.filter(|it| it.name != "after_script" && !it.script.is_empty()) {
            let due = match step.when.as_str() {
                "always" => true,
                "on_failure" => failure.is_some(),
                _ => failure.is_none(),
            };
            if !due || self.stops.script.is_cancelled() {
                continue;
            }
            if let Err(error) = self.step(step).await
                && !step.allow_failure
            {
                failure = failure.or(Some(error));
            }
        }
        if failure.is_none() && self.stops.script.is_cancelled() {
            failure = self.stopped().or(Some(Failure::Canceled));
        }
        if failure.as_ref().is_some_and(Failure::ends_everything) || self.stops.all.is_cancelled() {
            return failure;
        }
        let after = self.after_script(failure.as_ref()).await;
        let ignored = !matches!(
            self.variables.get("AFTER_SCRIPT_IGNORE_ERRORS"),
            "false" | "0"
        );
        match after {
            Err(error) if error.ends_everything() || !ignored => failure.or(Some(error)),
            _ => failure,
        }
    }

    async fn step(&self, step: &wire::Step) -> Stage {
        let name = format!("step_{}", step.name);
        let title = format!("Executing \"{name}\" stage of the job script");
        let own = parse_duration(self.variables.get("RUNNER_SCRIPT_TIMEOUT"));
        let deadline = own.map_or(self.deadline, |it| self.deadline.min(Instant::now() + it));
        self.section(&name, &title, async {
            let commands = with_echo(&step.script);
            let outcome = self
                .execute(
                    commands,
                    &self.variables,
                    deadline,
                    &self.stops.script,
                    Whose::Job,
                )
                .await;
            self.judge(outcome, deadline)
        })
        .await
    }

    async fn after_script(&self, failure: Option<&Failure>) -> Stage {
        let Some(step) = self
            .job
            .steps
            .iter()
            .find(|it| it.name == "after_script" && !it.script.is_empty())
        else {
            return Ok(());
        };
        let own = parse_duration(self.variables.get("RUNNER_AFTER_SCRIPT_TIMEOUT"));
        let deadline = self
            .deadline
            .min(Instant::now() + own.unwrap_or(Duration::from_secs(300)));
        let mut variables = self.variables.clone();
        variables.set("CI_JOB_STATUS", failure.map_or("success", Failure::status));
        self.section("after_script", "Running after_script", async {
            self.trace.line(Tone::Notice, "Running after script...");
            // A cancel that stopped the script must not stop what tidies up after it.
            let outcome = self
                .execute(
                    with_echo(&step.script),
                    &variables,
                    deadline,
                    &self.stops.all,
                    Whose::Job,
                )
                .await;
            let judged = self.judge(outcome, deadline);
            if judged.is_err() {
                self.trace.line(
                    Tone::Warning,
                    "WARNING: after_script failed, but the job continues",
                );
            }
            judged
        })
        .await
    }

    /// Runs commands in the project's directory.
    pub(super) async fn execute(
        &self,
        commands: String,
        variables: &Variables,
        deadline: Instant,
        stop: &CancellationToken,
        whose: Whose,
    ) -> Outcome {
        let force_https = self.variables.is_on("GIT_SUBMODULE_FORCE_HTTPS");
        let task = Task {
            script: script(
                variables,
                &Body {
                    directory: &self.place.job_project,
                    commands,
                },
            ),
            environment: self
                .remote
                .environment(force_https, self.variables.get(CERTIFICATES)),
            whose,
            deadline,
        };
        let Some(session) = &self.session else {
            return Outcome::Failed("the executor is not prepared".to_owned());
        };
        let trace = self.trace.clone();
        let outcome = session.run(task, &mut |it| trace.write(it), stop).await;
        self.trace.flush();
        outcome
    }

    /// Turns the end of a script into that of its stage, and explains in the log what needs it.
    pub(super) fn judge(&self, outcome: Outcome, deadline: Instant) -> Stage {
        Err(match outcome {
            Outcome::Exited(0) => return Ok(()),
            Outcome::Exited(code) => Failure::Exit(code),
            Outcome::Signaled(signal) => Failure::Signal(signal),
            Outcome::OutOfMemory => {
                let text = self.grant.usage().out_of_memory();
                self.trace.line(Tone::Error, &text);
                Failure::OutOfMemory
            }
            Outcome::Overrun(Overrun::Memory) => {
                let text = self.grant.usage().evicted();
                self.trace.line(Tone::Error, &text);
                Failure::Evicted
            }
            Outcome::TimedOut if deadline < self.deadline => Failure::ScriptTimeout,
            Outcome::TimedOut => Failure::Timeout,
            Outcome::Canceled => self.stopped().unwrap_or(Failure::Canceled),
            Outcome::Failed(reason) => Failure::System(reason),
        })
    }
}

/// Runs work on files where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(std::io::Error::other(error)),
    }
}
