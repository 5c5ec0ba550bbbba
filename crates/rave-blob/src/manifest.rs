//! What an object is made of, in few bytes: its chunks' numbers and sizes, in order.
//!
//! One object is one row, whatever its size: 4,000 chunks of a gigabyte take some 20 KB, because chunks that came together
//! have numbers that follow one another.

use crate::error::Broken;

/// The version of the encoding.
const VERSION: u8 = 1;

/// A chunk of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number of the chunk's row.
    pub(crate) chunk: i64,
    pub(crate) size_bytes: u32,
}

/// Writes a manifest.
pub(crate) fn encode(parts: &[Part]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut before = 0_i64;
    for part in parts {
        // Zigzag: a number that follows the last one is 1 byte, one that lies before it is no longer.
        let step = part.chunk.wrapping_sub(before);
        put_number(&mut out, ((step << 1) ^ (step >> 63)).cast_unsigned());
        put_number(&mut out, u64::from(part.size_bytes));
        before = part.chunk;
    }
    out
}

/// Reads a manifest.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Part>, Broken> {
    let wrong = || Broken("the list of an object's chunks cannot be read".to_owned());
    let Some((&VERSION, mut rest)) = bytes.split_first() else {
        return Err(wrong());
    };
    let (mut parts, mut before) = (Vec::new(), 0_i64);
    while !rest.is_empty() {
        let step = take_number(&mut rest).ok_or_else(wrong)?;
        let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
        let size_bytes = take_number(&mut rest)
            .and_then(|it| u32::try_from(it).ok())
            .ok_or_else(wrong)?;
        before = before.wrapping_add(step);
        parts.push(Part {
            chunk: before,
            size_bytes,
        });
    }
    Ok(parts)
}

/// Writes a number, seven bits to a byte, the low ones first.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(parts in prop::collection::vec((0..i64::MAX, any::<u32>()), 0..50)) {
            let parts: Vec<Part> = parts.into_iter().map(|(chunk, size_bytes)| Part { chunk, size_bytes }).collect();
            prop_assert_eq!(decode(&encode(&parts)).unwrap(), parts);
        }

        #[test]
        fn nothing_read_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn chunks_that_came_together_take_few_bytes() {
        let part = |it: i64| Part {
            chunk: 1_000_000 + it,
            size_bytes: 262_144,
        };
        let parts: Vec<Part> = (0..4000).map(part).collect();
        assert!(encode(&parts).len() < 17_000);
    }
}
