//! `image`: recorded for executors that run containers.

use super::check::{string_or_strings, strings, text, unknown_keys};
use crate::Image;
use crate::report::Report;
use crate::yaml::{Node, Value};

pub(super) fn image(node: &Node, at: &str, report: &mut Report) -> Option<Image> {
    let map = match &node.value {
        Value::Text(name) if name.is_empty() => {
            report.entry_error(node.span, format!("{at} name can't be blank"));
            return None;
        }
        Value::Text(name) => {
            return Some(Image {
                name: name.clone(),
                ..Image::default()
            });
        }
        Value::Mapping(map) => map,
        _ => {
            report.entry_error(
                node.span,
                format!("{at} config should be a hash or a string"),
            );
            return None;
        }
    };
    unknown_keys(
        map,
        at,
        &["name", "entrypoint", "pull_policy", "docker", "kubernetes"],
        report,
    );
    for key in ["docker", "kubernetes"] {
        if let Some(node) = map.given(key) {
            report.unsupported(
                node.span,
                &format!("image:{key}"),
                "the image runs with its own settings",
            );
        }
    }
    if map.given("name").is_none_or(|it| it.as_text() == Some("")) {
        report.entry_error(node.span, format!("{at} name can't be blank"));
        return None;
    }
    let entrypoint = map.given("entrypoint").map(|it| {
        strings(it).unwrap_or_else(|| {
            report.entry_error(
                it.span,
                format!("{at} entrypoint should be an array of strings"),
            );
            Vec::new()
        })
    });
    let pull_policy = map
        .given("pull_policy")
        .map(|it| pull_policy(it, &format!("{at}:pull_policy"), report));
    let name = text(map, "name", at, report)?;
    Some(Image {
        name,
        entrypoint,
        pull_policy: pull_policy.unwrap_or_default(),
        ..Image::default()
    })
}

fn pull_policy(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    const KNOWN: [&str; 3] = ["always", "never", "if-not-present"];
    let policies = string_or_strings(node).unwrap_or_default();
    let unknown: Vec<&str> = policies
        .iter()
        .map(String::as_str)
        .filter(|it| !KNOWN.contains(it))
        .collect();
    if policies.is_empty() || node.as_text().is_some() && !unknown.is_empty() {
        report.entry_error(
            node.span,
            format!("{at} config is not included in the list"),
        );
    } else if !unknown.is_empty() {
        report.entry_error(
            node.span,
            format!(
                "{at} config contains unknown values: {}",
                unknown.join(", ")
            ),
        );
    }
    policies
}
