//! What reports say: the files that jobs upload under `artifacts:reports`, read into tests, findings, covered lines and a
//! few lists, whichever tool wrote them.
//!
//! Pure code. A report comes from a job and may hold anything, so everything here is bounded: the bytes that are
//! unpacked, how deep they nest, how many things are kept and how long their texts are. What is left out is said in a
//! note. Loading, storing and comparing is left to `service`, `store` and `worker`.

mod cobertura;
mod codequality;
mod input;
mod jacoco;
mod json;
mod junit;
mod lists;
pub(crate) mod paths;
pub(crate) mod percentage;
mod sarif;
mod security;
#[cfg(test)]
mod tests;
mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use crate::model::ArtifactFormat;

/// Most bytes of one report, unpacked.
const BYTES: u64 = 32 << 20;
/// Most tests of one report that are kept, failing ones beyond it excepted.
const TESTS: usize = 20_000;
/// Most failing tests that are kept although there are too many tests.
const FAILING: usize = 1000;
const FINDINGS: usize = 5000;
const FILES: usize = 10_000;
/// Most entries of the lists that reports of other kinds are.
const ENTRIES: usize = 2000;
/// Longest name, path or title, in bytes.
const NAME: usize = 1024;
/// Longest text of one test or finding.
const TEXT: usize = 16 << 10;
/// What all texts of one report may take together. Later ones are left out.
const TEXTS: usize = 8 << 20;
/// Most notes of one report.
const NOTES: usize = 20;

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $label:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub(crate) enum $name { $(#[serde(rename = $label)] $variant),+ }

        impl $name {
            /// Returns the name that is stored and shown.
            pub(crate) const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// Returns the one with this name.
            pub(crate) fn from_label(label: &str) -> Option<Self> {
                match label { $($label => Some(Self::$variant),)+ _ => None }
            }
        }
    )+};
}

labels! {
    /// How a test ended. The names sort with the failing ones first.
    Outcome {
        Error = "error",
        Failed = "failed",
        Skipped = "skipped",
        Success = "success",
    }
    /// How bad a finding is, the worst first.
    Severity {
        Critical = "critical",
        High = "high",
        Medium = "medium",
        Low = "low",
        Info = "info",
        Unknown = "unknown",
    }
}

impl Severity {
    /// Every one, the worst first.
    pub(crate) const ALL: [Self; 6] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Info,
        Self::Unknown,
    ];
}

impl Outcome {
    /// Whether somebody has to look at the test.
    pub(crate) const fn is_failing(self) -> bool {
        matches!(self, Self::Failed | Self::Error)
    }
}

/// One test of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TestCase {
    /// The innermost suite that the report names.
    pub(crate) suite: String,
    pub(crate) class: String,
    pub(crate) name: String,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<i64>,
    pub(crate) outcome: Outcome,
    pub(crate) duration_ms: i64,
    /// What failed, or why it was skipped.
    pub(crate) message: String,
    /// What the test wrote.
    pub(crate) output: String,
    /// A file of the archive that shows more, such as a picture of a failed page.
    pub(crate) attachment: Option<String>,
}

impl TestCase {
    /// Returns what tells the test from others of a project, in every pipeline the same. `job` is the name that copies
    /// of a parallel job share.
    pub(crate) fn digest(&self, job: &str) -> String {
        digest(&[job, &self.class, &self.name])
    }
}

/// One thing that a tool does not like.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) title: String,
    pub(crate) description: String,
    /// What to do about it, if the tool knows.
    pub(crate) solution: String,
    /// A file of the repository, or what else was looked at: an image, an address.
    pub(crate) path: String,
    pub(crate) line: Option<i64>,
    /// The rule or weakness, such as `CVE-2026-1234`.
    pub(crate) identifier: String,
    /// Where the rule or weakness is explained.
    pub(crate) link: Option<String>,
    /// The tool.
    pub(crate) scanner: String,
    /// What tells it from other findings of the kind, in every pipeline the same.
    pub(crate) fingerprint: String,
}

/// How much of one file ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileCoverage {
    pub(crate) path: String,
    pub(crate) lines: i64,
    pub(crate) covered: i64,
    /// The lines that did not run, such as `3-5,9`.
    pub(crate) missed: String,
}

impl FileCoverage {
    /// Returns how much of the file ran, in percent.
    pub(crate) fn percentage(&self) -> f64 {
        percentage(self.covered, self.lines)
    }
}

