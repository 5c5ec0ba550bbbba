//! Runs a virtual machine within a sandbox: the emulator, and the program that shares files with it.
//!
//! Whoever breaks out of the machine is where a job of the sandbox is.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::unistd::Pid;

use super::order::Machine;
use super::{failed, supervise};

/// How long the program that shares files may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// Runs the machine as process 1 of its namespace.
pub(super) fn run(
    socket: &mut std::os::unix::net::UnixStream,
    machine: &Machine,
) -> Result<ExitCode, String> {
    for words in &machine.before {
        let mut command = command(words)?;
        let output = command
            .output()
            .map_err(failed(&format!("cannot start {}", words[0])))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} failed: {}", words[0], said.trim()));
        }
    }
    let name = machine.files.first().map_or("", String::as_str);
    let mut files = command(&machine.files)?
        .spawn()
        .map_err(failed(&format!("cannot start {name}")))?;
    let mut waited = Duration::ZERO;
    while !Path::new(&machine.files_socket).exists() {
        if let Ok(Some(status)) = files.try_wait() {
            return Err(format!("{name} ended: {status}"));
        }
        if waited > PATIENCE {
            return Err(format!("{name} does not listen"));
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
    let name = machine.emulator.first().map_or("", String::as_str);
    let emulator = command(&machine.emulator)?
        .spawn()
        .map_err(failed(&format!("cannot start {name}")))?;
    let emulator = i32::try_from(emulator.id()).map_err(failed("an impossible process"))?;
    supervise::attend(socket, Pid::from_raw(emulator))
}

fn command(words: &[String]) -> Result<Command, String> {
    let (program, arguments) = words.split_first().ok_or("there is nothing to start")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", crate::exec::PATH)
        .current_dir("/")
        .stdin(Stdio::null());
    Ok(command)
}
