//! Which pipelines belong together, as far as the caller may know.

use std::collections::BTreeMap;

use rave_core::id::{JobId, PipelineId};
use rave_core::permission::{Access, Project, ReadPipelines, decide};
use rave_core::port::ProjectRef;

use super::Ci;
use crate::error::CiError;
use crate::model::{Job, Pipeline};
use crate::store;

/// A pipeline that a bridge made or follows.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) bridge: JobId,
    pub(crate) pipeline: Pipeline,
    /// `None` when the caller may not see it: then no more is told than that there is one, and how it fares.
    pub(crate) project: Option<Project>,
    /// Whether the bridge made it.
    pub(crate) made: bool,
}

/// What the bridges of a pipeline came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    pub(crate) downstream: Vec<Link>,
    /// Why bridges have no pipeline.
    pub(crate) errors: BTreeMap<JobId, Vec<String>>,
}

impl Links {
    /// Returns the pipeline of a bridge.
    pub(crate) fn of(&self, bridge: JobId) -> Option<&Link> {
        self.downstream.iter().find(|it| it.bridge == bridge)
    }
}

impl Ci {
    /// Returns what these jobs came to, those of them that are bridges.
    pub(crate) async fn links(
        &self,
        access: &Access<ReadPipelines>,
        jobs: &[Job],
    ) -> Result<Links, CiError> {
        let bridges: Vec<JobId> = jobs.iter().filter(|it| it.bridge).map(|it| it.id).collect();
        if bridges.is_empty() {
            return Ok(Links::default());
        }
        let (found, errors) = self
            .db
            .read("ci_links", move |tx| {
                let mut found = Vec::new();
                for (bridge, pipeline, made) in store::downstream::linked(tx, &bridges)? {
                    let pipeline = store::pipeline::find_anywhere(tx, pipeline)?;
                    found.extend(pipeline.map(|it| (bridge, it, made)));
                }
                let errors = store::downstream::errors_of(tx, &bridges)?;
                Ok::<_, CiError>((found, errors))
            })
            .await?;
        let mut downstream = Vec::with_capacity(found.len());
        for (bridge, pipeline, made) in found {
            downstream.push(Link {
                project: self.visible(access, &pipeline).await?,
                bridge,
                pipeline,
                made,
            });
        }
        Ok(Links { downstream, errors })
    }

    /// Returns the pipeline whose bridge made this one.
    pub(crate) async fn upstream_link(
        &self,
        access: &Access<ReadPipelines>,
        pipeline: &Pipeline,
    ) -> Result<Option<Link>, CiError> {
        let Some(upstream) = pipeline.upstream else {
            return Ok(None);
        };
        let found = self
            .db
            .read("ci_upstream", move |tx| {
                Ok::<_, CiError>(store::pipeline::find_anywhere(tx, upstream.pipeline)?)
            })
            .await?;
        let Some(found) = found else {
            return Ok(None);
        };
        Ok(Some(Link {
            project: self.visible(access, &found).await?,
            bridge: upstream.bridge,
            pipeline: found,
            made: true,
        }))
    }

    /// Returns the project of a pipeline if the caller may see its pipelines.
    async fn visible(
        &self,
        access: &Access<ReadPipelines>,
        pipeline: &Pipeline,
    ) -> Result<Option<Project>, CiError> {
        if pipeline.project == access.project().id {
            return Ok(Some(access.project().clone()));
        }
        let at = ProjectRef::Id(pipeline.project);
        let facts = self.directory.find_project(access.principal(), &at).await?;
        let decided = facts.map(|it| decide::<ReadPipelines>(access.principal(), it));
        Ok(decided.and_then(Result::ok).map(|it| it.project().clone()))
    }

    /// Returns the pipelines below one of the project, children and theirs, in the order in which they were made.
    pub(crate) async fn descendants(
        &self,
        pipeline: PipelineId,
    ) -> Result<Vec<PipelineId>, CiError> {
        self.db
            .read("ci_descendants", move |tx| {
                let mut all = vec![pipeline];
                let mut next = 0;
                while next < all.len() {
                    all.extend(store::downstream::children(tx, all[next])?);
                    next += 1;
                }
                all.remove(0);
                all.sort_unstable();
                Ok(all)
            })
            .await
    }
}
