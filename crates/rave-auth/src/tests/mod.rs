//! The part on both engines: a real file and a real server.

mod accounts;
mod credentials;
mod paths;
mod projects;
mod visibility;
mod web;

use std::sync::Arc;

use async_trait::async_trait;
use rave_core::id::{JobId, NamespaceId, ProjectId, UserId};
use rave_core::name::FullPath;
use rave_core::permission::{Principal, Project, Role, UserPrincipal, Via, Visibility};
use rave_core::port::{Directory as _, JobIdentity, JobTokens, NewProject, PortError};
use rave_core::secret::{Secret, TokenDigest};
use rave_core::time::{Clock, ManualClock, Timestamp};
use rave_store::{DatabaseUrl, Db, Error, Options};
use rave_testkit::PostgresServer;

use crate::service::groups::NewGroup;
use crate::store::members::{Source, insert_member};
use crate::{Auth, AuthConfig, MIGRATIONS, NewUser, User};

/// Declares that each test runs on both engines.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(crate::tests::World::sqlite().await).await; })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(crate::tests::World::postgres().await).await; })+
        }
    };
}
pub(super) use on_both_engines;

pub(super) const PASSWORD: &str = "correct horse battery";
pub(super) const JOB_TOKEN: &str = "glcbt-running";

/// One running job, of project 1, on behalf of user 1.
struct OneJob;

#[async_trait]
impl JobTokens for OneJob {
    async fn find_job(&self, digest: &TokenDigest) -> Result<Option<JobIdentity>, PortError> {
        let job = JobIdentity {
            job: JobId(5),
            project: ProjectId(1),
            user: Some(UserId(1)),
        };
        Ok((*digest == TokenDigest::of(JOB_TOKEN)).then_some(job))
    }
}

/// An instance of one test's own.
pub(super) struct World {
    pub(super) auth: Arc<Auth>,
    pub(super) clock: Arc<ManualClock>,
    _directory: Option<tempfile::TempDir>,
}

impl World {
    pub(super) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("rave.db"));
        Self::open(url, Some(directory)).await
    }

    pub(super) async fn postgres() -> Self {
        let url = PostgresServer::shared().create_database();
        Self::open(DatabaseUrl::Postgres(Secret::new(url)), None).await
    }

    async fn open(url: DatabaseUrl, directory: Option<tempfile::TempDir>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(1_767_323_045_678)));
        let given: Arc<dyn Clock> = clock.clone();
        let options = Options {
            connect_timeout: std::time::Duration::from_secs(30),
            pool_size: 4,
            ..Options::default()
        };
        let db = Db::open(&url, given, options).await.unwrap();
        db.migrate(&[MIGRATIONS]).await.unwrap();
        Self {
            auth: Auth::new(db, Arc::new(OneJob), AuthConfig::default()),
            clock,
            _directory: directory,
        }
    }

    /// Makes a user without a password.
    pub(super) async fn user(&self, username: &str) -> User {
        let new = new_user(username, None);
        self.auth.create_user(new).await.unwrap()
    }

    pub(super) async fn group(
        &self,
        by: &User,
        path: &str,
        parent: Option<NamespaceId>,
    ) -> NamespaceId {
        let Principal::User(caller) = as_user(by) else {
            unreachable!("users are users");
        };
        let new = new_group(path, parent);
        self.auth.create_group(&caller, new).await.unwrap().id
    }

    pub(super) async fn project(&self, by: &User, path: &str, visibility: Visibility) -> Project {
        let new = new_project(path, visibility);
        self.auth.create_project(&as_user(by), new).await.unwrap()
    }

    pub(super) async fn member(
        &self,
        at: Source,
        user: &User,
        role: Role,
        expires_at: Option<Timestamp>,
    ) {
        let user = user.id;
        let added = self.auth.db.write("test_member", move |tx| {
            insert_member(tx, at, user, role, None, expires_at)
        });
        assert!(added.await.map_err(|it: Error| it).unwrap());
    }
}

pub(super) fn new_user(username: &str, password: Option<&str>) -> NewUser {
    NewUser {
        username: username.into(),
        name: format!("The {username}"),
        email: format!("{username}@example.org"),
        password: password.map(Secret::new),
        admin: false,
    }
}

pub(super) fn new_group(path: &str, parent: Option<NamespaceId>) -> NewGroup {
    NewGroup {
        name: path.into(),
        path: path.into(),
        parent,
        description: String::new(),
        visibility: Visibility::Private,
    }
}

pub(super) fn new_project(path: &str, visibility: Visibility) -> NewProject {
    NewProject {
        path: FullPath::parse(path).unwrap(),
        name: None,
        description: String::new(),
        visibility: Some(visibility),
        default_branch: None,
    }
}

pub(super) fn as_user(user: &User) -> Principal {
    Principal::User(UserPrincipal {
        id: user.id,
        username: user.username.clone(),
        name: user.name.clone(),
        admin: user.admin,
        via: Via::Password,
    })
}
