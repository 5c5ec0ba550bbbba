//! What is in a layer as it was downloaded.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};

use sha2::{Digest as _, Sha256};

/// Reads what is in a blob, which may be compressed in one of two ways or not at all. Its type is not asked: it lies.
pub(super) fn decompressed(mut blob: File) -> io::Result<Box<dyn Read>> {
    let mut start = [0; 4];
    let mut len = 0;
    while len < start.len() {
        match blob.read(&mut start[len..])? {
            0 => break,
            more => len += more,
        }
    }
    blob.rewind()?;
    let blob = BufReader::with_capacity(64 << 10, blob);
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(blob).map_err(io::Error::other)?)
        }
        _ => Box::new(blob),
    })
}

pub(super) struct Hashing<R> {
    pub(super) from: R,
    pub(super) hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        self.hash.update(&buffer[..len]);
        Ok(len)
    }
}
