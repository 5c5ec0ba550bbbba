//! The ports that the forge needs, in memory: two users, one group, and the projects that are made.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rave_core::id::{NamespaceId, PipelineId, ProjectId, UserId};
use rave_core::job::Status;
use rave_core::name::{FullPath, ObjectId};
use rave_core::permission::{
    Access, DeleteProject, ManageProject, Principal, Project, ProjectFacts, ReadProject, Role,
    UserPrincipal, Via, Visibility, decide,
};
use rave_core::port::*;
use rave_core::time::Timestamp;
use uuid::Uuid;

/// Users by id: 1 owns, 2 maintains, 3 develops, 4 reports, 5 is a stranger. The password is the name.
pub(crate) const USERS: [(&str, Option<Role>); 5] = [
    ("owner", Some(Role::Owner)),
    ("maintainer", Some(Role::Maintainer)),
    ("developer", Some(Role::Developer)),
    ("reporter", Some(Role::Reporter)),
    ("stranger", None),
];

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) projects: Mutex<Vec<Project>>,
    /// Lines that each push is told.
    pub(crate) lines: Mutex<Vec<String>>,
    /// The events that reports were asked for.
    pub(crate) asked: Mutex<Vec<Uuid>>,
}

impl Fake {
    pub(crate) fn add(&self, path: &str, visibility: Visibility) -> Project {
        let mut projects = self.projects.lock().unwrap();
        let path = FullPath::parse(path).unwrap();
        let project = Project {
            id: ProjectId(i64::try_from(projects.len()).unwrap() + 1),
            namespace: NamespaceId(1),
            name: path.last().to_string(),
            path,
            description: "what it is for".into(),
            visibility,
            default_branch: "main".into(),
            archived: false,
            creator: Some(UserId(1)),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            last_activity_at: Timestamp(0),
        };
        projects.push(project.clone());
        project
    }

    fn role(principal: &Principal) -> Option<Role> {
        let index = usize::try_from(principal.user_id()?.0).ok()?;
        USERS.get(index.checked_sub(1)?).and_then(|it| it.1)
    }
}

fn namespace() -> NamespaceSummary {
    NamespaceSummary {
        id: NamespaceId(1),
        parent: None,
        name: "Team".into(),
        path: FullPath::parse("team").unwrap(),
        owner: None,
    }
}

#[async_trait]
impl Authenticator for Fake {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        _: &str,
    ) -> Result<Principal, AuthenticateError> {
        let secret = match credentials {
            Credentials::Token(it) | Credentials::Session(it) => it,
            Credentials::Basic { password, .. } => password,
        };
        let found = USERS.iter().position(|it| it.0 == secret.expose());
        let index = found.ok_or(AuthenticateError::Invalid)?;
        Ok(Principal::User(UserPrincipal {
            id: UserId(i64::try_from(index).unwrap() + 1),
            username: USERS[index].0.into(),
            name: USERS[index].0.into(),
            admin: false,
            via: Via::Password,
        }))
    }
}

#[async_trait]
impl Directory for Fake {
    async fn find_project(
        &self,
        principal: &Principal,
        at: &ProjectRef,
    ) -> Result<Option<ProjectFacts>, PortError> {
        let projects = self.projects.lock().unwrap();
        let found = projects.iter().find(|it| match at {
            ProjectRef::Id(id) => it.id == *id,
            ProjectRef::Path(path) => it.path == *path,
        });
        Ok(found.map(|it| ProjectFacts {
            project: it.clone(),
            role: Self::role(principal),
        }))
    }

    async fn load_project(&self, id: ProjectId) -> Result<Option<Project>, PortError> {
        Ok(self
            .projects
            .lock()
            .unwrap()
            .iter()
            .find(|it| it.id == id)
            .cloned())
    }

    async fn list_projects(
        &self,
        principal: &Principal,
        filter: &ProjectFilter,
        slice: Slice,
    ) -> Result<Page<ProjectFacts>, PortError> {
        let role = Self::role(principal);
        let all: Vec<_> = self
            .projects
            .lock()
            .unwrap()
            .iter()
            .map(|it| ProjectFacts {
                project: it.clone(),
                role,
            })
            .filter(|it| decide::<ReadProject>(principal, it.clone()).is_ok())
            .filter(|it| {
                filter
                    .search
                    .as_ref()
                    .is_none_or(|text| it.project.path.as_str().contains(text))
            })
            .collect();
        let total = all.len() as u64;
        let items = all
            .into_iter()
            .skip(slice.offset as usize)
            .take(slice.limit as usize)
            .collect();
        Ok(Page { items, total })
    }

