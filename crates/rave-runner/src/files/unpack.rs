//! Unpacks zip archives, which may come from a job that wishes harm.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use zip::{ExtraField, ZipReadOptions};
// Not frozen in the crate yet. Unlike its older reader it keeps no index, whose size the sender of an archive would choose.
use zip::unstable::read::ZipIterable;

use super::tree::{Relative, Tree};

/// The longest target of a link that is believed.
const LONGEST_LINK: u64 = 4096;

/// What to do with a link whose target is outside of the tree. It is never followed here either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutwardLinks {
    /// Leave it out: the archive is another job's.
    Skip,
    /// Make it: the archive is the project's own, and virtual environments link to the system's interpreters.
    Make,
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: usize,
    pub(crate) skipped_links: Vec<String>,
}

/// An archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the archive cannot be read as a zip")]
    Zip(#[source] zip::result::ZipError),
    #[error("the archive names the path {0:?}, which is outside of the directory")]
    Outside(String),
    #[error("cannot write {path}")]
    Write { path: String, source: io::Error },
}

/// An archive of artifacts cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ExtractError(#[from] UnpackError);

/// Unpacks the archive of a job's artifacts into a directory that exists. Nothing is written outside of it; links that
/// lead out of it are left out. Returns how many files there were.
///
/// # Errors
/// When the archive is none, or the directory cannot be written.
pub fn extract(archive: File, directory: &Path) -> Result<usize, ExtractError> {
    let tree = Tree::open(directory, None).map_err(|source| UnpackError::Write {
        path: directory.display().to_string(),
        source,
    })?;
    Ok(unpack(archive, &tree, OutwardLinks::Skip)?.entries)
}

/// Unpacks an archive into a tree. Nothing is written outside of it, and nothing through a link.
pub(crate) fn unpack(
    archive: File,
    tree: &Tree,
    links: OutwardLinks,
) -> Result<Unpacked, UnpackError> {
    let archive = io::BufReader::new(archive);
    let mut archive =
        ZipIterable::try_new(archive, Default::default()).map_err(UnpackError::Zip)?;
    let files = archive.files().map_err(UnpackError::Zip)?;
    let mut unpacked = Unpacked::default();
    while let Some(entry) = files.next() {
        let entry = entry.map_err(UnpackError::Zip)?;
        let file = entry.with_reader(files.reader_mut(), ZipReadOptions::new());
        let mut file = file.map_err(UnpackError::Zip)?;
        let name = file.name().map_err(UnpackError::Zip)?.into_owned();
        let path =
            Relative::new(Path::new(&name)).ok_or_else(|| UnpackError::Outside(name.clone()))?;
        let failed = |source| UnpackError::Write {
            path: name.clone(),
            source,
        };
        if file.is_dir() {
            tree.make_dir(&path).map_err(failed)?;
        } else if file.is_symlink() {
            let mut target = String::new();
            file.by_ref()
                .take(LONGEST_LINK)
                .read_to_string(&mut target)
                .map_err(failed)?;
            let target = PathBuf::from(target);
            if links == OutwardLinks::Skip && !path.link_stays_inside(&target) {
                unpacked.skipped_links.push(name);
                continue;
            }
            tree.write_link(&path, &target).map_err(failed)?;
        } else {
            let modified = modified(file.extra_data_fields());
            let mode = file.unix_mode().unwrap_or(0o644);
            let fill = |into: &mut File| {
                io::copy(&mut file, into)?;
                modified.map_or(Ok(()), |it| into.set_modified(it))
            };
            tree.write(&path, mode, fill).map_err(failed)?;
        }
        unpacked.entries += 1;
    }
    Ok(unpacked)
}

