//! Needed jobs that some events do not have: those events then have no pipeline at all.

use std::collections::HashMap;

use super::{flat, jobs, map, rules_of};
use crate::report::Report;
use crate::yaml::{Mapping, Node};

/// Compares jobs that are in every pipeline of branches and tags with the jobs that they need.
pub(super) fn check(root: &Mapping, report: &mut Report) {
    // The workflow may see to it that the conditions of the needed job hold.
    if map(root, "workflow").is_some_and(|it| it.given("rules").is_some()) {
        return;
    }
    let all: HashMap<&str, &Mapping> = jobs(root).collect();
    for (name, job) in jobs(root) {
        if ["rules", "only", "except"]
            .iter()
            .any(|it| job.given(it).is_some())
        {
            continue;
        }
        for need in job.given("needs").map(flat).unwrap_or_default() {
            let Some(needed) = required(need) else {
                continue;
            };
            if all.get(needed).is_some_and(|it| is_sometimes_missing(it)) {
                let message = format!(
                    "`{name}` needs `{needed}`, which its rules leave out at times: then there is no pipeline"
                );
                let hint =
                    format!("give `{name}` the rules of `{needed}`, or make the need optional");
                report.warn(need.span, message, Some(hint));
            }
        }
    }
}

/// Returns the job that a need asks for.
fn required(need: &Node) -> Option<&str> {
    match need.as_mapping() {
        None => need.as_text(),
        Some(map) => {
            let elsewhere = map.get("project").or(map.get("pipeline")).is_some();
            let optional = map.get("optional").and_then(Node::as_bool) == Some(true);
            let job = map.get("job").and_then(Node::as_text);
            job.filter(|_| !elsewhere && !optional)
        }
    }
}

/// Returns whether a job has rules of which none holds for every branch and tag. Files that must exist count as existing.
fn is_sometimes_missing(job: &Mapping) -> bool {
    let rules = rules_of(job);
    if rules.is_empty() {
        return only_some_refs(job);
    }
    let (mut branches, mut tags) = (false, false);
    for rule in rules {
        if rule.given("when").and_then(Node::as_text) == Some("never") {
            continue;
        }
        let condition = rule
            .given("if")
            .map(|it| it.as_text().unwrap_or_default().trim());
        match condition {
            _ if rule.given("changes").is_some() => {}
            None => return false,
            Some("$CI_COMMIT_BRANCH") => branches = true,
            Some("$CI_COMMIT_TAG") => tags = true,
            Some("$CI_COMMIT_REF_NAME" | "$CI_COMMIT_SHA" | "$CI") => return false,
            Some(_) => {}
        }
    }
    !(branches && tags)
}

fn only_some_refs(job: &Mapping) -> bool {
    let Some(only) = job.given("only") else {
        return false;
    };
    let refs: Vec<&str> = flat(only).into_iter().filter_map(Node::as_text).collect();
    let everywhere = refs.contains(&"branches") && refs.contains(&"tags");
    !refs.is_empty() && !everywhere
}
