//! What pages and the API show: pipelines, jobs, artifacts. Each read takes proof that the caller may see pipelines.

use std::collections::BTreeMap;

use rave_ci_lang::Variable;
use rave_core::id::{JobId, PipelineId, RunnerId};
use rave_core::permission::{Access, ReadPipelines};
use rave_core::port::{Page, Slice};
use rave_core::waiting::{Outside, Reason, Waiting};

use super::Ci;
use crate::error::CiError;
use crate::model::graph_of;
use crate::model::{Artifact, Job, Manager, Pipeline, PipelineFilter, Runner, Stuck};
use crate::store;
use crate::store::job::JobFilter;

/// What a page or answer about jobs needs beside them, fetched for all of them at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobExtras {
    pub(crate) artifacts: BTreeMap<JobId, Vec<Artifact>>,
    pub(crate) runners: BTreeMap<RunnerId, Runner>,
    pub(crate) pipelines: BTreeMap<PipelineId, Pipeline>,
    /// The machines that have or had them.
    pub(crate) machines: BTreeMap<JobId, Manager>,
    /// What keeps those that wait from a runner.
    pub(crate) stuck: BTreeMap<JobId, Stuck>,
}

impl Ci {
    /// Lists the pipelines of a project.
    pub(crate) async fn list_pipelines(
        &self,
        access: &Access<ReadPipelines>,
        filter: PipelineFilter,
        slice: Slice,
    ) -> Result<Page<Pipeline>, CiError> {
        let project = access.project().id;
        self.db
            .read("ci_list_pipelines", move |tx| {
                Ok(store::pipeline::list(tx, project, &filter, slice)?)
            })
            .await
    }

    /// Returns a pipeline of the project.
    pub(crate) async fn load_pipeline(
        &self,
        access: &Access<ReadPipelines>,
        pipeline: PipelineId,
    ) -> Result<Pipeline, CiError> {
        let project = access.project().id;
        let found = self
            .db
            .read("ci_pipeline", move |tx| {
                Ok::<_, CiError>(store::pipeline::find(tx, project, pipeline)?)
            })
            .await?;
        found.ok_or(CiError::NotFound("Pipeline"))
    }

    /// Returns the latest pipeline of a branch or tag.
    pub(crate) async fn find_latest_pipeline(
        &self,
        access: &Access<ReadPipelines>,
        ref_name: &str,
    ) -> Result<Option<Pipeline>, CiError> {
        let (project, ref_name) = (access.project().id, ref_name.to_owned());
        self.db
            .read("ci_latest_pipeline", move |tx| {
                Ok(store::pipeline::find_latest(tx, project, &ref_name, None)?)
            })
            .await
    }

    /// Returns the variables given with a pipeline, and the text of its file.
    pub(crate) async fn load_inputs(
        &self,
        access: &Access<ReadPipelines>,
        pipeline: PipelineId,
    ) -> Result<(Vec<Variable>, Option<String>), CiError> {
        let (project, key) = (access.project().id, self.key.clone());
        let found = self
            .db
            .read("ci_inputs", move |tx| {
                let inputs = store::pipeline::inputs(tx, &key, project, pipeline)?;
                Ok::<_, CiError>(inputs)
            })
            .await?;
        found.ok_or(CiError::NotFound("Pipeline"))
    }

    /// Returns all jobs of a pipeline in the order of the plan, replaced tries on demand.
    pub(crate) async fn pipeline_jobs(
        &self,
        access: &Access<ReadPipelines>,
        pipeline: PipelineId,
        retried: bool,
    ) -> Result<Vec<Job>, CiError> {
        let project = access.project().id;
        self.db
            .read("ci_pipeline_jobs", move |tx| {
                match store::pipeline::find(tx, project, pipeline)? {
                    Some(it) => Ok(store::job::of_pipeline(tx, it.id, retried)?),
                    None => Err(CiError::NotFound("Pipeline")),
                }
            })
            .await
    }

