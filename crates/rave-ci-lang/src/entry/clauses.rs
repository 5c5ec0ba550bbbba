//! The conditions of one rule: `if`, `changes`, `exists`. All that are given must hold.

use super::check::{string_or_strings, strings, unknown_keys};
use crate::expand::{Unknown, expand};
use crate::expression::Expression;
use crate::facts::{Facts, Place};
use crate::report::Report;
use crate::scope::Scope;
use crate::yaml::{Mapping, Node};

const MAX_PATTERNS: usize = 50;

#[derive(Clone, Debug, Default)]
pub(crate) struct Clauses {
    condition: Option<Expression>,
    changes: Option<Vec<String>>,
    exists: Option<Exists>,
}

#[derive(Clone, Debug)]
enum Exists {
    Here(Vec<String>),
    /// In another project, which is not looked into yet.
    Elsewhere,
}

impl Clauses {
    pub(crate) fn read(rule: &Mapping, at: &str, report: &mut Report) -> Self {
        Self {
            condition: rule
                .given("if")
                .and_then(|it| condition(it, &format!("{at} if"), report)),
            changes: rule
                .given("changes")
                .map(|it| changes(it, &format!("{at}:changes"), report)),
            exists: rule
                .given("exists")
                .map(|it| exists(it, &format!("{at}:exists"), report)),
        }
    }

    /// Returns the names of the variables that `if` mentions, each once.
    pub(crate) fn operands(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.condition.iter().flat_map(Expression::variables) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.condition.is_none() && self.changes.is_none() && self.exists.is_none()
    }

    pub(crate) fn hold(&self, scope: &Scope<'_>, facts: &Facts<'_>) -> bool {
        self.hold_in(scope, facts, &Place::Commit)
    }

    /// Like [`Clauses::hold`], for a rule of a file that may be elsewhere: `exists` looks at the files beside it.
    pub(crate) fn hold_in(&self, scope: &Scope<'_>, facts: &Facts<'_>, place: &Place) -> bool {
        self.evaluate(scope, facts, place, |_, _| ())
    }

    /// Asks one clause after the other until one does not hold, and tells `each` what came out.
    pub(crate) fn evaluate(
        &self,
        scope: &Scope<'_>,
        facts: &Facts<'_>,
        place: &Place,
        mut each: impl FnMut(&'static str, bool),
    ) -> bool {
        let mut told = |keyword, given, held| {
            if given {
                each(keyword, held);
            }
            held
        };
        let condition = || {
            self.condition
                .as_ref()
                .is_none_or(|it| it.holds(&|name| scope.find(name), &facts.patterns))
        };
        let changes = || {
            self.changes
                .as_ref()
                .is_none_or(|it| facts.any_changed(&expanded(it, scope)))
        };
        let exists = || match &self.exists {
            None => true,
            Some(Exists::Here(patterns)) => facts.any_exists(&expanded(patterns, scope), place),
            Some(Exists::Elsewhere) => false,
        };
        told("if", self.condition.is_some(), condition())
            && told("changes", self.changes.is_some(), changes())
            && told("exists", self.exists.is_some(), exists())
    }
}

/// Reads an expression.
pub(crate) fn condition(node: &Node, at: &str, report: &mut Report) -> Option<Expression> {
    let parsed = node
        .as_text()
        .map(|it| Expression::parse(it, &report.patterns));
    if let Some(Ok(expression)) = parsed {
        return Some(expression);
    }
    let rest = match (node.as_text(), parsed) {
        (Some(text), Some(Err(error))) => text.get(error.offset..).unwrap_or_default(),
        _ => "",
    };
    let hint = if rest.is_empty() {
        None
    } else {
        let shown: String = rest.chars().take(40).collect();
        Some(format!("it stops making sense at `{shown}`"))
    };
    report.error_with_hint(
        node.span,
        format!("{at} invalid expression syntax").to_lowercase(),
        hint,
    );
    None
}

fn changes(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    let Some(map) = node.as_mapping() else {
        if node.as_sequence().is_none() {
            report.entry_error(node.span, format!("{at} should be an array or a hash"));
            return Vec::new();
        }
        return patterns(strings(node), node, at, report);
    };
    unknown_keys(map, at, &["paths", "compare_to", "regexp"], report);
    if let Some(compare_to) = map.given("compare_to") {
        let instead = "the range of the event is compared instead";
        report.unsupported(compare_to.span, "rules:changes:compare_to", instead);
    }
    match (map.given("paths"), map.given("regexp")) {
        (Some(paths), _) => patterns(strings(paths), paths, &format!("{at}:paths"), report),
        (None, Some(regexp)) => {
            report.unsupported(
                regexp.span,
                "rules:changes:regexp",
                "the clause matches only files of that very name",
            );
            regexp
                .as_text()
                .map(|it| vec![it.to_owned()])
                .unwrap_or_default()
        }
        (None, None) => {
            report.entry_error(
                node.span,
                format!("{at} config missing required keys: paths"),
            );
            Vec::new()
        }
    }
}

fn exists(node: &Node, at: &str, report: &mut Report) -> Exists {
    let Some(map) = node.as_mapping() else {
        return Exists::Here(patterns(string_or_strings(node), node, at, report));
    };
    unknown_keys(map, at, &["paths", "project", "ref", "regexp"], report);
    if let (Some(reference), None) = (map.given("ref"), map.given("project")) {
        report.entry_error(
            reference.span,
            format!("{at} config missing required keys: project"),
        );
    }
    for key in ["project", "regexp"] {
        if let Some(node) = map.given(key) {
            report.unsupported(
                node.span,
                &format!("rules:exists:{key}"),
                "the clause does not hold",
            );
            return Exists::Elsewhere;
        }
    }
    match map.given("paths") {
        Some(paths) => Exists::Here(patterns(
            string_or_strings(paths),
            paths,
            &format!("{at}:paths"),
            report,
        )),
        None => {
            report.entry_error(
                node.span,
                format!("{at} config missing required keys: paths"),
            );
            Exists::Here(Vec::new())
        }
    }
}

fn patterns(
    patterns: Option<Vec<String>>,
    node: &Node,
    at: &str,
    report: &mut Report,
) -> Vec<String> {
    match patterns {
        Some(patterns) if patterns.len() <= MAX_PATTERNS => patterns,
        Some(_) => {
            report.entry_error(
                node.span,
                format!("{at} config has too many entries (maximum {MAX_PATTERNS})"),
            );
            Vec::new()
        }
        None => {
            report.entry_error(
                node.span,
                format!("{at} config should be an array of strings"),
            );
            Vec::new()
        }
    }
}

/// Fills variables into patterns; unknown ones stay as text.
fn expanded(patterns: &[String], scope: &Scope<'_>) -> Vec<String> {
    if !patterns.iter().any(|it| it.contains(['$', '%'])) {
        return patterns.to_vec();
    }
    let variables = &scope.expanded().variables;
    patterns
        .iter()
        .map(|it| expand(it, variables, Unknown::Keep))
        .collect()
}
