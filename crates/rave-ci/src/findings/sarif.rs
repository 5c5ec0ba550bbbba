//! SARIF: what analysers outside GitLab's world write.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Deserialize;

use super::codequality::path;
use super::json::{Items, document, lenient, number, text};
use super::{Finding, Parsed, Severity, Unreadable, digest, link, name};

#[derive(Deserialize)]
struct Log {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    #[serde(default, deserialize_with = "lenient")]
    tool: Tool,
    #[serde(default)]
    results: Items<Found>,
}

#[derive(Default, Deserialize)]
struct Tool {
    #[serde(default, deserialize_with = "lenient")]
    driver: Driver,
}

#[derive(Default, Deserialize)]
struct Driver {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "lenient")]
    rules: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "text")]
    id: String,
    #[serde(default, deserialize_with = "text")]
    help_uri: String,
    #[serde(default, deserialize_with = "lenient")]
    short_description: Message,
    #[serde(default, deserialize_with = "lenient")]
    full_description: Message,
    #[serde(default, deserialize_with = "lenient")]
    default_configuration: Configuration,
    #[serde(default, deserialize_with = "lenient")]
    properties: Properties,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "text")]
    text: String,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default, deserialize_with = "text")]
    level: String,
}

#[derive(Default, Deserialize)]
struct Properties {
    /// The CVSS score, as a text.
    #[serde(default, rename = "security-severity", deserialize_with = "text")]
    security_severity: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    #[serde(default, deserialize_with = "text")]
    rule_id: String,
    #[serde(default, deserialize_with = "number")]
    rule_index: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    rule: RuleReference,
    #[serde(default, deserialize_with = "text")]
    level: String,
    #[serde(default, deserialize_with = "text")]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
    message: Message,
    #[serde(default, deserialize_with = "lenient")]
    locations: Vec<Location>,
    #[serde(default, deserialize_with = "lenient")]
    fingerprints: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient")]
    partial_fingerprints: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient")]
    suppressions: Vec<serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "lenient")]
    properties: Properties,
}

#[derive(Default, Deserialize)]
struct RuleReference {
    #[serde(default, deserialize_with = "text")]
    id: String,
    #[serde(default, deserialize_with = "number")]
    index: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(default, deserialize_with = "lenient")]
    physical_location: Physical,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    #[serde(default, deserialize_with = "lenient")]
    artifact_location: File,
    #[serde(default, deserialize_with = "lenient")]
    region: Region,
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default, deserialize_with = "text")]
    uri: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    #[serde(default, deserialize_with = "number")]
    start_line: Option<i64>,
}

pub(super) fn read(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let log: Log = document(input)?;
    into.summary.findings.get_or_insert_default();
    for run in log.runs {
        let driver = run.tool.driver;
        let by_id: BTreeMap<&str, &Rule> =
            driver.rules.iter().map(|it| (it.id.as_str(), it)).collect();
        for it in run.results.take(into) {
            let passed = matches!(it.kind.as_str(), "pass" | "notApplicable" | "informational");
            if passed || !it.suppressions.is_empty() {
                continue;
            }
            let index = it.rule_index.or(it.rule.index);
            let index = index.and_then(|it| usize::try_from(it).ok());
            let id = [&it.rule_id, &it.rule.id]
                .into_iter()
                .find(|it| !it.is_empty());
            let named = id.and_then(|it| by_id.get(it.as_str()).copied());
            let rule = named.or_else(|| driver.rules.get(index?));
            into.push_finding(finding(&it, rule, &driver.name));
        }
    }
    Ok(())
}

fn finding(it: &Found, rule: Option<&Rule>, tool: &str) -> Finding {
    let text = |get: fn(&Rule) -> &String| rule.map_or("", |it| get(it).as_str());
    let identifier = match [&it.rule_id, &it.rule.id]
        .into_iter()
        .find(|it| !it.is_empty())
    {
        Some(id) => id.as_str(),
        None => text(|it| &it.id),
    };
    let title = text(|it| &it.short_description.text);
    let message = it.message.text.trim();
    let place = it.locations.first().map(|it| &it.physical_location);
    let file = place.map_or_else(String::new, |it| path(&it.artifact_location.uri));
    let mut prints = it.fingerprints.iter().chain(&it.partial_fingerprints);
    let fingerprint = prints.next().map_or_else(String::new, |(key, value)| {
        digest(&[identifier, &file, key, value])
    });
    let score = [
        &it.properties,
        rule.map_or(&it.properties, |it| &it.properties),
    ];
    let score = score
        .into_iter()
        .find_map(|it| it.security_severity.parse::<f64>().ok());
    let level = [
        it.level.as_str(),
        text(|it| &it.default_configuration.level),
    ];
    let level = level
        .into_iter()
        .find(|it| !it.is_empty())
        .unwrap_or("warning");
    Finding {
        severity: severity(score, level),
        title: name(if title.is_empty() { message } else { title }),
        description: match title.is_empty() {
            true => text(|it| &it.full_description.text).to_owned(),
            false => message.to_owned(),
        },
        solution: String::new(),
        line: place.and_then(|it| it.region.start_line),
        path: file,
        identifier: name(identifier),
        link: link(text(|it| &it.help_uri)),
        scanner: name(tool),
        fingerprint,
    }
}

fn severity(score: Option<f64>, level: &str) -> Severity {
    match (score, level) {
        (Some(it), _) if it >= 9.0 => Severity::Critical,
        (Some(it), _) if it >= 7.0 => Severity::High,
        (Some(it), _) if it >= 4.0 => Severity::Medium,
        (Some(it), _) if it > 0.0 => Severity::Low,
        (Some(_), _) => Severity::Info,
        (None, "error") => Severity::High,
        (None, "warning") => Severity::Medium,
        (None, "note") => Severity::Low,
        (None, "none") => Severity::Info,
        (None, _) => Severity::Unknown,
    }
}
