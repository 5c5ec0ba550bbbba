//! Ports: what one part needs of another, chosen once in the binary.
//!
//! The embedded part implements a port, and so may an adapter for an outside service.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::id::{JobId, NamespaceId, PipelineId, ProjectId, UserId};
use crate::job::Status;
use crate::name::{FullPath, ObjectId, RefName, RepoPath};
use crate::permission::{Principal, Project, ProjectFacts, Role, UserPrincipal, Visibility};
use crate::secret::{Secret, TokenDigest};
use crate::time::Timestamp;

/// A port's implementation failed. What was being done to what, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct PortError {
    doing: String,
    /// Whether the failure passes by itself, such as a database that is away.
    pub transient: bool,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// Wraps a lasting failure.
    pub fn new(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            doing: doing.into(),
            transient: false,
            source: Some(source.into()),
        }
    }

    /// Wraps a failure that passes by itself: requests are answered with 503, work is tried again.
    pub fn transient(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            transient: true,
            ..Self::new(doing, source)
        }
    }
}

/// What a request brings to prove who makes it.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A token of whatever kind, from a header or the query.
    Token(Secret),
    /// A user name with a password or any token, by HTTP Basic authentication.
    Basic { username: String, password: Secret },
    /// The cookie of a browser session.
    Session(Secret),
}

/// Why credentials prove nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// Unknown, revoked, expired or wrong. Deliberately no more than that.
    #[error("the credentials are not valid")]
    Invalid,
    /// Too many wrong tries from this address.
    #[error("too many failed tries; try again in {retry_after_secs} seconds")]
    Throttled { retry_after_secs: u64 },
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Turns credentials into a principal.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Returns who makes the request. `peer` is the address that failed tries are counted for.
    async fn authenticate(
        &self,
        credentials: &Credentials,
        peer: &str,
    ) -> Result<Principal, AuthenticateError>;
}

/// How a request names a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectRef {
    Id(ProjectId),
    Path(FullPath),
}

/// How a request names a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRef {
    Id(NamespaceId),
    Path(FullPath),
}

impl GroupRef {
    /// Reads an id or a full path. `None` for what cannot be either.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(id) => Some(Self::Id(NamespaceId(id))),
            Err(_) => FullPath::parse(text).ok().map(Self::Path),
        }
    }
}

/// A user as others see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSummary {
    pub id: UserId,
    pub username: String,
    pub name: String,
    /// For what is done on the user's own behalf, not for the eyes of others.
    pub email: String,
    /// Whether the account may sign in.
    pub active: bool,
}

/// A namespace as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSummary {
    pub id: NamespaceId,
    /// `None` for a user's own namespace.
    pub parent: Option<NamespaceId>,
    pub name: String,
    pub path: FullPath,
    /// The user whose own namespace it is; `None` for a group.
    pub owner: Option<UserId>,
}

/// A group and the role in it of the one who asks. An administrator has the owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts {
    pub group: NamespaceSummary,
    pub role: Option<Role>,
}

/// A project that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProject {
    pub path: FullPath,
    /// `None` takes the last part of the path.
    pub name: Option<String>,
    pub description: String,
    /// `None` takes the instance's default, private.
    pub visibility: Option<Visibility>,
    /// `None` takes `main`.
    pub default_branch: Option<String>,
}

/// What about a project is to change; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectUpdate {
    pub name: Option<String>,
    pub description: Option<String>,
    pub visibility: Option<Visibility>,
    pub default_branch: Option<String>,
    pub archived: Option<bool>,
}

/// Why a project was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateProjectError {
    /// The caller may not make projects there, or may not know that the namespace exists.
    #[error("namespace {0} does not exist or you may not create projects in it")]
    NoNamespace(String),
    /// A project or group with this path exists.
    #[error("{0} has already been taken")]
    Taken(FullPath),
    /// The token's scopes do not reach this far.
    #[error("the token lacks the scope to create a project")]
    InsufficientScope,
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Which projects a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFilter {
    /// Only those that the caller is a member of.
    pub membership: bool,
    /// Only those that the caller owns.
    pub owned: bool,
    /// Only those whose name or path contains this, without regard to case.
    pub search: Option<String>,
    pub visibility: Option<Visibility>,
    pub archived: Option<bool>,
    /// Only those in this namespace.
    pub namespace: Option<NamespaceId>,
    /// With `namespace`: also those in groups below it.
    pub include_subgroups: bool,
}

/// One page of a list, and how many rows all pages have together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub total: u64,
}

/// A part of a list: how many rows to pass over and how many to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub offset: u64,
    pub limit: u64,
}

