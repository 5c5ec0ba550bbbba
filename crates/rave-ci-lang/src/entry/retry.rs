//! `retry`, and lists of exit codes.

use std::fmt::Display;

use super::check::{one_of, string_list, unknown_keys};
use crate::Retry;
use crate::report::Report;
use crate::yaml::{Node, Value};

const RETRY_REASONS: [&str; 22] = [
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "missing_dependency_failure",
    "forward_deployment_failure",
    "environment_creation_failure",
    "reached_downstream_pipeline_trigger_rate_limit",
    "server_timeout_running",
    "server_timeout_canceling",
    "no_matching_runner",
    "runner_provisioning_timeout",
    "job_router_failure",
];

/// GitLab's messages about `retry` do not name the job.
pub(super) fn retry(node: &Node, report: &mut Report) -> Retry {
    let always = || vec!["always".to_owned()];
    match &node.value {
        Value::Integer(max) => Retry {
            max: at_most_two(max.get(), node, &"retry config", report),
            when: always(),
            exit_codes: Vec::new(),
        },
        Value::Mapping(map) => {
            unknown_keys(map, &"retry", &["max", "when", "exit_codes"], report);
            let max = map.given("max").map_or(0, |it| match it.as_integer() {
                Some(max) => at_most_two(max, it, &"retry max", report),
                None => {
                    let problem = match it.value {
                        Value::Float(_) => "must be an integer",
                        _ => "is not a number",
                    };
                    report.entry_error(it.span, format!("retry max {problem}"));
                    0
                }
            });
            let when = map.given("when").map(|it| retry_when(it, report));
            let exit_codes = map
                .given("exit_codes")
                .map(|it| exit_codes(it, &"retry exit codes", report));
            let default = if exit_codes.is_some() {
                Vec::new()
            } else {
                always()
            };
            Retry {
                max,
                when: when.unwrap_or(default),
                exit_codes: exit_codes.unwrap_or_default(),
            }
        }
        _ => {
            report.entry_error(
                node.span,
                "retry config has to be either an integer or a hash",
            );
            Retry::default()
        }
    }
}

fn at_most_two(max: i128, node: &Node, at: &dyn Display, report: &mut Report) -> u32 {
    match max {
        ..0 => report.entry_error(
            node.span,
            format!("{at} must be greater than or equal to 0"),
        ),
        3.. => report.entry_error(node.span, format!("{at} must be less than or equal to 2")),
        _ => {}
    }
    u32::try_from(max.clamp(0, 2)).unwrap_or(0)
}

fn retry_when(node: &Node, report: &mut Report) -> Vec<String> {
    if node.as_text().is_some() {
        let words = RETRY_REASONS.map(|it| (it, it));
        return one_of(
            node,
            &words,
            &"retry when",
            "is not included in the list",
            report,
        )
        .map(str::to_owned)
        .into_iter()
        .collect();
    }
    let reasons = string_list(
        node,
        &"retry when should be an array of strings or a string",
        report,
    );
    let unknown: Vec<&str> = reasons
        .iter()
        .map(String::as_str)
        .filter(|it| !RETRY_REASONS.contains(it))
        .collect();
    if !unknown.is_empty() {
        report.entry_error(
            node.span,
            format!("retry when contains unknown values: {}", unknown.join(", ")),
        );
    }
    reasons
}

/// Reads an integer or a list of them.
pub(super) fn exit_codes(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<i32> {
    let one = |it: &Node| it.as_integer().and_then(|it| i32::try_from(it).ok());
    let codes: Option<Vec<i32>> = match node.as_sequence() {
        Some(items) => items.iter().map(one).collect(),
        None => one(node).map(|it| vec![it]),
    };
    codes.unwrap_or_else(|| {
        report.entry_error(
            node.span,
            format!("{at} should be an array of integers or an integer"),
        );
        Vec::new()
    })
}
