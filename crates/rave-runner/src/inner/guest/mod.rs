//! Process 1 of a virtual machine: makes the job's root, and runs its scripts by the same helper as outside.
//!
//! It lives in the initial root file system, which has this program, its libraries and the kernel's modules, and nothing of
//! the job. The runner speaks to it over a port of the machine in the messages of [`super::order`], each behind a byte that
//! says what it is.

mod network;
mod root;

pub(crate) use root::TAG;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::reboot::{RebootMode, reboot};

use super::order::{self, Ended, Guest, Order, Report, Script, frame};

/// The name of the port.
pub(crate) const PORT: &str = "job";
/// Where this program is in the initial root, and what lists the modules to load, in order.
pub(crate) const PROGRAM: &str = "/agent";
pub(crate) const MODULES: &str = "/modules";
/// The word by which the program knows that it is process 1 of a virtual machine.
pub(crate) const WORD: &str = "__vm";

/// How long devices may take to appear, and the runner to connect.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// The flag for modules that are compressed, which the kernel undoes.
const COMPRESSED: i32 = 4;

/// The entry point of the hidden subcommand `__vm`. Ends by ending the machine.
#[must_use]
pub fn guest_main() -> ExitCode {
    if std::process::id() != 1 {
        return ExitCode::FAILURE;
    }
    if let Err(reason) = begin() {
        // The console, of which the runner keeps the end.
        let _ = writeln!(io::stderr(), "rave: {reason}");
    }
    // The machine was told to end at a reset. Should even this fail, the end of process 1 is one.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    ExitCode::FAILURE
}

fn begin() -> Result<(), String> {
    root::mount_basics()?;
    load_modules()?;
    let port = open_port()?;
    let port = Port {
        reader: port
            .try_clone()
            .map_err(super::failed("cannot share the port"))?,
        writer: Arc::new(Mutex::new(port)),
    };
    port.serve()
}

fn load_modules() -> Result<(), String> {
    let list = fs::read_to_string(MODULES).map_err(super::failed("cannot read the modules"))?;
    for path in list.lines() {
        let file = File::open(path).map_err(super::failed(&format!("cannot open {path}")))?;
        let flags = if path.ends_with(".ko") { 0 } else { COMPRESSED };
        let flags = ModuleInitFlags::from_bits_retain(flags.unsigned_abs());
        match finit_module(&file, c"", flags) {
            // Built into the kernel after all.
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(format!("cannot load {path}: {error}")),
        }
    }
    Ok(())
}

