//! `cache`: one map or up to four.

use super::check::{boolean, listed, one_of, string_list, unknown_keys};
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
pub(super) fn caches(node: &Node, parent: &str, report: &mut Report) -> Vec<Cache> {
    let at = |key: &str| {
        if parent.is_empty() {
            key.to_owned()
        } else {
            format!("{parent}:{key}")
        }
    };
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
        .filter_map(|(index, it)| cache(it, index, &at("cache"), report))
        .collect()
}

fn cache(node: &Node, index: usize, at: &str, report: &mut Report) -> Option<Cache> {
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
            &format!("{at} when should be one of: on_success, on_failure, always"),
            report,
        )
    });
    let fallback_keys = listed(map, "fallback_keys", at, report);
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
            .and_then(|it| key(it, index, &format!("{at}:key"), report))
            .unwrap_or_else(default_key),
        paths: paths
            .map(|it| string_list(it, &problem, report))
            .unwrap_or_default(),
        untracked: boolean(map, "untracked", &format!("{at}:untracked config"), report)
            .unwrap_or(false),
        policy,
        when: when.unwrap_or(UploadWhen::OnSuccess),
        unprotect: boolean(map, "unprotect", &format!("{at}:unprotect config"), report)
            .unwrap_or(false),
        fallback_keys,
    })
}

fn default_key() -> CacheKey {
    CacheKey::Text("default".to_owned())
}

/// GitLab looks for the words anywhere in the text, so that a variable with one of them in its name passes.
fn policy(map: &Mapping, at: &str, report: &mut Report) -> String {
    const DEFAULT: &str = "pull-push";
    let Some(node) = map.given("policy") else {
        return DEFAULT.to_owned();
    };
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

fn key(node: &Node, index: usize, at: &str, report: &mut Report) -> Option<CacheKey> {
    match &node.value {
        Value::Text(text) if text.contains('/') || text.to_lowercase().contains("%2f") => {
            report.entry_error(
                node.span,
                format!("{at} config cannot contain the \"/\" character"),
            );
            None
        }
        Value::Text(text) if matches!(text.as_str(), "." | "..") => {
            report.entry_error(node.span, format!("{at} config cannot be \".\" or \"..\""));
            None
        }
        Value::Text(text) if text.is_empty() => None,
        Value::Text(text) => Some(CacheKey::Text(text.clone())),
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

fn key_of_files(
    node: &Node,
    map: &Mapping,
    index: usize,
    at: &str,
    report: &mut Report,
) -> Option<CacheKey> {
    unknown_keys(map, at, &["files", "files_commits", "prefix"], report);
    let (name, list, by) = match (map.given("files"), map.given("files_commits")) {
        (Some(files), None) => ("files", files, CacheFilesBy::Blob),
        (None, Some(files)) => ("files_commits", files, CacheFilesBy::LastCommit),
        _ => {
            let message =
                format!("{at} config must use exactly one of these keys: files, files_commits");
            report.entry_error(node.span, message);
            return None;
        }
    };
    let files = string_list(
        list,
        &format!("{at}:{name} config should be an array of strings"),
        report,
    );
    match files.len() {
        0 => report.entry_error(
            list.span,
            format!("{at}:{name} config requires at least 1 item"),
        ),
        1..=MAX_KEY_FILES => {}
        _ => report.entry_error(
            list.span,
            format!("{at}:{name} config has too many items (maximum is {MAX_KEY_FILES})"),
        ),
    }
    let prefix = super::check::text(map, "prefix", at, report);
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
