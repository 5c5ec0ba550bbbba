//! Writes the NAR of a file, link or directory on disk.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Event, MAX_DEPTH, NarEncoder};

/// Writes the NAR of what is at a path, and returns its size. Links are kept, not followed.
pub fn pack(path: &Path, out: impl Write) -> Result<u64, PackError> {
    let mut encoder = NarEncoder::new(out);
    node(path, 0, &mut encoder)?;
    Ok(encoder.written())
}

fn node<W: Write>(path: &Path, depth: usize, out: &mut NarEncoder<W>) -> Result<(), PackError> {
    let read = |source| PackError::Read {
        path: path.to_owned(),
        source,
    };
    let meta = fs::symlink_metadata(path).map_err(read)?;
    if meta.is_dir() {
        directory(path, depth, out)?;
    } else if meta.is_symlink() {
        let target = fs::read_link(path).map_err(read)?;
        let target = target.as_os_str().as_bytes();
        write(out, &Event::Symlink { target })?;
    } else if meta.is_file() {
        file(path, &meta, out)?;
    } else {
        return Err(PackError::Kind(path.to_owned()));
    }
    write(out, &Event::End)
}

fn directory<W: Write>(
    path: &Path,
    depth: usize,
    out: &mut NarEncoder<W>,
) -> Result<(), PackError> {
    if depth == MAX_DEPTH {
        return Err(PackError::Depth(path.to_owned()));
    }
    write(out, &Event::Directory)?;
    let read = |source| PackError::Read {
        path: path.to_owned(),
        source,
    };
    let names: io::Result<Vec<_>> = fs::read_dir(path)
        .map_err(read)?
        .map(|it| Ok(it?.file_name()))
        .collect();
    let mut names = names.map_err(read)?;
    names.sort();
    for name in names {
        write(out, &Event::Entry(name.as_bytes()))?;
        node(&path.join(&name), depth + 1, out)?;
    }
    Ok(())
}

fn file<W: Write>(path: &Path, meta: &Metadata, out: &mut NarEncoder<W>) -> Result<(), PackError> {
    let read = |source| PackError::Read {
        path: path.to_owned(),
        source,
    };
    let size = meta.len();
    let executable = meta.permissions().mode() & 0o100 != 0;
    write(
        out,
        &Event::Regular {
            executable,
            size,
            offset: 0,
        },
    )?;
    let mut file = File::open(path).map_err(read)?.take(size);
    let mut buffer = vec![
        0;
        usize::try_from(size)
            .unwrap_or(usize::MAX)
            .clamp(1, 256 * 1024)
    ];
    let mut written = 0;
    loop {
        let len = file.read(&mut buffer).map_err(read)?;
        if len == 0 {
            break;
        }
        written += len as u64;
        write(out, &Event::Contents(&buffer[..len]))?;
    }
    match written == size {
        true => Ok(()),
        false => Err(PackError::Changed(path.to_owned())),
    }
}

fn write<W: Write>(out: &mut NarEncoder<W>, event: &Event<'_>) -> Result<(), PackError> {
    out.write(event).map_err(PackError::Write)
}

/// Why something on disk did not become a NAR.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is neither a file nor a link nor a directory, and nothing else fits into a NAR", .0.display())]
    Kind(PathBuf),
    #[error("{} is nested deeper than the {MAX_DEPTH} directories that a NAR may have", .0.display())]
    Depth(PathBuf),
    #[error("{} became shorter while it was read", .0.display())]
    Changed(PathBuf),
    #[error("cannot write the NAR")]
    Write(#[source] io::Error),
}
