//! Jobs of a server that others wrote: the mock server of the public `gitlab-runner` crates. It reads what it is sent by
//! their understanding of the protocol, and panics at what it does not know.

use std::io::{Cursor, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gitlab_runner_mock::{
    GitlabRunnerMock, MockJob, MockJobBuilder, MockJobState, MockJobStepName, MockJobStepWhen,
};
use rave_core::secret::Secret;
use rave_core::time::SystemClock;
use rave_runner::{Runner, RunnerConfig, RunnerError};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zip::ZipArchive;

const DEADLINE: Duration = Duration::from_secs(60);

/// The mock and a runner of ours that works for it.
struct Bench {
    mock: GitlabRunnerMock,
    abort: CancellationToken,
    runner: JoinHandle<Result<(), RunnerError>>,
    dir: TempDir,
}

impl Bench {
    async fn start() -> Self {
        let mock = GitlabRunnerMock::start().await;
        mock.set_expected_metadata_version("1.2.3");
        let dir = tempfile::tempdir().expect("a directory");
        let token = Secret::new(mock.runner_token());
        let data = dir.path().join("data");
        let mut config = RunnerConfig::new(mock.uri(), token, data, Arc::new(SystemClock));
        config.binary = PathBuf::from(env!("CARGO_BIN_EXE_rave-sandbox-probe"));
        config.version = "1.2.3".to_owned();
        config.kill_grace = Duration::from_millis(500);
        let runner = Runner::new(config).expect("a runner");
        let abort = CancellationToken::new();
        let running = runner.run(abort.clone(), abort.clone());
        let runner = TaskTracker::new().spawn(running);
        Self {
            mock,
            abort,
            runner,
            dir,
        }
    }

    fn job(&self, script: &[&str], more: impl FnOnce(&mut MockJobBuilder)) -> MockJob {
        let mut job = self.mock.job_builder("work".to_owned());
        // The mock has no repository.
        job.add_variable("GIT_STRATEGY".into(), "none".into(), true, false);
        let script = script.iter().map(|&it| it.to_owned()).collect();
        let when = MockJobStepWhen::OnSuccess;
        job.add_step(MockJobStepName::Script, script, 3600, when, false);
        more(&mut job);
        let job = job.build();
        self.mock.enqueue_job(job.clone());
        job
    }

    async fn stop(self) {
        self.abort.cancel();
        self.runner.await.expect("no panic").expect("a clean end");
        self.dir.close().expect("removed");
    }
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn log(job: &MockJob) -> String {
    String::from_utf8(job.log()).expect("text")
}

#[tokio::test]
async fn a_job_gets_what_it_needs_and_leaves_what_it_made() {
    let bench = Bench::start().await;
    let script = [
        "echo \"$WORD $HIDDEN\"",
        "echo \"made of $WORD\" > made.txt",
    ];
    let job = bench.job(&script, |it| {
        it.add_variable("WORD".into(), "plain".into(), true, false);
        it.add_variable("HIDDEN".into(), "not-to-be-seen".into(), false, true);
        it.add_artifact_paths(vec!["made.txt".to_owned()]);
        let last = vec!["echo \"after $CI_JOB_STATUS\"".to_owned()];
        let when = MockJobStepWhen::Always;
        it.add_step(MockJobStepName::AfterScript, last, 300, when, true);
    });
    wait_until("the job's end", || job.finished()).await;
    let text = log(&job);
    assert_eq!(job.state(), MockJobState::Success, "{text}");
    assert!(text.contains("plain [MASKED]"), "{text}");
    assert!(text.contains("after success"), "{text}");
    assert!(!text.contains("not-to-be-seen"), "{text}");
    let [uploaded] = &job.uploaded_artifacts().collect::<Vec<_>>()[..] else {
        panic!("there is one artifact: {text}");
    };
    assert_eq!(uploaded.filename.as_deref(), Some("artifacts.zip"));
    let data = Cursor::new(uploaded.data.as_slice());
    let mut made = String::new();
    let mut zip = ZipArchive::new(data).expect("an archive");
    let mut file = zip.by_name("made.txt").expect("the file");
    file.read_to_string(&mut made).expect("text");
    assert_eq!(made, "made of plain\n");
    bench.stop().await;
}

#[tokio::test]
async fn a_script_that_fails_fails_its_job() {
    let bench = Bench::start().await;
    let job = bench.job(&["echo first", "exit 3", "echo never-$((1 + 1))"], |_| {});
    wait_until("the job's end", || job.finished()).await;
    let text = log(&job);
    assert_eq!(job.state(), MockJobState::Failed, "{text}");
    assert!(
        text.contains("first") && !text.contains("never-2"),
        "{text}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_job_that_is_canceled_is_dropped() {
    let bench = Bench::start().await;
    bench.mock.set_update_interval(1);
    // A server that cannot be asked says so in its answers to what the job writes.
    let script = ["echo begun", "while sleep 0.2; do echo on; done"];
    let job = bench.job(&script, |_| {});
    wait_until("the script's first line", || log(&job).contains("\nbegun")).await;
    job.cancel();
    // The mock accepts nothing of it any more, and the runner is free for another.
    let next = bench.job(&["echo next"], |_| {});
    wait_until("the next job's end", || next.finished()).await;
    assert_eq!(next.state(), MockJobState::Success, "{}", log(&next));
    assert_eq!(job.state(), MockJobState::Cancelled);
    bench.stop().await;
}
