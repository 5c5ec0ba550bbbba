//! How one pipeline looks: its head, what is wrong with its file, the graph, and its jobs by stage.

use maud::{Markup, html};
use rave_ci_lang::{Diagnostic, Severity};
use rave_core::job::{Status, When};
use rave_core::pipeline::{Graph, Node, waits_for};
use rave_core::time::Timestamp;
use rave_http::component;

use super::base::{Base, People, short};
use super::words;
use crate::model::{Job, Pipeline};
use crate::render::graph::{GraphJob, HEAD_HEIGHT, Layout, NODE_HEIGHT, NODE_WIDTH, layout};
use crate::service::links::{Link, Links};

/// A pipeline with everything its page shows.
pub(super) struct PipelineView {
    pub(super) base: Base,
    pub(super) pipeline: Pipeline,
    /// The present tries, by position.
    pub(super) jobs: Vec<Job>,
    /// Earlier tries, by position and age.
    pub(super) retried: Vec<Job>,
    /// Why a pending job gets no runner, by position in `jobs`.
    pub(super) stuck: Vec<Option<&'static str>>,
    pub(super) people: People,
    /// The pipeline that this one came from.
    pub(super) upstream: Option<Link>,
    /// The pipelines that came from this one.
    pub(super) links: Links,
    pub(super) commit_title: String,
    /// Errors and notices with the text of the file they are about.
    pub(super) sources: Vec<(String, String)>,
    pub(super) now: Timestamp,
}

/// Returns the jobs as the state machine sees them.
pub(super) fn graph_of(jobs: &[Job]) -> Graph {
    let index = |position: usize| jobs.iter().position(|it| it.position == position);
    let node = |job: &Job| Node {
        stage: job.stage_index,
        needs: job
            .needs
            .as_ref()
            .map(|it| it.iter().filter_map(|need| index(*need)).collect()),
        when: job.when,
        start_in_millis: 0,
        road: job.road(),
        interruptible: job.interruptible,
        allow_failure: job.allow_failure,
        state: job.state,
    };
    Graph {
        nodes: jobs.iter().map(node).collect(),
    }
}

impl PipelineView {
    /// The whole page. `live` is where its changes come from while it is not finished.
    pub(super) fn page(&self, live: Option<&str>) -> Markup {
        html! {
            div.wide data-live=[live] {
                (self.head())
                (self.family())
                (self.errors())
                (self.notices())
                @if self.jobs.is_empty() {
                    @if self.pipeline.errors.is_empty() { (component::empty("No jobs", &html! { p { "The rules of the file leave no job for this event." } })) }
                } @else {
                    (self.graph())
                    (self.job_list())
                }
            }
        }
    }

    /// Returns the parts that change, by the id of their element.
    pub(super) fn parts(&self) -> Vec<(String, String)> {
        let mut parts = vec![
            ("pipeline-head".to_owned(), self.head().into_string()),
            ("pipeline-family".to_owned(), self.family().into_string()),
        ];
        let graph = graph_of(&self.jobs);
        for at in 0..self.jobs.len() {
            parts.push((self.node_id(at), self.node(at).into_string()));
            parts.push((self.row_id(at), self.row(&graph, at).into_string()));
        }
        parts
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
                }
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

