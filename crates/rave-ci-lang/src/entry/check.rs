//! Questions that many keywords ask of their nodes. Each reports what it refuses, in GitLab's words.

use std::fmt::{self, Display};
use std::time::Duration;

use super::ruby::printed;
use crate::report::{Report, did_you_mean};
use crate::yaml::{Mapping, Node, Value};
use crate::{Expiry, parse_duration};

/// Nested lists of scripts and rules go this deep.
const MAX_NESTING: usize = 10;

/// A keyword with where it stands, for messages. Keywords of the root stand nowhere.
///
/// Such places are given as something that can be displayed, because hardly any of them ever is.
pub(crate) struct Keyword<'a> {
    pub(crate) parent: Option<&'a dyn Display>,
    pub(crate) key: &'a str,
}

impl Display for Keyword<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            Some(parent) => write!(f, "{parent}:{}", self.key),
            None => f.write_str(self.key),
        }
    }
}

/// Reports keys that `known` does not list.
pub(crate) fn unknown_keys(map: &Mapping, at: &dyn Display, known: &[&str], report: &mut Report) {
    let unknown: Vec<_> = map
        .iter()
        .map(|it| &it.0)
        .filter(|it| !known.contains(&it.text.as_str()))
        .collect();
    let Some(first) = unknown.first() else { return };
    let names: Vec<&str> = unknown.iter().take(20).map(|it| it.text.as_str()).collect();
    let message = format!("{at} config contains unknown keys: {}", names.join(", ")).to_lowercase();
    report.error_with_hint(
        first.span,
        message,
        did_you_mean(&first.text, known.iter().copied()),
    );
}

/// Returns whether there is nothing in a node: null, `false`, blank text, an empty list or map.
pub(crate) fn blank(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(map) => map.is_empty(),
        _ => false,
    }
}

/// Returns the items if the node is a list of strings.
pub(crate) fn strings(node: &Node) -> Option<Vec<String>> {
    node.as_sequence()?
        .iter()
        .map(|it| it.as_text().map(str::to_owned))
        .collect()
}

/// Returns one or more strings.
pub(crate) fn string_or_strings(node: &Node) -> Option<Vec<String>> {
    match node.as_text() {
        Some(text) => Some(vec![text.to_owned()]),
        None => strings(node),
    }
}

/// Reads a list of strings, or reports `problem`.
pub(crate) fn string_list(node: &Node, problem: &dyn Display, report: &mut Report) -> Vec<String> {
    strings(node).unwrap_or_else(|| {
        report.entry_error(node.span, problem.to_string());
        Vec::new()
    })
}

/// Reads the list of strings under a key, or reports it as `{at} {attribute} should be an array of strings`.
pub(crate) fn listed(
    map: &Mapping,
    key: &str,
    at: &dyn Display,
    report: &mut Report,
) -> Vec<String> {
    let Some(node) = map.given(key) else {
        return Vec::new();
    };
    let name = key.replace('_', " ");
    let problem = format_args!("{at} {name} should be an array of strings");
    string_list(node, &problem, report)
}

/// Reads the string under a key.
pub(crate) fn text(
    map: &Mapping,
    key: &str,
    at: &dyn Display,
    report: &mut Report,
) -> Option<String> {
    let node = map.given(key)?;
    if node.as_text().is_none() {
        report.entry_error(
            node.span,
            format!("{at} {} should be a string", key.replace('_', " ")),
        );
    }
    node.as_text().map(str::to_owned)
}

/// Reads the string under a key that must be there.
pub(crate) fn required_text(
    parent: &Node,
    map: &Mapping,
    key: &str,
    at: &dyn Display,
    report: &mut Report,
) -> Option<String> {
    let node = map.get(key);
    let name = key.replace('_', " ");
    let span = node.map_or(parent.span, |it| it.span);
    let found = node.and_then(Node::as_text);
    if found.is_none() {
        report.entry_error(span, format!("{at} {name} should be a string"));
    }
    if node.is_none_or(blank) {
        report.entry_error(span, format!("{at} {name} can't be blank"));
        return None;
    }
    found.map(str::to_owned)
}

/// Reads the boolean under a key, as an attribute of what is at `at`.
pub(crate) fn boolean(
    map: &Mapping,
    key: &str,
    at: &dyn Display,
    report: &mut Report,
) -> Option<bool> {
    let node = map.given(key)?;
    if node.as_bool().is_none() {
        report.entry_error(
            node.span,
            format!("{at} {} should be a boolean value", key.replace('_', " ")),
        );
    }
    node.as_bool()
}

