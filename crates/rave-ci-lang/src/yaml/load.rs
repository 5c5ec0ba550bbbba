//! Loads a file, within bounds.
//!
//! Files come from anyone who can push, so size, depth and the nodes that aliases multiply are bounded here.

use super::events::Events;
use super::{Mapping, Node, Span, Value};
use crate::Limits;
use crate::report::Report;

pub(crate) const TOO_BIG: &str = "The parsed YAML is too big";
pub(crate) const INVALID_FORMAT: &str = "Invalid configuration format";

/// A file: its content and the header that may precede it.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) header: Option<Mapping>,
    pub(crate) content: Mapping,
}

/// Why a file could not be loaded, in GitLab's words.
#[derive(Debug)]
pub(crate) struct LoadError {
    pub(crate) span: Span,
    pub(crate) message: String,
}

/// Reads files and counts their nodes against one budget.
pub(crate) struct Loader<'l> {
    pub(super) limits: &'l Limits,
    nodes_left: usize,
    bytes_left: usize,
}

impl<'l> Loader<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            nodes_left: limits.nodes,
            bytes_left: limits.total_bytes,
        }
    }

    /// Takes nodes from the budget. `false`: there are not that many left.
    pub(crate) fn take_nodes(&mut self, count: usize) -> bool {
        let left = self.nodes_left.checked_sub(count);
        self.nodes_left = left.unwrap_or(0);
        left.is_some()
    }

    /// Loads the text of file number `file`. Duplicate keys are warned of in `report`.
    pub(crate) fn load(
        &mut self,
        file: u32,
        text: &str,
        report: &mut Report,
    ) -> Result<Document, LoadError> {
        let start = Span {
            file,
            line: 1,
            column: 1,
        };
        let fail = |message: &str| LoadError {
            span: start,
            message: message.to_owned(),
        };
        if text.len() > self.limits.file_bytes {
            return Err(fail(TOO_BIG));
        }
        self.bytes_left = self
            .bytes_left
            .checked_sub(text.len())
            .ok_or_else(|| fail("Total size of combined CI/CD configuration is too big"))?;
        report.keep_text(file, text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut events = Events::new(text, start, self, report);
        let first = events.document()?;
        let mapping = |node: Option<Node>| match node.map(|it| it.value) {
            Some(Value::Mapping(mapping)) => Ok(mapping),
            _ => Err(fail(INVALID_FORMAT)),
        };
        let first = mapping(first)?;
        if first.get("spec").is_none() {
            return Ok(Document {
                header: None,
                content: first,
            });
        }
        match events.document()? {
            None => Ok(Document {
                header: None,
                content: first,
            }),
            second => Ok(Document {
                header: Some(first),
                content: mapping(second)?,
            }),
        }
    }
}
