//! Writes archives: zip for artifacts and caches, gzip and raw for reports.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use flate2::{Compression, GzBuilder};
use zip::write::FullFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::tree::{Entry, Kind, Relative, Tree};

/// The zip extra field that carries times in whole UTC seconds; zip's own are local and even.
const TIMES: u16 = 0x5455;

/// An archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("cannot read {path}")]
    Read { path: String, source: io::Error },
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    #[error("cannot add {path} to the archive")]
    Zip {
        path: String,
        source: zip::result::ZipError,
    },
    #[error("the format raw holds one file, and {0} were found")]
    NotOne(usize),
    #[error("the format {0:?} is not supported")]
    Format(String),
}

/// How hard an archive is compressed, from 0 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(u32);

impl Default for Level {
    fn default() -> Self {
        Self(4)
    }
}

impl Level {
    /// Reads `ARTIFACT_COMPRESSION_LEVEL` or `CACHE_COMPRESSION_LEVEL`.
    pub(crate) fn named(name: &str) -> Self {
        match name.trim() {
            "fastest" => Self(1),
            "fast" => Self(2),
            "slow" => Self(7),
            "slowest" => Self(9),
            _ => Self::default(),
        }
    }
}

/// Writes the files at `paths` in the given format. Returns how many entries there are.
///
/// A file that goes away while this runs is left out: jobs leave processes behind that clean up.
pub(crate) fn pack<'a>(
    tree: &Tree,
    paths: impl Iterator<Item = &'a Relative>,
    format: &str,
    level: Level,
    into: &mut File,
) -> Result<usize, PackError> {
    match format {
        "zip" | "" => zip(tree, paths, level, into),
        "gzip" => gzip(tree, paths, level, into),
        "raw" => raw(tree, paths, into),
        other => Err(PackError::Format(other.to_owned())),
    }
}

fn shown(path: &Relative) -> String {
    path.as_path().display().to_string()
}

fn entry(tree: &Tree, path: &Relative) -> Result<Option<Entry>, PackError> {
    tree.entry(path).map_err(|source| PackError::Read {
        path: shown(path),
        source,
    })
}

fn zip<'a>(
    tree: &Tree,
    paths: impl Iterator<Item = &'a Relative>,
    level: Level,
    into: &mut File,
) -> Result<usize, PackError> {
    let mut writer = ZipWriter::new(io::BufWriter::new(into));
    let mut count = 0;
    for path in paths {
        let Some(entry) = entry(tree, path)? else {
            continue;
        };
        let failed = |source| PackError::Zip {
            path: shown(path),
            source,
        };
        // Names that are no UTF-8 are rare and no zip reader agrees on them.
        let Some(name) = path.as_path().to_str() else {
            continue;
        };
        let options = options(&entry, level).map_err(failed)?;
        match entry.kind {
            Kind::Directory => writer.add_directory(name, options).map_err(failed)?,
            Kind::Symlink => {
                let target = tree.link(path).map_err(|source| PackError::Read {
                    path: shown(path),
                    source,
                })?;
                let Some(target) = target else { continue };
                writer
                    .add_symlink(name, target.to_string_lossy(), options)
                    .map_err(failed)?;
            }
            Kind::File => {
                let mut file = match tree.read(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    file => file.map_err(|source| PackError::Read {
                        path: shown(path),
                        source,
                    })?,
                };
                writer.start_file(name, options).map_err(failed)?;
                io::copy(&mut file, &mut writer).map_err(|source| PackError::Read {
                    path: shown(path),
                    source,
                })?;
            }
            Kind::Other => continue,
        }
        count += 1;
    }
    let failed = |source| PackError::Zip {
        path: "the directory".to_owned(),
        source,
    };
    writer
        .finish()
        .map_err(failed)?
        .flush()
        .map_err(PackError::Write)?;
    Ok(count)
}

fn options(
    entry: &Entry,
    level: Level,
) -> zip::result::ZipResult<FullFileOptions<'static, 'static>> {
    let mut options = FullFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(i64::from(level.0)))
        .unix_permissions(entry.mode)
        // Compressed data may outgrow its file a little.
        .large_file(entry.size_bytes > 0xf000_0000);
    if entry.kind != Kind::Symlink
        && let Ok(secs) = u32::try_from(entry.modified_secs)
    {
        let field = [&[1_u8][..], &secs.to_le_bytes()].concat();
        options.add_extra_field(TIMES, field, false)?;
    }
    Ok(options)
}

/// Writes each file as a gzip member that carries its name, one after the other.
fn gzip<'a>(
    tree: &Tree,
    paths: impl Iterator<Item = &'a Relative>,
    level: Level,
    into: &mut File,
) -> Result<usize, PackError> {
    let mut count = 0;
    for path in paths {
        if entry(tree, path)?.is_none_or(|it| it.kind != Kind::File) {
            continue;
        }
        let mut file = tree.read(path).map_err(|source| PackError::Read {
            path: shown(path),
            source,
        })?;
        let name = path.as_path().as_os_str().as_encoded_bytes();
        let mut member = GzBuilder::new()
            .filename(name)
            .write(&mut *into, Compression::new(level.0));
        io::copy(&mut file, &mut member).map_err(|source| PackError::Read {
            path: shown(path),
            source,
        })?;
        member.finish().map_err(PackError::Write)?;
        count += 1;
    }
    into.flush().map_err(PackError::Write)?;
    Ok(count)
}

fn raw<'a>(
    tree: &Tree,
    paths: impl Iterator<Item = &'a Relative>,
    into: &mut File,
) -> Result<usize, PackError> {
    let mut files = Vec::new();
    for path in paths {
        if entry(tree, path)?.is_some_and(|it| it.kind == Kind::File) {
            files.push(path);
        }
    }
    let path = match files.as_slice() {
        [] => return Ok(0),
        [path] => *path,
        _ => return Err(PackError::NotOne(files.len())),
    };
    let mut file = tree.read(path).map_err(|source| PackError::Read {
        path: shown(path),
        source,
    })?;
    into.rewind().map_err(PackError::Write)?;
    io::copy(&mut file, into).map_err(|source| PackError::Read {
        path: shown(path),
        source,
    })?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::path::Path;

    fn packed(format: &str, names: &[&str]) -> Result<(usize, Vec<u8>), PackError> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a"), "one").expect("written");
        std::fs::write(dir.path().join("b"), "two").expect("written");
        let tree = Tree::open(dir.path(), None).expect("opened");
        let paths: Vec<_> = names
            .iter()
            .map(|it| Relative::new(Path::new(it)).expect("relative"))
            .collect();
        let mut file = tempfile::tempfile().expect("a file");
        let count = pack(&tree, paths.iter(), format, Level::default(), &mut file)?;
        let mut bytes = Vec::new();
        file.rewind().expect("rewound");
        file.read_to_end(&mut bytes).expect("read");
        Ok((count, bytes))
    }

    #[test]
    fn reports_are_gzip_members_or_one_raw_file() {
        let (count, bytes) = packed("gzip", &["a", "b"]).expect("packed");
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .read_to_string(&mut text)
            .expect("gzip");
        assert_eq!((count, text.as_str()), (2, "onetwo"));
        assert_eq!(packed("raw", &["b"]).expect("packed"), (1, b"two".to_vec()));
        assert!(matches!(
            packed("raw", &["a", "b"]),
            Err(PackError::NotOne(2))
        ));
        assert!(matches!(
            packed("tarzstd", &["a"]),
            Err(PackError::Format(_))
        ));
    }
}
