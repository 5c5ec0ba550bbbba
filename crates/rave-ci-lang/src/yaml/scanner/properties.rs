//! What precedes a node or a document: anchors, aliases, tags, directives.

use super::{Scanned, Scanner};
use crate::yaml::cursor::Mark;
use crate::yaml::token::{Tag, Token, TokenKind};

const DIRECTIVE: &str = "while scanning a directive";
const VERSION: &str = "while scanning a %YAML directive";
const TAG_DIRECTIVE: &str = "while scanning a %TAG directive";
const TAG: &str = "while scanning a tag";

/// Where a tag is read, which decides the words of its errors and the characters it may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Directive,
    /// `!<…>`
    Verbatim,
    Shorthand,
}

impl<'a> Scanner<'a> {
    /// Passes letters, digits, `_` and `-`.
    fn word(&mut self) -> &'a str {
        let from = self.cursor.offset();
        while matches!(self.cursor.byte(), b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-') {
            self.cursor.skip_ascii(1);
        }
        self.cursor.since(from)
    }

    pub(super) fn anchor(&mut self, alias: bool) -> Scanned<Token<'a>> {
        let start = self.cursor.mark();
        self.cursor.skip_ascii(1);
        let name = self.word();
        let end = self.cursor.mark();
        let follows = self.cursor.is_blank_or_end()
            || matches!(
                self.cursor.byte(),
                b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`'
            );
        if name.is_empty() || !follows {
            let context = match alias {
                true => "while scanning an alias",
                false => "while scanning an anchor",
            };
            let problem = "did not find expected alphabetic or numeric character";
            return self.fail(context, start, problem);
        }
        let kind = match alias {
            true => TokenKind::Alias(name),
            false => TokenKind::Anchor(name),
        };
        Ok(Token { kind, start, end })
    }

    pub(super) fn tag(&mut self) -> Scanned<Token<'a>> {
        let start = self.cursor.mark();
        let tag = if self.cursor.byte_at(1) == b'<' {
            self.cursor.skip_ascii(2);
            let suffix = self.uri(Form::Verbatim, "", start)?;
            if self.cursor.byte() != b'>' {
                return self.fail(TAG, start, "did not find the expected '>'");
            }
            self.cursor.skip_ascii(1);
            Tag { handle: "", suffix }
        } else {
            let handle = self.tag_handle(Form::Shorthand, start)?;
            if handle.len() > 1 && handle.ends_with('!') {
                let suffix = self.uri(Form::Shorthand, "", start)?;
                Tag { handle, suffix }
            } else {
                match self.uri(Form::Shorthand, handle, start)? {
                    // `!` alone is a tag of its own.
                    suffix if suffix.is_empty() => Tag {
                        handle: "",
                        suffix: "!".to_owned(),
                    },
                    suffix => Tag {
                        handle: "!",
                        suffix,
                    },
                }
            }
        };
        let before_comma = self.in_flow() && self.cursor.byte() == b',';
        if !self.cursor.is_blank_or_end() && !before_comma {
            return self.fail(TAG, start, "did not find expected whitespace or line break");
        }
        let (kind, end) = (TokenKind::Tag(tag), self.cursor.mark());
        Ok(Token { kind, start, end })
    }

    /// Reads `!`, `!!` or `!name!`; outside of directives also `!name`, which is the beginning of a tag.
    fn tag_handle(&mut self, form: Form, start: Mark) -> Scanned<&'a str> {
        let from = self.cursor.offset();
        if self.cursor.byte() != b'!' {
            let context = match form {
                Form::Directive => "while scanning a tag directive",
                Form::Verbatim | Form::Shorthand => TAG,
            };
            return self.fail(context, start, "did not find expected '!'");
        }
        self.cursor.skip_ascii(1);
        let name = self.word();
        if self.cursor.byte() == b'!' {
            self.cursor.skip_ascii(1);
        } else if form == Form::Directive && !name.is_empty() {
            let context = "while parsing a tag directive";
            return self.fail(context, start, "did not find expected '!'");
        }
        Ok(self.cursor.since(from))
    }

    /// Reads the rest of a tag. `head` is a handle that turned out to be its beginning.
    fn uri(&mut self, form: Form, head: &str, start: Mark) -> Scanned<String> {
        let mut octets = head.as_bytes().get(1..).unwrap_or_default().to_vec();
        let mut is_empty = head.is_empty();
        loop {
            match self.cursor.byte() {
                b'%' => self.uri_escape(form, start, &mut octets)?,
                byte @ (b'0'..=b'9'
                | b'A'..=b'Z'
                | b'a'..=b'z'
                | b'_'
                | b'-'
                | b';'
                | b'/'
                | b'?'
                | b':'
                | b'@'
                | b'&'
                | b'='
                | b'+'
                | b'$'
                | b'.'
                | b'!'
                | b'~'
                | b'*'
                | b'\''
                | b'('
                | b')') => {
                    octets.push(byte);
                    self.cursor.skip_ascii(1);
                }
                byte @ (b',' | b'[' | b']') if form != Form::Shorthand => {
                    octets.push(byte);
                    self.cursor.skip_ascii(1);
                }
                _ => break,
            }
            is_empty = false;
        }
        if is_empty {
            return self.fail(uri_context(form), start, "did not find expected tag URI");
        }
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }

    /// Reads the octets of one character, each written `%` and two digits.
    fn uri_escape(&mut self, form: Form, start: Mark, octets: &mut Vec<u8>) -> Scanned<()> {
        let context = uri_context(form);
        let mut left = None;
        while left != Some(0) {
            let digit = |ahead| char::from(self.cursor.byte_at(ahead)).to_digit(16);
            let (b'%', Some(high), Some(low)) = (self.cursor.byte(), digit(1), digit(2)) else {
                return self.fail(context, start, "did not find URI escaped octet");
            };
            let octet = (high << 4 | low) as u8;
            left = Some(match (left, octet) {
                (None, 0..0x80) => 0,
                (None, 0xC0..0xE0) => 1,
                (None, 0xE0..0xF0) => 2,
                (None, 0xF0..0xF8) => 3,
                (None, _) => {
                    return self.fail(context, start, "found an incorrect leading UTF-8 octet");
                }
                (Some(left), 0x80..0xC0) => left - 1,
                (Some(_), _) => {
                    return self.fail(context, start, "found an incorrect trailing UTF-8 octet");
                }
            });
            octets.push(octet);
            self.cursor.skip_ascii(3);
        }
        Ok(())
    }

    pub(super) fn directive(&mut self) -> Scanned<()> {
        self.leave_all_blocks()?;
        let start = self.cursor.mark();
        self.cursor.skip_ascii(1);
        let name = self.word();
        if name.is_empty() {
            let problem = "could not find expected directive name";
            return self.fail(DIRECTIVE, start, problem);
        }
        if !self.cursor.is_blank_or_end() {
            let problem = "found unexpected non-alphabetical character";
            return self.fail(DIRECTIVE, start, problem);
        }
        let kind = match name {
            "YAML" => self.version(start)?,
            "TAG" => self.tag_directive(start)?,
            _ => return self.fail(DIRECTIVE, start, "found unknown directive name"),
        };
        let end = self.cursor.mark();
        self.cursor.skip_blanks();
        if self.cursor.byte() == b'#' {
            self.cursor.skip_to_line_end();
        }
        if !self.cursor.is_line_end() {
            let problem = "did not find expected comment or line break";
            return self.fail(DIRECTIVE, start, problem);
        }
        self.cursor.skip_break();
        self.queue.push_back(Token { kind, start, end });
        Ok(())
    }

    fn version(&mut self, start: Mark) -> Scanned<TokenKind<'a>> {
        self.cursor.skip_blanks();
        let major = self.version_number(start)?;
        if self.cursor.byte() != b'.' {
            let problem = "did not find expected digit or '.' character";
            return self.fail(VERSION, start, problem);
        }
        self.cursor.skip_ascii(1);
        let minor = self.version_number(start)?;
        Ok(TokenKind::VersionDirective { major, minor })
    }

    fn version_number(&mut self, start: Mark) -> Scanned<u32> {
        const LONGEST: usize = 9;
        let from = self.cursor.offset();
        while self.cursor.byte().is_ascii_digit() {
            if self.cursor.offset() - from == LONGEST {
                return self.fail(VERSION, start, "found extremely long version number");
            }
            self.cursor.skip_ascii(1);
        }
        match self.cursor.since(from).parse() {
            Ok(number) => Ok(number),
            Err(_) => self.fail(VERSION, start, "did not find expected version number"),
        }
    }

    fn tag_directive(&mut self, start: Mark) -> Scanned<TokenKind<'a>> {
        self.cursor.skip_blanks();
        let handle = self.tag_handle(Form::Directive, start)?;
        if !self.cursor.is_blank() {
            return self.fail(TAG_DIRECTIVE, start, "did not find expected whitespace");
        }
        self.cursor.skip_blanks();
        let prefix = self.uri(Form::Directive, "", start)?;
        if !self.cursor.is_blank_or_end() {
            let problem = "did not find expected whitespace or line break";
            return self.fail(TAG_DIRECTIVE, start, problem);
        }
        Ok(TokenKind::TagDirective { handle, prefix })
    }
}

fn uri_context(form: Form) -> &'static str {
    match form {
        Form::Directive => "while parsing a %TAG directive",
        Form::Verbatim | Form::Shorthand => "while parsing a tag",
    }
}
