//! The sandbox on a kernel that has control groups of version 2 only, as current distributions do.
//!
//! Tests of this binary are run again in a virtual machine, because no machine has every layout of control groups. The
//! machine is a stock Debian kernel in QEMU without acceleration, and a root file system in memory with the few programs
//! of this machine that the tests use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "../../src/exec/vm/newc.rs"]
mod newc;

use newc::Archive;

/// What is run in the machine: all that concerns limits, killing and what a job may see.
const TESTS: [&str; 6] = [
    "memory::an_overrun_ends_the_whole_job",
    "sandbox::a_daemon_does_not_outlive_its_script",
    "sandbox::a_fork_bomb_is_contained_and_cleared_away",
    "sandbox::a_job_sees_only_what_it_needs",
    "sandbox::a_memory_hog_ends_with_figures",
    "stopping::a_cancel_kills_the_whole_tree_in_the_sandbox",
];

/// What the tests and the first process call.
const PROGRAMS: [&str; 34] = [
    "bash",
    "cat",
    "chmod",
    "cp",
    "cut",
    "echo",
    "env",
    "false",
    "getent",
    "grep",
    "head",
    "id",
    "ip",
    "kill",
    "ls",
    "mkdir",
    "mktemp",
    "mount",
    "mv",
    "pgrep",
    "rm",
    "rmdir",
    "sed",
    "setsid",
    "sh",
    "sleep",
    "switch_root",
    "tail",
    "tar",
    "touch",
    "true",
    "umount",
    "unshare",
    "xargs",
];

/// The first process. The initial root cannot be exchanged for another, which the sandbox has to do, so all moves to a
/// file system of its own. The tests run twice: from the highest group, and from one that a service manager delegates.
const INIT: &str = r#"#!/bin/bash
export PATH=/usr/sbin:/usr/bin HOME=/tmp
if [ "$1" != moved ]; then
    mkdir -p /new
    mount -t tmpfs -o size=90%,mode=755 root /new
    for it in /*; do
        case $it in /new | /proc | /sys | /dev) ;; *) cp -a "$it" /new/ ;; esac
    done
    mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/home /new/root /new/run /new/var
    chmod 1777 /new/tmp
    chmod 700 /new/root
    exec switch_root /new /init moved
fi
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
cd /
grep -q ' - cgroup ' /proc/self/mountinfo && echo "GUEST has control groups of version 1"
echo "GUEST controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
echo "GUEST top"
/opt/tests --exact --test-threads 1 $(cat /opt/names)
echo "GUEST ended $?"
echo '+memory +pids +cpu' > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/service
echo "GUEST delegated"
( echo $BASHPID > /sys/fs/cgroup/service/cgroup.procs; exec /opt/tests --exact --test-threads 1 $(cat /opt/names) )
echo "GUEST ended $?"
[ -d /sys/fs/cgroup/service/rave-main ] && echo "GUEST divided its own group"
echo b > /proc/sysrq-trigger
sleep 60
"#;

#[test]
fn limits_hold_where_control_groups_are_of_version_two() {
    let kernel = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guest/vmlinuz");
    assert!(
        kernel.exists(),
        "{} is missing: run scripts/guest-kernel",
        kernel.display()
    );
    let dir = tempfile::tempdir().expect("a directory");
    let initial = dir.path().join("root.cpio");
    fs::write(&initial, root(dir.path()).finish()).expect("written");
    let said = boot(&kernel, &initial);
    assert!(
        !said.contains("GUEST has control groups of version 1"),
        "{said}"
    );
    let (top, delegated) = said
        .split_once("GUEST delegated")
        .unwrap_or_else(|| panic!("the machine did not get that far:\n{said}"));
    for run in [top, delegated] {
        let passed = format!("{} passed; 0 failed", TESTS.len());
        assert!(
            run.contains(&passed) && run.contains("GUEST ended 0"),
            "{said}"
        );
    }
    assert!(delegated.contains("GUEST divided its own group"), "{said}");
}

/// Boots the machine and returns what it said until it ended.
fn boot(kernel: &Path, initial: &Path) -> String {
    let output = Command::new("timeout")
        .args(["--kill-after=5", "400", "qemu-system-x86_64"])
        .args([
            "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .args([
            "-append",
            "console=ttyS0 quiet panic=-1 reboot=t cgroup_no_v1=all psi=1",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initial)
        .stdin(Stdio::null())
        .output()
        .expect("qemu-system-x86_64 is missing: scripts/need test");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Puts together what the machine's root holds.
fn root(scratch: &Path) -> Archive {
    let mut archive = Archive::default();
    let (mut files, mut shared) = (Vec::new(), BTreeSet::new());
    for name in PROGRAMS {
        let places = ["/usr/bin", "/usr/sbin"].map(|it| Path::new(it).join(name));
        let found = places.into_iter().find(|it| it.exists());
        let path = found.unwrap_or_else(|| panic!("this machine has no {name}"));
        files.push((path.clone(), fs::canonicalize(&path).expect("resolved")));
    }
    let own = [
        ("/opt/tests", std::env::current_exe().expect("this test")),
        (
            env!("CARGO_BIN_EXE_rave-sandbox-probe"),
            PathBuf::from(env!("CARGO_BIN_EXE_rave-sandbox-probe")),
        ),
    ];
    for (place, binary) in own {
        let small = scratch.join(binary.file_name().expect("a name"));
        let stripped = Command::new("strip")
            .args(["--strip-debug", "-o"])
            .args([&small, &binary])
            .status();
        assert!(stripped.expect("strip").success());
        files.push((PathBuf::from(place), small));
    }
    for (_, file) in &files {
        shared.extend(libraries(file));
    }
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        archive.entry(Path::new(link), 0o120_777, target.as_bytes());
    }
    for library in shared {
        // Directories may be links, the name of the file is what programs ask for.
        let dir = fs::canonicalize(library.parent().expect("a directory")).expect("resolved");
        let body = fs::read(&library).expect("read");
        archive.file(
            &dir.join(library.file_name().expect("a name")),
            0o755,
            &body,
        );
    }
    for (place, file) in files {
        archive.file(&place, 0o755, &fs::read(file).expect("read"));
    }
    let names = TESTS.join("\n");
    let texts: [(&str, u32, &str); 7] = [
        ("/init", 0o755, INIT),
        ("/opt/names", 0o644, &names),
        ("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/bash\n"),
        ("/etc/group", 0o644, "root:x:0:\n"),
        ("/etc/shadow", 0o600, "root:*:1::::::\n"),
        ("/etc/hostname", 0o644, "guest\n"),
        (
            "/etc/nsswitch.conf",
            0o644,
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
    ];
    for (place, mode, text) in texts {
        archive.file(Path::new(place), mode, text.as_bytes());
    }
    archive
}

/// Returns the shared libraries of a program and its loader.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.lines().filter_map(|it| {
        let it = it.split("=>").last()?.trim();
        it.starts_with('/').then(|| it.split(' ').next())?
    });
    paths.map(PathBuf::from).collect()
}
