//! Unpacks one layer into a directory, as overlayfs wants it: what the layer deletes becomes the kernel's whiteouts.
//!
//! Every path is resolved by the kernel as if the directory were the root, so that neither `..` nor a link of the layer
//! leads out of it. Devices and extended attributes are left out; owners are those that the sandbox maps.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

use super::tar::{Archive, Entry, Kind};

/// The most entries of a layer. Each costs an inode.
const MOST_ENTRIES: u64 = 5_000_000;
const OPAQUE: &str = ".wh..wh..opq";

/// Whose the files of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Those of the image, counted from this id. Needs root.
    From(u32),
    /// All of them the runner's own user, who is all that can be mapped.
    OneUser,
}

/// How many ids an image has. What it gives to others belongs to the last one.
pub(crate) const IDS: u32 = 65_536;

impl Owners {
    fn of(self, id: u64) -> Option<u32> {
        let Self::From(base) = self else { return None };
        let id = u32::try_from(id)
            .ok()
            .filter(|it| *it < IDS)
            .unwrap_or(IDS - 2);
        Some(base + id)
    }

    const fn opaque_attribute(self) -> &'static str {
        match self {
            Self::From(_) => "trusted.overlay.opaque",
            Self::OneUser => "user.overlay.opaque",
        }
    }
}

/// A layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("the archive cannot be read")]
    Archive(#[source] io::Error),
    #[error("the archive names the path {0:?}, which no image can have")]
    Path(PathBuf),
    #[error("it is larger than {limit_bytes} bytes, or has more than {MOST_ENTRIES} entries")]
    TooLarge { limit_bytes: u64 },
    #[error("cannot make {path:?}")]
    Make { path: PathBuf, source: io::Error },
}

/// Unpacks an archive into an empty directory. Returns what is left of `from`, and how much the files take.
pub(crate) fn unpack<R: Read>(
    from: R,
    dir: &Path,
    owners: Owners,
    limit_bytes: u64,
) -> Result<(R, u64), LayerError> {
    let failed = |source: Errno| LayerError::Make {
        path: dir.to_owned(),
        source: source.into(),
    };
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let root = open(dir, flags, Mode::empty()).map_err(failed)?;
    let target = Target { root, owners };
    target
        .own(&target.root, OsStr::new("."), 0, 0)
        .map_err(failed)?;
    let mut archive = Archive::new(from);
    let (mut bytes, mut count) = (0_u64, 0_u64);
    while let Some(entry) = archive.next().map_err(LayerError::Archive)? {
        let path = clean(&entry.path).ok_or_else(|| LayerError::Path(entry.path.clone()))?;
        // Small files take a block, and everything takes an inode.
        bytes = bytes.saturating_add(entry.size.max(512));
        count += 1;
        if bytes > limit_bytes || count > MOST_ENTRIES {
            return Err(LayerError::TooLarge { limit_bytes });
        }
        let Some(name) = path.file_name() else {
            target.change(&entry).map_err(failed)?;
            continue;
        };
        let made = target.make(&path, name, &entry, &mut archive);
        made.map_err(|source| LayerError::Make { path, source })?;
    }
    archive
        .finish()
        .map(|it| (it, bytes))
        .map_err(LayerError::Archive)
}

/// Makes a path of an archive relative. `None` for one that climbs.
fn clean(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let valid = clean.as_os_str().len() < 4096 && !clean.as_os_str().as_bytes().contains(&0);
    valid.then_some(clean)
}

struct Target {
    root: OwnedFd,
    owners: Owners,
}

