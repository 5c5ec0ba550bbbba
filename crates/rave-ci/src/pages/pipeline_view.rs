//! How one pipeline looks: its head, its tabs, and the tab with graph and jobs.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rave_core::id::JobId;
use rave_core::job::{Status, When};
use rave_core::pipeline::Graph;
use rave_core::time::Timestamp;
use rave_core::waiting::{Outside, Reason, Waiting};
use rave_http::component;
use rave_http::page::encode_path;

use super::base::{Base, People, short};
use super::words;
use crate::findings::{SECURITY, TestTotals};
use crate::model::{Job, Pipeline};
use crate::service::links::{Link, Links};
use crate::store::report::Report;

/// How many jobs the first tab lists below the graph. More have a tab of their own, and only that.
pub(super) const LISTED: usize = 100;

/// A pipeline with everything its page shows.
pub(super) struct PipelineView {
    /// Which of its pages this is.
    pub(super) tab: PipelineTab,
    pub(super) base: Base,
    pub(super) pipeline: Pipeline,
    /// The present tries, by position.
    pub(super) jobs: Vec<Job>,
    /// Earlier tries, by position, the oldest first.
    pub(super) retried: BTreeMap<usize, Vec<Job>>,
    /// The jobs as the state machine sees them.
    pub(super) graph: Graph,
    /// Which jobs need each job.
    pub(super) needed_by: Vec<Vec<usize>>,
    /// Why each job waits.
    pub(super) reasons: Vec<Option<Reason>>,
    pub(super) people: People,
    /// The pipeline that this one came from.
    pub(super) upstream: Option<Link>,
    /// The pipelines that came from this one.
    pub(super) links: Links,
    pub(super) commit_title: String,
    /// Errors and notices with the text of the file they are about.
    pub(super) sources: Vec<(String, String)>,
    pub(super) results: Results,
    pub(super) now: Timestamp,
}

/// What a pipeline found out, as far as tabs tell it.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    pub(super) reports: Vec<Report>,
    pub(super) coverage: Option<f64>,
    /// Artifacts that the file wants shown with the pipeline.
    pub(super) exposed: Vec<Exposed>,
    /// Whether there may be more soon.
    pub(super) unread: bool,
}

/// An artifact under the name that `artifacts:expose_as` gives it.
#[derive(Clone, Debug)]
pub(super) struct Exposed {
    pub(super) job: JobId,
    pub(super) job_name: String,
    pub(super) name: String,
    pub(super) paths: Vec<String>,
}

impl Results {
    /// Returns the counts of all tests, `None` without test reports.
    pub(super) fn tests(&self) -> Option<TestTotals> {
        let reports = self.reports.iter().filter(|it| it.kind == "junit");
        reports.fold(None, |all: Option<TestTotals>, it| {
            let mut all = all.unwrap_or_default();
            all.merge(&it.summary.tests.unwrap_or_default());
            Some(all)
        })
    }

    /// Returns the number of findings, `None` without such reports.
    fn findings(&self) -> Option<u64> {
        let reports = self.reports.iter().filter(|it| has_findings(&it.kind));
        reports.fold(None, |all: Option<u64>, it| {
            let own = it.summary.findings.iter().flat_map(|it| it.values());
            Some(all.unwrap_or(0) + own.sum::<u64>())
        })
    }

    fn has_coverage(&self) -> bool {
        let measured = |it: &Report| matches!(it.kind.as_str(), "cobertura" | "jacoco");
        self.coverage.is_some() || self.reports.iter().any(measured)
    }

    fn has_lists(&self) -> bool {
        self.reports.iter().any(|it| !it.summary.entries.is_empty())
    }
}

/// Whether reports of a kind hold findings.
pub(super) fn has_findings(kind: &str) -> bool {
    SECURITY.contains(&kind) || matches!(kind, "codequality" | "accessibility")
}

/// The tabs of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PipelineTab {
    Graph,
    Jobs,
    Needs,
    Tests,
    Findings,
    Coverage,
    Lists,
}

impl PipelineTab {
    const ALL: [Self; 7] = [
        Self::Graph,
        Self::Jobs,
        Self::Needs,
        Self::Tests,
        Self::Findings,
        Self::Coverage,
        Self::Lists,
    ];

