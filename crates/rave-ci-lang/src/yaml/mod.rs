//! YAML as GitLab reads it: version 1.1 scalars, aliases, merge keys, `!reference`; every node knows its place.
//!
//! `scanner` makes tokens of a text, `parser` events of tokens, `compose` nodes of events, `load` documents of a file.
//! What is accepted and what is said about the rest is libyaml's and Psych's, because GitLab runs on them.

mod compose;
mod cursor;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod describe;
mod emit;
mod heredoc;
mod hint;
mod load;
mod node;
mod parser;
mod scalar;
mod scanner;
mod token;

#[cfg(test)]
mod tests;

pub(crate) use emit::emit;
pub(crate) use load::{Document, Loader, TOO_BIG, TOTAL_TOO_BIG};
pub(crate) use node::{Items, Key, KeyKind, Mapping, Node, Span, TEXT_PER_NODE, Value};
