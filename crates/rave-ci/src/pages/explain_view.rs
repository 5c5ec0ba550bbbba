//! How an explanation looks: the verdicts on all jobs, or one job with its rules, variables and keys.

use maud::{Markup, html};
use rave_ci_lang::{
    ClauseEvidence, Explanation, JobExplanation, Layer, Origin, Place, RuleEvidence, Verdicts,
    WaitsFor, WorkflowExplanation,
};
use rave_core::id::PipelineId;
use rave_http::component;
use rave_http::page::encode_query;

use super::base::Base;
use crate::service::explain::{Explained, Why};

/// An explanation with everything its page shows.
pub(super) struct ExplainView {
    pub(super) base: Base,
    pub(super) pipeline: PipelineId,
    /// Or the errors of the file.
    pub(super) explained: Result<Explained, Vec<String>>,
}

impl ExplainView {
    pub(super) fn page(&self) -> Markup {
        let address = self.base.pipeline(self.pipeline);
        html! {
            div.wide {
                header.ci-head {
                    div.head { h1 { "Why" } }
                    p.facts {
                        span { "Pipeline " a href=(address) { "#" (self.pipeline) } }
                        @if matches!(&self.explained, Ok(Explained { why: Why::Job(_), .. })) {
                            span { a href={ (address) "/explain" } { "All jobs of the file" } }
                        }
                    }
                }
                @match &self.explained {
                    Err(errors) => (component::empty("Nothing to explain", &html! {
                        p { "The file has errors, so no rule was asked. " a href=(address) { "The pipeline's page" } " shows them in place." }
                        @for error in errors { p { code { (error) } } }
                    })),
                    Ok(explained) => {
                        @for note in &explained.notes { div.alert.info role="status" { (note) } }
                        @match &explained.why {
                            Why::Jobs(verdicts) => (self.verdicts(verdicts)),
                            Why::Job(explanation) => (job_page(explanation)),
                        }
                    }
                }
            }
        }
    }

