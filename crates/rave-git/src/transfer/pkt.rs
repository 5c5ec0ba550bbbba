//! Packets, the frames of git's protocol: four hex digits of length, then the content.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Ends a section.
pub(crate) const FLUSH: &[u8] = b"0000";
/// Largest content of a packet on a side band: 65520 less the length and the band's number.
const BAND_BYTES: usize = 65_515;

/// Frames a text.
pub(crate) fn line(text: &str) -> Bytes {
    frame(&[text.as_bytes()])
}

/// Frames a message to the person at the other end, who reads it after `remote: `.
pub(crate) fn remote_message(text: &str) -> Bytes {
    let text = format!("{text}\n");
    let mut packets = BytesMut::new();
    for part in text.as_bytes().chunks(BAND_BYTES) {
        packets.extend_from_slice(&frame(&[&[2], part]));
    }
    packets.freeze()
}

fn frame(parts: &[&[u8]]) -> Bytes {
    let length: usize = 4 + parts.iter().map(|it| it.len()).sum::<usize>();
    let mut packet = BytesMut::with_capacity(length);
    packet.put_slice(format!("{length:04x}").as_bytes());
    parts.iter().for_each(|it| packet.put_slice(it));
    packet.freeze()
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Flush,
    Line(&'a [u8]),
    /// More bytes are needed.
    Incomplete,
    /// This is not the protocol.
    Malformed,
}

/// Looks at the beginning of some bytes. Returns the packet and how many bytes it takes.
pub(crate) fn peek(bytes: &[u8]) -> (Packet<'_>, usize) {
    let Some(digits) = bytes.get(..4) else {
        return (Packet::Incomplete, 0);
    };
    let digits = std::str::from_utf8(digits).unwrap_or("-");
    if !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return (Packet::Malformed, 0);
    }
    match usize::from_str_radix(digits, 16) {
        Ok(0) => (Packet::Flush, 4),
        Ok(length @ 4..=65_520) => match bytes.get(4..length) {
            Some(content) => (Packet::Line(content), length),
            None => (Packet::Incomplete, 0),
        },
        _ => (Packet::Malformed, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_framed_and_read() {
        assert_eq!(&line("# service=x\n")[..], b"0010# service=x\n");
        assert_eq!(&remote_message("hi")[..], b"0008\x02hi\n");
        assert_eq!(peek(b"0000rest"), (Packet::Flush, 4));
        assert_eq!(peek(b"0006abc"), (Packet::Line(b"ab"), 6));
        assert_eq!(peek(b"0006a").0, Packet::Incomplete);
        assert_eq!(peek(b"00").0, Packet::Incomplete);
        for bad in [&b"0003"[..], b"zzzz", b"ffff", b"+004"] {
            assert_eq!(peek(bad).0, Packet::Malformed, "{bad:?}");
        }
    }
}
