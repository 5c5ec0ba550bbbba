//! The tests of a pipeline: what fails and since when, by job, with what each said.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::id::JobId;
use rave_core::permission::ReadPipelines;
use rave_core::port::Slice;
use rave_http::page::{encode_path, encode_query};
use rave_http::{Authorized, HttpError, Page, Pagination, Params, component};

use super::pipeline_view::{PipelineTab, PipelineView};
use super::report_view::{choice, outcome_mark, place, problems};
use super::{list_view, pipelines};
use crate::findings::{Outcome, TestTotals, group_name};
use crate::model::Pipeline;
use crate::service::Ci;
use crate::store::report::Report;
use crate::store::report::test_case::{Change, History, StoredTest, TestFilter};

/// Which tests are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shown {
    #[default]
    All,
    Failing,
    New,
    Existing,
    Fixed,
    Skipped,
}

impl Shown {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::All, "", "All"),
        (Self::Failing, "failing", "Failing"),
        (Self::New, "new", "Newly failing"),
        (Self::Existing, "existing", "Still failing"),
        (Self::Fixed, "fixed", "Fixed"),
        (Self::Skipped, "skipped", "Skipped"),
    ];

    fn from_label(label: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|it| it.1 == label);
        found.map(|it| it.0)
    }

    fn label(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|it| it.0 == self);
        found.map_or("", |it| it.1)
    }
}

/// What the reader asks for.
#[derive(Clone, Debug, Default)]
struct Question {
    shown: Shown,
    text: Option<String>,
    /// The name that the copies of a job share.
    job: Option<String>,
}

impl Question {
    fn filter(&self, reports: &[Report]) -> TestFilter {
        let mut filter = TestFilter {
            text: self.text.clone(),
            jobs: self
                .job
                .as_ref()
                .map_or_else(Vec::new, |it| jobs_of(reports, it)),
            ..TestFilter::default()
        };
        match self.shown {
            Shown::All => {}
            Shown::Failing => filter.outcomes = vec![Outcome::Error, Outcome::Failed],
            Shown::Skipped => filter.outcomes = vec![Outcome::Skipped],
            Shown::New => filter.change = Some(Change::New),
            Shown::Existing => filter.change = Some(Change::Existing),
            Shown::Fixed => filter.change = Some(Change::Fixed),
        }
        filter
    }

    /// Returns the address of a question. It ends in `?` or `&`.
    fn address(&self, page: &str) -> String {
        let mut address = format!("{page}?");
        let parts = [
            ("show", Some(self.shown.label())),
            ("q", self.text.as_deref()),
            ("job", self.job.as_deref()),
        ];
        for (name, value) in parts {
            if let Some(value) = value.filter(|it| !it.is_empty()) {
                address.push_str(&format!("{name}={}&", encode_query(value)));
            }
        }
        address
    }
}

fn jobs_of(reports: &[Report], group: &str) -> Vec<JobId> {
    let own = reports
        .iter()
        .filter(|it| it.kind == "junit" && group_name(&it.job_name) == group);
    let jobs: Vec<JobId> = own.map(|it| it.job).collect();
    // A job without tests has none, rather than all.
    if jobs.is_empty() {
        vec![JobId(0)]
    } else {
        jobs
    }
}

/// Shows the tests of a pipeline.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    pagination: Pagination,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    ci.wait_for_reports(pipelines::pipeline_id(&id)?).await?;
    let view = pipelines::open(&ci, &access, &page, &id, PipelineTab::Tests).await?;
    let question = Question {
        shown: params.choice("show", Shown::from_label).unwrap_or_default(),
        text: params
            .text("q")
            .map(|it| it.trim().to_owned())
            .filter(|it| !it.is_empty()),
        job: params.text("job").filter(|it| !it.is_empty()),
    };
    let (pipeline, reports) = (&view.pipeline, &view.results.reports);
    let before = ci.base_of(&access, pipeline, &["junit"]).await?;
    let base = before.as_ref().map(|it| it.id);
    let none = Slice {
        offset: 0,
        limit: 0,
    };
    let mut changed = [0; 2];
    for (count, change) in changed.iter_mut().zip([Change::New, Change::Fixed]) {
        let filter = TestFilter {
            change: Some(change),
            base,
            ..TestFilter::default()
        };
        if base.is_some() {
            *count = ci.list_tests(pipeline, filter, none).await?.total;
        }
    }
    let filter = TestFilter {
        base,
        ..question.filter(reports)
    };
    let found = ci.list_tests(pipeline, filter, pagination.slice()).await?;
    let failing: Vec<&StoredTest> = found
        .items
        .iter()
        .filter(|it| it.case.outcome.is_failing() || it.failed_before)
        .collect();
    let history = ci.test_history(pipeline, &failing).await?;
    let tests = Tests {
        view: &view,
        before: before.as_ref(),
        new: changed[0],
        fixed: changed[1],
        history,
        question,
    };
    let pager = list_view::pager(
        &pagination,
        found.total,
        &tests.question.address(&tests.address()),
    );
    let content = tests.content(&found.items, found.total, &pager);
    Ok(pipelines::render(&page, &access, view, &content))
}

