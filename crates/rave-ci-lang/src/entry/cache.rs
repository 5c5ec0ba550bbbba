//! `cache`: one map or up to four.

use std::fmt::Display;

use super::check::{Keyword, blank, boolean_config, one_of, string_list, unknown_keys};
use super::job::UPLOAD_WHEN;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Value};
use crate::{Cache, CacheFilesBy, CacheKey, UploadWhen};

const KEYS: [&str; 7] = [
    "key",
    "paths",
    "untracked",
    "policy",
    "when",
    "unprotect",
    "fallback_keys",
];
const MAX_CACHES: usize = 4;
const MAX_FALLBACK_KEYS: usize = 5;
const MAX_KEY_FILES: usize = 2;

/// Reads `cache`. `parent` is where the keyword stands, such as `jobs:NAME`.
pub(super) fn caches(node: &Node, parent: Option<&dyn Display>, report: &mut Report) -> Vec<Cache> {
    let at = |key| Keyword { parent, key };
    let items = match &node.value {
        Value::Mapping(_) => vec![node],
        Value::Sequence(_) => super::check::flattened(node).unwrap_or_default(),
        _ => {
            report.entry_error(
                node.span,
                format!("{} config can only be a hash or an array", at("caches")),
            );
            return Vec::new();
        }
    };
    if items.len() > MAX_CACHES {
        let message = format!(
            "{} config no more than {MAX_CACHES} caches can be created",
            at("caches")
        );
        report.entry_error(node.span, message);
        return Vec::new();
    }
    items
        .into_iter()
        .enumerate()
        .filter(|it| !it.1.is_null())
        .filter_map(|(index, it)| cache(it, index, &at("cache"), report))
        .collect()
}

fn cache(node: &Node, index: usize, at: &dyn Display, report: &mut Report) -> Option<Cache> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return None;
    };
    unknown_keys(map, at, &KEYS, report);
    let policy = policy(map, at, report);
    let when = map.given("when").and_then(|it| {
        one_of(
            it,
            &UPLOAD_WHEN,
            &format_args!("{at} when"),
            "should be one of: on_success, on_failure, always",
            report,
        )
    });
    let problem = format!("{at}:fallback_keys config should be an array of strings");
    let fallback_keys = map
        .given("fallback_keys")
        .map(|it| string_list(it, &problem, report))
        .unwrap_or_default();
    if fallback_keys.len() > MAX_FALLBACK_KEYS {
        report.entry_error(
            node.span,
            format!("{at} fallback keys has to many entries (maximum {MAX_FALLBACK_KEYS})"),
        );
    }
    let paths = map.given("paths");
    let problem = format!("{at}:paths config should be an array of strings");
    Some(Cache {
        key: map
            .given("key")
            .and_then(|it| key(it, index, &format_args!("{at}:key"), report))
            .unwrap_or_else(default_key),
        paths: paths
            .map(|it| string_list(it, &problem, report))
            .unwrap_or_default(),
        untracked: flag(map, "untracked", at, report),
        policy,
        when: when.unwrap_or(UploadWhen::OnSuccess),
        unprotect: flag(map, "unprotect", at, report),
        fallback_keys,
    })
}

fn flag(map: &Mapping, key: &str, at: &dyn Display, report: &mut Report) -> bool {
    map.given(key)
        .and_then(|it| boolean_config(it, &format_args!("{at}:{key}"), report))
        .unwrap_or(false)
}

fn default_key() -> CacheKey {
    CacheKey::Text("default".to_owned())
}

/// GitLab looks for the words anywhere in the text, so that a variable with one of them in its name passes.
fn policy(map: &Mapping, at: &dyn Display, report: &mut Report) -> String {
    const DEFAULT: &str = "pull-push";
    let Some(node) = map.given("policy").filter(|it| !blank(it)) else {
        return DEFAULT.to_owned();
    };
    if node.as_text().is_none() {
        report.entry_error(node.span, format!("{at} policy should be a string"));
        return DEFAULT.to_owned();
    }
    let valid = |it: &&str| it.starts_with('$') || it.contains("pull") || it.contains("push");
    node.as_text()
        .filter(valid)
        .map(str::to_owned)
        .unwrap_or_else(|| {
            report.entry_error(
                node.span,
                format!("{at} policy should be a variable or one of: pull-push, push, pull"),
            );
            DEFAULT.to_owned()
        })
}

fn key(node: &Node, index: usize, at: &dyn Display, report: &mut Report) -> Option<CacheKey> {
    match &node.value {
        Value::Text(_) => key_text(node, &format_args!("{at} config"), report)
            .filter(|it| !it.is_empty())
            .map(CacheKey::Text),
        Value::Mapping(map) => key_of_files(node, map, index, at, report),
        _ => {
            report.entry_error(
                node.span,
                format!("{at} should be a hash, a string or a symbol"),
            );
            None
        }
    }
}

/// Reads a text that becomes part of a path.
fn key_text(node: &Node, what: &dyn Display, report: &mut Report) -> Option<String> {
    let problem = match node.as_text() {
        None => "should be a string or symbol",
        Some(text) if text.contains('/') || text.to_lowercase().contains("%2f") => {
            "cannot contain the \"/\" character"
        }
        Some("." | ".." | "%2e" | "%2E" | "%2e%2e" | "%2E%2E") => "cannot be \".\" or \"..\"",
        Some(text) => return Some(text.to_owned()),
    };
    report.entry_error(node.span, format!("{what} {problem}"));
    None
}

fn key_files(node: &Node, what: &dyn Display, report: &mut Report) -> Vec<String> {
    if node.is_null() {
        return Vec::new();
    }
    let problem = format!("{what} should be an array of strings");
    let files = string_list(node, &problem, report);
    match node.as_sequence().map_or(1, <[Node]>::len) {
        0 => report.entry_error(node.span, format!("{what} requires at least 1 item")),
        1..=MAX_KEY_FILES => {}
        _ => report.entry_error(
            node.span,
            format!("{what} has too many items (maximum is {MAX_KEY_FILES})"),
        ),
    }
    let relative = |it: String| it.trim_start_matches('/').to_owned();
    files.into_iter().map(relative).collect()
}

fn key_of_files(
    node: &Node,
    map: &Mapping,
    index: usize,
    at: &dyn Display,
    report: &mut Report,
) -> Option<CacheKey> {
    unknown_keys(map, at, &["files", "files_commits", "prefix"], report);
    let (name, list, by) = match (map.get("files"), map.get("files_commits")) {
        (Some(files), None) => ("files", files, CacheFilesBy::Blob),
        (None, Some(files)) => ("files_commits", files, CacheFilesBy::LastCommit),
        _ => {
            let message =
                format!("{at} config must use exactly one of these keys: files, files_commits");
            report.entry_error(node.span, message);
            return None;
        }
    };
    let files = key_files(list, &format_args!("{at}:{name} config"), report);
    let prefix = map
        .given("prefix")
        .and_then(|it| key_text(it, &format_args!("{at}:prefix config"), report));
    let stem = |it: &String| {
        it.rsplit('/')
            .next()
            .and_then(|it| it.split('.').next())
            .unwrap_or_default()
            .to_owned()
    };
    let default = || {
        format!(
            "{index}_{}",
            files.iter().map(stem).collect::<Vec<_>>().join("_")
        )
    };
    Some(CacheKey::Files {
        prefix: prefix.unwrap_or_else(default),
        files,
        by,
    })
}
