//! Memory and disk as a budget that jobs share.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rave_runner::{Profile, RunnerConfig};
use serde_json::{Value, json};

use crate::{Bench, gone, job, shell};

const MIB: u64 = 1 << 20;

/// Takes some MiB, and keeps them as long as `then` runs.
fn hold(mib: u64, then: &str) -> String {
    format!("{{ head -c {mib}m /dev/zero; {then}; }} | tail -c {mib}m > /dev/null")
}

fn with(mut job: Value, variables: &[(&str, &str)]) -> Value {
    let all = job["variables"].as_array_mut().expect("a list");
    let more = variables.iter();
    all.extend(more.map(|(key, value)| json!({"key": key, "value": value})));
    job
}

fn named(mut job: Value, name: &str) -> Value {
    job["job_info"]["name"] = name.into();
    job["job_info"]["project_full_path"] = format!("team/{name}").into();
    job
}

fn budget(config: &mut RunnerConfig, mib: u64) {
    config.concurrency = 4;
    config.memory.profile = Some(Profile::Full);
    config.memory.budget_bytes = Some(mib * MIB);
    // Of a server that knows nothing of memory the runner asks for jobs while so much is free.
    config.memory.request_bytes = 32 * MIB;
}

/// Says whether a job of this process stands still.
fn stands_still() -> bool {
    let prefix = format!("rave-job-{}-", std::process::id());
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                let says = |file: &str, text: &str| {
                    let read = fs::read_to_string(entry.path().join(file));
                    read.is_ok_and(|it| it.contains(text))
                };
                if says("cgroup.events", "frozen 1") || says("freezer.state", "FROZEN") {
                    return true;
                }
            } else if entry.file_type().is_ok_and(|it| it.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    false
}