    /// Lists the jobs of a project, the newest first.
    pub(crate) async fn list_jobs(
        &self,
        access: &Access<ReadPipelines>,
        filter: JobFilter,
        slice: Slice,
    ) -> Result<Page<Job>, CiError> {
        let project = access.project().id;
        self.db
            .read("ci_list_jobs", move |tx| {
                Ok(store::job::list(tx, project, &filter, slice)?)
            })
            .await
    }

    /// Returns a job of the project.
    pub(crate) async fn load_job(
        &self,
        access: &Access<ReadPipelines>,
        job: JobId,
    ) -> Result<Job, CiError> {
        let project = access.project().id;
        let found = self
            .db
            .read("ci_job", move |tx| {
                Ok::<_, CiError>(store::job::find(tx, project, job)?)
            })
            .await?;
        found.ok_or(CiError::NotFound("Job"))
    }

    /// Returns the artifacts, runners and pipelines of these jobs of the project.
    pub(crate) async fn job_extras(
        &self,
        access: &Access<ReadPipelines>,
        jobs: &[Job],
    ) -> Result<JobExtras, CiError> {
        let project = access.project().id;
        let own = || jobs.iter().filter(|it| it.project == project);
        let ids: Vec<JobId> = own().map(|it| it.id).collect();
        let mut runners: Vec<RunnerId> = own().filter_map(|it| it.runner).collect();
        let mut pipelines: Vec<PipelineId> = own().map(|it| it.pipeline).collect();
        runners.sort_unstable();
        runners.dedup();
        pipelines.sort_unstable();
        pipelines.dedup();
        let stuck = self.why_stuck(access, jobs).await?;
        self.db
            .read("ci_job_extras", move |tx| {
                let mut extras = JobExtras {
                    machines: store::runner_manager::of_jobs(tx, &ids)?,
                    stuck,
                    ..JobExtras::default()
                };
                for artifact in store::artifact::of_jobs(tx, &ids)? {
                    extras
                        .artifacts
                        .entry(artifact.job)
                        .or_default()
                        .push(artifact);
                }
                for runner in store::runner::by_id(tx, &runners)? {
                    extras.runners.insert(runner.id, runner);
                }
                for pipeline in store::pipeline::list_by_id(tx, project, &pipelines)? {
                    extras.pipelines.insert(pipeline.id, pipeline);
                }
                Ok(extras)
            })
            .await
    }

    /// Says why a job of these present ones of its pipeline waits, `None` when it does not.
    pub(crate) async fn why_waiting(
        &self,
        access: &Access<ReadPipelines>,
        job: &Job,
        present: &[Job],
    ) -> Result<Option<Reason>, CiError> {
        let Some(at) = present.iter().position(|it| it.id == job.id) else {
            return Ok(None);
        };
        let outside = self.outside(access, std::slice::from_ref(job)).await?;
        let graph = graph_of(present);
        Ok(outside
            .first()
            .and_then(|it| Waiting::new(&graph).reason(at, it)))
    }

    /// Returns of each job what its pipeline's graph cannot tell about why it waits.
    pub(crate) async fn outside(
        &self,
        access: &Access<ReadPipelines>,
        jobs: &[Job],
    ) -> Result<Vec<Outside>, CiError> {
        let waits = self.resource_waits(jobs).await?;
        let stuck = self.why_stuck(access, jobs).await?;
        let mut all = Vec::with_capacity(jobs.len());
        for (job, wait) in jobs.iter().zip(waits) {
            let stuck = stuck.get(&job.id);
            let (mut obstacle, mut memory, mut busy) = (None, None, None);
            match stuck {
                None => {}
                Some(Stuck::Memory(shortage)) => memory = Some(shortage.clone()),
                Some(stuck) if stuck.is_obstacle() => obstacle = Some(stuck.sentence(&job.tags)),
                Some(stuck) => busy = Some(stuck.sentence(&job.tags)),
            }
            let holder = |(id, name): (JobId, String)| format!("{name} #{id}");
            all.push(Outside {
                obstacle,
                memory,
                busy,
                resource: wait.map(|it| (it.group, it.holder.map(holder))),
            });
        }
        Ok(all)
    }
}
