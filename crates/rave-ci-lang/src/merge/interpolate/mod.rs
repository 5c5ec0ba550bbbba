//! `$[[ inputs.x | fn ]]`: values of the header filled into a file, before anything else reads it.

mod access;
mod functions;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::text::printed;
use crate::Variable;
use crate::report::Report;
use crate::yaml::{
    Items, Key, KeyKind, Loader, Mapping, Node, Span, TEXT_PER_NODE, TOO_BIG, Value,
};

const OPEN: &str = "$[[";
const MAX_BLOCKS: usize = 10_000;
const MAX_TEXT_BYTES: usize = 1024 * 1024;
const MAX_FUNCTIONS: usize = 3;

/// Two characters at least inside, none of them a line break.
static BLOCK: LazyLock<Regex> = LazyLock::new(|| {
    let blank = r"[\t\n\x0C\r ]";
    let dark = r"[^\t\n\x0C\r ]";
    Regex::new(&format!(r"\$\[\[{blank}*({dark}.*?{dark}){blank}*\]\]"))
        .expect("the pattern is valid")
});

/// What blocks may ask for.
pub(super) struct Context<'a> {
    /// The maps `inputs` and `component`.
    pub(super) data: Node,
    /// Finds the variables of `expand_vars`.
    pub(super) variable: &'a dyn Fn(&str) -> Option<&'a Variable>,
}

/// Fills a file in. `None` after errors, which are reported.
pub(super) fn interpolate(
    content: Mapping,
    context: &Context<'_>,
    loader: &mut Loader<'_>,
    report: &mut Report,
) -> Option<Mapping> {
    let mut filler = Filler {
        context,
        loader,
        report,
        blocks: HashMap::new(),
        failed: HashSet::new(),
        stopped: false,
    };
    let filled = filler.mapping(content);
    let fine = filler.failed.is_empty() && !filler.stopped;
    fine.then_some(filled)
}

struct Filler<'c, 'l, 'r> {
    context: &'r Context<'c>,
    loader: &'r mut Loader<'l>,
    report: &'r mut Report,
    /// The values of blocks as written, each found once.
    blocks: HashMap<String, Result<Node, String>>,
    /// Messages that were reported: the same block may be wrong in many places.
    failed: HashSet<String>,
    /// After an error that concerns the whole file nothing more is filled in.
    stopped: bool,
}

impl Filler<'_, '_, '_> {
    fn mapping(&mut self, mapping: Mapping) -> Mapping {
        let entries = mapping.into_iter();
        entries
            .map(|(key, value)| (self.key(key), self.node(value)))
            .collect()
    }

    fn key(&mut self, key: Key) -> Key {
        if !key.text.contains(OPEN) {
            return key;
        }
        match self.text(&key.text, key.span) {
            Some(node) => Key {
                text: printed(&node).into(),
                kind: match node.value {
                    Value::Text(_) => KeyKind::Text,
                    Value::Integer(_) => KeyKind::Integer,
                    _ => KeyKind::Other,
                },
                span: key.span,
            },
            None => key,
        }
    }

    fn node(&mut self, node: Node) -> Node {
        let span = node.span;
        let value = match node.value {
            Value::Text(text) if text.contains(OPEN) => {
                return self.text(&text, span).unwrap_or(Node {
                    value: Value::Text(text),
                    span,
                });
            }
            Value::Mapping(mapping) => Value::Mapping(self.mapping(mapping)),
            Value::Sequence(items) => Value::Sequence(self.items(&items)),
            value => value,
        };
        Node { value, span }
    }

    /// A list that stands for one item takes its place, item by item.
    fn items(&mut self, items: &[Node]) -> Items {
        let mut filled = Vec::with_capacity(items.len());
        for item in items {
            let was_text = item.as_text().is_some();
            match self.node(item.clone()) {
                Node {
                    value: Value::Sequence(inner),
                    ..
                } if was_text => filled.extend_from_slice(&inner),
                node => filled.push(node),
            }
        }
        filled.into()
    }

    /// Returns what a text becomes. `None` after an error.
    fn text(&mut self, text: &str, span: Span) -> Option<Node> {
        if self.stopped {
            return None;
        }
        if text.len() > MAX_TEXT_BYTES {
            return self.stop(span, "config node too large");
        }
        let mut out = String::new();
        let mut rest_from = 0;
        for found in BLOCK.captures_iter(text) {
            let block = found.get(0)?;
            let value = self.block(block.as_str(), found.get(1)?.as_str(), span)?;
            let weight = match block.len() == text.len() {
                true => value.count(),
                false => 1 + printed(&value).len() / TEXT_PER_NODE,
            };
            if !self.loader.take_nodes(weight) {
                return self.stop(span, TOO_BIG);
            }
            if block.len() == text.len() {
                return Some(placed(value, span));
            }
            out += &text[rest_from..block.start()];
            out += &printed(&value);
            rest_from = block.end();
        }
        out += &text[rest_from..];
        Some(Node {
            value: Value::Text(out.into()),
            span,
        })
    }

    fn stop<T>(&mut self, span: Span, message: &str) -> Option<T> {
        self.stopped = true;
        self.report.error(span, message);
        None
    }

    /// Returns the value of a block. `None` after an error.
    fn block(&mut self, block: &str, data: &str, span: Span) -> Option<Node> {
        if !self.blocks.contains_key(block) {
            if self.blocks.len() == MAX_BLOCKS {
                return self.stop(span, "too many interpolation blocks");
            }
            let value = evaluate(block, data, self.context);
            self.blocks.insert(block.to_owned(), value);
        }
        match self.blocks.get(block)? {
            Ok(node) => Some(node.clone()),
            Err(message) => {
                if self.failed.insert(message.clone()) {
                    self.report.error(span, message.clone());
                }
                None
            }
        }
    }
}

fn evaluate(block: &str, data: &str, context: &Context<'_>) -> Result<Node, String> {
    let mut parts = data.split('|').map(str::trim);
    let path = parts.next().unwrap_or_default();
    // Values of a matrix are not known before there are jobs.
    if path.split('.').next() == Some("matrix") {
        let value = Value::Text(block.into());
        let span = Span::default();
        return Ok(Node { value, span });
    }
    let value = access::value(path, &context.data)?;
    let functions: Vec<&str> = parts.collect();
    if functions.len() > MAX_FUNCTIONS {
        return Err("too many functions in interpolation block".to_owned());
    }
    functions::apply(&functions, value.clone(), context)
}

/// Says of a value that it is where it is used.
fn placed(node: Node, span: Span) -> Node {
    let value = match node.value {
        Value::Sequence(items) => {
            Value::Sequence(items.iter().map(|it| placed(it.clone(), span)).collect())
        }
        Value::Mapping(map) => Value::Mapping(
            map.into_iter()
                .map(|(key, value)| (Key { span, ..key }, placed(value, span)))
                .collect(),
        ),
        value => value,
    };
    Node { value, span }
}