    fn verdicts(&self, all: &Verdicts) -> Markup {
        let address = self.base.pipeline(self.pipeline);
        html! {
            p { "Event " code { (all.source) } " on " code { (all.ref_name) } ": " (component::prose(&all.workflow.verdict)) "." }
            (errors(&all.errors))
            (workflow(&all.workflow))
            div.table {
                table {
                    thead { tr { th scope="col" { "Job" } th scope="col" { "Stage" } th scope="col" { "In the pipeline" } th scope="col" { "Because" } } }
                    tbody {
                        @for job in &all.jobs {
                            tr {
                                td { a href={ (address) "/explain?job=" (encode_query(&job.name)) } { (job.name) } }
                                td { (job.stage) }
                                td { (yes_or_no(job.included)) }
                                td { (component::prose(&job.verdict)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn yes_or_no(yes: bool) -> Markup {
    html! { @if yes { strong { "yes" } } @else { span.muted { "no" } } }
}

fn errors(errors: &[rave_ci_lang::Diagnostic]) -> Markup {
    html! {
        @for error in errors { div.alert.bad role="alert" { (error.to_string()) } }
    }
}

fn workflow(workflow: &WorkflowExplanation) -> Markup {
    html! {
        @if !workflow.rules.is_empty() {
            h2 { "Rules of the workflow" }
            (rules(&workflow.rules))
        }
    }
}

fn job_page(explanation: &Explanation) -> Markup {
    html! {
        (errors(&explanation.errors))
        @for job in &explanation.jobs { (job_section(explanation, job)) }
    }
}

fn job_section(explanation: &Explanation, job: &JobExplanation) -> Markup {
    html! {
        section {
            h2 { (job.name) }
            p {
                @if job.included { strong { "In the pipeline" } } @else { strong { "Not in the pipeline" } }
                " because " (component::prose(&job.verdict)) ". "
                span.muted { "Event " (explanation.source) " on " (explanation.ref_name) ", stage " (job.stage) ", " (shown(&job.place)) "." }
            }
            @if let Some(waits_for) = &job.waits_for { p { "It waits for " (waits(waits_for)) "." } }
            (workflow(&explanation.workflow))
            @if !job.rules.is_empty() { h3 { "Rules" } (rules(&job.rules)) }
            @for (title, parts) in [("only", &job.only), ("except", &job.except)] {
                @if !parts.is_empty() { h3 { code { (title) } } ul { @for part in parts { li { (clause(part)) } } } }
            }
            (variables(job))
            (keys(job))
        }
    }
}

fn waits(waits_for: &WaitsFor) -> String {
    match waits_for {
        WaitsFor::Nothing => "nothing".to_owned(),
        WaitsFor::Stages(stages) => format!("all jobs of {}", stages.join(", ")),
        WaitsFor::Jobs(jobs) => jobs.join(", "),
    }
}

fn answer(held: Option<bool>) -> Markup {
    html! {
        @match held {
            Some(yes) => (yes_or_no(yes)),
            None => span.muted { "not asked" },
        }
    }
}

fn rules(rules: &[RuleEvidence]) -> Markup {
    html! {
        ol {
            @for rule in rules {
                li {
                    (answer(rule.held))
                    @if let Some(when) = &rule.when { ", " code { "when: " (when) } }
                    " " span.muted { (shown(&rule.place)) }
                    @if !rule.clauses.is_empty() { ul { @for it in &rule.clauses { li { (clause(it)) } } } }
                }
            }
        }
    }
}

fn clause(clause: &ClauseEvidence) -> Markup {
    html! {
        code { (clause.keyword) ": " (clause.text) } " " (answer(clause.held))
        @if let Some(because) = &clause.because { ": " (component::prose(because)) }
        @if !clause.operands.is_empty() {
            ul {
                @for operand in &clause.operands {
                    li {
                        code { "$" (operand.name) }
                        @match (&operand.value, operand.layer) {
                            (Some(value), Some(layer)) => { " is " code { (format!("{value:?}")) } " " span.muted { (layer_label(layer)) } }
                            _ => " is not set",
                        }
                    }
                }
            }
        }
    }
}

fn variables(job: &JobExplanation) -> Markup {
    html! {
        @if !job.variables.is_empty() {
            h3 { "Variables" }
            div.table {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Value" } th scope="col" { "From" } th scope="col" { "Hides" } } }
                    tbody {
                        @for it in &job.variables {
                            tr {
                                td { code { (it.key) } }
                                td { code { (it.value) } }
                                td { (layer_label(it.layer)) @if let Some(place) = &it.place { " " span.muted { (shown(place)) } } }
                                td { @for hidden in &it.hides { div { code { (hidden.value) } " " span.muted { (layer_label(hidden.layer)) } } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn keys(job: &JobExplanation) -> Markup {
    html! {
        h3 { "Keys" }
        div.table {
            table {
                thead { tr { th scope="col" { "Key" } th scope="col" { "From" } th scope="col" { "Place" } } }
                tbody {
                    @for key in &job.keys {
                        tr {
                            td { code { (key.key) } }
                            td {
                                (origin_label(&key.origin))
                                @for (origin, place) in &key.parts { div.muted { "partly " (origin_label(origin)) ", " (shown(place)) } }
                            }
                            td.mono { (shown(&key.place)) }
                        }
                    }
                }
            }
        }
    }
}

fn shown(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}

fn layer_label(layer: Layer) -> String {
    match layer {
        Layer::Predefined => "predefined".to_owned(),
        Layer::Root => "root of the file".to_owned(),
        Layer::WorkflowRule(number) => format!("rule {number} of the workflow"),
        Layer::Job => "job".to_owned(),
        Layer::Matrix => "matrix".to_owned(),
        Layer::Rule(number) => format!("rule {number}"),
        Layer::Project => "project, group or instance".to_owned(),
        Layer::Pipeline => "given with the event".to_owned(),
    }
}

fn origin_label(origin: &Origin) -> String {
    match origin {
        Origin::Job => "the job itself".to_owned(),
        Origin::Default => "default".to_owned(),
        Origin::Root => "root of the file".to_owned(),
        Origin::Extends(name) => format!("extends {name}"),
        Origin::Reference(name) => format!("{name}, by reference or alias"),
    }
}