fn modified<'a>(mut fields: impl Iterator<Item = &'a ExtraField>) -> Option<SystemTime> {
    let secs = fields.find_map(|it| match it {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    })?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::from(secs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::collect::{Wanted, collect};
    use crate::files::pack::{Level, pack};
    use std::fs;
    use std::io::{Seek as _, Write as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    /// Writes a zip of entries; a name that ends in `@` is a link.
    fn archive(entries: &[(&str, &str)]) -> File {
        let mut writer = ZipWriter::new(tempfile::tempfile().expect("a file"));
        for (name, content) in entries {
            if let Some(name) = name.strip_suffix('@') {
                writer
                    .add_symlink(name, content, SimpleFileOptions::default())
                    .expect("added");
            } else {
                writer
                    .start_file(name, SimpleFileOptions::default())
                    .expect("started");
                writer.write_all(content.as_bytes()).expect("written");
            }
        }
        writer.finish().expect("finished")
    }

    fn check_refused(entries: &[(&str, &str)]) {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).expect("made");
        let tree = Tree::open(&inner, None).expect("opened");
        assert!(
            unpack(archive(entries), &tree, OutwardLinks::Make).is_err(),
            "{entries:?}"
        );
        let names: Vec<_> = fs::read_dir(dir.path())
            .expect("listed")
            .flatten()
            .map(|it| it.file_name())
            .collect();
        assert_eq!(names, ["inner"], "{entries:?}");
    }

    #[test]
    fn escapes_are_refused() {
        check_refused(&[("../evil", "x")]);
        check_refused(&[("a/../../evil", "x")]);
        check_refused(&[("/tmp/evil-of-a-test", "x")]);
        check_refused(&[("out@", ".."), ("out/evil", "x")]);
        check_refused(&[("d@", "../"), ("d/e/evil", "x")]);
    }

    #[test]
    fn links_that_lead_out_are_skipped_where_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree::open(dir.path(), None).expect("opened");
        let entries = [
            ("a", "x"),
            ("in@", "a"),
            ("abs@", "/etc/passwd"),
            ("up@", "../x"),
        ];
        let unpacked = unpack(archive(&entries), &tree, OutwardLinks::Skip).expect("unpacked");
        assert_eq!(
            (unpacked.entries, unpacked.skipped_links),
            (2, vec!["abs".to_owned(), "up".to_owned()])
        );
        assert_eq!(
            fs::read_to_string(dir.path().join("in")).expect("read"),
            "x"
        );
        let unpacked = unpack(archive(&entries), &tree, OutwardLinks::Make).expect("unpacked");
        assert_eq!(unpacked.entries, 4);
        // A second time over the links: they are replaced, not written through.
        unpack(archive(&[("abs", "mine")]), &tree, OutwardLinks::Make).expect("unpacked");
        assert_eq!(
            fs::read_to_string(dir.path().join("abs")).expect("read"),
            "mine"
        );
    }

    #[test]
    fn what_is_packed_comes_back() {
        let (from, to) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        fs::create_dir_all(from.path().join("d/empty")).expect("made");
        fs::write(from.path().join("d/run"), "#!/bin/sh\n").expect("written");
        fs::set_permissions(from.path().join("d/run"), fs::Permissions::from_mode(0o755))
            .expect("set");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001);
        File::options()
            .write(true)
            .open(from.path().join("d/run"))
            .expect("open")
            .set_modified(time)
            .expect("set");
        symlink("run", from.path().join("d/link")).expect("linked");
        let tree = Tree::open(from.path(), None).expect("opened");
        let wanted = Wanted {
            paths: vec!["d".to_owned()],
            ..Wanted::default()
        };
        let collected = collect(&tree, &wanted, "/p").expect("collected");
        let mut file = tempfile::tempfile().expect("a file");
        assert_eq!(
            pack(
                &tree,
                collected.paths.iter(),
                "zip",
                Level::default(),
                &mut file
            )
            .expect("packed"),
            4
        );
        file.rewind().expect("rewound");
        let tree = Tree::open(to.path(), None).expect("opened");
        assert_eq!(
            unpack(file, &tree, OutwardLinks::Skip)
                .expect("unpacked")
                .entries,
            4
        );
        let meta = fs::metadata(to.path().join("d/run")).expect("there");
        assert_eq!(
            (
                meta.permissions().mode() & 0o777,
                meta.modified().expect("a time")
            ),
            (0o755, time)
        );
        assert_eq!(
            fs::read_link(to.path().join("d/link")).expect("a link"),
            Path::new("run")
        );
        assert!(to.path().join("d/empty").is_dir());
    }
}
