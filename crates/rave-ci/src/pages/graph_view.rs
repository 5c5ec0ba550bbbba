//! A pipeline drawn: stages as columns of jobs, copies of a parallel job as one, curves for what is needed.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rave_core::job::Status;
use rave_core::pipeline::{Graph, stage_status, status};
use rave_http::component;

use super::pipeline_view::PipelineView;
use super::words;
use crate::findings::group_name;
use crate::model::Job;
use crate::render::graph::{EDGE_LIMIT, GraphJob, HEAD_HEIGHT, NODE_HEIGHT, NODE_WIDTH, layout};

/// What stands in one place of the drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The job, or the copies of a parallel one.
    members: Vec<usize>,
}

/// Puts the copies of each parallel job together.
pub(super) fn units(jobs: &[Job]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut groups: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for (at, job) in jobs.iter().enumerate() {
        let group = group_name(&job.name);
        if group != job.name {
            let next = units.len();
            let unit = *groups.entry((job.stage_index, group)).or_insert(next);
            if unit < next {
                units[unit].members.push(at);
                continue;
            }
        }
        units.push(Unit { members: vec![at] });
    }
    units
}

impl PipelineView {
    pub(super) fn graph(&self) -> Markup {
        let units = units(&self.jobs);
        let drawn = layout(&self.graph_jobs(&units));
        let names: Vec<String> = units.iter().map(|it| self.unit_id(it)).collect();
        html! {
            // The buttons of jobs name their own targets.
            @if self.base.may_run { form #job-action method="post" {} }
            div.graph role="group" aria-label="Jobs by stage" tabindex="0" {
                svg width=(drawn.width) height=(drawn.height) viewBox=(format!("0 0 {} {}", drawn.width, drawn.height)) {
                    @for edge in &drawn.edges { path.edge d=(edge.path) data-from=(names[edge.from]) data-to=(names[edge.to]) {} }
                    @for stage in &drawn.stages {
                        foreignObject x=(stage.x) y="0" width=(stage.width) height=(HEAD_HEIGHT) { (self.stage_head(stage.stage)) }
                    }
                    @for (unit, (x, y)) in units.iter().zip(&drawn.places) {
                        foreignObject x=(x) y=(y) width=(NODE_WIDTH) height=(NODE_HEIGHT) { (self.unit(unit)) }
                    }
                }
                @if drawn.edges.len() >= EDGE_LIMIT { p.muted { "Only the first " (EDGE_LIMIT) " needs are drawn: " a href={ (self.base.pipeline(self.pipeline.id)) "/needs" } { "see all" } "." } }
            }
            @for unit in &units { @if unit.members.len() > 1 { (self.members(unit)) } }
        }
    }

    pub(super) fn graph_parts(&self, parts: &mut Vec<(String, String)>) {
        let mut stages: Vec<usize> = self.jobs.iter().map(|it| it.stage_index).collect();
        stages.sort_unstable();
        stages.dedup();
        for stage in stages {
            parts.push((
                format!("stage-{stage}"),
                self.stage_head(stage).into_string(),
            ));
        }
        for unit in units(&self.jobs) {
            if unit.members.len() > 1 {
                parts.push((self.unit_id(&unit), self.unit(&unit).into_string()));
            }
            for at in unit.members {
                parts.push((self.node_id(at), self.node(at).into_string()));
            }
        }
    }

    /// What units need of one another. Between copies of one job there is nothing to draw.
    fn graph_jobs(&self, units: &[Unit]) -> Vec<GraphJob> {
        let mut unit_of = vec![0; self.jobs.len()];
        for (number, unit) in units.iter().enumerate() {
            for at in &unit.members {
                unit_of[*at] = number;
            }
        }
        let job = |(number, unit): (usize, &Unit)| {
            let needs = unit
                .members
                .iter()
                .flat_map(|it| self.graph.nodes[*it].needs.iter().flatten());
            let mut needs: Vec<usize> = needs
                .map(|it| unit_of[*it])
                .filter(|it| *it != number)
                .collect();
            needs.sort_unstable();
            needs.dedup();
            let stage = self.jobs[unit.members[0]].stage_index;
            GraphJob { stage, needs }
        };
        units.iter().enumerate().map(job).collect()
    }

    fn stage_head(&self, stage: usize) -> Markup {
        html! {
            div.stage #{ "stage-" (stage) } {
                @if let Some(status) = stage_status(&self.graph, stage) { (component::status_mark(status)) }
                (self.stage(stage))
            }
        }
    }