struct Tests<'a> {
    view: &'a PipelineView,
    before: Option<&'a Pipeline>,
    new: u64,
    fixed: u64,
    history: History,
    question: Question,
}

impl Tests<'_> {
    fn address(&self) -> String {
        let view = self.view;
        format!(
            "{}{}",
            view.base.pipeline(view.pipeline.id),
            PipelineTab::Tests.tail()
        )
    }

    fn content(&self, tests: &[StoredTest], total: u64, pager: &Markup) -> Markup {
        let results = &self.view.results;
        let junit = || results.reports.iter().filter(|it| it.kind == "junit");
        html! {
            (problems(&self.view.base, junit()))
            @match results.tests() {
                None => (component::empty("No test reports", &html! {
                    p { "A job shows its tests here when it names their JUnit files: " code { "artifacts: {reports: {junit: report.xml}}" } }
                })),
                Some(totals) => {
                    (self.totals(&totals))
                    (self.suites())
                    (self.filters(&totals))
                    @if tests.is_empty() { (component::empty("No such tests", &html! { p { "None of this pipeline's tests match." } })) }
                    @else {
                        p.muted.found { (total) @if total == 1 { " test" } @else { " tests" } }
                        div.tests { @for test in tests { (self.test(test)) } }
                        (pager)
                    }
                }
            }
        }
    }

    fn totals(&self, totals: &TestTotals) -> Markup {
        html! {
            section.card.totals aria-label="Summary" {
                p.figures {
                    @if totals.failing() > 0 { strong.bad { (totals.failing()) " failed" } }
                    strong.ok { (totals.success) " passed" }
                    @if totals.skipped > 0 { span.muted { (totals.skipped) " skipped" } }
                    span.muted { "in " (component::duration(totals.duration_ms)) }
                }
                (component::bar(&[("failed", totals.failing()), ("success", totals.success), ("skipped", totals.skipped)]))
                @if let Some(before) = self.before {
                    p.muted {
                        "Compared with pipeline " a href=(self.view.base.pipeline(before.id)) { "#" (before.id) }
                        @if before.ref_name != self.view.pipeline.ref_name { " of " (before.ref_name) }
                        ": "
                        @if self.new == 0 && self.fixed == 0 { "nothing changed" }
                        @else { (self.new) " newly failing, " (self.fixed) " fixed" }
                        "."
                    }
                }
            }
        }
    }

    /// The jobs with tests: one line each, copies of a parallel job together.
    fn suites(&self) -> Markup {
        let mut suites: Vec<(&str, TestTotals, JobId)> = Vec::new();
        for it in self
            .view
            .results
            .reports
            .iter()
            .filter(|it| it.kind == "junit")
        {
            let totals = it.summary.tests.unwrap_or_default();
            let name = group_name(&it.job_name);
            match suites.iter_mut().find(|it| it.0 == name) {
                Some(suite) => suite.1.merge(&totals),
                None => suites.push((name, totals, it.job)),
            }
        }
        suites.sort_by_key(|it| std::cmp::Reverse(it.1.failing()));
        html! {
            @if suites.len() > 1 || self.question.job.is_some() {
                div.table {
                    table.suites {
                        thead { tr { th { "Job" } th.number { "Failed" } th.number { "Passed" } th.number { "Skipped" } th.number { "Time" } } }
                        tbody {
                            @for (name, totals, _) in &suites {
                                @let own = Question { job: Some((*name).to_owned()), ..self.question.clone() };
                                @let chosen = self.question.job.as_deref() == Some(*name);
                                tr.chosen[chosen] {
                                    td { a href=(own.address(&self.address())) aria-current=[chosen.then_some("true")] { (name) } }
                                    td.number { @if totals.failing() > 0 { strong.bad { (totals.failing()) } } @else { "0" } }
                                    td.number { (totals.success) }
                                    td.number { (totals.skipped) }
                                    td.number { (component::duration(totals.duration_ms)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn filters(&self, totals: &TestTotals) -> Markup {
        let address = self.address();
        let count = |it: Shown| match it {
            Shown::All => Some(totals.count()),
            Shown::Failing => Some(totals.failing()),
            Shown::Skipped => Some(totals.skipped),
            Shown::New => self.before.map(|_| self.new),
            Shown::Existing => self
                .before
                .map(|_| totals.failing().saturating_sub(self.new)),
            Shown::Fixed => self.before.map(|_| self.fixed),
        };
        html! {
            div.filters {
                nav.segments aria-label="Which tests" {
                    @for (shown, _, name) in Shown::ALL {
                        @if let Some(count) = count(shown) {
                            @let own = Question { shown, ..self.question.clone() };
                            (choice(own.address(&address).trim_end_matches(['?', '&']), name, Some(count).filter(|_| self.question.job.is_none()), shown == self.question.shown))
                        }
                    }
                }
                @if let Some(job) = &self.question.job {
                    @let all = Question { job: None, ..self.question.clone() };
                    p.filtered { span.tag { (job) } a href=(all.address(&address).trim_end_matches(['?', '&'])) { "All jobs" } }
                }
                span.spring {}
                form.search action=(address) role="search" {
                    @if self.question.shown != Shown::All { input type="hidden" name="show" value=(self.question.shown.label()); }
                    @if let Some(job) = &self.question.job { input type="hidden" name="job" value=(job); }
                    input type="search" name="q" value=[self.question.text.as_deref()] placeholder="Find a test" aria-label="Find a test";
                    button { "Find" }
                }
            }
        }
    }

    fn test(&self, test: &StoredTest) -> Markup {
        let case = &test.case;
        let failing = case.outcome.is_failing();
        let history = self
            .history
            .get(&test.digest)
            .map_or(&[][..], Vec::as_slice);
        let more = !case.message.is_empty()
            || !case.output.is_empty()
            || case.attachment.is_some()
            || case.file.is_some();
        let head = html! {
            (outcome_mark(case.outcome))
            span.what {
                span.title { (case.name) }
                span.sub { (case.class) }
            }
            @if failing && self.before.is_some() && !test.failed_before { span.tag.new { "new" } }
            @if test.failed_before && case.outcome == Outcome::Success { span.tag.fixed { "fixed" } }
            @if is_flaky(history) { span.tag.warn { "flaky" } }
            @if history.len() > 1 { (self.history(history)) }
            span.took { (component::duration(case.duration_ms)) }
        };
        html! {
            @if more {
                details.test.(format!("is-{}", case.outcome.label())) open[failing && self.question.shown != Shown::All] {
                    summary { (head) }
                    div.body {
                        p.facts {
                            span { "Job " a href=(self.view.base.job(test.job)) { (test.job_name) } }
                            @if !case.suite.is_empty() { span { "Suite " (case.suite) } }
                            @if let Some(file) = &case.file { (place(&self.view.base, &self.view.pipeline.sha, file, case.line)) }
                            @if let Some(path) = &case.attachment { a href={ (self.view.base.job(test.job)) "/artifacts/file/" (encode_path(path)) } { "Attachment" } }
                        }
                        @if !case.message.is_empty() { pre.said tabindex="0" { (case.message) } }
                        @if !case.output.is_empty() { h3 { "Output" } pre.said tabindex="0" { (case.output) } }
                    }
                }
            } @else {
                div.test.plain-test.(format!("is-{}", case.outcome.label())) { (head) }
            }
        }
    }

    /// How the test ended in the last pipelines, the oldest first.
    fn history(&self, history: &[(rave_core::id::PipelineId, Outcome)]) -> Markup {
        html! {
            span.history role="group" aria-label="Last pipelines" {
                @for (pipeline, outcome) in history.iter().rev() {
                    @let says = format!("#{pipeline}: {}", outcome.label());
                    a.(format!("is-{}", outcome.label())) href={ (self.view.base.pipeline(*pipeline)) (PipelineTab::Tests.tail()) } title=(says) aria-label=(says) {}
                }
            }
        }
    }
}

/// Whether a test went back and forth: it failed, passed and failed again, or the other way round.
fn is_flaky(history: &[(rave_core::id::PipelineId, Outcome)]) -> bool {
    let failed = history
        .iter()
        .filter(|it| it.1 != Outcome::Skipped)
        .map(|it| it.1.is_failing());
    let failed: Vec<bool> = failed.collect();
    failed.windows(2).filter(|it| it[0] != it[1]).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_core::id::PipelineId;

    #[test]
    fn a_test_that_goes_back_and_forth_is_flaky() {
        use Outcome::{Error, Failed, Skipped, Success};
        let check = |outcomes: &[Outcome], expected| {
            let history: Vec<_> = outcomes.iter().map(|it| (PipelineId(1), *it)).collect();
            assert_eq!(is_flaky(&history), expected, "{outcomes:?}");
        };
        check(&[Failed, Success, Failed], true);
        check(&[Success, Error, Skipped, Success], true);
        check(&[Failed, Failed, Success], false);
        check(&[], false);
    }

    #[test]
    fn questions_are_kept_in_addresses() {
        let question = Question {
            shown: Shown::New,
            text: Some("a b".into()),
            job: Some("unit & more".into()),
        };
        assert_eq!(
            question.address("/p"),
            "/p?show=new&q=a%20b&job=unit%20%26%20more&"
        );
        assert_eq!(Question::default().address("/p"), "/p?");
    }
}
