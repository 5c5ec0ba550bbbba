//! The port by which continuous integration reads code.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use rave_core::id::{PipelineId, ProjectId};
use rave_core::name::{ObjectId, RefName, RepoPath};
use rave_core::permission::Role;
use rave_core::port::{Commit, Forge, ForgeError, PortError};

use crate::error::GitError;
use crate::git::batch::{Batch, Kind};
use crate::git::{diff, history, refs, tree};
use crate::service::Git;

impl Git {
    /// Returns the repository of a project whose existence the caller has established.
    fn existing(&self, project: ProjectId) -> PathBuf {
        self.repositories.path(project)
    }
}

#[async_trait]
impl Forge for Git {
    async fn read_file(
        &self,
        project: ProjectId,
        commit: &ObjectId,
        path: &RepoPath,
        limit_bytes: u64,
    ) -> Result<Option<Bytes>, ForgeError> {
        let mut batch = Batch::open(&self.runner, &self.existing(project)).await?;
        let found = batch.info(&format!("{commit}:{path}")).await?;
        let Some(info) = found.filter(|it| it.kind == Kind::Blob) else {
            return Ok(None);
        };
        if info.size_bytes > limit_bytes {
            return Err(ForgeError::TooLarge {
                path: path.to_string(),
                size_bytes: info.size_bytes,
                limit_bytes,
            });
        }
        Ok(Some(batch.content(&info).await?.into()))
    }

    async fn commit(
        &self,
        project: ProjectId,
        id: &ObjectId,
    ) -> Result<Option<Commit>, ForgeError> {
        Ok(history::find_commit(&self.runner, &self.existing(project), id).await?)
    }

    async fn resolve(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<(ObjectId, Option<RefName>)>, ForgeError> {
        let mut batch = Batch::open(&self.runner, &self.existing(project)).await?;
        Ok(batch.resolve(name).await?)
    }

    async fn list_files(
        &self,
        project: ProjectId,
        commit: &ObjectId,
        limit: usize,
    ) -> Result<Vec<String>, ForgeError> {
        Ok(tree::list_files(&self.runner, &self.existing(project), commit, limit).await?)
    }

    async fn changed_files(
        &self,
        project: ProjectId,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<Vec<String>, ForgeError> {
        let from = (!from.is_zero()).then_some(from);
        Ok(diff::changed_paths(&self.runner, &self.existing(project), from, to).await?)
    }

    async fn merge_base(
        &self,
        project: ProjectId,
        one: &ObjectId,
        other: &ObjectId,
    ) -> Result<Option<ObjectId>, ForgeError> {
        Ok(history::merge_base(&self.runner, &self.existing(project), one, other).await?)
    }

    async fn tags(&self, project: ProjectId) -> Result<Vec<String>, ForgeError> {
        let targets = refs::list_targets(&self.runner, &self.existing(project)).await?;
        let tags = targets.into_keys();
        Ok(tags
            .filter_map(|it| it.strip_prefix("refs/tags/").map(str::to_owned))
            .collect())
    }

    async fn keep(
        &self,
        project: ProjectId,
        pipeline: PipelineId,
        commit: &ObjectId,
    ) -> Result<(), ForgeError> {
        let name = RefName::parse(&format!("refs/pipelines/{pipeline}"))
            .map_err(|it| PortError::new("name a pipeline's reference", it))?;
        Ok(refs::keep(&self.runner, &self.existing(project), &name, commit).await?)
    }

    async fn is_protected(
        &self,
        project: ProjectId,
        reference: &RefName,
    ) -> Result<bool, ForgeError> {
        let Some(branch) = reference.branch() else {
            return Ok(false);
        };
        let rules = self
            .protected_branches(project)
            .await
            .map_err(GitError::from)?;
        Ok(rules.iter().any(|it| it.covers(branch)))
    }

    async fn may_change(
        &self,
        project: ProjectId,
        reference: &RefName,
        role: Option<Role>,
    ) -> Result<bool, ForgeError> {
        let Some(branch) = reference.branch() else {
            return Ok(true);
        };
        let rules = self
            .protected_branches(project)
            .await
            .map_err(GitError::from)?;
        let mut covering = rules.iter().filter(|it| it.covers(branch)).peekable();
        let open = covering.peek().is_none();
        Ok(open || covering.any(|it| it.lets_push(role) || it.lets_merge(role)))
    }
}
