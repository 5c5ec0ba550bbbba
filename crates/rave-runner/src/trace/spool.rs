//! The file that a log is gathered in: its beginning at once, and of a log that is too long the end once there is one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::tail::Tail;

/// The files of one log.
#[derive(Debug)]
pub(crate) struct Files {
    /// What is sent.
    pub(crate) log: File,
    /// The end of a log that is too long.
    pub(crate) tail: File,
}

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

impl Spool {
    /// Makes a log of at most about `limit` bytes.
    pub(super) fn new(files: Files, limit: u64) -> Self {
        Self {
            file: files.log,
            crc: crc32fast::Hasher::new(),
            len: 0,
            limit,
            tail: Tail::new(files.tail, limit),
            broken: None,
        }
    }

    /// Goes on with the log that another process left, and with its end if it is too long.
    pub(super) fn reopen(files: Files) -> io::Result<Self> {
        let tail = Tail::reopen(&files.tail)?;
        let mut spool = Self::new(files, u64::MAX);
        if let Some(tail) = tail {
            (spool.limit, spool.tail) = (tail.log_limit(), tail);
        }
        if let Some(at) = spool.tail.closed_at() {
            let whole = at + spool.end()?.len() as u64;
            if spool.file.metadata()?.len() >= whole {
                spool.tail.forget();
                spool.limit = u64::MAX;
            } else {
                // It was killed while it appended the end, which is the same when it is appended again.
                spool.file.set_len(at)?;
            }
        }
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
        if !self.tail.is_used() {
            let room = self.limit - self.tail.limit();
            let room = usize::try_from(room.saturating_sub(self.len)).unwrap_or(usize::MAX);
            let (fits, left) = text.split_at(text.floor_char_boundary(room));
            self.put(fits.as_bytes());
            rest = left;
        }
        let was_whole = self.tail.dropped() == 0;
        if self.broken.is_none()
            && let Err(error) = self.tail.push(rest.as_bytes())
        {
            self.give_up(error);
        }
        if was_whole && self.tail.dropped() > 0 {
            let notice = format!(
                "\n\x1b[33;1mJob's log exceeded limit of {} bytes. Its end follows when the job has ended.\x1b[0;m\n",
                self.limit
            );
            self.put(notice.as_bytes());
        }
    }

    /// Appends the end of a log that was too long, and lifts the limit.
    pub(super) fn close(&mut self) {
        if self.tail.is_used() {
            match self.end() {
                Ok(end) => {
                    // Should this fail and the runner be killed now, the end is there twice.
                    let _ = self.tail.close(self.len);
                    self.put(&end);
                }
                Err(error) => self.give_up(error),
            }
        }
        self.tail.forget();
        self.limit = u64::MAX;
    }

    /// Returns what is appended to a log that is too long.
    fn end(&self) -> io::Result<Vec<u8>> {
        let bytes = self.tail.read()?;
        let dropped = self.tail.dropped();
        if dropped == 0 {
            return Ok(bytes);
        }
        // What is left begins anywhere in a line.
        let line = bytes.iter().position(|it| *it == b'\n').map(|it| it + 1);
        let cut = line.unwrap_or_else(|| bytes.iter().take_while(|it| **it & 0xc0 == 0x80).count());
        let left_out = dropped + cut as u64;
        let notice = format!("\x1b[33;1m[{left_out} bytes are left out here]\x1b[0;m\n");
        Ok([notice.as_bytes(), &bytes[cut..]].concat())
    }

    /// Says whether the last line has no end.
    pub(super) fn is_mid_line(&self) -> io::Result<bool> {
        let mut last = [b'\n'];
        if self.tail.is_used() {
            return Ok(self.tail.read()?.last().is_some_and(|it| *it != b'\n'));
        }
        if let Some(at) = self.len.checked_sub(1) {
            self.file.read_exact_at(&mut last, at)?;
        }
        Ok(last != [b'\n'])
    }

    fn give_up(&mut self, error: io::Error) {
        tracing::error!(%error, "cannot spool a job's log; the rest of it is lost");
        self.broken = Some(error);
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.broken.is_some() || bytes.is_empty() {
            return;
        }
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            self.give_up(error);
            return;
        }
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let file = || tempfile::tempfile().expect("a file");
        Files {
            log: file(),
            tail: file(),
        }
    }

    /// Returns the same files once more, as another process has them.
    fn again(files: &Files) -> Files {
        Files {
            log: files.log.try_clone().expect("cloned"),
            tail: files.tail.try_clone().expect("cloned"),
        }
    }

    fn stored(limit: u64, pieces: &[&str]) -> String {
        let mut spool = Spool::new(files(), limit);
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
        let files = files();
        let mut spool = Spool::new(again(&files), 1000);
        spool.store(&"x".repeat(700));
        drop(spool);
        let mut spool = Spool::reopen(files).expect("reopened");
        assert!(spool.len() == 700 && spool.is_mid_line().expect("read"));
        spool.store(&"y".repeat(900));
        assert_eq!(text(&spool).len(), 1600);
    }

    #[test]
    fn the_end_of_a_long_log_outlives_a_kill_at_any_moment() {
        let lines: Vec<String> = (0..100).map(|it| format!("line {it}\n")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let whole = stored(200, &lines);
        let files = files();
        let mut spool = Spool::new(again(&files), 200);
        lines.iter().for_each(|it| spool.store(it));
        let before = spool.len();
        let finish = |mut spool: Spool| {
            assert!(!spool.is_mid_line().expect("read"));
            spool.close();
            spool.store("end");
            assert_eq!(text(&spool), whole);
        };
        finish(Spool::reopen(again(&files)).expect("reopened"));
        // Killed while the end was appended, after any number of its bytes, and after all of them.
        for len in [before, before + 1, before + 40, whole.len() as u64 - 3] {
            files.log.set_len(len).expect("cut");
            finish(Spool::reopen(again(&files)).expect("reopened"));
        }
    }
}
