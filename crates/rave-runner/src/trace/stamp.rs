//! Begins every line of a log with its time and stream, in the 32 bytes that other runners use for it.
//!
//! An entry is a line. A line that is not at its end yet, when a carriage return or a flush comes, is an entry all the same,
//! and the next one says that it continues it.

use rave_core::time::Timestamp;

/// The longest entry.
const LONGEST: usize = 8 << 10;

/// Who wrote a piece of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Runner,
    Script,
}

/// Cuts text into entries.
#[derive(Debug)]
pub(super) struct Stamper {
    stream: Stream,
    line: String,
    continues: bool,
}

impl Stamper {
    pub(super) const fn new() -> Self {
        Self {
            stream: Stream::Runner,
            line: String::new(),
            continues: false,
        }
    }

    /// Takes text of a stream and appends the entries that are complete.
    pub(super) fn push(&mut self, text: &str, stream: Stream, now: Timestamp, out: &mut String) {
        if stream != self.stream {
            self.flush(now, out);
            self.continues = false;
            self.stream = stream;
        }
        for part in text.split_inclusive(['\n', '\r']) {
            self.line.push_str(part);
            if part.ends_with('\n') {
                self.end(now, out);
            } else if part.ends_with('\r') {
                self.flush(now, out);
            }
            while self.line.len() > LONGEST {
                let rest = self.line.split_off(self.line.floor_char_boundary(LONGEST));
                self.flush(now, out);
                self.line = rest;
            }
        }
    }

    /// Ends an entry in the middle of its line.
    pub(super) fn flush(&mut self, now: Timestamp, out: &mut String) {
        if !self.line.is_empty() {
            self.line.push('\n');
            self.end(now, out);
            self.continues = true;
        }
    }

    fn end(&mut self, now: Timestamp, out: &mut String) {
        let stream = match self.stream {
            Stream::Runner => "00O",
            Stream::Script => "01O",
        };
        let flag = if self.continues { '+' } else { ' ' };
        out.push_str(&time(now));
        out.push_str(&format!(" {stream}{flag}{}", self.line));
        self.line.clear();
        self.continues = false;
    }
}

/// Writes a time with microseconds, as the header has it. The clock tells milliseconds.
fn time(now: Timestamp) -> String {
    format!("{}000Z", now.rfc3339().trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[(&str, Stream)], expected: &[&str]) {
        let (mut stamper, mut out) = (Stamper::new(), String::new());
        let now = Timestamp(1_700_000_000_123);
        for (text, stream) in pieces {
            stamper.push(text, *stream, now, &mut out);
        }
        stamper.flush(now, &mut out);
        let head = "2023-11-14T22:13:20.123000Z ";
        let expected: String = expected.iter().map(|it| format!("{head}{it}")).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn every_line_begins_with_its_time() {
        use Stream::{Runner, Script};
        check(
            &[("a\nb", Script), ("c\n", Script)],
            &["01O a\n", "01O bc\n"],
        );
        check(
            &[("10%\r20%\r\n", Script)],
            &["01O 10%\r\n", "01O+20%\r\n", "01O+\n"],
        );
        check(
            &[("start", Script), ("x\n", Runner)],
            &["01O start\n", "00O x\n"],
        );
        let long = "y".repeat(LONGEST + 1);
        let (first, second) = (format!("01O {}\n", &long[1..]), "01O+y\n".to_owned());
        check(&[(&long, Script)], &[&first, &second]);
        assert_eq!(time(Timestamp(1_700_000_000_000)).len(), 27);
    }
}
