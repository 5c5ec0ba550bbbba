//! Which waiting job a runner takes next, and which held requests are woken for jobs.
//!
//! Runners of the instance serve the project first that has the fewest jobs with such runners; those of groups and projects
//! take jobs in the order in which they came. A machine that says what memory it has gets no job that does not fit; jobs that
//! were passed over for too long come first.

use std::collections::BTreeMap;
use std::convert::Infallible;

use rave_core::id::{ProjectId, RunnerId};
use rave_core::permission::Project;

use super::Ci;
use super::look::Look;
use super::queue::Asker;
use crate::error::CiError;
use crate::model::{Runner, RunnerType};
use crate::store;
use crate::store::queue::Candidate;

/// What a runner found in the queue.
pub(crate) enum Found {
    /// A job, and how much memory it was counted with, where the machine said what it has.
    Job(Candidate, Option<u64>),
    /// A job that is the runner's, and no other's, but that its machine lacks these features for.
    Unsupported(Candidate, Vec<String>),
    Nothing,
}

impl Ci {
    /// Finds the waiting job that the asker takes next.
    pub(super) async fn find_job(&self, asker: &Asker) -> Result<(Runner, Found), CiError> {
        let id = asker.runner;
        let (runner, own, waiting) = self
            .db
            .read("ci_waiting_projects", move |tx| {
                let runner = store::runner::find(tx, id)?;
                let runner = runner.ok_or(CiError::Forbidden("the runner does not exist"))?;
                let own = store::runner_project::of_runner(tx, &runner)?;
                let waiting = if runner.paused {
                    Vec::new()
                } else {
                    store::queue::projects(tx)?
                };
                Ok::<_, CiError>((runner, own, waiting))
            })
            .await?;
        let mut served = Vec::new();
        for project in waiting {
            if self.serves(&runner, &own, project).await? {
                served.push(project);
            }
        }
        let fair = runner.kind == RunnerType::Instance;
        let turns: Vec<Vec<ProjectId>> = match served.is_empty() {
            true => Vec::new(),
            false if fair => served.into_iter().map(|it| vec![it]).collect(),
            false => vec![served],
        };
        let passed = &self.queue.passed;
        let look = Look {
            runner: runner.clone(),
            features: asker.features.clone(),
            turns,
            reserved: self.queue.reserved(),
            offer: asker.offer.clone(),
            since: asker
                .offer
                .as_ref()
                .map(|_| passed.since())
                .unwrap_or_default(),
            now: self.now(),
        };
        let seen = self.db.read("ci_find_job", move |tx| look.look(tx)).await?;
        passed.forget(&seen.gone);
        passed.note(seen.passed, self.now());
        if let Some((job, request)) = seen.found {
            passed.forget(&[job.job]);
            return Ok((runner, Found::Job(job, request)));
        }
        for (candidate, missing) in seen.unsupported {
            if !self.is_supported(&candidate).await? {
                return Ok((runner, Found::Unsupported(candidate, missing)));
            }
        }
        for candidate in seen.too_large {
            if !self.is_supported(&candidate).await? {
                // The runner tells whoever reads the job's log what it could have had.
                let request = candidate.wants.memory_bytes;
                return Ok((runner, Found::Job(candidate, request)));
            }
        }
        Ok((runner, Found::Nothing))
    }

    /// Whether the runner, whose own projects are these, takes jobs of the project.
    async fn serves(
        &self,
        runner: &Runner,
        own: &[ProjectId],
        project: ProjectId,
    ) -> Result<bool, CiError> {
        match runner.kind {
            RunnerType::Instance => Ok(true),
            RunnerType::Project => Ok(own.contains(&project)),
            RunnerType::Group => {
                let Some(project) = self.directory.load_project(project).await? else {
                    return Ok(false);
                };
                let above = self.namespaces_above(&project).await?;
                Ok(runner.group.is_some_and(|it| above.contains(&it)))
            }
        }
    }

    /// Returns the project's namespace and those above it.
    pub(crate) async fn namespaces_above(&self, project: &Project) -> Result<Vec<i64>, CiError> {
        let mut above = Vec::new();
        let mut next = Some(project.namespace);
        while let Some(id) = next.filter(|it| !above.contains(&it.0)) {
            above.push(id.0);
            next = self.directory.namespace(id).await?.and_then(|it| it.parent);
        }
        Ok(above)
    }

    /// Wakes requests of this process for jobs as they begin to wait, as long as nobody else does. May be dropped at any
    /// point: whoever leads next does it again.
    pub(super) async fn lead(&self) -> Result<Infallible, CiError> {
        let (mut led, mut calls) = self.queue.lead().await;
        loop {
            let call = *calls.borrow_and_update();
            if *led != call {
                self.wake_requests().await?;
                *led = call;
            }
            if calls.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Wakes a request for each job that waits, where there is one that may take it.
    async fn wake_requests(&self) -> Result<(), CiError> {
        let sleeping = self.queue.sleeping();
        if sleeping.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<RunnerId> = sleeping.iter().map(|it| it.1.runner).collect();
        ids.sort_unstable();
        ids.dedup();
        let (mut classes, runners) = self
            .db
            .read("ci_classes", move |tx| {
                let mut runners = BTreeMap::new();
                for runner in store::runner::by_id(tx, &ids)? {
                    let own = store::runner_project::of_runner(tx, &runner)?;
                    runners.insert(runner.id, (runner, own));
                }
                Ok::<_, CiError>((store::queue::classes(tx, None)?, runners))
            })
            .await?;
        let mut served = BTreeMap::new();
        for (number, asker) in sleeping {
            // A runner that is gone learns of it.
            let Some((runner, own)) = runners.get(&asker.runner) else {
                self.queue.wake(number);
                continue;
            };
            let mut wanted = None;
            for (at, class) in classes.iter().enumerate() {
                if runner.paused
                    || class.jobs == 0
                    || !runner.fits(&class.wants.tags, class.wants.protected)
                {
                    continue;
                }
                let serves = match served.get(&(runner.id, class.project)) {
                    Some(known) => *known,
                    None => {
                        let serves = self.serves(runner, own, class.project).await?;
                        served.insert((runner.id, class.project), serves);
                        serves
                    }
                };
                if serves {
                    wanted = Some(at);
                    break;
                }
            }
            if let Some(at) = wanted {
                classes[at].jobs -= 1;
                self.queue.wake(number);
            }
        }
        Ok(())
    }
}
