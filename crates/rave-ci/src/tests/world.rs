//! A server of one test's own: a real database and blob store, a forge and a directory in memory, a clock that is moved.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use rave_blob::Blobs;
use rave_core::event::{Event, EventKind, NewEvent, RefChange};
use rave_core::id::{NamespaceId, PipelineId, ProjectId, UserId};
use rave_core::name::{FullPath, ObjectId, RefName, RepoPath};
use rave_core::permission::{
    Access, DeleteProject, ManageProject, Principal, Project, ProjectFacts, ReadPipelines, Role,
    UserPrincipal, Via, Visibility, decide,
};
use rave_core::pipeline::Tallies;
use rave_core::port::*;
use rave_core::secret::{Secret, TokenDigest};
use rave_core::time::{ManualClock, Timestamp};
use rave_core::trace::TraceContext;
use rave_http::app::{App, Shared, build};
use rave_store::{DatabaseUrl, Db, HandleError, Options, Progress, Worker as _, params};
use rave_testkit::PostgresServer;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{Job, Pipeline};
use crate::service::Ci;
use crate::store::{self, job::JobFilter};
use crate::{CiConfig, JobTokenStore, MIGRATIONS, PipelineReports, worker};
use rave_core::sealing::SealingKey;

pub(crate) const SHA: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";

/// Where the database is.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Sqlite,
    Postgres,
}

/// A forge with one commit on every branch, and a directory with the private project `team/app`.
pub(crate) struct Fake {
    pub(crate) files: Mutex<BTreeMap<String, String>>,
    pub(crate) message: Mutex<String>,
    pub(crate) kept: Mutex<Vec<PipelineId>>,
    /// Where every branch points to.
    pub(crate) head: Mutex<String>,
    pub(crate) away: AtomicBool,
    /// The role that may push to the protected branch.
    pub(crate) least_to_change: AtomicI64,
    /// Whether the developer is no member any more.
    pub(crate) left: AtomicBool,
    jobs: Arc<JobTokenStore>,
}

fn user(name: &str) -> Option<UserPrincipal> {
    let id = ["root", "developer", "stranger"]
        .iter()
        .position(|it| *it == name)?;
    Some(UserPrincipal {
        id: UserId(i64::try_from(id).unwrap() + 1),
        username: name.into(),
        name: name.to_uppercase(),
        admin: name == "root",
        via: Via::Password,
    })
}

/// The project that tests are about, one that its developer may run pipelines in, and one that they may only read.
const PROJECTS: [(&str, Role); 3] = [
    ("team/app", Role::Developer),
    ("team/lib", Role::Developer),
    ("other/seen", Role::Reporter),
];

fn project() -> Project {
    numbered(0)
}

fn numbered(index: usize) -> Project {
    Project {
        id: ProjectId(i64::try_from(index).unwrap() + 1),
        namespace: NamespaceId(7),
        name: "App".into(),
        path: FullPath::parse(PROJECTS[index].0).unwrap(),
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
        let Credentials::Token(token) = credentials else {
            return Err(AuthenticateError::Invalid);
        };
        if let Some(user) = user(token.expose()) {
            return Ok(Principal::User(user));
        }
        let job = self.jobs.find_job(&TokenDigest::of(token.expose())).await?;
        let job = job.ok_or(AuthenticateError::Invalid)?;
        Ok(Principal::Job {
            job: job.job,
            project: job.project,
            user: job.user,
        })
    }
}

/// Writes claims as they are, where tests can read them.
pub(crate) struct Unsigned;

#[async_trait]
impl Issuer for Unsigned {
    async fn sign(&self, claims: &serde_json::Value) -> Result<Secret, PortError> {
        Ok(Secret::new(claims.to_string()))
    }
}

#[async_trait]
impl Directory for Fake {
    async fn find_project(
        &self,
        principal: &Principal,
        at: &ProjectRef,
    ) -> Result<Option<ProjectFacts>, PortError> {
        let mut all = (0..PROJECTS.len()).map(|it| (numbered(it), PROJECTS[it].1));
        let found = all.find(|(project, _)| match at {
            ProjectRef::Id(id) => project.id == *id,
            ProjectRef::Path(path) => project.path == *path,
        });
        let developer = principal
            .user()
            .is_some_and(|it| it.username == "developer")
            && !self.left.load(Ordering::SeqCst);
        Ok(found.map(|(project, role)| ProjectFacts {
            role: developer.then_some(role),
            project,
        }))
    }

