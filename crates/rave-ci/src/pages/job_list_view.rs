//! The jobs of a pipeline as lists: by stage, and by what they need.

use maud::{Markup, html};
use rave_http::component;

use super::pipeline_view::{PipelineView, job_button, kind_tag};
use super::words;
use crate::model::Job;

impl PipelineView {
    /// All jobs by stage.
    pub(super) fn job_list(&self) -> Markup {
        let mut stages: Vec<usize> = self.jobs.iter().map(|it| it.stage_index).collect();
        stages.sort_unstable();
        stages.dedup();
        html! {
            @for stage in stages {
                section.stage-jobs {
                    h2 { (self.stage(stage)) }
                    ul.list { @for at in self.of_stage(stage) { (self.row(at)) } }
                }
            }
        }
    }

    fn of_stage(&self, stage: usize) -> impl Iterator<Item = usize> {
        (0..self.jobs.len()).filter(move |it| self.jobs[*it].stage_index == stage)
    }

    pub(super) fn row_parts(&self, parts: &mut Vec<(String, String)>) {
        parts.extend((0..self.jobs.len()).map(|at| (self.row_id(at), self.row(at).into_string())));
    }

    fn row_id(&self, at: usize) -> String {
        format!("job-{}", self.jobs[at].position)
    }

    fn row(&self, at: usize) -> Markup {
        let job = &self.jobs[at];
        let stuck = self.reasons[at]
            .as_ref()
            .is_some_and(rave_core::waiting::Reason::is_stuck);
        let note = self.why(at).or_else(|| words::outcome(job));
        let earlier = self
            .retried
            .get(&job.position)
            .map_or(&[][..], Vec::as_slice);
        html! {
            li #(self.row_id(at)) {
                (component::status_badge(job.status()))
                a.title href=(self.base.job(job.id)) { (job.name) }
                span.muted.hide-small { "#" (job.id) }
                (kind_tag(job))
                @for tag in &job.tags { span.tag { (tag) } }
                @if let Some(coverage) = job.coverage { span.muted { (words::percent(coverage)) " covered" } }
                span.spring {}
                @if let Some(at) = job.finished_at { span.muted.hide-small { (component::time(at)) } }
                span.took { (words::ran(job, self.now)) }
                @if self.base.may_run { (job_button(&self.base, job)) }
                @if note.is_some() || !earlier.is_empty() {
                    span.sub.warn[stuck] {
                        @if let Some(note) = note { (note) ". " }
                        @if !earlier.is_empty() { (self.earlier(earlier)) }
                    }
                }
            }
        }
    }

    fn earlier(&self, tries: &[Job]) -> Markup {
        html! {
            "Earlier tries: "
            @for it in tries { a href=(self.base.job(it.id)) { "#" (it.id) " " (words::past(it.status()).to_lowercase()) } " " }
        }
    }

    /// All jobs with what they need and what needs them.
    pub(super) fn need_list(&self) -> Markup {
        html! {
            @if self.graph.nodes.iter().all(|it| it.needs.is_none()) {
                (component::empty("No needs", &html! {
                    p { "Each job of this pipeline waits for all jobs of the stages before it. A job with " code { "needs" } " starts as soon as the jobs it names are done." }
                }))
            } @else {
                div.table {
                    table.needs {
                        thead { tr { th { "Job" } th { "Needs" } th { "Needed by" } th.hide-small { "Waits for" } } }
                        tbody { @for at in 0..self.jobs.len() { (self.need_row(at)) } }
                    }
                }
            }
        }
    }

    pub(super) fn need_parts(&self, parts: &mut Vec<(String, String)>) {
        let row = |at: usize| {
            (
                format!("need-{}", self.jobs[at].position),
                self.need_row(at).into_string(),
            )
        };
        parts.extend((0..self.jobs.len()).map(row));
    }

    fn need_row(&self, at: usize) -> Markup {
        let job = &self.jobs[at];
        let needs = &self.graph.nodes[at].needs;
        let needed_by = self.needed_by.get(at).map_or(&[][..], Vec::as_slice);
        html! {
            tr #{ "need-" (job.position) } {
                td { span.named { (component::status_mark(job.status())) a href=(self.base.job(job.id)) { (job.name) } } div.sub { (job.stage) } }
                td {
                    @match needs {
                        None => span.muted { "all earlier stages" },
                        Some(needs) if needs.is_empty() => span.muted { "nothing" },
                        Some(needs) => (self.names(needs)),
                    }
                }
                td { @if needed_by.is_empty() { span.muted { "–" } } @else { (self.names(needed_by)) } }
                td.hide-small { @if let Some(why) = self.why(at) { (why) } @else { span.muted { (words::past(job.status())) } } }
            }
        }
    }

    /// Jobs by their names, of many only the first.
    fn names(&self, of: &[usize]) -> Markup {
        const SHOWN: usize = 12;
        html! {
            span.names {
                @for at in of.iter().take(SHOWN) {
                    @let job = &self.jobs[*at];
                    a href=(self.base.job(job.id)) { (job.name) } " "
                }
                @if of.len() > SHOWN { span.muted { "and " (of.len() - SHOWN) " more" } }
            }
        }
    }
}
