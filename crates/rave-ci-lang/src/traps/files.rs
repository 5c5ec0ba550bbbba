//! Paths of artifacts, caches and reports that can never work.

use std::sync::LazyLock;

use regex::Regex;

use super::{Seen, flat, map};
use crate::report::Report;
use crate::yaml::{Mapping, Node};

/// A line of a script that writes a fixed text to a file.
static WRITES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^\s*echo\s+(?:"([^"$`\\]*)"|'([^']*)'|([^\s"'$`\\&|;<>()-][^"'$`\\&|;<>()]*?))\s*>>?\s*"?([\w./-]+)"?\s*$"#)
        .expect("the pattern is valid")
});

/// Looks at what a job, or `default`, keeps.
pub(super) fn check(owner: &Mapping, seen: &mut Seen, report: &mut Report) {
    for cache in owner.get("cache").map(flat).unwrap_or_default() {
        let paths = cache.as_mapping().and_then(|it| it.get("paths"));
        outside(paths, "cache", seen, report);
    }
    let Some(artifacts) = map(owner, "artifacts") else {
        return;
    };
    outside(artifacts.get("paths"), "artifact", seen, report);
    let dotenv = map(artifacts, "reports").and_then(|it| it.get("dotenv"));
    for file in dotenv.map(flat).unwrap_or_default() {
        if seen.is_new(file) {
            not_a_file(file, report);
        }
        written_by(owner, file, report);
    }
}

fn outside(paths: Option<&Node>, what: &str, seen: &mut Seen, report: &mut Report) {
    for node in paths.map(flat).unwrap_or_default() {
        let Some(path) = node.as_text().filter(|_| seen.is_new(node)) else {
            continue;
        };
        let (why, hint) = if path.starts_with("~/") || path == "~" {
            (
                "`~` is not expanded here",
                "give a path below the project's directory",
            )
        } else if leaves(path) {
            (
                "this is outside of the project's directory",
                "only what is below that directory is kept: copy it there, or let the tool write there",
            )
        } else {
            continue;
        };
        let message = format!("the {what} path `{path}` finds nothing: {why}");
        report.warn(node.span, message, Some(hint.to_owned()));
    }
}

/// Returns whether a path leads out of the directory it starts from. `/builds` is where runners usually keep projects.
fn leaves(path: &str) -> bool {
    if path.starts_with('/') {
        return !path.starts_with("/builds/");
    }
    let mut depth = 0_i32;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            // What variables and patterns stand for is not known.
            part if part.contains(['$', '*', '?', '%']) => return false,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

fn not_a_file(node: &Node, report: &mut Report) {
    let Some(path) = node.as_text() else { return };
    if path.contains('*') || path.ends_with('/') {
        let message = format!("the dotenv report `{path}` is not the name of one file");
        let hint = "a dotenv report is a single file with lines `NAME=value`";
        report.warn(node.span, message, Some(hint.to_owned()));
    }
}

/// Looks for a line of the job's script that writes something else than `NAME=value` to the report.
fn written_by(job: &Mapping, file: &Node, report: &mut Report) {
    let Some(path) = file.as_text() else { return };
    let plain = |it: &str| it.trim_start_matches("./").to_owned();
    for node in job.get("script").map(flat).unwrap_or_default() {
        for line in node.as_text().into_iter().flat_map(str::lines) {
            let Some(found) = WRITES
                .captures(line)
                .filter(|it| plain(&it[4]) == plain(path))
            else {
                continue;
            };
            let text = (1..=3)
                .find_map(|it| found.get(it))
                .map_or("", |it| it.as_str())
                .trim();
            if !text.is_empty() && !text.starts_with('#') && !text.contains('=') {
                let message = format!("`{text}` is no line for the dotenv report `{path}`");
                let hint = "each line of a dotenv report is `NAME=value`";
                report.warn(node.span, message, Some(hint.to_owned()));
            }
        }
    }
}
