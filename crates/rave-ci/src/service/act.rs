//! What people and runners do to jobs and pipelines.

use rave_ci_lang::{FormInput, InputValue, Variable, give_inputs};
use rave_core::id::{JobId, PipelineId};
use rave_core::job::{FailureReason, JobEvent, JobState};
use rave_core::permission::{Access, RunPipelines};
use rave_core::pipeline::Which;
use rave_core::port::JobIdentity;
use rave_core::secret::TokenDigest;

use super::Ci;
use super::advance::{Action, Rules};
use super::memory;
use crate::error::CiError;
use crate::model::{Job, Pipeline};
use crate::store;
use crate::store::job::Held;
use crate::usage::Usage;

/// What a runner says of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It works on it.
    Working,
    Succeeded,
    Failed {
        reason: FailureReason,
        exit_code: Option<i64>,
    },
}

impl Ci {
    /// Starts a manual or delayed job.
    #[tracing::instrument(skip_all, name = "play", fields(job.id = job.0))]
    pub(crate) async fn play_job(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
        variables: Vec<Variable>,
        inputs: Vec<(String, InputValue)>,
    ) -> Result<Job, CiError> {
        let job = self.load_own_job(access, job).await?;
        if !job.is_playable() {
            return Err(CiError::Invalid("400 Bad request - Unplayable Job".into()));
        }
        let (id, user) = (job.id, access.principal().user_id());
        let sealed = store::given::seal(&self.key, job.pipeline, "variables", &variables)?;
        let asked = memory::asked(&variables);
        self.db
            .write("ci_put_player", move |tx| {
                if !inputs.is_empty() {
                    let mut plan = store::job::load_plan(tx, id)?;
                    give_inputs(&mut plan.inputs, inputs)
                        .map_err(|problems| CiError::Invalid(problems.join("; ")))?;
                    store::job::put_plan(tx, id, &plan)?;
                }
                Ok::<_, CiError>(store::job::put_player(tx, id, user, &sealed, asked)?)
            })
            .await?;
        self.change(&job, JobEvent::Enqueue).await?;
        self.load_own_job(access, id).await
    }

    /// Returns the inputs of a job, as a person is asked for them.
    pub(crate) async fn inputs_of_job(&self, job: &Job) -> Result<Vec<FormInput>, CiError> {
        let job = job.id;
        self.db
            .read("ci_job_inputs", move |tx| {
                let plan = store::job::load_plan(tx, job)?;
                Ok(plan.inputs.iter().map(FormInput::from).collect())
            })
            .await
    }

    /// Lets a delayed job wait for a person instead of its time.
    #[tracing::instrument(skip_all, name = "unschedule", fields(job.id = job.0))]
    pub(crate) async fn unschedule_job(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
    ) -> Result<Job, CiError> {
        let job = self.load_own_job(access, job).await?;
        self.change(&job, JobEvent::Unschedule).await?;
        self.load_own_job(access, job.id).await
    }

    /// Tries an ended job again. Returns the new try.
    #[tracing::instrument(skip_all, name = "retry", fields(job.id = job.0))]
    pub(crate) async fn retry_job(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
    ) -> Result<Job, CiError> {
        let job = self.load_own_job(access, job).await?;
        if !job.is_retryable() {
            return Err(CiError::Forbidden("Job is not retryable"));
        }
        let user = access.principal().user_id();
        let applied = self
            .apply(job.pipeline, Action::Retry { job: job.id, user })
            .await?;
        self.load_own_job(access, applied.new_job.unwrap_or(job.id))
            .await
    }

    /// Stops a job. One that has ended stays as it is.
    #[tracing::instrument(skip_all, name = "cancel", fields(job.id = job.0))]
    pub(crate) async fn cancel_job(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
        force: bool,
    ) -> Result<Job, CiError> {
        let job = self.load_own_job(access, job).await?;
        let held = self.is_graceful(job.id).await?;
        let stopping = matches!(job.state, JobState::Canceling { .. });
        if job.is_cancelable() && !job.retried && (force || !stopping) {
            let graceful = held && !force;
            match self.change(&job, JobEvent::Cancel { graceful }).await {
                // The runner's result came first.
                Err(CiError::Refused(_)) | Ok(()) => {}
                Err(error) => return Err(error),
            }
            self.logs.ring();
        }
        self.load_own_job(access, job.id).await
    }