impl Target {
    fn make<R: Read>(
        &self,
        path: &Path,
        name: &OsStr,
        entry: &Entry,
        content: &mut Archive<R>,
    ) -> io::Result<()> {
        let parent = self.directory(path.parent())?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return self.hide(&parent, name, OsStr::from_bytes(hidden));
        }
        // A layer may say that something below is gone and that it is there anew.
        let was_hidden = is_whiteout(&parent, name);
        if entry.kind != Kind::Directory || was_hidden || !is_directory(&parent, name) {
            remove(&parent, name)?;
        }
        match &entry.kind {
            Kind::Device => return Ok(()),
            Kind::File => {
                let flags = OFlag::O_WRONLY
                    | OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC;
                let file =
                    nix::fcntl::openat(&parent, name, flags, Mode::from_bits_truncate(0o600))?;
                let mut file = File::from(file);
                io::copy(&mut content.content(), &mut file)?;
                file.flush()?;
            }
            Kind::Directory => match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) if was_hidden => self.make_opaque(&self.directory(Some(path))?)?,
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            },
            Kind::Symlink(to) => symlinkat(to.as_path(), &parent, name)?,
            Kind::HardLink(to) => {
                let to = clean(to).ok_or(io::ErrorKind::InvalidInput)?;
                let (dir, last) = (
                    self.directory(to.parent())?,
                    to.file_name().ok_or(io::ErrorKind::InvalidInput)?,
                );
                linkat(&dir, last, &parent, name, LinkatFlags::empty())?;
                return Ok(());
            }
            Kind::Fifo => mknodat(
                &parent,
                name,
                SFlag::S_IFIFO,
                Mode::from_bits_truncate(0o600),
                0,
            )?,
        }
        self.describe(&parent, name, entry)
    }

    /// Sets what an entry for the root says.
    fn change(&self, entry: &Entry) -> nix::Result<()> {
        match entry.kind {
            Kind::Directory => self
                .describe(&self.root, OsStr::new("."), entry)
                .map_err(|it| Errno::from_raw(it.raw_os_error().unwrap_or_default())),
            _ => Ok(()),
        }
    }

    fn describe(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> io::Result<()> {
        self.own(parent, name, entry.uid, entry.gid)?;
        if !matches!(entry.kind, Kind::Symlink(_)) {
            // After the owner, whose change takes away what lets a program change users.
            fchmodat(
                parent,
                name,
                Mode::from_bits_truncate(entry.mode),
                FchmodatFlags::FollowSymlink,
            )?;
        }
        let time = TimeSpec::new(entry.modified_secs.clamp(0, u32::MAX.into()), 0);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        Ok(())
    }

    fn own(&self, parent: &OwnedFd, name: &OsStr, uid: u64, gid: u64) -> nix::Result<()> {
        let (Some(uid), Some(gid)) = (self.owners.of(uid), self.owners.of(gid)) else {
            return Ok(());
        };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fchownat(
            parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
    }

    /// Opens a directory of the layer, and makes it when it is not there: the layers below have it.
    fn directory(&self, path: Option<&Path>) -> io::Result<OwnedFd> {
        let path = path
            .filter(|it| !it.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let how = OpenHow::new().flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC);
        let how = how.resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&self.root, path, how) {
            Err(Errno::ENOENT) => {
                let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
                let above = self.directory(path.parent())?;
                mkdirat(&above, name, Mode::from_bits_truncate(0o755))?;
                self.own(&above, name, 0, 0)?;
                Ok(openat2(&self.root, path, how)?)
            }
            Err(Errno::ENOTDIR) if is_whiteout_at(&self.root, path) => {
                let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
                let above = self.directory(path.parent())?;
                remove(&above, name)?;
                mkdirat(&above, name, Mode::from_bits_truncate(0o755))?;
                self.own(&above, name, 0, 0)?;
                let made = openat2(&self.root, path, how)?;
                self.make_opaque(&made)?;
                Ok(made)
            }
            opened => Ok(opened?),
        }
    }

    /// Notes that a name of the layers below is gone.
    fn hide(&self, parent: &OwnedFd, marker: &OsStr, hidden: &OsStr) -> io::Result<()> {
        if marker == OPAQUE {
            return self.make_opaque(parent);
        }
        if hidden.is_empty()
            || hidden == "."
            || hidden == ".."
            || hidden.as_bytes().starts_with(b".wh.")
        {
            // What other file systems kept their books in.
            return Ok(());
        }
        match mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), 0) {
            // The layer has that name itself; only what is below a directory of that name is gone.
            Err(Errno::EEXIST) if is_directory(parent, hidden) => {
                let flags =
                    OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
                self.make_opaque(&nix::fcntl::openat(parent, hidden, flags, Mode::empty())?)
            }
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn make_opaque(&self, dir: &OwnedFd) -> io::Result<()> {
        let name = std::ffi::CString::new(self.owners.opaque_attribute())?;
        #[expect(unsafe_code, reason = "no crate here wraps this call")]
        // SAFETY: the name ends in zero, the value has the length given, and both outlive the call.
        let done = unsafe {
            nix::libc::fsetxattr(dir.as_raw_fd(), name.as_ptr(), b"y".as_ptr().cast(), 1, 0)
        };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn is_directory(parent: &OwnedFd, name: &OsStr) -> bool {
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|it| it.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
}

fn is_whiteout(parent: &OwnedFd, name: &OsStr) -> bool {
    let whiteout = |it: nix::sys::stat::FileStat| {
        it.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() && it.st_rdev == 0
    };
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(whiteout)
}

fn is_whiteout_at(root: &OwnedFd, path: &Path) -> bool {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC);
    let how = how.resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how).is_ok_and(|it| {
        nix::sys::stat::fstat(&it)
            .is_ok_and(|it| it.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits())
    })
}

