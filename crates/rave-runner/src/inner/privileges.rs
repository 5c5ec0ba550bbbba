//! Gives up the machine's root for good, and takes what rights a job has in a user namespace of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Uid, fork, setgroups, setresgid, setresuid};

use super::account::Account;
use super::failed;
use super::order::{Person, View};

/// What root may do in a container of the common runtimes, by the kernel's numbers.
const KEPT: [i32; 14] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    13, // NET_RAW
    18, // SYS_CHROOT
    27, // MKNOD
    29, // AUDIT_WRITE
    31, // SETFCAP
];

/// Becomes user 1000, who is nobody outside and can become nobody else.
pub(super) fn become_user(view: &View) -> Result<(), String> {
    const INSIDE: u32 = 1000;
    let outside = view.outer_id.unwrap_or(0);
    if let Some(id) = view.outer_id {
        let what = "cannot become the job's user";
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        setgroups(&groups_of(view)).map_err(failed(what))?;
        setresgid(gid, gid, gid).map_err(failed(what))?;
        setresuid(uid, uid, uid).map_err(failed(what))?;
        // Changing users made this process undumpable, and with that the files in /proc that the next step writes.
        prctl::set_dumpable(true).map_err(failed(what))?;
    }
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(failed("the kernel refuses to make a user namespace"))?;
    map_own(
        &format!("{INSIDE} {outside} 1"),
        &format!("{INSIDE} {outside} 1"),
    )?;
    seal(view)?;
    prctl::set_no_new_privs().map_err(failed("cannot forbid new privileges"))
}

/// Becomes another user of the machine, with that user's groups.
pub(super) fn become_person(person: &Person) -> Result<(), String> {
    let what = "cannot become the user of jobs";
    let (uid, gid) = (Uid::from_raw(person.uid), Gid::from_raw(person.gid));
    let groups: Vec<Gid> = person.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(failed(what))?;
    setresgid(gid, gid, gid).map_err(failed(what))?;
    setresuid(uid, uid, uid).map_err(failed(what))
}

/// Becomes root of an image, all of whose users are users without rights outside. When the runner is not root there is only
/// one user to map, and the image's is that one.
pub(super) fn become_root_of_image(view: &View, account: &Account) -> Result<(), String> {
    match view.outer_id {
        Some(base) => {
            let ids = format!("0 {base} {}", crate::image::IDS);
            let what = "cannot become the image's root";
            setgroups(&groups_of(view)).map_err(failed(what))?;
            unshare_mapped(&ids)?;
            let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
            setresgid(gid, gid, gid).map_err(failed(what))?;
            setresuid(uid, uid, uid).map_err(failed(what))?;
        }
        None => {
            unshare(CloneFlags::CLONE_NEWUSER)
                .map_err(failed("the kernel refuses to make a user namespace"))?;
            map_own(
                &format!("{} 0 1", account.uid),
                &format!("{} 0 1", account.gid),
            )?;
        }
    }
    seal(view)?;
    for capability in (0..64).filter(|it| !KEPT.contains(it)) {
        #[expect(unsafe_code, reason = "no crate here wraps this call")]
        // SAFETY: the call takes numbers only.
        let dropped = unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if dropped != 0 && nix::errno::Errno::last() != nix::errno::Errno::EINVAL {
            return Err(format!("cannot give up the capability {capability}"));
        }
    }
    Ok(())
}

/// Returns the groups that may use the devices that the job was given. They have no name inside, and count nevertheless.
fn groups_of(view: &View) -> Vec<Gid> {
    let groups = view.devices.iter().filter_map(|it| {
        let meta = fs::metadata(it).ok()?;
        // What root's own group may use is not given away along with a device.
        Some(Gid::from_raw(meta.gid())).filter(|it| it.as_raw() != 0)
    });
    groups.collect()
}

/// Keeps the job from this process, and from more of the kernel than it needs.
fn seal(view: &View) -> Result<(), String> {
    if !view.nested_namespaces {
        // Within user namespaces far more of the kernel can be reached, and few jobs need to make one.
        let what = "cannot forbid further user namespaces";
        fs::write("/proc/sys/user/max_user_namespaces", "0").map_err(failed(what))?;
    }
    prctl::set_dumpable(false).map_err(failed("cannot hide the first process"))?;
    prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(failed("cannot follow the outer process"))
}

/// Maps one user and group, which a process may do for itself.
pub(super) fn map_own(uids: &str, gids: &str) -> Result<(), String> {
    let what = "cannot map the job's user";
    fs::write("/proc/self/setgroups", "deny").map_err(failed(what))?;
    fs::write("/proc/self/uid_map", uids).map_err(failed(what))?;
    fs::write("/proc/self/gid_map", gids).map_err(failed(what))
}

/// Makes a user namespace with a range of ids. Only a process outside of it may map those, so a child stays there to do it.
fn unshare_mapped(ids: &str) -> Result<(), String> {
    let what = "cannot map the image's users";
    let (mut wait, mut go) = std::io::pipe().map_err(failed(what))?;
    #[expect(
        unsafe_code,
        reason = "a second process is needed that has not left the namespace"
    )]
    // SAFETY: this process has a single thread, so no lock is held by one that the child lacks.
    let child = match unsafe { fork() }.map_err(failed(what))? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(go);
            let mut word = [0];
            let told = wait.read_exact(&mut word);
            let mapped = told
                .and_then(|()| fs::write("/proc/1/uid_map", ids))
                .and_then(|()| fs::write("/proc/1/gid_map", ids));
            #[expect(
                unsafe_code,
                reason = "nothing of the parent's may be run at this exit"
            )]
            // SAFETY: it ends the process, whatever state that is in.
            unsafe {
                nix::libc::_exit(i32::from(mapped.is_err()))
            }
        }
    };
    drop(wait);
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(failed("the kernel refuses to make a user namespace"))?;
    go.write_all(&[1]).map_err(failed(what))?;
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, 0)) => Ok(()),
        other => Err(format!(
            "{what}: the process that does it ended as {other:?}"
        )),
    }
}
