//! `!reference [job, keyword]`: the value of another place, of any type.

use crate::report::Report;
use crate::yaml::{Loader, Mapping, Node, TEXT_PER_NODE, TOO_BIG, Value};

/// How many references may lead to each other.
const MAX_HOPS: usize = 10;

/// Replaces every reference in the tree.
pub(super) fn expand(
    root: Mapping,
    loader: &mut Loader<'_>,
    report: &mut Report,
) -> Option<Mapping> {
    let has_any = root.iter().any(|it| has_reference(&it.1));
    if !has_any {
        return Some(root);
    }
    let mut resolver = Resolver {
        root: &root,
        loader,
        open: Vec::new(),
    };
    let mut resolved = Mapping::default();
    for (key, node) in root.iter() {
        match resolver.copy(node) {
            Ok(node) => drop(resolved.insert(key.clone(), node)),
            Err((node, message)) => {
                report.error(node.span, message);
                return None;
            }
        }
    }
    Some(resolved)
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
    fn copy(&mut self, node: &'a Node) -> Result<Node, Failure<'a>> {
        let weight = 1 + node.as_text().map_or(0, str::len) / TEXT_PER_NODE;
        if !self.loader.take_nodes(weight) {
            return Err((node, TOO_BIG.to_owned()));
        }
        let value = match &node.value {
            Value::Reference(path) => return self.follow(node, path),
            Value::Sequence(items) => Value::Sequence(
                items
                    .iter()
                    .map(|it| self.copy(it))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Mapping(mapping) => {
                let mut copy = Mapping::default();
                for (key, value) in mapping.iter() {
                    copy.insert(key.clone(), self.copy(value)?);
                }
                Value::Mapping(copy)
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
        self.open.push(names);
        let copy = self.copy(target)?;
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