    async fn load_project(&self, id: ProjectId) -> Result<Option<Project>, PortError> {
        Ok((0..PROJECTS.len()).map(numbered).find(|it| it.id == id))
    }

    async fn list_projects(
        &self,
        principal: &Principal,
        _: &ProjectFilter,
        _: Slice,
    ) -> Result<Page<ProjectFacts>, PortError> {
        let mut items = Vec::new();
        for (index, _) in PROJECTS.iter().enumerate() {
            let at = ProjectRef::Id(numbered(index).id);
            items.extend(self.find_project(principal, &at).await?);
        }
        let total = items.len() as u64;
        Ok(Page { items, total })
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
        let known = ["root", "developer", "stranger"]
            .into_iter()
            .filter_map(user);
        let summary = |it: UserPrincipal| UserSummary {
            id: it.id,
            email: format!("{}@example.org", it.username),
            username: it.username,
            name: it.name,
            active: true,
        };
        let wanted = known.filter(|it| ids.contains(&it.id));
        Ok(wanted.map(|it| (it.id, summary(it))).collect())
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

    async fn find_principal(&self, id: UserId) -> Result<Option<UserPrincipal>, PortError> {
        let known = ["root", "developer", "stranger"]
            .into_iter()
            .filter_map(user);
        Ok(known.into_iter().find(|it| it.id == id))
    }

    async fn find_group(
        &self,
        principal: &Principal,
        at: &GroupRef,
    ) -> Result<Option<GroupFacts>, PortError> {
        let name = principal.user().map(|it| it.username.clone());
        let role = match name.as_deref() {
            Some("root") => Some(Role::Owner),
            Some("developer") => Some(Role::Developer),
            _ => return Ok(None),
        };
        let group = NamespaceSummary {
            id: NamespaceId(7),
            parent: None,
            name: "Team".into(),
            path: FullPath::parse("team").unwrap(),
            owner: None,
        };
        let known = *at == GroupRef::Id(group.id);
        Ok(known.then_some(GroupFacts { group, role }))
    }

    async fn writable_namespaces(&self, _: &Principal) -> Result<Vec<NamespaceSummary>, PortError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Forge for Fake {
    /// Files of the first project have their own names, those of others begin with the project's number.
    async fn read_file(
        &self,
        project: ProjectId,
        _: &ObjectId,
        path: &RepoPath,
        _: u64,
    ) -> Result<Option<Bytes>, ForgeError> {
        let files = self.files.lock().unwrap();
        if project != ProjectId(1) {
            let path = format!("{project}/{path}");
            return Ok(files.get(&path).map(|it| Bytes::from(it.clone())));
        }
        Ok(files.get(path.as_str()).map(|it| Bytes::from(it.clone())))
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
            message: self.message.lock().unwrap().clone(),
        }))
    }

    async fn resolve(
        &self,
        _: ProjectId,
        name: &str,
    ) -> Result<Option<(ObjectId, Option<RefName>)>, ForgeError> {
        let id = ObjectId::parse(&self.head.lock().unwrap()).unwrap();
        let full = RefName::parse("refs/heads/main").unwrap();
        Ok(match name {
            "main" | "refs/heads/main" => Some((id, Some(full))),
            _ => ObjectId::parse(name).ok().map(|it| (it, None)),
        })
    }

    async fn list_files(
        &self,
        _: ProjectId,
        _: &ObjectId,
        _: usize,
    ) -> Result<Vec<String>, ForgeError> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
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

    async fn keep(
        &self,
        _: ProjectId,
        pipeline: PipelineId,
        _: &ObjectId,
    ) -> Result<(), ForgeError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(PortError::transient("keep a commit", "the disk is away").into());
        }
        self.kept.lock().unwrap().push(pipeline);
        Ok(())
    }

    async fn is_protected(&self, _: ProjectId, name: &RefName) -> Result<bool, ForgeError> {
        Ok(name.branch() == Some("main"))
    }

    async fn may_change(
        &self,
        _: ProjectId,
        _: &RefName,
        role: Option<Role>,
    ) -> Result<bool, ForgeError> {
        let least = self.least_to_change.load(Ordering::SeqCst);
        Ok(role.is_some_and(|it| it.level() >= least))
    }
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }
}

