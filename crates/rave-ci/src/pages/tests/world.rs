//! The ports that pages need, in memory, and a server of one test's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use rave_blob::Blobs;
use rave_core::event::{Event, EventKind, NewEvent, RefChange};
use rave_core::id::{JobId, NamespaceId, PipelineId, ProjectId, RunnerId, UserId};
use rave_core::job::JobEvent;
use rave_core::name::{FullPath, ObjectId, RefName, RepoPath};
use rave_core::permission::{
    Access, DeleteProject, ManageProject, Principal, Project, ProjectFacts, Role, RunPipelines,
    UserPrincipal, Via, Visibility, decide,
};
use rave_core::port::*;
use rave_core::secret::Secret;
use rave_core::time::{SystemClock, Timestamp};
use rave_http::app::{App, Shared, build};
use rave_store::{DatabaseUrl, Db, Options};
use rave_testkit::PostgresServer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::CiError;
use crate::model::{Pipeline, Source};
use crate::service::Ci;
use crate::service::advance::Action;
use crate::{CiConfig, MIGRATIONS, pages, store};

pub(super) const SHA: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";

/// A forge with one commit, and a directory with two private projects: `team/app` and `other/app`.
struct Fake {
    file: String,
}

fn user(name: &str) -> Option<(UserId, Option<Role>)> {
    match name {
        "root" => Some((UserId(1), None)),
        "developer" => Some((UserId(2), Some(Role::Developer))),
        "reporter" => Some((UserId(3), Some(Role::Reporter))),
        "stranger" => Some((UserId(4), None)),
        _ => None,
    }
}

fn project(id: i64, path: &str) -> Project {
    let path = FullPath::parse(path).unwrap();
    Project {
        id: ProjectId(id),
        namespace: NamespaceId(1),
        name: path.last().to_string(),
        path,
        description: String::new(),
        visibility: Visibility::Private,
        default_branch: "main".into(),
        archived: false,
        creator: Some(UserId(1)),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        last_activity_at: Timestamp(0),
    }
}

fn projects() -> [Project; 2] {
    [project(1, "team/app"), project(2, "other/app")]
}

fn principal(name: &str) -> Option<Principal> {
    Some(Principal::User(UserPrincipal {
        id: user(name)?.0,
        username: name.into(),
        name: format!("Name of {name}"),
        admin: name == "root",
        via: Via::Password,
    }))
}

fn never<T>() -> Result<T, PortError> {
    Err(PortError::new(
        "use what the test does not have",
        "not there",
    ))
}

#[async_trait]
impl Authenticator for Fake {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        _: &str,
    ) -> Result<Principal, AuthenticateError> {
        match credentials {
            Credentials::Token(it) => principal(it.expose()).ok_or(AuthenticateError::Invalid),
            Credentials::Basic { .. } | Credentials::Session(_) => Err(AuthenticateError::Invalid),
        }
    }
}

#[async_trait]
impl Directory for Fake {
    async fn find_project(
        &self,
        principal: &Principal,
        at: &ProjectRef,
    ) -> Result<Option<ProjectFacts>, PortError> {
        let found = projects().into_iter().find(|it| match at {
            ProjectRef::Id(id) => it.id == *id,
            ProjectRef::Path(path) => it.path == *path,
        });
        let role = principal
            .user()
            .and_then(|it| user(&it.username))
            .and_then(|it| it.1);
        Ok(found.map(|project| ProjectFacts { project, role }))
    }

    async fn load_project(&self, id: ProjectId) -> Result<Option<Project>, PortError> {
        Ok(projects().into_iter().find(|it| it.id == id))
    }

    async fn list_projects(
        &self,
        _: &Principal,
        _: &ProjectFilter,
        _: Slice,
    ) -> Result<Page<ProjectFacts>, PortError> {
        never()
    }

    async fn create_project(
        &self,
        _: &Principal,
        _: NewProject,
    ) -> Result<Project, CreateProjectError> {
        Ok(never()?)
    }

    async fn update_project(
        &self,
        _: &Access<ManageProject>,
        _: ProjectUpdate,
    ) -> Result<Project, PortError> {
        never()
    }

    async fn delete_project(&self, _: &Access<DeleteProject>) -> Result<(), PortError> {
        never()
    }

    async fn touch_project(&self, _: ProjectId, _: Timestamp) -> Result<(), PortError> {
        Ok(())
    }

    async fn users(&self, ids: &[UserId]) -> Result<BTreeMap<UserId, UserSummary>, PortError> {
        let names = ["root", "developer", "reporter", "stranger"];
        let known = names.into_iter().filter_map(principal);
        let summary = |it: &UserPrincipal| UserSummary {
            id: it.id,
            username: it.username.clone(),
            name: it.name.clone(),
            email: String::new(),
            active: true,
        };
        let all = known.filter_map(|it| it.user().map(summary));
        Ok(all
            .filter(|it| ids.contains(&it.id))
            .map(|it| (it.id, it))
            .collect())
    }