    async fn create_project(
        &self,
        principal: &Principal,
        new: NewProject,
    ) -> Result<Project, CreateProjectError> {
        let in_team = new.path.parent().is_some_and(|it| it.as_str() == "team");
        if !in_team || Self::role(principal) < Some(Role::Developer) {
            return Err(CreateProjectError::NoNamespace(new.path.to_string()));
        }
        if self
            .projects
            .lock()
            .unwrap()
            .iter()
            .any(|it| it.path == new.path)
        {
            return Err(CreateProjectError::Taken(new.path));
        }
        let visibility = new.visibility.unwrap_or(Visibility::Private);
        let made = self.add(new.path.as_str(), visibility);
        let mut projects = self.projects.lock().unwrap();
        let project = projects.iter_mut().find(|it| it.id == made.id).unwrap();
        project.name = new.name.unwrap_or(made.name);
        Ok(project.clone())
    }

    async fn update_project(
        &self,
        access: &Access<ManageProject>,
        update: ProjectUpdate,
    ) -> Result<Project, PortError> {
        let mut projects = self.projects.lock().unwrap();
        let project = projects
            .iter_mut()
            .find(|it| it.id == access.project().id)
            .unwrap();
        if let Some(it) = update.default_branch {
            project.default_branch = it;
        }
        if let Some(it) = update.description {
            project.description = it;
        }
        if let Some(it) = update.name {
            project.name = it;
        }
        if let Some(it) = update.visibility {
            project.visibility = it;
        }
        if let Some(it) = update.archived {
            project.archived = it;
        }
        Ok(project.clone())
    }

    async fn delete_project(&self, access: &Access<DeleteProject>) -> Result<(), PortError> {
        self.projects
            .lock()
            .unwrap()
            .retain(|it| it.id != access.project().id);
        Ok(())
    }

    async fn touch_project(&self, _: ProjectId, _: Timestamp) -> Result<(), PortError> {
        Ok(())
    }

    async fn users(&self, ids: &[UserId]) -> Result<BTreeMap<UserId, UserSummary>, PortError> {
        let user = |id: &UserId| {
            let name = USERS[usize::try_from(id.0).unwrap() - 1].0.to_owned();
            (
                *id,
                UserSummary {
                    id: *id,
                    username: name.clone(),
                    name,
                    email: String::new(),
                    active: true,
                },
            )
        };
        Ok(ids.iter().map(user).collect())
    }

    async fn namespace(&self, _: NamespaceId) -> Result<Option<NamespaceSummary>, PortError> {
        Ok(Some(namespace()))
    }

    async fn find_namespace(
        &self,
        _: &Principal,
        path: &FullPath,
    ) -> Result<Option<NamespaceSummary>, PortError> {
        Ok((path.as_str() == "team").then(namespace))
    }

    async fn writable_namespaces(
        &self,
        principal: &Principal,
    ) -> Result<Vec<NamespaceSummary>, PortError> {
        Ok(Self::role(principal)
            .map(|_| namespace())
            .into_iter()
            .collect())
    }
}

#[async_trait]
impl Pipelines for Fake {
    async fn settings(&self, _: ProjectId) -> Result<PipelineSettings, PortError> {
        Ok(PipelineSettings { auto_cancel: true })
    }

    async fn put_settings(
        &self,
        _: &Access<ManageProject>,
        _: PipelineSettings,
    ) -> Result<(), PortError> {
        Ok(())
    }

    async fn badges(
        &self,
        _: ProjectId,
        commits: &[ObjectId],
    ) -> Result<BTreeMap<String, PipelineBadge>, PortError> {
        let badge = PipelineBadge {
            pipeline: PipelineId(7),
            status: Status::Success,
        };
        Ok(commits
            .iter()
            .take(1)
            .map(|it| (it.to_string(), badge))
            .collect())
    }

    async fn push_report(&self, events: &[Uuid], _: Duration) -> Vec<String> {
        self.asked.lock().unwrap().extend(events);
        self.lines.lock().unwrap().clone()
    }
}