    /// Erases the log and the artifacts of an ended job.
    #[tracing::instrument(skip_all, name = "erase", fields(job.id = job.0))]
    pub(crate) async fn erase_job(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
    ) -> Result<Job, CiError> {
        let job = self.load_own_job(access, job).await?;
        if !job.is_erasable() {
            return Err(CiError::Forbidden("Job is not erasable!"));
        }
        let id = job.id;
        self.db
            .write("ci_erase", move |tx| {
                Ok::<_, CiError>(store::job::put_erased(tx, id)?)
            })
            .await?;
        self.load_own_job(access, id).await
    }

    /// Keeps a job's artifacts until somebody erases them.
    pub(crate) async fn keep_artifacts(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
    ) -> Result<Job, CiError> {
        let job = self.load_own_job(access, job).await?;
        let id = job.id;
        let kept: u64 = self
            .db
            .write("ci_keep", move |tx| {
                Ok::<_, CiError>(store::artifact::keep(tx, id)?)
            })
            .await?;
        if kept == 0 {
            return Err(CiError::NotFound(""));
        }
        Ok(job)
    }

    /// Deletes a job's artifacts.
    pub(crate) async fn delete_artifacts(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
    ) -> Result<(), CiError> {
        let job = self.load_own_job(access, job).await?.id;
        self.db
            .write("ci_delete_artifacts", move |tx| {
                Ok(store::artifact::delete_of_job(tx, job).map(drop)?)
            })
            .await
    }

    /// Deletes all artifacts of the project that are not kept on purpose.
    pub(crate) async fn delete_all_artifacts(
        &self,
        access: &Access<RunPipelines>,
    ) -> Result<(), CiError> {
        let project = access.project().id;
        self.db
            .write("ci_delete_all_artifacts", move |tx| {
                Ok(store::artifact::delete_of_project(tx, project).map(drop)?)
            })
            .await
    }

    /// Tries again what failed or was canceled.
    #[tracing::instrument(skip_all, name = "retry_pipeline", fields(pipeline.id = pipeline.0))]
    pub(crate) async fn retry_pipeline(
        &self,
        access: &Access<RunPipelines>,
        pipeline: PipelineId,
    ) -> Result<Pipeline, CiError> {
        self.load_own_pipeline(access, pipeline).await?;
        let user = access.principal().user_id();
        self.apply(pipeline, Action::RetryAll { user }).await?;
        self.load_own_pipeline(access, pipeline).await
    }

    /// Stops everything in a pipeline that has not ended.
    #[tracing::instrument(skip_all, name = "cancel_pipeline", fields(pipeline.id = pipeline.0))]
    pub(crate) async fn cancel_pipeline(
        &self,
        access: &Access<RunPipelines>,
        pipeline: PipelineId,
    ) -> Result<Pipeline, CiError> {
        if !self
            .load_own_pipeline(access, pipeline)
            .await?
            .status
            .is_finished()
        {
            self.apply(pipeline, Action::Cancel(Which::All)).await?;
            self.logs.ring();
        }
        self.load_own_pipeline(access, pipeline).await
    }

    /// Deletes a pipeline and its children with their jobs, logs and artifacts. What still runs is stopped.
    #[tracing::instrument(skip_all, name = "delete_pipeline", fields(pipeline.id = pipeline.0))]
    pub(crate) async fn delete_pipeline(
        &self,
        access: &Access<RunPipelines>,
        pipeline: PipelineId,
    ) -> Result<(), CiError> {
        self.load_own_pipeline(access, pipeline).await?;
        let below = self.descendants(pipeline).await?;
        self.db
            .write("ci_delete_pipeline", move |tx| {
                for id in below.into_iter().rev().chain([pipeline]) {
                    store::pipeline::delete(tx, id)?;
                }
                Ok(())
            })
            .await
    }

    /// Returns the job that a token was made for, in whatever state it is now.
    pub(crate) async fn find_held(&self, job: JobId, token: &str) -> Result<Option<Held>, CiError> {
        let digest = TokenDigest::of(token);
        self.db
            .read("ci_find_held", move |tx| {
                Ok(store::job::find_held(tx, job, digest.as_str())?)
            })
            .await
    }

