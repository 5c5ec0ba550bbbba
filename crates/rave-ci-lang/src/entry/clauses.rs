//! The conditions of one rule: `if`, `changes`, `exists`. All that are given must hold.

use std::fmt::Display;
use std::rc::Rc;

use super::check::{string_list, text, unknown_keys};
use crate::OpenError;
use crate::expand::Unknown;
use crate::expression::Expression;
use crate::facts::{Facts, Paths, Place, Undecided, Wanted};
use crate::report::Report;
use crate::scope::Scope;
use crate::yaml::{Mapping, Node, Value};

const MAX_PATTERNS: usize = 50;
const MAX_REGEXP: usize = 255;

#[derive(Clone, Debug, Default)]
pub(crate) struct Clauses {
    condition: Option<Rc<Expression>>,
    changes: Option<Changes>,
    exists: Option<Exists>,
}

#[derive(Clone, Debug)]
struct Changes {
    wanted: Wanted,
    /// The reference since whose merge base changes count; otherwise those of the event.
    compare_to: Option<String>,
}

#[derive(Clone, Debug)]
struct Exists {
    wanted: Wanted,
    /// Another project than the one that the file is in.
    project: Option<String>,
    reference: Option<String>,
}

impl Clauses {
    pub(crate) fn read(rule: &Mapping, at: &dyn Display, report: &mut Report) -> Self {
        Self {
            condition: rule
                .given("if")
                .and_then(|it| condition(it, &format_args!("{at} if"), report)),
            changes: rule
                .given("changes")
                .map(|it| changes(it, &format_args!("{at}:changes"), report)),
            exists: rule
                .given("exists")
                .map(|it| exists(it, &format_args!("{at}:exists"), report)),
        }
    }

