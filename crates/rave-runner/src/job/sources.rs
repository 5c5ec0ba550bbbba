//! The stage that gets the source: from what this machine has already, or from the server.

use std::time::{Duration, SystemTime};

use super::stages::{Failure, Stage, Stages, blocking};
use crate::exec::{Outcome, Setup, Task, Whose};
use crate::overlay::CERTIFICATES;
use crate::script::{Body, script, with_echo};
use crate::source::store::Store;
use crate::source::{self, Objects, Strategy};
use crate::trace::Tone;
use crate::variables::Variables;
use crate::wire;

/// What was put into a working copy before git sees it.
struct Borrowed {
    objects: Objects,
    /// The store of this machine could not give what was wanted.
    doubted: bool,
}

impl Stages<'_> {
    pub(super) fn strategy(&self) -> Result<Strategy, Failure> {
        Strategy::of(&self.variables, self.job.allow_git_fetch).ok_or_else(|| {
            Failure::Configuration(format!(
                "unknown GIT_STRATEGY {:?}",
                self.variables.get("GIT_STRATEGY")
            ))
        })
    }

    pub(super) async fn get_sources(&self) -> Stage {
        let strategy = self.strategy()?;
        self.section("get_sources", "Getting source from Git repository", async {
            if matches!(strategy, Strategy::None | Strategy::Empty) {
                self.trace
                    .line(Tone::Notice, "Skipping Git repository setup");
                return Ok(());
            }
            let attempts = self.variables.get("GET_SOURCES_ATTEMPTS").trim().parse();
            let mut left = attempts.unwrap_or(1_u32).clamp(1, 10);
            let Borrowed {
                objects,
                mut doubted,
            } = self.borrow_objects().await?;
            // A working copy that is broken would fail every job of its slot, so a reused one is
            // given up once. So are objects that turn out not to be enough.
            let mut reused = strategy == Strategy::Fetch && self.has_working_copy().await;
            reused |= objects != Objects::Server;
            let mut commands = self.source_commands(objects)?;
            loop {
                let (stop, deadline) = (&self.stops.script, self.deadline);
                let outcome = self
                    .execute(
                        commands.clone(),
                        &self.variables,
                        deadline,
                        stop,
                        Whose::Runner,
                    )
                    .await;
                left -= 1;
                match self.judge(outcome, deadline) {
                    Err(Failure::Exit(_)) if reused => {
                        let text = "WARNING: getting the source failed; starting from nothing";
                        self.trace.line(Tone::Warning, text);
                        self.prepare_place(true).await?;
                        commands = self.source_commands(Objects::Server)?;
                        doubted |= objects != Objects::Server;
                        (reused, left) = (false, left.max(1));
                    }
                    Err(Failure::Exit(_)) if left > 0 => {
                        let text = "WARNING: getting the source failed; trying again";
                        self.trace.line(Tone::Warning, text);
                    }
                    Err(Failure::Exit(code)) => {
                        let text = format!("cannot get the source: exit status {code}");
                        return Err(Failure::System(text));
                    }
                    judged => {
                        if doubted && judged.is_ok() {
                            self.discard_store().await;
                        }
                        return judged;
                    }
                }
            }
        })
        .await
    }

    fn source_commands(&self, objects: Objects) -> Result<String, Failure> {
        let commands = source::commands(
            &self.job.git_info,
            &self.remote,
            &self.variables,
            &self.user_agent(),
            objects,
        );
        let commands = commands.map_err(|error| Failure::System(error.to_string()))?;
        let hook = |name: &str| {
            let hooks = self.job.hooks.iter().filter(|it| it.name == name);
            hooks.map(|it| with_echo(&it.script)).collect::<String>()
        };
        Ok([
            hook("pre_get_sources_script"),
            commands,
            hook("post_get_sources_script"),
        ]
        .concat())
    }

    fn user_agent(&self) -> String {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        format!("rave-runner {} {os}/{arch}", self.shared.config.version)
    }

    /// Puts the objects of the job's commit into its working copy, from the store of this machine, which is brought up to
    /// date if need be. Whatever fails there is not the job's failure: it then fetches for itself.
    async fn borrow_objects(&self) -> Result<Borrowed, Failure> {
        let layout = self.shared.executor.layout();
        // Somebody's own flags may ask for what a store does not keep.
        let own_flags = !self.variables.get("GIT_FETCH_EXTRA_FLAGS").is_empty();
        let refused = matches!(self.variables.get("RAVE_OBJECT_CACHE"), "false" | "0");
        let from_server = |doubted| Borrowed {
            objects: Objects::Server,
            doubted,
        };
        if !layout.direct || own_flags || refused || !self.shared.stores.enabled() {
            return Ok(from_server(false));
        }
        let store = tokio::select! {
            store = self.open_store() => store,
            () = self.stops.script.cancelled() => return Err(self.stopped().unwrap_or(Failure::Canceled)),
            () = tokio::time::sleep_until(self.deadline) => return Err(Failure::Timeout),
        };
        if !store.has_all() {
            match self.fetch_into(&store).await {
                Ok(()) => {}
                Err(Failure::Exit(_) | Failure::System(_) | Failure::Signal(_)) => {
                    return Ok(from_server(true));
                }
                Err(failure) => return Err(failure),
            }
        }
        let (work, now) = (self.place.project().to_owned(), self.now());
        match blocking(move || store.give(&work, now)).await {
            Ok(known) => Ok(Borrowed {
                objects: Objects::InPlace { known },
                doubted: false,
            }),
            Err(error) => {
                tracing::warn!(job.id = self.job.id, %error, "cannot use the fetched objects of this machine");
                Ok(from_server(true))
            }
        }
    }

    async fn open_store(&self) -> Store {
        let (git, remote) = (&self.job.git_info, &self.remote);
        let project = self.job.job_info.project_id;
        let owner = self.shared.executor.layout().owner;
        self.shared.stores.open(project, git, remote, owner).await
    }

    /// Throws away a store that was of no use where the server alone was.
    async fn discard_store(&self) {
        let store = self.open_store().await;
        if let Err(error) = blocking(move || store.discard()).await {
            tracing::warn!(job.id = self.job.id, %error, "cannot delete fetched objects");
        }
    }

    fn now(&self) -> SystemTime {
        let millis = u64::try_from(self.shared.config.clock.now().0).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    /// Fetches into a store, in an executor that sees nothing of the job, its variables included.
    async fn fetch_into(&self, store: &Store) -> Stage {
        let system = |error: &dyn std::fmt::Display| Failure::System(error.to_string());
        let commands = store.commands(&self.job.git_info, &self.remote, &self.user_agent());
        let commands = commands.map_err(|it| system(&it))?;
        let place = store.place();
        let mut variables = Variables::default();
        let certificates = self.shared.config.overlay.certificates();
        variables.extend_from_job(certificates.as_slice(), &place.job_temporary);
        let (prepared, given) = (place.clone(), variables.clone());
        blocking(move || prepared.prepare(false, &given))
            .await
            .map_err(|it| system(&it))?;
        let job = wire::Job {
            image: wire::Image::default(),
            services: Vec::new(),
            ..self.job.clone()
        };
        let session = self.shared.executor.prepare(Setup {
            job: &job,
            variables: &variables,
            place: &place,
            limits: self.grant.limits(),
            group: self.grant.group(),
            trace: &self.trace,
            deadline: self.deadline,
            stop: &self.stops.script,
        });
        let session = session.await.map_err(|it| system(&it))?;
        let body = Body {
            directory: &place.job_project,
            commands,
        };
        let task = Task {
            script: script(&variables, &body),
            environment: self.remote.environment(false, variables.get(CERTIFICATES)),
            whose: Whose::Runner,
            deadline: self.deadline,
        };
        let trace = self.trace.clone();
        let mut write = |bytes: &[u8]| trace.write(bytes);
        let outcome: Outcome = session.run(task, &mut write, &self.stops.script).await;
        session.destroy().await;
        let removed = blocking(move || place.remove_temporary()).await;
        removed.map_err(|it| system(&it))?;
        self.judge(outcome, self.deadline)?;
        let shared = self.shared.clone();
        let evicted = blocking(move || shared.stores.evict()).await;
        if let Err(error) = evicted {
            tracing::warn!(%error, "cannot make room for fetched objects");
        }
        Ok(())
    }

    /// Says whether an earlier job left a repository.
    async fn has_working_copy(&self) -> bool {
        let place = self.place.clone();
        let look = move || place.project_tree()?.names(None);
        blocking(look)
            .await
            .is_ok_and(|it| it.iter().any(|it| it == ".git"))
    }
}
