//! A directory below which files are opened, made and listed without ever leaving it.
//!
//! Every path is resolved by the kernel with symbolic links refused in all its parts, so that no job can win a race
//! by swapping a directory for a link.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};

/// A directory and who is to own what is made in it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    owner: Option<u32>,
}

/// What an entry is, without following it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    /// A socket, pipe or device.
    Other,
}

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) size_bytes: u64,
    pub(crate) modified_secs: i64,
}

/// A path below a tree.
///
/// Invariant: relative, not empty, without `..` or `.` or an empty part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Relative(PathBuf);

impl Relative {
    /// Checks a path. `./` and doubled slashes are forgiven; an absolute path or `..` is not.
    pub(crate) fn new(path: &Path) -> Option<Self> {
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(part) => clean.push(part),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        let valid =
            !clean.as_os_str().is_empty() && !clean.as_os_str().as_encoded_bytes().contains(&0);
        valid.then_some(Self(clean))
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    fn parent(&self) -> Option<Self> {
        self.0
            .parent()
            .filter(|it| !it.as_os_str().is_empty())
            .map(|it| Self(it.to_owned()))
    }

    fn name(&self) -> &Path {
        self.0.file_name().map_or(Path::new(""), Path::new)
    }

    /// Says whether a link here, with this target, stays below the root.
    pub(crate) fn link_stays_inside(&self, target: &Path) -> bool {
        let mut depth = self.0.components().count().saturating_sub(1);
        for part in target.components() {
            match part {
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::ParentDir => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return false,
                },
                Component::RootDir | Component::Prefix(_) => return false,
            }
        }
        true
    }
}

