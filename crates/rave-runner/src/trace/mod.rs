//! The log of one job: masked, made valid UTF-8, limited, and spooled to a file.
//!
//! Memory stays flat however much a job prints. Sending the log is left to [`crate::report`].

mod mask;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rave_core::time::Clock;
use tokio::sync::Notify;

use mask::Masker;

/// The log of one job. Clones write to the same log.
#[derive(Clone)]
pub(crate) struct Trace {
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Log>,
    written: Notify,
    spool: File,
    clock: Arc<dyn Clock>,
    sections: bool,
}

struct Log {
    masker: Masker,
    utf8_tail: Vec<u8>,
    crc: crc32fast::Hasher,
    len: u64,
    limit: u64,
    full: bool,
    /// The first failure to write the spool. The log ends there; the job goes on.
    broken: Option<io::Error>,
}

/// How long the log is and what its bytes add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) checksum: String,
    pub(crate) len: u64,
}

/// How a line of the runner's own looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// Bold cyan: the title of a stage.
    Title,
    /// Bold green: a notice.
    Notice,
    /// Yellow: something the user should know.
    Warning,
    /// Bold red: why the job failed.
    Error,
    /// No colour.
    Plain,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Title => "\x1b[36;1m",
            Self::Notice => "\x1b[32;1m",
            Self::Warning => "\x1b[0;33m",
            Self::Error => "\x1b[31;1m",
            Self::Plain => "",
        }
    }
}

impl Trace {
    /// Opens a log that masks `values` and tokens with `prefixes`.
    pub(crate) fn open<'a>(
        values: impl IntoIterator<Item = &'a str>,
        prefixes: &[String],
        limit: u64,
        sections: bool,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let log = Log {
            masker: Masker::new(values, prefixes),
            utf8_tail: Vec::new(),
            crc: crc32fast::Hasher::new(),
            len: 0,
            limit,
            full: false,
            broken: None,
        };
        let spool = tempfile::tempfile()?;
        Ok(Self {
            shared: Arc::new(Shared {
                log: Mutex::new(log),
                written: Notify::new(),
                spool,
                clock,
                sections,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Masks these values from here on, instead of those that were masked before.
    pub(crate) fn mask<'a>(&self, values: impl IntoIterator<Item = &'a str>, prefixes: &[String]) {
        let mut log = self.lock();
        log.flush(&self.shared.spool);
        log.masker = Masker::new(values, prefixes);
    }

    /// Appends output of the job.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.lock().write(bytes, &self.shared.spool);
        self.shared.written.notify_one();
    }

    /// Appends a line of the runner's own.
    pub(crate) fn line(&self, tone: Tone, text: &str) {
        let reset = if matches!(tone, Tone::Plain) {
            ""
        } else {
            "\x1b[0;m"
        };
        self.write(format!("{}{text}{reset}\n", tone.code()).as_bytes());
    }

    /// Opens a section, which pages can fold.
    pub(crate) fn section_start(&self, name: &str, title: &str) {
        if self.shared.sections {
            self.write(
                format!(
                    "section_start:{}:{}\r\x1b[0K",
                    self.now_secs(),
                    section_name(name)
                )
                .as_bytes(),
            );
        }
        self.line(Tone::Title, title);
    }

    /// Ends a section.
    pub(crate) fn section_end(&self, name: &str) {
        if self.shared.sections {
            self.write(
                format!(
                    "section_end:{}:{}\r\x1b[0K",
                    self.now_secs(),
                    section_name(name)
                )
                .as_bytes(),
            );
        }
    }

    fn now_secs(&self) -> i64 {
        self.shared.clock.now().0 / 1000
    }

    /// Ends a stage's output: nothing of it is held back any longer.
    pub(crate) fn flush(&self) {
        self.lock().flush(&self.shared.spool);
        self.shared.written.notify_one();
    }

    /// Appends the last line, for which there is always room.
    pub(crate) fn finish(&self, tone: Tone, text: &str) {
        let mut log = self.lock();
        log.flush(&self.shared.spool);
        log.limit = u64::MAX;
        log.full = false;
        log.write(
            format!("{}{text}\x1b[0;m\n", tone.code()).as_bytes(),
            &self.shared.spool,
        );
        log.flush(&self.shared.spool);
        drop(log);
        self.shared.written.notify_one();
    }

    /// Returns the length and checksum of everything written.
    pub(crate) fn summary(&self) -> Summary {
        let log = self.lock();
        Summary {
            checksum: format!("crc32:{:08x}", log.crc.clone().finalize()),
            len: log.len,
        }
    }

    /// Returns the length of what can be read.
    pub(crate) fn len(&self) -> u64 {
        self.lock().len
    }

    /// Reads up to `most` bytes from `offset`.
    pub(crate) fn read(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = self.len().saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(most)];
        self.shared.spool.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Waits until something may have been written since the last call. May be dropped at any point.
    pub(crate) async fn written(&self) {
        self.shared.written.notified().await;
    }
}

impl Log {
    fn write(&mut self, bytes: &[u8], spool: &File) {
        let mut masked = Vec::with_capacity(bytes.len());
        self.masker.push(bytes, &mut masked);
        self.append(&masked, spool);
    }

    fn flush(&mut self, spool: &File) {
        let mut masked = Vec::new();
        self.masker.finish(&mut masked);
        self.append(&masked, spool);
        if !std::mem::take(&mut self.utf8_tail).is_empty() {
            self.store("\u{fffd}", spool);
        }
    }

    /// Makes the bytes valid UTF-8, keeping back a character whose end has not come yet.
    fn append(&mut self, bytes: &[u8], spool: &File) {
        let mut joined = std::mem::take(&mut self.utf8_tail);
        joined.extend_from_slice(bytes);
        let mut text = String::with_capacity(joined.len());
        let mut rest = joined.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break;
                }
                Err(error) => error,
            };
            let (valid, broken) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(len) = error.error_len() else {
                self.utf8_tail = broken.to_vec();
                break;
            };
            text.push('\u{fffd}');
            rest = &broken[len..];
        }
        self.store(&text, spool);
    }

    fn store(&mut self, text: &str, spool: &File) {
        if self.full || text.is_empty() {
            return;
        }
        let room = usize::try_from(self.limit.saturating_sub(self.len)).unwrap_or(usize::MAX);
        if text.len() <= room {
            return self.put(text.as_bytes(), spool);
        }
        self.full = true;
        let cut = text.floor_char_boundary(room);
        let notice = format!(
            "\n\x1b[33;1mJob's log exceeded limit of {} bytes.\x1b[0;m\n",
            self.limit
        );
        self.put(&text.as_bytes()[..cut], spool);
        self.put(notice.as_bytes(), spool);
    }

    fn put(&mut self, bytes: &[u8], spool: &File) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = spool.write_all_at(bytes, self.len) {
            tracing::error!(%error, "cannot spool a job's log; the rest of it is lost");
            self.broken = Some(error);
            return;
        }
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
    }
}