    async fn namespace(&self, _: NamespaceId) -> Result<Option<NamespaceSummary>, PortError> {
        Ok(None)
    }

    async fn find_namespace(
        &self,
        _: &Principal,
        _: &FullPath,
    ) -> Result<Option<NamespaceSummary>, PortError> {
        Ok(None)
    }

    async fn find_group(
        &self,
        principal: &Principal,
        at: &GroupRef,
    ) -> Result<Option<GroupFacts>, PortError> {
        let group = NamespaceSummary {
            id: NamespaceId(1),
            parent: None,
            name: "Team".into(),
            path: FullPath::parse("team").unwrap(),
            owner: None,
        };
        let admin = principal.user().is_some_and(|it| it.admin);
        let role = admin.then_some(Role::Owner);
        Ok((*at == GroupRef::Id(group.id)).then_some(GroupFacts { group, role }))
    }

    async fn writable_namespaces(&self, _: &Principal) -> Result<Vec<NamespaceSummary>, PortError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Forge for Fake {
    async fn read_file(
        &self,
        _: ProjectId,
        _: &ObjectId,
        path: &RepoPath,
        _: u64,
    ) -> Result<Option<Bytes>, ForgeError> {
        Ok((path.as_str() == ".gitlab-ci.yml").then(|| Bytes::from(self.file.clone())))
    }

    async fn commit(&self, _: ProjectId, id: &ObjectId) -> Result<Option<Commit>, ForgeError> {
        let text = |it: &str| it.to_owned();
        Ok(Some(Commit {
            id: id.clone(),
            parents: Vec::new(),
            author_name: text("Ada"),
            author_email: text("ada@example.org"),
            authored_at: text("2026-01-02T03:04:05+01:00"),
            committer_name: text("Ada"),
            committer_email: text("ada@example.org"),
            committed_at: text("2026-01-02T03:04:05+01:00"),
            message: text("Greet <everyone>\n\nBecause."),
        }))
    }

    async fn resolve(
        &self,
        _: ProjectId,
        name: &str,
    ) -> Result<Option<(ObjectId, Option<RefName>)>, ForgeError> {
        let id = ObjectId::parse(SHA).unwrap();
        Ok(match name {
            "main" => Some((id, Some(RefName::parse("refs/heads/main").unwrap()))),
            SHA => Some((id, None)),
            _ => None,
        })
    }

    async fn list_files(
        &self,
        _: ProjectId,
        _: &ObjectId,
        _: usize,
    ) -> Result<Vec<String>, ForgeError> {
        Ok(vec![".gitlab-ci.yml".into()])
    }

    async fn changed_files(
        &self,
        _: ProjectId,
        _: &ObjectId,
        _: &ObjectId,
    ) -> Result<Vec<String>, ForgeError> {
        Ok(Vec::new())
    }

    async fn merge_base(
        &self,
        _: ProjectId,
        one: &ObjectId,
        _: &ObjectId,
    ) -> Result<Option<ObjectId>, ForgeError> {
        Ok(Some(one.clone()))
    }

    async fn tags(&self, _: ProjectId) -> Result<Vec<String>, ForgeError> {
        Ok(Vec::new())
    }

    async fn keep(&self, _: ProjectId, _: PipelineId, _: &ObjectId) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn is_protected(&self, _: ProjectId, _: &RefName) -> Result<bool, ForgeError> {
        Ok(false)
    }
}

/// A server whose commit has one `.gitlab-ci.yml`.
pub(super) struct World {
    pub(super) ci: Arc<Ci>,
    pub(super) shared: Arc<Shared>,
    app: App,
    _directory: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shared.shutdown.cancel();
    }
}

