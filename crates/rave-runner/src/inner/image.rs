//! Builds what a job with an image sees: the image's layers under one of the job's own, and its directories in it.
//!
//! An image is somebody else's: any of its paths may be a link, also `/etc` or `/proc`. So everything that is put into it
//! is made elsewhere first, and every path in it is resolved by the kernel as if the image were the root.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::order::{ImageRoot, View};
use super::view::{bind, devices, failed, make_dir, mount_processes, outside, remount};

/// Where the parts are made.
const PARTS: &str = "/parts";

/// Builds the view at `/new`.
pub(super) fn build(view: &View, image: &ImageRoot) -> Result<(), String> {
    let parts = Path::new(PARTS);
    make_dir(parts)?;
    mount_processes(&parts.join("proc"))?;
    devices(&parts.join("dev"), &view.devices)?;
    stack(view, image)?;
    let new = Inside::open(view.outer_id)?;
    for (name, kind) in [("proc", Kind::Directory), ("dev", Kind::Directory)] {
        new.attach(&parts.join(name), &Path::new("/").join(name), kind)?;
    }
    let owner = view.outer_id.unwrap_or(0);
    for (name, text) in [
        ("hosts", &of_machine(view.hosts.as_ref(), "hosts")),
        ("hostname", &"localhost\n".to_owned()),
        (
            "resolv.conf",
            &of_machine(view.resolver.as_ref(), "resolv.conf"),
        ),
    ] {
        let part = parts.join(name);
        fs::write(&part, text).map_err(failed("write", &part))?;
        fs::set_permissions(&part, fs::Permissions::from_mode(0o644))
            .map_err(failed("make readable", &part))?;
        chown(&part, Some(owner), Some(owner)).map_err(failed("give away", &part))?;
        new.attach(&part, &Path::new("/etc").join(name), Kind::File)?;
    }
    new.world_writable(Path::new("/tmp"))?;
    let read_only = view.read_only.iter().map(|it| (it, it, MsFlags::MS_RDONLY));
    let writable = view
        .writable
        .iter()
        .map(|(from, to)| (from, to, MsFlags::empty()));
    let mut shown: Vec<_> = read_only.chain(writable).collect();
    // Those above before those below, so that none is hidden by another.
    shown.sort_by_key(|it| it.1.components().count());
    for (from, to, flags) in shown {
        let from = outside(from);
        let Ok(meta) = fs::metadata(&from) else {
            continue;
        };
        let kind = if meta.is_dir() {
            Kind::Directory
        } else {
            Kind::File
        };
        let at = new.attach(&from, to, kind)?;
        remount(&at, flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
    }
    Ok(())
}

/// Mounts the layers, under one that takes what the job changes.
fn stack(view: &View, image: &ImageRoot) -> Result<(), String> {
    let scratch = outside(&image.scratch);
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for dir in [&upper, &work] {
        make_dir(dir)?;
        chown(dir, view.outer_id, view.outer_id).map_err(failed("give away", dir))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .map_err(failed("make readable", dir))?;
    }
    // Short names for what the kernel takes in one page of text, in which commas and colons would mean something.
    let link = |name: &str, to: &Path| {
        let path = Path::new("/l").join(name);
        symlink(to, &path).map_err(failed("link", &path))
    };
    make_dir(Path::new("/l"))?;
    link("u", &upper)?;
    link("w", &work)?;
    let mut lower = Vec::new();
    for (number, layer) in image.layers.iter().rev().enumerate() {
        link(&number.to_string(), &outside(layer))?;
        lower.push(format!("/l/{number}"));
    }
    let user = if view.outer_id.is_none() {
        ",userxattr"
    } else {
        ""
    };
    let options = format!(
        "lowerdir={},upperdir=/l/u,workdir=/l/w{user}",
        lower.join(":")
    );
    let new = Path::new("/new");
    make_dir(new)?;
    mount(Some("overlay"), new, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str())).map_err(|error| {
        let hint = match error {
            Errno::EINVAL => "; the directory of the images must be on a file system that overlayfs can use, and not itself be an overlay",
            Errno::EPERM => "; without root this needs Linux 5.11 or newer",
            _ => "",
        };
        format!("cannot mount the image's layers: {error}{hint}")
    })
}

/// Returns a text, or that of the machine's file.
fn of_machine(text: Option<&String>, file: &str) -> String {
    let machine = || fs::read_to_string(outside(&Path::new("/etc").join(file))).unwrap_or_default();
    text.cloned().unwrap_or_else(machine)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

/// The image while it is not the root yet.
struct Inside {
    root: OwnedFd,
    owner: Option<u32>,
}

impl Inside {
    fn open(owner: Option<u32>) -> Result<Self, String> {
        let new = Path::new("/new");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(new, flags, Mode::empty()).map_err(failed("open", new))?;
        Ok(Self { root, owner })
    }

    fn find(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC);
        let how = how.resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    /// Puts something at a path of the image, which is made when it is not there. Returns by what it is reached.
    fn attach(&self, from: &Path, to: &Path, kind: Kind) -> Result<PathBuf, String> {
        let made = match kind {
            Kind::Directory => self.directory(to),
            Kind::File => self.file(to),
        };
        let made = made.map_err(failed("make in the image", to))?;
        bind(from, &reached(&made))?;
        // What is mounted is reached anew: the descriptor stays with what is below.
        let flags = OFlag::O_PATH
            | if kind == Kind::Directory {
                OFlag::O_DIRECTORY
            } else {
                OFlag::empty()
            };
        let mounted = self
            .find(to, flags)
            .map_err(failed("open in the image", to))?;
        fs::read_link(reached(&mounted)).map_err(failed("find in the image", to))
    }

    fn directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.find(path, flags) {
            Err(Errno::ENOENT) => {
                let (above, name) = self.above(path)?;
                mkdirat(&above, name, Mode::from_bits_truncate(0o755))?;
                let made = openat(
                    &above,
                    name,
                    OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                    Mode::empty(),
                )?;
                self.give(&made)?;
                self.find(path, flags)
            }
            found => found,
        }
    }

    fn file(&self, path: &Path) -> nix::Result<OwnedFd> {
        match self.find(path, OFlag::O_PATH) {
            Err(Errno::ENOENT) => {
                let (above, name) = self.above(path)?;
                // A link that leads nowhere.
                let _ = unlinkat(&above, name, UnlinkatFlags::NoRemoveDir);
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                let made = openat(&above, name, flags, Mode::from_bits_truncate(0o644))?;
                self.give(&made)?;
                self.find(path, OFlag::O_PATH)
            }
            found => found,
        }
    }

    fn above<'a>(&self, path: &'a Path) -> nix::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        Ok((
            self.directory(path.parent().unwrap_or(Path::new("/")))?,
            name,
        ))
    }

    fn give(&self, made: &OwnedFd) -> nix::Result<()> {
        let Some(id) = self.owner else { return Ok(()) };
        fchown(made, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
    }

    /// Makes a directory for everybody, unless the image has it.
    fn world_writable(&self, path: &Path) -> Result<(), String> {
        if self.find(path, OFlag::O_PATH).is_ok() {
            return Ok(());
        }
        let make = || {
            drop(self.directory(path)?);
            fchmod(
                self.find(path, OFlag::O_DIRECTORY)?,
                Mode::from_bits_truncate(0o1777),
            )
        };
        make().map_err(failed("make in the image", path))
    }
}

/// Returns a path by which the kernel finds what is open, without following anything.
fn reached(open: &OwnedFd) -> PathBuf {
    Path::new(PARTS).join(format!("proc/self/fd/{}", open.as_raw_fd()))
}
