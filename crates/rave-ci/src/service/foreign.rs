//! Artifacts of other pipelines: those of the same family, and those of other projects as far as the job's user may read
//! them. A job does not wait for them: what is not there when it starts is missing.

use rave_ci_lang::{ForeignNeed, Unknown, Variable, expand};
use rave_core::id::{JobId, PipelineId, UserId};
use rave_core::job::Status;
use rave_core::name::FullPath;
use rave_core::permission::{Access, Principal, ReadPipelines, decide};
use rave_core::port::{JobIdentity, ProjectRef};
use rave_store::Tx;

use super::Ci;
use crate::error::CiError;
use crate::model::{Job, Source as Origin};
use crate::store;
use crate::store::artifact::Source;

/// No family is deeper.
const LEVELS: u32 = 10;

impl Ci {
    /// Returns the jobs of other pipelines that a job downloads artifacts from, `None` when one is missing. `known` are
    /// the job's variables.
    pub(super) async fn foreign_sources(
        &self,
        job: &Job,
        needs: &[ForeignNeed],
        known: &[Variable],
    ) -> Result<Option<Vec<Source>>, CiError> {
        let filled = |text: &str| expand(text, known, Unknown::Empty);
        let mut sources = Vec::new();
        for need in needs {
            let (found, wanted) = match need {
                ForeignNeed::Pipeline {
                    pipeline,
                    job: name,
                    artifacts,
                } => {
                    let id = filled(pipeline).trim().parse().map(PipelineId).ok();
                    (
                        self.relative(job.pipeline, id, filled(name)).await?,
                        *artifacts,
                    )
                }
                ForeignNeed::Project {
                    project,
                    reference,
                    job: name,
                    artifacts,
                } => {
                    let (project, reference, name) =
                        (filled(project), filled(reference), filled(name));
                    let found = self
                        .elsewhere(job.user, &project, &reference, &name)
                        .await?;
                    (found, *artifacts)
                }
            };
            match found {
                Some(source) if !source.gone => sources.extend(wanted.then_some(source)),
                Some(_) | None => return Ok(None),
            }
        }
        Ok(Some(sources))
    }

    /// Finds a job of a pipeline that belongs to the same parent.
    async fn relative(
        &self,
        own: PipelineId,
        other: Option<PipelineId>,
        name: String,
    ) -> Result<Option<Source>, CiError> {
        let Some(other) = other else {
            return Ok(None);
        };
        self.db
            .read("ci_relative", move |tx| {
                if family(tx, own)? != family(tx, other)? {
                    return Ok(None);
                }
                let found = store::job::find_named(tx, other, &name)?;
                match found.filter(|it| it.status() == Status::Success) {
                    Some(job) => Ok(store::artifact::source(tx, job.id)?),
                    None => Ok(None),
                }
            })
            .await
    }

    /// Finds the latest successful job of a branch or tag of a project that a user may read.
    async fn elsewhere(
        &self,
        user: Option<UserId>,
        project: &str,
        reference: &str,
        name: &str,
    ) -> Result<Option<Source>, CiError> {
        let Ok(path) = FullPath::parse(project.trim_matches('/')) else {
            return Ok(None);
        };
        let Some(access) = self.reads_as(user, &ProjectRef::Path(path)).await? else {
            return Ok(None);
        };
        match self.find_job_of_ref(&access, reference, name).await {
            Ok(job) => {
                let id = job.id;
                self.db
                    .read("ci_foreign_source", move |tx| {
                        Ok(store::artifact::source(tx, id)?)
                    })
                    .await
            }
            Err(CiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a project on behalf of a user who is not here.
    async fn reads_as(
        &self,
        user: Option<UserId>,
        at: &ProjectRef,
    ) -> Result<Option<Access<ReadPipelines>>, CiError> {
        let Some(user) = user else {
            return Ok(None);
        };
        let Some(principal) = self.directory.find_principal(user).await? else {
            return Ok(None);
        };
        let principal = Principal::User(principal);
        let facts = self.directory.find_project(&principal, at).await?;
        Ok(facts.and_then(|it| decide::<ReadPipelines>(&principal, it).ok()))
    }

    /// Whether a running job may download the artifacts of a job of another project: its file names that job, and its
    /// user may read that project.
    pub(crate) async fn needs_foreign(
        &self,
        identity: JobIdentity,
        other: &Job,
    ) -> Result<bool, CiError> {
        let own: JobId = identity.job;
        let plan = self
            .db
            .read("ci_foreign_needs", move |tx| {
                Ok::<_, CiError>(store::job::load_plan(tx, own)?)
            })
            .await?;
        let names = |it: &ForeignNeed| matches!(it, ForeignNeed::Project { job, .. } if *job == other.name || job.contains('$'));
        if !plan.foreign_needs.iter().any(names) {
            return Ok(false);
        }
        let at = ProjectRef::Id(other.project);
        Ok(self.reads_as(identity.user, &at).await?.is_some())
    }
}

/// Returns the pipeline that a family of children begins with.
fn family(tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<Option<PipelineId>, CiError> {
    let above = store::downstream::ancestors(tx, pipeline, LEVELS)?;
    let top = above.iter().find(|it| it.source != Origin::ParentPipeline);
    Ok(top.map(|it| it.pipeline))
}
