//! The log of one job: masked, made valid UTF-8, limited, and spooled to a file.
//!
//! Memory stays flat however much a job prints. Sending the log is left to [`crate::report`].

mod mask;
mod spool;
mod stamp;
mod tail;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rave_core::time::{Clock, Timestamp};
use tokio::sync::Notify;

use mask::Masker;
pub(crate) use spool::Files;
use spool::Spool;
use stamp::{Stamper, Stream};

/// The log of one job. Clones write to the same log.
#[derive(Clone)]
pub(crate) struct Trace {
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Log>,
    written: Notify,
    clock: Arc<dyn Clock>,
    sections: bool,
}

struct Log {
    masker: Masker,
    utf8_tail: Vec<u8>,
    stream: Stream,
    stamper: Option<Stamper>,
    spool: Spool,
}

/// How a log is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// About how many bytes are kept.
    pub(crate) limit: u64,
    /// Whether stages are marked for pages to fold them.
    pub(crate) sections: bool,
    /// Whether every line begins with its time.
    pub(crate) timestamps: bool,
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
    /// Opens a log in empty files, which masks `values` and tokens with `prefixes`.
    pub(crate) fn open<'a>(
        files: Files,
        values: impl IntoIterator<Item = &'a str>,
        prefixes: &[String],
        form: Form,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let stamper = form.timestamps.then(Stamper::new);
        Self::of(
            Masker::new(values, prefixes),
            Spool::new(files, form.limit),
            stamper,
            form.sections,
            clock,
        )
    }

    /// Opens the log of a job whose runner was killed. It holds no secrets, and takes a few lines more.
    pub(crate) fn reopen(files: Files, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let spool = Spool::reopen(files)?;
        Ok(Self::of(Masker::new([], &[]), spool, None, false, clock))
    }

    fn of(
        masker: Masker,
        spool: Spool,
        stamper: Option<Stamper>,
        sections: bool,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let log = Log {
            masker,
            utf8_tail: Vec::new(),
            stream: Stream::Runner,
            stamper,
            spool,
        };
        Self {
            shared: Arc::new(Shared {
                log: Mutex::new(log),
                written: Notify::new(),
                clock,
                sections,
            }),
        }
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
        log.flush(self.now());
        log.masker = Masker::new(values, prefixes);
    }

    /// Appends output of the job.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.append(bytes, Stream::Script);
    }

    fn append(&self, bytes: &[u8], stream: Stream) {
        self.lock().write(bytes, stream, self.now());
        self.shared.written.notify_one();
    }

    /// Appends a line of the runner's own.
    pub(crate) fn line(&self, tone: Tone, text: &str) {
        let reset = if matches!(tone, Tone::Plain) {
            ""
        } else {
            "\x1b[0;m"
        };
        let line = format!("{}{text}{reset}\n", tone.code());
        self.append(line.as_bytes(), Stream::Runner);
    }

    /// Opens a section, which pages can fold.
    pub(crate) fn section_start(&self, name: &str, title: &str) {
        if self.shared.sections {
            self.mark("start", name);
        }
        self.line(Tone::Title, title);
    }

    /// Ends a section.
    pub(crate) fn section_end(&self, name: &str) {
        if self.shared.sections {
            self.mark("end", name);
        }
    }

    fn mark(&self, what: &str, name: &str) {
        let (secs, name) = (self.now().0 / 1000, section_name(name));
        let mark = format!("section_{what}:{secs}:{name}\r\x1b[0K");
        self.append(mark.as_bytes(), Stream::Runner);
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Ends a stage's output: nothing of it is held back any longer.
    pub(crate) fn flush(&self) {
        self.lock().flush(self.now());
        self.shared.written.notify_one();
    }

    /// Appends the end of a log that was too long, and the last line, for which there is always room.
    pub(crate) fn finish(&self, tone: Tone, text: &str) {
        let mut log = self.lock();
        log.flush(self.now());
        log.spool.close();
        let line = format!("{}{text}\x1b[0;m\n", tone.code());
        log.write(line.as_bytes(), Stream::Runner, self.now());
        log.flush(self.now());
        drop(log);
        self.shared.written.notify_one();
    }

    /// Returns the length and checksum of everything written.
    pub(crate) fn summary(&self) -> Summary {
        let log = self.lock();
        Summary {
            checksum: log.spool.checksum(),
            len: log.spool.len(),
        }
    }

    /// Says whether the last line has no end.
    pub(crate) fn is_mid_line(&self) -> io::Result<bool> {
        self.lock().spool.is_mid_line()
    }

    /// Returns the length of what can be read.
    pub(crate) fn len(&self) -> u64 {
        self.lock().spool.len()
    }

    /// Reads up to `most` bytes from `offset`.
    pub(crate) fn read(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let log = self.lock();
        let left = log.spool.len().saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(most)];
        log.spool.read(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Waits until something may have been written since the last call. May be dropped at any point.
    pub(crate) async fn written(&self) {
        self.shared.written.notified().await;
    }
}

impl Log {
    fn write(&mut self, bytes: &[u8], stream: Stream, now: Timestamp) {
        if stream != self.stream {
            // What one has begun to say the other does not go on with.
            self.flush(now);
            self.stream = stream;
        }
        let mut masked = Vec::with_capacity(bytes.len());
        self.masker.push(bytes, &mut masked);
        self.append(&masked, now);
    }

    fn flush(&mut self, now: Timestamp) {
        let mut masked = Vec::new();
        self.masker.finish(&mut masked);
        self.append(&masked, now);
        if !std::mem::take(&mut self.utf8_tail).is_empty() {
            self.store("\u{fffd}", now);
        }
        if let Some(stamper) = &mut self.stamper {
            let mut text = String::new();
            stamper.flush(now, &mut text);
            self.spool.store(&text);
        }
    }

    /// Makes the bytes valid UTF-8, keeping back a character whose end has not come yet.
    fn append(&mut self, bytes: &[u8], now: Timestamp) {
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
        self.store(&text, now);
    }

    fn store(&mut self, text: &str, now: Timestamp) {
        match &mut self.stamper {
            None => self.spool.store(text),
            Some(stamper) => {
                let mut stamped = String::new();
                stamper.push(text, self.stream, now, &mut stamped);
                self.spool.store(&stamped);
            }
        }
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
    use rave_core::time::ManualClock;

    fn trace(limit: u64) -> Trace {
        let clock = Arc::new(ManualClock::new(Timestamp(5_000)));
        let file = || tempfile::tempfile().expect("a file");
        let files = Files {
            log: file(),
            tail: file(),
        };
        let form = Form {
            limit,
            sections: true,
            timestamps: false,
        };
        Trace::open(files, ["s3cret"], &[], form, clock)
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
    fn past_the_limit_the_last_line_is_kept() {
        let log = trace(8);
        log.write("a\u{e9}\u{e9}zzzzzzzzzzzz\nend".as_bytes());
        log.finish(Tone::Error, "ERROR: Job failed");
        let text = text(&log);
        assert!(
            text.starts_with("a\u{e9}\u{e9}z\n\x1b[33;1mJob's log exceeded limit of 8 bytes."),
            "{text}"
        );
        assert!(
            text.ends_with("\x1b[31;1mERROR: Job failed\x1b[0;m\n"),
            "{text}"
        );
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
