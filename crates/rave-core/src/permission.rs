//! Who may do what: roles, scopes, and one pure decision whose result is the proof that services require.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, NamespaceId, ProjectId, TokenId, UserId};
use crate::name::FullPath;
use crate::time::Timestamp;

/// A member's role. The numbers are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Guest = 10,
    Reporter = 20,
    Developer = 30,
    Maintainer = 40,
    Owner = 50,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 5] = [
        Self::Guest,
        Self::Reporter,
        Self::Developer,
        Self::Maintainer,
        Self::Owner,
    ];

    /// Returns the role with this `access_level`.
    #[must_use]
    pub fn from_level(level: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.level() == level)
    }

    /// Returns the `access_level`.
    #[must_use]
    pub const fn level(self) -> i64 {
        self as i64
    }

    /// Returns the name that people see.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Guest => "Guest",
            Self::Reporter => "Reporter",
            Self::Developer => "Developer",
            Self::Maintainer => "Maintainer",
            Self::Owner => "Owner",
        }
    }
}

/// Who may see a project that they are no member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Members only.
    Private,
    /// Everyone who is signed in.
    Internal,
    /// Everyone.
    Public,
}

impl Visibility {
    /// Returns the API's name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
            Self::Public => "public",
        }
    }

    /// Returns the visibility with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Private, Self::Internal, Self::Public]
            .into_iter()
            .find(|it| it.label() == label)
    }
}

macro_rules! scopes {
    ($($name:ident = $label:literal),+ $(,)?) => {
        /// What a token may be used for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Scope { $($name),+ }

        impl Scope {
            /// Every scope.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the API's name.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }

            /// Returns the scope with this name.
            #[must_use]
            pub fn from_label(label: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.label() == label)
            }
        }
    };
}

scopes! {
    Api = "api",
    ReadApi = "read_api",
    ReadUser = "read_user",
    ReadRepository = "read_repository",
    WriteRepository = "write_repository",
    CreateRunner = "create_runner",
    ManageRunner = "manage_runner",
    Sudo = "sudo",
    SelfRotate = "self_rotate",
}

/// How a user proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A browser session, by the digest of its cookie.
    Session(String),
    /// The account's password, as git sends it.
    Password,
    /// A token, which limits what may be done.
    Token { id: TokenId, scopes: Vec<Scope> },
}

/// A user who is making a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPrincipal {
    pub id: UserId,
    pub username: String,
    pub name: String,
    pub admin: bool,
    pub via: Via,
}

/// On whose behalf something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular.
    Anonymous,
    /// A user.
    User(UserPrincipal),
    /// A running job, by its token: reads its own project on behalf of whoever started it.
    Job {
        job: JobId,
        project: ProjectId,
        user: Option<UserId>,
    },
}

impl Principal {
    /// Returns the user, if the principal is one.
    #[must_use]
    pub fn user(&self) -> Option<&UserPrincipal> {
        match self {
            Self::User(user) => Some(user),
            Self::Anonymous | Self::Job { .. } => None,
        }
    }

    /// Returns the id of the user who acts or on whose behalf a job acts.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user.id),
            Self::Job { user, .. } => *user,
            Self::Anonymous => None,
        }
    }

    /// Whether this is an administrator whose credentials are not limited below the API.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.user().is_some_and(|it| it.admin)
    }

    /// Whether the credentials reach this far. Sessions and passwords are not limited; of `wanted` any one suffices.
    #[must_use]
    pub fn has_scope(&self, wanted: &[Scope]) -> bool {
        match self {
            Self::User(UserPrincipal {
                via: Via::Token { scopes, .. },
                ..
            }) => wanted.iter().any(|it| scopes.contains(it)),
            Self::User(_) | Self::Anonymous | Self::Job { .. } => true,
        }
    }
}

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

/// Something that is done to a project. Implemented by the marker types of this module only.
pub trait Action: sealed::Sealed + Send + Sync + 'static {
    /// Names the action in messages.
    const NAME: &'static str;
    /// The weakest role that suffices.
    const ROLE: Role;
    /// Whether whoever may see the project may do it.
    const OPEN: bool;
    /// Scopes of which a token needs one.
    const SCOPES: &'static [Scope];
    /// Whether a job's token suffices, for the job's own project.
    const JOBS: bool;
    /// Whether the action changes what an archived project keeps as it is.
    const WRITES: bool;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $text:literal, $role:ident, open $open:literal, jobs $jobs:literal, writes $writes:literal,
        [$($scope:ident),+];)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Action for $name {
            const NAME: &'static str = $text;
            const ROLE: Role = Role::$role;
            const OPEN: bool = $open;
            const SCOPES: &'static [Scope] = &[$(Scope::$scope),+];
            const JOBS: bool = $jobs;
            const WRITES: bool = $writes;
        }
    )+};
}

