//! The files of an artifact: packed ones member by member, each as text, and never more than a limit of all together.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::Unreadable;
use crate::model::ArtifactFormat;

const PIECE: usize = 16 << 10;

/// Calls `read` for each file with its name, which may be empty.
pub(super) fn each_file(
    bytes: impl Read,
    format: ArtifactFormat,
    limit: u64,
    read: &mut dyn FnMut(&str, &mut dyn BufRead) -> io::Result<()>,
) -> Result<(), Unreadable> {
    let mut bytes = BufReader::with_capacity(PIECE, bytes);
    match format {
        ArtifactFormat::Raw => read("", &mut Text::new(Limited::new(&mut bytes, limit)))?,
        ArtifactFormat::Gzip => {
            let mut left = limit;
            if !bytes.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
                return Err(Unreadable::Content("it is not packed with gzip".into()));
            }
            // A runner packs each file as a member of its own, whose header has the name.
            while !bytes.fill_buf()?.is_empty() {
                let mut member = GzDecoder::new(&mut bytes);
                let name = member.header().and_then(|it| it.filename());
                let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
                let mut limited = Limited::new(&mut member, left);
                read(&name, &mut Text::new(&mut limited))?;
                io::copy(&mut limited, &mut io::sink())?;
                left = limited.left;
            }
        }
        ArtifactFormat::Zip => {
            return Err(Unreadable::Content("it is a zip archive".into()));
        }
    }
    Ok(())
}

/// Fails rather than give more than a number of bytes.
struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R> Limited<R> {
    fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            left: limit,
            limit,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            let mib = self.limit >> 20;
            io::Error::other(format!("it is larger than {mib} MiB"))
        })?;
        Ok(length)
    }
}

/// Makes UTF-8 of whatever comes: programs under test write any bytes, and their reports quote them.
struct Text<R> {
    inner: R,
    raw: Vec<u8>,
    text: Vec<u8>,
    at: usize,
    begun: bool,
}

impl<R: Read> Text<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            raw: Vec::with_capacity(PIECE),
            text: Vec::with_capacity(PIECE),
            at: 0,
            begun: false,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.text.clear();
        self.at = 0;
        while self.text.is_empty() {
            let kept = self.raw.len();
            self.raw.resize(kept + PIECE, 0);
            let length = self.inner.read(&mut self.raw[kept..])?;
            self.raw.truncate(kept + length);
            if self.raw.is_empty() {
                return Ok(());
            }
            let whole = if length == 0 {
                self.raw.len()
            } else {
                self.raw.len() - unfinished(&self.raw)
            };
            let text = String::from_utf8_lossy(&self.raw[..whole]);
            let text = match self.begun {
                false => text.strip_prefix('\u{feff}').unwrap_or(&text),
                true => &text,
            };
            self.begun = true;
            self.text.extend_from_slice(text.as_bytes());
            self.raw.drain(..whole);
        }
        Ok(())
    }
}

/// Returns how many bytes at the end begin a character that goes on after them.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (back, byte) in tail.iter().rev().enumerate() {
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if length > back + 1 { back + 1 } else { 0 };
    }
    0
}

impl<R: Read> BufRead for Text<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.text.len() {
            self.fill()?;
        }
        Ok(&self.text[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let text = self.fill_buf()?;
        let length = text.len().min(into.len());
        into[..length].copy_from_slice(&text[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn member(name: &str, text: &[u8]) -> Vec<u8> {
        let mut packed = flate2::GzBuilder::new()
            .filename(name)
            .write(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    fn files(bytes: &[u8], format: ArtifactFormat, limit: u64) -> Result<Vec<String>, Unreadable> {
        let mut found = Vec::new();
        each_file(bytes, format, limit, &mut |name, input| {
            let mut text = String::new();
            input.read_to_string(&mut text)?;
            found.push(format!("{name}={text}"));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn members_are_files_with_names() {
        let packed = [member("a.xml", b"one"), member("b.xml", b"two")].concat();
        let found = files(&packed, ArtifactFormat::Gzip, 100).unwrap();
        assert_eq!(found, ["a.xml=one", "b.xml=two"]);
        assert_eq!(files(b"x", ArtifactFormat::Raw, 100).unwrap(), ["=x"]);
    }

    #[test]
    fn a_bomb_ends_at_the_limit_and_garbage_is_told() {
        let bomb = member("zeros", &vec![0; 1 << 20]);
        assert!(bomb.len() < 20_000);
        let error = files(&bomb, ArtifactFormat::Gzip, 1000).unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
        assert!(files(b"no gzip", ArtifactFormat::Gzip, 1000).is_err());
        let both = [member("a", &[b'x'; 600]), member("b", &[b'x'; 600])].concat();
        assert!(
            files(&both, ArtifactFormat::Gzip, 1000).is_err(),
            "all count"
        );
    }

    #[test]
    fn bytes_become_text_wherever_the_pieces_end() {
        let check = |bytes: &[u8], expected: &str| {
            let mut text = String::new();
            Text::new(bytes).read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        };
        check(b"\xef\xbb\xbf<a/>", "<a/>");
        check(b"a\xffb\xe4", "a\u{fffd}b\u{fffd}");
        for shift in 0..4 {
            let text = format!("{}{}", "x".repeat(PIECE - shift), "ä€😀");
            check(text.as_bytes(), &text);
        }
    }
}
