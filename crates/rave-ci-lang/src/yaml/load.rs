//! Loads a file, within bounds.
//!
//! Files come from anyone who can push, so size, depth and the nodes that aliases multiply are bounded here.

use std::sync::LazyLock;

use regex::Regex;

use super::compose::Composer;
use super::{Mapping, Node, Span, Value, heredoc};
use crate::Limits;
use crate::report::Report;

pub(crate) const TOO_BIG: &str = "The parsed YAML is too big";
pub(crate) const TOTAL_TOO_BIG: &str = "Total size of combined CI/CD configuration is too big";
pub(crate) const INVALID_FORMAT: &str = "Invalid configuration format";

/// A file: its content and the header that may precede it.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) header: Option<Mapping>,
    /// Empty if the file has nothing but comments.
    pub(crate) content: Mapping,
}

/// Why a file could not be loaded, in GitLab's words.
#[derive(Debug)]
pub(crate) struct LoadError {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl LoadError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
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

    pub(super) fn too_many_nodes(&self, span: Span) -> LoadError {
        LoadError::new(span, TOO_BIG).hint(Some(self.limits.nodes_hint()))
    }

    pub(super) fn too_deep(&self, span: Span) -> LoadError {
        let limit = self.limits.depth;
        let hint = format!(
            "lists and maps are nested deeper than {limit} levels (setting `ci.max_depth`)"
        );
        LoadError::new(span, TOO_BIG).hint(Some(hint))
    }

    /// Takes the text of a file from the budget of bytes.
    fn take_text(&mut self, start: Span, text: &str) -> Result<(), LoadError> {
        let (size, limit) = (text.len(), self.limits.file_bytes);
        if size > limit {
            let hint = self.limits.file_too_large(size as u64);
            return Err(LoadError::new(start, TOO_BIG).hint(Some(hint)));
        }
        self.bytes_left = self.bytes_left.checked_sub(size).ok_or_else(|| {
            let limit = self.limits.total_bytes;
            let hint =
                format!("all files have more than {limit} bytes (setting `ci.max_total_bytes`)");
            let message = TOTAL_TOO_BIG;
            LoadError::new(start, message).hint(Some(hint))
        })?;
        Ok(())
    }

    /// Loads the text of file number `file`. What GitLab keeps silent about is warned of in `report`.
    pub(crate) fn load(
        &mut self,
        file: u32,
        text: &str,
        report: &mut Report,
    ) -> Result<Document, LoadError> {
        let (line, column) = (1, 1);
        let start = Span { file, line, column };
        self.take_text(start, text)?;
        report.keep_text(file, text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut parts = Vec::new();
        for (part, origin) in split(text, start) {
            let node = Composer::new(part, origin, self, report)?.document()?;
            parts.extend(node.filter(|it| !is_blank(&it.value)));
        }
        for cut in heredoc::cut(text).iter().filter(|it| it.certain) {
            let line = cut.end + 1;
            let message = format!("line {line} is outside of the heredoc `{}`", cut.word);
            report.warn(Span { line, ..start }, message, Some(cut.hint(1)));
        }
        let mut documents = Vec::new();
        for Node { value, span } in parts {
            match value {
                Value::Mapping(mapping) => documents.push(mapping),
                _ => return Err(LoadError::new(span, INVALID_FORMAT)),
            }
        }
        let has_header = documents.len() > 1 && documents[0].get("spec").is_some();
        let last = documents.pop();
        let mut documents = documents.into_iter();
        let first = documents.next();
        Ok(match has_header {
            true => Document {
                header: first,
                content: last.unwrap_or_default(),
            },
            false => Document {
                header: None,
                content: first.or(last).unwrap_or_default(),
            },
        })
    }
}

/// What Ruby on Rails calls blank; such documents are not there.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(mapping) => mapping.is_empty(),
        _ => false,
    }
}

/// Splits a file into documents as GitLab does: at `---` with all white space that follows, even that of the next line.
/// What precedes the first divider, the header and the content are three parts; more dividers are left to the parser.
fn split(text: &str, start: Span) -> Vec<(&str, Span)> {
    const PARTS: usize = 3;
    static DIVIDER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?m)^---[\t\n\v\f\r ]+").expect("the pattern is valid"));
    let mut parts = Vec::with_capacity(PARTS);
    let mut from = 0;
    let mut origin = start;
    for found in DIVIDER.find_iter(text).take(PARTS - 1) {
        parts.push((&text[from..found.start()], origin));
        origin = advance(origin, &text[from..found.end()]);
        from = found.end();
    }
    parts.push((&text[from..], origin));
    parts
}

/// Returns the place after `text`, which begins at `from`.
fn advance(from: Span, text: &str) -> Span {
    let count = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    let breaks = text.matches('\n').count();
    let last = text.rsplit('\n').next().unwrap_or(text);
    let column = count(last.chars().count());
    Span {
        file: from.file,
        line: from.line.saturating_add(count(breaks)),
        column: match breaks {
            0 => from.column.saturating_add(column),
            _ => column.saturating_add(1),
        },
    }
}
