//! Tokens to events: nodes begin and end, one after the other.
//!
//! The grammar is a machine with an explicit stack, so nesting costs no call stack, and a caller that counts depth can
//! stop at any event.

use std::borrow::Cow;

use super::cursor::Mark;
use super::scanner::Scanner;
use super::token::{Style, SyntaxError, Tag, TokenKind};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    Alias(&'a str),
    Scalar {
        anchor: Option<&'a str>,
        tag: Option<Cow<'a, str>>,
        value: Cow<'a, str>,
        /// Its text and tag decide its type: it is not quoted, or has a tag.
        plain: bool,
    },
    SequenceStart {
        anchor: Option<&'a str>,
        tag: Option<Cow<'a, str>>,
    },
    SequenceEnd,
    MappingStart {
        anchor: Option<&'a str>,
        tag: Option<Cow<'a, str>>,
    },
    MappingEnd,
}

/// An event and where what it is about begins.
pub(super) type Placed<'a> = (Event<'a>, Mark);
type Parsed<'a> = Result<Placed<'a>, SyntaxError>;

pub(super) struct Parser<'a> {
    scanner: Scanner<'a>,
    state: State,
    /// What follows the node that is being read, for each node around it.
    outer: Vec<State>,
    /// Where the open collections began, for errors.
    starts: Vec<Mark>,
    /// Handles that `%TAG` defines for this document.
    handles: Vec<(&'a str, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    DocumentStart { implicit: bool },
    DocumentContent,
    DocumentEnd,
    BlockNode,
    BlockSequence { first: bool },
    IndentlessSequence,
    BlockKey { first: bool },
    BlockValue,
    FlowSequence { first: bool },
    PairKey,
    PairValue,
    PairEnd,
    FlowKey { first: bool },
    FlowValue { empty: bool },
    End,
}

/// What may be a node's content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Flow,
    Block,
    /// The value of a block key, where a sequence needs no indentation.
    BlockValue,
}

impl<'a> Parser<'a> {
    /// # Errors
    ///
    /// When the text has a character that YAML does not allow anywhere; the place is that character's.
    pub(super) fn new(text: &'a str) -> Result<Self, SyntaxError> {
        // Most files have nothing but ordinary ASCII, which is seen sooner byte by byte.
        let ordinary = |it: &u8| matches!(it, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        let plain = text.as_bytes().iter().filter(|it| ordinary(it)).count() == text.len();
        if !plain && let Some(at) = text.find(is_forbidden) {
            return Err(forbidden(&text[..at]));
        }
        Ok(Self {
            scanner: Scanner::new(text),
            state: State::DocumentStart { implicit: true },
            outer: Vec::new(),
            starts: Vec::new(),
            handles: Vec::new(),
        })
    }

    /// Returns the next event. After the end of the stream, that end again.
    pub(super) fn next(&mut self) -> Parsed<'a> {
        match self.state {
            State::DocumentStart { implicit } => self.document_start(implicit),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(Place::Block),
            State::BlockSequence { first } => self.block_sequence(first),
            State::IndentlessSequence => self.indentless_sequence(),
            State::BlockKey { first } => self.block_key(first),
            State::BlockValue => self.block_value(),
            State::FlowSequence { first } => self.flow_sequence(first),
            State::PairKey => self.pair_key(),
            State::PairValue => self.pair_value(),
            State::PairEnd => {
                self.state = State::FlowSequence { first: false };
                Ok((Event::MappingEnd, self.start()?))
            }
            State::FlowKey { first } => self.flow_key(first),
            State::FlowValue { empty } => self.flow_value(empty),
            State::End => Ok((Event::StreamEnd, self.start()?)),
        }
    }