    fn unit_id(&self, unit: &Unit) -> String {
        match unit.members.as_slice() {
            [one] => self.node_id(*one),
            members => format!("group-{}", self.jobs[members[0]].position),
        }
    }

    fn unit(&self, unit: &Unit) -> Markup {
        let [first, _, ..] = unit.members.as_slice() else {
            return self.node(unit.members[0]);
        };
        let of = |it: Status| {
            unit.members
                .iter()
                .filter(|at| self.jobs[**at].status() == it)
                .count()
        };
        let total = unit.members.len();
        let done = unit
            .members
            .iter()
            .filter(|at| self.jobs[**at].status().is_finished())
            .count();
        let nodes = unit
            .members
            .iter()
            .map(|it| self.graph.nodes[*it].clone())
            .collect();
        let status = status(&Graph { nodes });
        let name = group_name(&self.jobs[*first].name);
        let says = match (of(Status::Failed), done) {
            (0, done) if done == total => "all done".to_owned(),
            (0, done) => format!("{done} of {total} done"),
            (failed, done) if done == total => format!("{failed} of {total} failed"),
            (failed, done) => format!("{failed} failed, {done} of {total} done"),
        };
        html! {
            div.node.group.(format!("is-{}", status.label())) #(self.unit_id(unit)) {
                button type="button" popovertarget={ "members-" (self.jobs[*first].position) } title=(name) {
                    (component::status_mark(status))
                    span.text { span.name { (name) } span.why { (says) } }
                    span.count { (total) }
                }
            }
        }
    }

    /// The jobs of a group, shown when its box is pressed.
    fn members(&self, unit: &Unit) -> Markup {
        let first = &self.jobs[unit.members[0]];
        html! {
            div.members popover #{ "members-" (first.position) } role="dialog" aria-label=(group_name(&first.name)) {
                h2 { (group_name(&first.name)) }
                ul { @for at in &unit.members { li { (self.node(*at)) } } }
            }
        }
    }

    fn node_id(&self, at: usize) -> String {
        format!("node-{}", self.jobs[at].position)
    }

    fn node(&self, at: usize) -> Markup {
        let job = &self.jobs[at];
        let why = self.why(at);
        let hint = why
            .as_ref()
            .map_or_else(|| job.name.clone(), |it| format!("{}: {it}", job.name));
        html! {
            div.node.(format!("is-{}", job.status().label())) #(self.node_id(at)) {
                a href=(self.base.job(job.id)) title=(hint) {
                    (component::status_mark(job.status()))
                    span.text { span.name { (job.name) } @if let Some(why) = why { span.why { (why) } } }
                    span.ran { (words::ran(job, self.now)) }
                }
                @if self.base.may_run { (self.action(job)) }
            }
        }
    }

    /// The button for what a reader most likely wants to do with a job.
    fn action(&self, job: &Job) -> Markup {
        let (action, label, sign) = match job {
            it if it.is_playable() => ("play", "Start", "▶"),
            it if it.is_cancelable() => ("cancel", "Cancel", "✕"),
            it if it.is_retryable() => ("retry", "Retry", "↻"),
            _ => return html! {},
        };
        let label = format!("{label} {}", job.name);
        html! {
            button.(action) form="job-action" formaction={ (self.base.job(job.id)) "/" (action) } title=(label) aria-label=(label) { (sign) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::tests::job;

    #[test]
    fn copies_of_a_job_stand_in_one_place() {
        let jobs: Vec<Job> = [
            "build",
            "unit 1/3",
            "unit 2/3",
            "lint: [a]",
            "unit 3/3",
            "lint: [b]",
            "single 1/1",
        ]
        .iter()
        .enumerate()
        .map(|(at, name)| job(at, 0, name))
        .collect();
        let members: Vec<Vec<usize>> = units(&jobs).into_iter().map(|it| it.members).collect();
        assert_eq!(members, [vec![0], vec![1, 2, 4], vec![3, 5], vec![6]]);
        let stages = [job(0, 0, "unit 1/2"), job(1, 1, "unit 2/2")];
        assert_eq!(
            units(&stages).len(),
            2,
            "of another stage it is another job"
        );
    }
}
