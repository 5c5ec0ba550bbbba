//! Builds what a job in the sandbox sees: the system read-only, its own directories, and little else.
//!
//! Runs as process 1 of new mount and pid namespaces, with the right to mount in them. Everything not put into the
//! view here is out of reach afterwards, because the old root is unmounted.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::order::{Root, View};

/// What of the machine every job may read, as far as it exists.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/run/current-system",
];

/// What of `/etc` a job may read when it shares the runner's user, whose private files may be there.
const SELECTED_ETC: [&str; 34] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "default/locale",
    "environment",
    "fonts",
    "gai.conf",
    "host.conf",
    "hosts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
    "terminfo",
    "timezone",
];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The job's home. It is empty at first and lost at the end.
pub(crate) const HOME: &str = "/home/rave";

pub(super) const NOTHING: Option<&str> = None;

/// A step of building the view failed.
pub(super) fn failed<E: std::fmt::Display>(what: &str, path: &Path) -> impl FnOnce(E) -> String {
    move |error| format!("cannot {what} {}: {error}", path.display())
}

/// Builds the view and makes it the root.
pub(super) fn build(view: &View) -> Result<(), String> {
    let root = Path::new("/");
    mount(
        NOTHING,
        root,
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NOTHING,
    )
    .map_err(failed("make private the mounts below", root))?;
    step_aside(match &view.root {
        Root::System => {
            &view
                .writable
                .first()
                .ok_or("the sandbox has no directory of its own")?
                .0
        }
        Root::Image(image) => &image.scratch,
    })?;
    match &view.root {
        Root::System => system(view)?,
        Root::Image(image) => super::image::build(view, image)?,
    }
    enter(matches!(view.root, Root::System))
}

/// Puts together the machine's system and the job's directories.
fn system(view: &View) -> Result<(), String> {
    tmpfs(Path::new("/new"), "mode=755")?;
    for path in SYSTEM {
        show(Path::new(path))?;
    }
    let owner = view.outer_id.unwrap_or(0);
    etc(view)?;
    devices(Path::new("/new/dev"), &view.devices)?;
    mount_processes(Path::new("/new/proc"))?;
    for path in ["/tmp", "/var/tmp", "/run/lock"] {
        tmpfs(&inside(Path::new(path)), "mode=1777")?;
    }
    tmpfs(
        &inside(Path::new(HOME)),
        &format!("mode=700,uid={owner},gid={owner}"),
    )?;
    // After the empty directories, and those above before those below, so that none is hidden by another.
    let read_only = view.read_only.iter().map(|it| (it, None));
    let writable = view.writable.iter().map(|(from, to)| (to, Some(from)));
    let mut shown: Vec<(&PathBuf, Option<&PathBuf>)> = read_only.chain(writable).collect();
    shown.sort_by_key(|(at, _)| inside(at).components().count());
    for (at, from) in shown {
        match from {
            None => show(at)?,
            Some(from) => give(from, at)?,
        }
    }
    Ok(())
}

/// Puts a directory of the machine into the view, to be written to.
fn give(from: &Path, to: &Path) -> Result<(), String> {
    let to = inside(to);
    make_dir(&to)?;
    bind(&outside(from), &to)?;
    remount(&to, MsFlags::MS_NOSUID | MsFlags::MS_NODEV)
}

/// Where a path of the machine is while the view is built.
pub(super) fn outside(path: &Path) -> PathBuf {
    rebase(Path::new("/old"), path)
}

/// Where a path of the view is while it is built.
fn inside(path: &Path) -> PathBuf {
    rebase(Path::new("/new"), path)
}

fn rebase(base: &Path, path: &Path) -> PathBuf {
    let normal = path
        .components()
        .filter(|it| matches!(it, Component::Normal(_)));
    base.join(normal.collect::<PathBuf>())
}

