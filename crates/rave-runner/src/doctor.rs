//! Looks at what of a machine serves to run jobs, and says what to do about the rest. Changes nothing.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use nix::sys::statvfs::statvfs;
use tokio::process::Command;

use crate::client::chain;
use crate::config::{ExecutorKind, RunnerConfig};
use crate::exec;
use crate::exec::cgroup::{Cgroups, Limits};

/// How far something serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Jobs can use it.
    Works,
    /// Jobs run, but with less than they could have.
    Limited,
    /// What needs it cannot run.
    Missing,
}

impl Health {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How far it serves.
    pub health: Health,
    /// What was seen.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    fn works(subject: &'static str, text: impl Into<String>) -> Self {
        Self {
            subject,
            health: Health::Works,
            text: text.into(),
            remedy: None,
        }
    }

    fn new(
        subject: &'static str,
        health: Health,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            subject,
            health,
            text: text.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// Examines the machine: each executor by a trial, then what limits jobs and what they use.
///
/// `config` says which container engine to ask, and where the trials may write.
pub async fn examine(config: &RunnerConfig) -> Vec<Finding> {
    let mut findings = vec![sandbox(config).await, limits()];
    findings.extend([kernel_filters(), overlays(), container(config).await]);
    findings.extend([kvm(), qemu().await]);
    findings.extend([
        program("git", "getting the source", Health::Missing).await,
        program("git-lfs", "files that are kept in LFS", Health::Limited).await,
    ]);
    findings.extend([memory(), disk(&config.builds_dir)]);
    findings
}

/// Runs an empty job.
async fn sandbox(config: &RunnerConfig) -> Finding {
    const SUBJECT: &str = "sandbox";
    let policy = match &config.executor {
        ExecutorKind::Sandbox(policy) | ExecutorKind::Container(_, policy) => policy.clone(),
        ExecutorKind::Vm(policy) => policy.sandbox.clone(),
        ExecutorKind::Shell => crate::SandboxPolicy::default(),
    };
    let config = RunnerConfig {
        executor: ExecutorKind::Sandbox(policy),
        ..config.clone()
    };
    match trial(&config).await {
        Ok(()) if nix::unistd::geteuid().is_root() => Finding::works(
            SUBJECT,
            "a trial job ran, as a user who owns nothing outside",
        ),
        Ok(()) => Finding::works(SUBJECT, "a trial job ran, rootless"),
        Err(reason) => Finding::new(
            SUBJECT,
            Health::Missing,
            reason,
            "or use the executor container, or shell for jobs that you trust with this user's account",
        ),
    }
}

async fn trial(config: &RunnerConfig) -> Result<(), String> {
    let executor = exec::open(config).map_err(|error| chain(&error))?;
    executor.check().await.map_err(|error| chain(&error))
}

/// Tries the control groups that limit jobs.
fn limits() -> Finding {
    const SUBJECT: &str = "limits";
    let all = Limits {
        memory_bytes: Some(1 << 30),
        cpus: Some(1.0),
        pids: Some(100),
    };
    let delegate = "run the runner as root, or as a systemd unit with Delegate=yes";
    match Cgroups::open() {
        Err(error) => Finding::new(
            SUBJECT,
            Health::Limited,
            format!("jobs run without limits: {}", chain(&error)),
            delegate,
        ),
        Ok(groups) => match groups.missing(&all).as_slice() {
            [] => Finding::works(
                SUBJECT,
                "memory, CPUs and processes of a job can be limited",
            ),
            missing => Finding::new(
                SUBJECT,
                Health::Limited,
                format!("control groups lack the controllers {}", missing.join(", ")),
                delegate,
            ),
        },
    }
}

/// Looks whether the kernel can keep system calls and paths from jobs.
fn kernel_filters() -> Finding {
    const SUBJECT: &str = "kernel filters";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let seccomp = status.lines().any(|it| it.starts_with("Seccomp:"));
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let landlock = modules.split(',').any(|it| it.trim() == "landlock");
    match (seccomp, landlock) {
        (true, true) => Finding::works(SUBJECT, "seccomp and Landlock"),
        (true, false) => Finding::works(SUBJECT, "seccomp; Landlock is not known to be on"),
        (false, _) => Finding::new(
            SUBJECT,
            Health::Limited,
            "the kernel has no seccomp: jobs reach all of its system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// Looks for overlayfs, which images need.
fn overlays() -> Finding {
    const SUBJECT: &str = "images";
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let overlay = |it: &str| it.split_whitespace().last() == Some("overlay");
    match known.lines().any(overlay) {
        true => Finding::works(SUBJECT, "overlayfs is there for images in the sandbox"),
        false => Finding::new(
            SUBJECT,
            Health::Limited,
            "the kernel does not list overlayfs, on which images are put together",
            "load it: modprobe overlay",
        ),
    }
}

async fn container(config: &RunnerConfig) -> Finding {
    const SUBJECT: &str = "container";
    let host = match &config.executor {
        ExecutorKind::Container(policy, _) => policy.host.as_str(),
        _ => crate::ContainerPolicy::DOCKER_SOCKET,
    };
    match exec::container_engine(host).await {
        Ok(version) => Finding::works(SUBJECT, format!("{version} at {host}")),
        Err(reason) => Finding::new(
            SUBJECT,
            Health::Limited,
            reason,
            "only the executor container needs it: systemctl start podman.socket or docker.socket, and name the socket",
        ),
    }
}

fn kvm() -> Finding {
    const SUBJECT: &str = "KVM";
    let remedy =
        "only virtual machines need it, and they run without, slowly; give this user the group kvm";
    match fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Ok(_) => Finding::works(
            SUBJECT,
            "/dev/kvm can be opened; whether it starts machines is tried when the executor vm starts",
        ),
        Err(error) => Finding::new(
            SUBJECT,
            Health::Limited,
            format!("/dev/kvm: {error}"),
            remedy,
        ),
    }
}

async fn qemu() -> Finding {
    let name = match std::env::consts::ARCH {
        "aarch64" => "qemu-system-aarch64",
        _ => "qemu-system-x86_64",
    };
    program(name, "jobs in virtual machines", Health::Limited).await
}

/// Asks a program for its version.
async fn program(name: &'static str, used_for: &str, without: Health) -> Finding {
    let mut command = Command::new(name);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match command.output().await {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::works(name, text.lines().next().unwrap_or_default().to_owned())
        }
        Ok(output) => Finding::new(
            name,
            without,
            format!("{name} --version ended with {}", output.status),
            format!("install {name} anew"),
        ),
        Err(error) => Finding::new(
            name,
            without,
            format!("cannot be started: {error}"),
            format!("install {name}: it is needed for {used_for}"),
        ),
    }
}

fn memory() -> Finding {
    const SUBJECT: &str = "memory";
    const LITTLE: u64 = 1 << 30;
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let figure = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|it| it.strip_prefix(key))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    let Some((total, free)) = figure("MemTotal:").zip(figure("MemAvailable:")) else {
        let text = "/proc/meminfo does not tell it";
        return Finding::new(SUBJECT, Health::Limited, text, "mount /proc");
    };
    let text = format!("{} of {} are free", size(free), size(total));
    match free < LITTLE {
        false => Finding::works(SUBJECT, text),
        true => Finding::new(
            SUBJECT,
            Health::Limited,
            text,
            "few builds are content with that",
        ),
    }
}

fn disk(dir: &Path) -> Finding {
    const SUBJECT: &str = "disk";
    const LITTLE: u64 = 5 << 30;
    let there = dir.ancestors().find(|it| it.exists()).unwrap_or(dir);
    match statvfs(there) {
        Ok(figures) => {
            let free = figures
                .blocks_available()
                .saturating_mul(figures.fragment_size());
            let text = format!("{} are free at {}", size(free), there.display());
            match free < LITTLE {
                false => Finding::works(SUBJECT, text),
                true => Finding::new(
                    SUBJECT,
                    Health::Limited,
                    text,
                    "working copies, caches and images need more: name a larger disk by --data",
                ),
            }
        }
        Err(error) => Finding::new(
            SUBJECT,
            Health::Missing,
            format!("{}: {error}", there.display()),
            "name another directory by --data",
        ),
    }
}

fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        gib => format!("{gib} GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named_with_what_it_is_for() {
        let found = program("rave-no-such-program", "nothing", Health::Limited).await;
        assert_eq!(found.health, Health::Limited);
        assert!(found.remedy.is_some_and(|it| it.contains("nothing")));
        let found = program("git", "getting the source", Health::Missing).await;
        assert_eq!(found.health, Health::Works, "{found:?}");
        assert!(found.text.contains("git version"), "{found:?}");
    }

    #[test]
    fn a_disk_is_that_of_the_nearest_directory_there_is() {
        let found = disk(Path::new("/proc/no/such/directory"));
        assert!(found.text.contains("/proc"), "{found:?}");
        assert_ne!(disk(Path::new("/")).health, Health::Missing);
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(
            (size(3 << 30), size(700 << 20)),
            ("3 GiB".to_owned(), "700 MiB".to_owned())
        );
    }
}
