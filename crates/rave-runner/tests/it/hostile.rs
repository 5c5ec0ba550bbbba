//! Jobs that wish harm, beside one that only wants to work.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::{Bench, gone, job};

/// Runs a hostile job to its end beside the victim, which must not notice.
///
/// The victim waits for a file, and then says that its process, which has `marker` in its name, is well.
async fn beside_a_victim(
    bench: &Bench,
    marker: &str,
    script: &[&str],
    timeout_secs: u32,
) -> crate::server::JobRecord {
    let sleep = format!("sleep {marker} & until [ -e go ]; do sleep 0.02; done");
    let victim = [&sleep, "kill -0 $! && echo still-well", "kill $!"];
    bench.server.queue(job(1, &victim), |_| {});
    bench
        .server
        .wait(1, |it| it.log().contains("until [ -e go ]"))
        .await;
    let mut hostile = job(2, script);
    hostile["runner_info"]["timeout"] = timeout_secs.into();
    bench.server.queue(hostile, |_| {});
    let done = bench.server.finished(2).await;
    let go = bench.dir.path().join("data/builds/0/5/team/app/go");
    std::fs::write(go, "").expect("written");
    let victim = bench.server.finished(1).await;
    assert_eq!(victim.status, "success", "{}", victim.log());
    assert!(victim.log().contains("\nstill-well\n"), "{}", victim.log());
    gone(marker).await;
    done
}

async fn start() -> Bench {
    Bench::start(|config| {
        config.concurrency = 2;
        config.pids = Some(60);
        config.default_memory_bytes = Some(256 << 20);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_job_or_of_the_machine_is_in_reach() {
    let bench = start().await;
    let name = format!("rave-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listener = UnixListener::bind_addr(&address).expect("a socket");
    let python = |text: &str| format!("python3 -c '{text}' 2> /dev/null");
    // The numbers of system calls are those of one architecture.
    let call = |number: &str| match cfg!(target_arch = "x86_64") {
        true => python(&format!(
            "import ctypes, sys; c = ctypes.CDLL(None); sys.exit(0 if c.syscall({number}) == -1 else 1)"
        )),
        false => "true".to_owned(),
    };
    let probes = [
        ("no process of others", "[ -z \"$(cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | awk '$0 == \"70110\" \".911\"')\" ]".to_owned()),
        ("no device to make", "! mknod /tmp/disk b 8 0 2> /dev/null".to_owned()),
        ("no kernel memory", "[ ! -e /dev/mem ] && [ ! -r /proc/kcore ]".to_owned()),
        ("no switches of the kernel", "! (echo 1 > /proc/sys/kernel/panic) 2> /dev/null && [ ! -w /proc/sysrq-trigger ]".to_owned()),
        ("no control groups", "! mkdir /sys/fs/cgroup/evil 2> /dev/null".to_owned()),
        ("no mounting over", "! mount --bind /tmp /usr 2> /dev/null && ! umount /usr 2> /dev/null".to_owned()),
        // PTRACE_ATTACH to process 1.
        ("no tracing of what watches it", call("101, 16, 1, 0, 0")),
        // add_key("user", ...) into the session's keyring.
        ("no keyring", call("248, b\"user\", b\"rave\", b\"x\", 1, -3")),
        // init_module, kexec_load, reboot with the right numbers.
        ("no modules", call("175, 0, 0, 0")),
        ("no other kernel", call("246, 0, 0, 0, 0")),
        ("no reboot", call("169, 0xfee1dead, 672274793, 0x01234567, 0")),
        ("no clock", call("227, 0, 0")),
        ("no socket of the machine", format!("! {}", python(&format!(
            "import socket; socket.socket(socket.AF_UNIX).connect(\"\\0{name}\")"
        )))),
        ("no higher limit", "! (ulimit -u 1000000) 2> /dev/null || [ \"$(cat /proc/self/status | grep -c Threads)\" = 1 ]".to_owned()),
        ("no other user", "! su root -c true 2> /dev/null < /dev/null && ! setpriv --reuid 0 true 2> /dev/null".to_owned()),
    ];
    let lines: Vec<String> = probes
        .iter()
        .map(|(what, probe)| format!("{probe} && echo 'holds: {what}' || echo 'BROKEN: {what}'"))
        .chain(["kill -9 -1".to_owned()])
        .collect();
    let script: Vec<&str> = lines.iter().map(String::as_str).collect();
    let done = beside_a_victim(&bench, "70110.911", &script, 60).await;
    let log = done.log();
    let broken: Vec<&str> = log.lines().filter(|it| it.starts_with("BROKEN")).collect();
    assert!(broken.is_empty(), "{broken:?}\n{log}");
    let held = log.lines().filter(|it| it.starts_with("holds: ")).count();
    assert_eq!(held, probes.len(), "{log}");
    assert_eq!(done.status, "failed", "it killed itself: {log}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_hogs_go_off_alone() {
    let bench = start().await;
    let bomb = "bomb() { sleep 70110.902 & bomb | bomb & }; bomb; sleep 70110.902";
    let done = beside_a_victim(&bench, "70110.921", &[bomb], 3).await;
    assert_eq!(
        done.result["failure_reason"],
        "job_execution_timeout",
        "{}",
        done.log()
    );
    gone("70110.902").await;
    bench.stop().await;
    let bench = start().await;
    // What is written to memory, as files or not, counts as the job's memory.
    let hog = "head -c 400m /dev/zero > /dev/shm/hog; echo unreachable";
    let done = beside_a_victim(&bench, "70110.931", &[hog], 60).await;
    assert!(!done.log().contains("\nunreachable"), "{}", done.log());
    assert_eq!(done.status, "failed", "{}", done.log());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_ends_in_a_log_of_bounded_length() {
    let bench = start().await;
    let flood = "(yes 'a flood of words' || :) | head -c 50m; echo; echo the-end-of-the-flood";
    let done = beside_a_victim(&bench, "70110.941", &[flood], 60).await;
    let log = done.log();
    assert_eq!(done.status, "success");
    assert!(log.len() < 5 << 20, "{} bytes", log.len());
    assert!(log.contains("bytes are left out here") && log.contains("\nthe-end-of-the-flood\n"));
    assert!(log.ends_with("Job succeeded\x1b[0;m\n"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_of_files_is_cleared_away() {
    let bench = start().await;
    let heap = "mkdir -p heap/$(seq -s / 100); for i in $(seq 5000); do : > heap/f$i; done; chmod 0 heap; \
                mkdir -p $RUNNER_TEMP_PROJECT_DIR/x/y; chmod 0 $RUNNER_TEMP_PROJECT_DIR/x";
    let done = beside_a_victim(&bench, "70110.951", &[heap], 60).await;
    assert_eq!(done.status, "success", "{}", done.log());
    let mut next = job(3, &["[ -z \"$(ls -A)\" ] && echo empty"]);
    next["variables"] = serde_json::json!([{"key": "GIT_STRATEGY", "value": "empty"}]);
    for id in [3, 4] {
        next["id"] = id.into();
        let done = bench.run(next.clone()).await;
        assert!(done.log().contains("\nempty\n"), "{}", done.log());
    }
    let left = std::fs::read_dir(bench.dir.path().join("data/builds/1/5/team")).expect("listed");
    assert!(
        left.flatten()
            .all(|it| !it.file_name().to_string_lossy().ends_with(".tmp"))
    );
    bench.stop().await;
}
