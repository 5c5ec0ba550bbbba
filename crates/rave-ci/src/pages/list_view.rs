//! How the lists of pipelines and jobs look.

use maud::{Markup, html};
use rave_core::id::PipelineId;
use rave_core::job::Status;
use rave_core::time::Timestamp;
use rave_http::{Pagination, component};

use super::base::{Base, People, short};
use super::pipeline_view::job_button;
use super::words;
use crate::model::{Job, Pipeline};

/// A file that makes a pipeline anywhere.
const EXAMPLE: &str = "stages: [test, build]

lint:
  stage: test
  script:
    - echo \"checking…\"

build:
  stage: build
  script:
    - make
  artifacts:
    paths: [dist/]
";

/// A pipeline in a list.
pub(super) struct PipelineRow {
    pub(super) pipeline: Pipeline,
    pub(super) commit_title: String,
    /// The stages that have jobs.
    pub(super) stages: Vec<(String, Status)>,
}

/// The list of pipelines.
pub(super) fn pipelines(
    base: &Base,
    rows: &[PipelineRow],
    people: &People,
    filter: Option<&str>,
    now: Timestamp,
) -> Markup {
    html! {
        div.head {
            h1 { "Pipelines" }
            span.spring {}
            a.button href={ (base.href) "/-/pipeline_schedules" } { "Schedules" }
            @if base.may_run { a.button.primary href={ (base.pipelines()) "/new" } { "Run pipeline" } }
        }
        @if let Some(name) = filter {
            p.filtered { span.tag { (name) } a href=(base.pipelines()) { "Show all" } }
        }
        @if rows.is_empty() && filter.is_none() {
            (component::empty("No pipelines yet", &html! {
                p { "Add a file " code { ".gitlab-ci.yml" } " to the repository and push it. Every push then runs its jobs. For example:" }
                (component::command(EXAMPLE))
            }))
        } @else if rows.is_empty() {
            (component::empty("No such pipelines", &html! { p { "None of this project's pipelines match." } }))
        } @else {
            ul.list.pipelines { @for row in rows { (pipeline_row(base, row, people, now)) } }
        }
    }
}

fn pipeline_row(base: &Base, row: &PipelineRow, people: &People, now: Timestamp) -> Markup {
    let it = &row.pipeline;
    let address = base.pipeline(it.id);
    let title = it.name.as_deref().unwrap_or(&row.commit_title);
    html! {
        li {
            span.state { (component::status_badge(it.status)) }
            span.what {
                a.title href=(address) { @if title.is_empty() { "Pipeline #" (it.id) } @else { (title) } }
                span.facts {
                    a href=(address) { "#" (it.id) }
                    a.ref href={ (base.pipelines()) "?ref=" (rave_http::page::encode_query(&it.ref_name)) } { @if it.tag { "tag " } (it.ref_name) }
                    a.mono href=(base.commit(&it.sha)) { (short(&it.sha)) }
                    @if let Some(name) = people.name(it.user) { span { (name) } }
                    @if it.failure.is_some() { span.bad { "file is not valid" } }
                }
            }
            span.stages {
                @for (name, status) in &row.stages {
                    a href=(address) title={ (name) ": " (status.label()) } aria-label={ (name) ": " (status.label()) } { (component::status_dot(*status)) }
                }
            }
            span.when {
                @if it.started_at.is_some() { span { (words::elapsed(it.started_at, it.finished_at, now)) } }
                span.muted { (component::time(it.created_at)) }
            }
        }
    }
}

/// The list of jobs.
pub(super) fn jobs(
    base: &Base,
    rows: &[Job],
    people: &People,
    filter: Option<&str>,
    now: Timestamp,
) -> Markup {
    let scopes = [
        (None, "All"),
        (Some("pending"), "Pending"),
        (Some("running"), "Running"),
        (Some("finished"), "Finished"),
    ];
    let address = format!("{}/-/jobs", base.href);
    html! {
        div.head {
            h1 { "Jobs" }
            span.spring {}
            nav.segments aria-label="Which jobs" {
                @for (scope, label) in scopes {
                    @let target = scope.map_or_else(|| address.clone(), |it| format!("{address}?scope={it}"));
                    a href=(target) aria-current=[(scope == filter).then_some("true")] { (label) }
                }
            }
        }
        @if rows.is_empty() {
            (component::empty("No jobs", &html! {
                p { @if filter.is_some() { "No job of this project is in that state." } @else { "Jobs appear here once a pipeline runs." } }
                p { a href=(base.pipelines()) { "Go to the pipelines" } }
            }))
        } @else {
            ul.list.pipelines.jobs { @for job in rows { (job_row(base, job, people, now)) } }
        }
    }
}

fn job_row(base: &Base, job: &Job, people: &People, now: Timestamp) -> Markup {
    html! {
        li {
            span.state { (component::status_badge(job.status())) }
            span.what {
                a.title href=(base.job(job.id)) { (job.name) }
                span.facts {
                    a href=(base.job(job.id)) { "#" (job.id) }
                    span { (job.stage) }
                    a href=(base.pipeline(job.pipeline)) { "pipeline #" (job.pipeline) }
                    @if let Some(name) = people.name(job.user) { span { (name) } }
                    @if job.retried { span { "retried" } }
                    @if let Some(outcome) = words::outcome(job) { span.bad[job.status() == Status::Failed] { (outcome) } }
                }
            }
            span.when {
                span { (words::ran(job, now)) }
                span.muted { (component::time(job.finished_at.or(job.started_at).unwrap_or(job.created_at))) }
            }
            @if base.may_run { (job_button(base, job)) }
        }
    }
}

/// Names a pipeline for a title.
pub(super) fn pipeline_title(id: PipelineId) -> String {
    format!("Pipeline #{id}")
}

/// Links to the page before and after. `address` ends in `?` or `&`.
pub(super) fn pager(page: &Pagination, total: u64, address: &str) -> Markup {
    let last = total.div_ceil(page.per_page).max(1);
    html! {
        @if last > 1 {
            nav.pager aria-label="Pages" {
                @if page.page > 1 { a.button rel="prev" href={ (address) "page=" (page.page - 1) } { "Newer" } }
                span.muted { "Page " (page.page) " of " (last) }
                @if page.page < last { a.button rel="next" href={ (address) "page=" (page.page + 1) } { "Older" } }
            }
        }
    }
}
