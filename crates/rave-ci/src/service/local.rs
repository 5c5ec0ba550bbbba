//! Pipelines that the process itself asks for and follows: those of a working tree on somebody's machine.
//!
//! The caller has compiled the file and chosen the jobs; everything after that is as for any other pipeline. What is
//! offered here is what a program needs to follow a pipeline to its end without asking over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rave_blob::BlobReader;
use rave_ci_lang::{Diagnostic, EventContext, Plan, Tree, Variable};
use rave_core::id::{JobId, PipelineId};
use rave_core::job::{FailureReason, JobState, Status};
use rave_core::name::ObjectId;
use rave_core::permission::{Access, ReadPipelines, RunPipelines};
use rave_core::time::Timestamp;
use rave_core::trace::TraceContext;
use rave_store::EventSignal;
use tokio::sync::watch;

use super::Ci;
use super::create::{Draft, Verdict};
use crate::error::CiError;
use crate::model::{Artifact, Job, OnJobFailure, Pipeline, Source};
use crate::store;
use crate::store::pipeline::{NewPipeline, Planned};

/// How long a follower waits at most before it looks again.
const TICK: Duration = Duration::from_secs(1);

/// What the machine of a working tree knows, and the project's repository does not.
#[derive(Clone)]
pub struct Surroundings {
    /// Answers for other projects, for other servers and for what changed. May block.
    pub tree: Arc<dyn Tree + Send + Sync>,
    /// Variables that the project would have on its server.
    pub variables: Vec<Variable>,
}

/// A pipeline that the caller has planned.
#[derive(Clone)]
pub struct LocalRun {
    /// The commit that jobs get. The project's repository has it.
    pub commit: ObjectId,
    /// The event that the plan was made for.
    pub event: EventContext,
    /// The text of the file.
    pub config: String,
    pub plan: Plan,
    pub notices: Vec<Diagnostic>,
    /// Answers for the files of child pipelines as it did for this one.
    pub tree: Arc<dyn Tree + Send + Sync>,
}

/// A pipeline on its way.
#[derive(Clone, Debug)]
pub struct LocalPipeline {
    pub id: PipelineId,
    pub status: Status,
    pub name: Option<String>,
    pub stages: Vec<String>,
    /// The jobs in the order of the plan; of a job that was tried again, the latest try only.
    pub jobs: Vec<LocalJob>,
}

/// A job on its way.
#[derive(Clone, Debug)]
pub struct LocalJob {
    pub id: JobId,
    pub name: String,
    pub stage: String,
    pub status: Status,
    pub failure: Option<FailureReason>,
    pub exit_code: Option<i64>,
    pub allow_failure: bool,
    /// How many tries came before this one.
    pub retries: usize,
    /// The jobs that have not let it go, while it waits for others.
    pub waits_for: Vec<String>,
    /// What its machine lacks for it, while it waits for a runner.
    pub pending_message: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// How many bytes its log has.
    pub log_bytes: u64,
    pub artifacts: Vec<LocalArtifact>,
}

/// A file that a job left.
#[derive(Clone, Debug)]
pub struct LocalArtifact {
    /// `archive`, or the kind of report.
    pub kind: String,
    pub filename: String,
    pub size_bytes: u64,
}

/// Why a local pipeline cannot be made or followed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LocalError(#[from] CiError);

/// Tells a follower when to look.
#[derive(Debug)]
pub struct Changes {
    events: EventSignal,
    logs: watch::Receiver<u64>,
}

