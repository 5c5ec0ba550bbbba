//! A small server of the runner protocol, written from the protocol's description: one queue of jobs, logs, artifacts.
//!
//! It stands for a real GitLab, which cannot be had where these tests run. It checks what GitLab checks of the
//! runner's requests (tokens, ranges, the order of states) and can be told to misbehave in the ways GitLab does.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, patch, post, put};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const RUNNER_TOKEN: &str = "glrt-test-runner-token";

/// What the server knows of one job.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobRecord {
    pub(crate) token: String,
    pub(crate) log: Vec<u8>,
    /// The states reported, in order.
    pub(crate) states: Vec<String>,
    /// The last update.
    pub(crate) result: Value,
    /// What `Job-Status` says.
    pub(crate) status: String,
    /// Pieces of the log that were refused for their range.
    pub(crate) resyncs: usize,
    /// Forget half of the log once it is this long.
    pub(crate) forget_at: Option<usize>,
    /// Answer the first final update by 202.
    pub(crate) delay_final: bool,
    /// Uploads by type.
    pub(crate) artifacts: BTreeMap<String, Uploaded>,
}

/// An upload: its parameters, its file name and its content.
pub(crate) type Uploaded = (HashMap<String, String>, String, Vec<u8>);

impl JobRecord {
    pub(crate) fn log(&self) -> String {
        String::from_utf8(self.log.clone()).expect("logs are valid UTF-8")
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.status.as_str(), "success" | "failed")
    }
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Value>,
    jobs: HashMap<i64, JobRecord>,
    requests: Vec<Value>,
    open_requests: usize,
    most_open_requests: usize,
    broken_requests: usize,
    git_logins: Vec<String>,
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    live: bool,
}

