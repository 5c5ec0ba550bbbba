//! `only` and `except`, the older form of rules.

use std::fmt::Display;
use std::rc::Rc;

use super::check::{known_value, strings, unknown_keys};
use super::clauses::condition;
use crate::EventContext;
use crate::expression::{Expression, Patterns};
use crate::facts::{Facts, Paths, Wanted};
use crate::report::Report;
use crate::scope::Scope;
use crate::yaml::{Mapping, Node, Value};

/// One of the two keywords. A part that is not given does not restrict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    refs: Option<Vec<String>>,
    variables: Option<Vec<Rc<Expression>>>,
    changes: Option<Vec<String>>,
    kubernetes: bool,
}

impl Policy {
    /// What `only` means when it is absent.
    pub(crate) fn branches_and_tags() -> Self {
        Self {
            refs: Some(default_refs()),
            ..Self::default()
        }
    }

    /// Returns whether a job with this `only` may run: every given part holds.
    pub(crate) fn allows(&self, scope: &Scope<'_>, facts: &Facts<'_>) -> bool {
        let mut parts = self.parts(scope, facts).into_iter();
        parts.all(|it| it.1 != Some(false))
    }

    /// Returns whether a job with this `except` must not run: any given part holds.
    pub(crate) fn forbids(&self, scope: &Scope<'_>, facts: &Facts<'_>) -> bool {
        let mut parts = self.parts(scope, facts).into_iter();
        parts.any(|it| it.1 == Some(true))
    }

    /// Returns each part and whether it holds; `None`: it is not given.
    pub(crate) fn parts(
        &self,
        scope: &Scope<'_>,
        facts: &Facts<'_>,
    ) -> [(&'static str, Option<bool>); 4] {
        let refs = self.refs.as_ref().map(|it| {
            it.iter()
                .any(|word| ref_matches(word, facts.event, &facts.patterns))
        });
        let variables = self.variables.as_ref().map(|it| {
            it.iter()
                .any(|it| it.holds(&|name| scope.find(name), &facts.patterns))
        });
        let changes = self.changes.as_ref().map(|it| changed(it, facts));
        let kubernetes = self
            .kubernetes
            .then(|| scope.find("CI_KUBERNETES_ACTIVE").is_some());
        [
            ("refs", refs),
            ("variables", variables),
            ("changes", changes),
            ("kubernetes", kubernetes),
        ]
    }
}

fn changed(globs: &[String], facts: &Facts<'_>) -> bool {
    let wanted = Wanted::Globs(globs.to_vec());
    facts
        .any(Paths::Changed { since: None }, wanted)
        .unwrap_or(true)
}

fn default_refs() -> Vec<String> {
    vec!["branches".to_owned(), "tags".to_owned()]
}

/// Reads a policy. `at` ends in `only` or `except`.
pub(super) fn policy(node: &Node, at: &dyn Display, report: &mut Report) -> Policy {
    match &node.value {
        Value::Mapping(map) if map.is_empty() => {
            report.entry_error(node.span, format!("{at} config can't be blank"));
            Policy::default()
        }
        Value::Sequence(_) => Policy {
            refs: Some(refs(node, &format_args!("{at} config"), report)),
            ..Policy::default()
        },
        Value::Mapping(map) => policy_of_map(map, at, report),
        _ => {
            report.entry_error(
                node.span,
                format!("{at} has to be either an array of conditions or a hash"),
            );
            Policy::default()
        }
    }
}

fn policy_of_map(map: &Mapping, at: &dyn Display, report: &mut Report) -> Policy {
    unknown_keys(
        map,
        at,
        &["refs", "variables", "changes", "kubernetes"],
        report,
    );
    let variables = map.given("variables").map(|node| {
        let items = node.as_sequence();
        if items.is_none() {
            report.entry_error(
                node.span,
                format!("{at} variables should be an array of strings"),
            );
        }
        items
            .unwrap_or_default()
            .iter()
            .filter_map(|it| condition(it, &format_args!("{at} variables"), report))
            .collect()
    });
    let changes = map.given("changes").map(|node| {
        strings(node).unwrap_or_else(|| {
            report.entry_error(
                node.span,
                format!("{at} changes should be an array of strings"),
            );
            Vec::new()
        })
    });
    let is_only = at.to_string().ends_with("only");
    Policy {
        refs: map
            .given("refs")
            .map(|it| refs(it, &format_args!("{at} refs"), report))
            .or_else(|| is_only.then(default_refs)),
        variables,
        changes,
        kubernetes: map
            .given("kubernetes")
            .and_then(|it| {
                known_value(
                    it,
                    &[("active", true)],
                    &format_args!("{at} kubernetes"),
                    report,
                )
            })
            .unwrap_or(false),
    }
}

fn refs(node: &Node, what: &dyn Display, report: &mut Report) -> Vec<String> {
    let valid =
        |it: &String| !it.starts_with('/') || report.patterns.find(pattern_of(it).0).is_some();
    match strings(node).filter(|it| it.iter().all(valid)) {
        Some(refs) => refs,
        None => {
            let message = format!(
                "{what} should be an array of strings or regular expressions using re2 syntax"
            );
            report.entry_error(node.span, message);
            Vec::new()
        }
    }
}

/// Splits `PATTERN@group/project`. GitLab does so even where the sign is part of an expression.
fn pattern_of(word: &str) -> (&str, Option<&str>) {
    match word.split_once('@') {
        Some((pattern, path)) => (pattern, Some(path)),
        None => (word, None),
    }
}

fn ref_matches(word: &str, event: &EventContext, patterns: &Patterns) -> bool {
    let (pattern, path) = pattern_of(word);
    if path.is_some_and(|it| it != event.project_path) {
        return false;
    }
    let is_merge_request = event.source.ends_with("_event");
    let source = event.source.strip_suffix("_event").unwrap_or(&event.source);
    let plural = if source.ends_with("sh") { "es" } else { "s" };
    match pattern {
        "tags" => event.tag && !is_merge_request,
        "branches" => !event.tag && !is_merge_request,
        _ if pattern == source || pattern.strip_suffix(plural) == Some(source) => true,
        _ if is_merge_request => false,
        _ if pattern.starts_with('/') => patterns
            .find(pattern)
            .is_some_and(|it| it.is_match(&event.ref_name)),
        _ => pattern == event.ref_name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_refs() {
        let check = |word: &str, source: &str, ref_name: &str, tag, expected| {
            let (source, ref_name, project_path) =
                (source.to_owned(), ref_name.to_owned(), "a/b".to_owned());
            let event = EventContext {
                source,
                ref_name,
                tag,
                project_path,
                ..EventContext::default()
            };
            assert_eq!(
                ref_matches(word, &event, &Patterns::default()),
                expected,
                "{word} {event:?}"
            );
        };
        check("branches", "push", "main", false, true);
        check("branches", "push", "v1", true, false);
        check("tags", "push", "v1", true, true);
        check("main", "schedule", "main", false, true);
        check("main", "merge_request_event", "main", false, false);
        check("merge_requests", "merge_request_event", "main", false, true);
        check("branches", "merge_request_event", "main", false, false);
        check("pushes", "push", "x", false, true);
        check("push", "push", "x", false, true);
        check("web", "web", "x", false, true);
        check("schedules", "web", "x", false, false);
        check("/^rel-/", "push", "rel-1", false, true);
        check("/^REL-/i@a/b", "push", "rel-1", false, true);
        check("/^rel@/", "push", "rel@1", false, false);
        check("main@a/b", "push", "main", false, true);
        check("main@a/c", "push", "main", false, false);
    }
}