actions! {
    /// See that the project exists, and its name and description.
    ReadProject: "read the project", Guest, open true, jobs true, writes false, [Api, ReadApi];
    /// Browse files and history.
    ReadCode: "read the repository", Reporter, open true, jobs true, writes false, [Api, ReadApi, ReadRepository];
    /// Clone and fetch.
    FetchCode: "download the code", Reporter, open true, jobs true, writes false, [Api, ReadRepository, WriteRepository];
    /// Push to branches that are not protected against it.
    PushCode: "push code", Developer, open false, jobs false, writes true, [Api, WriteRepository];
    /// See pipelines, jobs, logs and artifacts.
    ReadPipelines: "read pipelines", Guest, open true, jobs true, writes false, [Api, ReadApi];
    /// Start, retry and cancel pipelines and jobs, play manual ones, erase and keep artifacts.
    RunPipelines: "run pipelines", Developer, open false, jobs false, writes true, [Api];
    /// Change settings, members, protected branches and runners.
    ManageProject: "manage the project", Maintainer, open false, jobs false, writes false, [Api];
    /// Delete the project.
    DeleteProject: "delete the project", Owner, open false, jobs false, writes false, [Api];
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
mod tests {
    use super::*;

    fn project(visibility: Visibility) -> Project {
        Project {
            id: ProjectId(1),
            namespace: NamespaceId(1),
            path: FullPath::parse("team/app").expect("valid"),
            name: "app".into(),
            description: String::new(),
            visibility,
            default_branch: "main".into(),
            archived: false,
            creator: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            last_activity_at: Timestamp(0),
        }
    }

    fn user(admin: bool, via: Via) -> Principal {
        Principal::User(UserPrincipal {
            id: UserId(7),
            username: "u".into(),
            name: "U".into(),
            admin,
            via,
        })
    }

    fn outcome<A: Action>(
        principal: &Principal,
        role: Option<Role>,
        visibility: Visibility,
    ) -> &'static str {
        match decide::<A>(
            principal,
            ProjectFacts {
                project: project(visibility),
                role,
            },
        ) {
            Ok(_) => "yes",
            Err(Denied::Hidden) => "hidden",
            Err(Denied::Forbidden { .. }) => "no",
            Err(Denied::InsufficientScope { .. }) => "scope",
            Err(Denied::Archived) => "archived",
        }
    }

    /// One line per kind of caller, one column per action.
    #[test]
    fn the_whole_table() {
        let member = user(false, Via::Password);
        let mut callers = vec![
            ("anonymous".to_owned(), Principal::Anonymous, None),
            ("stranger".to_owned(), member.clone(), None),
        ];
        callers.extend(Role::ALL.map(|it| (it.label().to_lowercase(), member.clone(), Some(it))));
        callers.push(("admin".into(), user(true, Via::Password), None));
        let token = |scopes: &[Scope]| {
            user(
                false,
                Via::Token {
                    id: TokenId(1),
                    scopes: scopes.to_vec(),
                },
            )
        };
        callers.push((
            "owner read_api".into(),
            token(&[Scope::ReadApi]),
            Some(Role::Owner),
        ));
        callers.push((
            "owner read_repository".into(),
            token(&[Scope::ReadRepository]),
            Some(Role::Owner),
        ));
        callers.push((
            "owner write_repository".into(),
            token(&[Scope::WriteRepository]),
            Some(Role::Owner),
        ));
        callers.push((
            "own job".into(),
            Principal::Job {
                job: JobId(1),
                project: ProjectId(1),
                user: None,
            },
            None,
        ));
        callers.push((
            "other job".into(),
            Principal::Job {
                job: JobId(1),
                project: ProjectId(2),
                user: None,
            },
            None,
        ));

        let mut table = String::new();
        for visibility in [
            Visibility::Private,
            Visibility::Internal,
            Visibility::Public,
        ] {
            table += &format!(
                "{:<23} project  code fetch   push pipes   run manage delete\n",
                visibility.label()
            );
            for (name, principal, role) in &callers {
                let row = [
                    outcome::<ReadProject>(principal, *role, visibility),
                    outcome::<ReadCode>(principal, *role, visibility),
                    outcome::<FetchCode>(principal, *role, visibility),
                    outcome::<PushCode>(principal, *role, visibility),
                    outcome::<ReadPipelines>(principal, *role, visibility),
                    outcome::<RunPipelines>(principal, *role, visibility),
                    outcome::<ManageProject>(principal, *role, visibility),
                    outcome::<DeleteProject>(principal, *role, visibility),
                ];
                table += &format!("{name:<23} {}\n", row.map(|it| format!("{it:>6}")).join(""));
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn an_archived_project_is_read_only() {
        let facts = ProjectFacts {
            project: Project {
                archived: true,
                ..project(Visibility::Private)
            },
            role: Some(Role::Owner),
        };
        let owner = user(false, Via::Password);
        assert_eq!(
            decide::<PushCode>(&owner, facts.clone()).err(),
            Some(Denied::Archived)
        );
        assert!(
            decide::<ReadCode>(&owner, facts.clone()).is_ok()
                && decide::<ManageProject>(&owner, facts).is_ok()
        );
    }
}
