//! What follows a script: `after_script`, its time, its failures, and the log's form.

use serde_json::{Value, json};

use crate::stopping::with_after_script;
use crate::{Bench, job, shell};

fn with(mut job: Value, variables: &[(&str, &str)]) -> Value {
    let list = job["variables"].as_array_mut().expect("a list");
    list.extend(
        variables
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value})),
    );
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn what_after_script_does_to_the_result() {
    let bench = Bench::start(shell).await;
    let failing = with_after_script(job(1, &["echo fine"]), &["exit 4", "echo unreachable"]);
    let done = bench.run(failing.clone()).await;
    assert!(
        done.status == "success" && done.log().contains("WARNING: after_script failed"),
        "{}",
        done.log()
    );
    let mut strict = with(failing, &[("AFTER_SCRIPT_IGNORE_ERRORS", "false")]);
    strict["id"] = 2.into();
    let done = bench.run(strict).await;
    assert_eq!(
        (done.status.as_str(), &done.result["exit_code"]),
        ("failed", &4.into()),
        "{}",
        done.log()
    );
    // The script's failure is the job's, whatever follows it.
    let both = with_after_script(job(3, &["exit 3"]), &["echo status $CI_JOB_STATUS; exit 4"]);
    let done = bench
        .run(with(both, &[("AFTER_SCRIPT_IGNORE_ERRORS", "false")]))
        .await;
    assert_eq!(done.result["exit_code"], 3, "{}", done.log());
    assert!(done.log().contains("\nstatus failed\n"), "{}", done.log());
    let slow = with_after_script(job(4, &["echo fine"]), &["echo begun; sleep 70110.951"]);
    let done = bench
        .run(with(slow, &[("RUNNER_AFTER_SCRIPT_TIMEOUT", "1s")]))
        .await;
    assert!(
        done.status == "success" && done.log().contains("\nbegun\n"),
        "{}",
        done.log()
    );
    // Without a source there is no script, and nothing that could follow it.
    let mut lost = with_after_script(job(5, &["echo never"]), &["echo neither"]);
    lost["variables"] = json!([]);
    lost["git_info"]["repo_url"] = "file:///absent.git".into();
    let done = bench.run(lost).await;
    assert_eq!(
        done.result["failure_reason"],
        "runner_system_failure",
        "{}",
        done.log()
    );
    assert!(!done.log().contains("neither"), "{}", done.log());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_begin_with_their_time_when_that_is_asked_for() {
    let bench = Bench::start(shell).await;
    let done = bench
        .run(with(
            job(1, &["echo one", "printf 'half\\rwhole\\n'"]),
            &[("FF_TIMESTAMPS", "true")],
        ))
        .await;
    let log = done.log();
    for line in log.lines() {
        let head = line.get(..32).unwrap_or_default();
        let time = head.get(..28).unwrap_or_default();
        assert!(
            time.starts_with("20") && time.ends_with("Z "),
            "{line:?} in {log}"
        );
        assert!(
            ["00O ", "00O+", "01O ", "01O+"].contains(&&head[28..]),
            "{line:?} in {log}"
        );
    }
    assert!(
        log.contains("01O one\n") && log.contains("01O+whole\n"),
        "{log}"
    );
    bench.stop().await;
}
