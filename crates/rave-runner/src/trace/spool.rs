//! The file that a log is gathered in: its beginning at once, and of a log that is too long the end once there is one.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The most that is kept of the end of a log that is too long.
const LONGEST_TAIL: u64 = 256 << 10;

/// A log on disk. Bytes that are in it stay as they are, because they may have been sent.
pub(super) struct Spool {
    file: File,
    crc: crc32fast::Hasher,
    len: u64,
    limit: u64,
    tail: Tail,
    /// The first failure to write. The log ends there; the job goes on.
    broken: Option<io::Error>,
}

/// The last bytes of a log, once its beginning is full.
#[derive(Default)]
struct Tail {
    limit: usize,
    bytes: VecDeque<u8>,
    in_use: bool,
    dropped: u64,
}

impl Spool {
    /// Makes a log of at most about `limit` bytes.
    pub(super) fn new(file: File, limit: u64) -> Self {
        let tail = (limit / 4).min(LONGEST_TAIL);
        Self {
            file,
            crc: crc32fast::Hasher::new(),
            len: 0,
            limit,
            tail: Tail {
                limit: usize::try_from(tail).unwrap_or(0),
                ..Tail::default()
            },
            broken: None,
        }
    }

    /// Goes on with the log that another process left, whatever its length.
    pub(super) fn reopen(file: File) -> io::Result<Self> {
        let mut spool = Self::new(file, u64::MAX);
        let mut piece = vec![0; 64 << 10];
        loop {
            match spool.file.read_at(&mut piece, spool.len)? {
                0 => return Ok(spool),
                read => {
                    spool.crc.update(&piece[..read]);
                    spool.len += read as u64;
                }
            }
        }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn checksum(&self) -> String {
        format!("crc32:{:08x}", self.crc.clone().finalize())
    }

    /// Fills `piece` with what is at `offset`.
    pub(super) fn read(&self, piece: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(piece, offset)
    }

    /// Appends text while there is room, and keeps the end of the rest.
    pub(super) fn store(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut rest = text;
        if !self.tail.in_use {
            let room = self.limit - self.tail.limit as u64;
            let room = usize::try_from(room.saturating_sub(self.len)).unwrap_or(usize::MAX);
            let (fits, left) = text.split_at(text.floor_char_boundary(room));
            self.put(fits.as_bytes());
            self.tail.in_use = !left.is_empty();
            rest = left;
        }
        let was_whole = self.tail.dropped == 0;
        self.tail.push(rest.as_bytes());
        if was_whole && self.tail.dropped > 0 {
            let notice = format!(
                "\n\x1b[33;1mJob's log exceeded limit of {} bytes. Its end follows when the job has ended.\x1b[0;m\n",
                self.limit
            );
            self.put(notice.as_bytes());
        }
    }

    /// Appends the end of a log that was too long, and lifts the limit.
    pub(super) fn close(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        self.limit = u64::MAX;
        let mut bytes: Vec<u8> = tail.bytes.into();
        if tail.dropped > 0 {
            // What is left begins anywhere in a line.
            let line = bytes.iter().position(|it| *it == b'\n').map(|it| it + 1);
            let cut =
                line.unwrap_or_else(|| bytes.iter().take_while(|it| **it & 0xc0 == 0x80).count());
            bytes.drain(..cut);
            let left_out = tail.dropped + cut as u64;
            let notice = format!("\x1b[33;1m[{left_out} bytes are left out here]\x1b[0;m\n");
            self.put(notice.as_bytes());
        }
        self.put(&bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.broken.is_some() || bytes.is_empty() {
            return;
        }
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            tracing::error!(%error, "cannot spool a job's log; the rest of it is lost");
            self.broken = Some(error);
            return;
        }
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
    }
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(self.limit);
        let bytes = &bytes[skipped..];
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(self.limit);
        self.bytes.drain(..excess);
        self.bytes.extend(bytes);
        self.dropped += (skipped + excess) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(limit: u64, pieces: &[&str]) -> String {
        let mut spool = Spool::new(tempfile::tempfile().expect("a file"), limit);
        for piece in pieces {
            spool.store(piece);
        }
        spool.close();
        spool.store("end");
        text(&spool)
    }

    fn text(spool: &Spool) -> String {
        let mut bytes = vec![0; usize::try_from(spool.len()).expect("small")];
        spool.read(&mut bytes, 0).expect("readable");
        assert_eq!(
            spool.checksum(),
            format!("crc32:{:08x}", crc32fast::hash(&bytes))
        );
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        assert_eq!(stored(100, &["short\n"]), "short\nend");
        // Past the beginning, but not past what is kept of the end.
        assert_eq!(stored(8, &["abcdef", "gh"]), "abcdefghend");
        let lines: Vec<String> = (0..1000).map(|it| format!("line {it}\n")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let log = stored(400, &lines);
        assert!(log.starts_with("line 0\nline 1\n"), "{log}");
        assert!(log.contains("exceeded limit of 400 bytes"), "{log}");
        assert!(
            log.contains("bytes are left out here]\x1b[0;m\nline 98"),
            "{log}"
        );
        assert!(log.ends_with("line 998\nline 999\nend"), "{log}");
        assert!(log.len() < 600, "{}", log.len());
        let whole: usize = lines.iter().map(|it| it.len()).sum();
        let kept: usize = log
            .lines()
            .filter(|it| it.starts_with("line "))
            .map(|it| it.len() + 1)
            .sum();
        let left_out = log.split('[').find_map(|it| {
            it.split_once(" bytes are left out")?
                .0
                .parse::<usize>()
                .ok()
        });
        // The beginning ends within a line, after which the notice begins a new one.
        assert!(
            left_out.is_some_and(|it| whole.abs_diff(kept + it) < 10),
            "{left_out:?} {whole} {kept}\n{log}"
        );
    }

    #[test]
    fn no_character_is_cut() {
        for limit in 0..40 {
            stored(limit, &["a\u{e9}\u{e9}z", &"\u{e9}".repeat(30)]);
        }
    }

    #[test]
    fn a_log_goes_on_where_another_process_left_it() {
        let file = tempfile::tempfile().expect("a file");
        let mut spool = Spool::new(file.try_clone().expect("cloned"), 1000);
        spool.store(&"x".repeat(700));
        drop(spool);
        let mut spool = Spool::reopen(file).expect("reopened");
        assert_eq!(spool.len(), 700);
        spool.store(&"y".repeat(900));
        assert_eq!(text(&spool).len(), 1600);
    }
}
