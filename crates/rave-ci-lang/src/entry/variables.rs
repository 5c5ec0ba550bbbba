//! `variables` of the root, of jobs and of rules. Values become text as Ruby prints them.

use std::collections::HashMap;

use super::check::boolean;
use crate::Variable;
use crate::report::Report;
use crate::yaml::{Key, Mapping, Node};

/// Where variables are defined, which decides about the form of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Root,
    Job,
    /// In rules and services: scalars only.
    Plain,
}

/// Reads a map of variables. `at` ends in `variables`.
pub(crate) fn variables(node: &Node, level: Level, at: &str, report: &mut Report) -> Vec<Variable> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    map.iter()
        .filter_map(|(key, value)| variable(key, value, level, at, report))
        .collect()
}

fn variable(
    key: &Key,
    value: &Node,
    level: Level,
    at: &str,
    report: &mut Report,
) -> Option<Variable> {
    let name = &key.text;
    if !key.is_alphanumeric() || name.is_empty() {
        report.entry_error(
            key.span,
            format!("{at}:{name} key must be an alphanumeric string"),
        );
        return None;
    }
    match (value.scalar_text(), value.as_mapping()) {
        (Some(text), _) => Some(Variable::public(name, text)),
        (None, Some(map)) if level != Level::Plain => detailed(key, value, map, level, at, report),
        (None, _) if level == Level::Plain => {
            report.entry_error(value.span, format!("{at}:{name} config must be a string"));
            None
        }
        (None, _) => {
            report.entry_error(
                value.span,
                "variable definition must be either a string or a hash",
            );
            None
        }
    }
}

fn detailed(
    key: &Key,
    node: &Node,
    map: &Mapping,
    level: Level,
    at: &str,
    report: &mut Report,
) -> Option<Variable> {
    let at = format!("{at}:{}", key.text);
    let known: &[&str] = match level {
        Level::Root => &["value", "description", "options", "expand"],
        Level::Job | Level::Plain => &["value", "expand"],
    };
    let unknown: Vec<&str> = map
        .iter()
        .map(|it| it.0.text.as_str())
        .filter(|it| !known.contains(it))
        .collect();
    if !unknown.is_empty() {
        report.entry_error(
            node.span,
            format!("{at} config uses invalid data keys: {}", unknown.join(", ")),
        );
        return None;
    }
    let value = map.given("value");
    let Some(text) = value.map_or(Some(String::new()), Node::scalar_text) else {
        report.entry_error(node.span, format!("{at} config value must be a scalar"));
        return None;
    };
    if let Some(options) = map.given("options") {
        let mut options = options
            .as_sequence()
            .into_iter()
            .flatten()
            .filter_map(Node::scalar_text);
        if !options.any(|it| it == text) {
            report.entry_error(
                node.span,
                format!("{at} config value must be present in options"),
            );
        }
    }
    let expand = boolean(map, "expand", &format!("{at} config"), report).unwrap_or(true);
    Some(Variable {
        raw: !expand,
        ..Variable::public(&key.text, text)
    })
}

/// Lays `over` on top of `base`. A key stays where it first appeared.
pub(crate) fn overlay(base: &mut Vec<Variable>, over: &[Variable]) {
    let mut index: HashMap<String, usize> = if over.is_empty() {
        HashMap::new()
    } else {
        base.iter()
            .enumerate()
            .map(|(at, it)| (it.key.clone(), at))
            .collect()
    };
    for variable in over {
        match index.get(&variable.key) {
            Some(at) => base[*at].clone_from(variable),
            None => {
                index.insert(variable.key.clone(), base.len());
                base.push(variable.clone());
            }
        }
    }
}
