//! `environment` and `coverage`.

use std::fmt::Display;

use super::check::{blank, one_of, required_text, text, unknown_keys};
use super::json::json;
use crate::Environment;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Value};

const KEYS: [&str; 7] = [
    "name",
    "url",
    "action",
    "on_stop",
    "auto_stop_in",
    "kubernetes",
    "deployment_tier",
];
const KUBERNETES_KEYS: [&str; 5] = [
    "namespace",
    "agent",
    "flux_resource_path",
    "managed_resources",
    "dashboard",
];
const MAX_LENGTH: usize = 255;
const ACTIONS: [(&str, &str); 5] = [
    ("start", "start"),
    ("stop", "stop"),
    ("prepare", "prepare"),
    ("verify", "verify"),
    ("access", "access"),
];
const NAME: &str = "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but it cannot \
                    start or end with '/'";

/// Reads an environment. Its texts are not expanded.
pub(super) fn environment(
    node: &Node,
    at: &dyn Display,
    report: &mut Report,
) -> Option<Environment> {
    let mut environment = Environment {
        action: "start".to_owned(),
        ..Environment::default()
    };
    match &node.value {
        Value::Text(name) => environment.name = name.to_string(),
        Value::Mapping(map) => {
            environment.name = name(node, map, at, report).unwrap_or_default();
            details(map, &mut environment, at, report);
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
    if name.trim().is_empty() && node.as_text().is_some() {
        report.entry_error(node.span, format!("{at} name can't be blank"));
    }
    if name.is_empty() || !name.chars().all(allowed) || name.starts_with('/') || name.ends_with('/')
    {
        report.entry_error(node.span, format!("{at} name {NAME}"));
    }
    Some(environment)
}

fn name(node: &Node, map: &Mapping, at: &dyn Display, report: &mut Report) -> Option<String> {
    let name = map.get("name");
    if name.is_none_or(blank) {
        report.entry_error(node.span, format!("{at} name can't be blank"));
    }
    let text = name.and_then(Node::as_text);
    if text.is_none() {
        report.entry_error(node.span, format!("{at} name {NAME}"));
    }
    text.map(str::to_owned)
}

fn details(map: &Mapping, environment: &mut Environment, at: &dyn Display, report: &mut Report) {
    unknown_keys(map, at, &KEYS, report);
    environment.url = text(map, "url", at, report);
    if let (Some(url), Some(node)) = (&environment.url, map.given("url"))
        && url.chars().count() > MAX_LENGTH
    {
        report.entry_error(
            node.span,
            format!("{at} url is too long (maximum is {MAX_LENGTH} characters)"),
        );
    }
    let problem = "should be start, stop, prepare, verify, or access";
    if let Some(action) = map
        .given("action")
        .and_then(|it| one_of(it, &ACTIONS, &format_args!("{at} action"), problem, report))
    {
        environment.action = action.to_owned();
    }
    environment.deployment_tier = text(map, "deployment_tier", at, report);
    environment.on_stop = text(map, "on_stop", at, report);
    environment.auto_stop_in = text(map, "auto_stop_in", at, report);
    if let Some(node) = map.given("kubernetes") {
        match node.as_mapping() {
            Some(map) => kubernetes(node, map, &format_args!("{at}:kubernetes"), report),
            None => report.entry_error(node.span, format!("{at} kubernetes should be a hash")),
        }
        environment.kubernetes = Some(json(node));
    }
}

/// Checks what is handed on as it is.
fn kubernetes(node: &Node, map: &Mapping, at: &dyn Display, report: &mut Report) {
    if map.is_empty() {
        report.entry_error(node.span, format!("{at} config can't be blank"));
    }
    unknown_keys(map, at, &KUBERNETES_KEYS, report);
    let namespace = text(map, "namespace", at, report);
    let flux = map.given("flux_resource_path").filter(|it| !blank(it));
    let dashboard = map.given("dashboard").filter(|it| !blank(it));
    let is_managed = map
        .given("managed_resources")
        .and_then(|it| managed(it, &format_args!("{at} managed resources"), report));
    if flux.is_some() && namespace.as_deref().is_none_or(|it| it.trim().is_empty()) {
        report.entry_error(node.span, format!("{at} namespace can't be blank"));
    }
    text(map, "flux_resource_path", at, report);
    let needs_agent = flux.is_some() || dashboard.is_some() || is_managed == Some(true);
    if needs_agent && map.get("agent").is_none_or(blank) {
        report.entry_error(node.span, format!("{at} agent can't be blank"));
    }
    text(map, "agent", at, report);
    if let Some((node, dashboard)) = dashboard.and_then(|it| Some((it, it.as_mapping()?))) {
        required_text(
            node,
            dashboard,
            "namespace",
            &format_args!("{at} dashboard"),
            report,
        );
        for (key, given) in [
            ("namespace", namespace.is_some()),
            ("flux_resource_path", flux.is_some()),
        ] {
            if given && dashboard.given(key).is_some() {
                let name = key.replace('_', " ");
                report.entry_error(
                    node.span,
                    format!("{at} {name} cannot be specified when dashboard.{key} is set"),
                );
            }
        }
    }
}

/// Returns whether the resources are managed.
fn managed(node: &Node, what: &dyn Display, report: &mut Report) -> Option<bool> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{what} value at root is not an object"));
        return None;
    };
    for (key, _) in map.iter().filter(|it| it.0.text != "enabled") {
        let problem = format!(
            "object property at `/{}` is a disallowed additional property",
            key.text
        );
        report.entry_error(key.span, format!("{what} {problem}"));
    }
    let enabled = map.get("enabled")?;
    if enabled.as_bool().is_none() {
        let problem = "value at `/enabled` is not a boolean";
        report.entry_error(enabled.span, format!("{what} {problem}"));
    }
    enabled.as_bool()
}

/// Reads `/pattern/` and returns what is between the slashes.
pub(super) fn coverage(node: &Node, at: &dyn Display, report: &mut Report) -> Option<String> {
    let text = node
        .as_text()
        .filter(|it| report.patterns.find(it).is_some());
    let Some(text) = text else {
        report.entry_error(
            node.span,
            format!("{at} config must be a regular expression with re2 syntax"),
        );
        return None;
    };
    // As GitLab does, even if flags follow the last slash.
    let mut inner = text.chars();
    inner.next();
    inner.next_back();
    Some(inner.as_str().to_owned())
}
