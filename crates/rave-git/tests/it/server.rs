//! A server of one test's own, and stock git to talk to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rave_core::event::{EventKind, RefChange};
use rave_core::permission::Project;
use rave_core::permission::Visibility;
use rave_core::secret::Secret;
use rave_core::time::{Clock, SystemClock};
use rave_git::{Git, GitConfig};
use rave_http::Shared;
use rave_http::app::build;
use rave_store::{DatabaseUrl, Db, Options};
use rave_testkit::PostgresServer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::directory::Fake;

/// A database and a directory of one test's own.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) url: DatabaseUrl,
    pub(crate) directory: Arc<tempfile::TempDir>,
    pub(crate) fake: Arc<Fake>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let url = DatabaseUrl::Sqlite(directory.path().join("rave.db"));
        Self {
            url,
            directory,
            fake: Arc::default(),
        }
    }

    pub(crate) fn postgres() -> Self {
        let url = DatabaseUrl::Postgres(Secret::new(PostgresServer::shared().create_database()));
        Self {
            url,
            directory: Arc::new(tempfile::tempdir().unwrap()),
            fake: Arc::default(),
        }
    }

    pub(crate) async fn db(&self) -> Db {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let db = Db::open(
            &self.url,
            clock,
            Options {
                pool_size: 6,
                ..Options::default()
            },
        )
        .await
        .unwrap();
        db.migrate(&[rave_git::MIGRATIONS]).await.unwrap();
        db
    }

    /// Makes the forge as a process of its own would.
    pub(crate) async fn git(&self) -> (Db, Arc<Git>) {
        let db = self.db().await;
        let root = self.directory.path();
        let config = GitConfig::new(
            root.join("repos"),
            hook(),
            root.join("run"),
            "http://rave.test".into(),
        );
        let git = Git::new(
            db.clone(),
            self.fake.clone(),
            self.fake.clone(),
            Arc::new(SystemClock),
            config,
        )
        .unwrap();
        (db, git)
    }

    pub(crate) async fn serve(self) -> Server {
        let (db, git) = self.git().await;
        let shared = Arc::new(Shared {
            directory: self.fake.clone(),
            authenticator: self.fake.clone(),
            clock: Arc::new(SystemClock),
            metrics: rave_http::metrics::Metrics::default(),
            probes: Vec::new(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            external_url: "http://rave.test".into(),
            version: "test",
        });
        let app = build(shared.clone(), git.routes());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        shared.tasks.spawn(rave_http::server::serve(listener, app));
        shared
            .tasks
            .spawn(git.clone().run_workers(shared.shutdown.clone()));
        Server {
            address,
            shared,
            git,
            db,
            place: self,
        }
    }

    /// Returns where the repository of a project is.
    pub(crate) fn repository(&self, project: &Project) -> PathBuf {
        let id = project.id.0;
        self.directory
            .path()
            .join(format!("repos/{:02x}/{id}.git", id & 0xff))
    }
}

/// Returns the hook, which cargo builds as an example beside the tests.
fn hook() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let hook = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/pre_receive_hook");
    assert!(
        hook.exists(),
        "{} is missing: run `cargo test -p rave-git`",
        hook.display()
    );
    hook
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) git: Arc<Git>,
    pub(crate) db: Db,
    pub(crate) place: Place,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.shutdown.cancel();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Place::sqlite().serve().await
    }

    /// Ends all that runs and closes the database.
    pub(crate) async fn stop(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.db.close().await;
    }

    pub(crate) fn fake(&self) -> &Fake {
        &self.place.fake
    }

    pub(crate) fn project(&self, path: &str) -> Project {
        self.fake().add(path, Visibility::Private)
    }

    /// Returns the address by which a user reaches a path.
    pub(crate) fn url(&self, user: &str, path: &str) -> String {
        match user {
            "" => format!("http://{}/{path}", self.address),
            user => format!("http://{user}:{user}@{}/{path}", self.address),
        }
    }

    /// Returns a fresh work tree with one commit, whose `origin` is the project as a user reaches it.
    pub(crate) fn work(&self, user: &str, project: &str) -> Work {
        let work = Work::new(self.place.directory.path());
        work.git(["init", "-q", "-b", "main"]).ok();
        work.git([
            "remote",
            "add",
            "origin",
            &self.url(user, &format!("{project}.git")),
        ])
        .ok();
        work.commit("README.md", "# Hello\n");
        work
    }

    /// Returns the events of all pushes so far, with their ids.
    pub(crate) async fn pushes(&self) -> Vec<RefChange> {
        pushes(&self.db).await
    }

    /// Sends one request and returns status, headers and body.
    pub(crate) async fn get(&self, user: &str, path: &str) -> (u16, String, String) {
        self.send(user, "GET", path, &[]).await
    }

    /// Sends one request by curl, the client that is at hand everywhere.
    pub(crate) async fn send(
        &self,
        user: &str,
        method: &str,
        path: &str,
        more: &[&str],
    ) -> (u16, String, String) {
        let url = format!("http://{}{path}", self.address);
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--path-as-is", "-i", "-X", method, &url])
            .args(more);
        if !user.is_empty() {
            command.args(["-H", &format!("PRIVATE-TOKEN: {user}")]);
        }
        let output = blocking(move || command.output().unwrap()).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{url}: {text} {output:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }
}

pub(crate) async fn pushes(db: &Db) -> Vec<RefChange> {
    let events = db.read::<_, rave_store::Error, _>("test", |tx| {
        tx.events_after(0, &[EventKind::PushReceived], 1000)
    });
    let events = events.await.unwrap();
    events
        .into_iter()
        .map(|it| serde_json::from_value(it.what.payload).unwrap())
        .collect()
}

/// Runs something that blocks beside the server, which lives in the same process.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A directory in which git runs as a person would run it.
#[derive(Clone)]
pub(crate) struct Work(pub(crate) PathBuf);

/// What a git command said.
pub(crate) struct Said(pub(crate) Output);

impl Said {
    pub(crate) fn text(&self) -> String {
        format!(
            "{}{}",
            String::from_utf8_lossy(&self.0.stdout),
            String::from_utf8_lossy(&self.0.stderr)
        )
    }

    pub(crate) fn ok(self) -> String {
        assert!(self.0.status.success(), "{}", self.text());
        self.text()
    }

    pub(crate) fn fails(self) -> String {
        assert!(!self.0.status.success(), "{}", self.text());
        self.text()
    }
}

impl Work {
    pub(crate) fn new(root: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("work-")
            .tempdir_in(root)
            .unwrap();
        Self(directory.keep())
    }

    pub(crate) fn git<const N: usize>(&self, arguments: [&str; N]) -> Said {
        Said(git_in(&self.0, arguments).output().unwrap())
    }

    pub(crate) fn commit(&self, path: &str, content: &str) -> String {
        let file = self.0.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
        self.git(["add", "-A"]).ok();
        self.git(["commit", "-q", "-m", &format!("Change {path}\n\nBecause.")])
            .ok();
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.git(["rev-parse", "HEAD"]).ok().trim().to_owned()
    }
}

pub(crate) fn git_in<const N: usize>(directory: &Path, arguments: [&str; N]) -> Command {
    let mut command = Command::new("git");
    command
        .args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
            "-c",
            "protocol.version=2",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    command
}

/// Asserts that a repository is sound.
pub(crate) fn fsck(repository: &Path) {
    let output = git_in(
        repository,
        ["-c", "safe.directory=*", "fsck", "--full", "--strict"],
    )
    .output()
    .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
