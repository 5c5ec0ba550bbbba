//! Groups: made, changed, deleted, and the proof of a role in one.

use rave_core::event::{EventKind, NewEvent};
use rave_core::id::NamespaceId;
use rave_core::name::{FullPath, PathSegment};
use rave_core::permission::{Principal, Role, UserPrincipal, Visibility};
use rave_core::port::{Page, Slice};
use rave_store::Tx;
use serde_json::json;

use super::users::checked_name;
use crate::directory::delete_project;
use crate::store::members::{Source, insert_member};
use crate::store::namespaces::{self, Namespace, NamespaceFilter, NamespaceRow};
use crate::store::paths::{Place, find_place};
use crate::store::projects;
use crate::store::reach::{Viewer, role_at};
use crate::{Auth, AuthError};

/// How a request names a namespace.
#[derive(Clone, Debug)]
pub(crate) enum NamespaceRef {
    Id(NamespaceId),
    Path(FullPath),
}

impl NamespaceRef {
    /// Reads an id or a full path. `None` for what cannot be either.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.parse::<i64>() {
            Ok(id) => Some(Self::Id(NamespaceId(id))),
            Err(_) => FullPath::parse(text).ok().map(Self::Path),
        }
    }
}

/// A namespace that the caller may know of, and their role in it. An administrator has the owner's.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceAccess {
    pub(crate) namespace: Namespace,
    pub(crate) role: Option<Role>,
}

/// Proof that the caller owns a group.
#[derive(Clone, Debug)]
pub(crate) struct OwnedGroup(Namespace);

impl NamespaceAccess {
    /// Asks for proof that the caller owns the group.
    ///
    /// # Errors
    /// When they do not, or it is a user's own namespace, which changes with its user only.
    pub(crate) fn owned(&self) -> Result<OwnedGroup, AuthError> {
        if self.namespace.owner.is_some() {
            return Err(AuthError::NotFound("Group"));
        }
        if self.role != Some(Role::Owner) {
            return Err(AuthError::Forbidden(
                "only an owner of the group may do this",
            ));
        }
        Ok(OwnedGroup(self.namespace.clone()))
    }
}

impl OwnedGroup {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.0
    }
}

/// A group that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewGroup {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) parent: Option<NamespaceId>,
    pub(crate) description: String,
    pub(crate) visibility: Visibility,
}

impl Auth {
    /// Finds a namespace if the caller may know that it exists.
    pub(crate) async fn namespace_access(
        &self,
        principal: &Principal,
        at: NamespaceRef,
    ) -> Result<Option<NamespaceAccess>, AuthError> {
        let viewer = Viewer::from(principal);
        let found = self
            .db
            .read("namespace_access", move |tx| access(tx, &viewer, &at));
        found.await
    }

    /// Finds a group if the caller may know that it exists.
    pub(crate) async fn group_access(
        &self,
        principal: &Principal,
        text: &str,
    ) -> Result<NamespaceAccess, AuthError> {
        let missing = AuthError::NotFound("Group");
        let Some(at) = NamespaceRef::parse(text) else {
            return Err(missing);
        };
        let found = self.namespace_access(principal, at).await?;
        found
            .filter(|it| it.namespace.owner.is_none())
            .ok_or(missing)
    }

    pub(crate) async fn list_namespaces(
        &self,
        principal: &Principal,
        filter: NamespaceFilter,
        slice: Slice,
    ) -> Result<Page<(Namespace, Option<Role>)>, AuthError> {
        let viewer = Viewer::from(principal);
        let listed = self.db.read("list_namespaces", move |tx| {
            namespaces::list_namespaces(tx, &viewer, &filter, slice)
        });
        Ok(listed.await?)
    }

    /// Makes a group that the caller owns: at the top, or below one that they own or maintain.
    pub(crate) async fn create_group(
        &self,
        caller: &UserPrincipal,
        new: NewGroup,
    ) -> Result<Namespace, AuthError> {
        let caller = caller.clone();
        self.db
            .write("create_group", move |tx| create_group(tx, &caller, &new))
            .await
    }

    /// Makes those groups of a path that do not exist, so that projects can be made in the last one.
    ///
    /// # Errors
    /// When a part of the path is taken by something else, the caller may not make groups there, or the store fails.
    pub async fn ensure_groups(
        &self,
        caller: &UserPrincipal,
        path: &FullPath,
    ) -> Result<(), AuthError> {
        let (caller, path) = (caller.clone(), path.clone());
        self.db
            .write("ensure_groups", move |tx| ensure_groups(tx, &caller, &path))
            .await
    }

