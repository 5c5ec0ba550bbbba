//! Resource groups: jobs that share one, and the orders in which they get it.

use rave_core::permission::{Access, RunPipelines};

use super::Ci;
use super::advance::Action;
use crate::error::CiError;
use crate::model::{Job, ProcessMode, ResourceGroup};
use crate::store;
use crate::store::resource::Wait;

/// How many jobs are listed that wait for a resource.
const UPCOMING: u32 = 100;

impl Ci {
    /// Lists the resource groups of a project.
    pub(crate) async fn resource_groups(
        &self,
        access: &Access<RunPipelines>,
    ) -> Result<Vec<ResourceGroup>, CiError> {
        let project = access.project().id;
        self.db
            .read("ci_resource_groups", move |tx| {
                Ok(store::resource::list(tx, project)?)
            })
            .await
    }

    /// Returns a resource group of a project.
    pub(crate) async fn load_resource_group(
        &self,
        access: &Access<RunPipelines>,
        name: &str,
    ) -> Result<ResourceGroup, CiError> {
        let (project, name) = (access.project().id, name.to_owned());
        let found = self
            .db
            .read("ci_resource_group", move |tx| {
                Ok::<_, CiError>(store::resource::find(tx, project, &name)?)
            })
            .await?;
        found.ok_or(CiError::NotFound(""))
    }

    /// Sets the order in which the jobs of a group get its resource.
    pub(crate) async fn put_process_mode(
        &self,
        access: &Access<RunPipelines>,
        name: &str,
        mode: ProcessMode,
    ) -> Result<ResourceGroup, CiError> {
        let group = self.load_resource_group(access, name).await?.id;
        self.db
            .write("ci_put_process_mode", move |tx| {
                Ok::<_, CiError>(store::resource::put_mode(tx, group, mode)?)
            })
            .await?;
        self.wakes.resources.notify_one();
        self.load_resource_group(access, name).await
    }

    /// Returns the jobs that will get a group's resource, in order.
    pub(crate) async fn upcoming_jobs(&self, group: &ResourceGroup) -> Result<Vec<Job>, CiError> {
        let (id, mode) = (group.id, group.process_mode);
        self.db
            .read("ci_upcoming_jobs", move |tx| {
                let upcoming = store::resource::upcoming(tx, id, mode, UPCOMING)?;
                let mut jobs = Vec::with_capacity(upcoming.len());
                for it in upcoming {
                    jobs.extend(store::job::find_anywhere(tx, it.job)?);
                }
                Ok(jobs)
            })
            .await
    }

    /// Returns the job that has a group's resource.
    pub(crate) async fn find_holder(&self, group: &ResourceGroup) -> Result<Option<Job>, CiError> {
        let id = group.id;
        self.db
            .read(
                "ci_resource_holder",
                move |tx| match store::resource::holder(tx, id)? {
                    Some(job) => Ok(store::job::find_anywhere(tx, job)?),
                    None => Ok(None),
                },
            )
            .await
    }

    /// Returns what each of these jobs waits for that waits for a resource.
    pub(crate) async fn resource_waits(&self, jobs: &[Job]) -> Result<Vec<Option<Wait>>, CiError> {
        let waiting = |it: &Job| it.state == rave_core::job::JobState::WaitingForResource;
        let groups: Vec<Option<i64>> = jobs
            .iter()
            .map(|it| it.resource_group.filter(|_| waiting(it)))
            .collect();
        if groups.iter().all(Option::is_none) {
            return Ok(groups.iter().map(|_| None).collect());
        }
        self.db
            .read("ci_resource_waits", move |tx| {
                let wait = |it: &Option<i64>| match it {
                    Some(group) => Ok(store::resource::wait_for(tx, *group)?),
                    None => Ok(None),
                };
                groups.iter().map(wait).collect()
            })
            .await
    }

    /// Takes back what ended jobs still have, should that ever be.
    pub(crate) async fn reclaim_resources(&self) -> Result<(), CiError> {
        let reclaimed = self
            .db
            .write("ci_reclaim", |tx| {
                Ok::<_, CiError>(store::resource::reclaim(tx)?)
            })
            .await?;
        if reclaimed > 0 {
            tracing::warn!(reclaimed, "took resources back from jobs that had ended");
        }
        Ok(())
    }

    /// Gives free resources to jobs that wait. Returns how many got one.
    pub(crate) async fn grant_resources(&self) -> Result<usize, CiError> {
        const GROUPS: u32 = 50;
        let next = self
            .db
            .read("ci_free_resources", |tx| {
                let mut next = Vec::new();
                for (group, mode) in store::resource::free(tx, GROUPS)? {
                    let first = store::resource::upcoming(tx, group, mode, 1)?;
                    next.extend(first.into_iter().filter(|it| it.waits));
                }
                Ok::<_, CiError>(next)
            })
            .await?;
        let mut granted = 0;
        for it in next {
            match self.apply(it.pipeline, Action::Grant { job: it.job }).await {
                Ok(_) => granted += 1,
                // It was canceled, or another process was faster.
                Err(CiError::Refused(_) | CiError::NotFound(_) | CiError::Forbidden(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(granted)
    }
}
