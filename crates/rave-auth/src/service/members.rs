//! Members: who may be given which role by whom.

use rave_core::id::{NamespaceId, ProjectId, UserId};
use rave_core::permission::{Access, ManageProject, ReadProject, Role};
use rave_core::time::Timestamp;
use rave_store::{Error, Tx};

use super::groups::{NamespaceAccess, OwnedGroup};
use crate::store::members::{self, Member, Source};
use crate::store::users;
use crate::{Auth, AuthError};

/// Proof that the caller may change who is a member, and up to which role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberManager {
    source: Source,
    by: Option<UserId>,
    /// Nobody gives or takes away more than they have.
    up_to: Role,
}

impl MemberManager {
    pub(crate) fn of_group(group: &OwnedGroup, by: UserId) -> Self {
        Self {
            source: Source::Namespace(group.namespace().id),
            by: Some(by),
            up_to: Role::Owner,
        }
    }

    pub(crate) fn of_project(access: &Access<ManageProject>) -> Self {
        Self {
            source: Source::Project(access.project().id),
            by: access.principal().user_id(),
            up_to: access.role().unwrap_or(Role::Guest),
        }
    }
}

/// Where members are listed. Made from proof that the caller may see the thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberList {
    namespace: NamespaceId,
    project: Option<ProjectId>,
}

impl From<&NamespaceAccess> for MemberList {
    fn from(access: &NamespaceAccess) -> Self {
        Self {
            namespace: access.namespace.id,
            project: None,
        }
    }
}

impl From<&Access<ReadProject>> for MemberList {
    fn from(access: &Access<ReadProject>) -> Self {
        Self {
            namespace: access.project().namespace,
            project: Some(access.project().id),
        }
    }
}

impl MemberList {
    fn source(self) -> Source {
        self.project
            .map_or(Source::Namespace(self.namespace), Source::Project)
    }
}

impl Auth {
    /// Returns the direct members, or with `inherited` also those by groups above.
    pub(crate) async fn list_members(
        &self,
        of: MemberList,
        inherited: bool,
    ) -> Result<Vec<Member>, AuthError> {
        let listed = self.db.read("list_members", move |tx| {
            if inherited {
                members::list_all_members(tx, of.namespace, of.project)
            } else {
                members::list_members(tx, of.source())
            }
        });
        Ok(listed.await?)
    }

    pub(crate) async fn add_member(
        &self,
        manager: MemberManager,
        user: UserId,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<Member, AuthError> {
        self.db
            .write("add_member", move |tx| {
                let active = users::find_user(tx, user)?.filter(|it| it.active);
                active.ok_or(AuthError::NotFound("User"))?;
                check(tx, manager, None, Some(role), expires_at)?;
                let source = manager.source;
                if !members::insert_member(tx, source, user, role, manager.by, expires_at)? {
                    return Err(AuthError::Conflict("member already exists"));
                }
                find(tx, source, user)
            })
            .await
    }

    /// Changes a member's role and end.
    pub(crate) async fn update_member(
        &self,
        manager: MemberManager,
        user: UserId,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<Member, AuthError> {
        self.db
            .write("update_member", move |tx| {
                let old = find(tx, manager.source, user)?;
                check(tx, manager, Some(&old), Some(role), expires_at)?;
                members::update_member(tx, manager.source, user, role, expires_at)?;
                find(tx, manager.source, user)
            })
            .await
    }

    pub(crate) async fn remove_member(
        &self,
        manager: MemberManager,
        user: UserId,
    ) -> Result<(), AuthError> {
        self.db
            .write("remove_member", move |tx| {
                let old = find(tx, manager.source, user)?;
                check(tx, manager, Some(&old), None, None)?;
                members::delete_member(tx, manager.source, user)?;
                Ok(())
            })
            .await
    }

    /// Removes the caller's own membership, which needs no other permission.
    pub(crate) async fn leave(&self, of: MemberList, user: UserId) -> Result<(), AuthError> {
        let manager = MemberManager {
            source: of.source(),
            by: Some(user),
            up_to: Role::Owner,
        };
        self.remove_member(manager, user).await
    }
}

fn find(tx: &mut Tx<'_>, source: Source, user: UserId) -> Result<Member, AuthError> {
    let all = members::list_members(tx, source)?;
    all.into_iter()
        .find(|it| it.user.id == user)
        .ok_or(AuthError::NotFound("Member"))
}

/// Checks a change from one membership to another; `None` is none.
fn check(
    tx: &mut Tx<'_>,
    manager: MemberManager,
    old: Option<&Member>,
    new: Option<Role>,
    expires_at: Option<Timestamp>,
) -> Result<(), AuthError> {
    let beyond = |role: Role| role > manager.up_to;
    if old.is_some_and(|it| beyond(it.role)) || new.is_some_and(beyond) {
        return Err(AuthError::Forbidden("the role is above your own"));
    }
    if expires_at.is_some_and(|it| it <= tx.now()) {
        return Err(AuthError::invalid("expires_at", "must be in the future"));
    }
    let lasting = new == Some(Role::Owner) && expires_at.is_none();
    if let Some(old) = old
        && old.role == Role::Owner
        && !lasting
        && matches!(manager.source, Source::Namespace(_))
        && !has_other_owner(tx, manager.source, old.user.id)?
    {
        return Err(AuthError::Forbidden("a group needs an owner"));
    }
    Ok(())
}

/// Whether someone else owns the group for good.
fn has_other_owner(tx: &mut Tx<'_>, source: Source, user: UserId) -> Result<bool, Error> {
    let all = members::list_members(tx, source)?;
    Ok(all.iter().any(|it| {
        it.role == Role::Owner && it.user.id != user && it.user.active && it.expires_at.is_none()
    }))
}
