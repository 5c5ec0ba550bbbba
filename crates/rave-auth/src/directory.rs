//! Who and what exists, for the other parts.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rave_core::event::{EventKind, NewEvent};
use rave_core::id::{NamespaceId, ProjectId, UserId};
use rave_core::name::FullPath;
use rave_core::permission::{
    Access, DeleteProject, ManageProject, Principal, Project, ProjectFacts, Role, Scope,
    UserPrincipal, Via,
};
use rave_core::port::{
    CreateProjectError, Directory, GroupFacts, GroupRef, NamespaceSummary, NewProject, Page,
    PortError, ProjectFilter, ProjectRef, ProjectUpdate, Slice, UserSummary,
};
use rave_core::time::Timestamp;
use rave_store::{Error, Tx};
use serde_json::json;

use crate::error::port_error;
use crate::service::groups::NamespaceRef;
use crate::store::namespaces::{self, Namespace, NamespaceFilter};
use crate::store::paths::{Place, find_place};
use crate::store::reach::{Viewer, role_at};
use crate::store::{projects, users};
use crate::{Auth, AuthError};

/// Most namespaces that a form offers.
const OFFERED: u64 = 500;

#[async_trait]
impl Directory for Auth {
    async fn find_project(
        &self,
        principal: &Principal,
        at: &ProjectRef,
    ) -> Result<Option<ProjectFacts>, PortError> {
        let (user, at) = (principal.user().map(|it| it.id), at.clone());
        self.db
            .read("find_project", move |tx| project_facts(tx, user, &at))
            .await
            .map_err(|it| port_error("looking a project up", it))
    }

    async fn load_project(&self, id: ProjectId) -> Result<Option<Project>, PortError> {
        self.db
            .read("load_project", move |tx| projects::find_project(tx, id))
            .await
            .map_err(|it| port_error("loading a project", it))
    }

    async fn list_projects(
        &self,
        principal: &Principal,
        filter: &ProjectFilter,
        slice: Slice,
    ) -> Result<Page<ProjectFacts>, PortError> {
        let (viewer, filter) = (Viewer::from(principal), filter.clone());
        self.db
            .read("list_projects", move |tx| {
                projects::list_projects(tx, &viewer, &filter, slice)
            })
            .await
            .map_err(|it| port_error("listing projects", it))
    }

    async fn create_project(
        &self,
        principal: &Principal,
        new: NewProject,
    ) -> Result<Project, CreateProjectError> {
        if !principal.has_scope(&[Scope::Api, Scope::WriteRepository]) {
            return Err(CreateProjectError::InsufficientScope);
        }
        let path = new.path.clone();
        let parent = path.parent();
        let missing = || {
            let parent = parent.as_ref().map_or("", FullPath::as_str);
            CreateProjectError::NoNamespace(parent.to_owned())
        };
        let Some(creator) = principal.user().map(|it| it.id) else {
            return Err(missing());
        };
        let viewer = Viewer::from(principal);
        let made = self.db.write("create_project", move |tx| {
            create_project(tx, &viewer, creator, &new)
        });
        made.await.map_err(|error| match error {
            AuthError::NotFound(_) => missing(),
            AuthError::Taken { .. } | AuthError::Invalid { .. } => CreateProjectError::Taken(path),
            AuthError::Store(source) => port_error("making a project", source).into(),
            other => PortError::new("making a project", other).into(),
        })
    }

    async fn update_project(
        &self,
        access: &Access<ManageProject>,
        update: ProjectUpdate,
    ) -> Result<Project, PortError> {
        let (id, user) = (access.project().id, access.principal().user_id());
        let updated = self.db.write("update_project", move |tx| {
            let project = projects::update_project(tx, id, &update)?;
            if let Some(project) = &project {
                tx.append(project_event(EventKind::ProjectUpdated, project, user))?;
            }
            Ok::<_, Error>(project)
        });
        updated
            .await
            .map_err(|it| port_error("changing a project", it))?
            .ok_or_else(|| PortError::new("changing a project", "it was deleted meanwhile"))
    }

    async fn delete_project(&self, access: &Access<DeleteProject>) -> Result<(), PortError> {
        let (project, user) = (access.project().clone(), access.principal().user_id());
        self.db
            .write("delete_project", move |tx| {
                delete_project(tx, &project, user)
            })
            .await
            .map_err(|it| port_error("deleting a project", it))
    }

    async fn touch_project(&self, id: ProjectId, at: Timestamp) -> Result<(), PortError> {
        self.db
            .write("touch_project", move |tx| {
                projects::touch_project(tx, id, at)
            })
            .await
            .map_err(|it| port_error("noting a project's activity", it))
    }

