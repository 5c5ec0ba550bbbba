//! Chunks: pieces of content that begin and end where the content says, so that a change moves few of them.

use std::fmt;

use bytes::{Bytes, BytesMut};
use fastcdc::v2020::FastCDC;

/// How content is cut. A change makes what is stored already useless to new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSizes {
    pub min_bytes: usize,
    pub average_bytes: usize,
    pub max_bytes: usize,
}

impl Default for ChunkSizes {
    /// 64 KiB, 256 KiB, 1 MiB: as small in sum as a quarter of that, at a quarter of the chunks.
    fn default() -> Self {
        Self {
            min_bytes: 64 << 10,
            average_bytes: 256 << 10,
            max_bytes: 1 << 20,
        }
    }
}

/// The name of a chunk: the BLAKE3 of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChunkDigest(pub(crate) [u8; 32]);

impl ChunkDigest {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self(blake3::hash(content).into())
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A piece of an object on its way in.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) digest: ChunkDigest,
    pub(crate) content: Bytes,
}

/// Cuts a stream that arrives in pieces of any size. Where it is cut does not depend on those.
pub(crate) struct Cutter {
    sizes: ChunkSizes,
    waiting: BytesMut,
}

impl Cutter {
    pub(crate) fn new(sizes: ChunkSizes) -> Self {
        Self {
            sizes,
            waiting: BytesMut::new(),
        }
    }

    /// Takes in what follows, and returns the chunks that are certain now.
    pub(crate) fn push(&mut self, pieces: &[Bytes]) -> Vec<Chunk> {
        pieces
            .iter()
            .for_each(|it| self.waiting.extend_from_slice(it));
        self.cut(self.sizes.max_bytes)
    }

    /// Returns the last chunks.
    pub(crate) fn finish(mut self) -> Vec<Chunk> {
        self.cut(1)
    }

    /// Cuts as long as at least `ahead` bytes are there: a cut depends on that much of what follows.
    fn cut(&mut self, ahead: usize) -> Vec<Chunk> {
        let ChunkSizes {
            min_bytes,
            average_bytes,
            max_bytes,
        } = self.sizes;
        let whole = std::mem::take(&mut self.waiting).freeze();
        let cutter = FastCDC::new(&whole, min_bytes, average_bytes, max_bytes);
        let (mut chunks, mut start) = (Vec::new(), 0);
        while whole.len() - start >= ahead.max(1) {
            let (_, end) = cutter.cut(start, whole.len() - start);
            let content = whole.slice(start..end.max(start + 1));
            start += content.len();
            chunks.push(Chunk {
                digest: ChunkDigest::of(&content),
                content,
            });
        }
        self.waiting.extend_from_slice(&whole[start..]);
        chunks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: ChunkSizes = ChunkSizes {
        min_bytes: 256,
        average_bytes: 1024,
        max_bytes: 4096,
    };

    pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut step = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| step()).collect()
    }

    fn cut(content: &[u8], pieces: &[usize]) -> Vec<Chunk> {
        let (mut cutter, mut rest, mut chunks) = (Cutter::new(SMALL), content, Vec::new());
        for length in pieces {
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            rest = after;
            chunks.extend(cutter.push(&[Bytes::copy_from_slice(piece)]));
        }
        chunks.extend(cutter.push(&[Bytes::copy_from_slice(rest)]));
        chunks.extend(cutter.finish());
        chunks
    }

    proptest! {
        #[test]
        fn pieces_do_not_move_the_cuts(
            length in 0_usize..40_000, seed: u64, pieces in prop::collection::vec(0_usize..9000, 0..12),
        ) {
            let content = noise(length, seed);
            let chunks = cut(&content, &pieces);
            let joined: Vec<u8> = chunks.iter().flat_map(|it| it.content.to_vec()).collect();
            prop_assert_eq!(&joined, &content);
            let digests = |it: &[Chunk]| it.iter().map(|it| it.digest).collect::<Vec<_>>();
            prop_assert_eq!(digests(&chunks), digests(&cut(&content, &[])));
            prop_assert!(chunks.iter().all(|it| !it.content.is_empty() && it.content.len() <= SMALL.max_bytes));
        }
    }

    #[test]
    fn an_insertion_moves_few_chunks() {
        let before = noise(400_000, 7);
        let mut after = before.clone();
        after.splice(200_000..200_000, *b"something new");
        let known: std::collections::HashSet<_> =
            cut(&before, &[]).iter().map(|it| it.digest).collect();
        let new = cut(&after, &[])
            .iter()
            .filter(|it| !known.contains(&it.digest))
            .count();
        assert!((1..=4).contains(&new), "{new}");
    }
}
