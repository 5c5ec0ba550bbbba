//! The end of a log that is too long, kept in a file beside it, so that it outlives a runner that is killed.
//!
//! The file is a head of three numbers and a ring that holds twice what is kept: what is written never touches the bytes
//! that the head still counts on, so that a kill between the two leaves the end as it was a moment before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The most that is kept of the end.
const LONGEST: u64 = 256 << 10;
/// The size of the head: the log's limit, how much came, and where the log was closed, plus one.
const HEAD: u64 = 24;

/// The last bytes of a log, once its beginning is full.
pub(super) struct Tail {
    file: File,
    log_limit: u64,
    pushed: u64,
    closed_at: Option<u64>,
}

impl Tail {
    /// Makes the end of a log of at most `log_limit` bytes, in an empty file.
    pub(super) const fn new(file: File, log_limit: u64) -> Self {
        Self {
            file,
            log_limit,
            pushed: 0,
            closed_at: None,
        }
    }

    /// Goes on with what another process left. `None` when that was nothing.
    pub(super) fn reopen(file: &File) -> io::Result<Option<Self>> {
        if file.metadata()?.len() < HEAD {
            return Ok(None);
        }
        let number = |at| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at)?;
            Ok::<_, io::Error>(u64::from_le_bytes(bytes))
        };
        Ok(Some(Self {
            file: file.try_clone()?,
            log_limit: number(0)?,
            pushed: number(8)?,
            closed_at: number(16)?.checked_sub(1),
        }))
    }

    /// Returns the most that is kept.
    pub(super) fn limit(&self) -> u64 {
        (self.log_limit / 4).min(LONGEST)
    }

    pub(super) const fn log_limit(&self) -> u64 {
        self.log_limit
    }

    /// Says whether the log's beginning is full.
    pub(super) const fn is_used(&self) -> bool {
        self.pushed > 0
    }

    /// Returns how many bytes came and are not kept.
    pub(super) fn dropped(&self) -> u64 {
        self.pushed.saturating_sub(self.limit())
    }

    /// Returns how long the log was when its end began to be appended.
    pub(super) const fn closed_at(&self) -> Option<u64> {
        self.closed_at
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let ring = self.limit() * 2;
        // Of a log of a few bytes no end is kept.
        let piece = usize::try_from(self.limit().max(1)).unwrap_or(usize::MAX);
        for piece in bytes.chunks(piece) {
            if let Some(start) = self.pushed.checked_rem(ring) {
                let room = usize::try_from(ring - start).unwrap_or(usize::MAX);
                let (first, rest) = piece.split_at(room.min(piece.len()));
                self.file.write_all_at(first, HEAD + start)?;
                self.file.write_all_at(rest, HEAD)?;
            }
            self.pushed += piece.len() as u64;
            self.write_head()?;
        }
        Ok(())
    }

    /// Notes that from here on the end is appended to the log, which is `len` bytes long.
    pub(super) fn close(&mut self, len: u64) -> io::Result<()> {
        self.closed_at = Some(len);
        self.write_head()
    }

    /// Forgets the end: the log has it.
    pub(super) const fn forget(&mut self) {
        self.pushed = 0;
    }

    fn write_head(&self) -> io::Result<()> {
        let closed = self.closed_at.map_or(0, |it| it + 1);
        let head = [self.log_limit, self.pushed, closed].map(u64::to_le_bytes);
        self.file.write_all_at(head.as_flattened(), 0)
    }

    /// Returns what is kept.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let (limit, ring) = (self.limit(), self.limit() * 2);
        let length = self.pushed.min(limit);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let Some(start) = (self.pushed - length).checked_rem(ring) else {
            return Ok(bytes);
        };
        let room = usize::try_from(ring - start).unwrap_or(usize::MAX);
        let (first, rest) = bytes.split_at_mut(room.min(usize::try_from(length).unwrap_or(0)));
        self.file.read_exact_at(first, HEAD + start)?;
        self.file.read_exact_at(rest, HEAD)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_same_however_it_came() {
        let all: Vec<u8> = (0..=250).cycle().take(1000).collect();
        for limit in [0, 3, 4, 40, 400, 4000] {
            for size in [1, 7, 99, 100, 101, 199, 201, 1000] {
                let file = tempfile::tempfile().expect("a file");
                let mut tail = Tail::new(file.try_clone().expect("cloned"), limit);
                let mut came = 0;
                for piece in all.chunks(size) {
                    tail.push(piece).expect("pushed");
                    came += piece.len();
                }
                let kept = usize::try_from(tail.limit()).expect("small").min(came);
                let again = Tail::reopen(&file).expect("read").expect("left");
                assert_eq!(again.read().expect("read"), all[came - kept..]);
                assert_eq!(again.dropped(), (came - kept) as u64);
            }
        }
    }

    #[test]
    fn a_kill_before_the_head_is_written_leaves_what_was() {
        let file = tempfile::tempfile().expect("a file");
        let mut tail = Tail::new(file.try_clone().expect("cloned"), 40);
        tail.push(b"0123456789abcdef").expect("pushed");
        let mut head = [0; 24];
        file.read_exact_at(&mut head, 0).expect("read");
        tail.push(b"ABCDEFGHIJ").expect("pushed");
        file.write_all_at(&head, 0).expect("written");
        let again = Tail::reopen(&file).expect("read").expect("left");
        assert_eq!(again.read().expect("read"), b"6789abcdef");
    }
}
