//! Finds the hash parts of store paths in a stream of bytes, and where they are.

use std::collections::HashMap;

use crate::nix32;
use crate::store_path::HashPart;

const LEN: usize = HashPart::LEN;

/// A hash part, and where in the stream its first character is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The number of the hash part among those that are looked for.
    pub which: usize,
    pub offset: u64,
}

/// Looks for hash parts in bytes that come in pieces.
///
/// Every occurrence is reported, in order, also one that overlaps another. Most bytes are never looked at: a window
/// of 32 bytes is judged from its end, and a byte that is no digit there rules out all windows that contain it.
pub struct ReferenceScanner {
    wanted: HashMap<[u8; LEN], usize>,
    /// The first three characters of what is wanted, as bits: spares nearly all look-ups in long runs of digits.
    beginnings: Box<[u64; 512]>,
    /// The last bytes so far, fewer than a window has.
    tail: Vec<u8>,
    /// Where in the stream the tail begins.
    offset: u64,
}

impl ReferenceScanner {
    /// Looks for the given hash parts. Of those that stand twice the first counts.
    pub fn new<'a>(wanted: impl IntoIterator<Item = &'a HashPart>) -> Self {
        let mut scanner = Self {
            wanted: HashMap::new(),
            beginnings: Box::new([0; 512]),
            tail: Vec::with_capacity(LEN * 2),
            offset: 0,
        };
        for (n, hash_part) in wanted.into_iter().enumerate() {
            let text = nix32::encode(&hash_part.0);
            let text: [u8; LEN] = text
                .as_bytes()
                .try_into()
                .expect("a hash part has 32 characters");
            let (word, bit) = beginning(&text);
            scanner.beginnings[word] |= bit;
            scanner.wanted.entry(text).or_insert(n);
        }
        scanner
    }

    /// Goes on with the next bytes.
    pub fn push(&mut self, bytes: &[u8], found: &mut impl FnMut(Sighting)) {
        // Windows that begin in the tail end within the first bytes.
        let before = self.tail.len();
        let head = bytes.len().min(LEN - 1);
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&bytes[..head]);
        self.scan(&seam, self.offset, before, found);
        self.offset += before as u64;
        self.scan(bytes, self.offset, bytes.len(), found);
        // What stays: the last bytes of all.
        if bytes.len() >= LEN - 1 {
            seam.clear();
            seam.extend_from_slice(&bytes[bytes.len() - (LEN - 1)..]);
            self.offset += (bytes.len() - (LEN - 1)) as u64;
        } else {
            let surplus = seam.len().saturating_sub(LEN - 1);
            seam.drain(..surplus);
            self.offset = self.offset + bytes.len() as u64 - seam.len() as u64;
        }
        self.tail = seam;
    }

    /// Reports what begins among the first `starts` bytes.
    fn scan(&self, bytes: &[u8], offset: u64, starts: usize, found: &mut impl FnMut(Sighting)) {
        let mut start = 0;
        // All bytes from `start` to here are digits.
        let mut digits_to = 0;
        while start < starts && start + LEN <= bytes.len() {
            let end = start + LEN;
            let unknown = &bytes[digits_to.max(start)..end];
            if let Some(at) = unknown.iter().rposition(|it| !nix32::is_digit(*it)) {
                start = digits_to.max(start) + at + 1;
                digits_to = end;
                continue;
            }
            digits_to = end;
            let window: &[u8; LEN] = bytes[start..end].try_into().expect("a window");
            let (word, bit) = beginning(window);
            if self.beginnings[word] & bit != 0
                && let Some(which) = self.wanted.get(window)
            {
                let offset = offset + start as u64;
                found(Sighting {
                    which: *which,
                    offset,
                });
            }
            start += 1;
        }
    }
}

/// Returns the place of a text's first characters among 32,768.
fn beginning(text: &[u8; LEN]) -> (usize, u64) {
    let low = |n: usize| usize::from(text[n] & 0x1f);
    let index = (low(0) << 10) | (low(1) << 5) | low(2);
    (index >> 6, 1 << (index & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(wanted: &[HashPart], pieces: &[&[u8]]) -> Vec<Sighting> {
        let mut scanner = ReferenceScanner::new(wanted);
        let mut found = Vec::new();
        for piece in pieces {
            scanner.push(piece, &mut |it| found.push(it));
        }
        found
    }

    /// What a reader without any cleverness finds.
    fn naive(wanted: &[HashPart], bytes: &[u8]) -> Vec<Sighting> {
        let texts: Vec<String> = wanted.iter().map(HashPart::to_string).collect();
        let at = |(offset, window): (usize, &[u8])| {
            let which = texts.iter().position(|it| it.as_bytes() == window)?;
            Some(Sighting {
                which,
                offset: offset as u64,
            })
        };
        bytes.windows(LEN).enumerate().filter_map(at).collect()
    }

    #[test]
    fn neighbours_and_overlaps_are_found() {
        let zeros = HashPart([0; 20]);
        let one: HashPart = "00bgd045z0d4icpbc2yyz4gx48ak44la".parse().unwrap();
        let text = format!("{}{one}{one}e{one}", "0".repeat(33));
        let found = scan(&[zeros, one], &[text.as_bytes()]);
        assert_eq!(found, naive(&[zeros, one], text.as_bytes()));
        assert_eq!(found.len(), 7);
    }

    proptest! {
        #[test]
        fn any_split_finds_what_a_naive_reader_finds(
            hashes in prop::collection::vec(any::<[u8; 20]>(), 1..4),
            parts in prop::collection::vec((0..6_usize, "[0-9a-z/]{0,40}"), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let wanted: Vec<HashPart> = hashes.into_iter().map(HashPart).collect();
            let mut text = String::new();
            for (which, filling) in parts {
                text.push_str(&filling);
                text.extend(wanted.get(which).map(HashPart::to_string));
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|it| it.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(scan(&wanted, &pieces), naive(&wanted, text.as_bytes()));
        }
    }
}