/// Makes a section name of any text: other characters than `[a-zA-Z0-9_.-]` become `_`.
pub(crate) fn section_name(text: &str) -> String {
    let allowed = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-');
    text.chars()
        .map(|it| if allowed(it) { it } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_core::time::{ManualClock, Timestamp};

    fn trace(limit: u64) -> Trace {
        let clock = Arc::new(ManualClock::new(Timestamp(5_000)));
        Trace::open(["s3cret"], &[], limit, true, clock).expect("a spool")
    }

    fn text(trace: &Trace) -> String {
        String::from_utf8(trace.read(0, usize::MAX).expect("readable")).expect("valid UTF-8")
    }

    #[test]
    fn a_log_is_masked_valid_and_summed() {
        let log = trace(1000);
        log.write(b"a s3c");
        log.write(b"ret \xc3");
        log.write(b"\xa9 \xff\xc3");
        log.flush();
        assert_eq!(text(&log), "a [MASKED] \u{e9} \u{fffd}\u{fffd}");
        let summary = log.summary();
        assert_eq!(summary.len, text(&log).len() as u64);
        assert_eq!(
            summary.checksum,
            format!("crc32:{:08x}", crc32fast::hash(text(&log).as_bytes()))
        );
    }

    #[test]
    fn past_the_limit_only_the_last_line_is_kept() {
        let log = trace(4);
        log.write("a\u{e9}\u{e9}z".as_bytes());
        log.write(b"more");
        log.finish(Tone::Error, "ERROR: Job failed");
        let expected = "a\u{e9}\n\x1b[33;1mJob's log exceeded limit of 4 bytes.\x1b[0;m\n\x1b[31;1mERROR: Job failed\x1b[0;m\n";
        assert_eq!(text(&log), expected);
    }

    #[test]
    fn sections_have_names_that_pages_accept() {
        assert_eq!(section_name("step_a b/c.d-e"), "step_a_b_c.d-e");
        let log = trace(1000);
        log.section_start("step_script", "Go");
        log.section_end("step_script");
        let expected = "section_start:5:step_script\r\x1b[0K\x1b[36;1mGo\x1b[0;m\nsection_end:5:step_script\r\x1b[0K";
        assert_eq!(text(&log), expected);
    }
}
