//! What the scanner makes of a text: indicators, indentation, scalars.

use std::borrow::Cow;

use super::cursor::Mark;

#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) start: Mark,
    pub(super) end: Mark,
}

#[derive(Debug)]
pub(super) enum TokenKind<'a> {
    StreamEnd,
    VersionDirective { major: u32, minor: u32 },
    TagDirective { handle: &'a str, prefix: String },
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(&'a str),
    Anchor(&'a str),
    Tag(Tag<'a>),
    Scalar { value: Cow<'a, str>, style: Style },
}

/// A tag as it is written; an empty handle means that the suffix is the whole tag.
#[derive(Debug)]
pub(super) struct Tag<'a> {
    pub(super) handle: &'a str,
    pub(super) suffix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Quoted,
    Block,
}

/// Why a text is not YAML, in the words that every program with libyaml uses, so that people find them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) problem: &'static str,
    /// What was being read; empty if there are no words for it.
    pub(super) context: &'static str,
    /// Where that began, which is the place that messages name.
    pub(super) began: Mark,
    /// Where reading stopped.
    pub(super) at: Mark,
}