/// Reads a keyword that is a boolean.
pub(crate) fn boolean_config(node: &Node, at: &dyn Display, report: &mut Report) -> Option<bool> {
    if node.as_bool().is_none() {
        report.entry_error(node.span, format!("{at} config should be a boolean value"));
    }
    node.as_bool()
}

/// Reads a word out of a set. `what` opens the messages, `problem` ends the one about an unknown word.
pub(crate) fn one_of<T: Copy>(
    node: &Node,
    words: &[(&str, T)],
    what: &dyn Display,
    problem: &str,
    report: &mut Report,
) -> Option<T> {
    let Some(text) = node.as_text() else {
        report.entry_error(node.span, format!("{what} should be a string"));
        return None;
    };
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let hint = did_you_mean(text, words.iter().map(|it| it.0));
        report.error_with_hint(node.span, format!("{what} {problem}").to_lowercase(), hint);
    }
    found.map(|it| it.1)
}

/// Reads a word out of a set, in the other form that GitLab's checks have.
pub(crate) fn known_value<T: Copy>(
    node: &Node,
    words: &[(&str, T)],
    what: &dyn Display,
    report: &mut Report,
) -> Option<T> {
    let shown = printed(node);
    let found = words.iter().find(|(word, _)| *word == shown);
    if found.is_none() {
        let hint = did_you_mean(&shown, words.iter().map(|it| it.0));
        let message = format!("{what} unknown value: {shown}");
        report.error_with_hint(node.span, message.to_lowercase(), hint);
    }
    found.map(|it| it.1)
}

/// Reads a duration up to a limit. `problem` opens both messages.
pub(crate) fn duration(
    node: &Node,
    limit: Duration,
    problem: &dyn Display,
    report: &mut Report,
) -> Option<u64> {
    let Some(duration) = node
        .as_text()
        .and_then(|it| parse_duration(it).ok().flatten())
    else {
        let hint = node
            .as_integer()
            .map(|it| format!("write a unit, for example `{it} seconds`"));
        report.error_with_hint(
            node.span,
            format!("{problem} should be a duration").to_lowercase(),
            hint,
        );
        return None;
    };
    if duration > limit {
        report.entry_error(node.span, format!("{problem} should not exceed the limit"));
        return None;
    }
    Some(duration.as_secs())
}

/// Reads a duration without limit, or `never`.
pub(crate) fn expiry(node: &Node, problem: &dyn Display, report: &mut Report) -> Option<Expiry> {
    const NO_LIMIT: Duration = Duration::from_secs(1000 * 365 * 86_400);
    let never = node
        .as_text()
        .is_some_and(|it| it.eq_ignore_ascii_case("never"));
    match never {
        true => Some(Expiry::Never),
        false => duration(node, NO_LIMIT, problem, report).map(Expiry::AfterSecs),
    }
}

/// Returns the items of a list with nested lists opened up. `None` if it is no list or nested too deep.
pub(crate) fn flattened(node: &Node) -> Option<Vec<&Node>> {
    fn add<'a>(items: &'a [Node], depth: usize, out: &mut Vec<&'a Node>) -> bool {
        depth <= MAX_NESTING
            && items.iter().all(|it| match &it.value {
                Value::Sequence(inner) => add(inner, depth + 1, out),
                _ => {
                    out.push(it);
                    true
                }
            })
    }
    let mut out = Vec::new();
    add(node.as_sequence()?, 1, &mut out).then_some(out)
}

/// Reads the lines of a script: a string, or a nested list of strings.
pub(crate) fn script(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<String> {
    if let Some(text) = node.as_text() {
        return vec![text.to_owned()];
    }
    let items = flattened(node);
    let wrong = items.iter().flatten().find(|it| it.as_text().is_none());
    match (&items, wrong) {
        (Some(items), None) => items
            .iter()
            .filter_map(|it| it.as_text().map(str::to_owned))
            .collect(),
        (_, wrong) => {
            let hint = wrong.map(|it| match it.value {
                Value::Mapping(_) => {
                    "quote the line: with `: ` in it, it is read as a map".to_owned()
                }
                _ => "quote the line, so that it is a string".to_owned(),
            });
            let message = format!(
                "{at} config should be a string or a nested array of strings up to 10 levels deep"
            );
            let span = wrong.map_or(node.span, |it| it.span);
            report.error_with_hint(span, message.to_lowercase(), hint);
            Vec::new()
        }
    }
}
