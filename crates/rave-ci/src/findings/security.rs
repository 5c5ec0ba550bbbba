//! GitLab's format of security reports: what scanners of code, secrets, dependencies, images and running sites write.

use std::io::BufRead;

use serde::Deserialize;

use super::codequality::path;
use super::json::{Items, document, lenient, number, text};
use super::{Finding, Parsed, Severity, Unreadable, digest, link, name};

#[derive(Deserialize)]
struct Report {
    vulnerabilities: Items<Vulnerability>,
    #[serde(default, deserialize_with = "lenient")]
    scan: Scan,
}

#[derive(Default, Deserialize)]
struct Scan {
    #[serde(default, deserialize_with = "lenient")]
    scanner: Scanner,
    #[serde(default, deserialize_with = "lenient")]
    messages: Vec<Message>,
    #[serde(default, deserialize_with = "text")]
    status: String,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "text")]
    level: String,
    #[serde(default, deserialize_with = "text")]
    value: String,
}

#[derive(Default, Deserialize)]
struct Scanner {
    #[serde(default, deserialize_with = "text")]
    name: String,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    message: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(default, deserialize_with = "text")]
    severity: String,
    #[serde(default, deserialize_with = "text")]
    solution: String,
    #[serde(default, deserialize_with = "lenient")]
    scanner: Scanner,
    #[serde(default, deserialize_with = "lenient")]
    identifiers: Vec<Identifier>,
    #[serde(default, deserialize_with = "lenient")]
    links: Vec<Link>,
    #[serde(default, deserialize_with = "lenient")]
    location: Location,
    #[serde(default, deserialize_with = "lenient")]
    tracking: Tracking,
}

#[derive(Default, Deserialize)]
struct Identifier {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    value: String,
    #[serde(default, deserialize_with = "text")]
    url: String,
}

#[derive(Default, Deserialize)]
struct Link {
    #[serde(default, deserialize_with = "text")]
    url: String,
}

#[derive(Default, Deserialize)]
struct Location {
    #[serde(default, deserialize_with = "text")]
    file: String,
    #[serde(default, deserialize_with = "number")]
    start_line: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    image: String,
    #[serde(default, deserialize_with = "text")]
    hostname: String,
    #[serde(default, deserialize_with = "text")]
    path: String,
    #[serde(default, deserialize_with = "text")]
    method: String,
    #[serde(default, deserialize_with = "text")]
    param: String,
    #[serde(default, deserialize_with = "lenient")]
    dependency: Dependency,
}

#[derive(Default, Deserialize)]
struct Dependency {
    #[serde(default, deserialize_with = "lenient")]
    package: Package,
    #[serde(default, deserialize_with = "text")]
    version: String,
}

#[derive(Default, Deserialize)]
struct Package {
    #[serde(default, deserialize_with = "text")]
    name: String,
}

#[derive(Default, Deserialize)]
struct Tracking {
    #[serde(default, deserialize_with = "lenient")]
    items: Vec<Tracked>,
}

#[derive(Default, Deserialize)]
struct Tracked {
    #[serde(default, deserialize_with = "lenient")]
    signatures: Vec<Signature>,
}

#[derive(Default, Deserialize)]
struct Signature {
    #[serde(default, deserialize_with = "text")]
    value: String,
}

pub(super) fn read(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let report: Report = document(input)?;
    into.summary.findings.get_or_insert_default();
    if report.scan.status == "failure" {
        into.note("The scanner says that its scan failed.");
    }
    for it in &report.scan.messages {
        if matches!(it.level.as_str(), "fatal" | "error" | "warn") {
            into.note(format!("The scanner says: {}", it.value));
        }
    }
    let tool = name(&report.scan.scanner.name);
    for it in report.vulnerabilities.take(into) {
        let finding = finding(it, &tool);
        into.push_finding(finding);
    }
    Ok(())
}

fn finding(it: Vulnerability, tool: &str) -> Finding {
    let location = &it.location;
    let first = it.identifiers.first();
    let identifier = first.map_or("", |it| match it.name.as_str() {
        "" => &it.value,
        name => name,
    });
    let package = &location.dependency.package.name;
    let title = [&it.name, &it.message]
        .into_iter()
        .find(|it| !it.is_empty());
    let title = title.map_or(identifier, String::as_str);
    let title = match package.as_str() {
        "" => name(title),
        package => name(&format!(
            "{title} in {package} {}",
            location.dependency.version
        )),
    };
    let site = format!("{}{}", location.hostname, location.path);
    let place = [&location.file, &location.image, &site];
    let place = place.into_iter().find(|it| !it.is_empty());
    let place = place.map_or_else(String::new, |it| path(it));
    let signature = it
        .tracking
        .items
        .iter()
        .flat_map(|it| &it.signatures)
        .next();
    let fingerprint = match signature {
        Some(signature) => digest(&[identifier, &place, &signature.value]),
        None if package.is_empty() && location.method.is_empty() => String::new(),
        // Another version of the package, or another line of a lock file, is the same weakness.
        None => digest(&[
            identifier,
            &place,
            package,
            &location.method,
            &location.param,
        ]),
    };
    let links = it.identifiers.iter().map(|it| &it.url);
    let links = links.chain(it.links.iter().map(|it| &it.url));
    Finding {
        severity: severity(&it.severity),
        identifier: name(identifier),
        link: links.into_iter().find_map(|it| link(it)),
        scanner: match it.scanner.name.as_str() {
            "" => tool.to_owned(),
            own => name(own),
        },
        line: location.start_line,
        path: place,
        title,
        fingerprint,
        description: it.description,
        solution: it.solution,
    }
}

fn severity(label: &str) -> Severity {
    match label.to_ascii_lowercase().as_str() {
        "negligible" | "undefined" => Severity::Info,
        label => Severity::from_label(label).unwrap_or(Severity::Unknown),
    }
}
