//! Unpacks a NAR on disk.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::error::{NarError, NarProblem};
use super::parser::{Event, NarParser};

/// Unpacks a NAR that comes in pieces to a path at which nothing is yet.
///
/// Nothing can be written outside: names are single ones, and each node is made anew, so that no link that the NAR
/// contains is ever followed. When it fails, what was unpacked so far stays for the caller to remove.
#[derive(Debug)]
pub struct Unpacker {
    parser: NarParser,
    place: Place,
}

/// Where the unpacker is.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// The nodes that are open.
    depth: usize,
    file: Option<File>,
}

impl Unpacker {
    pub fn new(to: &Path) -> Self {
        let place = Place {
            path: to.to_owned(),
            depth: 0,
            file: None,
        };
        Self {
            parser: NarParser::new(),
            place,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        let mut rest = bytes;
        while let Some(event) = self.parser.next(&mut rest)? {
            let done = self.place.apply(&event);
            done.map_err(|source| UnpackError::Write {
                path: self.place.path.clone(),
                source,
            })?;
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(NarError {
                offset: self.parser.offset(),
                problem: NarProblem::Trailing,
            }
            .into()),
        }
    }

    /// Fails unless the NAR is complete.
    pub fn finish(self) -> Result<(), UnpackError> {
        Ok(self.parser.finish()?)
    }
}

impl Place {
    fn apply(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Entry(name) => {
                self.path.push(OsStr::from_bytes(name));
                return Ok(());
            }
            Event::Directory => fs::create_dir(&self.path)?,
            Event::Symlink { target } => symlink(OsStr::from_bytes(target), &self.path)?,
            Event::Regular { executable, .. } => {
                let mode = if *executable { 0o777 } else { 0o666 };
                let mut options = OpenOptions::new();
                let options = options.write(true).create_new(true).mode(mode);
                self.file = Some(options.open(&self.path)?);
            }
            Event::Contents(bytes) => {
                return self.file.as_mut().map_or(Ok(()), |it| it.write_all(bytes));
            }
            Event::End => {
                self.file = None;
                self.depth -= 1;
                if self.depth > 0 {
                    self.path.pop();
                }
                return Ok(());
            }
        }
        self.depth += 1;
        Ok(())
    }
}

/// Why a NAR was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Nar(#[from] NarError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}