async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not happen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_what_it_used() {
    let bench = Bench::start(|config| budget(config, 512)).await;
    let done = bench
        .run(job(1, &[&hold(50, "true"), "echo $GOMAXPROCS $MAKEFLAGS"]))
        .await;
    let log = done.log();
    assert!(
        log.contains("Used ") && log.contains(" of 512 MiB memory at most"),
        "{log}"
    );
    let usage = &done.result["usage"];
    let peak = usage["peak_bytes"].as_u64().expect("a peak");
    assert!((50 * MIB..400 * MIB).contains(&peak), "{usage}");
    assert!(usage["cpu_ms"].as_u64().is_some_and(|it| it > 0), "{usage}");
    assert_eq!(usage["outgrew"], false);
    let offer = &bench.server.first_request()["memory"];
    assert_eq!(offer["budget_bytes"], 512 * MIB);
    assert_eq!(
        (
            &offer["most_bytes"],
            &offer["request_bytes"],
            &offer["holders"]
        ),
        (&json!(512 * MIB), &json!(32 * MIB), &json!([]))
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_told_their_size_unless_the_job_says_it() {
    let bench = Bench::start(|config| {
        budget(config, 512);
        config.memory.profile = Some(Profile::Safe);
    })
    .await;
    let script = [
        "echo \"safe=$SAFE qemu=$QEMU_RAM_MB make=$MAKEFLAGS cargo=$CARGO_BUILD_JOBS node=$NODE_OPTIONS\"",
    ];
    let told = with(
        job(1, &script),
        &[("CARGO_BUILD_JOBS", "7"), ("RAVE_MEMORY", "256Mi")],
    );
    let done = bench.run(told).await;
    let expected = "\nsafe=1 qemu=3072 make=-j1 cargo=7 node=--max-old-space-size=192\n";
    assert!(done.log().contains(expected), "{}", done.log());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overrun_ends_the_whole_job() {
    let bench = Bench::start(|config| budget(config, 512)).await;
    let script = [
        "sleep 70110.31 &",
        "head -c 300m /dev/zero | tail -c 290m > /dev/null || true",
        "sleep 30; echo survived",
    ];
    let done = bench
        .run(with(job(1, &script), &[("RAVE_MEMORY", "64Mi")]))
        .await;
    let log = done.log();
    assert!(
        log.contains("out of memory") && !log.contains("\nsurvived"),
        "{log}"
    );
    assert_eq!(done.result["exit_code"], 137);
    let usage = &done.result["usage"];
    assert_eq!(
        (&usage["outgrew"], &usage["limit_bytes"]),
        (&true.into(), &(64 * MIB).into())
    );
    gone("70110.31").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_never_fits_fails_at_once() {
    let bench = Bench::start(|config| budget(config, 256)).await;
    let done = bench
        .run(with(job(1, &["echo ran"]), &[("RAVE_MEMORY", "1Gi")]))
        .await;
    let log = done.log();
    assert!(
        log.contains("asks for 1 GiB") && log.contains("256 MiB"),
        "{log}"
    );
    assert!(done.status == "failed" && !log.contains("\nran\n"), "{log}");
    let done = bench
        .run(with(job(2, &["echo ran"]), &[("RAVE_MEMORY", "much")]))
        .await;
    assert!(
        done.log().contains("RAVE_MEMORY is \"much\""),
        "{}",
        done.log()
    );
    assert_eq!(done.status, "success");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_waits_and_says_for_what() {
    let bench = Bench::start(|config| {
        shell(config);
        budget(config, 256);
    })
    .await;
    let go = bench.dir.path().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
    let large = [("RAVE_MEMORY", "200Mi")];
    bench
        .server
        .queue(with(named(job(1, &[&wait]), "one"), &large), |_| {});
    bench
        .server
        .wait(1, |it| it.log().contains("until ["))
        .await;
    bench
        .server
        .queue(with(named(job(2, &["echo second"]), "two"), &large), |_| {});
    let reason = "Needs 200 MiB of memory, 56 MiB free: waits for job 1...";
    bench.server.wait(2, |it| it.log().contains(reason)).await;
    fs::write(&go, "").expect("written");
    for id in [1, 2] {
        let done = bench.server.finished(id).await;
        assert_eq!(done.status, "success", "{}", done.log());
    }
    bench.stop().await;
}

/// Starts two jobs that do as the test says: the first, older one and the second.
async fn two(bench: &Bench, first: u64, second: u64) {
    let dir = bench.dir.path().display();
    let step = |file: &str| format!("until [ -e {dir}/{file} ]; do sleep 0.05; done");
    for (id, name, mib) in [(1, "one", first), (2, "two", second)] {
        let script = [
            format!("touch {dir}/{name}.runs"),
            step(&format!("{name}.grow")),
            hold(
                mib,
                &format!("touch {dir}/{name}.grown; {}", step(&format!("{name}.end"))),
            ),
        ];
        let script: Vec<&str> = script.iter().map(String::as_str).collect();
        let small = [("KUBERNETES_MEMORY_REQUEST", "32Mi")];
        bench
            .server
            .queue(with(named(job(id, &script), name), &small), |_| {});
        let runs = bench.dir.path().join(format!("{name}.runs"));
        until("the job's begin", || runs.exists()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_younger_job_stands_still_until_there_is_room() {
    let bench = Bench::start(|config| {
        shell(config);
        budget(config, 200);
    })
    .await;
    two(&bench, 90, 85).await;
    let file = |name: &str| bench.dir.path().join(name);
    for name in ["one", "two"] {
        fs::write(file(&format!("{name}.grow")), "").expect("written");
        if name == "one" {
            until("growth", || file("one.grown").exists()).await;
        }
    }
    until("a job that stands still", stands_still).await;
    fs::write(file("two.end"), "").expect("written");
    fs::write(file("one.end"), "").expect("written");
    for id in [1, 2] {
        let done = bench.server.finished(id).await;
        assert_eq!(done.status, "success", "{}", done.log());
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_furthest_above_its_request_is_ended_for_the_others() {
    let bench = Bench::start(|config| {
        shell(config);
        budget(config, 200);
    })
    .await;
    two(&bench, 60, 140).await;
    let file = |name: &str| bench.dir.path().join(name);
    fs::write(file("two.grow"), "").expect("written");
    until("growth", || file("two.grown").exists()).await;
    fs::write(file("one.grow"), "").expect("written");
    let done = bench.server.finished(2).await;
    let log = done.log();
    assert_eq!(
        done.result["failure_reason"], "runner_system_failure",
        "{log}"
    );
    assert!(
        log.contains("and 32 MiB were set aside") && log.contains("RAVE_MEMORY"),
        "{log}"
    );
    assert_eq!(done.result["usage"]["outgrew"], true);
    fs::write(file("one.end"), "").expect("written");
    let done = bench.server.finished(1).await;
    assert_eq!(done.status, "success", "{}", done.log());
    bench.stop().await;
}
