//! Who may do what: one pure decision whose result is the proof that services require.

mod action;
mod principal;
mod role;

use std::fmt;
use std::marker::PhantomData;

pub use action::{
    Action, DeleteProject, FetchCode, ManageProject, PushCode, ReadCode, ReadPipelines,
    ReadProject, RunPipelines,
};
pub use principal::{Principal, Scope, UserPrincipal, Via};
pub use role::{Role, Visibility};

use crate::id::{NamespaceId, ProjectId, UserId};
use crate::name::FullPath;
use crate::time::Timestamp;

/// A project as far as access and wiring need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    pub namespace: NamespaceId,
    pub path: FullPath,
    /// The name that people see.
    pub name: String,
    pub description: String,
    pub visibility: Visibility,
    pub default_branch: String,
    pub archived: bool,
    pub creator: Option<UserId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_activity_at: Timestamp,
}

/// A project and the role in it of the one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFacts {
    pub project: Project,
    /// The strongest of the roles by the project, its groups and ownership.
    pub role: Option<Role>,
}

/// Proof that a principal may do `A` to a project. Only [`decide`] makes one.
pub struct Access<A: Action> {
    principal: Principal,
    project: Project,
    role: Option<Role>,
    action: PhantomData<A>,
}

impl<A: Action> Access<A> {
    /// Returns the project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Returns on whose behalf.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns the role in the project.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// Whether the role is at least this one.
    #[must_use]
    pub fn is_at_least(&self, role: Role) -> bool {
        self.role.is_some_and(|it| it >= role)
    }

    /// Asks for proof of another action on the same project, for pages that show what one may do next.
    ///
    /// # Errors
    /// As [`decide`].
    pub fn also<B: Action>(&self) -> Result<Access<B>, Denied> {
        decide(
            &self.principal,
            ProjectFacts {
                project: self.project.clone(),
                role: self.role,
            },
        )
    }
}

impl<A: Action> Clone for Access<A> {
    fn clone(&self) -> Self {
        Self {
            principal: self.principal.clone(),
            project: self.project.clone(),
            role: self.role,
            action: PhantomData,
        }
    }
}

impl<A: Action> fmt::Debug for Access<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access<{}>({})", A::NAME, self.project.path)
    }
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The caller may not know that the project exists: answered exactly as if it did not.
    #[error("the project does not exist or you may not see it")]
    Hidden,
    /// The caller sees the project but their role does not reach this far.
    #[error("you are not allowed to {action}")]
    Forbidden { action: &'static str },
    /// The caller's role would suffice, the token's scopes do not.
    #[error("the token lacks the scope to {action}")]
    InsufficientScope {
        action: &'static str,
        needed: &'static [Scope],
    },
    /// The project is archived and keeps its code and pipelines as they are.
    #[error("the project is archived")]
    Archived,
}

/// Decides whether `principal` may do `A`. Every access to a project passes here.
///
/// # Errors
/// With the reason why not. What the caller may not see is [`Denied::Hidden`].
pub fn decide<A: Action>(principal: &Principal, facts: ProjectFacts) -> Result<Access<A>, Denied> {
    let ProjectFacts { project, role } = facts;
    let role = effective_role(principal, &project, role);
    if role.is_none() && !is_open(principal, project.visibility) {
        return Err(Denied::Hidden);
    }
    if !principal.has_scope(A::SCOPES) {
        return Err(Denied::InsufficientScope {
            action: A::NAME,
            needed: A::SCOPES,
        });
    }
    let job_refused = matches!(principal, Principal::Job { .. }) && !A::JOBS;
    let allowed =
        role.is_some_and(|it| it >= A::ROLE) || (A::OPEN && is_open(principal, project.visibility));
    if job_refused || !allowed {
        return Err(Denied::Forbidden { action: A::NAME });
    }
    if A::WRITES && project.archived {
        return Err(Denied::Archived);
    }
    Ok(Access {
        principal: principal.clone(),
        project,
        role,
        action: PhantomData,
    })
}

fn effective_role(principal: &Principal, project: &Project, role: Option<Role>) -> Option<Role> {
    match principal {
        Principal::Anonymous => None,
        Principal::User(user) if user.admin => Some(Role::Owner),
        Principal::User(_) => role,
        Principal::Job { project: own, .. } => (*own == project.id).then_some(Role::Reporter),
    }
}

fn is_open(principal: &Principal, visibility: Visibility) -> bool {
    match visibility {
        Visibility::Private => false,
        Visibility::Internal => matches!(principal, Principal::User(_)),
        Visibility::Public => true,
    }
}

#[cfg(test)]
mod tests;
