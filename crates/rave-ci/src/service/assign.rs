//! Giving jobs to runners: the wait for work, what a job is equipped with, and the way back of one whose runner never spoke.

use std::sync::Arc;
use std::time::Duration;

use rave_ci_lang::{JobPlan, Variable};
use rave_core::id::{JobId, PipelineId, ProjectId};
use rave_core::job::{FailureReason, JobEvent};
use rave_core::permission::Project;
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};
use tokio_util::sync::CancellationToken;

use super::Ci;
use super::act::Word;
use super::advance::{Action, Rules};
use super::dispatch::Found;
use super::memory::Offer;
use super::queue::{Asker, Place};
use crate::binary_caches;
use crate::error::CiError;
use crate::model::{MachineInfo, Runner};
use crate::store;
use crate::store::artifact::Source;
use crate::store::dotenv::Left;
use crate::store::job::{Assignment, Taken};
use crate::store::pipeline::JobSide;
use crate::store::queue::{Candidate, QueueFacts};
use crate::variables::{self, JobFacts};

/// A job that was given to a runner, with everything its payload is made from.
pub(crate) struct Assigned {
    pub(crate) taken: Taken,
    pub(crate) side: JobSide,
    pub(crate) project: Project,
    pub(crate) runner: Runner,
    pub(crate) token: Secret,
    /// What it was chosen from.
    pub(crate) queue: QueueFacts,
    /// The memory that it was counted with, where its machine said what it has.
    pub(crate) counted_bytes: Option<u64>,
    /// Signed statements about the job, as variables.
    pub(crate) id_tokens: Vec<Variable>,
    /// How it uses the binary caches of its project.
    pub(crate) binary_caches: Vec<Variable>,
    /// Jobs to download artifacts from.
    pub(crate) dependencies: Vec<Source>,
    /// Variables that jobs before it left.
    pub(crate) dotenv: Vec<Variable>,
    /// A key for each of the plan's caches.
    pub(crate) cache_keys: Vec<String>,
    /// What instance, groups and project give, low to high.
    pub(crate) project_variables: Vec<Variable>,
}

/// What a look at the queue chose.
struct Choice {
    candidate: Candidate,
    /// Features that the machine lacks, so that the job is failed.
    missing: Vec<String>,
    counted_bytes: Option<u64>,
}

/// An assigned job on its way to the runner. Dropped before it is handed over, the job goes to another runner at once.
pub(crate) struct Handover {
    ci: Arc<Ci>,
    assigned: Option<Assigned>,
}

impl Handover {
    /// Takes the job out, to be put into an answer that will be sent.
    pub(crate) fn complete(mut self) -> Option<Assigned> {
        self.assigned.take()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let Some(assigned) = self.assigned.take() else {
            return;
        };
        let (ci, job) = (self.ci.clone(), assigned.taken.job);
        self.ci.tasks.spawn(async move {
            // Should this fail, the job is released when its runner stays silent.
            if let Err(error) = ci.release(job.pipeline, job.id).await {
                tracing::warn!(job.id = job.id.0, %error, "cannot give a job back yet");
            }
        });
    }
}

impl Ci {
    /// Waits at most `wait` for a job that the runner may take. `None` when none came, or the server is about to stop.
    ///
    /// May be dropped at any point: a job that was taken in the meantime goes back.
    pub(crate) async fn wait_for_job(
        self: &Arc<Self>,
        runner: &Runner,
        machine: &MachineInfo,
        offer: Option<Offer>,
        wait: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Option<Handover>, CiError> {
        let asker = Asker {
            runner: runner.id,
            features: machine.features.clone(),
            offer,
        };
        if wait.is_zero() {
            return self.try_take(&asker, machine, None).await;
        }
        // Before the first look: a job that comes between the two wakes it.
        let place = self.queue.enter(asker.clone());
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            if shutdown.is_cancelled() {
                return Ok(None);
            }
            if let Some(handover) = self.try_take(&asker, machine, Some(&place)).await? {
                return Ok(Some(handover));
            }
            tokio::select! {
                () = place.woken() => {}
                led = self.lead() => match led? {},
                () = &mut deadline => return Ok(None),
                () = shutdown.cancelled() => return Ok(None),
            }
        }
    }