impl World {
    pub(super) async fn new(file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("rave.db"));
        Self::on(&url, directory, file).await
    }

    pub(super) async fn on_postgres(file: &str) -> Self {
        let database = PostgresServer::shared().create_database();
        let url = DatabaseUrl::Postgres(Secret::new(database));
        Self::on(&url, tempfile::tempdir().unwrap(), file).await
    }

    async fn on(url: &DatabaseUrl, directory: tempfile::TempDir, file: &str) -> Self {
        let clock = Arc::new(SystemClock);
        let db = Db::open(url, clock.clone(), Options::default())
            .await
            .unwrap();
        db.migrate(&[rave_blob::MIGRATIONS, MIGRATIONS])
            .await
            .unwrap();
        let blobs = Blobs::on_disk(
            db.clone(),
            directory.path().join("blobs"),
            rave_blob::Options::default(),
        )
        .await
        .unwrap();
        let fake = Arc::new(Fake {
            file: file.to_owned(),
        });
        let config = CiConfig::new("http://rave.test", "0");
        let ci = Ci::new(
            db,
            blobs,
            crate::Ports {
                forge: fake.clone(),
                directory: fake.clone(),
                issuer: Arc::new(crate::tests::world::Unsigned),
                caches: Arc::new(rave_core::port::NoBinaryCaches),
            },
            clock.clone(),
            config,
            rave_core::sealing::SealingKey::parse(
                &rave_core::sealing::SealingKey::generate().unwrap(),
            )
            .unwrap(),
        );
        let shared = Arc::new(Shared {
            directory: fake.clone(),
            authenticator: fake,
            clock,
            metrics: rave_http::metrics::Metrics::default(),
            probes: Vec::new(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            external_url: "http://rave.test".into(),
            version: "test",
        });
        Self {
            app: build(shared.clone(), pages::routes(ci.clone())),
            ci,
            shared,
            _directory: directory,
        }
    }

    /// Returns proof that the developer may run pipelines of `team/app`.
    pub(super) fn access(&self) -> Access<RunPipelines> {
        let facts = ProjectFacts {
            project: project(1, "team/app"),
            role: Some(Role::Developer),
        };
        decide(&principal("developer").unwrap(), facts).unwrap()
    }

    /// Makes a pipeline of `main`.
    pub(super) async fn pipeline(&self) -> Pipeline {
        let access = self.access();
        self.ci
            .create_pipeline(
                &access,
                crate::service::create::Wish::new("main", Source::Web),
            )
            .await
            .unwrap()
    }

    /// Makes what a push to `main` makes.
    pub(super) async fn push(&self) {
        let change = RefChange {
            reference: "refs/heads/main".into(),
            before: ObjectId::ZERO.into(),
            after: SHA.into(),
            user: Some(2),
            options: Vec::new(),
            position: 0,
        };
        let what = NewEvent::new(EventKind::PushReceived, "project/1")
            .project(ProjectId(1))
            .payload(serde_json::to_value(change).unwrap());
        let event = Event {
            seq: 1,
            id: uuid::Uuid::nil(),
            at: Timestamp(0),
            what,
        };
        self.ci.handle_push(&event).await.unwrap();
    }

    /// Returns the id of a job of a pipeline by its name: the present try.
    pub(super) async fn job(&self, pipeline: PipelineId, name: &str) -> JobId {
        let access = self.access().also().unwrap();
        let jobs = self
            .ci
            .pipeline_jobs(&access, pipeline, false)
            .await
            .unwrap();
        jobs.into_iter()
            .find(|it| it.name == name)
            .expect("a job of that name")
            .id
    }

    /// Lets something happen to a job.
    pub(super) async fn happen(
        &self,
        pipeline: PipelineId,
        job: JobId,
        event: JobEvent,
        exit_code: Option<i64>,
    ) {
        self.ci
            .apply(
                pipeline,
                Action::Job {
                    job,
                    event,
                    exit_code,
                },
            )
            .await
            .unwrap();
    }

    /// Lets a runner take a job and begin.
    pub(super) async fn start(&self, pipeline: PipelineId, job: JobId) {
        self.happen(pipeline, job, JobEvent::Assign(RunnerId(7)), None)
            .await;
        self.happen(pipeline, job, JobEvent::Start, None).await;
    }

    /// Lets a running job write to its log, as a runner's request would.
    pub(super) async fn log(&self, job: JobId, text: &str) {
        let body = text.as_bytes().to_vec();
        self.ci
            .db
            .write("test_log", move |tx| {
                let start = store::trace::place(tx, job)?.expect("the job").size_bytes;
                let due = tx.now().plus_millis(60_000);
                assert!(store::trace::append(tx, job, start, &body, 0, due)?);
                Ok::<_, CiError>(())
            })
            .await
            .unwrap();
        self.ci.logs.ring();
    }

    /// Answers one request of a user, of nobody for an empty name.
    pub(super) async fn send(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: &str,
        more: &[(&str, &str)],
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        if !user.is_empty() {
            request = request.header("private-token", user);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.app.answer(request, ([127, 0, 0, 1], 1).into()).await
    }

    /// Returns a page that has to be there.
    pub(super) async fn page(&self, user: &str, path: &str) -> String {
        let (status, text) = text(self.send(user, "GET", path, "", &[]).await).await;
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Returns the status of a request without a body.
    pub(super) async fn status(&self, user: &str, method: &str, path: &str) -> u16 {
        self.send(user, method, path, "", &[])
            .await
            .status()
            .as_u16()
    }
}

/// Returns status and body of an answer.
pub(super) async fn text(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns where an answer redirects to.
pub(super) fn target(response: &Response) -> &str {
    assert!(response.status().is_redirection(), "{}", response.status());
    response.headers()["location"].to_str().unwrap()
}
