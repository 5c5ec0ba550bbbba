//! Nix's base 32: digits and lower-case letters without `e`, `o`, `t`, `u`, the last character from the first bits.

const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// The value of each byte as a character, or `NONE`.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut i = 0;
    while i < 32 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};
const NONE: u8 = 0xff;

/// Returns the number of characters that stand for so many bytes.
pub const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Whether a byte may stand in such a text.
pub(crate) fn is_digit(byte: u8) -> bool {
    VALUES[usize::from(byte)] != NONE
}

/// Writes bytes as text.
pub fn encode(bytes: &[u8]) -> String {
    let len = encoded_len(bytes.len());
    (0..len).rev().map(|n| digit(bytes, n)).collect()
}

fn digit(bytes: &[u8], n: usize) -> char {
    let (byte, shift) = (n * 5 / 8, n * 5 % 8);
    let low = u16::from(bytes[byte]);
    let high = bytes.get(byte + 1).map_or(0, |it| u16::from(*it));
    let value = ((low | (high << 8)) >> shift) & 0x1f;
    char::from(ALPHABET[usize::from(value)])
}

/// Reads a text of exactly `N` bytes. `None`: another length, a character that is none, or bits that do not fit.
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != encoded_len(N) {
        return None;
    }
    let mut bytes = [0; N];
    for (n, character) in text.iter().rev().enumerate() {
        let value = VALUES[usize::from(*character)];
        if value == NONE {
            return None;
        }
        let (byte, shift) = (n * 5 / 8, n * 5 % 8);
        let wide = u16::from(value) << shift;
        bytes[byte] |= wide as u8;
        let rest = (wide >> 8) as u8;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= rest,
            None if rest != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_nix() {
        // nix-hash --type sha256 --to-base32 <sha256 of nothing>
        let empty = hex::decode("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
            .unwrap();
        let text = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";
        assert_eq!(encode(&empty), text);
        assert_eq!(decode::<32>(text.as_bytes()).unwrap().as_slice(), empty);
    }

    #[test]
    fn refuses_what_no_bytes_stand_for() {
        let check = |text: &str| assert_eq!(decode::<32>(text.as_bytes()), None, "{text}");
        check("0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c7");
        check("emdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
        check("0MDQA9W1P6CMLI6976V4WI0SW9R4P5PRKJ7LZFD1877WK11C9C73");
        // 52 characters hold 260 bits, and the first four must be zero.
        check("2mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(bytes: [u8; 20], long: [u8; 32], odd: [u8; 16]) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
            prop_assert_eq!(decode(encode(&long).as_bytes()), Some(long));
            prop_assert_eq!(decode(encode(&odd).as_bytes()), Some(odd));
        }
    }
}
