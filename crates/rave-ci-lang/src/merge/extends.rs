//! `extends`: parents from left to right, then the job itself on top.

use std::collections::HashMap;

use smol_str::SmolStr;

use super::deep_merge;
use crate::report::{Report, did_you_mean};
use crate::yaml::{Loader, Mapping, Node, Span, TOO_BIG, Value};

/// How many entries with `extends` may lie below another one.
const MAX_NESTING: usize = 10;

/// Replaces every map of the root that has `extends` by its extended form.
pub(super) fn expand(
    mut root: Mapping,
    loader: &mut Loader<'_>,
    report: &mut Report,
) -> Option<Mapping> {
    let names: Vec<SmolStr> = root
        .iter()
        .filter(|it| is_extended(&it.1))
        .map(|it| it.0.text.clone())
        .collect();
    if names.is_empty() {
        return Some(root);
    }
    let mut extender = Extender {
        root: &root,
        loader,
        done: HashMap::new(),
        open: Vec::new(),
    };
    for name in &names {
        if let Err(failure) = extender.resolve(name) {
            report.error_with_hint(failure.span, failure.message, failure.hint);
            return None;
        }
    }
    for (name, (mapping, _)) in extender.done {
        if let Some(node) = root.get_mut(&name) {
            node.value = Value::Mapping(mapping);
        }
    }
    Some(root)
}

fn is_extended(node: &Node) -> bool {
    node.as_mapping()
        .is_some_and(|it| it.get("extends").is_some())
}

struct Failure {
    span: Span,
    message: String,
    hint: Option<String>,
}

struct Extender<'a, 'l> {
    root: &'a Mapping,
    loader: &'a mut Loader<'l>,
    /// Extended forms, and how many levels they took.
    done: HashMap<SmolStr, (Mapping, usize)>,
    /// The entries being extended, outermost first.
    open: Vec<SmolStr>,
}

impl Extender<'_, '_> {
    /// Extends an entry that has `extends` and returns its levels.
    fn resolve(&mut self, name: &str) -> Result<usize, Failure> {
        if let Some((_, levels)) = self.done.get(name) {
            return Ok(*levels);
        }
        let Some((own, extends)) = self
            .root
            .get(name)
            .and_then(|it| Some((it.as_mapping()?, it.as_mapping()?.get("extends")?)))
        else {
            return Ok(0);
        };
        let fail = |message: String, hint| Failure {
            span: extends.span,
            message,
            hint,
        };
        if self.open.iter().any(|it| it == name) {
            return Err(fail(
                format!("{name}: circular dependency detected in `extends`"),
                None,
            ));
        }
        if self.open.len() > MAX_NESTING {
            return Err(fail(format!("{name}: nesting too deep in `extends`"), None));
        }
        let bases = bases(extends).ok_or_else(|| {
            fail(
                format!("jobs:{name} extends should be an array of strings or a string"),
                None,
            )
        })?;
        let unknown: Vec<&str> = bases
            .iter()
            .copied()
            .filter(|it| self.root.get(it).is_none())
            .collect();
        if let [first, ..] = unknown[..] {
            let hint = did_you_mean(first, self.root.iter().map(|it| it.0.text.as_str()));
            return Err(fail(
                format!("{name}: unknown keys in `extends` ({})", unknown.join(", ")),
                hint,
            ));
        }
        let invalid: Vec<&str> = bases
            .iter()
            .copied()
            .filter(|it| {
                self.root
                    .get(it)
                    .is_some_and(|it| it.as_mapping().is_none())
            })
            .collect();
        if !invalid.is_empty() {
            return Err(fail(
                format!(
                    "{name}: invalid base hashes in `extends` ({})",
                    invalid.join(", ")
                ),
                None,
            ));
        }

        self.open.push(name.into());
        let (mut merged, mut levels) = (Mapping::default(), 0);
        for base in bases {
            let below = self.resolve(base)?;
            if self.open.len() + below > MAX_NESTING + 1 {
                let culprit = self.descend(base, MAX_NESTING + 1 - self.open.len());
                return Err(fail(
                    format!("{culprit}: nesting too deep in `extends`"),
                    None,
                ));
            }
            levels = levels.max(below + 1);
            let base = self
                .done
                .get(base)
                .map(|it| &it.0)
                .or_else(|| self.root.get(base)?.as_mapping());
            let base = base.cloned().unwrap_or_default();
            self.merge(&mut merged, base, extends)?;
        }
        self.merge(&mut merged, own.clone(), extends)?;
        self.open.pop();
        self.done
            .insert(name.into(), (merged.without("extends"), levels));
        Ok(levels)
    }

    /// Follows the longest chain of parents.
    fn descend<'b>(&'b self, name: &'b str, steps: usize) -> &'b str {
        (0..steps).fold(name, |name, _| {
            let extends = self
                .root
                .get(name)
                .and_then(|it| it.as_mapping()?.get("extends"));
            let levels = |it: &&str| self.done.get(*it).map_or(0, |it| it.1);
            extends
                .and_then(bases)
                .into_iter()
                .flatten()
                .max_by_key(levels)
                .unwrap_or(name)
        })
    }

    fn merge(
        &mut self,
        merged: &mut Mapping,
        from: Mapping,
        extends: &Node,
    ) -> Result<(), Failure> {
        let nodes = from.iter().map(|it| it.1.count()).sum();
        if !self.loader.take_nodes(nodes) {
            let message = TOO_BIG.to_owned();
            return Err(Failure {
                span: extends.span,
                message,
                hint: None,
            });
        }
        deep_merge(merged, from);
        Ok(())
    }
}

fn bases(extends: &Node) -> Option<Vec<&str>> {
    match &extends.value {
        Value::Null => Some(Vec::new()),
        Value::Text(name) => Some(vec![name]),
        Value::Sequence(items) => items.iter().map(Node::as_text).collect(),
        _ => None,
    }
}
