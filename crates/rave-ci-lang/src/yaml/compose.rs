//! Events to nodes: aliases, merge keys, tags, the types of plain scalars.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use smol_str::SmolStr;

use super::cursor::Mark;
use super::hint::syntax_hint;
use super::load::{INVALID_FORMAT, LoadError, Loader};
use super::parser::{Event, Parser, Placed};
use super::scalar::{Refused, float_text, resolve};
use super::token::SyntaxError;
use super::{Key, KeyKind, Mapping, Node, Span, Value};
use crate::report::Report;

const REFERENCE: &str = "!reference";

pub(super) struct Composer<'a, 'l> {
    parser: Parser<'a>,
    text: &'a str,
    /// The place of the text's first character.
    origin: Span,
    budget: &'a mut Loader<'l>,
    report: &'a mut Report,
    anchors: HashMap<&'a str, Anchored>,
}

enum Anchored {
    /// The node is still being read, so an alias to it would never end.
    Open,
    Node {
        node: Node,
        depth: usize,
        count: usize,
    },
}

impl<'a, 'l> Composer<'a, 'l> {
    pub(super) fn new(
        text: &'a str,
        origin: Span,
        budget: &'a mut Loader<'l>,
        report: &'a mut Report,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            parser: Parser::new(text).map_err(|it| syntax_error(&it, text, origin))?,
            text,
            origin,
            budget,
            report,
            anchors: HashMap::new(),
        })
    }

    fn next(&mut self) -> Result<Placed<'a>, LoadError> {
        self.parser
            .next()
            .map_err(|it| syntax_error(&it, self.text, self.origin))
    }

    /// Reads the first document of the text. `None`: there is none.
    pub(super) fn document(&mut self) -> Result<Option<Node>, LoadError> {
        if self.next()?.0 == Event::StreamEnd {
            return Ok(None);
        }
        let event = self.next()?;
        let node = self.node(event, 1)?;
        // A document is read to its end, where something may follow that is no YAML.
        self.next()?;
        Ok(Some(node))
    }

    /// `depth` counts the collections around the node, and itself if it is one.
    fn node(&mut self, (event, mark): Placed<'a>, depth: usize) -> Result<Node, LoadError> {
        let span = place(mark, self.origin);
        let fail = |message: String| LoadError::new(span, message);
        if !self.budget.take_nodes(1) {
            return Err(self.budget.too_many_nodes(span));
        }
        let (anchor, tag) = match &event {
            Event::Alias(name) => return self.alias(name, span, depth),
            Event::Scalar { anchor, tag, .. }
            | Event::SequenceStart { anchor, tag }
            | Event::MappingStart { anchor, tag } => (*anchor, tag.clone()),
            _ => return Err(fail(INVALID_FORMAT.to_owned())),
        };
        if let Some(class) = tag.as_deref().and_then(ruby_class) {
            return Err(fail(format!("Tried to load unspecified class: {class}")));
        }
        let is_scalar = matches!(event, Event::Scalar { .. });
        if !is_scalar && depth > self.budget.limits.depth {
            return Err(self.budget.too_deep(span));
        }
        let is_reference = tag.as_deref() == Some(REFERENCE);
        // References are made anew at each use, and GitLab does not know their anchors.
        let anchor = anchor.filter(|_| !is_reference);
        if let Some(name) = anchor.filter(|_| !is_scalar) {
            self.anchors.insert(name, Anchored::Open);
        }
        let value = match event {
            Event::Scalar { value, plain, .. } => {
                self.scalar(value, tag.as_deref(), plain, span)?
            }
            Event::SequenceStart { .. } => Value::Sequence(self.sequence(depth)?.into()),
            _ => Value::Mapping(self.mapping(depth)?),
        };
        let value = match value {
            Value::Sequence(path) if is_reference => Value::Reference(path),
            value if is_reference => Value::Reference([Node { value, span }].into()),
            value => value,
        };
        let node = Node { value, span };
        if let Some(name) = anchor {
            self.remember(name, &node)?;
        }
        Ok(node)
    }

    fn remember(&mut self, name: &'a str, node: &Node) -> Result<(), LoadError> {
        let count = node.count();
        if !self.budget.take_nodes(count) {
            return Err(self.budget.too_many_nodes(node.span));
        }
        let anchored = Anchored::Node {
            node: node.clone(),
            depth: node.depth(),
            count,
        };
        self.anchors.insert(name, anchored);
        Ok(())
    }

    fn alias(&mut self, name: &str, span: Span, depth: usize) -> Result<Node, LoadError> {
        let found = self.anchors.get(name);
        let Some(Anchored::Node {
            node,
            depth: height,
            count,
        }) = found
        else {
            return Err(match found {
                Some(_) => self.budget.too_deep(span),
                None => {
                    let mut known: Vec<&str> = self.anchors.keys().copied().collect();
                    known.sort_unstable();
                    LoadError::new(span, format!("Unknown alias: {name}"))
                        .hint(crate::report::did_you_mean(name, known))
                }
            });
        };
        if depth - 1 + height > self.budget.limits.depth {
            return Err(self.budget.too_deep(span));
        }
        if !self.budget.take_nodes(*count) {
            return Err(self.budget.too_many_nodes(span));
        }
        Ok(node.clone())
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        tag: Option<&str>,
        plain: bool,
        span: Span,
    ) -> Result<Value, LoadError> {
        let is_text = matches!(tag, Some("!str" | "tag:yaml.org,2002:str" | "!ruby/string"))
            || tag.is_some_and(|it| it.starts_with("!ruby/sym"));
        let is_float = matches!(tag, Some("!float" | "tag:yaml.org,2002:float"));
        if !plain || is_text {
            return Ok(Value::Text(text.into()));
        }
        let value = match resolve(&text).map_err(|it| refusal(it, &text, span))? {
            Value::Integer(number) if is_float => Value::Float(number.get() as f64),
            value => value,
        };
        if prints_otherwise(&value, &text) {
            self.report.note_reading(span, &text);
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, LoadError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Mapping, LoadError> {
        let mut mapping = Mapping::default();
        let mut merged = HashSet::new();
        loop {
            let event = self.next()?;
            if event.0 == Event::MappingEnd {
                return Ok(mapping);
            }
            let is_text = matches!(
                &event.0,
                Event::Scalar { tag: Some(tag), .. } if tag == "tag:yaml.org,2002:str"
            );
            let key = self.node(event, depth + 1)?;
            let key = self.key(key)?;
            let event = self.next()?;
            if key.text == "<<" && !is_text {
                self.merge(&mut mapping, &mut merged, key, event, depth)?;
                continue;
            }
            let value = self.node(event, depth + 1)?;
            let (name, span) = (key.text.clone(), key.span);
            if mapping.insert(key, value) && !merged.remove(&name) {
                let hint = Some("the earlier one has no effect".to_owned());
                self.report
                    .warn(span, format!("duplicate key `{name}`"), hint);
            }
        }
    }

    /// Fills in what a merge key names. As in Ruby, that happens where the key stands: keys above it are overridden, and
    /// keys below it override. `merged` holds the names that come from merge keys alone.
    fn merge(
        &mut self,
        mapping: &mut Mapping,
        merged: &mut HashSet<SmolStr>,
        key: Key,
        event: Placed<'a>,
        depth: usize,
    ) -> Result<(), LoadError> {
        let is_list = matches!(event.0, Event::SequenceStart { .. });
        let value = self.node(event, depth + 1)?;
        let only_maps = |items: &[Node]| items.iter().all(|it| it.as_mapping().is_some());
        let source: Mapping = match value.value {
            Value::Mapping(merged) => merged,
            // The first of the list wins.
            Value::Sequence(items) if is_list && only_maps(&items) => items
                .iter()
                .rev()
                .filter_map(|it| it.as_mapping().cloned())
                .flatten()
                .collect(),
            _ => {
                mapping.insert(key, value);
                return Ok(());
            }
        };
        for (name, node) in source {
            let above = mapping.entry(&name.text);
            if let Some((above, value)) = above.filter(|it| !merged.contains(&it.0.text)) {
                let same =
                    value.scalar_text().is_some() && value.scalar_text() == node.scalar_text();
                if !same {
                    let message = format!("`<<` overrides `{}`, which is above it", name.text);
                    let hint = "keys win over `<<` only when they are below it";
                    self.report.warn(above.span, message, Some(hint.to_owned()));
                }
            } else {
                merged.insert(name.text.clone());
            }
            mapping.insert(name, node);
        }
        Ok(())
    }

    fn key(&self, node: Node) -> Result<Key, LoadError> {
        let kind = match node.value {
            Value::Text(_) => KeyKind::Text,
            Value::Integer(_) => KeyKind::Integer,
            _ => KeyKind::Other,
        };
        let span = node.span;
        let text = match node.value {
            Value::Text(text) => text,
            other => {
                let node = Node { value: other, span };
                let text = node.scalar_text().map(Into::into);
                text.ok_or_else(|| {
                    let hint =
                        "a list or a map cannot be a key; quote text that begins with `[` or `{`";
                    LoadError::new(span, INVALID_FORMAT).hint(Some(hint.to_owned()))
                })?
            }
        };
        Ok(Key { text, kind, span })
    }
}

/// Returns whether a scalar was written in another way than it prints. Null prints as nothing, as everyone expects.
fn prints_otherwise(value: &Value, text: &str) -> bool {
    match value {
        Value::Bool(value) => !text.eq_ignore_ascii_case(if *value { "true" } else { "false" }),
        Value::Integer(value) => value.get().to_string() != text,
        Value::Float(value) => float_text(*value) != text,
        Value::Text(value) => value.len() != text.len(),
        _ => false,
    }
}

/// Returns where something is in the file.
fn place(mark: Mark, origin: Span) -> Span {
    Span {
        file: origin.file,
        line: origin.line.saturating_add(mark.line),
        column: match mark.line {
            0 => origin.column.saturating_add(mark.column),
            _ => mark.column.saturating_add(1),
        },
    }
}

/// GitLab names the place where the unfinished construct began, in the document; the span is where reading stopped.
fn syntax_error(error: &SyntaxError, text: &str, origin: Span) -> LoadError {
    LoadError::new(place(error.at, origin), message(error)).hint(syntax_hint(
        error,
        text,
        origin.line,
    ))
}

/// Returns what Psych says of an error.
pub(super) fn message(error: &SyntaxError) -> String {
    let SyntaxError {
        problem,
        context,
        began,
        ..
    } = error;
    let blank = if context.is_empty() { "" } else { " " };
    let (line, column) = (began.line + 1, began.column + 1);
    format!("(<unknown>): {problem}{blank}{context} at line {line} column {column}")
}

fn refusal(refused: Refused, text: &str, span: Span) -> LoadError {
    let class = match refused {
        Refused::Date => "Date",
        Refused::Time => "Time",
    };
    LoadError::new(span, format!("Tried to load unspecified class: {class}"))
        .hint(Some(format!("quote it to mean text: \"{text}\"")))
}

/// Returns the class that a tag asks Ruby for, which GitLab never gives.
fn ruby_class(tag: &str) -> Option<&str> {
    match tag {
        "!ruby/regexp" => Some("Regexp"),
        "!ruby/range" => Some("Range"),
        "!set" | "tag:yaml.org,2002:set" => Some("Psych::Set"),
        _ => {
            let (kind, class) = tag.strip_prefix("!ruby/")?.split_once(':')?;
            (!kind.starts_with("sym")).then_some(class)
        }
    }
}
