//! Cancels, timeouts and shutdowns: who dies, what still runs, and what the server is told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Bench, control_groups, gone, is_running, job, shell};

pub(crate) fn with_after_script(mut job: Value, script: &[&str]) -> Value {
    let step =
        json!({"name": "after_script", "script": script, "when": "always", "allow_failure": true});
    job["steps"].as_array_mut().expect("a list").push(step);
    job
}

/// Starts a job that leaves a daemon in a session of its own, and cancels it once it says so.
async fn check_cancel(bench: &Bench, id: i64, marker: &str) {
    let daemon = format!("setsid sh -c 'setsid sleep {marker} & wait' > /dev/null 2>&1 &");
    let script = [
        &daemon,
        "until pgrep sleep > /dev/null; do :; done; echo ready",
        "sleep 600",
    ];
    let script: Vec<&str> = script.iter().map(AsRef::as_ref).collect();
    bench.server.queue(
        with_after_script(job(id, &script), &["echo after $CI_JOB_STATUS"]),
        |_| {},
    );
    bench
        .server
        .wait(id, |it| it.log().contains("\nready\n"))
        .await;
    assert!(is_running(marker));
    bench
        .server
        .change(id, |it| it.status = "canceling".to_owned());
    let done = bench.server.finished(id).await;
    assert!(done.log().contains("\nafter canceled\n"), "{}", done.log());
    assert_eq!(
        (done.status.as_str(), &done.result["failure_reason"]),
        ("failed", &"unknown_failure".into())
    );
    gone(marker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_kills_the_whole_tree_in_the_sandbox() {
    let bench = Bench::start(|_| {}).await;
    check_cancel(&bench, 1, "70110.31").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_kills_the_whole_tree_without_a_sandbox() {
    let bench = Bench::start(shell).await;
    check_cancel(&bench, 1, "70110.32").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_job_leaves_no_daemon_behind() {
    let bench = Bench::start(shell).await;
    let script = [
        "(setsid sleep 70110.4 > /dev/null 2>&1 &); until pgrep -f 70110.4 > /dev/null; do :; done; echo started",
    ];
    let done = bench.run(job(1, &script)).await;
    assert!(
        done.status == "success" && done.log().contains("\nstarted\n"),
        "{}",
        done.log()
    );
    assert!(
        !is_running("70110.4"),
        "the job is finished and its daemon runs on"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_ignores_term_is_killed() {
    let bench = Bench::start(|_| {}).await;
    let stubborn = "bash -c 'trap \"\" TERM; echo ready; while :; do sleep 70110.5; done'";
    bench.server.queue(job(1, &[stubborn]), |_| {});
    bench
        .server
        .wait(1, |it| it.log().contains("\nready\n"))
        .await;
    bench
        .server
        .change(1, |it| it.status = "canceling".to_owned());
    bench.server.finished(1).await;
    gone("70110.5").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_runs_out() {
    let bench = Bench::start(|_| {}).await;
    let mut slow = with_after_script(job(1, &["echo begun", "sleep 70110.6"]), &["echo too late"]);
    slow["runner_info"]["timeout"] = 1.into();
    bench.server.queue(slow, |_| {});
    let done = bench.server.finished(1).await;
    assert_eq!(done.result["failure_reason"], "job_execution_timeout");
    assert!(
        done.log().contains("execution took longer than 1 seconds")
            && !done.log().contains("too late"),
        "{}",
        done.log()
    );
    gone("70110.6").await;
    let mut slow = with_after_script(job(2, &["sleep 70110.7"]), &["echo after $CI_JOB_STATUS"]);
    let variables = slow["variables"].as_array_mut().expect("a list");
    variables.push(json!({"key": "RUNNER_SCRIPT_TIMEOUT", "value": "1s"}));
    let done = bench.run(slow).await;
    assert!(done.log().contains("\nafter timedout\n"), "{}", done.log());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_server_gave_up_is_dropped() {
    let bench = Bench::start(|_| {}).await;
    bench.server.queue(
        with_after_script(job(1, &["echo ready", "sleep 70110.8"]), &["echo after"]),
        |_| {},
    );
    bench
        .server
        .wait(1, |it| it.log().contains("\nready\n"))
        .await;
    // What the server answers for a job that it finished by itself: 403 and its state.
    bench.server.change(1, |it| it.status = "failed".to_owned());
    bench.server.change(1, |it| it.log.clear());
    gone("70110.8").await;
    let done = bench.run(job(2, &["echo next"])).await;
    assert_eq!(done.status, "success");
    let dropped = bench.server.finished(1).await;
    assert!(
        dropped.log.is_empty() && dropped.result.is_null(),
        "nothing more is sent: {dropped:?}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_jobs_and_an_abort_does_not() {
    let bench = Bench::start(|_| {}).await;
    bench.server.queue(
        job(
            1,
            &[
                "echo ready",
                "until [ -e go ]; do sleep 0.02; done",
                "echo went",
            ],
        ),
        |_| {},
    );
    bench
        .server
        .wait(1, |it| it.log().contains("\nready\n"))
        .await;
    bench.shutdown.cancel();
    std::fs::write(bench.dir.path().join("data/builds/0/5/team/app/go"), "").expect("written");
    let done = bench.server.finished(1).await;
    assert!(
        done.status == "success" && done.log().contains("\nwent\n"),
        "{}",
        done.log()
    );
    bench.stop().await;

    let bench = Bench::start(|_| {}).await;
    bench
        .server
        .queue(job(1, &["echo ready", "sleep 70110.9"]), |_| {});
    bench
        .server
        .wait(1, |it| it.log().contains("\nready\n"))
        .await;
    bench.abort.cancel();
    let done = bench.server.finished(1).await;
    assert_eq!(done.result["failure_reason"], "runner_interrupted");
    gone("70110.9").await;
    let ended = tokio::time::timeout(Duration::from_secs(20), bench.runner).await;
    ended
        .expect("the runner ends")
        .expect("without a panic")
        .expect("and well");
}

/// A filter that matches no test, by which a second run of this program knows what it is.
const CHILD: &str = "to-be-killed";

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_takes_its_jobs_along() {
    let markers = ["70110.101", "70110.102", "70110.103", "70110.104"];
    if std::env::args().any(|it| it == CHILD) {
        let (plain, boxed) = (Bench::start(shell).await, Bench::start(|_| {}).await);
        let hang = |one, two| format!("(setsid sleep {one} &); sleep {two}");
        plain
            .server
            .queue(job(1, &[&hang(markers[0], markers[1])]), |_| {});
        boxed
            .server
            .queue(job(1, &[&hang(markers[2], markers[3])]), |_| {});
        tokio::join!(plain.server.finished(1), boxed.server.finished(1));
        panic!("nobody killed this process");
    }
    let test = "stopping::a_killed_runner_takes_its_jobs_along";
    let mut again = std::process::Command::new(std::env::current_exe().expect("this test"));
    let mut child = again
        .args([test, CHILD, "--exact"])
        .spawn()
        .expect("started");
    while !markers.iter().all(|it| is_running(it)) {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended before its jobs ran"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    for marker in markers {
        gone(marker).await;
    }
    // The next runner on the machine clears its control groups away.
    Bench::start(shell).await.stop().await;
    assert_eq!(control_groups(child.id()), [""; 0]);
}
