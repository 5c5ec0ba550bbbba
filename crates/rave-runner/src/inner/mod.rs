//! The helper process: what runs between the runner and a job's shell.
//!
//! The runner is a process with many threads, in which neither namespaces can be made nor children be watched safely.
//! So it starts its own executable anew, once per script, and this module is what that process does. In the sandbox
//! there are two: the first makes the namespaces, the second is process 1 in them.

mod account;
mod filter;
mod guest;
mod image;
mod machine;
pub(crate) mod order;
mod ownership;
mod pod;
mod privileges;
mod supervise;
mod view;

pub use guest::guest_main;
pub(crate) use guest::{MODULES, PORT, PROGRAM, TAG, WORD};
pub(crate) use view::HOME;

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid, sethostname};

use account::Account;
use order::{Net, Order, Report, Root};

/// The status of a helper that could not do what it was told. The report says why.
const SETUP_FAILED: u8 = 70;

/// The entry point of the hidden subcommand `__sandbox`: runs one job script as told over standard input.
///
/// Must be called first thing in a fresh process, while it has a single thread.
#[must_use]
pub fn sandbox_main() -> ExitCode {
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(SETUP_FAILED);
    };
    let mut socket = UnixStream::from(stdin);
    match obey(&mut socket) {
        Ok(code) => code,
        Err(reason) => {
            // When the runner is gone there is nobody to tell.
            let _ = order::send(&mut socket, &Report::Failed(reason));
            ExitCode::from(SETUP_FAILED)
        }
    }
}

fn obey(socket: &mut UnixStream) -> Result<ExitCode, String> {
    keep_only_standard_streams()?;
    // Should the whole machine run out of memory, jobs go before the runner. Anyone may raise it.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    let order = order::receive(socket).map_err(|it| format!("cannot read the order: {it}"))?;
    match order {
        Order::Isolate {
            network,
            privileged,
        } => isolate(socket, &network, privileged),
        Order::Enclose(view, script) => {
            view::build(&view)?;
            let account = match &view.root {
                Root::System => {
                    privileges::become_user(&view)?;
                    None
                }
                Root::Image(image) => {
                    let account = account::find(&image.user)?;
                    privileges::become_root_of_image(&view, &account)?;
                    Some(account)
                }
            };
            if let Some(account) = account.as_ref().filter(|_| view.outer_id.is_some()) {
                ownership::give(&view, account);
            }
            filter::install(view.nested_namespaces)?;
            supervise::as_init(socket, &script, account.as_ref())
        }
        Order::Supervise(person, script) => {
            person.as_ref().map_or(Ok(()), privileges::become_person)?;
            supervise::as_subreaper(socket, &script, None)
        }
        Order::Emulate(view, machine) => {
            view::build(&view)?;
            privileges::become_root_of_image(&view, &Account::root())?;
            filter::install(view.nested_namespaces)?;
            machine::run(socket, &machine)
        }
        Order::Inside { root, user, script } => {
            nix::unistd::chroot(&root).map_err(failed("cannot enter the job's root"))?;
            std::env::set_current_dir("/").map_err(failed("cannot enter the job's root"))?;
            let account = account::find(&user)?;
            supervise::as_subreaper(socket, &script, Some(&account))
        }
        Order::Hold(pod) => pod::hold(socket, &pod),
    }
}

/// Says what failed, for a report.
fn failed<E: Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// Makes every other descriptor close when a program is started: one the runner lost track of must not reach a job.
fn keep_only_standard_streams() -> Result<(), String> {
    let entries = fs::read_dir("/proc/self/fd").map_err(failed("cannot list open files"))?;
    let open: Vec<i32> = entries
        .flatten()
        .filter_map(|it| it.file_name().to_str()?.parse().ok())
        .collect();
    for number in open.into_iter().filter(|it| *it > 2) {
        #[expect(
            unsafe_code,
            reason = "no safe type stands for descriptors that came by inheritance"
        )]
        // SAFETY: the borrow lives for one call, and a number that is closed by now makes that call fail harmlessly.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
    Ok(())
}

/// Opens a namespace of another process.
fn open(namespace: &Path) -> Result<fs::File, String> {
    fs::File::open(namespace)
        .map_err(|error| format!("cannot open {}: {error}", namespace.display()))
}

/// Makes the namespaces, and runs the second helper as their process 1.
fn isolate(socket: &UnixStream, network: &Net, privileged: bool) -> Result<ExitCode, String> {
    let (uid, gid) = (geteuid(), getegid());
    let what = match privileged {
        true => "the kernel refuses to make namespaces, although the runner is root",
        false => "the kernel refuses to make namespaces for an ordinary user",
    };
    let joined = match network {
        Net::Joined { user, network } => Some((user, open(network)?)),
        Net::Machine | Net::None => None,
    };
    match &joined {
        Some((Some(user), _)) => {
            setns(open(user)?, CloneFlags::CLONE_NEWUSER)
                .map_err(failed("cannot enter the users of the pod"))?;
        }
        // Being root over namespaces of one's own is what lets an ordinary user mount in them.
        _ if !privileged => {
            unshare(CloneFlags::CLONE_NEWUSER).map_err(failed(what))?;
            privileges::map_own(&format!("0 {uid} 1"), &format!("0 {gid} 1"))?;
        }
        _ => {}
    }
    if let Some((_, network)) = joined {
        setns(network, CloneFlags::CLONE_NEWNET)
            .map_err(failed("cannot enter the network of the pod"))?;
    }
    if *network == Net::None {
        unshare(CloneFlags::CLONE_NEWNET).map_err(failed(what))?;
        // Before there is a pid namespace, which would end with its first process. Without `ip`
        // the loopback device stays down: less than promised, but no less safe.
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .stdin(Stdio::null())
            .status();
        drop(up);
    }
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(flags).map_err(failed(what))?;
    sethostname("localhost").map_err(failed("cannot set the host name"))?;
    let stdin = OwnedFd::from(
        socket
            .try_clone()
            .map_err(failed("cannot pass on the socket"))?,
    );
    let mut init = Command::new("/proc/self/exe");
    init.arg("__sandbox").env_clear().stdin(Stdio::from(stdin));
    let status = init
        .status()
        .map_err(failed("cannot start the first process of the sandbox"))?;
    let code = status
        .code()
        .or(status.signal().map(|it| 128 + it))
        .unwrap_or(i32::from(SETUP_FAILED));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(SETUP_FAILED)))
}
