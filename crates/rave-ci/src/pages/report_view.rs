//! How reports look beside other things: the summary on a job's page, and places in the repository.

use maud::{Markup, html};
use rave_core::id::{JobId, PipelineId};

use super::base::Base;
use super::pipeline_view::{PipelineTab, has_findings};
use super::words;
use crate::findings::{Outcome, Severity, percentage};
use crate::store::report::Report;

/// Most links and figures of a report that a job's page shows.
const SHOWN: usize = 10;

/// What a job's reports came to, beside its log.
pub(super) fn summary(base: &Base, job: JobId, pipeline: PipelineId, reports: &[Report]) -> Markup {
    html! {
        @if !reports.is_empty() {
            div.card.reports {
                h2 { "Reports" }
                @for report in reports { (one(base, job, pipeline, report)) }
            }
        }
    }
}

fn one(base: &Base, job: JobId, pipeline: PipelineId, report: &Report) -> Markup {
    let tab = |it: PipelineTab| format!("{}{}", base.pipeline(pipeline), it.tail());
    let summary = &report.summary;
    let rest = summary.entries.len().saturating_sub(SHOWN);
    html! {
        div.report {
            h3 { (kind_name(&report.kind)) " " a.quiet href={ (base.job(job)) "/artifacts/download?file_type=" (report.kind) } title={ "Download the " (report.kind) " report" } { "download" } }
            @if let Some(error) = &report.error { p.bad { "It cannot be read: " (error) "." } }
            @if let Some(tests) = &summary.tests {
                p {
                    a href=(tab(PipelineTab::Tests)) { (tests.count()) @if tests.count() == 1 { " test" } @else { " tests" } }
                    @if tests.failing() > 0 { ", " strong.bad { (tests.failing()) " failed" } }
                    @if tests.skipped > 0 { ", " (tests.skipped) " skipped" }
                }
            }
            @if let Some(counts) = &summary.findings {
                p { a href={ (tab(PipelineTab::Findings)) "?kind=" (report.kind) } { (findings_in_words(counts.iter().map(|(it, count)| (*it, *count)))) } }
            }
            @if let Some((lines, covered)) = summary.lines {
                p { a href=(tab(PipelineTab::Coverage)) { (words::percent(percentage(covered, lines))) } " of " (lines) " lines" }
            }
            @if !summary.entries.is_empty() && !has_findings(&report.kind) {
                ul.plain.entries {
                    @for it in summary.entries.iter().take(SHOWN) {
                        li { @if let Some(link) = &it.link { a href=(link) rel="nofollow noopener" { (it.name) } } @else { span { (it.name) } " " strong { (it.value) } } }
                    }
                }
                @if rest > 0 { p { a href=(tab(PipelineTab::Lists)) { "and " (rest) " more" } } }
            }
            @for note in &summary.notes { p.muted { (note) } }
        }
    }
}

/// Says how many findings there are of which severities.
pub(super) fn findings_in_words(counts: impl Iterator<Item = (Severity, u64)>) -> String {
    let parts: Vec<String> = counts
        .map(|(severity, count)| format!("{count} {}", severity.label()))
        .collect();
    if parts.is_empty() {
        return "no findings".into();
    }
    parts.join(", ")
}

/// Returns what people call a kind of report.
pub(super) fn kind_name(kind: &str) -> &str {
    match kind {
        "junit" => "Tests",
        "cobertura" | "jacoco" => "Coverage",
        "codequality" => "Code quality",
        "sast" => "SAST",
        "secret_detection" => "Secret detection",
        "dependency_scanning" => "Dependency scanning",
        "container_scanning" => "Container scanning",
        "cluster_image_scanning" => "Cluster image scanning",
        "dast" => "DAST",
        "api_fuzzing" => "API fuzzing",
        "coverage_fuzzing" => "Coverage fuzzing",
        "sarif" => "SARIF",
        "accessibility" => "Accessibility",
        "annotations" => "Links",
        "terraform" => "Terraform",
        "metrics" => "Metrics",
        "cyclonedx" => "Components",
        "performance" | "browser_performance" => "Browser performance",
        "load_performance" => "Load performance",
        other => other,
    }
}

/// A place in the repository at a commit, as a link if it can be one.
pub(super) fn place(base: &Base, sha: &str, path: &str, line: Option<i64>) -> Markup {
    let text = match line {
        Some(line) => format!("{path}:{line}"),
        None => path.to_owned(),
    };
    let inside =
        !path.is_empty() && !path.starts_with('/') && !path.contains("://") && !path.contains("..");
    let anchor = line.map_or_else(String::new, |it| format!("#L{it}"));
    html! {
        @if inside { a.mono.place href={ (base.blob(sha, path)) (anchor) } { (text) } }
        @else if !path.is_empty() { span.mono.place { (text) } }
    }
}

/// A sign for how a test ended, in the shapes of jobs' statuses.
pub(super) fn outcome_mark(outcome: Outcome) -> Markup {
    use rave_core::job::Status;
    rave_http::component::status_mark(match outcome {
        Outcome::Success => Status::Success,
        Outcome::Failed | Outcome::Error => Status::Failed,
        Outcome::Skipped => Status::Skipped,
    })
}

/// Reports that could not be read, and what was left out of others.
pub(super) fn problems<'a>(base: &Base, reports: impl Iterator<Item = &'a Report>) -> Markup {
    html! {
        @for it in reports {
            @let of = html! { (kind_name(&it.kind)) " of " a href=(base.job(it.job)) { (it.job_name) } };
            @if let Some(error) = &it.error { div.alert.bad role="status" { (of) " cannot be read: " (error) "." } }
            @for note in &it.summary.notes { div.alert.info { (of) ": " (note) } }
        }
    }
}

/// A link of a row of choices.
pub(super) fn choice(address: &str, label: &str, count: Option<u64>, chosen: bool) -> Markup {
    html! {
        a href=(address) aria-current=[chosen.then_some("true")] { (label) @if let Some(count) = count { " " span.count { (count) } } }
    }
}
