//! `environment` and `coverage`: recorded, without effect yet.

use super::check::{one_of, text, unknown_keys};
use crate::Environment;
use crate::report::Report;
use crate::yaml::{Node, Value};

const KEYS: [&str; 7] = [
    "name",
    "url",
    "action",
    "on_stop",
    "auto_stop_in",
    "deployment_tier",
    "kubernetes",
];
const MAX_NAME: usize = 255;
const ACTIONS: [(&str, &str); 5] = [
    ("start", "start"),
    ("stop", "stop"),
    ("prepare", "prepare"),
    ("verify", "verify"),
    ("access", "access"),
];

pub(super) fn environment(node: &Node, at: &str, report: &mut Report) -> Option<Environment> {
    report.unsupported(
        node.span,
        "environment",
        "it is recorded, but no deployment is tracked",
    );
    let mut environment = Environment {
        action: "start".to_owned(),
        ..Environment::default()
    };
    match &node.value {
        Value::Text(name) => environment.name.clone_from(name),
        Value::Mapping(map) => {
            unknown_keys(map, at, &KEYS, report);
            environment.name = text(map, "name", at, report).unwrap_or_default();
            environment.url = text(map, "url", at, report);
            environment.on_stop = text(map, "on_stop", at, report);
            environment.auto_stop_in = text(map, "auto_stop_in", at, report);
            environment.deployment_tier = text(map, "deployment_tier", at, report);
            let problem = format!("{at} action should be start, stop, prepare, verify, or access");
            if let Some(action) = map
                .given("action")
                .and_then(|it| one_of(it, &ACTIONS, &problem, report))
            {
                environment.action = action.to_owned();
            }
        }
        _ => {
            report.entry_error(
                node.span,
                format!("{at} config should be a hash or a string"),
            );
            return None;
        }
    }
    let name = &environment.name;
    let allowed = |it: char| it.is_ascii_alphanumeric() || "-_/${}. ".contains(it);
    if name.chars().count() > MAX_NAME {
        report.entry_error(
            node.span,
            format!("{at} name is too long (maximum is {MAX_NAME} characters)"),
        );
        return None;
    }
    if name.is_empty() {
        report.entry_error(node.span, format!("{at} name can't be blank"));
    } else if !name.chars().all(allowed) || name.starts_with('/') || name.ends_with('/') {
        let rule = "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, \
                    but it cannot start or end with '/'";
        report.entry_error(node.span, format!("{at} name {rule}"));
    }
    Some(environment)
}

/// Reads `/pattern/` and returns what is between the slashes.
pub(super) fn coverage(node: &Node, at: &str, report: &mut Report) -> Option<String> {
    report.unsupported(
        node.span,
        "coverage",
        "it is recorded, but the log is not searched",
    );
    let body = node
        .as_text()
        .and_then(|it| it.strip_prefix('/')?.strip_suffix('/'));
    let valid = body.filter(|it| report.patterns.find(&format!("/{it}/")).is_some());
    if valid.is_none() {
        report.entry_error(
            node.span,
            format!("{at} config must be a regular expression with re2 syntax"),
        );
    }
    valid.map(str::to_owned)
}
