//! Jobs run by a real runner, through the protocol, in real sandboxes.
//!
//! The sandbox tests need what the product needs: root, or unprivileged user namespaces. Where neither is there, they
//! fail and say so, because a sandbox that was not tested is not one.

mod after;
#[cfg(target_arch = "x86_64")]
mod guest;
mod hostile;
mod images;
mod independent;
mod jobs;
#[cfg(target_arch = "x86_64")]
mod machine;
mod memory;
mod registry;
mod sandbox;
mod server;
mod services;
mod source;
mod stopping;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use rave_core::secret::Secret;
use rave_core::time::SystemClock;
use rave_runner::{ExecutorKind, Runner, RunnerConfig, RunnerError, SandboxPolicy};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use server::{JobRecord, RUNNER_TOKEN, TestServer};

/// A server and a runner that works for it.
struct Bench {
    server: TestServer,
    dir: TempDir,
    shutdown: CancellationToken,
    abort: CancellationToken,
    runner: JoinHandle<Result<(), RunnerError>>,
}

impl Bench {
    /// Starts both; `change` adjusts the runner.
    async fn start(change: impl FnOnce(&mut RunnerConfig)) -> Self {
        Self::start_with(true, change).await
    }

    async fn start_with(live: bool, change: impl FnOnce(&mut RunnerConfig)) -> Self {
        let server = TestServer::start(live).await;
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = RunnerConfig::new(
            &server.url,
            Secret::new(RUNNER_TOKEN),
            dir.path().join("data"),
            Arc::new(SystemClock),
        );
        config.binary = PathBuf::from(env!("CARGO_BIN_EXE_rave-sandbox-probe"));
        config.kill_grace = Duration::from_millis(500);
        change(&mut config);
        let runner = Runner::new(config).expect("a runner");
        runner.verify().await.expect("the server knows the token");
        let (shutdown, abort) = (CancellationToken::new(), CancellationToken::new());
        let run = runner.run(shutdown.clone(), abort.clone());
        let runner = TaskTracker::new().spawn(run.inspect_err(explain));
        Self {
            server,
            dir,
            shutdown,
            abort,
            runner,
        }
    }

    /// Runs one job to its end.
    async fn run(&self, job: Value) -> JobRecord {
        let id = job["id"].as_i64().expect("an id");
        self.server.queue(job, |_| {});
        self.server.finished(id).await
    }

    /// Ends both, and checks that the runner ends well.
    async fn stop(self) {
        self.shutdown.cancel();
        self.runner
            .await
            .expect("the runner does not panic")
            .expect("the runner ends well");
        self.server.stop().await;
    }
}

/// Says why there is no runner, which a test that waits for a job does not know.
#[expect(clippy::print_stdout, reason = "for whoever reads a failed test")]
fn explain(error: &RunnerError) {
    println!("the runner ended: {error:?}");
}

/// Makes a job without a repository.
fn job(id: i64, script: &[&str]) -> Value {
    json!({
        "id": id,
        "token": format!("glcbt-job-token-{id}"),
        "allow_git_fetch": true,
        "job_info": {"name": "test", "project_id": 5, "project_name": "app", "project_full_path": "team/app"},
        "git_info": {"repo_url": "", "ref": "main", "sha": "0000000000000000", "depth": 20},
        "runner_info": {"timeout": 60},
        "variables": [{"key": "GIT_STRATEGY", "value": "none", "public": true}],
        "steps": [{"name": "script", "script": script, "when": "on_success", "allow_failure": false}],
        "features": {"trace_sections": true, "failure_reasons": ["runner_interrupted", "runner_configuration_error"]},
        "image": null, "services": null, "artifacts": null, "cache": [], "dependencies": [], "credentials": null,
    })
}

fn shell(config: &mut RunnerConfig) {
    config.executor = ExecutorKind::Shell;
}

fn sandbox(config: &mut RunnerConfig, change: impl FnOnce(&mut SandboxPolicy)) {
    let mut policy = SandboxPolicy::default();
    change(&mut policy);
    config.executor = ExecutorKind::Sandbox(policy);
}

/// Says whether a process of this machine has `marker` in its command line.
fn is_running(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc")
        .expect("a process list")
        .flatten();
    let mut lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    lines.any(|it| it.windows(marker.len()).any(|it| it == marker.as_bytes()))
}

/// Waits until no process has `marker` in its command line: the kernel ends processes a moment after they are killed.
async fn gone(marker: &str) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while is_running(marker) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("{marker} still runs"));
}

/// Lists the control groups of jobs whose runner is the process `owner`.
fn control_groups(owner: u32) -> Vec<String> {
    let prefix = format!("rave-job-{owner}-");
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                found.push(name);
            } else if entry.file_type().is_ok_and(|it| it.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    found
}

/// Runs the calling test again as an ordinary user. Returns `true` in that second run.
fn as_ordinary_user(test: &str) -> bool {
    const USER: u32 = 47_110;
    if !nix::unistd::geteuid().is_root() {
        return true;
    }
    let mut again = std::process::Command::new(std::env::current_exe().expect("this test"));
    again
        .args([test, "--exact", "--nocapture"])
        .uid(USER)
        .gid(USER)
        .current_dir(Path::new("/"));
    assert!(
        again.status().expect("started").success(),
        "{test} fails for an ordinary user"
    );
    false
}