/// Waits for something to be there.
fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if waited > PATIENCE {
            return Err(format!("{what} does not appear"));
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

fn open_port() -> Result<File, String> {
    let named = || {
        let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
        ports.flatten().find(|it| {
            fs::read_to_string(it.path().join("name")).is_ok_and(|name| name.trim() == PORT)
        })
    };
    let port = await_some("the port to the runner", named)?;
    let path = PathBuf::from("/dev").join(port.file_name());
    let open = || File::options().read(true).write(true).open(&path).ok();
    await_some("the device of the port", open)
}

/// The connection to the runner.
struct Port {
    reader: File,
    writer: Arc<Mutex<File>>,
}

impl Port {
    fn serve(mut self) -> Result<(), String> {
        let guest = self.first()?;
        if let Err(reason) = root::make(&guest) {
            return self.send(frame::FAILED, reason.as_bytes());
        }
        self.send(frame::READY, b"")?;
        let mut running: Option<UnixStream> = None;
        while let Some((tag, body)) = self.receive()? {
            match tag {
                frame::SCRIPT => running = self.start(&body)?,
                // To a script that has ended there is nothing to say.
                _ => drop(running.as_mut().map(|it| it.write_all(&[tag]))),
            }
        }
        Ok(())
    }

    /// Returns what the machine is told first. Until the runner is there, the port reads as closed.
    fn first(&mut self) -> Result<Guest, String> {
        let mut tag = [0];
        let reader = &mut self.reader;
        await_some("the runner", || match reader.read(&mut tag) {
            Ok(1) => Some(()),
            _ => None,
        })?;
        order::receive(reader).map_err(super::failed("cannot read what to do"))
    }

    /// Returns the next message, `None` when the runner is gone.
    fn receive(&mut self) -> Result<Option<(u8, Vec<u8>)>, String> {
        let mut tag = [0];
        match self.reader.read(&mut tag) {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.receive(),
            _ => return Ok(None),
        }
        let body = match tag[0] {
            frame::SCRIPT => order::receive_bytes(&mut self.reader)
                .map_err(super::failed("cannot read a script"))?,
            _ => Vec::new(),
        };
        Ok(Some((tag[0], body)))
    }

    fn send(&self, tag: u8, body: &[u8]) -> Result<(), String> {
        send(&self.writer, tag, body).map_err(super::failed("cannot answer the runner"))
    }

    /// Starts a script. Returns what its helper listens to.
    fn start(&self, body: &[u8]) -> Result<Option<UnixStream>, String> {
        match self.try_start(body) {
            Ok(socket) => Ok(Some(socket)),
            Err(reason) => {
                let ended = Ended {
                    report: Report::Failed(reason),
                    oom_kills: 0,
                };
                let body = serde_json::to_vec(&ended).map_err(|it| it.to_string())?;
                self.send(frame::ENDED, &body)?;
                Ok(None)
            }
        }
    }

    fn try_start(&self, body: &[u8]) -> Result<UnixStream, String> {
        let what = "cannot start the script's helper";
        let script: (Script, String) = serde_json::from_slice(body).map_err(super::failed(what))?;
        let order = Order::Inside {
            root: root::ROOT.into(),
            user: script.1,
            script: script.0,
        };
        let before = oom_kills();
        let (mut ours, theirs) = UnixStream::pair().map_err(super::failed(what))?;
        let (mut output, printed) = io::pipe().map_err(super::failed(what))?;
        let mut helper = Command::new("/proc/self/exe");
        helper
            .arg("__sandbox")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(
                printed.try_clone().map_err(super::failed(what))?,
            ))
            .stderr(Stdio::from(printed));
        let mut child = helper.spawn().map_err(super::failed(what))?;
        // It holds copies of the ends, without whose closing nothing would ever end.
        drop(helper);
        order::send(&mut ours, &order).map_err(super::failed(what))?;
        let mut answers = ours.try_clone().map_err(super::failed(what))?;
        let writer = self.writer.clone();
        let follow = move || {
            let mut buffer = vec![0; 32 << 10];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if send(&writer, frame::OUTPUT, &buffer[..len]).is_err() {
                    return;
                }
            }
            let report = order::receive(&mut answers).unwrap_or_else(|error| {
                Report::Failed(format!("the script's helper ended without a word: {error}"))
            });
            let _ = child.wait();
            let ended = Ended {
                report,
                oom_kills: oom_kills().saturating_sub(before),
            };
            if let Ok(body) = serde_json::to_vec(&ended) {
                // When it fails the runner is gone, and the machine ends with it.
                let _ = send(&writer, frame::ENDED, &body);
            }
        };
        std::thread::Builder::new()
            .spawn(follow)
            .map_err(super::failed(what))?;
        Ok(ours)
    }
}

fn send(writer: &Mutex<File>, tag: u8, body: &[u8]) -> io::Result<()> {
    let message = frame::encode(tag, body)?;
    let mut port = writer.lock().unwrap_or_else(PoisonError::into_inner);
    port.write_all(&message)
}

/// Returns how often the kernel has killed for want of memory.
fn oom_kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let mut counts = text.lines().filter_map(|it| it.strip_prefix("oom_kill "));
    counts
        .next()
        .and_then(|it| it.trim().parse().ok())
        .unwrap_or_default()
}
