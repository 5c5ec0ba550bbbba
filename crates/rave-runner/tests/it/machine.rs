//! Jobs in virtual machines: a stock Debian kernel in QEMU without acceleration, with this machine's system or an image.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rave_runner::{Accelerator, ExecutorKind, Network, RunnerConfig, SandboxPolicy, VmPolicy};
use serde_json::{Value, json};

use crate::registry::{Registry, busybox};
use crate::server::JobRecord;
use crate::{Bench, control_groups, gone, is_running, job};

/// The memory of the machines, by which a test tells its emulator from others.
const MEBIBYTES: u64 = 389;

const PATIENCE: Duration = Duration::from_secs(300);

fn in_machines(config: &mut RunnerConfig) {
    let guest = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guest");
    assert!(
        guest.join("modules").exists(),
        "{} is missing: run scripts/guest-kernel",
        guest.display()
    );
    // As the product is installed: without what is for debuggers only.
    let program = config.builds_dir.with_file_name("program");
    std::fs::create_dir_all(program.parent().expect("a directory")).expect("made");
    let stripped = Command::new("strip")
        .args(["--strip-debug", "-o"])
        .args([&program, &config.binary])
        .status();
    assert!(stripped.expect("strip").success());
    config.binary = program;
    config.pids = None;
    config.executor = ExecutorKind::Vm(VmPolicy {
        sandbox: SandboxPolicy {
            network: Network::Host,
            ..SandboxPolicy::default()
        },
        kernel: Some(guest.join("vmlinuz")),
        modules: Some(guest.join("modules")),
        memory_bytes: Some(MEBIBYTES << 20),
        cpus: Some(1),
        disk_bytes: Some(64 << 20),
        accelerator: Some(Accelerator::Tcg),
    });
}

fn patiently(mut job: Value) -> Value {
    job["runner_info"]["timeout"] = json!(300);
    job
}

impl Bench {
    /// Waits for the end of a job, as long as several machines may take to start on a machine that has more to do.
    async fn ended(&self, id: i64) -> JobRecord {
        self.server
            .wait_for(id, PATIENCE, JobRecord::is_finished)
            .await
    }

    async fn reached(&self, id: i64, text: &str) {
        let reached = |it: &JobRecord| it.log().contains(text) || it.is_finished();
        let record = self.server.wait_for(id, PATIENCE, reached).await;
        assert!(record.log().contains(text), "{}", record.log());
    }
}

/// What an emulator of this test has in its command line.
fn emulator() -> String {
    format!("size={MEBIBYTES}M")
}

#[tokio::test]
async fn a_job_has_a_machine_of_its_own() {
    let registry = Registry::start();
    registry
        .push(
            "team/tools",
            "1",
            &[busybox()],
            json!({"Env": ["PATH=/bin"]}),
        )
        .await;
    let bench = Bench::start(in_machines).await;

    let port = registry.host.rsplit(':').next().expect("a port");
    let fetch = format!(
        "exec 3<>/dev/tcp/10.0.2.2/{port}; printf 'GET /v2/ HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"
    );
    let script = [
        "uname -r",
        &fetch,
        "echo \"process 1 is $(cat /proc/1/comm)\"",
        "echo \"$(id -u) writes\" > result.txt",
        "mkdir /tmp/mine && mount -t tmpfs mine /tmp/mine && echo mounts",
        "exit 7",
    ];
    let mut first = patiently(job(1, &script));
    first["artifacts"] = json!([{"name": "out", "paths": ["result.txt"], "when": "always",
        "artifact_type": "archive", "artifact_format": "zip"}]);
    bench.server.queue(first, |_| {});
    let done = bench.ended(1).await;
    let log = done.log();
    assert_eq!(done.result["exit_code"], 7, "{log}");
    let own = nix::sys::utsname::uname().expect("a name");
    let own = own.release().to_string_lossy().into_owned();
    assert!(!log.contains(&own), "the kernel is another one: {log}");
    assert!(
        log.contains("\nprocess 1 is agent\n")
            && log.contains("\nmounts\n")
            && log.contains("\nHTTP/1."),
        "{log}"
    );
    let files = crate::jobs::unzip(&done.artifacts["archive"].2);
    assert_eq!(files["result.txt"], "0 writes\n");
    assert!(!is_running(&emulator()), "the machine ends with its job");

    // An image, whose layers the machine itself puts together; and a cancel, against what does not want to be stopped.
    let script = [
        "busybox | busybox head -1",
        "busybox touch /etc/new && echo /etc/ne?",
        "trap '' TERM; echo now $((1 + 1)); busybox sleep 1000; busybox sleep 1000",
    ];
    let mut second = patiently(job(2, &script));
    second["image"] = json!({"name": format!("{}/team/tools:1", registry.host)});
    bench.server.queue(second, |_| {});
    bench.reached(2, "\nnow 2\n").await;
    bench
        .server
        .change(2, |it| it.status = "canceling".to_owned());
    let done = bench.ended(2).await;
    let log = done.log();
    assert!(
        log.contains("BusyBox v") && log.contains("\n/etc/new\n"),
        "{log}"
    );
    assert!(log.contains("ERROR: Job failed: canceled"), "{log}");
    gone(&emulator()).await;
    assert_eq!(control_groups(std::process::id()), Vec::<String>::new());
    let left: Vec<PathBuf> = std::fs::read_dir(bench.dir.path().join("data/builds/0"))
        .expect("a slot")
        .flatten()
        .map(|it| it.path())
        .filter(|it| it.ends_with(".vm"))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    bench.stop().await;
}
