//! `trigger`: which pipeline a bridge makes, and what it hands down.

use std::fmt::Display;

use super::check::{blank, boolean, one_of, required_text, text, unknown_keys};
use super::json::{input_value, json};
use super::rules::{Owner, rules};
use crate::report::Report;
use crate::yaml::{Mapping, Node, Span, Value};
use crate::{Forward, InputValue, Trigger, TriggerStrategy, TriggerTarget};

const MAX_INCLUDES: usize = 3;
const INCLUDE_KEYS: [&str; 13] = [
    "local",
    "file",
    "remote",
    "project",
    "ref",
    "integrity",
    "cache",
    "template",
    "artifact",
    "inputs",
    "job",
    "rules",
    "component",
];

/// Reads a trigger. Project and branch are not expanded yet.
pub(super) fn trigger(node: &Node, at: &dyn Display, report: &mut Report) -> Option<Trigger> {
    let map = match &node.value {
        Value::Text(project) if !project.trim().is_empty() => {
            return Some(Trigger {
                target: TriggerTarget::Project {
                    project: project.to_string(),
                    branch: None,
                },
                strategy: TriggerStrategy::default(),
                forward: Forward::default(),
                inputs: Vec::new(),
            });
        }
        Value::Mapping(map) if !map.is_empty() => map,
        Value::Text(_) | Value::Mapping(_) => {
            report.entry_error(node.span, format!("{at} config can't be blank"));
            return None;
        }
        _ => {
            report.entry_error(
                node.span,
                format!("{at} has to be either a string or a hash"),
            );
            return None;
        }
    };
    let strategy = map.given("strategy").and_then(|it| {
        let words = [
            ("depend", TriggerStrategy::Depend),
            ("mirror", TriggerStrategy::Mirror),
        ];
        one_of(
            it,
            &words,
            &format_args!("{at} strategy"),
            "should be depend or mirror",
            report,
        )
    });
    let target = match map.get("include") {
        Some(include) => child(map, include, at, report),
        None => project(node, map, at, report),
    };
    Some(Trigger {
        target: target?,
        strategy: strategy.unwrap_or_default(),
        forward: map
            .given("forward")
            .map(|it| forward(it, &format_args!("{at}:forward"), report))
            .unwrap_or_default(),
        inputs: inputs(map, at, report),
    })
}

fn project(
    node: &Node,
    map: &Mapping,
    at: &dyn Display,
    report: &mut Report,
) -> Option<TriggerTarget> {
    let known = ["project", "branch", "strategy", "forward", "inputs"];
    unknown_keys(map, at, &known, report);
    let project = required_text(node, map, "project", at, report);
    let branch = text(map, "branch", at, report);
    Some(TriggerTarget::Project {
        project: project?,
        branch,
    })
}

fn inputs(map: &Mapping, at: &dyn Display, report: &mut Report) -> Vec<(String, InputValue)> {
    let Some(node) = map.given("inputs") else {
        return Vec::new();
    };
    let Some(inputs) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} inputs should be a hash"));
        return Vec::new();
    };
    inputs
        .iter()
        .map(|(key, value)| (key.text.to_string(), input_value(value)))
        .collect()
}

/// Reads `include`. What the files hold is looked at when the child pipeline is made.
fn child(
    map: &Mapping,
    include: &Node,
    at: &dyn Display,
    report: &mut Report,
) -> Option<TriggerTarget> {
    unknown_keys(map, at, &["strategy", "include", "forward"], report);
    let at = format!("{at}:include");
    match &include.value {
        Value::Text(_) | Value::Null => {}
        Value::Sequence(items) => {
            if items.len() > MAX_INCLUDES {
                report.entry_error(
                    include.span,
                    format!("{at} config is too long (maximum is {MAX_INCLUDES})"),
                );
                return None;
            }
            for item in super::check::flattened(include).unwrap_or_default() {
                entry(item, &format_args!("{at}:include config"), report);
            }
        }
        _ => {
            report.entry_error(
                include.span,
                format!("{at} config should be an array or a string"),
            );
            return None;
        }
    }
    let config = serde_json::json!({ "include": json(include) });
    Some(TriggerTarget::Child {
        config: config.to_string(),
    })
}

/// Returns the jobs out of whose artifacts the files of a child pipeline come.
pub(super) fn artifact_jobs(node: &Node) -> Vec<(Span, String)> {
    let include = node.as_mapping().and_then(|it| it.get("include"));
    include
        .and_then(super::check::flattened)
        .into_iter()
        .flatten()
        .filter_map(|it| it.as_mapping()?.get("job"))
        .filter_map(|it| Some((it.span, it.as_text()?.to_owned())))
        .collect()
}

fn entry(node: &Node, at: &dyn Display, report: &mut Report) {
    let map = match &node.value {
        Value::Text(_) | Value::Null => return,
        Value::Mapping(map) => map,
        _ => {
            report.entry_error(node.span, format!("{at} should be a hash or a string"));
            return;
        }
    };
    let at = at.to_string();
    let parent = at.strip_suffix(" config").unwrap_or(&at);
    unknown_keys(map, &parent, &INCLUDE_KEYS, report);
    for (key, companion, what) in [
        ("project", "file", "file where to fetch the config from"),
        ("artifact", "job", "job where to fetch the artifact from"),
    ] {
        if map.given(key).is_some() && map.given(companion).is_none_or(blank) {
            report.entry_error(node.span, format!("{at} must specify the {what}"));
        }
    }
    if let Some(list) = map.given("rules") {
        let hashes = list.as_sequence();
        if hashes.is_some_and(|it| it.iter().all(|it| it.as_mapping().is_some())) {
            rules(list, &parent, Owner::Include, report);
        } else {
            report.entry_error(
                list.span,
                format!("{parent} rules should be an array of hashes"),
            );
        }
    }
}

fn forward(node: &Node, at: &dyn Display, report: &mut Report) -> Forward {
    // GitLab takes any other value for none.
    let Some(map) = node.as_mapping() else {
        return Forward::default();
    };
    unknown_keys(map, at, &["yaml_variables", "pipeline_variables"], report);
    let default = Forward::default();
    Forward {
        yaml_variables: boolean(map, "yaml_variables", at, report)
            .unwrap_or(default.yaml_variables),
        pipeline_variables: boolean(map, "pipeline_variables", at, report)
            .unwrap_or(default.pipeline_variables),
    }
}
