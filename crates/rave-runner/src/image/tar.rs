//! Reads tar archives as layers of images are: entry by entry, without trust.
//!
//! Long names and sizes come from GNU's entries or from PAX records; both are bounded, because their length is whatever
//! the archive says. Sparse files and what else tar can hold are refused rather than misread.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

const BLOCK: usize = 512;
/// The longest name or set of PAX records that is believed.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink(PathBuf),
    /// Another name of an entry before.
    HardLink(PathBuf),
    Fifo,
    /// A device, which no job gets.
    Device,
}

/// One entry. Its content follows in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) modified_secs: i64,
}

/// An archive.
#[derive(Debug)]
pub(super) struct Archive<R> {
    from: R,
    /// What is left of the current entry's content, and its padding.
    left: u64,
    padding: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    modified_secs: Option<i64>,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: Read> Archive<R> {
    pub(super) const fn new(from: R) -> Self {
        Self {
            from,
            left: 0,
            padding: 0,
        }
    }

    /// Returns the next entry, passing over what was not read of the last one.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut known = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number(&header[124..136])?;
            match header[156] {
                b'L' => known.path = Some(self.extension(size)?),
                b'K' => known.link = Some(self.extension(size)?),
                b'x' => {
                    let text = self.extension(size)?;
                    known.read(&text)?;
                }
                b'g' => drop(self.extension(size)?),
                kind => return self.entry(&header, kind, size, known).map(Some),
            }
        }
    }

    /// Reads the current entry's content.
    pub(super) fn content(&mut self) -> io::Take<&mut Self> {
        let left = self.left;
        self.take(left)
    }

    /// Reads to the end of what the archive is in, for a digest of all of it.
    pub(super) fn finish(mut self) -> io::Result<R> {
        self.skip()?;
        io::copy(&mut self.from, &mut io::sink())?;
        Ok(self.from)
    }

    fn entry(
        &mut self,
        header: &[u8; BLOCK],
        kind: u8,
        size: u64,
        known: Extensions,
    ) -> io::Result<Entry> {
        let name = |range: std::ops::Range<usize>| until_zero(&header[range]).to_vec();
        let mut path = known.path.unwrap_or_else(|| name(0..100));
        if &header[257..263] == b"ustar\0" && header[345] != 0 && path == name(0..100) {
            path = [name(345..500), path].join(&b'/');
        }
        let link = PathBuf::from(OsString::from_vec(
            known.link.unwrap_or_else(|| name(157..257)),
        ));
        let is_directory = path.ends_with(b"/");
        let kind = match kind {
            b'0' | 0 | b'7' if is_directory => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err(broken("an entry is of a kind that is not understood")),
        };
        let size = if kind == Kind::File {
            known.size.unwrap_or(size)
        } else {
            0
        };
        self.expect(size);
        let value = |known: Option<u64>, range: std::ops::Range<usize>| {
            known.map_or_else(|| number(&header[range]), Ok)
        };
        let modified = number(&header[136..148]).unwrap_or(0);
        Ok(Entry {
            path: PathBuf::from(OsString::from_vec(path)),
            kind,
            mode: u32::try_from(number(&header[100..108])? & 0o7777).unwrap_or(0),
            uid: value(known.uid, 108..116)?,
            gid: value(known.gid, 116..124)?,
            size,
            modified_secs: known
                .modified_secs
                .unwrap_or(i64::try_from(modified).unwrap_or(0)),
        })
    }

    /// Reads a block that is not all zeros. `None` at the end.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut len = 0;
        while len < BLOCK {
            match self.from.read(&mut block[len..]) {
                Ok(0) if len == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if block.iter().all(|it| *it == 0) {
            return Ok(None);
        }
        let told = number(&block[148..156])?;
        let sum = |range: std::ops::Range<usize>| {
            block[range].iter().map(|it| u64::from(*it)).sum::<u64>()
        };
        if sum(0..148) + sum(156..BLOCK) + 8 * u64::from(b' ') != told {
            return Err(broken("a header's checksum is wrong"));
        }
        Ok(Some(block))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > LONGEST_EXTENSION {
            return Err(broken("a name is too long"));
        }
        self.expect(size);
        let mut text = Vec::new();
        self.content().read_to_end(&mut text)?;
        if text.len() as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    const fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        match io::copy(&mut (&mut self.from).take(rest), &mut io::sink())? {
            skipped if skipped == rest => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let len = self.from.read(&mut buffer[..most])?;
        if len == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= len as u64;
        Ok(len)
    }
}

impl Extensions {
    /// Reads PAX records, each of them its length, a key and a value.
    fn read(&mut self, mut text: &[u8]) -> io::Result<()> {
        let wrong = || broken("a PAX record cannot be understood");
        while !text.is_empty() {
            let space = text.iter().position(|it| *it == b' ').ok_or_else(wrong)?;
            let digits = std::str::from_utf8(&text[..space]).map_err(|_| wrong())?;
            let len: usize = digits.parse().map_err(|_| wrong())?;
            let record = text.get(space + 1..len).ok_or_else(wrong)?;
            let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|it| *it == b'=').ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let whole = std::str::from_utf8(value)
                .ok()
                .map(|it| it.split('.').next().unwrap_or_default());
            let number = || whole.and_then(|it| it.parse().ok()).ok_or_else(wrong);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(number()?),
                b"gid" => self.gid = Some(number()?),
                b"mtime" => self.modified_secs = whole.and_then(|it| it.parse().ok()),
                _ if key.starts_with(b"GNU.sparse") => {
                    return Err(broken("sparse files are not understood"));
                }
                _ => {}
            }
            text = &text[len..];
        }
        Ok(())
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|it| *it == 0).next().unwrap_or_default()
}