/// Who and what exists: users, namespaces and projects, and the roles that tie them.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Returns the project and the caller's role in it, to be judged by [`crate::permission::decide`].
    async fn find_project(
        &self,
        principal: &Principal,
        at: &ProjectRef,
    ) -> Result<Option<ProjectFacts>, PortError>;
    /// Returns the projects with these ids, without regard to who asks: for workers.
    async fn load_project(&self, id: ProjectId) -> Result<Option<Project>, PortError>;
    /// Lists the projects that the caller may see, the latest active first.
    async fn list_projects(
        &self,
        principal: &Principal,
        filter: &ProjectFilter,
        slice: Slice,
    ) -> Result<Page<ProjectFacts>, PortError>;
    /// Makes a project on behalf of the caller.
    async fn create_project(
        &self,
        principal: &Principal,
        new: NewProject,
    ) -> Result<Project, CreateProjectError>;
    /// Changes a project's settings.
    async fn update_project(
        &self,
        access: &crate::permission::Access<crate::permission::ManageProject>,
        update: ProjectUpdate,
    ) -> Result<Project, PortError>;
    /// Deletes a project with everything in it.
    async fn delete_project(
        &self,
        access: &crate::permission::Access<crate::permission::DeleteProject>,
    ) -> Result<(), PortError>;
    /// Notes that something happened in a project.
    async fn touch_project(&self, id: ProjectId, at: Timestamp) -> Result<(), PortError>;
    /// Returns the users with these ids; those that do not exist are left out.
    async fn users(&self, ids: &[UserId]) -> Result<BTreeMap<UserId, UserSummary>, PortError>;
    /// Returns a namespace.
    async fn namespace(&self, id: NamespaceId) -> Result<Option<NamespaceSummary>, PortError>;
    /// Returns the user's or group's namespace at a path, if the caller may know that it exists.
    async fn find_namespace(
        &self,
        principal: &Principal,
        path: &FullPath,
    ) -> Result<Option<NamespaceSummary>, PortError>;
    /// Returns the group and the caller's role in it, if the caller may know that it exists. A directory without groups
    /// has none.
    async fn find_group(
        &self,
        principal: &Principal,
        at: &GroupRef,
    ) -> Result<Option<GroupFacts>, PortError> {
        let _ = (principal, at);
        Ok(None)
    }
    /// Returns a user as if they were here themselves, for what is done on their behalf while they are away. `None` when
    /// they are blocked or gone, or the directory lets nobody act for others.
    async fn find_principal(&self, user: UserId) -> Result<Option<UserPrincipal>, PortError> {
        let _ = user;
        Ok(None)
    }
    /// Returns the namespaces in which the caller may make projects, their own first.
    async fn writable_namespaces(
        &self,
        principal: &Principal,
    ) -> Result<Vec<NamespaceSummary>, PortError>;
}

/// Signs statements of this instance about its users and jobs, which others verify by the keys that it publishes.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// Returns the claims as a signed token (RFC 7519, RS256), to be verified by the keys of the discovery document.
    async fn sign(&self, claims: &serde_json::Value) -> Result<Secret, PortError>;
}

/// The job that presents a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobIdentity {
    pub job: JobId,
    pub project: ProjectId,
    pub user: Option<UserId>,
}

/// Knows the tokens of running jobs.
#[async_trait]
pub trait JobTokens: Send + Sync {
    /// Returns the running job that has this token.
    async fn find_job(&self, digest: &TokenDigest) -> Result<Option<JobIdentity>, PortError>;
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: ObjectId,
    pub parents: Vec<ObjectId>,
    pub author_name: String,
    pub author_email: String,
    /// RFC 3339 with the author's own offset.
    pub authored_at: String,
    pub committer_name: String,
    pub committer_email: String,
    /// RFC 3339 with the committer's own offset.
    pub committed_at: String,
    pub message: String,
}

