//! One line of a log as a terminal would show it: cells that a later `\r` overwrites, and their HTML.

use std::fmt::Write as _;

use super::ansi::{Style, Token};

/// Columns of a line that are shown; what lies beyond is in the raw log.
pub(super) const COLUMN_LIMIT: usize = 8192;
/// How far beyond its end a movement of the cursor makes a line longer: a few bytes must not become thousands.
const JUMP_LIMIT: usize = 200;
/// Longest address that becomes a link, in characters.
const LINK_LIMIT: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    char: char,
    style: Style,
}

const BLANK: Cell = Cell {
    char: ' ',
    style: Style::PLAIN,
};

/// The cells of a line and the cursor in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    cells: Vec<Cell>,
    cursor: usize,
    /// How many characters did not fit.
    dropped: u64,
}

impl Line {
    /// Does what a token says.
    pub(super) fn apply(&mut self, token: Token) {
        match token {
            Token::Char(char, style) => self.put(Cell { char, style }),
            Token::Return => self.cursor = 0,
            Token::Left(count) => self.cursor = self.cursor.saturating_sub(count),
            Token::Right(count) => {
                self.cursor = self.cursor.saturating_add(count).min(COLUMN_LIMIT);
            }
            Token::Column(column) => self.cursor = column.min(COLUMN_LIMIT),
            Token::EraseToEnd => self.cells.truncate(self.cursor),
            Token::EraseToStart => {
                let end = self.cursor.saturating_add(1).min(self.cells.len());
                self.cells[..end].fill(BLANK);
            }
            Token::EraseLine => self.cells.clear(),
        }
    }

    fn put(&mut self, cell: Cell) {
        if self.cursor >= COLUMN_LIMIT {
            self.dropped += 1;
            return;
        }
        self.cursor = self.cursor.min(self.cells.len() + JUMP_LIMIT);
        if self.cursor >= self.cells.len() {
            self.cells.resize(self.cursor, BLANK);
            self.cells.push(cell);
        } else {
            self.cells[self.cursor] = cell;
        }
        self.cursor += 1;
    }

    /// Empties the line.
    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.cursor = 0;
        self.dropped = 0;
    }

    /// Whether the line shows nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.dropped == 0 && self.cells.iter().all(|it| it.char.is_whitespace())
    }

    /// Returns the last `limit` characters before the cursor.
    pub(super) fn before_cursor(&self, limit: usize) -> String {
        let end = self.cursor.min(self.cells.len());
        let start = end.saturating_sub(limit);
        self.cells[start..end].iter().map(|it| it.char).collect()
    }

    /// Takes `count` characters before the cursor away, and everything after it.
    pub(super) fn take_back(&mut self, count: usize) {
        let end = self.cursor.min(self.cells.len()).saturating_sub(count);
        self.cells.truncate(end);
        self.cursor = end;
    }

    /// Returns the line as HTML.
    pub(super) fn html(&self) -> String {
        let links = links(&self.cells);
        let mut html = String::with_capacity(self.cells.len() + 16);
        let mut at = 0;
        let mut links = links.iter().peekable();
        while at < self.cells.len() {
            while links.next_if(|it| it.end <= at).is_some() {}
            let next = links.peek().copied();
            let link = next.filter(|it| it.start <= at);
            let border = match (link, next) {
                (Some(link), _) => link.end,
                (None, Some(next)) => next.start,
                (None, None) => self.cells.len(),
            };
            let style = self.cells[at].style;
            let length = self.cells[at..border]
                .iter()
                .take_while(|it| it.style == style)
                .count();
            let address = link.map(|it| &self.cells[it.start..it.end]);
            write_run(
                &mut html,
                &self.cells[at..at + length],
                &style.classes(),
                address,
            );
            at += length;
        }
        if self.dropped > 0 {
            let _ = write!(
                html,
                "<span class=\"cut\"> … {} more characters in the raw log</span>",
                self.dropped
            );
        }
        html
    }
}

fn write_run(html: &mut String, cells: &[Cell], classes: &str, address: Option<&[Cell]>) {
    if let Some(address) = address {
        html.push_str("<a rel=\"noopener noreferrer nofollow\" href=\"");
        escape(html, address);
        html.push_str("\">");
    }
    if !classes.is_empty() {
        let _ = write!(html, "<span class=\"{classes}\">");
    }
    escape(html, cells);
    if !classes.is_empty() {
        html.push_str("</span>");
    }
    if address.is_some() {
        html.push_str("</a>");
    }
}

fn escape(html: &mut String, cells: &[Cell]) {
    for cell in cells {
        escape_char(html, cell.char);
    }
}

/// Adds a character so that HTML shows it, in text and in quoted attributes.
fn escape_char(html: &mut String, it: char) {
    match it {
        '&' => html.push_str("&amp;"),
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '"' => html.push_str("&quot;"),
        '\'' => html.push_str("&#39;"),
        other => html.push(other),
    }
}

/// Finds the web addresses in a line.
fn links(cells: &[Cell]) -> Vec<std::ops::Range<usize>> {
    let mut links = Vec::new();
    let mut at = 0;
    while at + 8 < cells.len() {
        let scheme = ["https://", "http://"]
            .into_iter()
            .find(|scheme| starts_with(&cells[at..], scheme));
        let Some(scheme) = scheme else {
            at += 1;
            continue;
        };
        let end = address_end(cells, at, at + scheme.len());
        // One style only, so that the address is written once.
        let plain = cells[at..end].iter().all(|it| it.style == cells[at].style);
        if plain && end > at + scheme.len() && end - at <= LINK_LIMIT {
            links.push(at..end);
        }
        at = end.max(at + scheme.len());
    }
    links
}

fn starts_with(cells: &[Cell], text: &str) -> bool {
    cells.len() >= text.len()
        && cells
            .iter()
            .zip(text.chars())
            .all(|(cell, it)| cell.char == it)
}

/// Returns where an address ends: before a blank or a quote, and before the punctuation of the sentence around it.
fn address_end(cells: &[Cell], start: usize, host: usize) -> usize {
    let outside = |it: char| {
        it.is_whitespace() || "<>\"'`|\\^{}".contains(it) || it == char::REPLACEMENT_CHARACTER
    };
    let mut end = host
        + cells[host..]
            .iter()
            .take_while(|it| !outside(it.char))
            .count();
    let opened = cells[start..end].iter().any(|it| it.char == '(');
    while end > host {
        let last = cells[end - 1].char;
        if ".,;:!?]*".contains(last) || (last == ')' && !opened) {
            end -= 1;
        } else {
            break;
        }
    }
    end
}
