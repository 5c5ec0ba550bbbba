//! `artifacts`: what a job leaves behind.

use std::fmt::Display;

use super::check::{
    blank, boolean, expiry, listed, one_of, required_text, string_or_strings, text, unknown_keys,
};
use super::job::UPLOAD_WHEN;
use crate::report::Report;
use crate::yaml::{Mapping, Node};
use crate::{ArtifactAccess, ArtifactReport, Artifacts};

const KEYS: [&str; 10] = [
    "paths",
    "exclude",
    "untracked",
    "name",
    "when",
    "expire_in",
    "expose_as",
    "public",
    "access",
    "reports",
];
const REPORTS: [&str; 26] = [
    "junit",
    "dotenv",
    "coverage_report",
    "codequality",
    "accessibility",
    "terraform",
    "performance",
    "browser_performance",
    "load_performance",
    "requirements",
    "requirements_v2",
    "sast",
    "secret_detection",
    "dependency_scanning",
    "container_scanning",
    "cluster_image_scanning",
    "dast",
    "license_scanning",
    "coverage_fuzzing",
    "api_fuzzing",
    "sarif",
    "metrics",
    "cyclonedx",
    "annotations",
    "repository_xray",
    "lsif",
];

pub(super) fn artifacts(node: &Node, at: &dyn Display, report: &mut Report) -> Option<Artifacts> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return None;
    };
    unknown_keys(map, at, &KEYS, report);
    let when = map.given("when").and_then(|it| {
        one_of(
            it,
            &UPLOAD_WHEN,
            &format_args!("{at} when"),
            "should be one of: on_success, on_failure, always",
            report,
        )
    });
    let expire_in = map
        .given("expire_in")
        .and_then(|it| expiry(it, &format_args!("{at} expire in"), report));
    let paths = listed(map, "paths", at, report);
    let expose_as = map
        .given("expose_as")
        .and_then(|it| expose_as(it, map, at, report));
    Some(Artifacts {
        paths,
        exclude: listed(map, "exclude", at, report),
        untracked: boolean(map, "untracked", at, report).unwrap_or(false),
        name: text(map, "name", at, report),
        when: when.unwrap_or_default(),
        expire_in,
        expose_as,
        access: access(map, at, report),
        reports: map
            .given("reports")
            .map(|it| reports(it, &format_args!("{at}:reports"), report))
            .unwrap_or_default(),
    })
}

/// Reads the name under which merge requests show the artifacts, which must then be named one by one.
fn expose_as(node: &Node, map: &Mapping, at: &dyn Display, report: &mut Report) -> Option<String> {
    const MAX_LENGTH: usize = 100;
    let paths = map.get("paths");
    if paths.is_none_or(blank) {
        report.entry_error(node.span, format!("{at} paths can't be blank"));
    }
    let texts = paths.and_then(Node::as_sequence).into_iter().flatten();
    if texts.filter_map(Node::as_text).any(|it| it.contains('*')) {
        report.entry_error(
            node.span,
            format!("{at} paths can't contain '*' when used with 'expose_as'"),
        );
    }
    let name = text(map, "expose_as", at, report)?;
    if name.chars().count() > MAX_LENGTH {
        report.entry_error(
            node.span,
            format!("{at} expose as is too long (maximum is {MAX_LENGTH} characters)"),
        );
    }
    let word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let allowed = |it: char| word(it) || it == '-' || it == ' ';
    if !name.starts_with(word) || !name.chars().all(allowed) {
        report.entry_error(
            node.span,
            format!("{at} expose as can contain only letters, digits, '-', '_' and spaces"),
        );
    }
    Some(name)
}

fn access(map: &Mapping, at: &dyn Display, report: &mut Report) -> ArtifactAccess {
    const WORDS: [(&str, ArtifactAccess); 4] = [
        ("none", ArtifactAccess::None),
        ("developer", ArtifactAccess::Developer),
        ("maintainer", ArtifactAccess::Maintainer),
        ("all", ArtifactAccess::All),
    ];
    match (boolean(map, "public", at, report), map.given("access")) {
        (Some(_), Some(node)) => {
            report.entry_error(
                node.span,
                format!("{at} config these keys cannot be used together: public, access"),
            );
            ArtifactAccess::All
        }
        (None, Some(node)) => {
            let problem = "should be one of: none, developer, maintainer, all";
            one_of(node, &WORDS, &format_args!("{at} access"), problem, report).unwrap_or_default()
        }
        (Some(false), None) => ArtifactAccess::Developer,
        _ => ArtifactAccess::All,
    }
}

fn reports(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<ArtifactReport> {
    let Some(map) = node.as_mapping() else {
        let at = at.to_string();
        let parent = at.strip_suffix(":reports").unwrap_or(&at);
        report.entry_error(node.span, format!("{parent} reports should be a hash"));
        return Vec::new();
    };
    let known: Vec<&str> = REPORTS.into_iter().chain(["scip"]).collect();
    unknown_keys(map, at, &known, report);
    let mut reports = Vec::new();
    for (key, value) in map.iter().filter(|it| !it.1.is_null()) {
        if key.text == "coverage_report" {
            reports.extend(coverage(
                value,
                &format_args!("{at}:coverage_report"),
                report,
            ));
            continue;
        }
        match string_or_strings(value) {
            Some(paths) => reports.push(ArtifactReport {
                kind: key.text.to_string(),
                paths,
            }),
            None => {
                let name = key.text.replace('_', " ");
                report.entry_error(
                    value.span,
                    format!("{at} {name} should be an array of strings or a string"),
                );
            }
        }
    }
    reports
}

fn coverage(node: &Node, at: &dyn Display, report: &mut Report) -> Option<ArtifactReport> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return None;
    };
    unknown_keys(map, at, &["coverage_format", "path"], report);
    if map.get("coverage_format").is_none_or(blank) {
        report.entry_error(node.span, format!("{at} coverage format can't be blank"));
    }
    let format = map.given("coverage_format").and_then(Node::as_text);
    let Some(kind) = format.filter(|it| matches!(*it, "cobertura" | "jacoco")) else {
        let message =
            format!("{at} coverage format must be one of supported formats: cobertura, jacoco.");
        report.entry_error(node.span, message);
        return None;
    };
    let path = required_text(node, map, "path", at, report)?;
    Some(ArtifactReport {
        kind: kind.to_owned(),
        paths: vec![path],
    })
}