/// Returns a part in percent of the whole, with two digits. Of nothing it is everything.
pub(crate) fn percentage(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        return 100.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "line counts are far below 2^52")]
    let rate = part as f64 / whole as f64;
    (rate * 10_000.0).round() / 100.0
}

/// Counts of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TestTotals {
    pub(crate) success: u64,
    pub(crate) failed: u64,
    pub(crate) error: u64,
    pub(crate) skipped: u64,
    pub(crate) duration_ms: i64,
}

impl TestTotals {
    /// Returns the number of tests.
    pub(crate) const fn count(&self) -> u64 {
        self.success + self.failed + self.error + self.skipped
    }

    /// Returns the number of tests that somebody has to look at.
    pub(crate) const fn failing(&self) -> u64 {
        self.failed + self.error
    }

    /// Adds one test.
    pub(crate) fn add(&mut self, outcome: Outcome, duration_ms: i64) {
        *match outcome {
            Outcome::Success => &mut self.success,
            Outcome::Failed => &mut self.failed,
            Outcome::Error => &mut self.error,
            Outcome::Skipped => &mut self.skipped,
        } += 1;
        self.duration_ms = self.duration_ms.saturating_add(duration_ms);
    }

    /// Adds the tests of another count.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.success += other.success;
        self.failed += other.failed;
        self.error += other.error;
        self.skipped += other.skipped;
        self.duration_ms = self.duration_ms.saturating_add(other.duration_ms);
    }
}

/// A line of a list: a component, a metric, a link, a count of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What it belongs to, such as the heading of a link.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) group: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
}

/// What a report comes to. Counts are exact even where not everything is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tests: Option<TestTotals>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) findings: Option<BTreeMap<Severity, u64>>,
    /// Lines that could run, and lines that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<(i64, i64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) entries: Vec<Entry>,
    /// What was left out, and what part of the report could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// A report that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) tests: Vec<TestCase>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) files: Vec<FileCoverage>,
    /// Directories that paths of the report may start from.
    pub(crate) sources: Vec<String>,
    pub(crate) summary: Summary,
    texts: usize,
    failing: usize,
    left_out: usize,
    seen: BTreeSet<String>,
    repeats: BTreeMap<String, usize>,
}

impl Parsed {
    /// Takes a text in, cut to what one may take, and empty once all together took too much.
    fn text(&mut self, text: &str) -> String {
        let text = cut(text.trim(), TEXT);
        if self.texts + text.len() > TEXTS {
            if self.texts <= TEXTS {
                self.note("The texts of later entries are left out: all together are too long.");
                self.texts = TEXTS + 1;
            }
            return String::new();
        }
        self.texts += text.len();
        text
    }

    fn note(&mut self, note: impl Into<String>) {
        if self.summary.notes.len() < NOTES {
            self.summary.notes.push(cut(&note.into(), NAME));
        }
    }

    fn push_test(&mut self, mut test: TestCase) {
        let totals = self.summary.tests.get_or_insert_default();
        totals.add(test.outcome, test.duration_ms);
        let failing = test.outcome.is_failing();
        if self.tests.len() >= TESTS && !(failing && self.failing < FAILING) {
            self.left_out += 1;
            return;
        }
        self.failing += usize::from(failing && self.tests.len() >= TESTS);
        test.message = self.text(&test.message);
        // What a passing test wrote is looked at by nobody and can be a lot.
        test.output = match test.outcome {
            Outcome::Success => String::new(),
            _ => self.text(&test.output),
        };
        self.tests.push(test);
    }

    /// Adds a finding. Those with one fingerprint are one, unless the tool gave none: then the next like it is another.
    fn push_finding(&mut self, mut finding: Finding) {
        if finding.fingerprint.is_empty() {
            let base = digest(&[&finding.identifier, &finding.path, &finding.title]);
            let like_it = self.repeats.entry(base.clone()).or_default();
            *like_it += 1;
            finding.fingerprint = digest(&[&base, &like_it.to_string()]);
        }
        if self.seen.len() < FINDINGS && !self.seen.insert(finding.fingerprint.clone()) {
            return;
        }
        let counts = self.summary.findings.get_or_insert_default();
        *counts.entry(finding.severity).or_default() += 1;
        if self.findings.len() >= FINDINGS {
            self.left_out += 1;
            return;
        }
        finding.description = self.text(&finding.description);
        finding.solution = self.text(&finding.solution);
        self.findings.push(finding);
    }

