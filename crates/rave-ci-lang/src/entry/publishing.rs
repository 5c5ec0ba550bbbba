//! `release` and `pages`: what a job publishes once it has succeeded.

use std::fmt::Display;

use super::check::{blank, expiry, required_text, string_or_strings, text, unknown_keys};
use crate::expand::names_in;
use crate::report::Report;
use crate::yaml::{Key, Mapping, Node, Value};
use crate::{Release, ReleaseLink};

const RELEASE_KEYS: [&str; 8] = [
    "tag_name",
    "tag_message",
    "name",
    "description",
    "ref",
    "released_at",
    "milestones",
    "assets",
];
const DIRECTORY: &str = "public";

/// Reads a release. The texts are expanded where it is made.
pub(super) fn release(node: &Node, at: &dyn Display, report: &mut Report) -> Option<Release> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return None;
    };
    unknown_keys(map, at, &RELEASE_KEYS, report);
    let tag_name = required_text(node, map, "tag_name", at, report);
    let tag_message = map
        .given("tag_message")
        .filter(|it| !blank(it))
        .and_then(|_| text(map, "tag_message", at, report));
    let description = required_text(node, map, "description", at, report);
    let milestones = map.given("milestones").filter(|it| !blank(it)).map(|it| {
        string_or_strings(it).unwrap_or_else(|| {
            let problem = "milestones should be an array of strings or a string";
            report.entry_error(it.span, format!("{at} {problem}"));
            Vec::new()
        })
    });
    let released_at = map.given("released_at").and_then(|it| {
        let text = it.as_text().filter(|it| is_iso8601(it));
        if text.is_none() {
            report.entry_error(
                it.span,
                format!("{at} released at must be a valid datetime"),
            );
        }
        text.map(str::to_owned)
    });
    let reference = map.given("ref").and_then(|it| {
        let text = it.as_text().filter(|it| is_reference(it));
        if text.is_none() {
            report.entry_error(it.span, format!("{at} ref must be a valid ref"));
        }
        text.map(str::to_owned)
    });
    Some(Release {
        tag_name: tag_name?,
        description: description?,
        tag_message,
        name: map.given("name").and_then(Node::scalar_text),
        reference,
        milestones: milestones.unwrap_or_default(),
        released_at,
        links: map
            .given("assets")
            .map(|it| links(it, &format_args!("{at}:assets"), report))
            .unwrap_or_default(),
    })
}

fn links(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<ReleaseLink> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    unknown_keys(map, at, &["links"], report);
    let links = map.get("links");
    let items: Option<Vec<&Mapping>> = links
        .and_then(Node::as_sequence)
        .and_then(|it| it.iter().map(Node::as_mapping).collect());
    let Some(items) = items else {
        report.entry_error(
            node.span,
            format!("{at} links should be an array of hashes"),
        );
        return Vec::new();
    };
    if items.is_empty() {
        report.entry_error(node.span, format!("{at} links can't be blank"));
    }
    // GitLab does not look into the links before the release is made.
    let link = |map: &Mapping| {
        let text = |key: &str| map.given(key).and_then(Node::scalar_text);
        ReleaseLink {
            name: text("name").unwrap_or_default(),
            url: text("url").unwrap_or_default(),
            filepath: text("filepath"),
            link_type: text("link_type"),
        }
    };
    items.into_iter().map(link).collect()
}

/// Returns whether a text is a date, perhaps with a time: `2026-11-21`, `20261121T150000Z`, `2026-11-21T15:00:00.5+01:00`.
fn is_iso8601(text: &str) -> bool {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    let parts: Option<Vec<u32>> = match date.len() {
        10 => date.split('-').map(number).collect(),
        8 => [(0, 4), (4, 6), (6, 8)]
            .iter()
            .map(|it| date.get(it.0..it.1).and_then(number))
            .collect(),
        _ => None,
    };
    let Some([year, month, day]) = parts.as_deref() else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(day) && time.is_none_or(is_time)
}

