//! `image` and `services`: containers for executors that have them.

use std::fmt::Display;

use super::check::{required_text, script, string_or_strings, strings, text, unknown_keys};
use super::variables::{Level, variables};
use crate::report::Report;
use crate::yaml::{Mapping, Node, Value};
use crate::{Image, Service};

const KEYS: [&str; 5] = ["docker", "kubernetes", "name", "entrypoint", "pull_policy"];
const SERVICE_KEYS: [&str; 8] = [
    "command",
    "alias",
    "variables",
    "docker",
    "kubernetes",
    "name",
    "entrypoint",
    "pull_policy",
];
const MAX_PLATFORM: usize = 64;
const MAX_USER: usize = 255;

pub(super) fn image(node: &Node, at: &dyn Display, report: &mut Report) -> Option<Image> {
    match named(node, at, report)? {
        Named::Short(image) => Some(image),
        Named::Long(map) => {
            let image = image_of_map(node, map, at, report);
            unknown_keys(map, at, &KEYS, report);
            image
        }
    }
}

/// Reads a list of containers that run beside the job.
pub(super) fn services(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<Service> {
    let Some(items) = super::check::flattened(node) else {
        report.entry_error(node.span, format!("{at} config should be an array"));
        return Vec::new();
    };
    let at = format!("{at}:service");
    items
        .into_iter()
        .filter(|it| !it.is_null())
        .filter_map(|it| service(it, &at, report))
        .collect()
}

fn service(node: &Node, at: &dyn Display, report: &mut Report) -> Option<Service> {
    let map = match named(node, at, report)? {
        Named::Short(image) => {
            return Some(Service {
                image,
                ..Service::default()
            });
        }
        Named::Long(map) => map,
    };
    let image = image_of_map(node, map, at, report);
    unknown_keys(map, at, &SERVICE_KEYS, report);
    // Several names may stand in one text.
    let alias = text(map, "alias", at, report).unwrap_or_default();
    let alias = alias
        .split([',', ' ', '\t', '\n'])
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect();
    Some(Service {
        image: image?,
        alias,
        command: map
            .given("command")
            .map(|it| script(it, &format_args!("{at}:command"), report)),
        variables: map
            .given("variables")
            .map(|it| variables(it, Level::Plain, &format_args!("{at}:variables"), report))
            .unwrap_or_default(),
    })
}

enum Named<'n> {
    Short(Image),
    Long(&'n Mapping),
}

fn named<'n>(node: &'n Node, at: &dyn Display, report: &mut Report) -> Option<Named<'n>> {
    match &node.value {
        Value::Text(name) if name.trim().is_empty() => {
            report.entry_error(node.span, format!("{at} name can't be blank"));
            None
        }
        Value::Text(name) => Some(Named::Short(Image {
            name: name.to_string(),
            ..Image::default()
        })),
        Value::Mapping(map) => Some(Named::Long(map)),
        _ => {
            report.entry_error(
                node.span,
                format!("{at} config should be a hash or a string"),
            );
            None
        }
    }
}

fn image_of_map(
    node: &Node,
    map: &Mapping,
    at: &dyn Display,
    report: &mut Report,
) -> Option<Image> {
    let name = required_text(node, map, "name", at, report);
    let entrypoint = map.given("entrypoint").map(|it| {
        strings(it).unwrap_or_else(|| {
            report.entry_error(
                it.span,
                format!("{at} entrypoint should be an array of strings"),
            );
            Vec::new()
        })
    });
    let mut option = |executor: &str, key: &str, limit: usize| {
        let options = map.given(executor)?.as_mapping()?;
        let value = options.get(key)?;
        let text = match &value.value {
            Value::Text(text) => Some(text.to_string()),
            Value::Integer(id) if executor == "kubernetes" => Some(id.get().to_string()),
            _ => None,
        };
        let problem = match &text {
            None => "value at `{}` is not a string".to_owned(),
            Some(text) if text.is_empty() => "string length at `{}` is less than: 1".to_owned(),
            Some(text) if text.chars().count() > limit => {
                format!("string length at `{{}}` is greater than: {limit}")
            }
            Some(_) => return text,
        };
        let problem = problem.replace("{}", &format!("/{executor}/{key}"));
        report.entry_error(value.span, format!("{at} executor opts {problem}"));
        None
    };
    let platform = option("docker", "platform", MAX_PLATFORM);
    let user = option("docker", "user", MAX_USER);
    let kubernetes_user = option("kubernetes", "user", MAX_USER);
    executor_keys(map, "docker", &["platform", "user"], at, report);
    executor_keys(map, "kubernetes", &["user"], at, report);
    let pull_policy = map
        .given("pull_policy")
        .map(|it| pull_policy(it, &format_args!("{at}:pull_policy"), report));
    Some(Image {
        name: name?,
        entrypoint,
        pull_policy: pull_policy.unwrap_or_default(),
        platform,
        user,
        kubernetes_user,
    })
}

/// Refuses options that an executor does not have.
fn executor_keys(
    map: &Mapping,
    executor: &str,
    known: &[&str],
    at: &dyn Display,
    report: &mut Report,
) {
    let Some(node) = map.given(executor) else {
        return;
    };
    let Some(options) = node.as_mapping() else {
        report.entry_error(
            node.span,
            format!("{at} executor opts value at `/{executor}` is not an object"),
        );
        return;
    };
    for (key, _) in options
        .iter()
        .filter(|it| !known.contains(&it.0.text.as_str()))
    {
        report.entry_error(
            key.span,
            format!(
                "{at} executor opts object property at `/{executor}/{}` is a disallowed additional property",
                key.text
            ),
        );
    }
}

fn pull_policy(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<String> {
    const KNOWN: [&str; 3] = ["always", "never", "if-not-present"];
    let Some(policies) = string_or_strings(node) else {
        report.entry_error(
            node.span,
            format!("{at} config should be an array of strings or a string"),
        );
        return Vec::new();
    };
    let unknown: Vec<&str> = policies
        .iter()
        .map(String::as_str)
        .filter(|it| !KNOWN.contains(it))
        .collect();
    let problem = match unknown.as_slice() {
        [] if policies.is_empty() => "can't be blank".to_owned(),
        [] => return policies,
        _ if node.as_text().is_some() => "is not included in the list".to_owned(),
        unknown => format!("contains unknown values: {}", unknown.join(", ")),
    };
    report.entry_error(node.span, format!("{at} config {problem}"));
    policies
}