    fn push_file(&mut self, file: FileCoverage) {
        let (lines, covered) = self.summary.lines.get_or_insert_default();
        *lines += file.lines;
        *covered += file.covered;
        if self.files.len() >= FILES {
            self.left_out += 1;
            return;
        }
        self.files.push(file);
    }

    fn push_entry(&mut self, entry: Entry) {
        if self.summary.entries.len() >= ENTRIES {
            self.left_out += 1;
            return;
        }
        self.summary.entries.push(entry);
    }
}

/// Why a report, or one file of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("{0}")]
    Content(String),
    #[error("it cannot be unpacked: {0}")]
    Bytes(#[from] std::io::Error),
    #[error("it is not valid XML: {0}")]
    Xml(#[from] quick_xml::Error),
    #[error("it is not valid JSON of this kind: {0}")]
    Json(#[from] serde_json::Error),
}

/// Whether reports of a type are read at all.
pub(crate) fn is_read(file_type: &str) -> bool {
    reader_of(file_type).is_some()
}

/// The kinds whose findings are about security rather than quality.
pub(crate) const SECURITY: [&str; 9] = [
    "sast",
    "secret_detection",
    "dependency_scanning",
    "container_scanning",
    "cluster_image_scanning",
    "dast",
    "api_fuzzing",
    "coverage_fuzzing",
    "sarif",
];

type Reader = fn(&mut dyn BufRead, &mut Parsed) -> Result<(), Unreadable>;

fn reader_of(file_type: &str) -> Option<Reader> {
    Some(match file_type {
        "junit" => junit::read,
        "cobertura" => cobertura::read,
        "jacoco" => jacoco::read,
        "codequality" => codequality::read,
        "sarif" => sarif::read,
        it if SECURITY.contains(&it) => security::read,
        "accessibility" => lists::accessibility,
        "annotations" => lists::annotations,
        "terraform" => lists::terraform,
        "metrics" => lists::metrics,
        "cyclonedx" => lists::components,
        "performance" | "browser_performance" | "load_performance" => lists::performance,
        _ => return None,
    })
}

/// Reads a report of a known type. A file of it that cannot be read is a note, unless there is no other.
pub(crate) fn read(
    file_type: &str,
    format: ArtifactFormat,
    bytes: impl Read,
) -> Result<Parsed, Unreadable> {
    let Some(reader) = reader_of(file_type) else {
        let message = format!("reports of type {file_type} are not read");
        return Err(Unreadable::Content(message));
    };
    let mut parsed = Parsed::default();
    let (mut files, mut bad) = (0, Vec::new());
    input::each_file(bytes, format, BYTES, &mut |name, input| {
        files += 1;
        if let Err(error) = reader(input, &mut parsed) {
            // The rest of a file that ended early must not be taken for the next one.
            std::io::copy(input, &mut std::io::sink())?;
            bad.push((name.to_owned(), error));
        }
        Ok(())
    })?;
    if files == bad.len() {
        let none = || Unreadable::Content("it is empty".into());
        return Err(bad.pop().map_or_else(none, |(_, error)| error));
    }
    for (name, error) in bad {
        parsed.note(format!("{name} is left out: {error}"));
    }
    if parsed.left_out > 0 {
        let left_out = parsed.left_out;
        parsed.note(format!("{left_out} more entries are counted but not kept."));
    }
    Ok(parsed)
}

/// Returns the name without what tells the copies of a parallel job apart: `unit` for `unit 2/5`, `unit: [linux, x64]`.
pub(crate) fn group_name(job: &str) -> &str {
    static COPY: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r"([\s:]+(\[.*\]|\d+[\s:/\\]+\d+)){1,3}\s*$";
        Regex::new(pattern).expect("the pattern is valid")
    });
    match COPY.find(job) {
        Some(found) if found.start() > 0 => job[..found.start()].trim_end(),
        _ => job,
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha1::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}

/// Cuts a text to at most `limit` bytes, at a character, and says so at its end.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        // Neither database takes a NUL in a text.
        return text.replace('\0', "\u{fffd}");
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text[..end].replace('\0', "\u{fffd}"))
}

fn name(text: &str) -> String {
    cut(text.trim(), NAME)
}

/// Returns an address that may be linked to.
fn link(text: &str) -> Option<String> {
    let text = text.trim();
    let http = text.starts_with("https://") || text.starts_with("http://");
    (http && text.len() <= NAME && !text.contains(char::is_whitespace)).then(|| text.to_owned())
}
