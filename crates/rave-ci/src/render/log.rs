//! A job's log, from the bytes as the runner sent them to lines and folding sections.
//!
//! A [`LogRenderer`] is fed bytes in whatever portions they arrive and gives the same pieces however they were split.
//! Its state is bounded: one line, the header of a line, and a stack of open sections.

use super::ansi::{Scanner, Token};
use super::line::Line;
use super::section::{MARK_LIMIT, Mark, find_mark};

/// How deep sections nest; those beyond show as plain lines.
const DEPTH_LIMIT: usize = 16;
/// Length of the header of a line: time, stream and whether it continues the line before.
const HEADER_BYTES: usize = 32;

/// A part of a rendered log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole line as HTML.
    Line(String),
    /// What follows belongs to this section until it is closed.
    Open(Opened),
    /// The innermost section ends. How long it took, when that is known and wanted.
    Close { section: u32, secs: Option<i64> },
}

/// The beginning of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) section: u32,
    pub(crate) collapsed: bool,
    /// Number and title as HTML.
    pub(crate) title: String,
}

#[derive(Clone, Debug)]
struct OpenSection {
    opened: Opened,
    mark: Mark,
}

/// The header that a line may begin with, as far as it has been read.
#[derive(Clone, Debug, Default)]
struct Header {
    bytes: Vec<u8>,
    /// Whether the line has not come past where a header may be.
    reading: bool,
}

/// Renders a log.
#[derive(Clone, Debug)]
pub(crate) struct LogRenderer {
    scanner: Scanner,
    line: Line,
    header: Header,
    /// The stream that the present line came on, when its header told.
    stream: Option<[u8; 3]>,
    /// The line has ended, unless the next one continues it.
    ended: bool,
    /// A section begins in this line, whose rest is its title.
    starting: Option<Mark>,
    /// The line had a mark: when it shows nothing else it is left out.
    marked: bool,
    sections: Vec<OpenSection>,
    section_count: u32,
    line_count: u64,
    offset: u64,
    quiet: bool,
}

impl LogRenderer {
    /// Starts at the beginning of a log.
    pub(crate) fn new() -> Self {
        Self {
            scanner: Scanner::default(),
            line: Line::default(),
            header: Header {
                bytes: Vec::new(),
                reading: true,
            },
            stream: None,
            ended: false,
            starting: None,
            marked: false,
            sections: Vec::new(),
            section_count: 0,
            line_count: 0,
            offset: 0,
            quiet: false,
        }
    }

    /// Returns how many bytes it was fed.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the sections that are open, outermost first.
    pub(crate) fn open_sections(&self) -> impl Iterator<Item = &Opened> {
        self.sections.iter().map(|it| &it.opened)
    }

    /// Reads on without making lines: for the part of a log that is not shown.
    pub(crate) fn skip(&mut self, bytes: &[u8]) {
        self.quiet = true;
        self.feed(bytes);
        self.quiet = false;
    }

