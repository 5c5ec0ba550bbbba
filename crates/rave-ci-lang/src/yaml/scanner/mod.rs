//! Text to tokens.
//!
//! Block structure is indentation, so the scanner keeps a stack of columns and emits a start and an end for each. A key is
//! only known by the `:` after it: where one may begin, the place is remembered, and the tokens since are held back until
//! the `:` was seen, the line ended or 1,024 characters passed. That bounds what is held.

mod properties;
mod scalars;

use std::collections::VecDeque;

use super::cursor::{Cursor, Mark};
use super::token::{SyntaxError, Token, TokenKind};

type Scanned<T> = Result<T, SyntaxError>;

/// How far a `:` may be from the beginning of its key.
const LONGEST_KEY: usize = 1024;

pub(super) struct Scanner<'a> {
    cursor: Cursor<'a>,
    queue: VecDeque<Token<'a>>,
    /// Number of the token at the head of the queue.
    head: usize,
    /// The head of the queue is there and stays the head.
    settled: bool,
    /// Column of the innermost block collection; -1 outside of all.
    indent: i64,
    outer_indents: Vec<i64>,
    /// Where a key may have begun: one for block context, and one for each open flow collection.
    candidates: Vec<Option<Candidate>>,
    /// All candidates before this one are gone, so that deep nesting is not walked for each token.
    live: usize,
    key_allowed: bool,
}

/// A place where a key may have begun.
#[derive(Clone, Copy)]
struct Candidate {
    mark: Mark,
    /// Number that the first token of the key has.
    token: usize,
    /// Nothing but a key can be here, since the place is the indentation of a block mapping.
    required: bool,
}