    /// Where the pipeline comes from, and what came from it.
    fn family(&self) -> Markup {
        let bridge = |it: &Link| self.jobs.iter().find(|job| job.id == it.bridge);
        html! {
            div #pipeline-family {
                @if let Some(upstream) = &self.upstream {
                    section.stage-jobs aria-label="Upstream" {
                        h2 { @if self.pipeline.is_child() { "Parent pipeline" } @else { "Upstream pipeline" } }
                        ul.list { (self.relative(upstream, None)) }
                    }
                }
                @if !self.links.downstream.is_empty() {
                    section.stage-jobs aria-label="Downstream" {
                        h2 { "Downstream pipelines" }
                        ul.list { @for it in &self.links.downstream { (self.relative(it, bridge(it))) } }
                    }
                }
            }
        }
    }

    /// A pipeline that belongs to this one, and the job between them.
    fn relative(&self, link: &Link, bridge: Option<&Job>) -> Markup {
        let it = &link.pipeline;
        html! {
            li {
                (component::status_badge(it.status))
                @match &link.project {
                    Some(project) => {
                        a.title href=(self.base.pipeline_in(project, it.id)) {
                            @if it.project != self.pipeline.project { (project.path) " " }
                            "#" (it.id) @if let Some(name) = &it.name { " " (name) }
                        }
                    }
                    None => span.title { "A pipeline that you may not see" },
                }
                span.tag { @if !link.made { "mirrored" } @else if it.is_child() { "child" } @else if it.project == self.pipeline.project { "parent" } @else { "other project" } }
                span.spring {}
                @if let Some(job) = bridge { span.muted { "by " a href=(self.base.job(job.id)) { (job.name) } } }
            }
        }
    }

    fn errors(&self) -> Markup {
        let errors = &self.pipeline.errors;
        html! {
            @if !errors.is_empty() {
                section.problems aria-label="Errors" {
                    div.alert.bad role="alert" {
                        "This pipeline has no jobs: its file "
                        @if errors.len() == 1 { "has an error." } @else { "has " (errors.len()) " errors." }
                    }
                    @for it in errors { (self.diagnostic(it)) }
                }
            }
        }
    }

    fn notices(&self) -> Markup {
        let notices = &self.pipeline.notices;
        let unsupported = notices
            .iter()
            .filter(|it| it.severity == Severity::Unsupported)
            .count();
        html! {
            @if !notices.is_empty() {
                details.notices {
                    summary {
                        span.tag.warn { (notices.len()) @if notices.len() == 1 { " notice" } @else { " notices" } }
                        @if unsupported > 0 { " " (unsupported) @if unsupported == 1 { " keyword has" } @else { " keywords have" } " no effect yet" }
                        @else { " about the file" }
                    }
                    @for it in notices { (self.diagnostic(it)) }
                }
            }
        }
    }

    fn diagnostic(&self, it: &Diagnostic) -> Markup {
        let source = self
            .sources
            .iter()
            .find(|(file, _)| *file == it.file)
            .map(|(_, text)| text.as_str());
        let place = if it.line > 0 {
            format!("{}:{}:{}", it.file, it.line, it.column)
        } else {
            it.file.clone()
        };
        let address = format!(
            "{}{}",
            self.base.blob(&self.pipeline.sha, &it.file),
            if it.line > 0 {
                format!("#L{}", it.line)
            } else {
                String::new()
            }
        );
        html! {
            article.diagnostic.(format!("is-{}", it.severity.label())) {
                p { strong { (it.message) } }
                p.muted { (it.severity.label()) " in " a.mono href=(address) { (place) } }
                @if let (Some(source), true) = (source, it.line > 0) { (frame(source, it)) }
                @if let Some(hint) = &it.hint { p.hint { "Hint: " (hint) } }
            }
        }
    }

    fn graph(&self) -> Markup {
        let drawn = self.layout();
        html! {
            div.graph role="group" aria-label="Jobs by stage" tabindex="0" {
                svg width=(drawn.width) height=(drawn.height) viewBox=(format!("0 0 {} {}", drawn.width, drawn.height)) {
                    @for edge in &drawn.edges { path.edge d=(edge.path) {} }
                    @for stage in &drawn.stages {
                        foreignObject x=(stage.x) y="0" width=(stage.width) height=(HEAD_HEIGHT) {
                            div.stage { (self.pipeline.stages.get(stage.stage).map_or("", String::as_str)) }
                        }
                    }
                    @for (at, (x, y)) in drawn.places.iter().enumerate() {
                        foreignObject x=(x) y=(y) width=(NODE_WIDTH) height=(NODE_HEIGHT) { (self.node(at)) }
                    }
                }
            }
        }
    }

    fn layout(&self) -> Layout {
        let graph = graph_of(&self.jobs);
        let job = |it: &Node| GraphJob {
            stage: it.stage,
            needs: it.needs.clone().unwrap_or_default(),
        };
        layout(&graph.nodes.iter().map(job).collect::<Vec<_>>())
    }

    fn node_id(&self, at: usize) -> String {
        format!("node-{}", self.jobs[at].position)
    }

    fn row_id(&self, at: usize) -> String {
        format!("job-{}", self.jobs[at].position)
    }

    fn node(&self, at: usize) -> Markup {
        let job = &self.jobs[at];
        html! {
            div.node.(format!("is-{}", job.status().label())) #(self.node_id(at)) {
                a href=(self.base.job(job.id)) title=(job.name) {
                    (component::status_dot(job.status()))
                    span.name { (job.name) }
                    span.ran { (words::ran(job, self.now)) }
                }
                @if job.is_playable() && self.base.may_run {
                    form method="post" action={ (self.base.job(job.id)) "/play" } { button type="submit" title="Start" aria-label={ "Start " (job.name) } { "▶" } }
                }
            }
        }
    }

    fn job_list(&self) -> Markup {
        let graph = graph_of(&self.jobs);
        let mut stages: Vec<usize> = self.jobs.iter().map(|it| it.stage_index).collect();
        stages.sort_unstable();
        stages.dedup();
        html! {
            @for stage in stages {
                section.stage-jobs {
                    h2 { (self.pipeline.stages.get(stage).map_or("", String::as_str)) }
                    ul.list {
                        @for at in (0..self.jobs.len()).filter(|it| self.jobs[*it].stage_index == stage) { (self.row(&graph, at)) }
                    }
                }
            }
        }
    }

    fn row(&self, graph: &Graph, at: usize) -> Markup {
        let job = &self.jobs[at];
        let before = waits_for(graph, at);
        let before: Vec<&str> = before
            .iter()
            .map(|it| self.jobs[*it].name.as_str())
            .collect();
        let stuck = self.stuck.get(at).copied().flatten();
        let note = words::waiting(job, &before, stuck).or_else(|| words::outcome(job));
        let earlier: Vec<&Job> = self
            .retried
            .iter()
            .filter(|it| it.position == job.position)
            .collect();
        html! {
            li #(self.row_id(at)) {
                (component::status_badge(job.status()))
                a.title href=(self.base.job(job.id)) { (job.name) }
                span.muted.hide-small { "#" (job.id) }
                (kind_tag(job))
                @for tag in &job.tags { span.tag { (tag) } }
                span.spring {}
                @if let Some(at) = job.finished_at { span.muted.hide-small { (component::time(at)) } }
                span.took { (words::ran(job, self.now)) }
                @if self.base.may_run { (job_button(&self.base, job)) }
                @if note.is_some() || !earlier.is_empty() {
                    span.sub.warn[stuck.is_some()] {
                        @if let Some(note) = note { (note) ". " }
                        @if !earlier.is_empty() {
                            "Earlier tries: "
                            @for it in earlier { a href=(self.base.job(it.id)) { "#" (it.id) " " (words::past(it.status()).to_lowercase()) } " " }
                        }
                    }
                }
            }
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

/// The lines around a place, with the place marked.
fn frame(source: &str, at: &Diagnostic) -> Markup {
    const AROUND: usize = 2;
    const SHOWN: usize = 160;
    let line = at.line as usize;
    let first = line.saturating_sub(AROUND).max(1);
    let lines: Vec<(usize, &str)> = source
        .lines()
        .enumerate()
        .map(|(index, text)| (index + 1, text))
        .skip(first - 1)
        .take(line + AROUND + 1 - first)
        .collect();
    let cut = |it: &str| it.chars().take(SHOWN).collect::<String>();
    let column = (at.column as usize).saturating_sub(1).min(SHOWN);
    html! {
        pre.frame {
            @for (number, text) in lines {
                @if number == line {
                    @let text = cut(text);
                    @let split = text.char_indices().nth(column).map_or(text.len(), |(index, _)| index);
                    @let end = text[split..].find([' ', ':', ',', ']', '}']).map_or(text.len(), |it| split + it.max(1));
                    span.here { span.no { (number) } (text[..split]) mark { (text[split..end]) } (text[end..]) "\n" }
                } @else {
                    span { span.no { (number) } (cut(text)) "\n" }
                }
            }
        }
    }
}
