//! `include`: files of the same commit, merged below the including one. Other kinds of files are not fetched yet.

use super::deep_merge;
use crate::entry::Clauses;
use crate::entry::check::unknown_keys;
use crate::expand::{Unknown, expand_with};
use crate::facts::{Facts, Place};
use crate::report::Report;
use crate::scope::Scope;
use crate::yaml::{Loader, Mapping, Node, Span, Value};

const KINDS: [&str; 6] = [
    "local",
    "project",
    "remote",
    "template",
    "artifact",
    "component",
];
const KEYS: [&str; 13] = [
    "local",
    "project",
    "remote",
    "template",
    "artifact",
    "component",
    "inputs",
    "rules",
    "file",
    "ref",
    "integrity",
    "cache",
    "job",
];

/// Returns `content` on top of everything that it includes.
pub(super) fn expand(
    content: Mapping,
    facts: &Facts<'_>,
    loader: &mut Loader<'_>,
    report: &mut Report,
) -> Option<Mapping> {
    Includer {
        facts,
        loader,
        report,
        files: 0,
    }
    .expand(content)
}

struct Includer<'a, 'l> {
    facts: &'a Facts<'a>,
    loader: &'a mut Loader<'l>,
    report: &'a mut Report,
    /// Files included so far; the limit on them also ends circles.
    files: usize,
}

impl Includer<'_, '_> {
    fn expand(&mut self, content: Mapping) -> Option<Mapping> {
        let Some(include) = content.get("include").cloned() else {
            return Some(content);
        };
        let mut merged = Mapping::default();
        let items = match include.value {
            Value::Null => Vec::new(),
            Value::Sequence(items) => items,
            _ => vec![include],
        };
        for item in &items {
            for included in self.item(item)? {
                deep_merge(&mut merged, included);
            }
        }
        deep_merge(&mut merged, content.without("include"));
        Some(merged)
    }

    /// Loads what one entry of the list names: several files if it has wildcards, none if its rules say so.
    fn item(&mut self, item: &Node) -> Option<Vec<Mapping>> {
        let local = match &item.value {
            Value::Text(name) if name.starts_with("http://") || name.starts_with("https://") => {
                return self.left_out(item, "remote");
            }
            Value::Text(name) => name,
            Value::Mapping(mapping) => match self.local_of(item, mapping)? {
                Some(name) => name,
                None => return Some(Vec::new()),
            },
            _ => {
                self.report
                    .error(item.span, "Each include must be a hash or a string");
                return None;
            }
        };
        let scope = Scope::new(&[], &[], self.facts.event);
        let name = expand_with(local, Unknown::Empty, |name| scope.find(name));
        let path = name.strip_prefix('/').unwrap_or(&name);
        if !path.contains('*') {
            return Some(vec![self.file(item, path)?]);
        }
        let paths = self.facts.matching_wildcard(path, &Place::Commit);
        paths.iter().map(|it| self.file(item, it)).collect()
    }