impl Tree {
    /// Opens a directory, whose own path the caller vouches for. What is made in it belongs to `owner`.
    pub(crate) fn open(path: &Path, owner: Option<u32>) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        Ok(Self {
            root: open(path, flags, Mode::empty())?,
            owner,
        })
    }

    fn open_at(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW);
        openat2(
            &self.root,
            path,
            how.resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS),
        )
    }

    /// Opens a regular file to read. A pipe planted in its place is refused, and does not block.
    pub(crate) fn read(&self, path: &Relative) -> io::Result<File> {
        let file = File::from(self.open_at(path.as_path(), OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }

    /// Describes an entry without following it. `None` when there is none, or a link is in the way.
    pub(crate) fn entry(&self, path: &Relative) -> io::Result<Option<Entry>> {
        let opened = match self.open_at(path.as_path(), OFlag::O_PATH) {
            // The last part of the path is a link: its directory is not, or this fails again.
            Err(Errno::ELOOP) => return self.link_entry(path),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            opened => File::from(opened?),
        };
        let meta = opened.metadata()?;
        let kind = match meta.file_type() {
            it if it.is_file() => Kind::File,
            it if it.is_dir() => Kind::Directory,
            it if it.is_symlink() => Kind::Symlink,
            _ => Kind::Other,
        };
        let (mode, size_bytes) = (meta.permissions().mode() & 0o7777, meta.len());
        Ok(Some(Entry {
            kind,
            mode,
            size_bytes,
            modified_secs: meta.mtime(),
        }))
    }

    fn link_entry(&self, path: &Relative) -> io::Result<Option<Entry>> {
        let found = self.link(path)?;
        Ok(found.map(|_| Entry {
            kind: Kind::Symlink,
            mode: 0o777,
            size_bytes: 0,
            modified_secs: 0,
        }))
    }

    /// Reads a link. `None` when the entry is none or a link is in the way to it.
    pub(crate) fn link(&self, path: &Relative) -> io::Result<Option<OsString>> {
        let dir = match self.dir(path.parent().as_ref()) {
            Err(Errno::ELOOP | Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            dir => dir?,
        };
        match readlinkat(&dir, path.name()) {
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(None),
            target => Ok(Some(target?)),
        }
    }

    fn dir(&self, path: Option<&Relative>) -> nix::Result<OwnedFd> {
        let path = path.map_or(Path::new("."), Relative::as_path);
        self.open_at(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY)
    }

    /// Lists the names in a directory, sorted. `None` is the tree itself.
    pub(crate) fn names(&self, path: Option<&Relative>) -> io::Result<Vec<OsString>> {
        let dir = self.dir(path)?;
        // The descriptor pins the directory, whatever happens to its name meanwhile.
        let entries = fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
        let mut names = entries
            .map(|it| it.map(|it| it.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a directory and those above it, as far as they are missing.
    pub(crate) fn make_dir(&self, path: &Relative) -> io::Result<()> {
        self.make_dirs(Some(path)).map(drop)
    }

    fn make_dirs(&self, path: Option<&Relative>) -> io::Result<OwnedFd> {
        match (self.dir(path), path) {
            (Ok(dir), _) => Ok(dir),
            (Err(Errno::ENOENT), Some(missing)) => {
                let above = self.make_dirs(missing.parent().as_ref())?;
                match mkdirat(&above, missing.name(), Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let made = self.dir(Some(missing))?;
                self.give(&made)?;
                Ok(made)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Makes a new file in place of whatever had its name, and lets `fill` write it.
    pub(crate) fn write(
        &self,
        path: &Relative,
        mode: u32,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let dir = self.make_dirs(path.parent().as_ref())?;
        remove(&dir, path.name())?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = nix::fcntl::openat(&dir, path.name(), flags, Mode::from_bits_truncate(0o600))?;
        let mut file = File::from(file);
        fill(&mut file)?;
        self.give(&file)?;
        fchmod(&file, Mode::from_bits_truncate(mode & 0o777))?;
        Ok(())
    }

    /// Makes a symbolic link in place of whatever had its name.
    pub(crate) fn write_link(&self, path: &Relative, target: &Path) -> io::Result<()> {
        let dir = self.make_dirs(path.parent().as_ref())?;
        remove(&dir, path.name())?;
        symlinkat(target, &dir, path.name())?;
        if let Some(id) = self.owner {
            let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
            fchownat(
                &dir,
                path.name(),
                Some(uid),
                Some(gid),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    fn give(&self, made: &impl std::os::fd::AsFd) -> io::Result<()> {
        match self.owner {
            Some(id) => Ok(fchown(
                made,
                Some(Uid::from_raw(id)),
                Some(Gid::from_raw(id)),
            )?),
            None => Ok(()),
        }
    }
}

/// Removes a file or link. A directory in the way stays, and making the file then says so.
fn remove(dir: &OwnedFd, name: &Path) -> io::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> Relative {
        Relative::new(Path::new(text)).expect("relative")
    }

    #[test]
    fn paths_that_leave_are_refused() {
        for text in ["/etc/passwd", "../x", "a/../../x", "a/..", "", ".", "a\0b"] {
            assert_eq!(Relative::new(Path::new(text)), None, "{text:?}");
        }
        assert_eq!(path("./a//b/").as_path(), Path::new("a/b"));
        assert!(path("a/b").link_stays_inside(Path::new("../c")));
        assert!(!path("a/b").link_stays_inside(Path::new("../../c")));
        assert!(!path("a").link_stays_inside(Path::new("/etc")));
    }

    #[test]
    fn links_are_not_followed() {
        let (dir, secret) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        fs::write(secret.path().join("key"), "secret").expect("written");
        symlink(secret.path(), dir.path().join("out")).expect("linked");
        symlink(secret.path().join("key"), dir.path().join("key")).expect("linked");
        let tree = Tree::open(dir.path(), None).expect("opened");
        assert!(tree.read(&path("key")).is_err());
        assert!(tree.read(&path("out/key")).is_err());
        assert!(tree.names(Some(&path("out"))).is_err());
        assert!(tree.entry(&path("out/key")).expect("checked").is_none());
        assert_eq!(
            tree.entry(&path("out")).expect("checked").map(|it| it.kind),
            Some(Kind::Symlink)
        );
        assert!(tree.write(&path("out/new"), 0o644, |_| Ok(())).is_err());
        assert!(tree.make_dir(&path("out/dir")).is_err());
        tree.write(&path("key"), 0o644, |file| file.write_all(b"mine"))
            .expect("replaced");
        assert_eq!(
            fs::read_to_string(secret.path().join("key")).expect("read"),
            "secret"
        );
        let mut text = String::new();
        tree.read(&path("key"))
            .expect("now a file")
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "mine");
    }

    #[test]
    fn a_pipe_does_not_block() {
        let dir = tempfile::tempdir().expect("a directory");
        nix::unistd::mkfifo(&dir.path().join("pipe"), Mode::from_bits_truncate(0o600))
            .expect("a pipe");
        let tree = Tree::open(dir.path(), None).expect("opened");
        assert!(tree.read(&path("pipe")).is_err());
        assert_eq!(
            tree.entry(&path("pipe"))
                .expect("checked")
                .map(|it| it.kind),
            Some(Kind::Other)
        );
    }
}
