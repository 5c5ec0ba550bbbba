//! Whose runners somebody keeps: those of the instance are administrators', a group's its owners', a project's its
//! maintainers'.

use rave_core::id::{NamespaceId, ProjectId, RunnerId};
use rave_core::permission::{Access, ManageProject, Principal, Role, UserPrincipal, Via, decide};
use rave_core::port::{GroupRef, NamespaceSummary, ProjectFilter, ProjectRef, Slice};
use rave_http::HttpError;

use super::Ci;
use super::runners::RunnerDetails;
use crate::error::CiError;
use crate::model::RunnerType;

/// How many projects are looked through for those that somebody maintains.
const PROJECTS: u64 = 2000;

/// The projects and groups whose runners somebody keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) projects: Vec<ProjectId>,
    pub(crate) groups: Vec<i64>,
}

/// Returns the user without the limits of their token, whose scope for runners was checked: that for projects does not
/// matter here.
fn unscoped(user: &UserPrincipal) -> Principal {
    Principal::User(UserPrincipal {
        via: Via::Password,
        ..user.clone()
    })
}

impl Ci {
    /// Refuses whoever may not make and manage runners of an owner.
    pub(crate) async fn need_runner_right(
        &self,
        user: &UserPrincipal,
        kind: RunnerType,
        project: Option<ProjectId>,
        group: Option<i64>,
    ) -> Result<(), HttpError> {
        match (kind, project, group) {
            (RunnerType::Project, Some(project), _) => self.manage(user, project).await.map(drop),
            (RunnerType::Group, _, Some(group)) => {
                let at = group.to_string();
                self.load_kept_group(user, &at).await.map(drop)
            }
            _ if user.admin => Ok(()),
            _ => Err(HttpError::forbidden(
                "you are not allowed to manage this runner",
            )),
        }
    }

    async fn manage(
        &self,
        user: &UserPrincipal,
        project: ProjectId,
    ) -> Result<Access<ManageProject>, HttpError> {
        let principal = unscoped(user);
        let facts = self
            .directory
            .find_project(&principal, &ProjectRef::Id(project))
            .await?;
        let facts = facts.ok_or_else(|| HttpError::not_found("Project"))?;
        decide::<ManageProject>(&principal, facts)
            .map_err(|denied| HttpError::denied(&denied, &principal))
    }

    /// Returns a group that the user owns, by its id or path.
    pub(crate) async fn load_kept_group(
        &self,
        user: &UserPrincipal,
        at: &str,
    ) -> Result<NamespaceSummary, HttpError> {
        let missing = || HttpError::not_found("Group");
        let at = GroupRef::parse(at).ok_or_else(missing)?;
        let facts = self.directory.find_group(&unscoped(user), &at).await?;
        let facts = facts.ok_or_else(missing)?;
        if facts.role == Some(Role::Owner) {
            return Ok(facts.group);
        }
        Err(HttpError::forbidden(
            "only an owner of the group may do this",
        ))
    }

    /// Returns the ids of a group and of those above it.
    pub(crate) async fn group_and_above(
        &self,
        group: &NamespaceSummary,
    ) -> Result<Vec<i64>, CiError> {
        let (mut above, mut next) = (vec![group.id.0], group.parent);
        while let Some(id) = next.filter(|it| !above.contains(&it.0)) {
            above.push(id.0);
            next = self.directory.namespace(id).await?.and_then(|it| it.parent);
        }
        Ok(above)
    }

    /// Returns a runner that the user may manage. Others do not exist for them.
    pub(crate) async fn load_kept_runner(
        &self,
        user: &UserPrincipal,
        id: RunnerId,
    ) -> Result<RunnerDetails, HttpError> {
        let not_found = || HttpError::not_found("Runner");
        let details = self.find_runner(id).await?.ok_or_else(not_found)?;
        if user.admin {
            return Ok(details);
        }
        let runner = &details.runner;
        let owners: Vec<Option<ProjectId>> = match runner.kind {
            RunnerType::Project => details.projects.iter().copied().map(Some).collect(),
            RunnerType::Group | RunnerType::Instance => vec![None],
        };
        for project in owners {
            match self
                .need_runner_right(user, runner.kind, project, runner.group)
                .await
            {
                Ok(()) => return Ok(details),
                Err(error) if error.status().is_client_error() => {}
                Err(error) => return Err(error),
            }
        }
        Err(not_found())
    }

    /// Returns the projects and groups whose runners the user keeps.
    pub(crate) async fn kept_by(&self, user: &UserPrincipal) -> Result<Kept, HttpError> {
        let principal = unscoped(user);
        let filter = ProjectFilter {
            membership: true,
            ..ProjectFilter::default()
        };
        let all = Slice {
            offset: 0,
            limit: PROJECTS,
        };
        let mut kept = Kept::default();
        let found = self
            .directory
            .list_projects(&principal, &filter, all)
            .await?;
        for facts in found.items {
            let id = facts.project.id;
            if decide::<ManageProject>(&principal, facts).is_ok() {
                kept.projects.push(id);
            }
        }
        for namespace in self.directory.writable_namespaces(&principal).await? {
            let at = GroupRef::Id(NamespaceId(namespace.id.0));
            let facts = self.directory.find_group(&principal, &at).await?;
            if facts.is_some_and(|it| it.role == Some(Role::Owner)) {
                kept.groups.push(namespace.id.0);
            }
        }
        Ok(kept)
    }
}
