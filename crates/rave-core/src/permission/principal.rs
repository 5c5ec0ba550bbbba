//! On whose behalf something is done, and how far the credentials reach.

use crate::id::{JobId, ProjectId, TokenId, UserId};

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
    ReadCache = "read_cache",
    WriteCache = "write_cache",
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
