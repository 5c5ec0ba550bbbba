//! From files to one tree: header and inputs of each file, `include`, `extends`, `!reference`, in this order.
//!
//! So `extends` sees references as they are written, and a reference sees extended jobs.

mod entry;
mod extends;
mod header;
mod include;
mod input;
mod interpolate;
mod location;
mod reference;
mod source;
mod text;

use self::include::Includer;
use self::location::Location;
use crate::facts::Facts;
use crate::report::Report;
use crate::yaml::{Key, KeyKind, Loader, Mapping, Node, Span, Value};
use crate::{EventContext, SourceFile};

/// Loads a file with all that it draws in. `None` if that failed, which the report then says.
pub(crate) fn load(
    source: &SourceFile<'_>,
    facts: &Facts<'_>,
    report: &mut Report,
) -> Option<Mapping> {
    let mut loader = Loader::new(facts.limits);
    let file = report.add_file(source.path, None);
    let start = Span {
        file,
        line: 1,
        column: 1,
    };
    if source.text.trim().is_empty() {
        report.error(start, format!("Please provide content of {}", source.path));
        return None;
    }
    let document = match loader.load(file, source.text, report) {
        Ok(document) => document,
        Err(error) => {
            report.error_with_hint(error.span, error.message, error.hint);
            return None;
        }
    };
    let nothing = EventContext::default();
    let root = Location::root(facts.event.child);
    let inputs = facts.event.inputs.iter().map(|(name, value)| {
        let key = Key {
            text: name.into(),
            kind: KeyKind::Text,
            span: Span::default(),
        };
        (key, text::node_of_input(value, Span::default()))
    });
    let mut includer = Includer::new(facts, &nothing, &mut loader, report);
    let content = includer.document(document, inputs.collect(), None, &root, &root)?;
    let tree = includer.expand(content, &root)?;
    let tree = extends::expand(tree, &mut loader, report)?;
    reference::expand(tree, &mut loader, report)
}

/// Lays `over` on top of `base`: maps merge key by key, anything else is replaced.
fn deep_merge(base: &mut Mapping, over: Mapping) {
    if base.is_empty() {
        *base = over;
        return;
    }
    for (key, node) in over {
        let both = node.as_mapping().is_some()
            && base
                .get(&key.text)
                .is_some_and(|it| it.as_mapping().is_some());
        let under = if both {
            base.get_mut(&key.text).map(take_mapping)
        } else {
            None
        };
        let node = match (under, node) {
            (
                Some(mut under),
                Node {
                    value: Value::Mapping(over),
                    span,
                },
            ) => {
                deep_merge(&mut under, over);
                Node {
                    value: Value::Mapping(under),
                    span,
                }
            }
            (_, node) => node,
        };
        base.insert(key, node);
    }
}

fn take_mapping(node: &mut Node) -> Mapping {
    match std::mem::replace(&mut node.value, Value::Null) {
        Value::Mapping(mapping) => mapping,
        _ => Mapping::default(),
    }
}
