//! How much of the code the tests of a pipeline ran: what logs told, and the lines of each file.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::permission::ReadPipelines;
use rave_http::{Authorized, HttpError, Page, Params, component};

use super::pipeline_view::{PipelineTab, PipelineView};
use super::report_view::{place, problems};
use super::{pipelines, words};
use crate::findings::{FileCoverage, percentage};
use crate::model::Pipeline;
use crate::service::Ci;

/// Most files of one page. The API has all.
const SHOWN: usize = 1000;

/// Shows the coverage of a pipeline.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    ci.wait_for_reports(pipelines::pipeline_id(&id)?).await?;
    let view = pipelines::open(&ci, &access, &page, &id, PipelineTab::Coverage).await?;
    let before = ci
        .base_of(&access, &view.pipeline, &["cobertura", "jacoco"])
        .await?;
    let old = match &before {
        Some(before) => ci.covered_files(before.id).await?,
        None => Vec::new(),
    };
    let old: BTreeMap<&str, f64> = old
        .iter()
        .map(|it| (it.path.as_str(), it.percentage()))
        .collect();
    let mut files = ci.covered_files(view.pipeline.id).await?;
    let by_path = params.text("sort").as_deref() == Some("path");
    if !by_path {
        let uncovered = |it: &FileCoverage| it.lines - it.covered;
        files.sort_by(|left, right| {
            uncovered(right)
                .cmp(&uncovered(left))
                .then_with(|| left.path.cmp(&right.path))
        });
    }
    let coverage = Coverage {
        view: &view,
        before: before.as_ref(),
        old: &old,
        by_path,
    };
    let content = coverage.content(&files);
    Ok(pipelines::render(&page, &access, view, &content))
}

struct Coverage<'a> {
    view: &'a PipelineView,
    before: Option<&'a Pipeline>,
    /// The percentages of files in the pipeline before.
    old: &'a BTreeMap<&'a str, f64>,
    by_path: bool,
}

impl Coverage<'_> {
    fn content(&self, files: &[FileCoverage]) -> Markup {
        let view = self.view;
        let reports = || {
            view.results
                .reports
                .iter()
                .filter(|it| matches!(it.kind.as_str(), "cobertura" | "jacoco"))
        };
        let told: Vec<_> = view
            .jobs
            .iter()
            .filter_map(|it| Some((it, it.coverage?)))
            .collect();
        html! {
            (problems(&view.base, reports()))
            @if files.is_empty() && told.is_empty() {
                (component::empty("No coverage", &html! {
                    p { "Name the percentage that a job's log ends with by " code { "coverage: '/TOTAL.* (\\d+)%/'" } ", or a report with lines by " code { "artifacts: {reports: {coverage_report: {coverage_format: cobertura, path: coverage.xml}}}" } }
                }))
            }
            @if !told.is_empty() {
                section.card.totals aria-label="Told by logs" {
                    p.figures { @if let Some(mean) = view.results.coverage { strong { (words::percent(mean)) } span.muted { "told by " (told.len()) @if told.len() == 1 { " log" } @else { " logs" } } } }
                    @if told.len() > 1 { ul.plain { @for (job, coverage) in told { li { a href=(view.base.job(job.id)) { (job.name) } " " strong { (words::percent(coverage)) } } } } }
                }
            }
            @if !files.is_empty() { (self.files(files)) }
        }
    }

    fn files(&self, files: &[FileCoverage]) -> Markup {
        let (lines, covered) = files.iter().fold((0, 0), |(lines, covered), it| {
            (lines + it.lines, covered + it.covered)
        });
        let share = |it: i64| u64::try_from(it).unwrap_or(0);
        html! {
            section.card.totals aria-label="Lines" {
                p.figures {
                    strong { (words::percent(percentage(covered, lines))) }
                    span.muted { (covered) " of " (lines) " lines in " (files.len()) @if files.len() == 1 { " file" } @else { " files" } }
                }
                (component::bar(&[("success", share(covered)), ("failed", share(lines - covered))]))
                @if let Some(before) = self.before { p.muted { "Compared with pipeline " a href=(self.view.base.pipeline(before.id)) { "#" (before.id) } "." } }
            }
            nav.segments.order aria-label="Order" {
                a href="?" aria-current=[(!self.by_path).then_some("true")] { "Most missing first" }
                a href="?sort=path" aria-current=[self.by_path.then_some("true")] { "By path" }
            }
            div.table.covered {
                table {
                    thead { tr { th { "File" } th.number { "Covered" } th.hide-small { "" } th.number.hide-small { "Lines" } th.hide-small { "Missing lines" } } }
                    tbody { @for it in files.iter().take(SHOWN) { (self.file(it)) } }
                }
            }
            @if files.len() > SHOWN { p.muted { (files.len() - SHOWN) " more files are not shown; the API has them all." } }
        }
    }

    fn file(&self, it: &FileCoverage) -> Markup {
        let now = it.percentage();
        let change = self
            .old
            .get(it.path.as_str())
            .map(|old| now - old)
            .filter(|it| it.abs() >= 0.05);
        let share = |it: i64| u64::try_from(it).unwrap_or(0);
        html! {
            tr {
                td { (place(&self.view.base, &self.view.pipeline.sha, &it.path, None)) }
                td.number {
                    (words::percent(now))
                    @if let Some(change) = change { " " span.(if change > 0.0 { "added" } else { "removed" }) { (format!("{change:+.1}")) } }
                }
                td.hide-small { (component::bar(&[("success", share(it.covered)), ("failed", share(it.lines - it.covered))])) }
                td.number.hide-small { (it.covered) "/" (it.lines) }
                td.hide-small.missed { (it.missed) }
            }
        }
    }
}