    /// Takes the first job that the runner may have now.
    async fn try_take(
        self: &Arc<Self>,
        asker: &Asker,
        machine: &MachineInfo,
        place: Option<&Place<'_>>,
    ) -> Result<Option<Handover>, CiError> {
        let nothing = |seen| {
            if let Some(place) = place {
                place.pass(seen);
            }
            Ok(None)
        };
        loop {
            let seen = self.queue.version();
            let (choice, reservation, runner) = {
                let mut looked = self.queue.look().await;
                if looked.get(asker) == Some(&seen) {
                    return nothing(seen);
                }
                let (runner, found) = self.find_job(asker).await?;
                let choice = match found {
                    Found::Job(candidate, counted_bytes) => Choice {
                        candidate,
                        missing: Vec::new(),
                        counted_bytes,
                    },
                    Found::Unsupported(candidate, missing) => Choice {
                        candidate,
                        missing,
                        counted_bytes: None,
                    },
                    Found::Nothing => {
                        looked.insert(asker.clone(), seen);
                        return nothing(seen);
                    }
                };
                let reservation = self.queue.reserve(choice.candidate.job);
                (choice, reservation, runner)
            };
            // In a task, because the change must not be half done when the request goes away.
            let (ci, machine) = (self.clone(), machine.clone());
            let (answer, taken) = tokio::sync::oneshot::channel();
            self.tasks.spawn(async move {
                let taken = ci.take(&choice, runner, &machine).await;
                drop(reservation);
                // Nobody listens any more: the handover is dropped with the message, and gives the job back.
                let _ = answer.send(taken);
            });
            match taken.await {
                Ok(Ok(Some(handover))) => return Ok(Some(handover)),
                // Another process was faster, or the job was ended: look again.
                Ok(Ok(None)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Gives a job to a runner. `None` when the job is not to be had any more.
    #[tracing::instrument(skip_all, name = "assign", fields(job.id = choice.candidate.job.0, runner.id = runner.id.0))]
    async fn take(
        self: &Arc<Self>,
        choice: &Choice,
        runner: Runner,
        machine: &MachineInfo,
    ) -> Result<Option<Handover>, CiError> {
        let token = generate_token(TokenKind::Job)?;
        let rules = Rules::of(&self.config);
        let assignment = Assignment {
            runner: runner.id,
            system_id: machine.system_id.clone(),
            token_digest: TokenDigest::of(token.expose()).as_str().to_owned(),
            graceful: machine.is_graceful(),
            runner_timeout_ms: runner
                .maximum_timeout_secs
                .map_or(i64::MAX, |it| it.saturating_mul(1000)),
            due_at: self.now().plus_millis(rules.assign_ms),
        };
        let (job, version) = (choice.candidate.job, choice.candidate.version);
        let key = self.key.clone();
        let taken = self
            .db
            .write("ci_assign", move |tx| {
                let Some(taken) = store::job::assign(tx, &key, job, version, &assignment)? else {
                    return Ok(None);
                };
                let side = store::pipeline::load_job_side(tx, &key, taken.job.pipeline)?;
                let sources = store::artifact::sources(tx, taken.job.pipeline)?;
                let left = store::dotenv::of_pipeline(tx, taken.job.pipeline)?;
                let queue = store::queue::facts(tx, taken.job.project)?;
                Ok::<_, CiError>(Some((taken, side, sources, left, queue)))
            })
            .await?;
        let Some((taken, side, sources, left, queue)) = taken else {
            return Ok(None);
        };
        let (pipeline, now) = (taken.job.pipeline, self.now());
        if !choice.missing.is_empty() {
            self.fail_unsupported(job, &token, &runner, machine, &choice.missing)
                .await?;
            return Ok(None);
        }
        if let Some(queued) = taken.job.queued_at {
            self.metrics.job_taken(queued, now);
        }
        match self.equip(taken, side, sources, left, runner, token).await {
            Ok(Some(assigned)) => Ok(Some(Handover {
                ci: self.clone(),
                assigned: Some(Assigned {
                    queue,
                    counted_bytes: choice.counted_bytes,
                    ..assigned
                }),
            })),
            Ok(None) => Ok(None),
            Err(error) => {
                self.release(pipeline, job).await?;
                Err(error)
            }
        }
    }

    /// Fails a job that only machines may take that cannot do what it needs, and says so in its log.
    async fn fail_unsupported(
        &self,
        job: JobId,
        token: &Secret,
        runner: &Runner,
        machine: &MachineInfo,
        missing: &[String],
    ) -> Result<(), CiError> {
        let text = format!(
            "\x1b[31;1mERROR: The job needs a runner that supports {}. Runner #{} (machine {}, {} {}) does not, and no \
             other runner that may take the job is online.\x1b[0;m\n",
            missing.join(", "),
            runner.id,
            machine.system_id,
            machine.name,
            machine.version,
        );
        for word in [
            Word::Working,
            Word::Failed {
                reason: FailureReason::RunnerUnsupported,
                exit_code: None,
            },
        ] {
            let Some(held) = self.find_held(job, token.expose()).await? else {
                return Ok(());
            };
            if word != Word::Working {
                self.append_log(&held, 0, text.clone().into()).await?;
            }
            match self.hear(&held, word).await {
                // It was canceled meanwhile.
                Ok(_) | Err(CiError::Refused(_) | CiError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Collects what a job's payload is made from. `None` when the job cannot run and was failed instead.
    async fn equip(
        &self,
        taken: Taken,
        side: JobSide,
        sources: Vec<Source>,
        left: Vec<Left>,
        runner: Runner,
        token: Secret,
    ) -> Result<Option<Assigned>, CiError> {
        let needing = Needing::of(&taken.plan, taken.job.stage_index);
        let (mut dependencies, dotenv) = (needing.artifacts(sources), needing.dotenv(left));
        let Some(project) = self.directory.load_project(taken.job.project).await? else {
            return self.give_up(&taken, FailureReason::ProjectDeleted).await;
        };
        if dependencies.iter().any(|it| it.gone) {
            return self
                .give_up(&taken, FailureReason::MissingDependencyFailure)
                .await;
        }
        let cache_keys = self.cache_keys(&taken.plan, &side.pipeline).await?;
        let environment = taken.plan.environment.as_ref().map(|it| it.name.as_str());
        let project_variables = self
            .variables_of_project(&project, side.pipeline.protected, environment)
            .await?;
        if !taken.plan.foreign_needs.is_empty() {
            let known = variables::of_job(&JobFacts {
                config: &self.config,
                project_path: project.path.as_str(),
                pipeline: &side.pipeline,
                predefined: &side.predefined,
                project_variables: &project_variables,
                pipeline_variables: &side.variables,
                job: &taken.job,
                plan: &taken.plan,
                dotenv: &dotenv,
                job_variables: &taken.variables,
                machine: None,
            });
            let needs = &taken.plan.foreign_needs;
            match self.foreign_sources(&taken.job, needs, &known).await? {
                Some(sources) => dependencies.extend(sources),
                None => {
                    return self
                        .give_up(&taken, FailureReason::MissingDependencyFailure)
                        .await;
                }
            }
        }
        let id_tokens = self
            .id_tokens(&taken, &side, &project, &project_variables, &runner)
            .await?;
        let binary_caches = self.binary_caches(project.id, &token).await;
        Ok(Some(Assigned {
            taken,
            side,
            project,
            runner,
            token,
            queue: QueueFacts::default(),
            counted_bytes: None,
            id_tokens,
            binary_caches,
            dependencies,
            dotenv,
            cache_keys,
            project_variables,
        }))
    }

    /// Tells a job of its project's binary caches. Without them it runs all the same.
    async fn binary_caches(&self, project: ProjectId, token: &Secret) -> Vec<Variable> {
        match self.caches.for_project(project).await {
            Ok(caches) => binary_caches::variables(&caches, token.expose()),
            Err(error) => {
                let error = rave_http::error::chain(&error);
                tracing::warn!(project.id = %project, error, "a job does without binary caches");
                Vec::new()
            }
        }
    }

    /// Fails a job that was taken but cannot run.
    async fn give_up(
        &self,
        taken: &Taken,
        reason: FailureReason,
    ) -> Result<Option<Assigned>, CiError> {
        let action = Action::Job {
            job: taken.job.id,
            event: JobEvent::Fail(reason),
            exit_code: None,
        };
        self.apply(taken.job.pipeline, action).await?;
        Ok(None)
    }

    /// Gives a job that its runner said nothing of to another one.
    pub(crate) async fn release(&self, pipeline: PipelineId, job: JobId) -> Result<(), CiError> {
        let action = Action::Job {
            job,
            event: JobEvent::Release,
            exit_code: None,
        };
        match self.apply(pipeline, action).await {
            Ok(_) => {
                tracing::info!(job.id = job.0, "gave a job back that no runner spoke of");
                Ok(())
            }
            // It was started or ended meanwhile.
            Err(CiError::Refused(_) | CiError::NotFound(_) | CiError::Forbidden(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a job takes from the jobs before it.
#[derive(Clone, Copy)]
pub(super) struct Needing<'a> {
    plan: &'a JobPlan,
    stage: usize,
}

impl<'a> Needing<'a> {
    pub(super) fn of(plan: &'a JobPlan, stage: usize) -> Self {
        Self { plan, stage }
    }

    /// Whether it takes what a job of a name and stage leaves: those that it needs with artifacts, or those of earlier
    /// stages; of these, where `dependencies` names some, those.
    fn takes(self, name: &str, stage: usize) -> bool {
        let named = self.plan.dependencies.as_ref();
        named.is_none_or(|it| it.iter().any(|it| it == name))
            && match &self.plan.needs {
                Some(needs) => needs.iter().any(|it| it.artifacts && it.job == name),
                None => stage < self.stage,
            }
    }

    /// Returns the jobs that it downloads artifacts from.
    fn artifacts(self, mut sources: Vec<Source>) -> Vec<Source> {
        sources.retain(|it| self.takes(&it.name, it.stage_index));
        sources
    }

    /// Returns the variables that it gets, low to high.
    pub(super) fn dotenv(self, left: Vec<Left>) -> Vec<Variable> {
        let taken = left
            .into_iter()
            .filter(|it| self.takes(&it.job, it.stage_index));
        let variable = |it: Left| Variable {
            key: it.name,
            value: it.value,
            ..Variable::default()
        };
        taken.map(variable).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::plan::tests::job;
    use rave_ci_lang::Need;

    #[test]
    fn artifacts_come_from_dependencies_needs_or_earlier_stages() {
        let source = |stage_index: usize, name: &str| Source {
            job: JobId(1),
            name: name.into(),
            stage_index,
            archive: Some(("artifacts.zip".into(), 1)),
            gone: false,
        };
        let names = |plan: &JobPlan| -> Vec<String> {
            let sources = vec![source(0, "a"), source(1, "b"), source(2, "c")];
            Needing::of(plan, 2)
                .artifacts(sources)
                .into_iter()
                .map(|it| it.name)
                .collect()
        };
        let mut plan = job("x");
        assert_eq!(names(&plan), ["a", "b"]);
        let need = |job: &str, artifacts| Need {
            job: job.into(),
            artifacts,
            optional: false,
        };
        plan.needs = Some(vec![need("a", false), need("c", true)]);
        assert_eq!(names(&plan), ["c"]);
        // A need without artifacts, or none at all, is not overruled.
        plan.dependencies = Some(vec!["a".into(), "b".into()]);
        assert!(names(&plan).is_empty());
        plan.needs = None;
        assert_eq!(names(&plan), ["a", "b"]);
        plan.dependencies = Some(vec!["b".into(), "c".into()]);
        assert_eq!(names(&plan), ["b"]);
        plan.dependencies = Some(Vec::new());
        assert!(names(&plan).is_empty());
    }
}