    /// Reads on and returns the pieces that are complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.offset += bytes.len() as u64;
        for byte in bytes {
            self.byte(*byte, &mut pieces);
        }
        pieces
    }

    /// Ends the log: returns what was still open.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.end_header(&mut pieces);
        let begun = self.ended || !self.line.is_blank() || self.starting.is_some();
        if begun {
            self.end_line(&mut pieces);
        }
        while self.close_section(None, &mut pieces) {}
        pieces
    }

    /// Returns the line that is not complete as HTML, empty when nothing of it is there.
    pub(crate) fn unfinished(&self) -> String {
        if self.line.is_blank() && (!self.ended || self.marked) {
            return String::new();
        }
        line_html(self.line_count + 1, &self.line.html())
    }

    fn byte(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if !self.header.reading {
            return self.content(byte, pieces);
        }
        self.header.bytes.push(byte);
        if !fits_header(&self.header.bytes) {
            return self.end_header(pieces);
        }
        if self.header.bytes.len() == HEADER_BYTES {
            let header = std::mem::take(&mut self.header.bytes);
            self.header.reading = false;
            let stream = [header[28], header[29], header[30]];
            let continues = header[31] == b'+' && self.ended && self.stream == Some(stream);
            if self.ended && !continues {
                self.end_line(pieces);
            }
            self.ended = false;
            self.stream = Some(stream);
        }
    }

    /// Takes what looked like a header for text.
    fn end_header(&mut self, pieces: &mut Vec<Piece>) {
        if !self.header.reading {
            return;
        }
        let bytes = std::mem::take(&mut self.header.bytes);
        self.header.reading = false;
        if bytes.is_empty() {
            return;
        }
        if self.ended {
            self.end_line(pieces);
        }
        self.stream = None;
        for byte in bytes {
            self.content(byte, pieces);
        }
    }

    fn content(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if byte == b'\n' {
            self.header.reading = true;
            self.ended = true;
            // Only lines with a header can be continued; others are not held back.
            if self.stream.is_none() {
                self.end_line(pieces);
            }
            return;
        }
        let line = &mut self.line;
        let mut mark = None;
        self.scanner.feed(byte, &mut |token| {
            if token == Token::Return {
                mark = find_mark(&line.before_cursor(MARK_LIMIT));
            }
            match &mark {
                Some(mark) => line.take_back(mark.length),
                None => line.apply(token),
            }
        });
        if let Some(mark) = mark {
            self.mark(mark, pieces);
        }
    }

    fn mark(&mut self, mark: Mark, pieces: &mut Vec<Piece>) {
        self.marked = true;
        self.begin_section(pieces);
        if !self.line.is_blank() {
            self.push_line(pieces);
        }
        self.line.clear();
        if mark.start {
            self.starting = Some(mark);
            return;
        }
        let Some(depth) = self
            .sections
            .iter()
            .rposition(|it| it.mark.name == mark.name)
        else {
            return;
        };
        while self.sections.len() > depth + 1 {
            self.close_section(None, pieces);
        }
        self.close_section(Some(mark.at_secs), pieces);
    }

    fn end_line(&mut self, pieces: &mut Vec<Piece>) {
        let line = &mut self.line;
        self.scanner.end_line(&mut |token| line.apply(token));
        let leave_out = self.starting.is_some() || self.marked && self.line.is_blank();
        self.begin_section(pieces);
        if !leave_out {
            self.push_line(pieces);
        }
        self.line.clear();
        self.ended = false;
        self.marked = false;
    }

    /// Opens the section that begins in this line, with what the line shows as its title.
    fn begin_section(&mut self, pieces: &mut Vec<Piece>) {
        let Some(mark) = self.starting.take() else {
            return;
        };
        let mut text = self.line.html();
        if self.line.is_blank() {
            text = mark.name.replace('_', " ");
        }
        self.line.clear();
        self.line_count += 1;
        if self.sections.len() >= DEPTH_LIMIT {
            pieces.extend((!self.quiet).then(|| Piece::Line(line_html(self.line_count, &text))));
            return;
        }
        self.section_count += 1;
        let opened = Opened {
            section: self.section_count,
            collapsed: mark.collapsed,
            title: numbered(self.line_count, &text),
        };
        if !self.quiet {
            pieces.push(Piece::Open(opened.clone()));
        }
        self.sections.push(OpenSection { opened, mark });
    }

    fn close_section(&mut self, at_secs: Option<i64>, pieces: &mut Vec<Piece>) -> bool {
        let Some(ended) = self.sections.pop() else {
            return false;
        };
        let started = ended.mark.at_secs;
        let secs = at_secs
            .filter(|_| !ended.mark.hide_duration)
            .map(|it| it.saturating_sub(started).max(0));
        if !self.quiet {
            pieces.push(Piece::Close {
                section: ended.opened.section,
                secs,
            });
        }
        true
    }

    fn push_line(&mut self, pieces: &mut Vec<Piece>) {
        self.line_count += 1;
        if !self.quiet {
            pieces.push(Piece::Line(line_html(self.line_count, &self.line.html())));
        }
    }
}

/// Whether these bytes may be the beginning of `2026-01-02T03:04:05.678901Z 01O+`.
fn fits_header(bytes: &[u8]) -> bool {
    const SHAPE: &[u8; HEADER_BYTES] = b"0000-00-00T00:00:00.000000Z xxO+";
    bytes.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        b'O' => matches!(byte, b'O' | b'E'),
        b'+' => matches!(byte, b' ' | b'+'),
        other => byte == other,
    })
}

/// Returns a whole line without the header that its runner may have put before it.
pub(crate) fn without_header(line: &[u8]) -> &[u8] {
    match line.split_at_checked(HEADER_BYTES) {
        Some((header, rest)) if fits_header(header) => rest,
        _ => line,
    }
}

/// A line with its number, which links to itself.
fn numbered(number: u64, html: &str) -> String {
    format!(
        "<a class=\"ln\" id=\"L{number}\" href=\"#L{number}\">{number}</a><span class=\"tx\">{html}</span>"
    )
}

fn line_html(number: u64, html: &str) -> String {
    format!("<div class=\"line\">{}</div>", numbered(number, html))
}