impl Commit {
    /// Returns the first line of the message.
    #[must_use]
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// The forge could not answer.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The file is larger than the caller is ready to hold.
    #[error("{path} has {size_bytes} bytes, more than the {limit_bytes} allowed here")]
    TooLarge {
        path: String,
        size_bytes: u64,
        limit_bytes: u64,
    },
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What the program needs of a forge, whichever forge that is.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Reads one file at one commit. `None` when the commit has no such file.
    async fn read_file(
        &self,
        project: ProjectId,
        commit: &ObjectId,
        path: &RepoPath,
        limit_bytes: u64,
    ) -> Result<Option<Bytes>, ForgeError>;
    /// Returns a commit, `None` when it does not exist.
    async fn commit(&self, project: ProjectId, id: &ObjectId)
    -> Result<Option<Commit>, ForgeError>;
    /// Resolves a branch, tag or commit id. Returns the commit and, for a branch or tag, its full name.
    async fn resolve(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<(ObjectId, Option<RefName>)>, ForgeError>;
    /// Lists the paths of all files at a commit, at most `limit`.
    async fn list_files(
        &self,
        project: ProjectId,
        commit: &ObjectId,
        limit: usize,
    ) -> Result<Vec<String>, ForgeError>;
    /// Lists the paths that differ between two commits.
    async fn changed_files(
        &self,
        project: ProjectId,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<Vec<String>, ForgeError>;
    /// Finds the latest commit from which both come. `None` when their histories share nothing.
    async fn merge_base(
        &self,
        project: ProjectId,
        one: &ObjectId,
        other: &ObjectId,
    ) -> Result<Option<ObjectId>, ForgeError>;
    /// Lists the names of all tags, in no particular order.
    async fn tags(&self, project: ProjectId) -> Result<Vec<String>, ForgeError>;
    /// Keeps a commit alive under `refs/pipelines/<id>`, so that jobs can fetch it after its branch moved on.
    async fn keep(
        &self,
        project: ProjectId,
        pipeline: PipelineId,
        commit: &ObjectId,
    ) -> Result<(), ForgeError>;
    /// Whether the branch or tag is protected.
    async fn is_protected(
        &self,
        project: ProjectId,
        reference: &RefName,
    ) -> Result<bool, ForgeError>;
    /// Whether somebody with this role may change the branch or tag, by a push or a merge. Who may not runs no pipelines
    /// for it either: they would reach variables that only protected branches get.
    async fn may_change(
        &self,
        project: ProjectId,
        reference: &RefName,
        role: Option<Role>,
    ) -> Result<bool, ForgeError> {
        let open = !self.is_protected(project, reference).await?;
        Ok(open || role.is_some_and(|it| it.level() >= Role::Maintainer.level()))
    }
}

/// The latest pipeline of a commit, for lists of commits and projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineBadge {
    pub pipeline: PipelineId,
    pub status: Status,
}

/// How a project's pipelines behave, where its maintainers have a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineSettings {
    /// Whether a newer pipeline cancels those of older commits of its branch.
    pub auto_cancel: bool,
}

/// What the forge needs of continuous integration.
#[async_trait]
pub trait Pipelines: Send + Sync {
    /// Returns how a project's pipelines behave.
    async fn settings(&self, project: ProjectId) -> Result<PipelineSettings, PortError>;
    /// Sets how a project's pipelines behave.
    async fn put_settings(
        &self,
        access: &crate::permission::Access<crate::permission::ManageProject>,
        settings: PipelineSettings,
    ) -> Result<(), PortError>;
    /// Returns the latest pipeline of each of these commits.
    async fn badges(
        &self,
        project: ProjectId,
        commits: &[ObjectId],
    ) -> Result<BTreeMap<String, PipelineBadge>, PortError>;
    /// Waits until the pushes with these event ids have been dealt with, at most `deadline`, and returns the lines that
    /// the person who pushed should read: links to pipelines, and what is wrong with the configuration.
    async fn push_report(&self, events: &[Uuid], deadline: Duration) -> Vec<String>;
}

/// A binary cache as a job uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCache {
    pub name: String,
    /// What Nix takes as a substituter.
    pub url: String,
    /// The keys that sign what is in it, the one to be shown first.
    pub public_keys: Vec<String>,
    /// Whether the job's token suffices to push.
    pub may_push: bool,
}

/// What a job had of a binary cache and put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCacheUse {
    pub cache: String,
    pub hits: u64,
    pub misses: u64,
    pub bytes_served: u64,
    pub paths_pushed: u64,
    pub bytes_pushed: u64,
}

/// A server without binary caches.
#[derive(Clone, Copy, Debug)]
pub struct NoBinaryCaches;

#[async_trait]
impl BinaryCaches for NoBinaryCaches {
    async fn for_project(&self, _: ProjectId) -> Result<Vec<JobCache>, PortError> {
        Ok(Vec::new())
    }

    async fn used_by(&self, _: JobId) -> Result<Vec<JobCacheUse>, PortError> {
        Ok(Vec::new())
    }
}

/// What continuous integration needs of binary caches.
#[async_trait]
pub trait BinaryCaches: Send + Sync {
    /// Returns the caches that the project's jobs use, those to be asked first in front.
    async fn for_project(&self, project: ProjectId) -> Result<Vec<JobCache>, PortError>;
    /// Returns what a job had of each cache so far.
    async fn used_by(&self, job: JobId) -> Result<Vec<JobCacheUse>, PortError>;
}