    /// Returns the running job that has a token.
    pub(crate) async fn find_job_identity(
        &self,
        digest: &TokenDigest,
    ) -> Result<Option<JobIdentity>, CiError> {
        let digest = digest.clone();
        self.db
            .read("ci_job_identity", move |tx| {
                Ok(store::job::find_by_token(tx, digest.as_str())?)
            })
            .await
    }

    /// Returns a job wherever it is. The caller decides who may know of it.
    pub(crate) async fn find_job_anywhere(&self, job: JobId) -> Result<Option<Job>, CiError> {
        self.db
            .read("ci_job_anywhere", move |tx| {
                Ok(store::job::find_anywhere(tx, job)?)
            })
            .await
    }

    /// Marks a job's log as one that shows every command, secrets included.
    pub(crate) async fn mark_debug_log(&self, job: JobId) -> Result<(), CiError> {
        self.db
            .write("ci_mark_debug_log", move |tx| {
                Ok(store::trace::put_debug(tx, job)?)
            })
            .await
    }

    /// Notes what a runner says of its job. Returns the job's state then.
    #[tracing::instrument(skip_all, name = "hear", fields(job.id = held.job.0, word = ?word))]
    pub(crate) async fn hear(&self, held: &Held, word: Word) -> Result<JobState, CiError> {
        let (event, exit_code) = match word {
            Word::Working if matches!(held.state, JobState::Assigned { .. }) => {
                (JobEvent::Start, None)
            }
            Word::Working => {
                self.touch(held).await?;
                return Ok(held.state);
            }
            Word::Succeeded => (JobEvent::Succeed, None),
            Word::Failed { reason, exit_code } => (JobEvent::Fail(reason), exit_code),
        };
        let job = held.job;
        self.apply(
            held.pipeline,
            Action::Job {
                job,
                event,
                exit_code,
            },
        )
        .await?;
        self.logs.ring();
        Ok(rave_core::job::next(held.state, event)?)
    }

    /// Notes what a job used, as its runner says at its end.
    pub(crate) async fn note_usage(
        &self,
        held: &Held,
        usage: Usage,
        success: bool,
    ) -> Result<(), CiError> {
        self.metrics.job_used(&usage);
        let job = held.job;
        self.db
            .write("ci_note_usage", move |tx| {
                Ok(store::usage::note(tx, job, &usage, success)?)
            })
            .await
    }

    /// Notes a sign of life of a job's runner.
    pub(crate) async fn touch(&self, held: &Held) -> Result<(), CiError> {
        let rules = Rules::of(&self.config);
        let (job, started_at, timeout_ms) = (held.job, held.started_at, held.timeout_ms);
        self.db
            .write("ci_touch", move |tx| {
                let due = rules.due_running(started_at, timeout_ms, tx.now());
                Ok(store::job::touch(tx, job, due)?)
            })
            .await
    }

    async fn change(&self, job: &Job, event: JobEvent) -> Result<(), CiError> {
        let (job, pipeline, exit_code) = (job.id, job.pipeline, None);
        self.apply(
            pipeline,
            Action::Job {
                job,
                event,
                exit_code,
            },
        )
        .await
        .map(drop)
    }

    async fn is_graceful(&self, job: JobId) -> Result<bool, CiError> {
        self.db
            .read("ci_is_graceful", move |tx| {
                Ok(store::job::is_graceful(tx, job)?)
            })
            .await
    }

    async fn load_own_job(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
    ) -> Result<Job, CiError> {
        let project = access.project().id;
        let found = self
            .db
            .read("ci_own_job", move |tx| {
                Ok::<_, CiError>(store::job::find(tx, project, job)?)
            })
            .await?;
        found.ok_or(CiError::NotFound("Job"))
    }

    async fn load_own_pipeline(
        &self,
        access: &Access<RunPipelines>,
        pipeline: PipelineId,
    ) -> Result<Pipeline, CiError> {
        let project = access.project().id;
        let found = self
            .db
            .read("ci_own_pipeline", move |tx| {
                Ok::<_, CiError>(store::pipeline::find(tx, project, pipeline)?)
            })
            .await?;
        found.ok_or(CiError::NotFound("Pipeline"))
    }
}
