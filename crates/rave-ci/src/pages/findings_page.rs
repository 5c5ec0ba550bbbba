//! What tools do not like about a pipeline's commit: security and quality, the worst first, new ones marked.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::permission::ReadPipelines;
use rave_core::port::Page as ListPage;
use rave_http::page::encode_query;
use rave_http::{Authorized, HttpError, Page, Pagination, Params, component};

use super::pipeline_view::{PipelineTab, PipelineView, has_findings};
use super::report_view::{choice, findings_in_words, kind_name, place, problems};
use super::{list_view, pipelines};
use crate::findings::Severity;
use crate::model::Pipeline;
use crate::service::Ci;
use crate::store::report::finding::{FindingFilter, StoredFinding};

/// What the reader asks for.
#[derive(Clone, Debug, Default)]
struct Question {
    /// `new` or `fixed`, compared with the pipeline before.
    state: Option<&'static str>,
    kind: Option<String>,
    severity: Option<Severity>,
    text: Option<String>,
}

impl Question {
    /// Returns the address of a question. It ends in `?` or `&`.
    fn address(&self, page: &str) -> String {
        let mut address = format!("{page}?");
        let parts = [
            ("state", self.state),
            ("kind", self.kind.as_deref()),
            ("severity", self.severity.map(Severity::label)),
            ("q", self.text.as_deref()),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                address.push_str(&format!("{name}={}&", encode_query(value)));
            }
        }
        address
    }
}

/// Shows the findings of a pipeline.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    pagination: Pagination,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    ci.wait_for_reports(pipelines::pipeline_id(&id)?).await?;
    let view = pipelines::open(&ci, &access, &page, &id, PipelineTab::Findings).await?;
    let text = |it: Option<String>| {
        it.map(|it| it.trim().to_owned())
            .filter(|it| !it.is_empty())
    };
    let question = Question {
        state: params.choice("state", |it| {
            ["new", "fixed"].into_iter().find(|state| *state == it)
        }),
        kind: text(params.text("kind")),
        severity: params.choice("severity", Severity::from_label),
        text: text(params.text("q")),
    };
    let mut kinds: Vec<&str> = view
        .results
        .reports
        .iter()
        .map(|it| it.kind.as_str())
        .collect();
    kinds.retain(|it| has_findings(it));
    kinds.sort_unstable();
    kinds.dedup();
    let own = view.pipeline.id;
    let before = match kinds.is_empty() {
        true => None,
        false => ci.base_of(&access, &view.pipeline, &kinds).await?,
    };
    let base = before.as_ref().map(|it| it.id);
    let unknown = |base| FindingFilter {
        known: Some(false),
        base,
        ..FindingFilter::default()
    };
    let sum = |counts: BTreeMap<(String, Severity), u64>| counts.into_values().sum::<u64>();
    let (mut new, mut fixed) = (0, 0);
    if let Some(base) = base {
        new = sum(ci.count_findings(own, unknown(Some(base))).await?);
        fixed = sum(ci.count_findings(base, unknown(Some(own))).await?);
    }
    let filter = FindingFilter {
        kinds: question.kind.iter().cloned().collect(),
        severities: question.severity.into_iter().collect(),
        text: question.text.clone(),
        known: question.state.map(|_| false),
        base,
    };
    let found = match (question.state, base) {
        (Some("fixed"), Some(base)) => {
            let filter = FindingFilter {
                base: Some(own),
                ..filter
            };
            ci.list_findings(base, filter, pagination.slice()).await?
        }
        (Some(_), None) => ListPage {
            items: Vec::new(),
            total: 0,
        },
        _ => ci.list_findings(own, filter, pagination.slice()).await?,
    };
    let findings = Findings {
        counts: ci.count_findings(own, FindingFilter::default()).await?,
        view: &view,
        before: before.as_ref(),
        new,
        fixed,
        question,
    };
    let pager = list_view::pager(
        &pagination,
        found.total,
        &findings.question.address(&findings.address()),
    );
    let content = findings.content(&kinds, &found, &pager);
    Ok(pipelines::render(&page, &access, view, &content))
}

struct Findings<'a> {
    view: &'a PipelineView,
    counts: BTreeMap<(String, Severity), u64>,
    before: Option<&'a Pipeline>,
    new: u64,
    fixed: u64,
    question: Question,
}

