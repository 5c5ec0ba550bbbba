//! How a chunk lies in a pack: a zstd frame of its content, and a label that says what it is.
//!
//! The label is a skippable frame (RFC 8878, 3.1.2), so that a whole pack is what `zstd -d` unpacks, and so that a pack can
//! be read without the database that says where its chunks are.

use std::cell::RefCell;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::chunk::{Chunk, ChunkDigest};

/// The length of a label in bytes.
pub(crate) const LABEL_BYTES: usize = 8 + PAYLOAD_BYTES;
const PAYLOAD_BYTES: usize = 52;
/// One of the sixteen numbers of skippable frames.
const LABEL_MAGIC: u32 = 0x184D_2A5B;
const LABEL_VERSION: u32 = 1;
/// No chunk is larger than that, whatever the sizes in the configuration.
pub(crate) const LONGEST_CONTENT: usize = 16 << 20;

/// What a label says of the frame before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) digest: ChunkDigest,
    pub(crate) stored_bytes: u32,
    pub(crate) size_bytes: u32,
    /// XXH3 of the frame.
    pub(crate) checksum: u64,
}

/// A chunk as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) label: Label,
    /// The frame, then its label.
    pub(crate) bytes: Bytes,
}

thread_local! {
    /// A compressor takes longer to make than a small chunk to compress.
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses a chunk.
pub(crate) fn pack(chunk: &Chunk, level: i32) -> io::Result<Frame> {
    let size_bytes = u32::try_from(chunk.content.len())
        .ok()
        .filter(|it| *it as usize <= LONGEST_CONTENT)
        .ok_or_else(|| io::Error::other("a chunk is larger than any may be"))?;
    let packed = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(of, _)| *of != level) {
            *slot = Some((level, zstd::bulk::Compressor::new(level)?));
        }
        match slot {
            Some((_, compressor)) => compressor.compress(&chunk.content),
            None => Err(io::Error::other("no compressor")),
        }
    })?;
    let label = Label {
        digest: chunk.digest,
        stored_bytes: u32::try_from(packed.len()).map_err(io::Error::other)?,
        size_bytes,
        checksum: xxh3_64(&packed),
    };
    Ok(Frame::from_stored(label, &packed))
}

impl Frame {
    /// Puts the label behind a frame that was read without it.
    pub(crate) fn from_stored(label: Label, frame: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(frame.len() + LABEL_BYTES);
        bytes.put_slice(frame);
        label.write(&mut bytes);
        Self {
            label,
            bytes: bytes.freeze(),
        }
    }
}

/// Says whether a stored frame is what it was.
pub(crate) fn check(frame: &[u8], checksum: u64) -> Result<(), Damage> {
    match xxh3_64(frame) == checksum {
        true => Ok(()),
        false => Err(Damage::Frame),
    }
}

/// Decompresses a frame and compares the content with what it should be.
pub(crate) fn unpack(frame: &[u8], digest: ChunkDigest, size_bytes: u32) -> Result<Bytes, Damage> {
    let capacity = (size_bytes as usize).min(LONGEST_CONTENT);
    let content = DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Decompressor::new().ok();
        }
        let decompressor = slot.as_mut().ok_or(Damage::Frame)?;
        decompressor
            .decompress(frame, capacity)
            .map_err(|_| Damage::Frame)
    })?;
    match ChunkDigest::of(&content) == digest && content.len() == size_bytes as usize {
        true => Ok(content.into()),
        false => Err(Damage::Content),
    }
}

/// Why a chunk cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("its pack ends before it does, or is gone")]
    Short,
    #[error("its frame is not what was written")]
    Frame,
    #[error("its content is not what its name says")]
    Content,
}

impl Label {
    fn write(&self, out: &mut BytesMut) {
        out.put_u32_le(LABEL_MAGIC);
        out.put_u32_le(PAYLOAD_BYTES as u32);
        out.put_u32_le(LABEL_VERSION);
        out.put_u32_le(self.stored_bytes);
        out.put_u32_le(self.size_bytes);
        out.put_u64_le(self.checksum);
        out.put_slice(&self.digest.0);
    }

    /// Reads a label, if this is one.
    #[cfg(test)]
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(word))
        };
        let known = word(0)? == LABEL_MAGIC
            && word(4)? as usize == PAYLOAD_BYTES
            && word(8)? == LABEL_VERSION;
        known.then_some(())?;
        Some(Self {
            stored_bytes: word(12)?,
            size_bytes: word(16)?,
            checksum: u64::from(word(20)?) | u64::from(word(24)?) << 32,
            digest: ChunkDigest::from_slice(bytes.get(28..60)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(content: &[u8]) -> Chunk {
        Chunk {
            digest: ChunkDigest::of(content),
            content: Bytes::copy_from_slice(content),
        }
    }

    #[test]
    fn frames_unpack_and_say_what_they_are() {
        for content in [b"x".as_slice(), &[7; 100_000]] {
            let chunk = chunk(content);
            let frame = pack(&chunk, 3).unwrap();
            let (stored, label) = frame.bytes.split_at(frame.label.stored_bytes as usize);
            assert_eq!(Label::read(label), Some(frame.label));
            assert_eq!(label.len(), LABEL_BYTES);
            assert_eq!(check(stored, frame.label.checksum), Ok(()));
            let unpacked = unpack(stored, chunk.digest, frame.label.size_bytes);
            assert_eq!(unpacked.as_deref(), Ok(content));
        }
    }

    #[test]
    fn labels_are_skipped_by_what_unpacks_zstd() {
        let mut pack_of_two = Vec::new();
        for part in [b"one ".as_slice(), b"two"] {
            pack_of_two.extend_from_slice(&pack(&chunk(part), 3).unwrap().bytes);
        }
        assert_eq!(
            zstd::decode_all(pack_of_two.as_slice()).unwrap(),
            b"one two"
        );
    }

    #[test]
    fn damage_is_found() {
        let chunk = chunk(&[7; 5000]);
        let frame = pack(&chunk, 3).unwrap();
        let stored = &frame.bytes[..frame.label.stored_bytes as usize];
        for at in 0..stored.len() {
            let mut broken = stored.to_vec();
            broken[at] ^= 1;
            assert_eq!(check(&broken, frame.label.checksum), Err(Damage::Frame));
            assert!(
                unpack(&broken, chunk.digest, 5000).is_err()
                    || zstd::decode_all(&*broken).unwrap() == chunk.content
            );
        }
        assert!(unpack(stored, ChunkDigest::of(b"other"), 5000).is_err());
        assert!(unpack(stored, chunk.digest, 4999).is_err());
    }
}
