//! Starts a job's shell, collects its children, and leaves none of them behind.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{
    Gid, Pid, Uid, fchown, getegid, geteuid, getpid, setgroups, setresgid, setresuid, setsid,
};

use super::account::Account;
use super::failed;
use super::order::{self, Program, Report, Script, TERMINATE};

/// Where a shell may be, the best first. Other runners look in these places of an image, in this order.
const SHELLS: [&str; 9] = [
    "/usr/local/bin/bash",
    "/usr/bin/bash",
    "/bin/bash",
    "/usr/local/bin/sh",
    "/usr/bin/sh",
    "/bin/sh",
    "/busybox/sh",
    "/run/current-system/sw/bin/bash",
    "/run/current-system/sw/bin/sh",
];

/// Runs the script as process 1 of its namespace: when this process ends, the kernel ends all the others.
///
/// Without an account it runs as who this process is.
pub(super) fn as_init(
    socket: &mut UnixStream,
    script: &Script,
    account: Option<&Account>,
) -> Result<ExitCode, String> {
    let shell = start(script, account)?;
    attend(socket, shell)
}

/// Waits for a child, as process 1, and passes on what the runner wants.
pub(super) fn attend(socket: &mut UnixStream, child: Pid) -> Result<ExitCode, String> {
    listen(socket, |signal| {
        if signal == Signal::SIGKILL {
            leave();
        }
        // To all but this process. It fails only when there is none.
        let _ = kill(Pid::from_raw(-1), signal);
    })?;
    Ok(report(socket, &await_shell(child)?))
}

/// Runs the script in a session of its own, as the one to whom all its orphans return.
pub(super) fn as_subreaper(
    socket: &mut UnixStream,
    script: &Script,
    account: Option<&Account>,
) -> Result<ExitCode, String> {
    // Fails only for a process that leads a group, which is as good.
    let _ = setsid();
    prctl::set_child_subreaper(true).map_err(failed("cannot adopt orphans"))?;
    let shell = start(script, account)?;
    listen(socket, |signal| {
        for process in descendants() {
            let _ = kill(process, signal);
        }
        if signal == Signal::SIGKILL {
            // The main thread collects them and ends. When it cannot, the runner's cgroup and its own KILL remain.
            kill_descendants_until_none();
            leave();
        }
    })?;
    let ended = await_shell(shell)?;
    loop {
        for process in descendants() {
            let _ = kill(process, Signal::SIGKILL);
        }
        if wait() == Err(Errno::ECHILD) {
            return Ok(report(socket, &ended));
        }
    }
}

#[expect(
    clippy::exit,
    reason = "called from the listening thread: the main thread sits in a system call"
)]
fn leave() -> ! {
    std::process::exit(128 + Signal::SIGKILL as i32)
}

