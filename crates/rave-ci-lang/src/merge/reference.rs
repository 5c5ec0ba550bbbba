//! `!reference [job, keyword]`: the value of another place, of any type.

use crate::report::Report;
use crate::yaml::{Loader, Mapping, Node, TOO_BIG, Value};

/// How many references may lead to each other.
const MAX_HOPS: usize = 10;

/// Replaces every reference in the tree.
pub(super) fn expand(
    mut root: Mapping,
    loader: &mut Loader<'_>,
    report: &mut Report,
) -> Option<Mapping> {
    if !root.iter().any(|it| has_reference(&it.1)) {
        return Some(root);
    }
    // A reference sees the tree as it was before any was replaced.
    let written = root.clone();
    let mut resolver = Resolver {
        root: &written,
        loader,
        open: Vec::new(),
    };
    for (node, (_, written)) in root.values_mut().zip(written.iter()) {
        match resolver.replaced(written) {
            Ok(replaced) => *node = replaced,
            Err((node, message)) => {
                report.error(node.span, message);
                return None;
            }
        }
    }
    Some(root)
}

fn has_reference(node: &Node) -> bool {
    match &node.value {
        Value::Reference(_) => true,
        Value::Sequence(items) => items.iter().any(has_reference),
        Value::Mapping(mapping) => mapping.iter().any(|it| has_reference(&it.1)),
        _ => false,
    }
}

struct Resolver<'a, 'l> {
    root: &'a Mapping,
    loader: &'a mut Loader<'l>,
    /// Paths being resolved, outermost first.
    open: Vec<Vec<&'a str>>,
}

type Failure<'a> = (&'a Node, String);

impl<'a> Resolver<'a, '_> {
    /// Returns a node without references. One that has none is shared, not copied.
    fn replaced(&mut self, node: &'a Node) -> Result<Node, Failure<'a>> {
        if !has_reference(node) {
            return Ok(node.clone());
        }
        let value = match &node.value {
            Value::Reference(path) => return self.follow(node, path),
            Value::Sequence(items) => Value::Sequence(
                items
                    .iter()
                    .map(|it| self.replaced(it))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Mapping(written) => {
                let mut mapping = written.clone();
                for (value, (_, written)) in mapping.values_mut().zip(written.iter()) {
                    *value = self.replaced(written)?;
                }
                Value::Mapping(mapping)
            }
            scalar => scalar.clone(),
        };
        Ok(Node {
            value,
            span: node.span,
        })
    }

    fn follow(&mut self, node: &'a Node, path: &'a [Node]) -> Result<Node, Failure<'a>> {
        let shown = shown(path);
        let names: Option<Vec<&str>> = path.iter().map(Node::as_text).collect();
        let names = match names {
            Some(names) if !names.is_empty() => names,
            _ => return Err((node, format!("!reference {shown} is not valid"))),
        };
        if self.open.contains(&names) {
            return Err((
                node,
                format!("!reference {shown} is part of a circular chain"),
            ));
        }
        if self.open.len() == MAX_HOPS {
            return Err((node, format!("!reference {shown} is nested too deep")));
        }
        let target = names[1..]
            .iter()
            .try_fold(self.root.get(names[0]), |at, name| {
                Some(at?.as_mapping()?.get(name))
            })
            .flatten()
            .filter(|it| !matches!(it.value, Value::Null | Value::Bool(false)))
            .ok_or_else(|| (node, format!("!reference {shown} could not be found")))?;
        if !self.loader.take_nodes(target.count()) {
            return Err((node, TOO_BIG.to_owned()));
        }
        self.open.push(names);
        let copy = self.replaced(target)?;
        self.open.pop();
        Ok(copy)
    }
}

/// Shows a path as Ruby prints a list.
fn shown(path: &[Node]) -> String {
    let items: Vec<String> = path
        .iter()
        .map(|it| match it.as_text() {
            Some(text) => format!("{text:?}"),
            None => it.scalar_text().unwrap_or_else(|| "[...]".to_owned()),
        })
        .collect();
    format!("[{}]", items.join(", "))
}
