//! An object for code that seeks, such as a reader of zip archives.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::error::GetError;
use crate::manifest::Part;
use crate::{Blobs, Digest};

/// An object as a file. It holds one chunk in memory. Read it where a thread may block.
pub struct BlobFile {
    blobs: Blobs,
    runtime: Handle,
    digest: Digest,
    /// The chunks, each with where it begins.
    parts: Vec<(u64, Part)>,
    size_bytes: u64,
    position: u64,
    current: Option<(usize, Bytes)>,
}

impl Blobs {
    /// Opens an object for code that seeks. To be called in a runtime; the file is read on a thread that may block.
    pub async fn open_file(&self, digest: &Digest) -> Result<BlobFile, GetError> {
        let opened = self.open(digest).await?;
        let mut at = 0;
        let parts = opened.parts.into_iter().map(|part| {
            let start = at;
            at += u64::from(part.size_bytes);
            (start, part)
        });
        Ok(BlobFile {
            blobs: self.clone(),
            runtime: Handle::current(),
            digest: *digest,
            parts: parts.collect(),
            size_bytes: opened.size_bytes,
            position: 0,
            current: None,
        })
    }
}

impl BlobFile {
    /// Returns the object's size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Read for BlobFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size_bytes || out.is_empty() {
            return Ok(0);
        }
        let index = self
            .parts
            .partition_point(|(start, _)| *start <= self.position)
            - 1;
        let (start, part) = self.parts[index];
        let content = match &self.current {
            Some((of, content)) if *of == index => content.clone(),
            _ => {
                let content = self
                    .runtime
                    .block_on(self.blobs.read_chunk(self.digest, part))?;
                self.current = Some((index, content.clone()));
                content
            }
        };
        let from = usize::try_from(self.position - start).map_err(io::Error::other)?;
        let rest = content.get(from..).unwrap_or_default();
        let length = rest.len().min(out.len());
        out[..length].copy_from_slice(&rest[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for BlobFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size_bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

impl std::fmt::Debug for BlobFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobFile")
            .field("digest", &self.digest)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
