//! How one job looks: its head, the log in the middle, and the facts beside it.

use maud::{Markup, html};
use rave_core::job::{JobState, Status};
use rave_core::port::JobCacheUse;
use rave_core::time::Timestamp;
use rave_core::waiting::Reason;
use rave_http::component;
use rave_http::page::encode_query;

use super::base::{Base, People, short};
use super::input_fields::InputFields;
use super::pipeline_view::kind_tag;
use super::{report_view, words};
use crate::model::{Artifact, Job, Pipeline, Runner};
use crate::service::links::Links;
use crate::store::report::Report;
use crate::store::resource::Wait;
use crate::usage::Usage;

/// A job with everything its page shows, the log excepted.
pub(super) struct JobView {
    pub(super) base: Base,
    pub(super) job: Job,
    pub(super) pipeline: Pipeline,
    /// The present tries of the pipeline's jobs.
    pub(super) siblings: Vec<Job>,
    /// All tries of this job, the oldest first.
    pub(super) tries: Vec<Job>,
    /// What it asks whoever starts it.
    pub(super) inputs: InputFields,
    /// The pipeline of a bridge, or why it has none.
    pub(super) links: Links,
    /// Why it does not run yet.
    pub(super) waiting: Option<Reason>,
    /// Who has the resource that it waits for.
    pub(super) resource: Option<Wait>,
    /// What its reports came to.
    pub(super) reports: Vec<Report>,
    pub(super) runner: Option<Runner>,
    /// What it had of binary caches.
    pub(super) caches: Vec<JobCacheUse>,
    pub(super) artifacts: Vec<Artifact>,
    /// Whether artifacts expired or were erased.
    pub(super) artifacts_gone: bool,
    pub(super) people: People,
    pub(super) commit_title: String,
    pub(super) now: Timestamp,
}

/// The log as far as it is shown.
pub(super) struct LogView {
    pub(super) lines: Markup,
    /// The line that is not complete.
    pub(super) unfinished: String,
    /// How many bytes before the first line are not shown.
    pub(super) skipped: u64,
    /// Whether nothing more will come.
    pub(super) complete: bool,
    /// Whether there is nothing at all.
    pub(super) empty: bool,
}

/// The element of the incomplete line.
pub(super) const UNFINISHED: &str = "log-unfinished";
/// The element that stands where the log will be.
pub(super) const NOTE: &str = "log-note";

/// The last, incomplete line of a log.
pub(super) fn unfinished(html: &str) -> String {
    format!("<div id=\"{UNFINISHED}\">{html}</div>")
}

impl JobView {
    /// The whole page. `live` is where its changes come from while it is not finished.
    pub(super) fn page(&self, log: Option<&LogView>, live: Option<&str>) -> Markup {
        html! {
            div.wide.job-page data-live=[live] {
                (self.head())
                (self.side())
                @match log {
                    // A bridge runs nothing that could write one.
                    _ if self.job.bridge => {},
                    Some(log) => (self.log(log)),
                    None => (component::alert("warn", "This log was written in debug mode and may hold secrets: only developers of the project may read it.")),
                }
            }
        }
    }

    /// Returns the parts that change, by the id of their element.
    pub(super) fn parts(&self) -> Vec<(String, String)> {
        vec![
            ("job-head".to_owned(), self.head().into_string()),
            ("job-side".to_owned(), self.side().into_string()),
        ]
    }

