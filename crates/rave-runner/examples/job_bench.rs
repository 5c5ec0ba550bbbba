//! Measures what a job costs its runner: `job_bench RAVE`, where RAVE is the built binary, prints a figure per line: what,
//! how much, its unit and what is to be reached, with tabs between. `make bench BENCH_ARGS=job` builds and starts it.
//!
//! The server is the tests' own, and the runner a process of its own, so that its memory can be read. `--brief` measures
//! with small numbers, to see that all of it works; its figures say nothing.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

#[path = "../src/trace/mask.rs"]
#[expect(dead_code, reason = "only throughput is measured")]
mod mask;
#[path = "../tests/it/server.rs"]
#[expect(dead_code, reason = "written for tests")]
mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rave_core::secret::Secret;
use rave_core::time::SystemClock;
use rave_runner::{Runner, RunnerConfig, SandboxPolicy};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use server::{RUNNER_TOKEN, TestServer};

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let brief = words.contains(&"--brief");
    words.retain(|it| *it != "--brief");
    match words.as_slice() {
        ["runner", url, dir, sandbox, limit] => run(url, dir, sandbox, limit).await,
        [sandbox] => {
            let scale = if brief { BRIEF } else { WHOLE };
            let sandbox = Path::new(sandbox).canonicalize().expect("the binary");
            masking(scale);
            memory(&sandbox).await;
            starts(&sandbox, scale).await;
            logs(&sandbox, scale).await;
            stops(&sandbox, scale).await;
            sources(&sandbox, scale).await;
        }
        _ => println!("usage: job_bench [--brief] RAVE"),
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// How often what takes milliseconds is done.
    rounds: i64,
    log_bytes: u64,
    masked_bytes: usize,
    /// Files of 100 kB in a repository.
    files: usize,
}

const WHOLE: Scale = Scale {
    rounds: 100,
    log_bytes: 2_000_000_000,
    masked_bytes: 256 << 20,
    files: 1000,
};
const BRIEF: Scale = Scale {
    rounds: 3,
    log_bytes: 20_000_000,
    masked_bytes: 1 << 20,
    files: 10,
};

/// Prints a figure.
fn say(what: &str, value: f64, unit: &str, target: &str) {
    println!("{what}\t{value:.3}\t{unit}\t{target}");
}

/// How many jobs run at once where the memory of each is asked for.
const JOBS_AT_ONCE: usize = 8;

/// Is the runner.
async fn run(url: &str, dir: &str, sandbox: &str, limit: &str) {
    let mut config = RunnerConfig::new(url, Secret::new(RUNNER_TOKEN), dir, Arc::new(SystemClock));
    config.binary = PathBuf::from(sandbox);
    config.output_limit_bytes = limit.parse().expect("a number");
    config.concurrency = JOBS_AT_ONCE;
    config.memory.profile = Some(rave_runner::Profile::Full);
    config.default_memory_bytes = Some(256 << 20);
    config.memory.request_bytes = 64 << 20;
    let policy = SandboxPolicy {
        read_only_paths: vec![PathBuf::from(dir).join("remote")],
        ..SandboxPolicy::default()
    };
    config.executor = rave_runner::ExecutorKind::Sandbox(policy);
    let runner = Runner::new(config).expect("a runner");
    let never = CancellationToken::new();
    runner.run(never.clone(), never).await.expect("it runs");
}

/// A server, and a runner beside it.
struct Bench {
    server: TestServer,
    dir: tempfile::TempDir,
    runner: Child,
}

impl Bench {
    async fn start(sandbox: &Path, limit: u64) -> Self {
        let server = TestServer::start(true).await;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("remote")).expect("made");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .arg("runner")
            .arg(&server.url)
            .arg(dir.path())
            .arg(sandbox)
            .arg(limit.to_string());
        let runner = command.spawn().expect("started");
        Self {
            server,
            dir,
            runner,
        }
    }

    /// Reads a line of the runner's memory, in MiB.
    fn memory(&self, line: &str) -> f64 {
        let path = format!("/proc/{}/status", self.runner.id());
        let text = std::fs::read_to_string(path).expect("it runs");
        let line = text.lines().find_map(|it| it.strip_prefix(line));
        let line = line.expect("a line").trim_start_matches(':');
        let kib = line.trim().trim_end_matches(" kB").trim().parse::<f64>();
        kib.expect("a number") / 1024.0
    }

    async fn run(&self, job: Value) -> Duration {
        let (id, began) = (job["id"].as_i64().expect("an id"), Instant::now());
        self.server.queue(job, |_| {});
        let done = self.server.finished(id).await;
        assert_eq!(done.status, "success", "{}", done.log());
        began.elapsed()
    }

    async fn stop(mut self) {
        self.runner.kill().expect("killed");
        self.runner.wait().expect("ended");
        self.server.stop().await;
    }
}

fn job(id: i64, script: &[&str]) -> Value {
    json!({
        "id": id, "token": format!("job-token-{id}"), "allow_git_fetch": true,
        "job_info": {"name": "bench", "project_id": 1, "project_full_path": "team/app"},
        "git_info": {"sha": "0000000000000000", "ref": "main", "depth": 20},
        "runner_info": {"timeout": 3600},
        "variables": [{"key": "GIT_STRATEGY", "value": "none"}],
        "steps": [{"name": "script", "script": script, "when": "on_success"}],
        "features": {"trace_sections": true},
    })
}