    fn kind(&mut self) -> Result<&mut TokenKind<'a>, SyntaxError> {
        Ok(&mut self.scanner.peek()?.kind)
    }

    /// Returns where the next token begins.
    fn start(&mut self) -> Result<Mark, SyntaxError> {
        Ok(self.scanner.peek()?.start)
    }

    /// Takes the next token and returns where it ended.
    fn pass(&mut self) -> Result<Mark, SyntaxError> {
        let end = self.scanner.peek()?.end;
        self.scanner.next();
        Ok(end)
    }

    fn leave(&mut self) {
        self.state = self.outer.pop().unwrap_or(State::End);
    }

    /// Reads a node, after which `then` follows.
    fn node_then(&mut self, then: State, place: Place) -> Parsed<'a> {
        self.outer.push(then);
        self.node(place)
    }

    /// Goes on with `then` after a node that is not there.
    fn nothing_then(&mut self, then: State, at: Mark) -> Parsed<'a> {
        self.state = then;
        let event = Event::Scalar {
            anchor: None,
            tag: None,
            value: Cow::Borrowed(""),
            plain: true,
        };
        Ok((event, at))
    }

    /// Ends the innermost collection at the next token, which is taken.
    fn collection_end(&mut self, event: Event<'a>) -> Parsed<'a> {
        let start = self.start()?;
        self.scanner.next();
        self.starts.pop();
        self.leave();
        Ok((event, start))
    }

    /// Fails at the next token, in the innermost collection.
    fn unexpected(&mut self, problem: &'static str, context: &'static str) -> Parsed<'a> {
        let start = self.starts.pop().unwrap_or_default();
        self.fail(problem, context, start)
    }

    fn fail<T>(
        &mut self,
        problem: &'static str,
        context: &'static str,
        began: Mark,
    ) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            problem,
            context,
            began,
            at: self.start()?,
        })
    }

    fn document_start(&mut self, implicit: bool) -> Parsed<'a> {
        if !implicit {
            while matches!(self.kind()?, TokenKind::DocumentEnd) {
                self.scanner.next();
            }
        }
        let explicit = matches!(
            self.kind()?,
            TokenKind::VersionDirective { .. }
                | TokenKind::TagDirective { .. }
                | TokenKind::DocumentStart
        );
        let start = self.start()?;
        if matches!(self.kind()?, TokenKind::StreamEnd) {
            self.state = State::End;
            return Ok((Event::StreamEnd, start));
        }
        if explicit || !implicit {
            self.directives()?;
            if !matches!(self.kind()?, TokenKind::DocumentStart) {
                return self.fail(
                    "did not find expected <document start>",
                    "",
                    Mark::default(),
                );
            }
            self.scanner.next();
            self.state = State::DocumentContent;
        } else {
            self.state = State::BlockNode;
        }
        self.outer.push(State::DocumentEnd);
        Ok((Event::DocumentStart, start))
    }

    fn directives(&mut self) -> Result<(), SyntaxError> {
        let mut versioned = false;
        loop {
            match self.kind()? {
                TokenKind::VersionDirective { major, minor } => {
                    let known = *major == 1 && matches!(*minor, 1 | 2);
                    if versioned {
                        return self.fail("found duplicate %YAML directive", "", Mark::default());
                    }
                    if !known {
                        return self.fail("found incompatible YAML document", "", Mark::default());
                    }
                    versioned = true;
                }
                TokenKind::TagDirective { handle, prefix } => {
                    let (handle, prefix) = (*handle, std::mem::take(prefix));
                    if self.handles.iter().any(|it| it.0 == handle) {
                        return self.fail("found duplicate %TAG directive", "", Mark::default());
                    }
                    self.handles.push((handle, prefix));
                }
                _ => return Ok(()),
            }
            self.scanner.next();
        }
    }

    fn document_content(&mut self) -> Parsed<'a> {
        match self.kind()? {
            TokenKind::VersionDirective { .. }
            | TokenKind::TagDirective { .. }
            | TokenKind::DocumentStart
            | TokenKind::DocumentEnd
            | TokenKind::StreamEnd => {
                let at = self.start()?;
                self.outer.pop();
                self.nothing_then(State::DocumentEnd, at)
            }
            _ => self.node(Place::Block),
        }
    }

    fn document_end(&mut self) -> Parsed<'a> {
        let start = self.start()?;
        if matches!(self.kind()?, TokenKind::DocumentEnd) {
            self.scanner.next();
        }
        self.handles.clear();
        self.state = State::DocumentStart { implicit: false };
        Ok((Event::DocumentEnd, start))
    }

    fn node(&mut self, place: Place) -> Parsed<'a> {
        let mut start = self.start()?;
        if let TokenKind::Alias(name) = *self.kind()? {
            self.scanner.next();
            self.leave();
            return Ok((Event::Alias(name), start));
        }
        let mut anchor = None;
        let mut tag = None;
        // One of each at most, in any order.
        for _ in 0..2 {
            let token = self.scanner.peek()?;
            match &mut token.kind {
                TokenKind::Anchor(name) if anchor.is_none() => anchor = Some(*name),
                TokenKind::Tag(it) if tag.is_none() => {
                    let (handle, suffix) = (it.handle, std::mem::take(&mut it.suffix));
                    tag = Some((Tag { handle, suffix }, token.start));
                }
                _ => break,
            }
            self.scanner.next();
        }
        let tag = match tag {
            Some((tag, at)) => Some(self.resolve(tag, start, at)?),
            None => None,
        };
        let has_properties = anchor.is_some() || tag.is_some();
        let token = self.scanner.peek()?;
        if !has_properties {
            start = token.start;
        }
        let (event, state) = match &mut token.kind {
            TokenKind::BlockEntry if place == Place::BlockValue => {
                let event = Event::SequenceStart { anchor, tag };
                (event, State::IndentlessSequence)
            }
            TokenKind::Scalar { value, style } => {
                let value = std::mem::take(value);
                let plain = *style == Style::Plain || tag.is_some();
                self.scanner.next();
                self.leave();
                let event = Event::Scalar {
                    anchor,
                    tag,
                    value,
                    plain,
                };
                return Ok((event, start));
            }
            TokenKind::FlowSequenceStart => (
                Event::SequenceStart { anchor, tag },
                State::FlowSequence { first: true },
            ),
            TokenKind::FlowMappingStart => (
                Event::MappingStart { anchor, tag },
                State::FlowKey { first: true },
            ),
            TokenKind::BlockSequenceStart if place != Place::Flow => (
                Event::SequenceStart { anchor, tag },
                State::BlockSequence { first: true },
            ),
            TokenKind::BlockMappingStart if place != Place::Flow => (
                Event::MappingStart { anchor, tag },
                State::BlockKey { first: true },
            ),
            _ if has_properties => {
                self.leave();
                let event = Event::Scalar {
                    anchor,
                    tag,
                    value: Cow::Borrowed(""),
                    plain: true,
                };
                return Ok((event, start));
            }
            _ => {
                let context = match place {
                    Place::Flow => "while parsing a flow node",
                    Place::Block | Place::BlockValue => "while parsing a block node",
                };
                return self.fail("did not find expected node content", context, start);
            }
        };
        self.state = state;
        Ok((event, start))
    }

    /// Returns the whole tag.
    fn resolve(
        &mut self,
        tag: Tag<'a>,
        start: Mark,
        at: Mark,
    ) -> Result<Cow<'a, str>, SyntaxError> {
        let Tag { handle, suffix } = tag;
        let defined = self.handles.iter().find(|it| it.0 == handle);
        let prefix = match (defined, handle) {
            (_, "") => "",
            (Some((_, prefix)), _) => prefix.as_str(),
            (None, "!") => "!",
            (None, "!!") => "tag:yaml.org,2002:",
            (None, _) => {
                return Err(SyntaxError {
                    problem: "found undefined tag handle",
                    context: "while parsing a node",
                    began: start,
                    at,
                });
            }
        };
        Ok(Cow::Owned(format!("{prefix}{suffix}")))
    }

    fn block_sequence(&mut self, first: bool) -> Parsed<'a> {
        if first {
            let start = self.start()?;
            self.starts.push(start);
            self.scanner.next();
        }
        let then = State::BlockSequence { first: false };
        match self.kind()? {
            TokenKind::BlockEntry => {
                let end = self.pass()?;
                match self.kind()? {
                    TokenKind::BlockEntry | TokenKind::BlockEnd => self.nothing_then(then, end),
                    _ => self.node_then(then, Place::Block),
                }
            }
            TokenKind::BlockEnd => self.collection_end(Event::SequenceEnd),
            _ => self.unexpected(
                "did not find expected '-' indicator",
                "while parsing a block collection",
            ),
        }
    }

    fn indentless_sequence(&mut self) -> Parsed<'a> {
        let then = State::IndentlessSequence;
        if !matches!(self.kind()?, TokenKind::BlockEntry) {
            self.leave();
            return Ok((Event::SequenceEnd, self.start()?));
        }
        let end = self.pass()?;
        match self.kind()? {
            TokenKind::BlockEntry | TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd => {
                self.nothing_then(then, end)
            }
            _ => self.node_then(then, Place::Block),
        }
    }

    fn block_key(&mut self, first: bool) -> Parsed<'a> {
        if first {
            let start = self.start()?;
            self.starts.push(start);
            self.scanner.next();
        }
        match self.kind()? {
            TokenKind::Key => {
                let end = self.pass()?;
                match self.kind()? {
                    TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd => {
                        self.nothing_then(State::BlockValue, end)
                    }
                    _ => self.node_then(State::BlockValue, Place::BlockValue),
                }
            }
            TokenKind::BlockEnd => self.collection_end(Event::MappingEnd),
            _ => self.unexpected("did not find expected key", "while parsing a block mapping"),
        }
    }

    fn block_value(&mut self) -> Parsed<'a> {
        let then = State::BlockKey { first: false };
        if !matches!(self.kind()?, TokenKind::Value) {
            let at = self.start()?;
            return self.nothing_then(then, at);
        }
        let end = self.pass()?;
        match self.kind()? {
            TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd => self.nothing_then(then, end),
            _ => self.node_then(then, Place::BlockValue),
        }
    }

    fn flow_sequence(&mut self, first: bool) -> Parsed<'a> {
        if first {
            let start = self.start()?;
            self.starts.push(start);
            self.scanner.next();
        } else if !matches!(
            self.kind()?,
            TokenKind::FlowEntry | TokenKind::FlowSequenceEnd
        ) {
            return self.unexpected(
                "did not find expected ',' or ']'",
                "while parsing a flow sequence",
            );
        } else if matches!(self.kind()?, TokenKind::FlowEntry) {
            self.scanner.next();
        }
        match self.kind()? {
            TokenKind::Key => {
                let start = self.start()?;
                self.scanner.next();
                self.state = State::PairKey;
                let (anchor, tag) = (None, None);
                Ok((Event::MappingStart { anchor, tag }, start))
            }
            TokenKind::FlowSequenceEnd => self.collection_end(Event::SequenceEnd),
            _ => self.node_then(State::FlowSequence { first: false }, Place::Flow),
        }
    }

    /// A pair inside a flow sequence is a map of its own.
    fn pair_key(&mut self) -> Parsed<'a> {
        match self.kind()? {
            // The indicator is taken with the key that is not there, as it has always been.
            TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSequenceEnd => {
                let end = self.pass()?;
                self.nothing_then(State::PairValue, end)
            }
            _ => self.node_then(State::PairValue, Place::Flow),
        }
    }

    fn pair_value(&mut self) -> Parsed<'a> {
        if matches!(self.kind()?, TokenKind::Value) {
            self.scanner.next();
            if !matches!(
                self.kind()?,
                TokenKind::FlowEntry | TokenKind::FlowSequenceEnd
            ) {
                return self.node_then(State::PairEnd, Place::Flow);
            }
        }
        let at = self.start()?;
        self.nothing_then(State::PairEnd, at)
    }

    fn flow_key(&mut self, first: bool) -> Parsed<'a> {
        if first {
            let start = self.start()?;
            self.starts.push(start);
            self.scanner.next();
        } else if !matches!(
            self.kind()?,
            TokenKind::FlowEntry | TokenKind::FlowMappingEnd
        ) {
            return self.unexpected(
                "did not find expected ',' or '}'",
                "while parsing a flow mapping",
            );
        } else if matches!(self.kind()?, TokenKind::FlowEntry) {
            self.scanner.next();
        }
        match self.kind()? {
            TokenKind::Key => {
                self.scanner.next();
                let then = State::FlowValue { empty: false };
                match self.kind()? {
                    TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowMappingEnd => {
                        let at = self.start()?;
                        self.nothing_then(then, at)
                    }
                    _ => self.node_then(then, Place::Flow),
                }
            }
            TokenKind::FlowMappingEnd => self.collection_end(Event::MappingEnd),
            _ => self.node_then(State::FlowValue { empty: true }, Place::Flow),
        }
    }

    fn flow_value(&mut self, empty: bool) -> Parsed<'a> {
        let then = State::FlowKey { first: false };
        if !empty && matches!(self.kind()?, TokenKind::Value) {
            self.scanner.next();
            if !matches!(
                self.kind()?,
                TokenKind::FlowEntry | TokenKind::FlowMappingEnd
            ) {
                return self.node_then(then, Place::Flow);
            }
        }
        let at = self.start()?;
        self.nothing_then(then, at)
    }
}

fn is_forbidden(character: char) -> bool {
    !matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{A0}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Returns the error for the character after `before`.
fn forbidden(before: &str) -> SyntaxError {
    let line = before.rsplit(['\n', '\r']).next().unwrap_or(before);
    let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    let at = Mark {
        index: before.chars().count(),
        line: number(before.replace("\r\n", "\n").matches(['\n', '\r']).count()),
        column: number(line.chars().count()),
    };
    SyntaxError {
        problem: "control characters are not allowed",
        context: "",
        began: Mark::default(),
        at,
    }
}