/// Reads a number in octal digits, or in binary when its first bit is set.
fn number(field: &[u8]) -> io::Result<u64> {
    let wrong = || broken("a header's number cannot be understood");
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8.min(field.len() - 1));
        if field[0] != 0x80 || high[1..].iter().any(|it| *it != 0) {
            return Err(wrong());
        }
        return Ok(low.iter().fold(0, |sum, it| sum << 8 | u64::from(*it)));
    }
    let text = std::str::from_utf8(until_zero(field))
        .map_err(|_| wrong())?
        .trim();
    match text {
        "" => Ok(0),
        text => u64::from_str_radix(text, 8).map_err(|_| wrong()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes one entry.
    pub(in super::super) fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
        let mut header = [0_u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let mode: &[u8] = if kind == b'5' { b"0000755" } else { b"0000644" };
        header[100..107].copy_from_slice(mode);
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000001");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|it| u64::from(*it)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let padding = content.len().next_multiple_of(BLOCK) - content.len();
        [&header[..], content, &vec![0; padding]].concat()
    }

    fn entries(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut archive = Archive::new(bytes);
        let mut found = Vec::new();
        while let Some(entry) = archive.next()? {
            let mut content = Vec::new();
            archive.content().read_to_end(&mut content)?;
            found.push((entry, content));
        }
        Ok(found)
    }

    #[test]
    fn entries_are_read_with_their_extensions() {
        let long = "d/".repeat(80) + "file";
        let record = |key: &str, value: &str| {
            let rest = format!(" {key}={value}\n");
            let len = rest.len() + 3;
            format!("{len:03}{rest}").into_bytes()
        };
        let bytes = [
            entry("dir/", b'5', "", b""),
            entry("dir/file", b'0', "", b"content"),
            entry("././@LongLink", b'L', "", long.as_bytes()),
            entry("short", b'0', "", b""),
            entry(
                "pax",
                b'x',
                "",
                &[
                    record("path", "über"),
                    record("uid", "99"),
                    record("mtime", "12.5"),
                ]
                .concat(),
            ),
            entry("short", b'2', "dir/file", b""),
            entry("hard", b'1', "dir/file", b""),
            vec![0; 1024],
        ]
        .concat();
        let found = entries(&bytes).expect("an archive");
        let paths: Vec<_> = found
            .iter()
            .map(|it| it.0.path.to_str().expect("UTF-8").to_owned())
            .collect();
        assert_eq!(paths, ["dir/", "dir/file", &long, "über", "hard"]);
        assert_eq!(
            (&found[0].0.kind, found[0].0.mode),
            (&Kind::Directory, 0o755)
        );
        assert_eq!(found[1].1, b"content");
        assert_eq!((found[3].0.uid, found[3].0.modified_secs), (99, 12));
        assert_eq!(found[3].0.kind, Kind::Symlink("dir/file".into()));
        assert_eq!(found[4].0.kind, Kind::HardLink("dir/file".into()));
    }

    #[test]
    fn archives_that_are_cut_or_changed_are_refused() {
        let whole = entry("file", b'0', "", &[7; 600]);
        assert!(entries(&whole[..700]).is_err());
        let mut changed = whole.clone();
        changed[0] = b'g';
        assert!(entries(&changed).is_err());
        let bomb = {
            let mut header = entry("././@LongLink", b'L', "", b"");
            header[124..135].copy_from_slice(b"77777777777");
            header[148..156].fill(b' ');
            let sum: u64 = header[..BLOCK].iter().map(|it| u64::from(*it)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            header
        };
        assert!(entries(&bomb).is_err_and(|it| it.to_string().contains("too long")));
    }

    proptest! {
        #[test]
        fn nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), kind in any::<u8>()) {
            let _ = entries(&bytes);
            // Past the checksum, too.
            if bytes.len() >= BLOCK {
                bytes[156] = kind;
                bytes[148..156].fill(b' ');
                let sum: u64 = bytes[..BLOCK].iter().map(|it| u64::from(*it)).sum();
                bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                bytes[124..136].copy_from_slice(b"00000000100\0");
                let _ = entries(&bytes);
            }
        }

        #[test]
        fn records_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Extensions::default().read(&text);
        }
    }
}
