//! The smaller reports: accessibility, links, counts of a plan, metrics, components, and measurements that are only
//! checked and kept as they are.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};

use serde::Deserialize;
use serde_json::Value;

use super::json::{Items, document, lenient, text};
use super::{Entry, Finding, NAME, Parsed, Severity, Unreadable, link, name};

#[derive(Deserialize)]
struct Accessibility {
    results: BTreeMap<String, Items<Problem>>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default, deserialize_with = "text")]
    code: String,
    #[serde(default, rename = "type", deserialize_with = "text")]
    kind: String,
    #[serde(default, deserialize_with = "text")]
    message: String,
    #[serde(default, deserialize_with = "text")]
    selector: String,
    #[serde(default, deserialize_with = "text")]
    context: String,
}

/// Reads what Pa11y says of pages, by their addresses.
pub(super) fn accessibility(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let report: Accessibility = document(input)?;
    into.summary.findings.get_or_insert_default();
    for (page, problems) in report.results {
        for it in problems.take(into) {
            into.push_finding(Finding {
                severity: match it.kind.as_str() {
                    "error" => Severity::High,
                    "warning" => Severity::Medium,
                    _ => Severity::Low,
                },
                title: name(&it.message),
                description: format!("{}\n{}", it.selector, it.context),
                solution: String::new(),
                path: name(&page),
                line: None,
                identifier: name(&it.code),
                link: None,
                scanner: "pa11y".into(),
                fingerprint: super::digest(&[&page, &it.code, &it.selector]),
            });
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Annotation {
    external_link: ExternalLink,
}

#[derive(Deserialize)]
struct ExternalLink {
    label: String,
    url: String,
}

/// Reads links that a job wants shown, by headings.
pub(super) fn annotations(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let report: BTreeMap<String, Items<Annotation>> = document(input)?;
    for (heading, links) in report {
        for it in links.take(into) {
            match link(&it.external_link.url) {
                None => into.note(format!("{} is not an http address", it.external_link.url)),
                url => into.push_entry(Entry {
                    group: name(&heading),
                    name: name(&it.external_link.label),
                    value: String::new(),
                    link: url,
                }),
            }
        }
    }
    Ok(())
}

/// Reads how many resources a plan makes, changes and deletes.
pub(super) fn terraform(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    #[derive(Deserialize)]
    struct Plan {
        create: u64,
        update: u64,
        delete: u64,
    }
    let plan: Plan = document(input)?;
    for (name, count) in [
        ("create", plan.create),
        ("update", plan.update),
        ("delete", plan.delete),
    ] {
        into.push_entry(Entry {
            name: name.into(),
            value: count.to_string(),
            ..Entry::default()
        });
    }
    Ok(())
}

/// Reads metrics in the text format of Prometheus.
pub(super) fn metrics(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = input.take(64 << 10).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        // Labels may hold blanks; a time may follow the value.
        let split = match text.rfind('}') {
            Some(end) => end + 1,
            None => text.find(char::is_whitespace).unwrap_or(text.len()),
        };
        let value = text[split..].split_whitespace().next();
        match value {
            Some(value) => into.push_entry(Entry {
                name: name(&text[..split]),
                value: name(value),
                ..Entry::default()
            }),
            None => into.note(format!("{text} is not a metric")),
        }
    }
}

#[derive(Deserialize)]
struct Bill {
    #[serde(rename = "bomFormat")]
    format: String,
    #[serde(default)]
    components: Items<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default, rename = "type", deserialize_with = "text")]
    kind: String,
    #[serde(default, deserialize_with = "text")]
    group: String,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    version: String,
}

/// Reads `CycloneDX`: what a program is made of.
pub(super) fn components(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let bill: Bill = document(input)?;
    if bill.format != "CycloneDX" {
        let message = format!("it is {} rather than CycloneDX", name(&bill.format));
        return Err(Unreadable::Content(message));
    }
    for it in bill.components.take(into) {
        let full = match it.group.as_str() {
            "" => it.name,
            group => format!("{group}/{}", it.name),
        };
        into.push_entry(Entry {
            group: name(&it.kind),
            name: name(&full),
            value: name(&it.version),
            link: None,
        });
    }
    Ok(())
}

/// Checks measurements, whose form is each tool's own, and shows the figures on top.
pub(super) fn performance(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    #[derive(Default, Deserialize)]
    struct Measured {
        #[serde(default, deserialize_with = "lenient")]
        metrics: BTreeMap<String, Value>,
    }
    let document: Value = document(input)?;
    let measured: Measured = serde_json::from_value(document).unwrap_or_default();
    for (metric, figures) in measured.metrics {
        let figures = figures.get("values").unwrap_or(&figures).clone();
        let shown = |it: &Value| figures.get(it.as_str()?)?.as_f64();
        let known = ["p(95)", "avg", "value", "rate", "count"].map(Value::from);
        if let Some(value) = known.iter().find_map(shown) {
            into.push_entry(Entry {
                name: super::cut(&metric, NAME),
                value: format!("{value:.2}"),
                ..Entry::default()
            });
        }
    }
    Ok(())
}