    async fn users(&self, ids: &[UserId]) -> Result<BTreeMap<UserId, UserSummary>, PortError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids = ids.to_vec();
        let found = self
            .db
            .read("users", move |tx| users::users_by_id(tx, &ids))
            .await;
        let found = found.map_err(|it| port_error("looking users up", it))?;
        Ok(found.into_iter().map(|it| (it.id, it.summary())).collect())
    }

    async fn namespace(&self, id: NamespaceId) -> Result<Option<NamespaceSummary>, PortError> {
        let found = self
            .db
            .read("namespace", move |tx| namespaces::find_namespace(tx, id))
            .await;
        let found = found.map_err(|it| port_error("looking a namespace up", it))?;
        Ok(found.map(Namespace::summary))
    }

    async fn find_namespace(
        &self,
        principal: &Principal,
        path: &FullPath,
    ) -> Result<Option<NamespaceSummary>, PortError> {
        let (viewer, path) = (Viewer::from(principal), path.clone());
        let found = self.db.read("find_namespace", move |tx| {
            visible_namespace(tx, &viewer, &path)
        });
        let found = found
            .await
            .map_err(|it| port_error("looking a namespace up", it))?;
        Ok(found.map(Namespace::summary))
    }

    async fn find_group(
        &self,
        principal: &Principal,
        at: &GroupRef,
    ) -> Result<Option<GroupFacts>, PortError> {
        let at = match at.clone() {
            GroupRef::Id(id) => NamespaceRef::Id(id),
            GroupRef::Path(path) => NamespaceRef::Path(path),
        };
        let found = match self.namespace_access(principal, at).await {
            Ok(found) => found.filter(|it| it.namespace.owner.is_none()),
            Err(AuthError::Store(source)) => return Err(port_error("looking a group up", source)),
            Err(other) => return Err(PortError::new("looking a group up", other)),
        };
        Ok(found.map(|it| GroupFacts {
            group: it.namespace.summary(),
            role: it.role,
        }))
    }

    async fn find_principal(&self, user: UserId) -> Result<Option<UserPrincipal>, PortError> {
        let found = self
            .db
            .read("find_principal", move |tx| users::find_user(tx, user))
            .await;
        let found = found.map_err(|it| port_error("looking a user up", it))?;
        let active = found.filter(|it| it.active);
        Ok(active.map(|it| UserPrincipal {
            id: it.id,
            username: it.username,
            name: it.name,
            admin: it.admin,
            via: Via::Password,
        }))
    }

    async fn writable_namespaces(
        &self,
        principal: &Principal,
    ) -> Result<Vec<NamespaceSummary>, PortError> {
        let Some(user) = principal.user().map(|it| it.id) else {
            return Ok(Vec::new());
        };
        let viewer = Viewer::from(principal);
        let filter = NamespaceFilter {
            role: (!viewer.admin).then_some(Role::Maintainer),
            // Administrators may write to the namespaces of other users too; a form need not offer those.
            own: Some(user),
            ..NamespaceFilter::default()
        };
        let slice = Slice {
            offset: 0,
            limit: OFFERED,
        };
        let found = self
            .db
            .read("writable_namespaces", move |tx| {
                namespaces::list_namespaces(tx, &viewer, &filter, slice)
            })
            .await;
        let found = found.map_err(|it| port_error("listing namespaces", it))?;
        let all = found.items.into_iter().map(|(it, _)| it.summary());
        let mut list: Vec<NamespaceSummary> = all.collect();
        list.sort_by_key(|it| it.owner.is_none());
        Ok(list)
    }
}

fn project_facts(
    tx: &mut Tx<'_>,
    user: Option<UserId>,
    at: &ProjectRef,
) -> Result<Option<ProjectFacts>, Error> {
    let id = match at {
        ProjectRef::Id(id) => *id,
        ProjectRef::Path(path) => match find_place(tx, path)? {
            Some(Place::Project(id)) => id,
            Some(Place::Namespace(_)) | None => return Ok(None),
        },
    };
    let Some(project) = projects::find_project(tx, id)? else {
        return Ok(None);
    };
    let role = match user {
        Some(user) => role_at(tx, user, project.namespace, Some(id))?,
        None => None,
    };
    Ok(Some(ProjectFacts { project, role }))
}

/// Returns the namespace at a path, if the viewer may know that it exists.
pub(crate) fn visible_namespace(
    tx: &mut Tx<'_>,
    viewer: &Viewer,
    path: &FullPath,
) -> Result<Option<Namespace>, Error> {
    let Some(Place::Namespace(id)) = find_place(tx, path)? else {
        return Ok(None);
    };
    let Some(namespace) = namespaces::find_namespace(tx, id)? else {
        return Ok(None);
    };
    let seen = namespaces::sees_namespace(tx, viewer, &namespace)?;
    Ok(seen.then_some(namespace))
}

/// Makes a project where the viewer may: in their own namespace, in a group they maintain, or as an administrator.
fn create_project(
    tx: &mut Tx<'_>,
    viewer: &Viewer,
    creator: UserId,
    new: &NewProject,
) -> Result<Project, AuthError> {
    const MISSING: AuthError = AuthError::NotFound("Namespace");
    let parent = new.path.parent().ok_or(MISSING)?;
    let namespace = match find_place(tx, &parent)? {
        Some(Place::Namespace(id)) => namespaces::find_namespace(tx, id)?.ok_or(MISSING)?,
        Some(Place::Project(_)) | None => return Err(MISSING),
    };
    let role = role_at(tx, creator, namespace.id, None)?;
    if !viewer.admin && role.is_none_or(|it| it < Role::Maintainer) {
        return Err(MISSING);
    }
    // The namespace's own spelling, whatever the caller wrote.
    let path = namespace.path.join(&new.path.last());
    let project = projects::insert_project(tx, namespace.id, &path, new, creator)?;
    tx.append(project_event(
        EventKind::ProjectCreated,
        &project,
        Some(creator),
    ))?;
    Ok(project)
}

/// Removes a project and tells those who keep its repository, pipelines and files.
pub(crate) fn delete_project(
    tx: &mut Tx<'_>,
    project: &Project,
    user: Option<UserId>,
) -> Result<(), Error> {
    if projects::delete_project(tx, project.id)? {
        tx.append(project_event(EventKind::ProjectDeleted, project, user))?;
    }
    Ok(())
}

fn project_event(kind: EventKind, project: &Project, user: Option<UserId>) -> NewEvent {
    let payload = json!({
        "path": project.path.as_str(),
        "namespace_id": project.namespace.0,
        "visibility": project.visibility.label(),
        "default_branch": project.default_branch,
        "archived": project.archived,
        "user_id": user.map(|it| it.0),
    });
    NewEvent::new(kind, format!("project/{}", project.id))
        .project(project.id)
        .payload(payload)
}