/// Moves to an empty root whose `/old` is the machine, so that building the view can hide nothing that it needs.
fn step_aside(base: &Path) -> Result<(), String> {
    tmpfs(base, "mode=755")?;
    make_dir(&base.join("old"))?;
    make_dir(&base.join("new"))?;
    std::env::set_current_dir(base).map_err(failed("enter", base))?;
    pivot_root(".", "old").map_err(failed("make a root of", base))?;
    std::env::set_current_dir("/").map_err(failed("enter", Path::new("/")))
}

/// Makes the view the root and lets go of the machine.
fn enter(read_only: bool) -> Result<(), String> {
    let new = Path::new("/new");
    std::env::set_current_dir(new).map_err(failed("enter", new))?;
    pivot_root(".", ".").map_err(failed("make a root of", new))?;
    umount2(".", MntFlags::MNT_DETACH)
        .map_err(failed("let go of", Path::new("the machine's root")))?;
    let root = Path::new("/");
    std::env::set_current_dir(root).map_err(failed("enter", root))?;
    if !read_only {
        return Ok(());
    }
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(NOTHING, root, NOTHING, flags, NOTHING).map_err(failed("make read-only", root))
}

/// Puts a path of the machine into the view, read-only. A symlink is put there as itself.
fn show(path: &Path) -> Result<(), String> {
    let (from, to) = (outside(path), inside(path));
    let Ok(kind) = fs::symlink_metadata(&from).map(|it| it.file_type()) else {
        return Ok(());
    };
    if kind.is_symlink() {
        return link(
            &fs::read_link(&from).map_err(failed("read the link", path))?,
            &to,
        );
    }
    if kind.is_dir() {
        make_dir(&to)?
    } else {
        make_file(&to, b"")?
    }
    bind(&from, &to)?;
    remount(
        &to,
        MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    )
}

/// Puts the configuration of the system into the view: all of it, when what is private is private by ownership.
fn etc(view: &View) -> Result<(), String> {
    let dir = Path::new("/etc");
    if view.outer_id.is_some() {
        show(dir)?;
    } else {
        for name in SELECTED_ETC {
            show(&dir.join(name))?;
        }
    }
    if let Some(text) = &view.hosts {
        replace(&dir.join("hosts"), text)?;
    }
    let mut resolver = dir.join("resolv.conf");
    if let Ok(target) = fs::read_link(outside(&resolver)) {
        // Resolvers keep the real file elsewhere, often under /run, which is not in the view.
        let target = if target.is_absolute() {
            target
        } else {
            normal(&dir.join(target))
        };
        if !inside(&target).exists() {
            show(&target)?;
        }
        resolver = target;
    }
    if let Some(text) = &view.resolver {
        replace(&resolver, text)?;
    }
    account("passwd", &format!("rave:x:1000:1000:job:{HOME}:/bin/sh\n"))?;
    account("group", "rave:x:1000:\n")
}

/// Adds the job's user to a file of accounts, in place of whoever has its number.
fn account(file: &str, line: &str) -> Result<(), String> {
    let path = Path::new("/etc").join(file);
    let known = fs::read_to_string(outside(&path)).unwrap_or_default();
    let others = known
        .lines()
        .filter(|it| it.split(':').nth(2) != Some("1000") && !it.starts_with("rave:"));
    let text: String = others.flat_map(|it| [it, "\n"]).chain([line]).collect();
    replace(&path, &text)
}

/// Puts a file of this text in place of one of the machine's.
fn replace(path: &Path, text: &str) -> Result<(), String> {
    let from = Path::new("/").join(path.file_name().unwrap_or_default());
    let to = inside(path);
    make_file(&from, text.as_bytes())?;
    if !to.exists() {
        make_file(&to, b"")?;
    }
    bind(&from, &to)?;
    remount(
        &to,
        MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    )
}

