//! The percentage that `coverage:` finds in a finished log: the last match of the last line that has one with a number.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};

use crate::render::log::without_header;

/// How much of the end of a log is searched.
pub(crate) const SEARCHED: u64 = 16 << 20;
/// Longest line that is searched as a whole; a longer one is searched in pieces.
const LINE: usize = 1 << 20;
/// How large a pattern may become.
const PATTERN: usize = 1 << 20;

/// Searches a log from its end, piece by piece.
pub(crate) struct Search {
    pattern: Regex,
    /// The beginning of a line whose rest was searched for already, so to speak: what comes before it is not read yet.
    line: Vec<u8>,
}

impl Search {
    /// Prepares a search. `None` when the pattern is not a valid one.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let pattern = RegexBuilder::new(pattern).size_limit(PATTERN).build();
        Some(Self {
            pattern: pattern.ok()?,
            line: Vec::new(),
        })
    }

    /// Takes the piece that ends where the last one began.
    pub(crate) fn back(&mut self, piece: &[u8]) -> Option<f64> {
        let mut end = piece.len();
        while let Some(at) = piece[..end].iter().rposition(|it| *it == b'\n') {
            let mut line = piece[at + 1..end].to_vec();
            line.append(&mut self.line);
            if let Some(found) = self.search(&line) {
                return Some(found);
            }
            end = at;
        }
        let mut line = piece[..end].to_vec();
        line.append(&mut self.line);
        self.line = line;
        if self.line.len() > LINE {
            return self.finish();
        }
        None
    }

    /// Searches the first line, before which nothing comes.
    pub(crate) fn finish(&mut self) -> Option<f64> {
        let line = std::mem::take(&mut self.line);
        self.search(&line)
    }

    fn search(&self, line: &[u8]) -> Option<f64> {
        static NUMBER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\d+(\.\d+)?").expect("the pattern is valid"));
        let line = without_header(line.strip_suffix(b"\r").unwrap_or(line));
        let line = String::from_utf8_lossy(line);
        let last = self.pattern.captures_iter(&line).last()?;
        let found = last.get(last.len() - 1)?;
        let number = NUMBER.find(found.as_str())?.as_str().parse().ok()?;
        // What is no percentage, nor anything like it, would only spoil the pipeline's mean.
        Some(number).filter(|it: &f64| it.is_finite() && *it <= 1_000_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches the log in pieces of each size: where they end must not matter.
    fn check(pattern: &str, log: &str, expected: Option<f64>) {
        for size in [1, 7, 64, 4096] {
            let mut search = Search::new(pattern).unwrap();
            let mut pieces = log.as_bytes().rchunks(size);
            let found = pieces.find_map(|it| search.back(it));
            assert_eq!(
                found.or_else(|| search.finish()),
                expected,
                "{pattern} {size}"
            );
        }
    }

    #[test]
    fn the_last_line_with_a_match_decides() {
        let log = "Lines: 10%\nLines: 42.5% and 55.25%\nno figure here\n";
        check(r"Lines: \d+", log, Some(42.0));
        check(r"\d+\.\d+%", log, Some(55.25));
        check(r"Lines: (\d+)%", "Lines: 10%", Some(10.0));
        check(r"nothing", log, None);
    }

    #[test]
    fn the_last_group_counts_and_a_match_without_number_does_not() {
        check(r"(\w+) (\d+)% of (\d+)", "total 80% of 900\n", Some(900.0));
        check(r"cover(ed|age)", "coverage 7\ncovered 8\n", None);
        check(r"TOTAL.*", "TOTAL 12 3 75%\nTOTAL unknown\n", Some(12.0));
        check(
            r"^TOTAL\s+.*\s(\d+)%$",
            "TOTAL  12   3  75%\r\n",
            Some(75.0),
        );
        let stamped = "2026-01-02T03:04:05.678901Z 01O TOTAL 8%\n";
        check(r"^TOTAL (\d+)%$", stamped, Some(8.0));
        check("ü(\\d+)", "für ü99\n", Some(99.0));
    }

    #[test]
    fn patterns_are_bounded() {
        assert!(Search::new("(").is_none());
        assert!(
            Search::new(r"(?=x)").is_none(),
            "RE2 looks neither ahead nor back"
        );
        assert!(Search::new("((a{1000}){1000}){1000}").is_none());
        let mut search = Search::new("(a+)+ (\\d+)").unwrap();
        let long = vec![b'a'; 3 * LINE];
        assert_eq!(search.back(&long), None);
        assert!(search.line.is_empty(), "a long line is not held");
    }
}
