//! Scalars: plain, quoted, literal and folded.

use std::borrow::Cow;

use super::{Scanned, Scanner};
use crate::yaml::cursor::{Cursor, Mark};
use crate::yaml::token::{Style, Token, TokenKind};

const PLAIN: &str = "while scanning a plain scalar";
const QUOTED: &str = "while scanning a quoted scalar";
const ESCAPE: &str = "while parsing a quoted scalar";
const BLOCK: &str = "while scanning a block scalar";

/// Text that is taken from the source as it is for as long as that is possible.
struct Taken {
    /// What was put together, up to `from`.
    built: Option<String>,
    from: usize,
}

impl Taken {
    fn new(from: usize) -> Self {
        Self { built: None, from }
    }

    /// Takes the source up to `to`, and goes on at `next`.
    fn take(&mut self, cursor: &Cursor<'_>, to: usize, next: usize) -> &mut String {
        let built = self.built.get_or_insert_default();
        built.push_str(cursor.slice(self.from, to));
        self.from = next;
        built
    }

    fn finish<'a>(self, cursor: &Cursor<'a>, to: usize) -> Cow<'a, str> {
        let rest = cursor.slice(self.from, to);
        match self.built {
            None => Cow::Borrowed(rest),
            Some(built) => Cow::Owned(built + rest),
        }
    }
}

/// Line breaks between two lines of a scalar.
#[derive(Default)]
struct Breaks {
    first: Option<char>,
    more: String,
}

impl Breaks {
    fn push(&mut self, line_break: char) {
        match self.first {
            None => self.first = Some(line_break),
            Some(_) => self.more.push(line_break),
        }
    }

    /// Appends what they mean between words: one break is a blank, and further ones stay. Unicode's breaks all stay.
    fn fold_into(&mut self, text: &mut String) {
        match self.first.take() {
            None => {}
            Some('\n') if self.more.is_empty() => text.push(' '),
            Some('\n') => text.push_str(&self.more),
            Some(other) => {
                text.push(other);
                text.push_str(&self.more);
            }
        }
        self.more.clear();
    }
}

fn scalar(value: Cow<'_, str>, style: Style, start: Mark, end: Mark) -> Token<'_> {
    let kind = TokenKind::Scalar { value, style };
    Token { kind, start, end }
}

/// Returns whether a character never means anything but itself inside a scalar.
fn is_ordinary(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'$' | b'=')
}