impl Changes {
    /// Waits until something happened, or might have. May be dropped while it waits.
    pub async fn wait(&mut self) {
        tokio::select! {
            () = self.events.changed() => {}
            Ok(()) = self.logs.changed() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

impl Ci {
    /// Makes a pipeline from a plan. Any runner takes its jobs, whatever their tags.
    ///
    /// # Errors
    /// When the store or the forge fails.
    pub async fn create_local(
        &self,
        access: &Access<RunPipelines>,
        run: LocalRun,
    ) -> Result<PipelineId, LocalError> {
        let LocalRun {
            commit,
            event,
            config,
            mut plan,
            notices,
            tree,
        } = run;
        let around = Surroundings {
            tree,
            variables: event.project_variables.clone(),
        };
        *self.lock_surroundings() = Some(around);
        for job in &mut plan.jobs {
            job.tags.clear();
        }
        let project = access.project();
        let known = |key: &str| event.predefined.iter().rev().find(|it| it.key == key);
        let before = known("CI_COMMIT_BEFORE_SHA").map(|it| it.value.clone());
        let variables = [event.project_variables, event.pipeline_variables].concat();
        let new = NewPipeline {
            project: project.id,
            ref_name: event.ref_name,
            tag: event.tag,
            protected: false,
            sha: commit.as_str().to_owned(),
            before_sha: before.unwrap_or_else(|| ObjectId::ZERO.to_owned()),
            source: Source::from_label(&event.source).unwrap_or(Source::Push),
            user: access.principal().user_id(),
            schedule: None,
            trace: Some(TraceContext::start()),
            upstream: None,
        };
        let name = plan.name.clone();
        let on_job_failure = Some(OnJobFailure::of(plan.auto_cancel));
        let (stages, jobs) = self.jobs_of(plan, &event.predefined, &variables);
        let planned = Planned {
            name,
            stages,
            notices,
            config: Some(config),
            predefined: event.predefined,
            variables,
            on_job_failure,
            ..Planned::default()
        };
        let draft = Draft {
            new,
            planned,
            verdict: Verdict::Jobs(jobs),
            url_base: format!("{}/{}", self.config.external_url, project.path),
        };
        Ok(self.make(draft, None, None).await?)
    }

    fn lock_surroundings(&self) -> MutexGuard<'_, Option<Surroundings>> {
        let lock = self.surroundings.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what stands around the working tree whose pipelines these are. `None`: this is a server.
    pub(super) fn surroundings(&self) -> Option<Surroundings> {
        self.lock_surroundings().clone()
    }

    /// Returns what tells that [`Ci::local_pipelines`] may have another answer.
    #[must_use]
    pub fn local_changes(&self) -> Changes {
        Changes {
            events: self.db.events(),
            logs: self.logs.subscribe(),
        }
    }

    /// Returns a pipeline, and after it those that came from it.
    ///
    /// # Errors
    /// When there is no such pipeline, or the store fails.
    pub async fn local_pipelines(
        &self,
        access: &Access<ReadPipelines>,
        root: PipelineId,
    ) -> Result<Vec<LocalPipeline>, LocalError> {
        let project = access.project().id;
        let below = self.descendants(root).await?;
        let seen = self.db.read("ci_local_pipelines", move |tx| {
            let mut them = Vec::with_capacity(1 + below.len());
            for id in std::iter::once(root).chain(below) {
                let found = store::pipeline::find(tx, project, id)?;
                let pipeline = found.ok_or(CiError::NotFound("Pipeline"))?;
                let all = store::job::of_pipeline(tx, pipeline.id, true)?;
                let ids: Vec<JobId> = all.iter().map(|it| it.id).collect();
                let artifacts = store::artifact::of_jobs(tx, &ids)?;
                them.push(seen(pipeline, &all, artifacts));
            }
            Ok::<_, CiError>(them)
        });
        let mut pipelines = seen.await?;
        let jobs = pipelines.iter_mut().flat_map(|it| &mut it.jobs);
        for job in jobs.filter(|it| it.status == Status::Pending) {
            let lack = self.queue.passed.lack_of(job.id);
            job.pending_message = lack.map(|it| it.sentence());
        }
        Ok(pipelines)
    }

    /// Returns a part of a job's log: up to `limit` bytes from offset `from` on.
    ///
    /// # Errors
    /// When there is no such job, or the store fails.
    pub async fn local_log(
        &self,
        access: &Access<ReadPipelines>,
        job: JobId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<u8>, LocalError> {
        Ok(self.read_log(access, job, from, limit).await?.bytes)
    }

    /// Opens the archive of a job's artifacts, `None` when it left none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn local_archive(
        &self,
        access: &Access<ReadPipelines>,
        job: JobId,
    ) -> Result<Option<BlobReader>, LocalError> {
        let job = self.load_job(access, job).await?;
        match self.load_archive_of(&job).await {
            Ok(archive) => Ok(Some(
                self.open_artifact(&archive, 0..archive.size_bytes).await?,
            )),
            Err(CiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts a manual or delayed job. Returns whether it could be started.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn local_play(
        &self,
        access: &Access<RunPipelines>,
        job: JobId,
    ) -> Result<bool, LocalError> {
        match self.play_job(access, job, Vec::new(), Vec::new()).await {
            Ok(_) => Ok(true),
            // It started, or was skipped, in this moment.
            Err(CiError::Invalid(_) | CiError::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops everything in a pipeline that has not ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn local_cancel(
        &self,
        access: &Access<RunPipelines>,
        pipeline: PipelineId,
    ) -> Result<(), LocalError> {
        Ok(self.cancel_pipeline(access, pipeline).await.map(drop)?)
    }
}

/// Puts together what a follower sees. `all` are the jobs in order, tries that were replaced before those that took
/// their place.
fn seen(pipeline: Pipeline, all: &[Job], artifacts: Vec<Artifact>) -> LocalPipeline {
    let mut left: BTreeMap<JobId, Vec<LocalArtifact>> = BTreeMap::new();
    for it in artifacts {
        left.entry(it.job).or_default().push(LocalArtifact {
            kind: it.file_type,
            filename: it.filename,
            size_bytes: it.size_bytes,
        });
    }
    let current: Vec<&Job> = all.iter().filter(|it| !it.retried).collect();
    let jobs = current.iter().map(|job| LocalJob {
        id: job.id,
        name: job.name.clone(),
        stage: job.stage.clone(),
        status: job.status(),
        failure: job.failure_reason(),
        exit_code: job.exit_code,
        allow_failure: job.allow_failure,
        retries: all
            .iter()
            .filter(|it| it.retried && it.position == job.position)
            .count(),
        waits_for: waits_for(job, &current),
        pending_message: None,
        started_at: job.started_at,
        finished_at: job.finished_at,
        log_bytes: job.trace_bytes,
        artifacts: left.remove(&job.id).unwrap_or_default(),
    });
    LocalPipeline {
        jobs: jobs.collect(),
        id: pipeline.id,
        status: pipeline.status,
        name: pipeline.name,
        stages: pipeline.stages,
    }
}

/// Returns the names of the jobs that a waiting one waits for.
fn waits_for(job: &Job, all: &[&Job]) -> Vec<String> {
    if job.state != JobState::Created {
        return Vec::new();
    }
    let before = |it: &&&Job| match &job.needs {
        Some(needs) => needs.contains(&it.position),
        None => it.stage_index < job.stage_index,
    };
    let open = |it: &&&Job| !it.status().is_finished();
    all.iter()
        .filter(before)
        .filter(open)
        .map(|it| it.name.clone())
        .collect()
}