    /// Returns what its address adds to the pipeline's.
    pub(super) const fn tail(self) -> &'static str {
        match self {
            Self::Graph => "",
            Self::Jobs => "/builds",
            Self::Needs => "/needs",
            Self::Tests => "/test_report",
            Self::Findings => "/findings",
            Self::Coverage => "/coverage",
            Self::Lists => "/reports",
        }
    }

    /// Returns the tab with this end of an address; the first for any other.
    pub(super) fn of_tail(tail: &str) -> Self {
        let found = Self::ALL.into_iter().find(|it| it.tail() == tail);
        found.unwrap_or(Self::Graph)
    }
}

/// Returns why each job waits.
pub(super) fn reasons(graph: &Graph, outside: &[Outside]) -> Vec<Option<Reason>> {
    let waiting = Waiting::new(graph);
    let jobs = outside.iter().enumerate();
    jobs.map(|(at, outside)| waiting.reason(at, outside))
        .collect()
}

impl PipelineView {
    /// The first tab: the graph, and the list of jobs unless there are too many.
    pub(super) fn first_tab(&self) -> Markup {
        html! {
            (self.errors())
            (self.notices())
            @if self.jobs.is_empty() {
                @if self.pipeline.errors.is_empty() { (component::empty("No jobs", &html! { p { "The rules of the file leave no job for this event." } })) }
            } @else {
                (self.graph())
                (self.family())
                (self.exposed())
                @if self.jobs.len() <= LISTED { (self.job_list()) }
            }
        }
    }

    /// The page around a tab's content. `live` is where changes come from while it is not finished.
    pub(super) fn page(&self, content: &Markup, live: Option<&str>) -> Markup {
        html! {
            div.wide data-live=[live] {
                (component::status_symbols())
                (self.head())
                (self.tabs())
                (content)
            }
        }
    }

    /// Returns the parts that change, by the id of their element.
    pub(super) fn parts(&self) -> Vec<(String, String)> {
        let mut parts = vec![
            ("pipeline-head".to_owned(), self.head().into_string()),
            ("pipeline-tabs".to_owned(), self.tabs().into_string()),
        ];
        match self.tab {
            PipelineTab::Graph => {
                self.graph_parts(&mut parts);
                if self.jobs.len() <= LISTED {
                    self.row_parts(&mut parts);
                }
                parts.push(("pipeline-family".to_owned(), self.family().into_string()));
                parts.push(("pipeline-exposed".to_owned(), self.exposed().into_string()));
            }
            PipelineTab::Jobs => self.row_parts(&mut parts),
            PipelineTab::Needs => self.need_parts(&mut parts),
            PipelineTab::Tests
            | PipelineTab::Findings
            | PipelineTab::Coverage
            | PipelineTab::Lists => {}
        }
        parts
    }

    /// Why a job waits, in words.
    pub(super) fn why(&self, at: usize) -> Option<String> {
        let reason = self.reasons.get(at)?.as_ref()?;
        Some(reason.sentence(|it| self.jobs[it].name.as_str(), |it| self.stage(it)))
    }

    pub(super) fn stage(&self, at: usize) -> &str {
        self.pipeline.stages.get(at).map_or("", String::as_str)
    }

