//! An object that is not complete: a file without a name that anyone looks for. Dropping it removes it.

use std::{
    io::{self, Write as _},
    path::Path,
    time::SystemTime,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::Digest;

pub(crate) struct Incoming {
    file: NamedTempFile,
    hasher: Sha256,
    size_bytes: u64,
}

/// An object whose bytes are on the disk and that only lacks its name.
pub(crate) struct Complete {
    pub(crate) file: NamedTempFile,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
}

impl Incoming {
    /// Makes an empty file, readable by its owner only.
    pub(crate) fn begin(directory: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix("put-")
            .tempfile_in(directory)?;
        Ok(Self {
            file,
            hasher: Sha256::new(),
            size_bytes: 0,
        })
    }

    pub(crate) fn append(mut self, pieces: &[Bytes]) -> io::Result<Self> {
        for piece in pieces {
            self.hasher.update(piece);
            self.file.as_file_mut().write_all(piece)?;
            self.size_bytes += piece.len() as u64;
        }
        Ok(self)
    }

    /// Waits until the bytes are on the disk.
    pub(crate) fn finish(self, put_at: SystemTime) -> io::Result<Complete> {
        self.file.as_file().set_modified(put_at)?;
        self.file.as_file().sync_all()?;
        Ok(Complete {
            file: self.file,
            digest: self.hasher.into(),
            size_bytes: self.size_bytes,
        })
    }
}