/// Makes the devices that every program expects.
pub(super) fn devices(dev: &Path, more: &[PathBuf]) -> Result<(), String> {
    tmpfs(dev, "mode=755")?;
    let known = DEVICES.into_iter().map(Path::new);
    let more = more.iter().filter_map(|it| it.strip_prefix("/dev").ok());
    for device in known.chain(more) {
        let from = outside(&Path::new("/dev").join(device));
        let to = rebase(dev, device);
        if from.exists() && !to.exists() {
            make_file(&to, b"")?;
            bind(&from, &to)?;
        }
    }
    let terminals = &dev.join("pts");
    make_dir(terminals)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("devpts"),
        terminals,
        Some("devpts"),
        flags,
        Some("newinstance,ptmxmode=0666,mode=620"),
    )
    .map_err(failed("mount the terminals at", terminals))?;
    tmpfs(&dev.join("shm"), "mode=1777")?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
    ];
    let more = [("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")];
    for (name, target) in links.into_iter().chain(more) {
        link(Path::new(target), &dev.join(name))?;
    }
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount(NOTHING, dev, NOTHING, flags, NOTHING).map_err(failed("make read-only", dev))
}

/// Mounts the list of the sandbox's processes.
pub(super) fn mount_processes(path: &Path) -> Result<(), String> {
    make_dir(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), path, Some("proc"), flags, NOTHING).map_err(failed(
        "mount the process list (a container that hides parts of its own forbids this) at",
        path,
    ))
}

fn tmpfs(path: &Path, options: &str) -> Result<(), String> {
    make_dir(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options))
        .map_err(failed("mount a tmpfs at", path))
}

pub(super) fn bind(from: &Path, to: &Path) -> Result<(), String> {
    mount(
        Some(from),
        to,
        NOTHING,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NOTHING,
    )
    .map_err(failed("show", from))
}

/// Adds flags to a bind mount and to every mount that came along below it.
pub(super) fn remount(path: &Path, flags: MsFlags) -> Result<(), String> {
    let table = Path::new("/old/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(failed("read", table))?;
    for (point, present) in mounts(&text).filter(|it| it.0.starts_with(path)) {
        // A flag that came from outside is locked: leaving it out would be refused.
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags | present;
        mount(NOTHING, &point, NOTHING, flags, NOTHING).map_err(failed("restrict", &point))?;
    }
    Ok(())
}

/// Reads mount points and their flags from the text of `mountinfo`.
fn mounts(text: &str) -> impl Iterator<Item = (PathBuf, MsFlags)> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let flags = options.split(',').map(|it| match it {
            "ro" => MsFlags::MS_RDONLY,
            "nosuid" => MsFlags::MS_NOSUID,
            "nodev" => MsFlags::MS_NODEV,
            "noexec" => MsFlags::MS_NOEXEC,
            "noatime" => MsFlags::MS_NOATIME,
            "nodiratime" => MsFlags::MS_NODIRATIME,
            "relatime" => MsFlags::MS_RELATIME,
            _ => MsFlags::empty(),
        });
        Some((PathBuf::from(unescape(point)), flags.collect()))
    })
}

/// Undoes the `\040` by which the kernel writes spaces in paths.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Resolves `..` by text.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        if part == Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}

pub(super) fn make_dir(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(failed("make", path))
}

fn make_file(path: &Path, text: &[u8]) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    let made = fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)));
    made.map_err(failed("make", path))
}

fn link(target: &Path, path: &Path) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    match std::os::unix::fs::symlink(target, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed("make", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read() {
        let text = "36 35 98:0 / /a\\040b rw,nosuid,relatime shared:1 - ext4 /dev/x rw\n1 2 0:1 / / ro - tmpfs t rw\n";
        let read: Vec<_> = mounts(text).collect();
        assert_eq!(
            read[0],
            (
                PathBuf::from("/a b"),
                MsFlags::MS_NOSUID | MsFlags::MS_RELATIME
            )
        );
        assert_eq!(read[1], (PathBuf::from("/"), MsFlags::MS_RDONLY));
    }

    #[test]
    fn paths_are_rebased_without_leaving() {
        assert_eq!(inside(Path::new("/../a/./b")), Path::new("/new/a/b"));
        assert_eq!(normal(Path::new("/etc/../run/x")), Path::new("/run/x"));
    }
}
