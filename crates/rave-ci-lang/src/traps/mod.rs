//! Warnings of what is allowed and hardly ever meant. GitLab keeps silent about all of it.
//!
//! A warning that is wrong on an ordinary file makes people ignore all of them, so each check knows its case for certain or
//! says nothing.

mod conditions;
mod files;
mod needs;
mod secrets;
mod values;

use std::collections::HashSet;

use crate::facts::Facts;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Span};

/// Keywords of the root that are maps and no jobs.
const NO_JOBS: [&str; 9] = [
    "default",
    "include",
    "stages",
    "variables",
    "workflow",
    "image",
    "services",
    "cache",
    "spec",
];

/// Looks through the merged tree of a file without errors.
pub(crate) fn check(root: &Mapping, facts: &Facts<'_>, report: &mut Report) {
    let empty = Mapping::default();
    let variables = map(root, "variables").unwrap_or(&empty);
    let mut seen = Seen::default();
    if let Some(node) = root.get("variables") {
        values::check(node, &mut seen, report);
    }
    let mut conditions = conditions::Conditions::new(variables, facts);
    if let Some(workflow) = map(root, "workflow") {
        rules(workflow, &mut conditions, &mut seen, report);
    }
    files::check(root, &mut seen, report);
    if let Some(default) = map(root, "default") {
        files::check(default, &mut seen, report);
    }
    for (_, job) in jobs(root) {
        if let Some(node) = job.get("variables") {
            values::check(node, &mut seen, report);
        }
        if let Some(matrix) = map(job, "parallel").and_then(|it| it.get("matrix")) {
            values::check_matrix(matrix, report);
        }
        conditions.enter(job);
        rules(job, &mut conditions, &mut seen, report);
        files::check(job, &mut seen, report);
    }
    needs::check(root, report);
}

/// Places that were looked at: `extends` and anchors bring one place into many jobs.
#[derive(Default)]
struct Seen(HashSet<Span>);

impl Seen {
    fn is_new(&mut self, node: &Node) -> bool {
        self.0.insert(node.span)
    }
}

fn map<'a>(map: &'a Mapping, key: &str) -> Option<&'a Mapping> {
    map.get(key).and_then(Node::as_mapping)
}

/// Returns the jobs that are no templates.
fn jobs(root: &Mapping) -> impl Iterator<Item = (&str, &Mapping)> {
    root.iter().filter_map(|(key, node)| {
        let name = key.text.as_str();
        let map = node.as_mapping()?;
        let is_job = !name.starts_with('.')
            && (!NO_JOBS.contains(&name) || name != "cache" && map.get("script").is_some());
        is_job.then_some((name, map))
    })
}

/// Returns the items of a list and of the lists in it.
fn flat(node: &Node) -> Vec<&Node> {
    match node.as_sequence() {
        Some(items) => items.iter().flat_map(flat).collect(),
        None => vec![node],
    }
}

/// Returns the rules of a job or of the workflow.
fn rules_of(owner: &Mapping) -> Vec<&Mapping> {
    let items = owner.given("rules").map(flat).unwrap_or_default();
    items.into_iter().filter_map(Node::as_mapping).collect()
}

fn rules(
    owner: &Mapping,
    conditions: &mut conditions::Conditions<'_>,
    seen: &mut Seen,
    report: &mut Report,
) {
    for rule in rules_of(owner) {
        if let Some(condition) = rule.given("if") {
            conditions.check(condition, report);
        }
        if let Some(node) = rule.get("variables") {
            values::check(node, seen, report);
        }
        let needs = rule.given("needs");
        if let Some(needs) = needs.filter(|it| it.as_sequence().is_some_and(<[Node]>::is_empty)) {
            let hint = "the job keeps its own needs; only needs that name a job replace them";
            let message = "an empty `needs` in a rule does nothing";
            report.warn(needs.span, message, Some(hint.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests;