fn kill_descendants_until_none() {
    for _ in 0..1000 {
        let left = descendants();
        if left.is_empty() {
            return;
        }
        for process in left {
            let _ = kill(process, Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Starts the shell with the script as its standard input, from memory: it is in no file and in no argument.
fn start(script: &Script, account: Option<&Account>) -> Result<Pid, String> {
    let what = "cannot hand over the script";
    let mut input =
        File::from(memfd_create("script", MFdFlags::MFD_CLOEXEC).map_err(failed(what))?);
    input
        .write_all(script.text.as_bytes())
        .and_then(|()| input.rewind())
        .map_err(failed(what))?;
    let (mut command, directory) = command(&script.program)?;
    command.env_clear();
    if let Some(account) = account {
        command.env("HOME", &account.home);
        become_account(&mut command, account);
    }
    command.envs(script.environment.iter().map(|(key, value)| (key, value)));
    let directory = Some(directory).filter(|it| Path::new(it).is_dir());
    command
        .current_dir(directory.unwrap_or("/"))
        .stdin(Stdio::from(input));
    let child = command.spawn().map_err(|error| {
        let program = command.get_program().display();
        format!("cannot start {program}: {error}")
    })?;
    i32::try_from(child.id())
        .map(Pid::from_raw)
        .map_err(failed("the shell has an impossible id"))
}

/// Returns the command for a program, and the directory that it starts in.
fn command(program: &Program) -> Result<(Command, &str), String> {
    let shell = || SHELLS.into_iter().find(|it| Path::new(it).exists());
    Ok(match program {
        Program::Shell { login } => {
            let mut command = Command::new(shell().ok_or("there is neither bash nor sh")?);
            command.args(login.then_some("-l"));
            (command, "/")
        }
        Program::Command {
            arguments,
            directory,
        } => {
            let (first, rest) = arguments
                .split_first()
                .ok_or("the image says nothing to start, and neither does the job")?;
            let mut command = Command::new(first);
            command.args(rest);
            (command, directory)
        }
        Program::ImageShell {
            entrypoint,
            directory,
        } => {
            let shell = shell().ok_or(
                "the image has no shell, which a job's script needs: use one with bash or sh in it",
            )?;
            let command = match entrypoint.split_first() {
                None => Command::new(shell),
                // It has to start what it is given, as everywhere.
                Some((first, rest)) => {
                    let mut command = Command::new(first);
                    command
                        .args(rest)
                        .arg("sh")
                        .arg("-c")
                        .arg(format!("exec {shell}"));
                    command
                }
            };
            (command, directory)
        }
    })
}

/// Lets a command run as a user of the image.
fn become_account(command: &mut Command, account: &Account) {
    let ids = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    if ids == (geteuid(), getegid()) && account.groups.is_empty() {
        return;
    }
    // What is printed goes through a pipe, which programs like to open anew by its name in /proc.
    let _ = fchown(std::io::stdout(), Some(ids.0), Some(ids.1));
    let groups: Vec<Gid> = account.groups.iter().map(|it| Gid::from_raw(*it)).collect();
    #[expect(unsafe_code, reason = "the standard library sets no further groups")]
    // SAFETY: between fork and exec this makes system calls only, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            setgroups(&groups)?;
            setresgid(ids.1, ids.1, ids.1)?;
            setresuid(ids.0, ids.0, ids.0)?;
            Ok(())
        });
    }
}

/// Obeys what the runner says from now on, and takes its silence for good as [`order::KILL`].
fn listen(socket: &UnixStream, act: impl Fn(Signal) + Send + 'static) -> Result<(), String> {
    let mut socket = socket
        .try_clone()
        .map_err(failed("cannot listen to the runner"))?;
    let listener = move || {
        let mut word = [0];
        loop {
            match socket.read(&mut word) {
                Ok(1) if word[0] == TERMINATE => act(Signal::SIGTERM),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => return act(Signal::SIGKILL),
            }
        }
    };
    std::thread::Builder::new()
        .spawn(listener)
        .map(drop)
        .map_err(failed("cannot listen to the runner"))
}

/// Collects children, the shell's orphans among them, until the shell itself has ended.
fn await_shell(shell: Pid) -> Result<Report, String> {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == shell => return Ok(Report::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == shell => {
                return Ok(Report::Signaled(signal as i32));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("cannot wait for the shell: {error}")),
        }
    }
}

fn report(socket: &mut UnixStream, report: &Report) -> ExitCode {
    // The runner that does not listen any more has taken its decision.
    let _ = order::send(socket, report);
    ExitCode::SUCCESS
}

/// Lists the processes below this one.
fn descendants() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name of a process may contain anything, so the fields count from its closing parenthesis.
        let mut fields = stat
            .rsplit_once(')')
            .map_or("", |it| it.1)
            .split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        if let (Some(state), Some(Ok(parent))) = (state, parent.map(str::parse))
            && state != "Z"
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![getpid().as_raw()];
    while let Some(parent) = open.pop() {
        let below = children.remove(&parent).unwrap_or_default();
        found.extend(below.iter().copied().map(Pid::from_raw));
        open.extend(below);
    }
    found
}
