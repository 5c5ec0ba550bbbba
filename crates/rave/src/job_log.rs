//! Logs of jobs as a terminal shows them: without the marks of sections, without what a carriage return overwrote, and,
//! unless everything is asked for, without what the runner does before and after the script.

/// The longest line. What is longer is cut into several.
const LINE: usize = 16 << 10;

/// Turns the bytes of a log, as they come, into lines.
#[derive(Debug)]
pub(crate) struct LogLines {
    colour: bool,
    everything: bool,
    rest: Vec<u8>,
    /// The open sections, the outermost first.
    sections: Vec<String>,
    /// Whether the next line is the title of a section of the runner's.
    at_title: bool,
}

impl LogLines {
    /// `colour` keeps colours, `everything` also what is not of the script.
    pub(crate) fn new(colour: bool, everything: bool) -> Self {
        Self {
            colour,
            everything,
            rest: Vec::new(),
            sections: Vec::new(),
            at_title: false,
        }
    }

    /// Takes some bytes and returns the lines that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|it| *it == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.rest.len() >= LINE {
                lines.extend(self.line());
            }
        }
        lines
    }

    /// Returns the last line of a log that ended without a line's end.
    pub(crate) fn finish(&mut self) -> Option<String> {
        if self.rest.is_empty() {
            None
        } else {
            self.line()
        }
    }

    fn line(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.rest);
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end_matches(['\n', '\r']);
        let text = self.marks(line);
        let title = std::mem::take(&mut self.at_title);
        let shown = text.rsplit('\r').next().unwrap_or_default();
        let plain = controls(shown, false);
        if plain.trim().is_empty() && (line.len() > plain.len() || title) {
            return None;
        }
        let wanted = self.everything || (!title && self.is_wanted(&plain));
        wanted.then(|| {
            if self.colour {
                controls(shown, true)
            } else {
                plain
            }
        })
    }

    /// Follows the marks at the beginning of a line and returns what comes after them.
    fn marks<'a>(&mut self, line: &'a str) -> &'a str {
        let mut rest = line;
        loop {
            let mark = rest.strip_prefix("\x1b[0K").unwrap_or(rest);
            let (start, body) = match (
                mark.strip_prefix("section_start:"),
                mark.strip_prefix("section_end:"),
            ) {
                (Some(body), _) => (true, body),
                (_, Some(body)) => (false, body),
                _ => return mark,
            };
            let (body, after) = body.split_once('\r').unwrap_or((body, ""));
            // A time, a name, and options in brackets.
            let name = body.split(':').nth(1).unwrap_or_default();
            let name = name.split('[').next().unwrap_or_default();
            if start {
                self.at_title = self.sections.is_empty();
                self.sections.push(name.to_owned());
            } else if let Some(at) = self.sections.iter().rposition(|it| it == name) {
                self.sections.truncate(at);
            }
            rest = after;
        }
    }

    /// Whether a line is of the script, or says what went wrong around it.
    fn is_wanted(&self, plain: &str) -> bool {
        match self.sections.first() {
            Some(it) if it.starts_with("step_") || it == "after_script" => true,
            Some(_) => plain.starts_with("WARNING") || plain.starts_with("ERROR"),
            None => plain.starts_with("ERROR"),
        }
    }
}

/// Returns the last lines of a log that say something.
pub(crate) fn tail(log: &[u8], lines: usize, colour: bool, everything: bool) -> Vec<String> {
    let mut reader = LogLines::new(colour, everything);
    let mut all = reader.push(log);
    all.extend(reader.finish());
    all.retain(|it| !it.trim().is_empty());
    all.split_off(all.len().saturating_sub(lines))
}

/// Removes control characters and sequences from a line; colours may stay.
fn controls(line: &str, colours: bool) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|it: char| it.is_control() && it != '\t') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(sequence) = rest.strip_prefix("\x1b[") else {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        let end = sequence.find(|it: char| it.is_ascii_alphabetic());
        let end = end.map_or(sequence.len(), |it| it + 1);
        if colours && sequence[..end].ends_with('m') {
            text.push_str("\x1b[");
            text.push_str(&sequence[..end]);
        }
        rest = &sequence[end..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "Running with rave-runner 1\n\
        section_start:1:get_sources\r\x1b[0K\x1b[36;1mGetting source\x1b[0;m\nFetching\nWARNING: slow\n\
        section_end:1:get_sources\r\x1b[0Ksection_start:2:step_script\r\x1b[0K\x1b[36;1mExecuting\x1b[0;m\n\
        \x1b[32;1m$ make\x1b[0;m\n10%\r50%\r100%\r\n\
        section_start:3:own[collapsed=true]\r\x1b[0KMy section\ninside\nsection_end:3:own\r\x1b[0K\n\
        \nboom\r\nsection_end:4:step_script\r\x1b[0K\x1b[31;1mERROR: Job failed: exit status 1\x1b[0;m\n";

    fn lines(everything: bool) -> Vec<String> {
        let mut reader = LogLines::new(false, everything);
        // In small pieces, as they may come.
        let pieces = LOG.as_bytes().chunks(7);
        let mut lines: Vec<String> = pieces.flat_map(|it| reader.push(it)).collect();
        lines.extend(reader.finish());
        lines
    }

    #[test]
    fn a_log_is_what_the_script_said() {
        let script = [
            "WARNING: slow",
            "$ make",
            "100%",
            "My section",
            "inside",
            "",
            "boom",
            "ERROR: Job failed: exit status 1",
        ];
        assert_eq!(lines(false), script);
        assert_eq!(
            lines(true)[..3],
            ["Running with rave-runner 1", "Getting source", "Fetching"]
        );
    }

    #[test]
    fn the_end_of_a_log_is_readable() {
        assert_eq!(
            tail(LOG.as_bytes(), 2, false, false),
            ["boom", "ERROR: Job failed: exit status 1"]
        );
        assert_eq!(tail(b"a\nb", 9, false, true), ["a", "b"]);
        let red = tail(b"\x1b[31mx\x1b[0m\x1b[2K\x07", 1, true, true);
        assert_eq!(red, ["\x1b[31mx\x1b[0m"]);
        assert_eq!(tail("\u{1b}[1;2".as_bytes(), 1, false, true), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut reader = LogLines::new(false, true);
        let long = vec![b'x'; LINE * 3 + 1];
        let lines = reader.push(&long);
        assert!(lines.iter().map(String::len).sum::<usize>() + reader.rest.len() == long.len());
        assert!(reader.rest.len() < LINE * 4);
    }
}