    fn head(&self) -> Markup {
        let it = &self.pipeline;
        let title = it.name.as_deref().unwrap_or(&self.commit_title);
        html! {
            header.ci-head #pipeline-head {
                div.head {
                    (component::status_badge(it.status))
                    h1 { @if title.is_empty() { "Pipeline #" (it.id) } @else { (title) } }
                    span.spring {}
                    div.row.actions { (self.actions()) }
                }
                p.facts {
                    span { "Pipeline " strong { "#" (it.id) } }
                    span { @if it.tag { "Tag " } @else { "Branch " } a.ref href=(self.base.tree(&it.ref_name)) { (it.ref_name) } }
                    span { "Commit " a.mono href=(self.base.commit(&it.sha)) { (short(&it.sha)) } }
                    @if let Some(name) = self.people.name(it.user) { span { "By " (name) } }
                    span { (component::time(it.created_at)) " by " (it.source.label()) }
                    @if it.started_at.is_some() { span { (words::past(it.status)) " " @if it.status.is_finished() { "in " } @else { "for " } (words::elapsed(it.started_at, it.finished_at, self.now)) } }
                    @if let Some(newer) = it.auto_canceled_by { span { "Made redundant by " a href=(self.base.pipeline(newer)) { "#" (newer) } } }
                    span { (self.jobs.len()) @if self.jobs.len() == 1 { " job" } @else { " jobs" } }
                    span { a href={ (self.base.pipeline(it.id)) "/explain" } { "Why these jobs?" } }
                }
            }
        }
    }

    fn tabs(&self) -> Markup {
        let current = self.tab;
        let address = self.base.pipeline(self.pipeline.id);
        let link = |tab: PipelineTab, name: &str, count: Option<(String, bool)>| {
            html! {
                a href={ (address) (tab.tail()) } aria-current=[(tab == current).then_some("page")] {
                    (name)
                    @if let Some((count, bad)) = count { " " span.count.bad[bad] { (count) } }
                }
            }
        };
        let results = &self.results;
        let tests = results.tests().map(|it| match it.failing() {
            0 => (it.count().to_string(), false),
            failing => (format!("{failing} of {}", it.count()), true),
        });
        let findings = results.findings().map(|it| (it.to_string(), false));
        let coverage = results.coverage.map(|it| (words::percent(it), false));
        let has_needs = self.graph.nodes.iter().any(|it| it.needs.is_some());
        html! {
            nav.tabs.inner #pipeline-tabs aria-label="Pipeline" {
                (link(PipelineTab::Graph, "Graph", None))
                (link(PipelineTab::Jobs, "Jobs", Some((self.jobs.len().to_string(), false))))
                @if has_needs || current == PipelineTab::Needs { (link(PipelineTab::Needs, "Needs", None)) }
                @if tests.is_some() || current == PipelineTab::Tests { (link(PipelineTab::Tests, "Tests", tests)) }
                @if findings.is_some() || current == PipelineTab::Findings { (link(PipelineTab::Findings, "Findings", findings)) }
                @if results.has_coverage() || current == PipelineTab::Coverage { (link(PipelineTab::Coverage, "Coverage", coverage)) }
                @if results.has_lists() || current == PipelineTab::Lists { (link(PipelineTab::Lists, "Other reports", None)) }
            }
        }
    }

    fn actions(&self) -> Markup {
        let address = self.base.pipeline(self.pipeline.id);
        let again = self.jobs.iter().any(|it| {
            it.is_retryable() && matches!(it.status(), Status::Failed | Status::Canceled)
        });
        let running =
            self.jobs.iter().any(Job::is_cancelable) && !self.pipeline.status.is_finished();
        html! {
            @if self.base.may_run {
                @if again { (self.base.button(&format!("{address}/retry"), "Retry failed jobs", "primary", None)) }
                @if running { (self.base.button(&format!("{address}/cancel"), "Cancel", "danger", Some("Cancel all jobs of this pipeline that have not ended?"))) }
            }
        }
    }

    fn exposed(&self) -> Markup {
        html! {
            div #pipeline-exposed {
                @if !self.results.exposed.is_empty() {
                    section.card.exposed aria-label="Exposed artifacts" {
                        h2 { "Artifacts" }
                        ul.plain {
                            @for it in &self.results.exposed {
                                li {
                                    a href=(self.exposed_address(it)) { (it.name) }
                                    span.muted { "of " a href=(self.base.job(it.job)) { (it.job_name) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// One file is shown itself, a folder or several paths by browsing.
    fn exposed_address(&self, it: &Exposed) -> String {
        let artifacts = format!("{}/artifacts", self.base.job(it.job));
        match it.paths.as_slice() {
            [path] if path.ends_with('/') => {
                format!(
                    "{artifacts}/browse/{}",
                    encode_path(path.trim_end_matches('/'))
                )
            }
            [path] => format!(
                "{artifacts}/file/{}",
                encode_path(path.trim_start_matches("./"))
            ),
            _ => format!("{artifacts}/browse"),
        }
    }
}

/// What is special about a job. A manual one may fail because nobody need start it, which goes without saying.
pub(super) fn kind_tag(job: &Job) -> Markup {
    html! {
        @if job.when == When::Manual { span.tag { "manual" } }
        @else if job.allow_failure { span.tag { "may fail" } }
    }
}

/// The one thing that a reader most likely wants to do with a job.
pub(super) fn job_button(base: &Base, job: &Job) -> Markup {
    let address = base.job(job.id);
    html! {
        @if job.is_playable() { (base.button(&format!("{address}/play"), "Start", "primary", None)) }
        @else if job.is_cancelable() { (base.button(&format!("{address}/cancel"), "Cancel", "danger", None)) }
        @else if job.is_retryable() { (base.button(&format!("{address}/retry"), "Retry", "plain", None)) }
    }
}
