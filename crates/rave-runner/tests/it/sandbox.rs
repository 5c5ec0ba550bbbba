//! What the sandbox keeps from a job, and what it bounds.

use std::fs;
use std::path::Path;

use rave_runner::Network;
use serde_json::Value;

use crate::{Bench, as_ordinary_user, gone, is_running, job, sandbox};

fn with_variable(mut job: Value, key: &str, value: &str) -> Value {
    let variables = job["variables"].as_array_mut().expect("a list");
    variables.push(serde_json::json!({"key": key, "value": value}));
    job
}

/// Runs probes that must all hold; the log says which did not.
async fn check_isolation(bench: &Bench) {
    let secret = bench.dir.path().join("secret");
    fs::write(&secret, "the server's key").expect("written");
    let expect = |what: &str, probe: &str| {
        format!("{probe} && echo 'holds: {what}' || echo 'BROKEN: {what}'")
    };
    let probes = [
        expect(
            "no data of the server",
            &format!("[ ! -e {} ]", secret.display()),
        ),
        expect(
            "no directory of the runner",
            &format!("[ ! -e {} ]", bench.dir.path().display()),
        ),
        expect(
            "no home of root",
            "[ ! -e /root ] && [ -z \"$(ls /home | grep -v rave)\" ]",
        ),
        expect("no shadow", "! cat /etc/shadow 2> /dev/null"),
        expect("user 1000", "[ \"$(id -u):$(id -g)\" = 1000:1000 ]"),
        expect("a name", "[ \"$(id -un)\" = rave ]"),
        expect(
            "few processes",
            "[ \"$(ls /proc | grep -c '^[0-9]')\" -lt 12 ]",
        ),
        expect(
            "no capabilities",
            "grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status",
        ),
        expect(
            "no new privileges",
            "grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status",
        ),
        expect("usr read-only", "! touch /usr/evil 2> /dev/null"),
        expect("etc read-only", "! touch /etc/evil 2> /dev/null"),
        expect("root read-only", "! mkdir /evil 2> /dev/null"),
        expect("no mounting", "! mount -t tmpfs none /tmp 2> /dev/null"),
        expect("no namespaces", "! unshare -r true 2> /dev/null"),
        expect(
            "no signals outwards",
            "! kill -0 $PPID 2> /dev/null || [ $PPID = 1 ]",
        ),
        expect(
            "its own output",
            "echo through > /dev/stdout && echo through > /dev/stderr",
        ),
        expect(
            "a place to work",
            "echo 1 > file && [ -O file ] && echo 1 > $HOME/f && echo 1 > /tmp/f",
        ),
        expect(
            "devices",
            "head -c 1 /dev/urandom > /dev/null && echo x > /dev/null && [ ! -e /dev/sda ]",
        ),
        expect("shared memory", "echo x > /dev/shm/x"),
        expect(
            "no stray descriptors",
            "[ \"$(ls /proc/self/fd | xargs)\" = '0 1 2 3' ]",
        ),
        expect("loopback", "ls /proc/net > /dev/null"),
        expect("name lookup", "getent passwd rave > /dev/null"),
    ];
    let script: Vec<&str> = probes.iter().map(String::as_str).collect();
    let done = bench.run(job(1, &script)).await;
    let log = done.log();
    let broken: Vec<&str> = log.lines().filter(|it| it.starts_with("BROKEN")).collect();
    assert!(broken.is_empty(), "{broken:?}\n{log}");
    assert_eq!(
        log.lines().filter(|it| it.starts_with("holds: ")).count(),
        script.len(),
        "{log}"
    );
    assert_eq!(done.status, "success", "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_sees_only_what_it_needs() {
    let bench = Bench::start(|_| {}).await;
    // A descriptor that is not closed when programs start, as a library might leave it.
    let stray = nix::unistd::dup(fs::File::open("/etc/hostname").expect("opened"))
        .expect("a stray descriptor");
    check_isolation(&bench).await;
    drop(stray);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_runs_the_same_sandbox() {
    if as_ordinary_user("sandbox::an_ordinary_user_runs_the_same_sandbox") {
        let bench = Bench::start(|_| {}).await;
        check_isolation(&bench).await;
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_can_be_kept_away() {
    let bench = Bench::start(|config| sandbox(config, |it| it.network = Network::None)).await;
    let list = "echo devices=$(tail -n +3 /proc/net/dev | cut -d: -f1 | xargs)";
    let done = bench.run(job(1, &[list, "ip -brief link show up"])).await;
    assert!(done.log().contains("\ndevices=lo\n"), "{}", done.log());
    assert!(done.log().contains("LOOPBACK,UP"), "{}", done.log());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_hog_ends_with_figures() {
    let bench = Bench::start(|config| config.default_memory_bytes = Some(64 << 20)).await;
    let hog = "head -c 300m /dev/zero | tail -c 290m > /dev/null";
    let done = bench.run(job(1, &[hog, "echo unreachable"])).await;
    let log = done.log();
    assert!(
        log.contains("out of memory") && log.contains("of the 64 MiB"),
        "{log}"
    );
    assert!(
        log.contains("RAVE_MEMORY: \"128Mi\"") && !log.contains("\nunreachable"),
        "{log}"
    );
    assert_eq!(
        (&done.result["failure_reason"], &done.result["exit_code"]),
        (&"script_failure".into(), &137.into())
    );
    let done = bench
        .run(with_variable(job(2, &[hog]), "RAVE_MEMORY", "512Mi"))
        .await;
    assert_eq!(done.status, "success", "{}", done.log());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_is_contained_and_cleared_away() {
    let bench = Bench::start(|config| config.pids = Some(40)).await;
    let mut bomb = job(
        1,
        &["bomb() { sleep 70110.1 & bomb | bomb & }; bomb; sleep 70110.1"],
    );
    bomb["runner_info"]["timeout"] = 3.into();
    bench.server.queue(bomb, |_| {});
    let done = bench.server.finished(1).await;
    assert_eq!(
        done.result["failure_reason"],
        "job_execution_timeout",
        "{}",
        done.log()
    );
    gone("70110.1").await;
    let done = bench.run(job(2, &["echo after"])).await;
    assert!(
        done.status == "success" && done.log().contains("\nafter\n"),
        "{}",
        done.log()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_does_not_outlive_its_script() {
    let bench = Bench::start(|_| {}).await;
    let script = ["setsid sleep 70110.2 > /dev/null 2>&1 < /dev/null & sleep 0.1; echo started"];
    let done = bench.run(job(1, &script)).await;
    assert!(
        done.status == "success" && done.log().contains("\nstarted\n"),
        "{}",
        done.log()
    );
    assert!(
        !is_running("70110.2"),
        "the job is finished and its daemon runs on"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_leaves_does_not_follow_into_the_next() {
    let bench = Bench::start(|_| {}).await;
    bench.run(job(1, &["echo kept > kept; echo x > $HOME/gone; echo x > /tmp/gone; chmod 0 kept; chmod 777 kept"])).await;
    let done = bench.run(job(2, &["cat kept; ls -A $HOME /tmp"])).await;
    assert!(
        done.log().contains("\nkept\n") && !done.log().contains("gone"),
        "{}",
        done.log()
    );
    let work = bench.dir.path().join("data/builds/0/5/team/app");
    assert!(work.join("kept").exists() && !Path::new("/tmp/gone").exists());
    bench.stop().await;
}
