//! Which projects and groups use a cache, and what their jobs are told of it.

use async_trait::async_trait;
use rave_core::id::{JobId, ProjectId};
use rave_core::name::FullPath;
use rave_core::permission::{Principal, Role};
use rave_core::port::{BinaryCaches, GroupRef, JobCache, JobCacheUse, PortError, ProjectRef};

use super::Caches;
use crate::error::CacheError;
use crate::model::CacheName;
use crate::rights::{Allowed, Configure, Pull};
use crate::store::attachments::{self, Attachment, Target};
use crate::store::{caches, statistics};

/// A project or group that a cache is attached to, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownAttachment {
    pub(crate) kind: &'static str,
    pub(crate) path: String,
    pub(crate) jobs_push: bool,
}

impl Caches {
    /// Attaches a cache to a project or group: members may read it by their role, and jobs may read, and push if so said.
    /// Takes a maintainer of the project or group as well.
    pub(crate) async fn attach(
        &self,
        allowed: &Allowed<Configure>,
        principal: &Principal,
        path: &FullPath,
        jobs_push: bool,
    ) -> Result<(), CacheError> {
        let target = self.target(principal, path).await?;
        let it = Attachment {
            cache: allowed.cache.cache.id,
            target,
            jobs_push,
        };
        self.db
            .write("cache_attach", move |tx| attachments::put(tx, it))
            .await?;
        self.verdicts.clear();
        Ok(())
    }

    /// Detaches a cache.
    pub(crate) async fn detach(
        &self,
        allowed: &Allowed<Configure>,
        principal: &Principal,
        path: &FullPath,
    ) -> Result<(), CacheError> {
        let target = self.target(principal, path).await?;
        let id = allowed.cache.cache.id;
        let done = self
            .db
            .write("cache_detach", move |tx| {
                attachments::remove(tx, id, target)
            })
            .await?;
        self.verdicts.clear();
        if done {
            Ok(())
        } else {
            Err(CacheError::NoSuchObject("project or group"))
        }
    }

    /// Finds a project or group that the caller maintains.
    async fn target(&self, principal: &Principal, path: &FullPath) -> Result<Target, CacheError> {
        let project = self
            .directory
            .find_project(principal, &ProjectRef::Path(path.clone()))
            .await?;
        let (target, role) = match project {
            Some(facts) => (Target::Project(facts.project.id), facts.role),
            None => {
                let group = self
                    .directory
                    .find_group(principal, &GroupRef::Path(path.clone()))
                    .await?;
                let group = group.ok_or(CacheError::NoSuchObject("project or group"))?;
                (Target::Group(group.group.id), group.role)
            }
        };
        if principal.is_admin() || role.is_some_and(|it| it >= Role::Maintainer) {
            Ok(target)
        } else {
            Err(CacheError::Forbidden(format!(
                "You are no maintainer of {path}."
            )))
        }
    }

    /// Returns what a cache is attached to, as far as the caller may know.
    pub(crate) async fn list_attached(
        &self,
        allowed: &Allowed<Pull>,
        principal: &Principal,
    ) -> Result<Vec<ShownAttachment>, CacheError> {
        let id = allowed.cache.cache.id;
        let all = self
            .db
            .read("cache_attached", move |tx| attachments::of_cache(tx, id))
            .await?;
        let mut shown = Vec::new();
        for it in all {
            let found = match it.target {
                Target::Project(id) => {
                    let facts = self
                        .directory
                        .find_project(principal, &ProjectRef::Id(id))
                        .await?;
                    facts.map(|it| ("project", it.project.path))
                }
                Target::Group(id) => {
                    let facts = self
                        .directory
                        .find_group(principal, &GroupRef::Id(id))
                        .await?;
                    facts.map(|it| ("group", it.group.path))
                }
            };
            if let Some((kind, path)) = found {
                shown.push(ShownAttachment {
                    kind,
                    path: path.to_string(),
                    jobs_push: it.jobs_push,
                });
            }
        }
        Ok(shown)
    }
}

#[async_trait]
impl BinaryCaches for Caches {
    async fn for_project(&self, project: ProjectId) -> Result<Vec<JobCache>, PortError> {
        let failed = |error: CacheError| {
            PortError::transient("looking for a project's binary caches", error)
        };
        let groups = self.groups_above(project).await.map_err(failed)?;
        let found = self
            .db
            .read("cache_of_project", move |tx| {
                let attached = attachments::of_targets(tx, project, &groups)?;
                if attached.is_empty() {
                    return Ok::<_, rave_store::Error>(Vec::new());
                }
                let all = caches::list_all(tx)?;
                let mut found: Vec<(CacheName, bool)> = Vec::new();
                for it in attached {
                    let Some(cache) = all.iter().find(|cache| cache.id == it.cache) else {
                        continue;
                    };
                    match found.iter_mut().find(|(name, _)| *name == cache.name) {
                        Some((_, push)) => *push |= it.jobs_push,
                        None => found.push((cache.name.clone(), it.jobs_push)),
                    }
                }
                Ok(found)
            })
            .await
            .map_err(|it| failed(it.into()))?;
        let mut caches = Vec::new();
        for (name, may_push) in found {
            if let Some(open) = self.open(&name).await.map_err(failed)? {
                caches.push(JobCache {
                    name: name.to_string(),
                    url: format!("{}{name}", self.config.endpoint()),
                    public_keys: open.public_keys(),
                    may_push,
                });
            }
        }
        Ok(caches)
    }

    async fn used_by(&self, job: JobId) -> Result<Vec<JobCacheUse>, PortError> {
        let failed = |error: rave_store::Error| {
            PortError::transient("looking for what a job had of caches", error)
        };
        self.settle().await.map_err(failed)?;
        let used = self
            .db
            .read("cache_of_job", move |tx| statistics::of_job(tx, job.0))
            .await
            .map_err(failed)?;
        let count = |it: i64| u64::try_from(it).unwrap_or(0);
        let shown = used.into_iter().map(|(cache, it)| JobCacheUse {
            cache,
            hits: count(it.hits),
            misses: count(it.misses),
            bytes_served: count(it.bytes_served),
            paths_pushed: count(it.paths_added),
            bytes_pushed: count(it.nar_bytes),
        });
        Ok(shown.collect())
    }
}