impl<'a> Scanner<'a> {
    /// `text` has no control characters but tabs and line breaks.
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            cursor: Cursor::new(text),
            queue: VecDeque::new(),
            head: 0,
            settled: false,
            indent: -1,
            outer_indents: Vec::new(),
            candidates: vec![None],
            live: 0,
            key_allowed: true,
        }
    }

    /// Returns the next token without taking it. After the end of the stream it is that end again.
    pub(super) fn peek(&mut self) -> Scanned<&mut Token<'a>> {
        while !self.settled {
            self.settled = self.head_is_settled()?;
            if !self.settled {
                self.fetch()?;
            }
        }
        Ok(self.queue.front_mut().expect("a settled head exists"))
    }

    /// Takes the token that was peeked at.
    pub(super) fn next(&mut self) {
        self.queue.pop_front();
        self.head += 1;
        self.settled = false;
    }

    /// Returns whether the queue has a head before which no more tokens can come.
    fn head_is_settled(&mut self) -> Scanned<bool> {
        if self.queue.is_empty() {
            return Ok(false);
        }
        self.drop_stale_candidates()?;
        let head = self.head;
        let waits = |it: &Option<Candidate>| it.is_some_and(|it| it.token == head);
        Ok(!self.candidates[self.live..].iter().any(waits))
    }

    fn fetch(&mut self) -> Scanned<()> {
        self.skip_to_token();
        self.drop_stale_candidates()?;
        let mark = self.cursor.mark();
        self.close_blocks(i64::from(mark.column));
        if self.cursor.is_end() {
            return self.stream_end();
        }
        let in_flow = self.in_flow();
        match self.cursor.byte() {
            b'%' if mark.column == 0 => self.directive(),
            b'-' if self.cursor.is_document_indicator() => {
                self.document_indicator(TokenKind::DocumentStart)
            }
            b'.' if self.cursor.is_document_indicator() => {
                self.document_indicator(TokenKind::DocumentEnd)
            }
            b'[' => self.flow_start(TokenKind::FlowSequenceStart),
            b'{' => self.flow_start(TokenKind::FlowMappingStart),
            b']' => self.flow_end(TokenKind::FlowSequenceEnd),
            b'}' => self.flow_end(TokenKind::FlowMappingEnd),
            b',' => self.flow_entry(),
            b'-' if self.cursor.is_blank_or_end_at(1) => self.block_entry(),
            b'?' if in_flow || self.cursor.is_blank_or_end_at(1) => self.key(),
            b':' if in_flow || self.cursor.is_blank_or_end_at(1) => self.value(),
            b'*' => self.content(|it| it.anchor(true)),
            b'&' => self.content(|it| it.anchor(false)),
            b'!' => self.content(Self::tag),
            b'|' if !in_flow => self.block_scalar(true),
            b'>' if !in_flow => self.block_scalar(false),
            b'\'' => self.content(|it| it.quoted_scalar(b'\'')),
            b'"' => self.content(|it| it.quoted_scalar(b'"')),
            // These have another meaning at the beginning of a token. `-` has it only before a blank.
            b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => Err(SyntaxError {
                problem: "found character that cannot start any token",
                context: "while scanning for the next token",
                began: mark,
                at: mark,
            }),
            _ => self.content(Self::plain_scalar),
        }
    }

    fn in_flow(&self) -> bool {
        self.candidates.len() > 1
    }

    /// Passes blanks, comments and line breaks. A tab may not stand where a block key may begin.
    fn skip_to_token(&mut self) {
        loop {
            if self.cursor.mark().column == 0 && self.cursor.rest().starts_with('\u{feff}') {
                self.cursor.skip();
            }
            let tabs = self.in_flow() || !self.key_allowed;
            while self.cursor.byte() == b' ' || tabs && self.cursor.byte() == b'\t' {
                self.cursor.skip_ascii(1);
            }
            if self.cursor.byte() == b'#' {
                self.cursor.skip_to_line_end();
            }
            if self.cursor.skip_break().is_none() {
                return;
            }
            if !self.in_flow() {
                self.key_allowed = true;
            }
        }
    }

    /// Forgets candidates that can no longer be keys.
    fn drop_stale_candidates(&mut self) -> Scanned<()> {
        if let [None] = self.candidates[self.live..] {
            return Ok(());
        }
        let now = self.cursor.mark();
        for candidate in &mut self.candidates[self.live..] {
            let Some(it) = *candidate else { continue };
            if it.mark.line < now.line || it.mark.index + LONGEST_KEY < now.index {
                if it.required {
                    return Err(missing_colon(it.mark, now));
                }
                *candidate = None;
            }
        }
        let gone = |it: &usize| self.candidates[*it].is_none();
        let last = self.candidates.len() - 1;
        self.live = (self.live..last).find(|it| !gone(it)).unwrap_or(last);
        Ok(())
    }

    fn save_candidate(&mut self) -> Scanned<()> {
        if !self.key_allowed {
            return Ok(());
        }
        self.drop_candidate()?;
        let mark = self.cursor.mark();
        let candidate = Candidate {
            mark,
            token: self.head + self.queue.len(),
            required: !self.in_flow() && self.indent == i64::from(mark.column),
        };
        if let Some(slot) = self.candidates.last_mut() {
            *slot = Some(candidate);
        }
        Ok(())
    }

    /// Forgets the candidate of the innermost collection.
    fn drop_candidate(&mut self) -> Scanned<()> {
        match self.candidates.last_mut().and_then(Option::take) {
            Some(it) if it.required => Err(missing_colon(it.mark, self.cursor.mark())),
            _ => Ok(()),
        }
    }

    fn push(&mut self, kind: TokenKind<'a>, start: Mark) {
        let end = self.cursor.mark();
        self.queue.push_back(Token { kind, start, end });
    }

    /// Takes an indicator of `width` characters and queues its token.
    fn push_indicator(&mut self, kind: TokenKind<'a>, width: u32) {
        let start = self.cursor.mark();
        self.cursor.skip_ascii(width);
        self.push(kind, start);
    }

    /// Begins a block collection at `mark` if that is further in than the innermost one. Its token becomes number `token`.
    fn open_block(&mut self, kind: TokenKind<'a>, mark: Mark, token: usize) {
        let column = i64::from(mark.column);
        if self.in_flow() || self.indent >= column {
            return;
        }
        self.outer_indents.push(self.indent);
        self.indent = column;
        let (start, end) = (mark, mark);
        self.queue
            .insert(token - self.head, Token { kind, start, end });
    }

    /// Ends the block collections that are further in than `column`.
    fn close_blocks(&mut self, column: i64) {
        if self.in_flow() {
            return;
        }
        while self.indent > column {
            self.push(TokenKind::BlockEnd, self.cursor.mark());
            self.indent = self.outer_indents.pop().unwrap_or(-1);
        }
    }

    fn stream_end(&mut self) -> Scanned<()> {
        self.cursor.move_to_line_after_end();
        self.leave_all_blocks()?;
        self.push(TokenKind::StreamEnd, self.cursor.mark());
        Ok(())
    }

    fn leave_all_blocks(&mut self) -> Scanned<()> {
        self.close_blocks(-1);
        self.drop_candidate()?;
        self.key_allowed = false;
        Ok(())
    }

    fn document_indicator(&mut self, kind: TokenKind<'a>) -> Scanned<()> {
        self.leave_all_blocks()?;
        self.push_indicator(kind, 3);
        Ok(())
    }

    fn flow_start(&mut self, kind: TokenKind<'a>) -> Scanned<()> {
        self.save_candidate()?;
        self.candidates.push(None);
        self.key_allowed = true;
        self.push_indicator(kind, 1);
        Ok(())
    }

    fn flow_end(&mut self, kind: TokenKind<'a>) -> Scanned<()> {
        self.drop_candidate()?;
        if self.in_flow() {
            self.candidates.pop();
            self.live = self.live.min(self.candidates.len() - 1);
        }
        self.key_allowed = false;
        self.push_indicator(kind, 1);
        Ok(())
    }

    fn flow_entry(&mut self) -> Scanned<()> {
        self.drop_candidate()?;
        self.key_allowed = true;
        self.push_indicator(TokenKind::FlowEntry, 1);
        Ok(())
    }

    /// Begins a block collection here for an indicator, which is not allowed everywhere.
    fn open_block_here(&mut self, kind: TokenKind<'a>, refusal: &'static str) -> Scanned<()> {
        let mark = self.cursor.mark();
        if !self.in_flow() && !self.key_allowed {
            return Err(SyntaxError {
                problem: refusal,
                context: "",
                began: mark,
                at: mark,
            });
        }
        self.open_block(kind, mark, self.head + self.queue.len());
        Ok(())
    }

    fn block_entry(&mut self) -> Scanned<()> {
        self.open_block_here(
            TokenKind::BlockSequenceStart,
            "block sequence entries are not allowed in this context",
        )?;
        self.drop_candidate()?;
        self.key_allowed = true;
        self.push_indicator(TokenKind::BlockEntry, 1);
        Ok(())
    }

    fn key(&mut self) -> Scanned<()> {
        self.open_block_here(
            TokenKind::BlockMappingStart,
            "mapping keys are not allowed in this context",
        )?;
        self.drop_candidate()?;
        self.key_allowed = !self.in_flow();
        self.push_indicator(TokenKind::Key, 1);
        Ok(())
    }

    fn value(&mut self) -> Scanned<()> {
        if let Some(Candidate { mark, token, .. }) =
            self.candidates.last_mut().and_then(Option::take)
        {
            let (start, end) = (mark, mark);
            let kind = TokenKind::Key;
            self.queue
                .insert(token - self.head, Token { kind, start, end });
            self.open_block(TokenKind::BlockMappingStart, mark, token);
            self.key_allowed = false;
        } else {
            self.open_block_here(
                TokenKind::BlockMappingStart,
                "mapping values are not allowed in this context",
            )?;
            self.key_allowed = !self.in_flow();
        }
        self.push_indicator(TokenKind::Value, 1);
        Ok(())
    }

    /// Scans something that may be a key.
    fn content(&mut self, scan: impl FnOnce(&mut Self) -> Scanned<Token<'a>>) -> Scanned<()> {
        self.save_candidate()?;
        self.key_allowed = false;
        let token = scan(self)?;
        self.queue.push_back(token);
        Ok(())
    }

    /// Returns an error about something that began at `start`.
    fn fail<T>(
        &self,
        context: &'static str,
        start: Mark,
        problem: &'static str,
    ) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            problem,
            context,
            began: start,
            at: self.cursor.mark(),
        })
    }
}

fn missing_colon(key: Mark, at: Mark) -> SyntaxError {
    SyntaxError {
        problem: "could not find expected ':'",
        context: "while scanning a simple key",
        began: key,
        at,
    }
}