    fn head(&self) -> Markup {
        let job = &self.job;
        let newest = self.tries.last().filter(|it| it.id != job.id);
        html! {
            header.ci-head #job-head {
                div.head {
                    (component::status_badge(job.status()))
                    h1 { (job.name) }
                    (kind_tag(job))
                    span.spring {}
                    div.row.actions { (self.actions()) }
                }
                p.facts {
                    span { "Job " strong { "#" (job.id) } }
                    span { "Pipeline " a href=(self.base.pipeline(job.pipeline)) { "#" (job.pipeline) } }
                    span { a href={ (self.base.pipeline(job.pipeline)) "/explain?job=" (encode_query(&job.name)) } { "Why?" } }
                    span { "Branch " a.ref href=(self.base.tree(&self.pipeline.ref_name)) { (self.pipeline.ref_name) } }
                    span { "Commit " a.mono href=(self.base.commit(&self.pipeline.sha)) { (short(&self.pipeline.sha)) } " " span.hide-small { (self.commit_title) } }
                    @if let Some(name) = self.people.name(job.user) { span { "By " (name) } }
                }
                @if let JobState::Failed(reason) = job.state {
                    @let (sentence, hint) = words::failure(job, reason);
                    div.alert.bad role="status" { strong { (sentence) "." } " " (hint) }
                } @else if let Some(waiting) = &self.waiting {
                    div.alert.(if waiting.is_stuck() { "warn" } else { "info" }) role="status" {
                        (waiting.sentence(|it| self.siblings[it].name.as_str(), |it| self.pipeline.stages.get(it).map_or("", String::as_str))) "."
                        @if let JobState::Scheduled { at } = job.state { " It starts " (component::time(at)) "." }
                        @if let Some(Wait { holder: Some((holder, _)), .. }) = &self.resource {
                            " See job " a href=(self.base.job(*holder)) { "#" (holder) } "."
                        }
                    }
                }
                @if self.base.may_run && job.is_playable() && !self.inputs.is_empty() {
                    form.stack.card method="post" action={ (self.base.job(job.id)) "/play" } {
                        (self.inputs.fields())
                        div.row { button.primary type="submit" { "Start" } }
                    }
                }
                (self.downstream())
                @if let Some(newest) = newest {
                    div.alert.info { "A newer try took this job's place: " a href=(self.base.job(newest.id)) { "#" (newest.id) } " " (component::status_badge(newest.status())) }
                }
            }
        }
    }

    /// The pipeline of a bridge, or why it has none.
    fn downstream(&self) -> Markup {
        let link = self.links.of(self.job.id);
        let errors = self.links.errors.get(&self.job.id);
        html! {
            @if let Some(link) = link {
                div.alert.info {
                    @if link.made { "It started " } @else { "It follows " }
                    @match &link.project {
                        Some(project) => a href=(self.base.pipeline_in(project, link.pipeline.id)) { "pipeline #" (link.pipeline.id) @if link.pipeline.project != self.job.project { " of " (project.path) } },
                        None => "a pipeline that you may not see",
                    }
                    " " (component::status_badge(link.pipeline.status))
                }
            }
            @if let Some(errors) = errors {
                div.alert.bad { ul.plain { @for it in errors { li { (it) } } } }
            }
        }
    }

    fn actions(&self) -> Markup {
        let job = &self.job;
        let address = self.base.job(job.id);
        html! {
            @if self.base.may_run {
                @if job.is_playable() && self.inputs.is_empty() { (self.base.button(&format!("{address}/play"), "Start", "primary", None)) }
                @if matches!(job.state, JobState::Scheduled { .. }) { (self.base.button(&format!("{address}/unschedule"), "Unschedule", "plain", None)) }
                @if job.is_retryable() { (self.base.button(&format!("{address}/retry"), "Retry", "primary", None)) }
                @if job.is_cancelable() { (self.base.button(&format!("{address}/cancel"), "Cancel", "danger", None)) }
                @if job.is_erasable() { (self.base.button(&format!("{address}/erase"), "Erase", "danger", Some("Erase the log and the artifacts of this job? This cannot be undone."))) }
            }
        }
    }

    fn side(&self) -> Markup {
        let job_id = self.job.id;
        html! {
            aside.side #job-side {
                (self.facts())
                (report_view::summary(&self.base, job_id, self.job.pipeline, &self.reports))
                (self.artifact_list())
                @if self.tries.len() > 1 { (self.try_list()) }
                (self.sibling_list())
            }
        }
    }

    fn facts(&self) -> Markup {
        let job = &self.job;
        html! {
            dl.card {
                @if job.started_at.is_some() { dt { "Duration" } dd { (words::ran(job, self.now)) } }
                @if job.queued_at.is_some() { dt { "Queued" } dd { (words::elapsed(job.queued_at, job.started_at.or(job.finished_at), self.now)) } }
                @if let Some(at) = job.started_at { dt { "Started" } dd { (component::time(at)) } }
                @if let Some(at) = job.finished_at { dt { "Finished" } dd { (component::time(at)) } }
                dt { "Stage" } dd { (job.stage) }
                @if let Some(runner) = &self.runner { dt { "Runner" } dd { "#" (runner.id) " " (runner.description) } }
                dt { "Timeout" } dd { (component::duration(job.timeout_ms)) }
                @if let Some(coverage) = job.coverage { dt { "Coverage" } dd { (words::percent(coverage)) } }
                @if let Some(code) = job.exit_code { dt { "Exit code" } dd { (code) } }
                @if !job.tags.is_empty() { dt { "Tags" } dd { @for tag in &job.tags { span.tag { (tag) } " " } } }
                @if let Some(used) = &job.usage { (usage(used)) }
                @for used in &self.caches { (cache_use(used)) }
                @if job.trace_bytes > 0 { dt { "Log" } dd { (component::size(job.trace_bytes)) } }
                @if let Some(at) = job.erased_at { dt { "Erased" } dd { (component::time(at)) } }
            }
        }
    }

    fn artifact_list(&self) -> Markup {
        let address = self.base.job(self.job.id);
        html! {
            @if !self.artifacts.is_empty() {
                div.card {
                    h2 { "Artifacts" }
                    @for it in &self.artifacts {
                        div.artifact {
                            @if it.is_archive() {
                                p { strong { (it.filename) } " " span.muted { (component::size(it.size_bytes)) } }
                                p.row {
                                    a.button.small href={ (address) "/artifacts/browse" } { "Browse" }
                                    a.button.small href={ (address) "/artifacts/download" } { "Download" }
                                }
                            } @else {
                                p { a href={ (address) "/artifacts/download?file_type=" (it.file_type) } { (it.file_type) } " " span.muted { (component::size(it.size_bytes)) } }
                            }
                            @if let Some(at) = it.expire_at { p.muted { @if at < self.now { "Expired " } @else { "Expires " } (component::time(at)) } }
                        }
                    }
                }
            } @else if self.artifacts_gone {
                div.card { h2 { "Artifacts" } p.muted { "They expired or were erased. Retry the job to make them again." } }
            }
        }
    }

    fn try_list(&self) -> Markup {
        html! {
            nav.card aria-label="Tries" {
                h2 { "Tries" }
                ul.plain { @for it in &self.tries { (self.link(it, &format!("#{}", it.id))) } }
            }
        }
    }

    fn sibling_list(&self) -> Markup {
        let mut stages: Vec<(usize, &str)> = self
            .siblings
            .iter()
            .map(|it| (it.stage_index, it.stage.as_str()))
            .collect();
        stages.sort_unstable();
        stages.dedup();
        html! {
            nav.card.siblings aria-label="Jobs of the pipeline" {
                h2 { a href=(self.base.pipeline(self.job.pipeline)) { "Pipeline #" (self.job.pipeline) } }
                @for (index, stage) in stages {
                    h3 { (stage) }
                    ul.plain { @for it in self.siblings.iter().filter(|it| it.stage_index == index) { (self.link(it, &it.name)) } }
                }
            }
        }
    }

    fn link(&self, job: &Job, label: &str) -> Markup {
        html! {
            li { a href=(self.base.job(job.id)) aria-current=[(job.id == self.job.id).then_some("page")] { (component::status_dot(job.status())) span { (label) } } }
        }
    }

    fn log(&self, log: &LogView) -> Markup {
        let address = self.base.job(self.job.id);
        html! {
            section.log aria-label="Log" data-follow[!log.complete] {
                div.log-bar {
                    input type="search" placeholder="Filter lines" aria-label="Filter lines" data-filter="log" hidden;
                    span.spring {}
                    @if self.job.trace_bytes > 0 { a href={ (address) "/raw" } { "Raw" } }
                    a href="#log-end" { "Jump to end" }
                }
                @if log.skipped > 0 {
                    p.note { "The first " (component::size(log.skipped)) " are not shown. " a href={ (address) "/raw" } { "Open the raw log" } }
                }
                div #log {
                    @if log.empty && log.complete { p.note { (self.nothing()) } }
                    @if !log.complete && log.empty { p.note #(NOTE) { "The log appears here as soon as the job writes to it." noscript { " Reload the page to see it." } } }
                    div #(crate::render::LINES) { (log.lines) }
                    (maud::PreEscaped(unfinished(&log.unfinished)))
                }
                div #log-end { @if !log.complete { noscript { p.note { "The job goes on: reload the page to see more." } } } }
            }
        }
    }

    fn nothing(&self) -> &'static str {
        match self.job.status() {
            _ if self.job.erased_at.is_some() => "The log was erased.",
            Status::Skipped => "The job was skipped and has no log.",
            Status::Canceled => "The job was canceled before it wrote a log.",
            _ => "The job wrote no log.",
        }
    }
}
/// Shows what a job had of a binary cache.
fn cache_use(used: &JobCacheUse) -> Markup {
    html! {
        dt { "Cache " (used.cache) }
        dd {
            (used.hits) " hits, " (used.misses) " misses"
            @if used.bytes_served > 0 { ", " (component::size(used.bytes_served)) " fetched" }
            @if used.paths_pushed > 0 { ", " (used.paths_pushed) " paths pushed (" (component::size(used.bytes_pushed)) ")" }
        }
    }
}

/// Shows what a job used, as far as its machine counts it.
fn usage(used: &Usage) -> Markup {
    let duration = |it: u64| component::duration(i64::try_from(it).unwrap_or(i64::MAX));
    let stalls = [
        (used.memory_stall_ms, "memory"),
        (used.cpu_stall_ms, "a processor"),
        (used.io_stall_ms, "the disk"),
    ];
    // Less is not felt.
    let stalls = stalls.map(|it| (it.0.filter(|it| *it >= 100), it.1));
    html! {
        @if used.peak_bytes > 0 {
            dt { "Memory" } dd { (component::size(used.peak_bytes)) " of " (component::size(used.limit_bytes)) }
        }
        @if let Some(cpu) = used.cpu_ms { dt { "CPU time" } dd { (duration(cpu)) } }
        @if let (Some(read), Some(written)) = (used.read_bytes, used.written_bytes) {
            dt { "Disk" } dd { (component::size(read)) " read, " (component::size(written)) " written" }
        }
        @for (stall, what) in stalls {
            @if let Some(stall) = stall { dt { "Stalled for " (what) } dd { (duration(stall)) } }
        }
    }
}
