//! `needs`: the jobs that a job waits for instead of whole stages, and what it takes from other pipelines.

use std::fmt::Display;

use super::check::{boolean, flattened, required_text, unknown_keys};
use super::parallel::{Axes, matrix};
use crate::ForeignNeed;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Span, Value};

const MAX_FOREIGN: usize = 5;

/// The keyword as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    pub(crate) span: Span,
    pub(crate) jobs: Vec<NeedEntry>,
    pub(crate) foreign: Vec<ForeignNeed>,
    /// Projects whose status a bridge takes over; one at most.
    pub(crate) mirrors: Vec<String>,
}

/// A job of the same pipeline.
#[derive(Clone, Debug)]
pub(crate) struct NeedEntry {
    pub(crate) span: Span,
    pub(crate) job: String,
    pub(crate) artifacts: bool,
    pub(crate) optional: bool,
    /// Only the copies of a parallel job with these values.
    pub(crate) matrix: Option<Vec<Axes>>,
}

/// Whose needs are read, which decides what may be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeedsOf {
    Job,
    Bridge,
    /// Rules are the same for both.
    Rule,
}

/// Reads a list of needs.
pub(super) fn needs(node: &Node, owner: NeedsOf, at: &dyn Display, report: &mut Report) -> Needs {
    let mut needs = Needs {
        span: node.span,
        ..Needs::default()
    };
    let items = match &node.value {
        Value::Mapping(map) if map.is_empty() => {
            report.entry_error(node.span, format!("{at} config can not be an empty hash"));
            return needs;
        }
        Value::Mapping(_) => Some(vec![node]),
        _ => flattened(node),
    };
    let Some(items) = items else {
        report.entry_error(
            node.span,
            format!("{at} config can only be a hash or an array"),
        );
        return needs;
    };
    let is_number = |it: &&Node| {
        let parallel = it.as_mapping().and_then(|it| it.given("parallel"));
        parallel.is_some_and(|it| matches!(it.value, Value::Integer(_) | Value::Float(_)))
    };
    if items.iter().any(is_number) {
        report.entry_error(
            node.span,
            format!("{at} config cannot use \"parallel: <number>\"."),
        );
        return needs;
    }
    for item in items.into_iter().filter(|it| !it.is_null()) {
        need(item, &mut needs, &format_args!("{at}:need"), report);
    }
    let not_for_jobs = owner == NeedsOf::Job && !needs.mirrors.is_empty();
    let not_for_bridges = owner == NeedsOf::Bridge && !needs.foreign.is_empty();
    if not_for_jobs || not_for_bridges {
        let kind = if not_for_jobs {
            "bridge"
        } else {
            "cross_dependency"
        };
        report.entry_error(node.span, format!("{at} config uses invalid types: {kind}"));
    }
    let pipelines = |it: &&ForeignNeed| matches!(it, ForeignNeed::Pipeline { .. });
    let of_pipelines = needs.foreign.iter().filter(pipelines).count();
    if of_pipelines.max(needs.foreign.len() - of_pipelines) > MAX_FOREIGN {
        report.entry_error(
            node.span,
            format!("{at} config must be less than or equal to {MAX_FOREIGN}"),
        );
    }
    needs
}

/// Reads one item. Its keys decide of which kind it is.
fn need(node: &Node, needs: &mut Needs, at: &dyn Display, report: &mut Report) {
    let map = match &node.value {
        Value::Text(job) => {
            if job.trim().is_empty() {
                report.entry_error(node.span, format!("{at} config can't be blank"));
            }
            needs.jobs.push(NeedEntry {
                span: node.span,
                job: job.to_string(),
                artifacts: true,
                optional: false,
                matrix: None,
            });
            return;
        }
        Value::Mapping(map) => map,
        _ => {
            report.entry_error(node.span, format!("{at} has an unsupported type"));
            return;
        }
    };
    let has = |key: &str| map.get(key).is_some();
    match (has("job"), has("project"), has("pipeline")) {
        (true, false, false) if !has("ref") => needs.jobs.extend(same(node, map, at, report)),
        (true, false, true) => needs.foreign.extend(pipeline(node, map, at, report)),
        (_, true, false) => needs.foreign.extend(project(node, map, at, report)),
        (false, false, true) => {
            unknown_keys(map, at, &["pipeline"], report);
            needs
                .mirrors
                .extend(required_text(node, map, "pipeline", at, report));
        }
        _ => report.entry_error(node.span, format!("{at} has an unsupported type")),
    }
}

fn same(node: &Node, map: &Mapping, at: &dyn Display, report: &mut Report) -> Option<NeedEntry> {
    unknown_keys(
        map,
        at,
        &["job", "artifacts", "optional", "parallel"],
        report,
    );
    let filter = map.given("parallel").and_then(|it| match &it.value {
        Value::Mapping(map) => matrix(it, map, &format_args!("{at}:parallel"), report),
        _ => {
            report.entry_error(
                it.span,
                format!("{at}:parallel should be an integer or a hash"),
            );
            None
        }
    });
    Some(NeedEntry {
        span: node.span,
        job: required_text(node, map, "job", at, report)?,
        artifacts: artifacts(map, at, report),
        optional: boolean(map, "optional", at, report).unwrap_or(false),
        matrix: filter,
    })
}

fn pipeline(
    node: &Node,
    map: &Mapping,
    at: &dyn Display,
    report: &mut Report,
) -> Option<ForeignNeed> {
    unknown_keys(map, at, &["pipeline", "job", "artifacts"], report);
    Some(ForeignNeed::Pipeline {
        pipeline: required_text(node, map, "pipeline", at, report)?,
        job: required_text(node, map, "job", at, report)?,
        artifacts: artifacts(map, at, report),
    })
}

fn project(
    node: &Node,
    map: &Mapping,
    at: &dyn Display,
    report: &mut Report,
) -> Option<ForeignNeed> {
    unknown_keys(map, at, &["project", "ref", "job", "artifacts"], report);
    Some(ForeignNeed::Project {
        project: required_text(node, map, "project", at, report)?,
        reference: required_text(node, map, "ref", at, report)?,
        job: required_text(node, map, "job", at, report)?,
        artifacts: artifacts(map, at, report),
    })
}

fn artifacts(map: &Mapping, at: &dyn Display, report: &mut Report) -> bool {
    boolean(map, "artifacts", at, report).unwrap_or(true)
}