    /// Returns the names of the variables that `if` mentions, each once.
    pub(crate) fn operands(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.condition.iter().flat_map(|it| it.variables()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.condition.is_none() && self.changes.is_none() && self.exists.is_none()
    }

    /// Returns whether all hold, for a rule of a file at the commit.
    pub(crate) fn hold(&self, scope: &Scope<'_>, facts: &Facts<'_>) -> Result<bool, Undecided> {
        self.hold_in(scope, facts, &Place::Commit)
    }

    /// Like [`Clauses::hold`], for a rule of a file that may be elsewhere.
    pub(crate) fn hold_in(
        &self,
        scope: &Scope<'_>,
        facts: &Facts<'_>,
        place: &Place,
    ) -> Result<bool, Undecided> {
        self.evaluate(scope, facts, place, |_, _| ())
    }

    /// Asks one clause after the other until one does not hold, and tells `each` what came out. `exists` looks at the
    /// files beside the one that the rule is in.
    pub(crate) fn evaluate(
        &self,
        scope: &Scope<'_>,
        facts: &Facts<'_>,
        place: &Place,
        mut each: impl FnMut(&'static str, bool),
    ) -> Result<bool, Undecided> {
        if let Some(condition) = &self.condition {
            let held = condition.holds(&|name| scope.find(name), &facts.patterns);
            each("if", held);
            if !held {
                return Ok(false);
            }
        }
        if let Some(changes) = &self.changes {
            let held = changes.hold(scope, facts)?;
            each("changes", held);
            if !held {
                return Ok(false);
            }
        }
        if let Some(exists) = &self.exists {
            let held = exists.hold(scope, facts, place)?;
            each("exists", held);
            return Ok(held);
        }
        Ok(true)
    }
}

impl Changes {
    fn hold(&self, scope: &Scope<'_>, facts: &Facts<'_>) -> Result<bool, Undecided> {
        let since = self
            .compare_to
            .as_ref()
            .map(|it| scope.fill(it, Unknown::Keep));
        facts.any(Paths::Changed { since }, filled(&self.wanted, scope))
    }
}

impl Exists {
    fn hold(&self, scope: &Scope<'_>, facts: &Facts<'_>, place: &Place) -> Result<bool, Undecided> {
        if matches!(&self.wanted, Wanted::Globs(globs) if globs.is_empty()) {
            return Ok(false);
        }
        let place = match &self.project {
            None => place.clone(),
            Some(project) => {
                let project = scope.fill(project, Unknown::Keep);
                let reference = self
                    .reference
                    .as_ref()
                    .map(|it| scope.fill(it, Unknown::Keep));
                let opened = facts.open(&project, reference.as_deref());
                Place::Foreign(opened.map_err(|error| {
                    let project = masked(&project, facts);
                    Undecided(match error {
                        OpenError::NoProject => {
                            format!("rules:exists:project `{project}` not found or access denied")
                        }
                        OpenError::NoReference => format!(
                            "rules:exists:ref `{}` is not a valid ref in project `{project}`",
                            masked(&reference.unwrap_or_default(), facts)
                        ),
                    })
                })?)
            }
        };
        facts.any(Paths::At(place), filled(&self.wanted, scope))
    }
}

/// Fills variables into patterns; unknown ones stay as text.
fn filled(wanted: &Wanted, scope: &Scope<'_>) -> Wanted {
    let fill = |it: &String| scope.fill(it, Unknown::Keep);
    match wanted {
        Wanted::Globs(globs) => Wanted::Globs(globs.iter().map(fill).collect()),
        Wanted::Regexp(body) => Wanted::Regexp(fill(body)),
    }
}

/// Takes the values of masked variables out of a message.
fn masked(text: &str, facts: &Facts<'_>) -> String {
    let event = facts.event;
    let lists = [&event.project_variables, &event.pipeline_variables];
    let secrets = lists.into_iter().flatten();
    secrets
        .filter(|it| it.masked && !it.value.is_empty())
        .fold(text.to_owned(), |text, it| {
            text.replace(&it.value, "[MASKED]")
        })
}

/// Reads an expression.
pub(crate) fn condition(
    node: &Node,
    at: &dyn Display,
    report: &mut Report,
) -> Option<Rc<Expression>> {
    let parsed = node.as_text().map(|it| report.patterns.expression(it));
    if let Some(Ok(expression)) = parsed {
        return Some(expression);
    }
    let rest = match (node.as_text(), parsed) {
        (Some(text), Some(Err(error))) => text.get(error.offset..).unwrap_or_default(),
        _ => "",
    };
    let hint = if let Some(limit) = report.patterns.exceeded() {
        Some(limit)
    } else if rest.is_empty() {
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

fn changes(node: &Node, at: &dyn Display, report: &mut Report) -> Changes {
    let all = |wanted| Changes {
        wanted,
        compare_to: None,
    };
    let Some(map) = node.as_mapping() else {
        if node.as_sequence().is_none() {
            report.entry_error(node.span, format!("{at} should be an array or a hash"));
        }
        return all(match node.as_sequence() {
            Some(_) => patterns(node, &format_args!("{at} config"), report),
            None => Wanted::Globs(Vec::new()),
        });
    };
    unknown_keys(map, at, &["paths", "compare_to", "regexp"], report);
    let wanted = wanted(node, map, at, report);
    if let (Some(paths), true) = (map.get("paths"), map.given("paths").is_none()) {
        report.entry_error(
            paths.span,
            format!("{at} paths should be an array of strings"),
        );
    }
    Changes {
        wanted,
        compare_to: text(map, "compare_to", at, report),
    }
}

fn exists(node: &Node, at: &dyn Display, report: &mut Report) -> Exists {
    let here = |wanted| Exists {
        wanted,
        project: None,
        reference: None,
    };
    let map = match &node.value {
        Value::Text(path) => return here(Wanted::Globs(vec![path.to_string()])),
        Value::Sequence(_) => return here(patterns(node, &format_args!("{at} config"), report)),
        Value::Mapping(map) if map.is_empty() => return here(Wanted::Globs(Vec::new())),
        Value::Mapping(map) => map,
        Value::Bool(false) => return here(Wanted::Globs(vec!["false".to_owned()])),
        _ => {
            report.entry_error(
                node.span,
                format!("{at} should be a string, an array of strings, or a hash"),
            );
            return here(Wanted::Globs(Vec::new()));
        }
    };
    unknown_keys(map, at, &["paths", "project", "ref", "regexp"], report);
    let wanted = wanted(node, map, at, report);
    if let (Some(reference), None) = (map.given("ref"), map.get("project")) {
        report.entry_error(
            reference.span,
            format!("{at} config missing required keys: project"),
        );
    }
    Exists {
        wanted,
        project: text(map, "project", at, report),
        reference: text(map, "ref", at, report),
    }
}

/// Reads `paths` or `regexp`, one of which must be there.
fn wanted(node: &Node, map: &Mapping, at: &dyn Display, report: &mut Report) -> Wanted {
    if let (Some(regexp), None) = (map.given("regexp"), map.get("paths")) {
        let body = regexp.as_text().filter(|it| it.len() <= MAX_REGEXP);
        let valid = body.filter(|it| report.patterns.find(&format!("/{it}/")).is_some());
        if valid.is_none() {
            report.entry_error(
                regexp.span,
                format!("{at} regexp must be a regular expression with re2 syntax"),
            );
        }
        return Wanted::Regexp(valid.unwrap_or_default().to_owned());
    }
    match map.get("paths") {
        Some(paths) if paths.is_null() => Wanted::Globs(Vec::new()),
        Some(paths) => patterns(paths, &format_args!("{at} paths"), report),
        None => {
            report.entry_error(
                node.span,
                format!("{at} config missing required keys: paths"),
            );
            Wanted::Globs(Vec::new())
        }
    }
}

fn patterns(node: &Node, what: &dyn Display, report: &mut Report) -> Wanted {
    let patterns = string_list(
        node,
        &format_args!("{what} should be an array of strings"),
        report,
    );
    if patterns.len() > MAX_PATTERNS {
        report.entry_error(
            node.span,
            format!("{what} has too many entries (maximum {MAX_PATTERNS})"),
        );
    }
    Wanted::Globs(patterns)
}
