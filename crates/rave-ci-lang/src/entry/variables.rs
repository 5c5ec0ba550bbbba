//! `variables` of the root, of jobs and of rules. Values become text as Ruby prints them.

use std::collections::HashMap;
use std::fmt::Display;

use super::check::strings;
use crate::report::Report;
use crate::yaml::{Key, Mapping, Node, Value};
use crate::{FormVariable, Variable};

/// Where variables are defined, which decides about the form of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Root,
    Job,
    /// In rules and services: scalars only.
    Plain,
}

/// Reads a map of variables. `at` ends in `variables`.
pub(crate) fn variables(
    node: &Node,
    level: Level,
    at: &dyn Display,
    report: &mut Report,
) -> Vec<Variable> {
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
    at: &dyn Display,
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
        (Some(_), _) if value.is_null() && level == Level::Plain => {
            report.entry_error(value.span, format!("{at}:{name} config must be a string"));
            None
        }
        (Some(text), _) => Some(Variable::public(name.as_str(), text)),
        (None, Some(map)) if level != Level::Plain => detailed(key, value, map, level, at, report),
        (None, Some(_)) => {
            report.entry_error(value.span, format!("{at}:{name} config must be a string"));
            None
        }
        (None, None) => {
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
    at: &dyn Display,
    report: &mut Report,
) -> Option<Variable> {
    let at = format!("{at}:{}", key.text);
    let known: &[&str] = match level {
        Level::Root => &["value", "description", "options", "expand"],
        Level::Job | Level::Plain => &["value", "expand"],
    };
    let value = map.given("value");
    let text = value.map_or(Some(String::new()), Node::scalar_text);
    if text.is_none() {
        report.entry_error(node.span, format!("{at} config value must be a scalar"));
    }
    if map
        .given("description")
        .is_some_and(|it| !is_alphanumeric(it))
    {
        let problem = "config description must be an alphanumeric string";
        report.entry_error(node.span, format!("{at} {problem}"));
    }
    let options = map.given("options");
    let expand = map.given("expand").and_then(|it| {
        if it.as_bool().is_none() {
            let problem = "config expand should be a boolean value";
            report.entry_error(it.span, format!("{at} {problem}"));
        }
        it.as_bool()
    });
    if let Some(options) = options.filter(|it| strings(it).is_none()) {
        let problem = "config options should be an array of strings";
        report.entry_error(options.span, format!("{at} {problem}"));
    }
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
    }
    let chosen = value.and_then(Node::as_text);
    let offered = options.and_then(strings).filter(|it| !it.is_empty());
    if offered.is_some_and(|it| !it.iter().any(|it| Some(it.as_str()) == chosen)) {
        report.entry_error(
            node.span,
            format!("{at} config value must be present in options"),
        );
    }
    Some(Variable {
        raw: expand == Some(false),
        ..Variable::public(key.text.as_str(), text?)
    })
}

/// Returns whether a value is a text or a whole number.
pub(super) fn is_alphanumeric(node: &Node) -> bool {
    matches!(node.value, Value::Text(_) | Value::Integer(_))
}

/// Reads what a person who runs the pipeline by hand is asked for: the root variables that say something about themselves.
pub(super) fn form(node: &Node) -> Vec<FormVariable> {
    let map = node.as_mapping().into_iter().flat_map(Mapping::iter);
    map.filter_map(|(key, value)| {
        let map = value.as_mapping()?;
        let described = |it: &str| map.given(it).is_some();
        let text = |it: &str| map.given(it).and_then(Node::scalar_text);
        (described("description") || described("options")).then(|| FormVariable {
            key: key.text.to_string(),
            value: text("value").unwrap_or_default(),
            description: text("description"),
            options: map.given("options").and_then(strings).unwrap_or_default(),
        })
    })
    .collect()
}

/// Lays `over` on top of `base`. A key stays where it first appeared.
pub(crate) fn overlay(base: &mut Vec<Variable>, over: &[Variable]) {
    /// So few are looked through one by one, which most jobs have no more than.
    const FEW: usize = 16;
    if over.len() <= FEW {
        for variable in over {
            match base.iter_mut().find(|it| it.key == variable.key) {
                Some(below) => below.clone_from(variable),
                None => base.push(variable.clone()),
            }
        }
        return;
    }
    let places = base.iter().enumerate();
    let mut index: HashMap<String, usize> = places.map(|(at, it)| (it.key.clone(), at)).collect();
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
