//! The pipelines that a pipeline belongs with: the one that it came from, and those that came from it.

use maud::{Markup, html};
use rave_http::component;

use super::pipeline_view::PipelineView;
use crate::model::Job;
use crate::service::links::Link;

impl PipelineView {
    /// Where the pipeline comes from, and what came from it.
    pub(super) fn family(&self) -> Markup {
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
}
