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
    let hog = "head -c 150m /dev/zero | tail -c 140m > /dev/null";
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
        .run(with_variable(job(2, &[hog]), "RAVE_MEMORY", "256Mi"))
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

/// Calls whose refusal a job can see, with arguments that would be wrong anyway: what counts is which error it gets.
#[cfg(target_arch = "x86_64")]
const CALLS: &str = r#"
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(number, *arguments)
    return errno.errorcode.get(ctypes.get_errno(), "nothing")
refused = dict(mount=165, umount2=166, pivot_root=155, setns=308, keyctl=250, add_key=248, request_key=249, kexec_load=246,
    bpf=321, perf_event_open=298, userfaultfd=323, init_module=175, finit_module=313, delete_module=176,
    open_by_handle_at=304, io_uring_setup=425, swapon=167, reboot=169, syslog=103, fsopen=430, open_tree=428, move_mount=429)
for name, number in refused.items():
    print(f"{name}: {call(number, 0, 0, 0, 0, 0)}")
print("unshare user:", call(272, 0x10000000))
print("clone user:", call(56, 0x10000011, 0, 0, 0, 0))
print("clone3:", call(435, 0, 0))
print("other numbers:", call(0x40000000 + 39))
try:
    socket.socket(40, socket.SOCK_STREAM)
    print("vsock: nothing")
except OSError as error:
    print("vsock:", errno.errorcode[error.errno])
"#;

#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_builds_do_not_need_are_refused() {
    let bench = Bench::start(|_| {}).await;
    let script = format!("python3 - <<'END'{CALLS}END");
    let done = bench.run(job(1, &[&script])).await;
    let log = done.log();
    let answers: Vec<&str> = log
        .lines()
        .filter(|it| it.split_once(": E").is_some())
        .collect();
    assert_eq!(answers.len(), 27, "{log}");
    let others: Vec<&str> = answers
        .into_iter()
        .filter(|it| !it.ends_with(": EPERM"))
        .collect();
    assert_eq!(
        others,
        [
            "clone3: ENOSYS",
            "other numbers: ENOSYS",
            "vsock: EAFNOSUPPORT"
        ],
        "{log}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_builds_need_works() {
    let bench = Bench::start(|_| {}).await;
    let python = "python3 -c \"import multiprocessing as m, threading, subprocess\nif __name__ == '__main__':\n  \
                  t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n  \
                  print('pool', sum(m.Pool(3).map(abs, range(-3, 4))), subprocess.check_output(['echo', 'child']))\"";
    let compiled = "printf '#include <sys/ptrace.h>\\n#include <pthread.h>\\n#include <stdio.h>\\nvoid *f(void *x) { return x; }\\n\
                    int main() { pthread_t t; return pthread_create(&t, 0, f, 0) || pthread_join(t, 0) \
                    || ptrace(PTRACE_TRACEME, 0, 0, 0) || puts(\"compiled\") < 0; }' > a.c && cc -pthread a.c && ./a.out";
    let git = "git init -q repo && git -C repo -c user.name=a -c user.email=a@b commit -q --allow-empty -m one && git -C repo gc -q && git -C repo log --format=%s";
    let done = bench.run(job(1, &[python, compiled, git])).await;
    let log = done.log();
    assert_eq!(done.status, "success", "{log}");
    for line in [
        "\nthread\n",
        "\npool 12 b'child\\n'\n",
        "\ncompiled\n",
        "\none\n",
    ] {
        assert!(log.contains(line), "{line:?}: {log}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abstract_sockets_of_the_machine_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("rave-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _machine = UnixListener::bind_addr(&address).expect("bound");
    let bench = Bench::start(|_| {}).await;
    let script = format!(
        "python3 -c \"import socket\ns = socket.socket(socket.AF_UNIX)\ntry:\n  s.connect(chr(0) + '{name}'); print('reached')\n\
         except OSError as error:\n  print('refused:', error.strerror)\no = socket.socket(socket.AF_UNIX); o.bind(chr(0) + 'own'); o.listen()\n\
         socket.socket(socket.AF_UNIX).connect(chr(0) + 'own'); print('own works')\""
    );
    let done = bench.run(job(1, &[&script])).await;
    let log = done.log();
    assert!(log.contains("\nown works\n"), "{log}");
    // Linux 6.12 is the first that can.
    let wanted = if scopes_sockets() {
        "\nrefused: Operation not permitted\n"
    } else {
        "\nreached\n"
    };
    assert!(log.contains(wanted), "{log}");
    bench.stop().await;
}

/// Says whether the kernel's Landlock knows scopes.
fn scopes_sockets() -> bool {
    #[expect(unsafe_code, reason = "no crate here wraps this call")]
    // SAFETY: with this flag the call takes no pointer, and returns a version.
    let version = unsafe { nix::libc::syscall(444, std::ptr::null::<u8>(), 0, 1) };
    version >= 6
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_given_by_policy() {
    // Every machine has the first; what is written to neither does anything here.
    let script = [
        "for it in kmsg absent; do test -c /dev/$it && echo \"has $it\" || echo \"lacks $it\"; done",
    ];
    let without = Bench::start(|_| {}).await;
    let done = without.run(job(1, &script)).await;
    assert!(done.log().contains("\nlacks kmsg\n"), "{}", done.log());
    without.stop().await;
    let with = Bench::start(|config| {
        sandbox(config, |policy| {
            policy.devices = vec!["/dev/kmsg".into(), "/dev/absent".into()];
        });
    })
    .await;
    let done = with.run(job(1, &script)).await;
    assert!(
        done.log().contains("\nhas kmsg\nlacks absent\n"),
        "{}",
        done.log()
    );
    with.stop().await;
}