    /// Returns the name of a local file. `Some(None)`: nothing is to be included.
    fn local_of<'a>(&mut self, item: &Node, mapping: &'a Mapping) -> Option<Option<&'a str>> {
        let kinds: Vec<&str> = KINDS
            .into_iter()
            .filter(|it| mapping.get(it).is_some())
            .collect();
        let listed = KINDS.map(|it| format!("`{it}`")).join(", ");
        let kind = match kinds[..] {
            [kind] => kind,
            [] => {
                let shown = json(item);
                let text = format!(
                    "`{shown}` does not have a valid subkey for include. Valid subkeys are: {listed}"
                );
                self.report.error(item.span, text);
                return None;
            }
            _ => {
                self.report.error(
                    item.span,
                    format!("Each include must use only one of: {listed}"),
                );
                return None;
            }
        };
        unknown_keys(mapping, "include:include", &KEYS, self.report);
        if !self.rules_hold(mapping)? {
            return Some(None);
        }
        if kind != "local" {
            return self.left_out(item, kind).map(|_| None);
        }
        if let Some(inputs) = mapping.given("inputs") {
            self.report
                .unsupported(inputs.span, "include:inputs", "the file gets no inputs");
        }
        match mapping.get("local").and_then(Node::as_text) {
            Some(name) => Some(Some(name)),
            None => {
                self.report
                    .error(item.span, "Each include must be a hash or a string");
                None
            }
        }
    }

    fn left_out(&mut self, item: &Node, kind: &str) -> Option<Vec<Mapping>> {
        self.report.unsupported(
            item.span,
            &format!("include:{kind}"),
            "the file is left out",
        );
        Some(Vec::new())
    }

    /// Decides `include:rules`. `None` after an error.
    fn rules_hold(&mut self, mapping: &Mapping) -> Option<bool> {
        let Some(rules) = mapping.given("rules") else {
            return Some(true);
        };
        let Some(rules) = rules.as_sequence() else {
            self.report
                .error(rules.span, "include:rules config should be an array");
            return None;
        };
        for rule in rules {
            let Some(rule_map) = rule.as_mapping() else {
                self.report
                    .error(rule.span, "include:rule config should be a hash");
                return None;
            };
            unknown_keys(
                rule_map,
                "include:rule",
                &["if", "changes", "exists", "when"],
                self.report,
            );
            let clauses = Clauses::read(rule_map, "include:rule", self.report);
            let when = rule_map.given("when");
            let never = match when
                .map(|it| it.scalar_text().unwrap_or_default())
                .as_deref()
            {
                None | Some("always") => false,
                Some("never") => true,
                Some(other) => {
                    self.report.error(
                        rule.span,
                        format!("include:rule when unknown value: {other}"),
                    );
                    return None;
                }
            };
            if self.report.has_errors() {
                return None;
            }
            if clauses.hold(&Scope::new(&[], &[], self.facts.event), self.facts) {
                return Some(!never);
            }
        }
        Some(false)
    }

    /// Returns a path for people to read: values of masked variables may be part of it.
    fn shown(&self, path: &str) -> String {
        let event = self.facts.event;
        let variables = event
            .predefined
            .iter()
            .chain(&event.project_variables)
            .chain(&event.pipeline_variables);
        let masked = variables.filter(|it| it.masked && !it.value.is_empty());
        masked.fold(path.to_owned(), |path, it| {
            path.replace(&it.value, "[MASKED]")
        })
    }

    fn file(&mut self, item: &Node, path: &str) -> Option<Mapping> {
        self.files += 1;
        let limit = self.facts.limits.includes;
        let shown = self.shown(path);
        let problem = if self.files > limit {
            format!("Maximum of {limit} nested includes are allowed!")
        } else if !path.ends_with(".yml") && !path.ends_with(".yaml") {
            format!("Included file `{shown}` does not have YAML extension!")
        } else {
            match self.facts.tree.read(path) {
                None => format!("Local file `{shown}` does not exist!"),
                Some(text) if text.trim().is_empty() => format!("Local file `{shown}` is empty!"),
                Some(text) => return self.text(item.span, &shown, &text),
            }
        };
        self.report.error(item.span, problem);
        None
    }

    fn text(&mut self, at: Span, path: &str, text: &str) -> Option<Mapping> {
        let file = self.report.add_file(path, Some(at));
        match self.loader.load(file, text, self.report) {
            Ok(document) if document.content.is_empty() => {
                let message = format!("Included file `{path}` does not have valid YAML syntax!");
                self.report.error(at, message);
                None
            }
            Ok(document) => {
                if let Some((key, _)) = document.header.as_ref().and_then(|it| it.entry("spec")) {
                    self.report
                        .unsupported(key.span, "spec", "`$[[ inputs.NAME ]]` stays as text");
                }
                self.expand(document.content)
            }
            Err(error) => {
                let message = format!("`{path}`: {}", error.message);
                self.report.error_with_hint(error.span, message, error.hint);
                None
            }
        }
    }
}

/// Shows a flat map as JSON, cut short.
fn json(item: &Node) -> String {
    let pairs: Vec<String> = item
        .as_mapping()
        .into_iter()
        .flat_map(|it| it.iter().take(5))
        .map(|(key, value)| {
            format!(
                "{:?}:{:?}",
                key.text,
                value.scalar_text().unwrap_or_default()
            )
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}
