//! Code Climate's list of issues, which linters of most languages can write.

use std::io::BufRead;

use serde::Deserialize;

use super::json::{Items, document, lenient, number, text};
use super::{Finding, Parsed, Severity, Unreadable, name};

#[derive(Deserialize)]
struct Issue {
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(default, deserialize_with = "text")]
    check_name: String,
    #[serde(default, deserialize_with = "text")]
    fingerprint: String,
    #[serde(default, deserialize_with = "text")]
    severity: String,
    #[serde(default, deserialize_with = "text")]
    engine_name: String,
    #[serde(default, deserialize_with = "lenient")]
    content: Content,
    #[serde(default, deserialize_with = "lenient")]
    location: Location,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default, deserialize_with = "text")]
    body: String,
}

#[derive(Default, Deserialize)]
struct Location {
    #[serde(default, deserialize_with = "text")]
    path: String,
    #[serde(default, deserialize_with = "lenient")]
    lines: Span,
    #[serde(default, deserialize_with = "lenient")]
    positions: Positions,
}

/// A line is a number, or a place with one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Begin {
    Line(i64),
    Place { line: i64 },
}

#[derive(Default, Deserialize)]
struct Span {
    begin: Option<Begin>,
}

#[derive(Default, Deserialize)]
struct Positions {
    #[serde(default, deserialize_with = "lenient")]
    begin: Place,
}

#[derive(Default, Deserialize)]
struct Place {
    #[serde(default, deserialize_with = "number")]
    line: Option<i64>,
}

pub(super) fn read(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let issues: Items<Issue> = document(input)?;
    into.summary.findings.get_or_insert_default();
    for issue in issues.take(into) {
        let line = match issue.location.lines.begin {
            Some(Begin::Line(it) | Begin::Place { line: it }) => Some(it),
            None => issue.location.positions.begin.line,
        };
        into.push_finding(Finding {
            severity: severity(&issue.severity),
            title: name(&issue.description),
            description: issue.content.body,
            solution: String::new(),
            path: path(&issue.location.path),
            line,
            identifier: name(&issue.check_name),
            link: None,
            scanner: name(&issue.engine_name),
            fingerprint: name(&issue.fingerprint),
        });
    }
    Ok(())
}

fn severity(label: &str) -> Severity {
    match label.to_ascii_lowercase().as_str() {
        "blocker" => Severity::Critical,
        "critical" => Severity::High,
        "major" => Severity::Medium,
        "minor" => Severity::Low,
        "info" => Severity::Info,
        _ => Severity::Unknown,
    }
}

/// Returns a path as the repository knows it.
pub(super) fn path(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("file://").unwrap_or(text);
    name(text.trim_start_matches("./"))
}