/// Prints the middle and nearly the worst of measurements.
fn say_times(what: &str, mut all: Vec<Duration>, targets: [&str; 2]) {
    all.sort();
    for (share, target) in [50, 99].into_iter().zip(targets) {
        let at = all[(all.len() * share / 100).min(all.len() - 1)];
        say(
            &format!("{what}, p{share}"),
            at.as_secs_f64() * 1e3,
            "ms",
            target,
        );
    }
}

fn masking(scale: Scale) {
    let secrets: Vec<String> = (0..50)
        .map(|it| format!("s3cret-{it:04}-{:x}", it * 7919 + 1_000_003))
        .collect();
    let line = "   Compiling some-crate v1.2.3 (registry+https://example.org/index) in 3.42s\n";
    let log = line.repeat(scale.masked_bytes / line.len());
    let mut masker = mask::Masker::new(secrets.iter().map(String::as_str), &[]);
    let mut out = Vec::with_capacity(1 << 20);
    let began = Instant::now();
    for piece in log.as_bytes().chunks(64 << 10) {
        out.clear();
        masker.push(piece, &mut out);
    }
    let rate = log.len() as f64 / began.elapsed().as_secs_f64() / 1e6;
    say("masking with 50 secrets", rate, "MB/s", "300 or more");
}

/// The runner without a job, and with several that wait.
async fn memory(sandbox: &Path) {
    let bench = Bench::start(sandbox, 4 << 20).await;
    bench.run(job(1, &["true"])).await;
    let idle = bench.memory("VmRSS");
    say("runner's memory, idle", idle, "MiB", "25 or less");
    let ids = 2..2 + i64::try_from(JOBS_AT_ONCE).expect("small");
    for id in ids.clone() {
        let script = "echo waits-$((40+2)); until [ -e end ]; do sleep 0.05; done";
        bench.server.queue(job(id, &[script]), |_| {});
    }
    for id in ids.clone() {
        bench
            .server
            .wait(id, |it| it.log().contains("waits-42"))
            .await;
    }
    let each = (bench.memory("VmRSS") - idle) / ids.clone().count() as f64;
    say(
        "runner's memory, more per running job",
        each,
        "MiB",
        "3 or less",
    );
    for slot in 0..JOBS_AT_ONCE {
        let work = bench.dir.path().join(format!("builds/{slot}/1/team/app"));
        std::fs::write(work.join("end"), "").expect("written");
    }
    for id in ids {
        bench.server.finished(id).await;
    }
    bench.stop().await;
}

/// Reads what the script's clock said.
fn said(log: &str) -> Duration {
    let text = log.rsplit("said-").next().and_then(|it| it.get(..19));
    Duration::from_nanos(text.and_then(|it| it.parse().ok()).expect("a time"))
}

fn now() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with what a script's clock says"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
}

/// From a job that is there until its script runs.
async fn starts(sandbox: &Path, scale: Scale) {
    let bench = Bench::start(sandbox, 4 << 20).await;
    bench.run(job(1, &["true"])).await;
    let mut took = Vec::new();
    for id in 2..2 + scale.rounds {
        let ready = now();
        bench.server.queue(job(id, &["date +said-%s%N"]), |_| {});
        let done = bench.server.finished(id).await;
        took.push(said(&done.log()).saturating_sub(ready));
    }
    say_times(
        "job ready to its script",
        took,
        ["40 or less", "150 or less"],
    );
    bench.stop().await;
}

async fn logs(sandbox: &Path, scale: Scale) {
    let line = "(yes 'a line of a log that somebody may want to read one day' || :) | head -c";
    let flood = |id, bytes: u64| job(id, &[&format!("{line} {bytes}")]);
    let bench = Bench::start(sandbox, 4 << 20).await;
    bench.run(flood(1, 8 << 20)).await;
    let before = bench.memory("VmHWM");
    let took = bench.run(flood(2, scale.log_bytes)).await;
    let rate = scale.log_bytes as f64 / took.as_secs_f64() / 1e6;
    let grown = bench.memory("VmHWM") - before;
    say("a log of 2 GB, of which 4 MiB are kept", rate, "MB/s", "");
    say(
        "runner's peak for it, more than for 8 MiB",
        grown,
        "MiB",
        "about 0: flat",
    );
    let mut seen = Vec::new();
    for id in 10..10 + scale.rounds.min(40) {
        let script = "echo waits-$((40+2)) in $CI_CONCURRENT_ID.; until [ -e go ]; do sleep 0.01; done; date +said-%s%N; until [ -e end ]; do sleep 0.01; done; rm go end";
        bench.server.queue(job(id, &[script]), |_| {});
        let waits = bench
            .server
            .wait(id, |it| it.log().contains("waits-42"))
            .await;
        let log = waits.log();
        let slot = log
            .rsplit("waits-42 in ")
            .next()
            .and_then(|it| it.split('.').next());
        let work = format!("builds/{}/1/team/app", slot.expect("a number"));
        let work = bench.dir.path().join(work);
        std::fs::write(work.join("go"), "").expect("written");
        let record = bench
            .server
            .wait(id, |it| it.log().contains("said-1"))
            .await;
        seen.push(now().saturating_sub(said(&record.log())));
        std::fs::write(work.join("end"), "").expect("written");
        bench.server.finished(id).await;
    }
    say_times(
        "a line of the script until the server has it",
        seen,
        ["", "250 or less"],
    );
    bench.stop().await;
    let bench = Bench::start(sandbox, 1 << 40).await;
    bench.run(flood(3, 8 << 20)).await;
    let before = bench.memory("VmHWM");
    let bytes = scale.log_bytes / 4;
    let took = bench.run(flood(4, bytes)).await;
    let rate = bytes as f64 / took.as_secs_f64() / 1e6;
    let grown = bench.memory("VmHWM") - before;
    say("a log of 500 MB, all of it sent", rate, "MB/s", "");
    say(
        "runner's peak for that, more than for 8 MiB",
        grown,
        "MiB",
        "about 0: flat",
    );
    bench.stop().await;
}

