//! The parser's events to nodes: aliases, merge keys, tags.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{EventData, Mark, Parser, ScalarStyle};

use super::load::{INVALID_FORMAT, LoadError, Loader, TOO_BIG};
use super::scalar::{Refused, resolve};
use super::{Key, KeyKind, Mapping, Node, Span, Value};
use crate::report::Report;

type Input<'a> = std::io::Cursor<&'a [u8]>;

pub(super) struct Events<'a, 'l> {
    parser: Parser<Input<'a>>,
    file: u32,
    text: &'a str,
    budget: &'a mut Loader<'l>,
    report: &'a mut Report,
    /// Nodes to copy, and how deep they are.
    anchors: HashMap<String, (Node, usize)>,
    /// Where the last event ended.
    last: Span,
}

impl<'a, 'l> Events<'a, 'l> {
    /// `start` is the place of the text's first character.
    pub(super) fn new(
        text: &'a str,
        start: Span,
        budget: &'a mut Loader<'l>,
        report: &'a mut Report,
    ) -> Self {
        let mut parser = Parser::new();
        parser.set_input(Input::new(text.as_bytes()));
        Self {
            parser,
            file: start.file,
            text,
            budget,
            report,
            anchors: HashMap::new(),
            last: start,
        }
    }

    fn span(&self, mark: Mark) -> Span {
        let number = |it: u64| u32::try_from(it + 1).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            line: number(mark.line),
            column: number(mark.column),
        }
    }

    fn next(&mut self) -> Result<(EventData, Span), LoadError> {
        // The parser has cases that nobody thought through, such as `[!tag, x]`, and panics on them. It is dropped
        // after any error, so nothing sees the state that a panic left.
        let parsed = catch_unwind(AssertUnwindSafe(|| self.parser.parse()));
        match parsed {
            Ok(Ok(event)) => {
                self.last = self.span(event.end_mark);
                Ok((event.data, self.span(event.start_mark)))
            }
            Ok(Err(error)) => Err(self.syntax_error(&error)),
            Err(_) => {
                let Span { line, column, .. } = self.last;
                let message =
                    format!("(<unknown>): could not be read after line {line} column {column}");
                Err(LoadError {
                    span: self.last,
                    message,
                })
            }
        }
    }

    /// GitLab names the place where the unfinished construct began; the span is where reading stopped.
    fn syntax_error(&self, error: &libyaml_safer::Error) -> LoadError {
        let Some(problem) = error.problem_mark() else {
            let span = self.span_of_control_character();
            return LoadError {
                span,
                message: format!("(<unknown>): {}", error.problem()),
            };
        };
        let place = self.span(error.context_mark().unwrap_or(problem));
        let context = error
            .context()
            .map(|it| format!(" {it}"))
            .unwrap_or_default();
        let message = format!(
            "(<unknown>): {}{context} at line {} column {}",
            error.problem(),
            place.line,
            place.column
        );
        LoadError {
            span: self.span(problem),
            message,
        }
    }

    fn span_of_control_character(&self) -> Span {
        let refused = |it: char| it.is_control() && !matches!(it, '\t' | '\n' | '\r' | '\u{85}');
        let at = self.text.find(refused).unwrap_or(0);
        let before = &self.text[..at];
        let column = before.chars().rev().take_while(|it| *it != '\n').count();
        let number = |it: usize| u32::try_from(it + 1).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            line: number(before.matches('\n').count()),
            column: number(column),
        }
    }

    /// Reads the next document. `None` at the end of the stream.
    pub(super) fn document(&mut self) -> Result<Option<Node>, LoadError> {
        loop {
            match self.next()? {
                (EventData::StreamEnd, _) => return Ok(None),
                (EventData::DocumentStart { .. }, _) => break,
                _ => {}
            }
        }
        self.anchors.clear();
        let (event, span) = self.next()?;
        self.node(event, span, 1).map(Some)
    }

    fn node(&mut self, event: EventData, span: Span, depth: usize) -> Result<Node, LoadError> {
        let fail = |message: String| LoadError { span, message };
        if depth > self.budget.limits.depth || !self.budget.take_nodes(1) {
            return Err(fail(TOO_BIG.to_owned()));
        }
        let (anchor, value) = match event {
            EventData::Alias { anchor } => return self.alias(&anchor, span, depth),
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let text = matches!(tag.as_deref(), Some("!" | "tag:yaml.org,2002:str"));
                let value = match style {
                    ScalarStyle::Plain if !text => {
                        resolve(&value).map_err(|it| fail(refusal(it)))?
                    }
                    _ => Value::Text(value),
                };
                let is_reference = tag.as_deref() == Some("!reference");
                (
                    anchor,
                    if is_reference {
                        Value::Reference(vec![Node { value, span }])
                    } else {
                        value
                    },
                )
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                let items = self.sequence(depth)?;
                let is_reference = tag.as_deref() == Some("!reference");
                (
                    anchor,
                    if is_reference {
                        Value::Reference(items)
                    } else {
                        Value::Sequence(items)
                    },
                )
            }
            EventData::MappingStart { anchor, .. } => {
                (anchor, Value::Mapping(self.mapping(depth)?))
            }
            _ => return Err(fail(INVALID_FORMAT.to_owned())),
        };
        let node = Node { value, span };
        if let Some(anchor) = anchor {
            if !self.budget.take_nodes(node.count()) {
                return Err(fail(TOO_BIG.to_owned()));
            }
            self.anchors.insert(anchor, (node.clone(), node.depth()));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: &str, span: Span, depth: usize) -> Result<Node, LoadError> {
        let fail = |message: String| LoadError { span, message };
        let (node, height) = self
            .anchors
            .get(anchor)
            .ok_or_else(|| fail(format!("Unknown alias: {anchor}")))?;
        let too_deep = depth - 1 + height > self.budget.limits.depth;
        if too_deep || !self.budget.take_nodes(node.count()) {
            return Err(fail(TOO_BIG.to_owned()));
        }
        Ok(node.clone())
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, LoadError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (EventData::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Mapping, LoadError> {
        let mut mapping = Mapping::default();
        let mut merged: Vec<Mapping> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == EventData::MappingEnd {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let key = self.key(key)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if key.text == "<<" {
                match merge_sources(value) {
                    Ok(sources) => merged.extend(sources),
                    Err(value) => drop(mapping.insert(key, value)),
                }
                continue;
            }
            let (name, span) = (key.text.clone(), key.span);
            if mapping.insert(key, value) {
                let hint = Some("the earlier one has no effect".to_owned());
                self.report
                    .warn(span, format!("duplicate key `{name}`"), hint);
            }
        }
        for (key, value) in merged.into_iter().flatten() {
            if mapping.get(&key.text).is_none() {
                mapping.insert(key, value);
            }
        }
        Ok(mapping)
    }

    fn key(&self, node: Node) -> Result<Key, LoadError> {
        let kind = match node.value {
            Value::Text(_) => KeyKind::Text,
            Value::Integer(_) => KeyKind::Integer,
            _ => KeyKind::Other,
        };
        match node.scalar_text() {
            Some(text) => Ok(Key {
                text,
                kind,
                span: node.span,
            }),
            None => Err(LoadError {
                span: node.span,
                message: INVALID_FORMAT.to_owned(),
            }),
        }
    }
}

/// Returns the maps that a merge key names, or the value if it is none of the forms.
fn merge_sources(node: Node) -> Result<Vec<Mapping>, Node> {
    let only_maps = |items: &[Node]| items.iter().all(|it| it.as_mapping().is_some());
    match node.value {
        Value::Mapping(mapping) => Ok(vec![mapping]),
        Value::Sequence(items) if only_maps(&items) => Ok(items
            .into_iter()
            .filter_map(|it| match it.value {
                Value::Mapping(mapping) => Some(mapping),
                _ => None,
            })
            .collect()),
        value => Err(Node {
            value,
            span: node.span,
        }),
    }
}

fn refusal(refused: Refused) -> String {
    let class = match refused {
        Refused::Date => "Date",
        Refused::Time => "Time",
    };
    format!("Tried to load unspecified class: {class}")
}
