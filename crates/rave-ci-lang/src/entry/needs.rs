//! `needs`: the jobs that a job waits for, instead of whole stages.

use super::check::{boolean, flattened, text, unknown_keys};
use crate::report::Report;
use crate::yaml::{Mapping, Node, Span, Value};

const KEYS: [&str; 7] = [
    "job",
    "artifacts",
    "optional",
    "parallel",
    "pipeline",
    "project",
    "ref",
];

/// A need as written.
#[derive(Clone, Debug)]
pub(crate) struct NeedEntry {
    pub(crate) span: Span,
    pub(crate) job: String,
    pub(crate) artifacts: bool,
    pub(crate) optional: bool,
}

/// Reads a list of needs. Needs of other pipelines are left out, with a notice.
pub(super) fn needs(node: &Node, at: &str, report: &mut Report) -> Vec<NeedEntry> {
    let items = match &node.value {
        Value::Mapping(map) if map.is_empty() => {
            report.entry_error(node.span, format!("{at} config can not be an empty hash"));
            return Vec::new();
        }
        Value::Mapping(_) => vec![node],
        _ => match flattened(node) {
            Some(items) => items,
            None => {
                report.entry_error(
                    node.span,
                    format!("{at} config can only be a hash or an array"),
                );
                return Vec::new();
            }
        },
    };
    items
        .into_iter()
        .filter_map(|it| need(it, &format!("{at}:need"), report))
        .collect()
}

fn need(node: &Node, at: &str, report: &mut Report) -> Option<NeedEntry> {
    match &node.value {
        Value::Text(job) => Some(NeedEntry {
            span: node.span,
            job: job.clone(),
            artifacts: true,
            optional: false,
        }),
        Value::Mapping(map) => need_of_map(node, map, at, report),
        _ => {
            report.entry_error(node.span, format!("{at} has an unsupported type"));
            None
        }
    }
}

fn need_of_map(node: &Node, map: &Mapping, at: &str, report: &mut Report) -> Option<NeedEntry> {
    unknown_keys(map, at, &KEYS, report);
    for key in ["pipeline", "project"] {
        if let Some(found) = map.given(key) {
            report.unsupported(
                found.span,
                &format!("needs:{key}"),
                "nothing is fetched and nothing is waited for",
            );
            return None;
        }
    }
    if let Some(parallel) = map.given("parallel") {
        report.unsupported(
            parallel.span,
            "needs:parallel",
            "all copies of the job are needed",
        );
    }
    let job = text(map, "job", at, report);
    if job.as_ref().is_none_or(String::is_empty) {
        report.entry_error(node.span, format!("{at} job can't be blank"));
    }
    Some(NeedEntry {
        span: node.span,
        job: job?,
        artifacts: boolean(map, "artifacts", at, report).unwrap_or(true),
        optional: boolean(map, "optional", at, report).unwrap_or(false),
    })
}