fn is_time(text: &str) -> bool {
    let zone = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone);
    let clock = clock.split(['.', ',']).next().unwrap_or_default();
    let in_range = |text: &str, limits: &[u32]| {
        let digits: String = text.chars().filter(|it| *it != ':').collect();
        let pairs = digits.as_bytes().chunks(2);
        !digits.is_empty()
            && digits.len() <= 2 * limits.len()
            && pairs.zip(limits).all(|(pair, limit)| {
                let pair = std::str::from_utf8(pair).unwrap_or_default();
                pair.len() == 2 && pair.parse::<u32>().is_ok_and(|it| it <= *limit)
            })
    };
    let zone_is_valid = match zone.chars().next() {
        None => true,
        Some('Z' | 'z') => zone.len() == 1,
        Some(_) => in_range(&zone[1..], &[23, 59]),
    };
    in_range(clock, &[24, 59, 60]) && zone_is_valid
}

/// Returns whether git takes a text for the name of a reference; variables count as text.
fn is_reference(text: &str) -> bool {
    let forbidden = |it: char| it.is_control() || " ~^:?*[\\".contains(it);
    let part = |it: &str| !it.is_empty() && !it.starts_with('.') && !it.ends_with(".lock");
    !text.starts_with(['-', '/'])
        && !text.ends_with(['.', '/'])
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(forbidden)
        && text.split('/').all(part)
}

/// A site as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct PagesEntry {
    pub(crate) publish: String,
    pub(crate) path_prefix: Option<String>,
    /// A duration, `never` or a text with a variable.
    pub(crate) expire_in: Option<String>,
    /// Both forms of `publish` are there, which one may not be.
    pub(crate) is_ambiguous: bool,
}

/// Reads `pages` and the older `publish`. `None`: the job publishes no site.
pub(super) fn pages(
    key: &Key,
    map: &Mapping,
    at: &dyn Display,
    report: &mut Report,
) -> Option<PagesEntry> {
    let node = map.given("pages");
    let old = map.given("publish");
    let options = node.and_then(Node::as_mapping);
    let by_name = key.text == "pages";
    let is_pages = match node.map(|it| (it.span, &it.value)) {
        None => by_name,
        Some((_, Value::Bool(on))) => *on,
        Some((_, Value::Mapping(options))) => by_name || !options.is_empty(),
        Some((span, _)) => {
            report.entry_error(
                span,
                format!("{at}:pages config should be a hash or a boolean value"),
            );
            return None;
        }
    };
    if let Some(node) = old.filter(|it| !is_pages && !blank(it)) {
        report.entry_error(
            node.span,
            format!("{at} publish can only be used within a `pages` job"),
        );
    }
    if let Some(node) = old.filter(|it| it.as_text().is_none()) {
        report.entry_error(node.span, format!("{at}:publish config should be a string"));
    }
    let mut pages = PagesEntry {
        publish: old.and_then(Node::as_text).unwrap_or(DIRECTORY).to_owned(),
        ..PagesEntry::default()
    };
    if let Some(options) = options {
        let at = format!("{at}:pages");
        unknown_keys(
            options,
            &at,
            &["path_prefix", "expire_in", "publish"],
            report,
        );
        pages.path_prefix = text(options, "path_prefix", &at, report);
        pages.expire_in = options.given("expire_in").and_then(|it| {
            let text = it.as_text();
            if text.is_none_or(|it| names_in(it).is_empty()) {
                expiry(it, &format_args!("{at} expire in"), report);
            }
            text.map(str::to_owned)
        });
        if let Some(directory) = text(options, "publish", &at, report) {
            pages.is_ambiguous = old.is_some();
            pages.publish = directory;
        }
    }
    is_pages.then_some(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        for text in [
            "2026-11-21",
            "20261121",
            "2024-02-29",
            "2026-11-21T15:00:00Z",
            "2026-11-21T15:00",
            "2026-11-21T150000.123+0100",
            "2026-11-21T15:00:00-01:30",
        ] {
            assert!(is_iso8601(text), "{text}");
        }
        for text in [
            "",
            "tomorrow",
            "2026-13-01",
            "2025-02-29",
            "2026-11-21T",
            "2026-11-21T25:00",
            "2026-11-21T15:0",
            "2026-11-21T15:00Zx",
            "é2026-1-1",
        ] {
            assert!(!is_iso8601(text), "{text}");
        }
    }

    #[test]
    fn names_of_references() {
        for text in [
            "main",
            "v1.2",
            "$CI_COMMIT_SHA",
            "feature/x",
            "0123456789abcdef",
        ] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "", "a b", "-x", "a..b", "a/", "/a", "a.lock", "x~1", "a//b", "a@{1}",
        ] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