/// A job that prints is told by the next piece of its log, a silent one when it says that it still runs.
async fn stops(sandbox: &Path, scale: Scale) {
    let bench = Bench::start(sandbox, 4 << 20).await;
    let mut id = 0;
    for (kind, prints, rounds, target) in [
        (
            "that prints",
            "(while :; do echo on; sleep 0.05; done) &",
            20,
            "200 or less",
        ),
        ("that is silent", ":", 4, ""),
    ] {
        let mut took = Vec::new();
        for _ in 0..scale.rounds.min(rounds) {
            id += 1;
            let marker = format!("4711.{id:03}");
            let script =
                format!("{prints}\nsleep {marker} & sleep {marker} & echo ready; sleep {marker}");
            bench.server.queue(job(id, &[&script]), |_| {});
            let ready = |it: &server::JobRecord| it.log().contains("\nready\n");
            bench.server.wait(id, ready).await;
            let began = Instant::now();
            let cancel = |it: &mut server::JobRecord| it.status = "canceling".to_owned();
            bench.server.change(id, cancel);
            while is_running(&marker) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            took.push(began.elapsed());
            bench.server.finished(id).await;
        }
        let what = format!("cancel of a job {kind} until no process is left");
        say_times(&what, took, ["", target]);
    }
    bench.stop().await;
}

fn is_running(marker: &str) -> bool {
    let mut lines = std::fs::read_dir("/proc")
        .expect("a process list")
        .flatten();
    lines.any(|it| {
        std::fs::read(it.path().join("cmdline"))
            .is_ok_and(|it| it.starts_with(format!("sleep\0{marker}").as_bytes()))
    })
}

/// A repository of 100 MB, fetched by jobs and by git alone.
async fn sources(sandbox: &Path, scale: Scale) {
    let bench = Bench::start(sandbox, 4 << 20).await;
    let remote = bench.dir.path().join("remote");
    let sh = |text: &str| {
        let done = Command::new("sh")
            .args(["-euc", text])
            .current_dir(&remote)
            .output()
            .expect("sh runs");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    let files = scale.files;
    let commit = sh(&format!("git init -q -b main w; cd w; git config user.name b; git config user.email b@example.org; mkdir d
        for i in $(seq {files}); do head -c 100000 /dev/urandom > d/$i; done; git add .; git commit -qm one; git update-ref refs/pipelines/1 HEAD
        chmod 755 ../..; chown -R 200000:200000 .; git -c safe.directory='*' rev-parse HEAD"));
    let with_source = |id: i64, extra: Value| {
        let mut job = job(id, &["true"]);
        let url = format!("file://{}", remote.join("w").display());
        job["git_info"] = json!({"repo_url": url, "ref": "main", "sha": commit, "depth": 20, "refspecs": ["+refs/pipelines/1:refs/pipelines/1"]});
        job["variables"] = extra;
        job
    };
    let empty = bench.run(job(1, &["true"])).await;
    say(
        "a job without a repository",
        empty.as_secs_f64() * 1e3,
        "ms",
        "",
    );
    let alone = |strategy: &str| json!([{"key": "RAVE_OBJECT_CACHE", "value": "false"}, {"key": "GIT_STRATEGY", "value": strategy}]);
    let clone = json!([{"key": "GIT_STRATEGY", "value": "clone"}]);
    let runs = [
        ("100 MB, first fetch, git alone", alone("clone")),
        ("100 MB, clone again, git alone", alone("clone")),
        ("100 MB, working copy there, git alone", alone("fetch")),
        ("100 MB, first fetch into the store", clone.clone()),
        ("100 MB, clone again, from the store", clone),
        ("100 MB, working copy there, from the store", json!([])),
    ];
    for (id, (what, variables)) in (2..).zip(runs) {
        let took = bench.run(with_source(id, variables)).await;
        say(what, took.as_secs_f64() * 1e3, "ms", "");
    }
    bench.stop().await;
}