impl<'a> Scanner<'a> {
    pub(super) fn plain_scalar(&mut self) -> Scanned<Token<'a>> {
        let start = self.cursor.mark();
        let in_flow = self.in_flow();
        let mut taken = Taken::new(self.cursor.offset());
        let mut breaks = Breaks::default();
        let (mut end, mut end_offset) = (start, taken.from);
        loop {
            if self.cursor.byte() == b'#' || self.cursor.is_document_indicator() {
                break;
            }
            while !self.cursor.is_blank_or_end() {
                let byte = self.cursor.byte();
                if byte == b':' {
                    let after = self.cursor.byte_at(1);
                    if in_flow && matches!(after, b',' | b'?' | b'[' | b']' | b'{' | b'}') {
                        return self.fail(PLAIN, start, "found unexpected ':'");
                    }
                    if self.cursor.is_blank_or_end_at(1) {
                        break;
                    }
                } else if in_flow && matches!(byte, b',' | b'[' | b']' | b'{' | b'}') {
                    break;
                }
                if breaks.first.is_some() {
                    let here = self.cursor.offset();
                    breaks.fold_into(taken.take(&self.cursor, end_offset, here));
                }
                self.cursor.skip();
                self.cursor.skip_ascii_until(|it| !is_ordinary(it));
                end = self.cursor.mark();
                end_offset = self.cursor.offset();
            }
            if !self.cursor.is_blank() && !self.cursor.is_break() {
                break;
            }
            self.gap(start, &mut breaks)?;
            if !in_flow && i64::from(self.cursor.mark().column) <= self.indent {
                break;
            }
        }
        if breaks.first.is_some() {
            self.key_allowed = true;
        }
        let value = taken.finish(&self.cursor, end_offset);
        Ok(scalar(value, Style::Plain, start, end))
    }

    /// Passes blanks and line breaks inside a plain scalar.
    fn gap(&mut self, start: Mark, breaks: &mut Breaks) -> Scanned<()> {
        loop {
            if self.cursor.is_blank() {
                let outside = i64::from(self.cursor.mark().column) <= self.indent;
                if breaks.first.is_some() && outside && self.cursor.byte() == b'\t' {
                    let problem = "found a tab character that violates indentation";
                    return self.fail(PLAIN, start, problem);
                }
                self.cursor.skip_ascii(1);
            } else if let Some(line_break) = self.cursor.skip_break() {
                breaks.push(line_break);
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn quoted_scalar(&mut self, quote: u8) -> Scanned<Token<'a>> {
        let start = self.cursor.mark();
        self.cursor.skip_ascii(1);
        let mut taken = Taken::new(self.cursor.offset());
        loop {
            if self.cursor.is_document_indicator() {
                return self.fail(QUOTED, start, "found unexpected document indicator");
            }
            if self.cursor.is_end() {
                return self.fail(QUOTED, start, "found unexpected end of stream");
            }
            let mut breaks = Breaks::default();
            let mut escaped_break = false;
            while !self.cursor.is_blank_or_end() {
                let at = self.cursor.offset();
                match self.cursor.byte() {
                    b'\'' if quote == b'\'' && self.cursor.byte_at(1) == b'\'' => {
                        taken.take(&self.cursor, at, at + 2).push('\'');
                        self.cursor.skip_ascii(2);
                    }
                    byte if byte == quote => break,
                    b'\\' if quote == b'"' && self.cursor.is_break_at(1) => {
                        self.cursor.skip_ascii(1);
                        self.cursor.skip_break();
                        let next = self.cursor.offset();
                        taken.take(&self.cursor, at, next);
                        escaped_break = true;
                        break;
                    }
                    b'\\' if quote == b'"' => {
                        let character = self.escape(start)?;
                        let next = self.cursor.offset();
                        taken.take(&self.cursor, at, next).push(character);
                    }
                    _ => {
                        self.cursor.skip();
                        self.cursor.skip_ascii_until(|it| !is_ordinary(it));
                    }
                }
            }
            let text_end = self.cursor.offset();
            if self.cursor.byte() == quote {
                self.cursor.skip_ascii(1);
                let value = taken.finish(&self.cursor, text_end);
                return Ok(scalar(value, Style::Quoted, start, self.cursor.mark()));
            }
            self.quoted_gap(&mut taken, &mut breaks, escaped_break);
        }
    }

    /// Passes blanks and line breaks inside a quoted scalar. Blanks beside a break are none of its text.
    fn quoted_gap(&mut self, taken: &mut Taken, breaks: &mut Breaks, escaped_break: bool) {
        let text_end = self.cursor.offset();
        let mut broken = escaped_break;
        loop {
            if self.cursor.is_blank() {
                self.cursor.skip_ascii(1);
            } else if let Some(line_break) = self.cursor.skip_break() {
                match escaped_break {
                    true => breaks.more.push(line_break),
                    false => breaks.push(line_break),
                }
                broken = true;
            } else {
                break;
            }
        }
        if !broken {
            return;
        }
        let next = self.cursor.offset();
        let text = taken.take(&self.cursor, text_end, next);
        if escaped_break {
            text.push_str(&breaks.more);
        } else {
            breaks.fold_into(text);
        }
    }

    /// Reads what begins with a backslash.
    fn escape(&mut self, start: Mark) -> Scanned<char> {
        let (character, digits) = match self.cursor.byte_at(1) {
            b'0' => ('\0', 0),
            b'a' => ('\x07', 0),
            b'b' => ('\x08', 0),
            b't' | b'\t' => ('\t', 0),
            b'n' => ('\n', 0),
            b'v' => ('\x0B', 0),
            b'f' => ('\x0C', 0),
            b'r' => ('\r', 0),
            b'e' => ('\x1B', 0),
            literal @ (b' ' | b'"' | b'/' | b'\\') => (char::from(literal), 0),
            b'N' => ('\u{85}', 0),
            b'_' => ('\u{A0}', 0),
            b'L' => ('\u{2028}', 0),
            b'P' => ('\u{2029}', 0),
            b'x' => ('\0', 2),
            b'u' => ('\0', 4),
            b'U' => ('\0', 8),
            _ => return self.fail(ESCAPE, start, "found unknown escape character"),
        };
        self.cursor.skip_ascii(2);
        if digits == 0 {
            return Ok(character);
        }
        let mut code = 0_u32;
        for ahead in 0..digits {
            let digit = char::from(self.cursor.byte_at(ahead)).to_digit(16);
            let Some(digit) = digit else {
                return self.fail(ESCAPE, start, "did not find expected hexdecimal number");
            };
            code = code << 4 | digit;
        }
        let Some(character) = char::from_u32(code) else {
            return self.fail(ESCAPE, start, "found invalid Unicode character escape code");
        };
        self.cursor.skip_ascii(digits as u32);
        Ok(character)
    }

    pub(super) fn block_scalar(&mut self, literal: bool) -> Scanned<()> {
        self.drop_candidate()?;
        self.key_allowed = true;
        let start = self.cursor.mark();
        self.cursor.skip_ascii(1);
        let (chomping, increment) = self.block_header(start)?;
        let mut indent = increment.map(|it| self.indent.max(0) + it);
        let mut end = self.cursor.mark();
        let mut text = String::new();
        let mut last_break: Option<char> = None;
        let mut breaks = self.block_breaks(&mut indent, start, &mut end)?;
        let mut follows_blank = false;
        while Some(i64::from(self.cursor.mark().column)) == indent && !self.cursor.is_end() {
            let blank = self.cursor.is_blank();
            match last_break.take() {
                // Lines that begin with a blank keep their breaks.
                Some('\n') if !literal && !follows_blank && !blank => {
                    if breaks.is_empty() {
                        text.push(' ');
                    }
                }
                last => text.extend(last),
            }
            text.push_str(&breaks);
            follows_blank = blank;
            let from = self.cursor.offset();
            self.cursor.skip_to_line_end();
            text.push_str(self.cursor.since(from));
            last_break = self.cursor.skip_break();
            breaks = self.block_breaks(&mut indent, start, &mut end)?;
        }
        if chomping != Chomping::Strip {
            text.extend(last_break);
        }
        if chomping == Chomping::Keep {
            text.push_str(&breaks);
        }
        let token = scalar(Cow::Owned(text), Style::Block, start, end);
        self.queue.push_back(token);
        Ok(())
    }

    /// Reads what follows `|` or `>`: what to do with the breaks at the end, and the indentation, in any order.
    fn block_header(&mut self, start: Mark) -> Scanned<(Chomping, Option<i64>)> {
        let mut chomping = None;
        let mut increment = None;
        loop {
            match self.cursor.byte() {
                b'+' if chomping.is_none() => chomping = Some(Chomping::Keep),
                b'-' if chomping.is_none() => chomping = Some(Chomping::Strip),
                b'0' if increment.is_none() => {
                    let problem = "found an indentation indicator equal to 0";
                    return self.fail(BLOCK, start, problem);
                }
                digit @ b'1'..=b'9' if increment.is_none() => {
                    increment = Some(i64::from(digit - b'0'));
                }
                _ => break,
            }
            self.cursor.skip_ascii(1);
        }
        self.cursor.skip_blanks();
        if self.cursor.byte() == b'#' {
            self.cursor.skip_to_line_end();
        }
        if !self.cursor.is_line_end() {
            return self.fail(BLOCK, start, "did not find expected comment or line break");
        }
        self.cursor.skip_break();
        Ok((chomping.unwrap_or(Chomping::Clip), increment))
    }

    /// Passes indentation and empty lines, and finds out the indentation if it is not known. Returns the breaks.
    fn block_breaks(
        &mut self,
        indent: &mut Option<i64>,
        start: Mark,
        end: &mut Mark,
    ) -> Scanned<String> {
        let mut breaks = String::new();
        let mut widest = 0;
        *end = self.cursor.mark();
        loop {
            let outside =
                |it: &Cursor<'_>| indent.is_none_or(|to| i64::from(it.mark().column) < to);
            while outside(&self.cursor) && self.cursor.byte() == b' ' {
                self.cursor.skip_ascii(1);
            }
            widest = widest.max(i64::from(self.cursor.mark().column));
            if outside(&self.cursor) && self.cursor.byte() == b'\t' {
                let problem = "found a tab character where an indentation space is expected";
                return self.fail(BLOCK, start, problem);
            }
            let Some(line_break) = self.cursor.skip_break() else {
                break;
            };
            breaks.push(line_break);
            *end = self.cursor.mark();
        }
        indent.get_or_insert(widest.max(self.indent + 1).max(1));
        Ok(breaks)
    }
}

/// What becomes of the line breaks at the end of a block scalar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomping {
    Strip,
    Clip,
    Keep,
}