/// Removes a file, link or whole directory of the layer.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    // The descriptor pins the directory, and nobody else writes here.
    let path: OsString = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into();
    std::fs::remove_dir_all(Path::new(&path).join(name))
}

#[cfg(test)]
mod tests {
    use super::super::tar::tests::entry;
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

    const FILE: u8 = b'0';
    const LINK: u8 = b'2';
    const HARD: u8 = b'1';
    const DIR: u8 = b'5';

    fn owners() -> Owners {
        if nix::unistd::geteuid().is_root() {
            Owners::From(300_000)
        } else {
            Owners::OneUser
        }
    }

    fn unpacked(entries: &[Vec<u8>]) -> (tempfile::TempDir, Result<u64, LayerError>) {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("made");
        let bytes = entries.concat();
        let done = unpack(&bytes[..], &root, owners(), 1 << 20).map(|it| it.1);
        (dir, done)
    }

    fn is_opaque(path: &Path) -> bool {
        let (path, name) = (
            std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no zero"),
            std::ffi::CString::new(owners().opaque_attribute()).expect("no zero"),
        );
        let mut value = [0_u8; 4];
        #[expect(unsafe_code, reason = "no crate here wraps this call")]
        // SAFETY: both strings end in zero, and the buffer has the length given.
        let len = unsafe {
            nix::libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), 4)
        };
        len == 1 && value[0] == b'y'
    }

    #[test]
    fn files_links_and_owners_are_made() {
        let (dir, done) = unpacked(&[
            entry("./bin/", DIR, "", b""),
            entry("/bin/tool", FILE, "", b"content"),
            entry("bin/same", HARD, "bin/tool", b""),
            entry("sbin", LINK, "bin", b""),
            entry("sbin/through", FILE, "", b"in bin"),
            entry("absolute", LINK, "/bin", b""),
            entry("absolute/too", FILE, "", b"in bin"),
            entry("dev/sda", b'4', "", b""),
            entry("bin/tool", FILE, "", b"replaced"),
        ]);
        done.expect("unpacked");
        let root = dir.path().join("root");
        assert_eq!(
            fs::read_to_string(root.join("bin/tool")).expect("there"),
            "replaced"
        );
        assert_eq!(
            fs::read_to_string(root.join("bin/same")).expect("there"),
            "content"
        );
        assert!(root.join("bin/through").exists() && root.join("bin/too").exists());
        assert!(!root.join("dev/sda").exists());
        if let Owners::From(base) = owners() {
            let meta = fs::symlink_metadata(root.join("sbin")).expect("there");
            assert_eq!((meta.uid(), meta.gid()), (base, base));
            assert_eq!(Owners::From(base).of(1000), Some(base + 1000));
            assert_eq!(Owners::From(base).of(70_000), Some(base + IDS - 2));
        }
    }

    #[test]
    fn what_a_layer_deletes_becomes_a_whiteout() {
        let (dir, done) = unpacked(&[
            entry("etc/.wh.gone", FILE, "", b""),
            entry("opt/.wh..wh..opq", FILE, "", b""),
            entry("var/.wh.anew", FILE, "", b""),
            entry("var/anew/", DIR, "", b""),
            entry("srv/.wh.implied", FILE, "", b""),
            entry("srv/implied/file", FILE, "", b"x"),
            entry("lib/here/", DIR, "", b""),
            entry("lib/.wh.here", FILE, "", b""),
            entry("usr/.wh..wh.plnk", FILE, "", b""),
        ]);
        done.expect("unpacked");
        let root = dir.path().join("root");
        let gone = fs::symlink_metadata(root.join("etc/gone")).expect("a whiteout");
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        for opaque in ["opt", "var/anew", "srv/implied", "lib/here"] {
            assert!(is_opaque(&root.join(opaque)), "{opaque}");
        }
        assert!(!is_opaque(&root.join("etc")) && !is_opaque(&root.join("usr")));
    }

    fn check_harmless(entries: &[Vec<u8>]) {
        let (dir, _) = unpacked(entries);
        let names: Vec<_> = fs::read_dir(dir.path())
            .expect("listed")
            .flatten()
            .map(|it| it.file_name())
            .collect();
        assert_eq!(names, ["root"]);
        assert!(!Path::new("/tmp/rave-evil").exists());
    }

    #[test]
    fn nothing_leaves_the_directory() {
        check_harmless(&[entry("../evil", FILE, "", b"x")]);
        check_harmless(&[entry("a/../../evil", FILE, "", b"x")]);
        check_harmless(&[
            entry("out", LINK, "..", b""),
            entry("out/evil", FILE, "", b"x"),
        ]);
        check_harmless(&[
            entry("out", LINK, "/tmp", b""),
            entry("out/rave-evil", FILE, "", b"x"),
        ]);
        check_harmless(&[entry("x", HARD, "../../etc/passwd", b"")]);
        check_harmless(&[
            entry(".wh...", FILE, "", b""),
            entry(".wh..", FILE, "", b""),
        ]);
    }

    #[test]
    fn a_file_does_not_write_through_a_link_of_its_name() {
        let outside = tempfile::tempdir().expect("a directory");
        let secret = outside.path().join("s");
        fs::write(&secret, "safe").expect("written");
        let (dir, done) = unpacked(&[
            entry("f", LINK, secret.to_str().expect("UTF-8"), b""),
            entry("f", FILE, "", b"evil"),
        ]);
        done.expect("unpacked");
        assert_eq!(fs::read_to_string(&secret).expect("there"), "safe");
        assert_eq!(
            fs::read_to_string(dir.path().join("root/f")).expect("a file"),
            "evil"
        );
    }

    #[test]
    fn a_layer_has_a_size() {
        let (_dir, done) = unpacked(&[
            entry("f", FILE, "", &vec![1; 1 << 19]),
            entry("g", FILE, "", &vec![1; 1 << 20]),
        ]);
        assert!(matches!(done, Err(LayerError::TooLarge { .. })));
        let (_dir, done) = unpacked(&[entry("f", FILE, "", &vec![1; 600])[..700].to_vec()]);
        assert!(matches!(
            done,
            Err(LayerError::Make { .. } | LayerError::Archive(_))
        ));
    }
}