/// The server.
pub(crate) struct TestServer {
    shared: Shared,
    pub(crate) url: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl TestServer {
    /// Starts a server on a free port. `live` says whether it wants logs at once.
    pub(crate) async fn start(live: bool) -> Self {
        let shared = Shared {
            inner: Arc::default(),
            changed: Arc::default(),
            live,
        };
        let routes = Router::new()
            .route("/api/v4/runners/verify", post(verify))
            .route("/api/v4/jobs/request", post(request))
            .route("/api/v4/jobs/{id}", put(update))
            .route("/api/v4/jobs/{id}/trace", patch(append))
            .route("/api/v4/jobs/{id}/artifacts", post(upload).get(download))
            .route("/team/app.git/info/refs", get(git_refs))
            .route("/lfs/objects/batch", post(lfs_batch))
            .route("/lfs/objects/{id}", get(|| async { LARGE_FILE }))
            .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
            .with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            axum::serve(listener, routes)
                .with_graceful_shutdown(stopped)
                .await
                .expect("the server serves");
        });
        Self {
            shared,
            url,
            stop,
            tasks,
        }
    }

    /// Queues a job, after `change` had a look at its record.
    pub(crate) fn queue(&self, job: Value, change: impl FnOnce(&mut JobRecord)) {
        let id = job["id"].as_i64().expect("an id");
        let token = job["token"].as_str().expect("a token").to_owned();
        let mut record = JobRecord {
            token,
            status: "running".to_owned(),
            ..JobRecord::default()
        };
        change(&mut record);
        let mut inner = self.shared.inner.lock().expect("not poisoned");
        inner.jobs.insert(id, record);
        inner.queue.push_back(job);
        drop(inner);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn change(&self, id: i64, change: impl FnOnce(&mut JobRecord)) {
        change(
            self.shared
                .inner
                .lock()
                .expect("not poisoned")
                .jobs
                .get_mut(&id)
                .expect("a known job"),
        );
    }

    /// Makes the next requests for a job fail.
    pub(crate) fn break_requests(&self, count: usize) {
        self.shared
            .inner
            .lock()
            .expect("not poisoned")
            .broken_requests = count;
    }

    /// Returns the body of the first request for a job.
    pub(crate) fn first_request(&self) -> Value {
        self.shared.inner.lock().expect("not poisoned").requests[0].clone()
    }

    /// Waits until that many requests for a job are open, and returns the most that ever were.
    pub(crate) async fn open_requests(&self, count: usize) -> usize {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            {
                let inner = self.shared.inner.lock().expect("not poisoned");
                if inner.open_requests == count {
                    return inner.most_open_requests;
                }
            }
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "{count} requests are not open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns what git logged in with.
    pub(crate) fn git_logins(&self) -> Vec<String> {
        self.shared
            .inner
            .lock()
            .expect("not poisoned")
            .git_logins
            .clone()
    }

    /// Waits until a job's record satisfies `check`, and returns it.
    pub(crate) async fn wait(&self, id: i64, check: impl Fn(&JobRecord) -> bool) -> JobRecord {
        self.wait_for(id, Duration::from_secs(60), check).await
    }

    /// The same with a deadline of its own.
    pub(crate) async fn wait_for(
        &self,
        id: i64,
        patience: Duration,
        check: impl Fn(&JobRecord) -> bool,
    ) -> JobRecord {
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        loop {
            let changed = self.shared.changed.notified();
            let record = self.shared.inner.lock().expect("not poisoned").jobs[&id].clone();
            if check(&record) {
                return record;
            }
            tokio::select! {
                () = changed => {}
                // A notification between the look and the wait is rare and costs this much.
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = &mut deadline => panic!("job {id} did not get there: {:?}\n{}", record.states, record.log()),
            }
        }
    }

    pub(crate) async fn finished(&self, id: i64) -> JobRecord {
        self.wait(id, JobRecord::is_finished).await
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn verify(axum::Json(body): axum::Json<Value>) -> Response {
    match body["token"] == RUNNER_TOKEN && body["system_id"].is_string() {
        true => (
            StatusCode::OK,
            axum::Json(json!({"id": 1, "token": RUNNER_TOKEN})),
        )
            .into_response(),
        false => (
            StatusCode::FORBIDDEN,
            axum::Json(json!({"message": "403 Forbidden"})),
        )
            .into_response(),
    }
}

/// Counts a request for a job as open, as long as it lives.
struct Open(Arc<Mutex<Inner>>);

impl Open {
    fn new(inner: &Arc<Mutex<Inner>>) -> Self {
        let mut counted = inner.lock().expect("not poisoned");
        counted.open_requests += 1;
        counted.most_open_requests = counted.most_open_requests.max(counted.open_requests);
        Self(inner.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().expect("not poisoned").open_requests -= 1;
    }
}

async fn request(
    State(shared): State<Shared>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    if body["token"] != RUNNER_TOKEN
        || headers
            .get("RUNNER-TOKEN")
            .is_none_or(|it| it != RUNNER_TOKEN)
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    let _open = Open::new(&shared.inner);
    for _ in 0..20 {
        let changed = shared.changed.notified();
        {
            let mut inner = shared.inner.lock().expect("not poisoned");
            inner.requests.push(body.clone());
            if inner.broken_requests > 0 {
                inner.broken_requests -= 1;
                return StatusCode::BAD_GATEWAY.into_response();
            }
            if let Some(job) = inner.queue.pop_front() {
                let mut response = (StatusCode::CREATED, axum::Json(job)).into_response();
                if shared.live {
                    response
                        .headers_mut()
                        .insert("X-Rave-Live", "1".parse().expect("a value"));
                }
                return response;
            }
        }
        let _ = tokio::time::timeout(Duration::from_millis(500), changed).await;
    }
    (StatusCode::NO_CONTENT, [("X-GitLab-Last-Update", "1")]).into_response()
}

/// Checks a job's token and hands out its record.
fn with_job(
    shared: &Shared,
    id: i64,
    headers: &HeaderMap,
    act: impl FnOnce(&mut JobRecord) -> Response,
) -> Response {
    let mut inner = shared.inner.lock().expect("not poisoned");
    let Some(record) = inner.jobs.get_mut(&id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if headers
        .get("JOB-TOKEN")
        .is_none_or(|it| *it != record.token)
        || record.is_finished()
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut response = act(record);
    let status = record.status.parse().expect("a value");
    response.headers_mut().insert("Job-Status", status);
    if shared.live {
        response
            .headers_mut()
            .insert("X-Rave-Live", "1".parse().expect("a value"));
    } else {
        response.headers_mut().insert(
            "X-GitLab-Trace-Update-Interval",
            "1".parse().expect("a value"),
        );
    }
    drop(inner);
    shared.changed.notify_waiters();
    response
}

async fn update(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    with_job(&shared, id, &headers, |record| {
        let state = body["state"].as_str().expect("a state").to_owned();
        record.states.push(state.clone());
        if state == "running" {
            return StatusCode::OK.into_response();
        }
        if std::mem::take(&mut record.delay_final) {
            return (
                StatusCode::ACCEPTED,
                [("X-GitLab-Trace-Update-Interval", "1")],
            )
                .into_response();
        }
        let checksum = format!("crc32:{:08x}", crc32fast::hash(&record.log));
        let (sum, size) = (&body["output"]["checksum"], &body["output"]["bytesize"]);
        if *sum != checksum || *size != record.log.len() {
            record.states.push("invalid".to_owned());
            record.log.clear();
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        record.result = body;
        record.status = state;
        StatusCode::OK.into_response()
    })
}

async fn append(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    with_job(&shared, id, &headers, |record| {
        let range = headers["Content-Range"]
            .to_str()
            .expect("text")
            .split_once('-')
            .expect("a range");
        let (start, end): (usize, usize) = (
            range.0.parse().expect("a number"),
            range.1.parse().expect("a number"),
        );
        assert_eq!(end + 1 - start, body.len(), "the range's end is inclusive");
        if record.forget_at.is_some_and(|it| record.log.len() >= it) {
            record.forget_at = None;
            record.log.truncate(record.log.len() / 2);
        }
        let (status, len) = if start == record.log.len() {
            record.log.extend_from_slice(&body);
            (StatusCode::ACCEPTED, record.log.len())
        } else {
            record.resyncs += 1;
            (StatusCode::RANGE_NOT_SATISFIABLE, record.log.len())
        };
        (status, [("Range", format!("0-{len}"))]).into_response()
    })
}

async fn upload(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let kind = headers["Content-Type"].to_str().expect("text").to_owned();
    let boundary = kind
        .split_once("boundary=")
        .expect("multipart")
        .1
        .to_owned();
    with_job(&shared, id, &headers, |record| {
        let (filename, content) = only_part(&body, &boundary);
        let kind = parameters["artifact_type"].clone();
        record
            .artifacts
            .insert(kind, (parameters, filename, content));
        (StatusCode::CREATED, axum::Json(json!({"id": id}))).into_response()
    })
}

/// Takes the one part out of a multipart body: its file name and its content.
fn only_part(body: &[u8], boundary: &str) -> (String, Vec<u8>) {
    let find = |text: &[u8], from: usize| {
        let at = body[from..].windows(text.len()).position(|it| it == text);
        from + at.expect("a well-formed body")
    };
    let head_end = find(b"\r\n\r\n", 0);
    let head = String::from_utf8_lossy(&body[..head_end]).into_owned();
    assert!(head.contains("name=\"file\""), "{head}");
    let filename = head
        .split_once("filename=\"")
        .expect("a file name")
        .1
        .split('"')
        .next()
        .expect("its end");
    let end = find(format!("\r\n--{boundary}--").as_bytes(), head_end + 2);
    (filename.to_owned(), body[head_end + 4..end].to_vec())
}

async fn download(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Response {
    let inner = shared.inner.lock().expect("not poisoned");
    let asking = headers["JOB-TOKEN"].to_str().expect("text");
    if !inner
        .jobs
        .values()
        .any(|it| it.token == asking && !it.is_finished())
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    match inner
        .jobs
        .get(&id)
        .and_then(|it| it.artifacts.get("archive"))
    {
        Some((_, _, content)) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Asks git who it is, remembers the answer, and has no repository.
async fn git_refs(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(login) = headers.get("Authorization") else {
        return (
            StatusCode::UNAUTHORIZED,
            [("WWW-Authenticate", "Basic realm=\"test\"")],
        )
            .into_response();
    };
    let login = login.to_str().expect("text").to_owned();
    shared
        .inner
        .lock()
        .expect("not poisoned")
        .git_logins
        .push(login);
    StatusCode::NOT_FOUND.into_response()
}

/// The only large file that the server has.
pub(crate) const LARGE_FILE: &str = "the content of a large file\n";

/// Says where large files are, as a server of git-lfs.
async fn lfs_batch(headers: HeaderMap, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).expect("JSON");
    let host = headers["Host"].to_str().expect("text");
    let object = |it: &Value| {
        let href = format!(
            "http://{host}/lfs/objects/{}",
            it["oid"].as_str().expect("an id")
        );
        json!({"oid": it["oid"], "size": it["size"], "actions": {"download": {"href": href}}})
    };
    let objects: Vec<Value> = asked["objects"]
        .as_array()
        .expect("a list")
        .iter()
        .map(object)
        .collect();
    let kind = [("Content-Type", "application/vnd.git-lfs+json")];
    let body = json!({"transfer": "basic", "objects": objects}).to_string();
    (kind, body).into_response()
}