pub(crate) struct World {
    pub(crate) ci: Arc<Ci>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) reports: Arc<PipelineReports>,
    pub(crate) shared: Arc<Shared>,
    app: App,
    _directory: tempfile::TempDir,
}

impl World {
    /// Starts a server whose commit has this `.gitlab-ci.yml`.
    pub(crate) async fn new(place: Place, file: &str) -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_767_323_045_678)));
        let url = match place {
            Place::Sqlite => DatabaseUrl::Sqlite(directory.path().join("rave.db")),
            Place::Postgres => {
                DatabaseUrl::Postgres(Secret::new(PostgresServer::shared().create_database()))
            }
        };
        let options = Options {
            connect_timeout: Duration::from_secs(30),
            pool_size: 6,
            ..Options::default()
        };
        let db = Db::open(&url, clock.clone(), options).await.unwrap();
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
            files: Mutex::new([(".gitlab-ci.yml".to_owned(), file.to_owned())].into()),
            message: Mutex::new("Change something".into()),
            kept: Mutex::default(),
            head: Mutex::new(SHA.into()),
            away: AtomicBool::new(false),
            least_to_change: AtomicI64::new(Role::Developer.level()),
            left: AtomicBool::new(false),
            jobs: JobTokenStore::new(db.clone()),
        });
        let config = CiConfig::new("http://rave.test", "0.1.0");
        let reports = PipelineReports::new(db.clone());
        let ci = Ci::new(
            db,
            blobs,
            crate::Ports {
                forge: fake.clone(),
                directory: fake.clone(),
                issuer: Arc::new(Unsigned),
                caches: Arc::new(rave_core::port::NoBinaryCaches),
            },
            clock.clone(),
            config,
            SealingKey::parse(&SealingKey::generate().unwrap()).unwrap(),
        );
        let shared = Arc::new(Shared {
            directory: fake.clone(),
            authenticator: fake.clone(),
            clock: clock.clone(),
            metrics: rave_http::metrics::Metrics::default(),
            probes: Vec::new(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            external_url: "http://rave.test".into(),
            version: "test",
        });
        Arc::new(Self {
            app: build(shared.clone(), ci.routes()),
            ci,
            clock,
            fake,
            reports,
            shared,
            _directory: directory,
        })
    }

    /// Makes one request.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        let peer = "127.0.0.1:9".parse().unwrap();
        let response = self.app.answer(request, peer).await;
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.unwrap(),
        }
    }

    /// Makes a request of the API as a user.
    pub(crate) async fn api(&self, user: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v4{path}"))
            .header("private-token", user)
            .header("content-type", "application/json");
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Reads as the developer.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.api("developer", "GET", path, Value::Null).await
    }

    /// Makes a request of the runner protocol on behalf of a job.
    pub(crate) async fn as_job(
        &self,
        job: &Value,
        method: &str,
        tail: &str,
        body: Value,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v4/jobs/{}{tail}", job["id"]))
            .header("job-token", job["token"].as_str().unwrap())
            .header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// Says a job's state on behalf of its runner.
    pub(crate) async fn put_state(&self, job: &Value, state: &str) -> Answer {
        self.as_job(job, "PUT", "", json!({ "state": state })).await
    }

    /// Sends a piece of a job's log.
    pub(crate) async fn patch_trace(&self, job: &Value, start: usize, text: &str) -> Answer {
        let end = start + text.len().saturating_sub(1);
        let request = Request::builder()
            .method("PATCH")
            .uri(format!(
                "/api/v4/jobs/{}/trace?debug_trace=false",
                job["id"]
            ))
            .header("job-token", job["token"].as_str().unwrap())
            .header("content-type", "text/plain")
            .header("content-range", format!("{start}-{end}"));
        self.send(request.body(Body::from(text.to_owned())).unwrap())
            .await
    }

    /// Uploads an archive as the stock runner does.
    pub(crate) async fn upload(&self, job: &Value, query: &str, bytes: &[u8]) -> Answer {
        let mut body = b"--b0und\r\nContent-Disposition: form-data; name=\"file\"; filename=\"artifacts.zip\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n--b0und--\r\n");
        let request = Request::builder()
            .method("POST")
            .uri(format!("/api/v4/jobs/{}/artifacts?{query}", job["id"]))
            .header("job-token", job["token"].as_str().unwrap())
            .header("content-type", "multipart/form-data; boundary=b0und");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Makes a runner of the instance and returns its token.
    pub(crate) async fn runner(&self, settings: Value) -> String {
        let mut body = json!({ "runner_type": "instance_type" });
        crate::api::shapes::extend(&mut body, settings);
        let answer = self.api("root", "POST", "/user/runners", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Asks for a job. With `last_update` the request is held.
    pub(crate) async fn request(&self, token: &str, last_update: Option<&str>) -> Answer {
        self.request_with(token, last_update, Value::Null).await
    }

    /// Asks for a job as a machine that says what memory it has.
    pub(crate) async fn request_with(
        &self,
        token: &str,
        last_update: Option<&str>,
        memory: Value,
    ) -> Answer {
        let body = json!({
            "memory": memory,
            "token": token,
            "system_id": "s_1",
            "last_update": last_update,
            "info": {
                "version": "1",
                "features": {
                    "artifacts_exclude": true,
                    "cancel_gracefully": true,
                    "fallback_cache_keys": true,
                    "return_exit_code": true,
                    "upload_multiple_artifacts": true,
                    "upload_raw_artifacts": true,
                },
            },
        });
        let request = Request::builder()
            .method("POST")
            .uri("/api/v4/jobs/request")
            .header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// Takes a job, which has to be there.
    pub(crate) async fn take(&self, token: &str) -> Value {
        let answer = self.request(token, None).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Takes a job and says the first word.
    pub(crate) async fn start(&self, token: &str) -> Value {
        let job = self.take(token).await;
        assert_eq!(self.put_state(&job, "running").await.status, 200);
        job
    }

    /// Appends what git appends for a push of `main`, and returns it.
    pub(crate) async fn append_push(&self, options: &[&str]) -> Event {
        let change = RefChange {
            reference: "refs/heads/main".into(),
            before: ObjectId::ZERO.into(),
            after: self.fake.head.lock().unwrap().clone(),
            user: Some(2),
            options: options.iter().map(ToString::to_string).collect(),
            position: 0,
        };
        let event = NewEvent::new(EventKind::PushReceived, "project/1")
            .project(ProjectId(1))
            .payload(serde_json::to_value(change).unwrap())
            .trace(Some(TraceContext::start()));
        let appended: Result<Event, rave_store::Error> = self
            .ci
            .db
            .write("test_push", move |tx| tx.append(event))
            .await;
        appended.unwrap()
    }

    pub(crate) async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        worker::push::handle(&self.ci, event).await
    }

    /// Pushes to `main` and returns what whoever pushed reads.
    pub(crate) async fn push(&self, options: &[&str]) -> Vec<String> {
        let event = self.append_push(options).await;
        self.handle(&event).await.unwrap();
        self.reports
            .push_report(&[event.id], Duration::from_secs(30))
            .await
    }

    pub(crate) fn project(&self) -> Project {
        project()
    }

    pub(crate) fn user(&self, name: &str) -> UserPrincipal {
        user(name).unwrap()
    }

    /// Puts a file into the commits.
    pub(crate) fn put_file(&self, path: &str, text: &str) {
        let mut files = self.fake.files.lock().unwrap();
        files.insert(path.to_owned(), text.to_owned());
    }

    /// Checks that what is kept about the pipelines is what their jobs say.
    pub(crate) async fn check_progress(&self) {
        let checked = self.ci.db.write("test_progress", |tx| {
            for row in tx.query("SELECT id FROM ci_pipeline WHERE ready = 1", &[])? {
                let id = PipelineId(row.int("id")?);
                let (graph, _) = store::job::load_graph(tx, id)?;
                let locked = store::pipeline::lock(tx, id)?.unwrap();
                let Some(tallies) = locked.tallies else {
                    continue;
                };
                assert_eq!(tallies, Tallies::of(&graph), "pipeline {id}");
                assert_eq!(locked.status, tallies.status(), "pipeline {id}");
                for (position, node) in graph.nodes.iter().enumerate() {
                    let needed = "SELECT needed FROM ci_need WHERE pipeline_id = $1 AND position = $2 ORDER BY needed";
                    let rows = tx.query(needed, params![id.0, store::number(position)])?;
                    let rows: Result<Vec<_>, _> = rows.iter().map(|it| it.int("needed")).collect();
                    let mut needs: Vec<_> = node.needs.iter().flatten().map(|it| store::number(*it)).collect();
                    needs.sort_unstable();
                    assert_eq!(rows?, needs, "pipeline {id}");
                }
            }
            Ok::<_, rave_store::Error>(())
        });
        checked.await.unwrap();
    }

    /// Returns each job's name and status by pipeline, as `1 a:success b:pending / 2 ...`, present tries only.
    pub(crate) async fn families(&self) -> String {
        self.check_progress().await;
        let read = self.ci.db.read("test_families", |tx| {
            let mut parts = Vec::new();
            for row in tx.query(
                "SELECT id, status FROM ci_pipeline WHERE ready = 1 ORDER BY id",
                &[],
            )? {
                let id = PipelineId(row.int("id")?);
                let mut part = vec![format!("{id} {}", row.text("status")?)];
                for job in crate::store::job::of_pipeline(tx, id, false)? {
                    part.push(format!("{}:{}", job.name, job.status().label()));
                }
                parts.push(part.join(" "));
            }
            Ok::<_, rave_store::Error>(parts.join(" / "))
        });
        read.await.unwrap()
    }

    /// Pushes another commit to `main`.
    pub(crate) async fn push_commit(&self, digit: char) {
        *self.fake.head.lock().unwrap() = digit.to_string().repeat(40);
        self.push(&[]).await;
    }

    /// Lets the workers that follow changes do what there is to do.
    pub(crate) async fn settle(&self) {
        let mut chores = worker::chores::Chores::new(self.ci.clone());
        let mut resources = worker::resources::Resources::new(self.ci.clone());
        loop {
            let done = [
                chores.step().await.unwrap(),
                resources.step().await.unwrap(),
            ];
            if done == [Progress::Idle; 2] {
                return;
            }
        }
    }

    fn access(&self) -> Access<ReadPipelines> {
        let facts = ProjectFacts {
            project: project(),
            role: Some(Role::Developer),
        };
        decide(&Principal::User(user("developer").unwrap()), facts).unwrap()
    }

    /// Returns all pipelines, the newest first.
    pub(crate) async fn pipelines(&self) -> Vec<Pipeline> {
        let all = Slice {
            offset: 0,
            limit: 100,
        };
        let page = self
            .ci
            .list_pipelines(&self.access(), Default::default(), all)
            .await;
        page.unwrap().items
    }

    /// Returns each job's name and status in the order in which they were made, all tries.
    pub(crate) async fn statuses(&self) -> String {
        self.check_progress().await;
        let mut jobs = self.jobs().await;
        jobs.sort_by_key(|it| it.id);
        let text = |it: &Job| match it.failure_reason() {
            Some(reason) => format!("{}:{}({})", it.name, it.status().label(), reason.label()),
            None => format!("{}:{}", it.name, it.status().label()),
        };
        jobs.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    pub(crate) async fn jobs(&self) -> Vec<Job> {
        let all = Slice {
            offset: 0,
            limit: 1000,
        };
        let filter = JobFilter {
            include_retried: true,
            ..JobFilter::default()
        };
        self.ci
            .list_jobs(&self.access(), filter, all)
            .await
            .unwrap()
            .items
    }

    /// Returns the newest pipeline's status.
    pub(crate) async fn status(&self) -> &'static str {
        self.pipelines().await[0].status.label()
    }

    /// Returns the kinds and subjects of all events after the pushes.
    pub(crate) async fn events(&self) -> Vec<String> {
        let events: Result<Vec<Event>, rave_store::Error> = self
            .ci
            .db
            .read("test_events", |tx| tx.events_after(0, &[], 1000))
            .await;
        let events = events
            .unwrap()
            .into_iter()
            .filter(|it| it.what.kind != EventKind::PushReceived);
        let status = |it: &Event| {
            it.what.payload["status"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        events
            .map(|it| {
                format!(
                    "{} {} {}",
                    it.what.kind.label(),
                    it.what.subject,
                    status(&it)
                )
            })
            .collect()
    }
}

/// Fails a test that would hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("this happens soon")
}

/// Asks until the answer is yes, with a deadline.
pub(crate) async fn until(mut ask: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    soon(async {
        while !ask().await {
            ticks.tick().await;
        }
    })
    .await;
}
