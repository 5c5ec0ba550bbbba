//! `run` and `inputs`: steps instead of a script, and values that whoever plays a job may change.

use std::fmt::Display;

use super::check::{blank, known_value, unknown_keys};
use super::json::{input_value, json};
use super::variables::is_alphanumeric;
use crate::report::Report;
use crate::yaml::{Mapping, Node};
use crate::{InputKind, InputValue, JobInput};

const STEP_KEYS: [&str; 7] = [
    "name", "script", "step", "func", "env", "inputs", "delegate",
];
const MAX_INPUTS: usize = 50;
const MAX_OPTIONS: usize = 50;

/// Reads the steps of `run`, which are handed on as they are.
pub(super) fn steps(node: &Node, at: &dyn Display, report: &mut Report) -> serde_json::Value {
    let at = format!("{at} run");
    match node.as_sequence() {
        None => report.entry_error(node.span, format!("{at} value at root is not an array")),
        Some(items) => {
            for (index, item) in items.iter().enumerate() {
                step(item, index, &at, report);
            }
        }
    }
    json(node)
}

fn step(node: &Node, index: usize, at: &dyn Display, report: &mut Report) {
    let Some(map) = node.as_mapping() else {
        report.entry_error(
            node.span,
            format!("{at} value at `/{index}` is not an object"),
        );
        return;
    };
    let actions = ["script", "step", "func"]
        .iter()
        .filter(|it| map.get(it).is_some())
        .count();
    if actions != 1 {
        report.entry_error(
            node.span,
            format!("{at} value at /{index} should use only one of: script, step, func"),
        );
    }
    if map.given("name").is_none_or(blank) {
        report.entry_error(
            node.span,
            format!("{at} object at `/{index}` is missing required properties: name"),
        );
    }
    for (key, _) in map
        .iter()
        .filter(|it| !STEP_KEYS.contains(&it.0.text.as_str()))
    {
        report.entry_error(
            key.span,
            format!(
                "{at} object property at `/{index}/{}` is a disallowed additional property",
                key.text
            ),
        );
    }
    let is = |key: &str, valid: fn(&Node) -> bool| map.get(key).is_none_or(valid);
    let is_text: fn(&Node) -> bool = |it| it.as_text().is_some();
    let is_map: fn(&Node) -> bool = |it| it.as_mapping().is_some();
    for (key, valid, kind) in [
        ("name", is("name", is_text), "a string"),
        ("script", is("script", is_text), "a string"),
        ("env", is("env", is_map), "an object"),
        ("inputs", is("inputs", is_map), "an object"),
    ] {
        if !valid {
            report.entry_error(
                node.span,
                format!("{at} value at `/{index}/{key}` is not {kind}"),
            );
        }
    }
}

/// Reads the inputs of a job, each of which has a default.
pub(super) fn job_inputs(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<JobInput> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at}:inputs config should be a hash"));
        return Vec::new();
    };
    if map.iter().len() > MAX_INPUTS {
        report.entry_error(
            node.span,
            format!("{at} inputs has too many entries (maximum {MAX_INPUTS})"),
        );
        return Vec::new();
    }
    map.iter()
        .filter_map(|(key, value)| {
            let at = format!("{at}:inputs:{}", key.text);
            let Some(map) = value.as_mapping() else {
                let problem = if value.is_null() {
                    format!("{at} must have a default value")
                } else {
                    format!("{at} config should be a hash")
                };
                report.entry_error(value.span, problem);
                return None;
            };
            input(&key.text, value, map, &at, report)
        })
        .collect()
}

fn input(
    name: &str,
    node: &Node,
    map: &Mapping,
    at: &dyn Display,
    report: &mut Report,
) -> Option<JobInput> {
    let known = ["default", "description", "options", "regex", "type"];
    unknown_keys(map, at, &known, report);
    let options = options(map, at, report);
    let regex = map.given("regex").and_then(|it| {
        if it.as_text().is_none() {
            report.entry_error(it.span, format!("{at} input regex should be a string"));
        }
        it.as_text().map(str::to_owned)
    });
    let kinds = [
        ("string", InputKind::String),
        ("number", InputKind::Number),
        ("boolean", InputKind::Boolean),
        ("array", InputKind::Array),
    ];
    let kind = match map.given("type") {
        Some(kind) => known_value(kind, &kinds, &format_args!("{at} input type"), report)?,
        None => InputKind::default(),
    };
    if map
        .given("description")
        .is_some_and(|it| !is_alphanumeric(it))
    {
        let problem = "input description must be an alphanumeric string";
        report.entry_error(node.span, format!("{at} {problem}"));
    }
    let Some(default) = map.given("default") else {
        report.entry_error(node.span, format!("{at} must have a default value"));
        return None;
    };
    let default_value = input_value(default);
    // These come from another part of GitLab and name the input after the keyword.
    let at = at.to_string();
    let parent = at.rsplit_once(':').map_or(at.as_str(), |it| it.0);
    let parent = parent.strip_suffix(":inputs").unwrap_or(parent);
    let problem = if options
        .as_ref()
        .is_some_and(|it| !it.contains(&default_value))
    {
        let shown = default.scalar_text().unwrap_or_default();
        format!("`{shown}` cannot be used because it is not in the list of allowed options")
    } else if let Some(regex) = &regex
        && !matches(default, regex, report)
    {
        "default value does not match required regex pattern".to_owned()
    } else {
        return Some(JobInput {
            name: name.to_owned(),
            kind,
            default: default_value,
            description: map.given("description").and_then(Node::scalar_text),
            options: options.unwrap_or_default(),
            regex,
        });
    };
    report.entry_error(default.span, format!("{parent} inputs `{name}`: {problem}"));
    None
}

fn options(map: &Mapping, at: &dyn Display, report: &mut Report) -> Option<Vec<InputValue>> {
    let node = map.given("options")?;
    let Some(items) = node.as_sequence() else {
        report.entry_error(node.span, format!("{at} input options should be an array"));
        return None;
    };
    if items.len() > MAX_OPTIONS {
        report.entry_error(
            node.span,
            format!("{at} config cannot define more than {MAX_OPTIONS} options"),
        );
    }
    if items.iter().any(Node::is_null) {
        report.entry_error(
            node.span,
            format!("{at} config options array cannot contain null values"),
        );
    }
    Some(items.iter().map(input_value).collect())
}

/// Returns whether a text matches a pattern, which may stand between slashes.
fn matches(node: &Node, pattern: &str, report: &Report) -> bool {
    let text = node.as_text().unwrap_or_default();
    let found = report.patterns.find(pattern);
    let found = found.or_else(|| report.patterns.find(&format!("/{pattern}/")));
    found.is_some_and(|it| it.is_match(text))
}