impl Findings<'_> {
    fn address(&self) -> String {
        let view = self.view;
        format!(
            "{}{}",
            view.base.pipeline(view.pipeline.id),
            PipelineTab::Findings.tail()
        )
    }

    fn content(&self, kinds: &[&str], found: &ListPage<StoredFinding>, pager: &Markup) -> Markup {
        let reports = || {
            self.view
                .results
                .reports
                .iter()
                .filter(|it| has_findings(&it.kind))
        };
        html! {
            (problems(&self.view.base, reports()))
            @if kinds.is_empty() {
                (component::empty("No findings", &html! {
                    p { "Linters and scanners show what they find here when a job names their reports: " code { "artifacts: {reports: {codequality: gl-code-quality-report.json}}" } }
                }))
            } @else {
                (self.totals())
                (self.filters(kinds))
                @if found.items.is_empty() { (component::empty("Nothing here", &html! { p { @if self.counts.is_empty() { "The tools found nothing." } @else { "None of the findings match." } } })) }
                @else {
                    p.muted.found { (found.total) @if found.total == 1 { " finding" } @else { " findings" } }
                    div.tests { @for it in &found.items { (self.finding(it)) } }
                    (pager)
                }
            }
        }
    }

    fn by_severity(&self) -> BTreeMap<Severity, u64> {
        let mut all = BTreeMap::new();
        for ((_, severity), count) in &self.counts {
            *all.entry(*severity).or_insert(0) += count;
        }
        all
    }

    fn totals(&self) -> Markup {
        let by_severity = self.by_severity();
        let parts: Vec<(&str, u64)> = by_severity
            .iter()
            .map(|(it, count)| (it.label(), *count))
            .collect();
        html! {
            section.card.totals aria-label="Summary" {
                p.figures { strong { (findings_in_words(by_severity.iter().map(|(it, count)| (*it, *count)))) } }
                @if !parts.is_empty() { (component::bar(&parts)) }
                @if let Some(before) = self.before {
                    p.muted {
                        "Compared with pipeline " a href=(self.view.base.pipeline(before.id)) { "#" (before.id) }
                        @if before.ref_name != self.view.pipeline.ref_name { " of " (before.ref_name) }
                        ": " (self.new) " new, " (self.fixed) " fixed."
                    }
                }
            }
        }
    }

    fn filters(&self, kinds: &[&str]) -> Markup {
        let page = self.address();
        let to = |it: &Question| it.address(&page).trim_end_matches(['?', '&']).to_owned();
        let of_kind = |kind: &str| {
            self.counts
                .iter()
                .filter(|it| it.0.0 == kind)
                .map(|it| it.1)
                .sum::<u64>()
        };
        html! {
            div.filters {
                @if self.before.is_some() {
                    nav.segments aria-label="New or fixed" {
                        (choice(&to(&Question { state: None, ..self.question.clone() }), "All", None, self.question.state.is_none()))
                        (choice(&to(&Question { state: Some("new"), ..self.question.clone() }), "New", Some(self.new), self.question.state == Some("new")))
                        (choice(&to(&Question { state: Some("fixed"), ..self.question.clone() }), "Fixed", Some(self.fixed), self.question.state == Some("fixed")))
                    }
                }
                @if kinds.len() > 1 || self.question.kind.is_some() {
                    nav.segments aria-label="Kinds" {
                        (choice(&to(&Question { kind: None, ..self.question.clone() }), "All kinds", None, self.question.kind.is_none()))
                        @for kind in kinds {
                            (choice(&to(&Question { kind: Some((*kind).to_owned()), ..self.question.clone() }), kind_name(kind), Some(of_kind(kind)), self.question.kind.as_deref() == Some(*kind)))
                        }
                    }
                }
                span.spring {}
                form.search action=(page) role="search" {
                    @if let Some(state) = self.question.state { input type="hidden" name="state" value=(state); }
                    @if let Some(kind) = &self.question.kind { input type="hidden" name="kind" value=(kind); }
                    select name="severity" aria-label="Severity" {
                        option value="" { "Any severity" }
                        @for it in Severity::ALL { option value=(it.label()) selected[self.question.severity == Some(it)] { (it.label()) } }
                    }
                    input type="search" name="q" value=[self.question.text.as_deref()] placeholder="Find" aria-label="Find a finding";
                    button { "Find" }
                }
            }
        }
    }

    fn finding(&self, stored: &StoredFinding) -> Markup {
        let it = &stored.finding;
        let fixed = self.question.state == Some("fixed");
        // A fixed finding is at the commit that had it.
        let sha = match (fixed, self.before) {
            (true, Some(before)) => &before.sha,
            _ => &self.view.pipeline.sha,
        };
        html! {
            details.test.finding.(format!("is-{}", it.severity.label())) {
                summary {
                    span.severity.(format!("is-{}", it.severity.label())) { (it.severity.label()) }
                    span.what {
                        span.title { (it.title) }
                        span.sub { (place(&self.view.base, sha, &it.path, it.line)) }
                    }
                    @if fixed { span.tag.fixed { "fixed" } }
                    @else if self.before.is_some() && !stored.known { span.tag.new { "new" } }
                    span.tag.hide-small { (kind_name(&stored.kind)) }
                }
                div.body {
                    p.facts {
                        @if !it.identifier.is_empty() { span { @if let Some(link) = &it.link { a href=(link) rel="nofollow noopener" { (it.identifier) } } @else { (it.identifier) } } }
                        @if !it.scanner.is_empty() { span { "Found by " (it.scanner) } }
                        span { "Job " a href=(self.view.base.job(stored.job)) { (stored.job_name) } }
                    }
                    @if !it.description.is_empty() { p.prose { (it.description) } }
                    @if !it.solution.is_empty() { h3 { "What to do" } p.prose { (it.solution) } }
                }
            }
        }
    }
}