    /// Changes what people see of a group; `None` leaves it.
    pub(crate) async fn update_group(
        &self,
        group: &OwnedGroup,
        name: Option<String>,
        description: Option<String>,
        visibility: Option<Visibility>,
    ) -> Result<Namespace, AuthError> {
        let old = group.0.clone();
        self.db
            .write("update_group", move |tx| {
                let name = name.unwrap_or(old.name);
                let description = description.unwrap_or(old.description);
                let visibility = visibility.unwrap_or(old.visibility);
                let name = checked_name(&name)?;
                namespaces::update_namespace(tx, old.id, name, &description, visibility)?;
                namespaces::find_namespace(tx, old.id)?.ok_or(AuthError::NotFound("Group"))
            })
            .await
    }

    /// Deletes a group with all groups and projects in it.
    pub(crate) async fn delete_group(
        &self,
        group: &OwnedGroup,
        caller: &UserPrincipal,
    ) -> Result<(), AuthError> {
        let (id, user) = (group.0.id, caller.id);
        self.db
            .write("delete_group", move |tx| {
                for namespace in namespaces::namespaces_below(tx, id)? {
                    for project in projects::projects_in(tx, namespace)? {
                        delete_project(tx, &project, Some(user))?;
                    }
                    namespaces::delete_namespace(tx, namespace)?;
                    let payload = json!({"id": namespace.0, "user_id": user.0});
                    let subject = format!("group/{namespace}");
                    tx.append(NewEvent::new(EventKind::GroupDeleted, subject).payload(payload))?;
                }
                Ok(())
            })
            .await
    }
}

fn access(
    tx: &mut Tx<'_>,
    viewer: &Viewer,
    at: &NamespaceRef,
) -> Result<Option<NamespaceAccess>, AuthError> {
    let id = match at {
        NamespaceRef::Id(id) => *id,
        NamespaceRef::Path(path) => match find_place(tx, path)? {
            Some(Place::Namespace(id)) => id,
            Some(Place::Project(_)) | None => return Ok(None),
        },
    };
    let Some(namespace) = namespaces::find_namespace(tx, id)? else {
        return Ok(None);
    };
    if !namespaces::sees_namespace(tx, viewer, &namespace)? {
        return Ok(None);
    }
    let role = match viewer.user {
        Some(_) if viewer.admin => Some(Role::Owner),
        Some(user) => role_at(tx, user, id, None)?,
        None => None,
    };
    Ok(Some(NamespaceAccess { namespace, role }))
}

fn ensure_groups(
    tx: &mut Tx<'_>,
    caller: &UserPrincipal,
    path: &FullPath,
) -> Result<(), AuthError> {
    let viewer = Viewer::from(&Principal::User(caller.clone()));
    let mut parent = None;
    for segment in path.as_str().split('/') {
        let at = match &parent {
            None => FullPath::parse(segment)?,
            Some(Namespace { path, .. }) => path.join(&PathSegment::parse(segment)?),
        };
        parent = Some(match access(tx, &viewer, &NamespaceRef::Path(at))? {
            Some(found) => found.namespace,
            None => {
                let new = NewGroup {
                    name: segment.to_owned(),
                    path: segment.to_owned(),
                    parent: parent.map(|it| it.id),
                    description: String::new(),
                    visibility: Visibility::Private,
                };
                create_group(tx, caller, &new)?
            }
        });
    }
    Ok(())
}

fn create_group(
    tx: &mut Tx<'_>,
    caller: &UserPrincipal,
    new: &NewGroup,
) -> Result<Namespace, AuthError> {
    let segment = PathSegment::parse(&new.path)?;
    let path = match new.parent {
        None => FullPath::parse(segment.as_str())?,
        Some(parent) => {
            let viewer = Viewer::from(&Principal::User(caller.clone()));
            let parent = access(tx, &viewer, &NamespaceRef::Id(parent))?
                .filter(|it| it.namespace.owner.is_none())
                .ok_or(AuthError::NotFound("Group"))?;
            if parent.role.is_none_or(|it| it < Role::Maintainer) {
                return Err(AuthError::Forbidden(
                    "only maintainers of a group may make groups in it",
                ));
            }
            let path = parent.namespace.path.join(&segment);
            FullPath::parse(path.as_str())?
        }
    };
    let row = NamespaceRow {
        parent: new.parent,
        owner: None,
        path: &path,
        name: checked_name(&new.name)?,
        description: &new.description,
        visibility: new.visibility,
    };
    let id = namespaces::insert_namespace(tx, &row, "path")?;
    let by = Some(caller.id);
    insert_member(tx, Source::Namespace(id), caller.id, Role::Owner, by, None)?;
    let payload = json!({"path": path.as_str(), "user_id": caller.id.0});
    tx.append(NewEvent::new(EventKind::GroupCreated, format!("group/{id}")).payload(payload))?;
    namespaces::find_namespace(tx, id)?.ok_or(AuthError::NotFound("Group"))
}
