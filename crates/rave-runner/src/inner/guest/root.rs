//! The job's root in a virtual machine: the layers of its image under one that is the machine's own, or what the runner shares
//! of its system.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::unistd::sethostname;

use super::super::order::Guest;
use super::super::view::{NOTHING, failed, make_dir};
use super::{await_some, network};

/// Where the shared files are, the layer above them, and what comes of both.
const SHARED: &str = "/shared";
const OWN: &str = "/own";
pub(super) const ROOT: &str = "/root";

/// The name under which the runner shares.
pub(crate) const TAG: &str = "host";
/// The disk for the layer above.
const DISK: &str = "/dev/vda";

/// Mounts what this process itself needs.
pub(super) fn mount_basics() -> Result<(), String> {
    mount_at("proc", "/proc", "")?;
    mount_at("sysfs", "/sys", "")?;
    match mount_at("devtmpfs", "/dev", "") {
        // Some kernels do it themselves.
        Err(_) if Path::new("/dev/null").exists() => Ok(()),
        mounted => mounted,
    }
}

/// Makes the root, the network and the name of the machine.
pub(super) fn make(guest: &Guest) -> Result<(), String> {
    // The system's programs that run as their owner are not root's here.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_as(TAG, SHARED, "virtiofs", flags, "")?;
    make_dir(Path::new(OWN))?;
    if guest.disk {
        await_some("the disk", || Path::new(DISK).exists().then_some(()))?;
        mount_as(DISK, OWN, "ext4", MsFlags::empty(), "")?;
    } else {
        mount_at("tmpfs", OWN, "mode=755,size=90%")?;
    }
    if guest.layers.is_empty() {
        gather()?;
    } else {
        stack(guest)?;
    }
    for (kind, at, options) in [
        ("proc", "proc", ""),
        ("sysfs", "sys", ""),
        ("devtmpfs", "dev", ""),
        ("devpts", "dev/pts", "mode=620,ptmxmode=666"),
        ("tmpfs", "dev/shm", "mode=1777"),
        ("tmpfs", "run", "mode=755"),
    ] {
        mount_at(kind, &format!("{ROOT}/{at}"), options)?;
    }
    // A job that makes control groups of its own finds them where it expects them; others do not miss them.
    let _ = mount_at("cgroup2", &format!("{ROOT}/sys/fs/cgroup"), "");
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        // It is there when the kernel's list of devices has it.
        let _ = symlink(target, format!("{ROOT}/dev/{name}"));
    }
    for dir in &guest.shown {
        make_dir(&below(ROOT, dir))?;
        bind(&below(SHARED, dir), &below(ROOT, dir))?;
    }
    for (dir, mode) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)] {
        let dir = below(ROOT, Path::new(dir));
        make_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode))
            .map_err(failed("set the permissions of", &dir))?;
    }
    sethostname(&guest.host_name).map_err(super::super::failed("cannot set the host name"))?;
    let resolver = if guest.network {
        network::up()?;
        format!("nameserver {}\n", network::RESOLVER)
    } else {
        network::loopback()?;
        String::new()
    };
    for (name, text) in [
        ("hosts", &guest.hosts),
        ("hostname", &format!("{}\n", guest.host_name)),
        ("resolv.conf", &resolver),
    ] {
        configure(guest, name, text)?;
    }
    Ok(())
}

/// Writes a file of `/etc`.
fn configure(guest: &Guest, name: &str, text: &str) -> Result<(), String> {
    let path = Path::new("/etc").join(name);
    let place = below(ROOT, &path);
    let write = |path: &Path| {
        if let Some(dir) = path.parent() {
            make_dir(dir)?;
        }
        fs::write(path, text).map_err(failed("write", path))
    };
    match fs::read_link(&place) {
        _ if !guest.layers.is_empty() => {
            // It may be a link to where nothing is here.
            let _ = fs::remove_file(&place);
            write(&place)
        }
        // The system's own cannot be changed: what is the machine's is put over it, or to where it leads.
        Ok(target) => {
            let target = Path::new("/etc").join(target);
            let inside = target.starts_with("/run") || target.starts_with("/etc/../run");
            let place = below(ROOT, &target);
            if inside { write(&place) } else { Ok(()) }
        }
        Err(_) if place.exists() => {
            let own = below(OWN, Path::new(name));
            write(&own)?;
            bind(&own, &place)
        }
        Err(_) => Ok(()),
    }
}

/// What the machine has for itself, of the directories at the top.
const APART: [&str; 8] = ["proc", "sys", "dev", "run", "tmp", "var", "home", "root"];

/// Puts together what is shared of the runner's system, and directories of the machine's own.
///
/// This is no layer above it: a layer reads what is below without leaving a trace, which only the owner of a file may, and
/// the system is not owned by whoever shares it.
fn gather() -> Result<(), String> {
    let own = below(OWN, Path::new("top"));
    make_dir(&own)?;
    make_dir(Path::new(ROOT))?;
    bind(&own, Path::new(ROOT))?;
    let shared = Path::new(SHARED);
    for entry in fs::read_dir(shared)
        .map_err(failed("list", shared))?
        .flatten()
    {
        let from = entry.path();
        let to = Path::new(ROOT).join(entry.file_name());
        if APART.iter().any(|it| entry.file_name() == *it) {
            continue;
        }
        match fs::read_link(&from) {
            Ok(target) => symlink(target, &to).map_err(failed("link", &to))?,
            Err(_) if from.is_dir() => {
                make_dir(&to)?;
                bind(&from, &to)?;
            }
            Err(_) => {}
        }
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<(), String> {
    mount(
        Some(from),
        to,
        NOTHING,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NOTHING,
    )
    .map_err(failed("show", from))
}

fn stack(guest: &Guest) -> Result<(), String> {
    let (upper, work) = (
        below(OWN, Path::new("upper")),
        below(OWN, Path::new("work")),
    );
    for dir in [&upper, &work] {
        make_dir(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .map_err(failed("set the permissions of", dir))?;
    }
    // Short names for what the kernel takes in one page of text, in which commas and colons would mean something.
    make_dir(Path::new("/l"))?;
    let mut lower = Vec::new();
    for (number, layer) in guest.layers.iter().rev().enumerate() {
        let name = PathBuf::from(format!("/l/{number}"));
        symlink(below(SHARED, layer), &name).map_err(failed("link", &name))?;
        lower.push(name.display().to_string());
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    mount_at("overlay", ROOT, &options)
}

fn below(base: &str, path: &Path) -> PathBuf {
    Path::new(base).join(path.strip_prefix("/").unwrap_or(path))
}

fn mount_at(kind: &str, at: &str, options: &str) -> Result<(), String> {
    mount_as(kind, at, kind, MsFlags::empty(), options)
}

fn mount_as(what: &str, at: &str, kind: &str, flags: MsFlags, options: &str) -> Result<(), String> {
    make_dir(Path::new(at))?;
    mount(
        Some(what),
        at,
        Some(kind),
        flags,
        Some(options).filter(|it| !it.is_empty()),
    )
    .map_err(|error| format!("cannot mount {what} ({kind}) at {at}: {error}"))
}
