//! Typed keywords to a plan: which jobs the event gets, and with what.

mod budget;
mod candidates;
mod checks;
mod job;
mod needs;
mod predefined;
mod rules;
mod subject;
mod workflow;

use self::rules::Decision;
pub(crate) use self::rules::is_never;
pub(crate) use self::subject::{Subject, subjects};

use self::budget::{Budget, weight};
use self::candidates::{Candidate, Candidates};
use self::workflow::Workflow;
use crate::entry::{Config, Rule, overlay};
use crate::facts::{Facts, Undecided};
use crate::report::Report;
use crate::scope::{Layer, Root, Scope};
use crate::{JobPlan, Outcome, Plan, Variable};

/// Plans the pipeline. `None` after errors.
pub(crate) fn plan(config: &Config, facts: &Facts<'_>, report: &mut Report) -> Option<Outcome> {
    let candidates = Candidates::new(config, facts.limits.jobs, report)?;
    checks::check(config, &candidates, report);
    if report.has_errors() {
        return None;
    }
    let Some(workflow) = Workflow::decide(config, facts) else {
        return Some(Outcome::FilteredByWorkflow);
    };
    let root = Layer::new(&workflow.variables);
    let planner = Planner::new(config, facts, &candidates, &root);
    let decided = planner.decide_all(report)?;
    let mut budget = Budget::new(facts.limits.nodes);
    let mut jobs: Vec<JobPlan> = Vec::with_capacity(decided.len());
    for one in decided.iter().flatten() {
        if let Some(job) = planner.job(one, &decided, report) {
            budget.take(weight(&job), one.candidate, report)?;
            jobs.push(job);
        }
    }
    checks::check_circles(
        jobs.iter()
            .map(|it| (it.name.as_str(), needed_names(it)))
            .collect(),
        &candidates,
        report,
    );
    if report.has_errors() {
        return None;
    }
    let last = config.stages.len().saturating_sub(1);
    if jobs
        .iter()
        .all(|it| it.stage_index == 0 || it.stage_index == last)
    {
        return Some(Outcome::NoJobs);
    }
    jobs.sort_by_key(|it| it.stage_index);
    Some(Outcome::Pipeline(Plan {
        name: workflow.name,
        stages: config.stages.clone(),
        jobs,
        variables: workflow.variables,
        auto_cancel: workflow.auto_cancel,
    }))
}

fn needed_names(job: &JobPlan) -> Vec<&str> {
    job.needs
        .iter()
        .flatten()
        .map(|it| it.job.as_str())
        .collect()
}

struct Planner<'a> {
    config: &'a Config,
    facts: &'a Facts<'a>,
    candidates: &'a Candidates<'a>,
    /// Root variables, with those of the workflow rule.
    root: &'a Layer<'a>,
    /// Variables that all jobs see refer to each other in a circle.
    has_circle: bool,
}

/// A job that the event gets.
struct Decided<'a> {
    candidate: &'a Candidate<'a>,
    decision: Decision<'a>,
    /// Predefined variables of the job.
    predefined: Vec<Variable>,
}

impl<'a> Planner<'a> {
    fn new(
        config: &'a Config,
        facts: &'a Facts<'a>,
        candidates: &'a Candidates<'a>,
        root: &'a Layer<'a>,
    ) -> Self {
        let all = Scope::layered(&facts.variables, &[], None, &[root.variables()]);
        Self {
            config,
            facts,
            candidates,
            root,
            has_circle: !all.circle(true).is_empty(),
        }
    }

    /// Returns what a job sees: without a rule, what its rules see.
    fn scope<'s>(
        &'s self,
        candidate: &'s Candidate<'_>,
        predefined: &'s [Variable],
        rule: Option<&'s Rule>,
    ) -> Scope<'s> {
        let job = candidate.job;
        let root = Root {
            layer: self.root,
            inherit: &job.inherit,
        };
        let of_rule = rule.map_or(&[][..], |it| it.variables.as_slice());
        let own = [job.variables.as_slice(), &candidate.matrix, of_rule];
        Scope::layered(&self.facts.variables, predefined, Some(root), &own)
    }

    /// Returns the predefined variables of a job.
    fn predefined(&self, candidate: &Candidate<'_>) -> Vec<Variable> {
        let mut variables = predefined::of_job(candidate);
        let scope = self.scope(candidate, &variables, None);
        let of_environment = predefined::of_environment(candidate, &scope);
        variables.extend(of_environment);
        variables
    }

    /// Returns the variables of the file that a job has, one per key.
    fn yaml(&self, candidate: &Candidate<'_>, rule: Option<&Rule>) -> Vec<Variable> {
        let job = candidate.job;
        let inherited = self.root.variables().iter();
        let inherited = inherited.filter(|it| job.inherit.has_variable(&it.key));
        let mut yaml: Vec<Variable> = inherited.cloned().collect();
        overlay(&mut yaml, &job.variables);
        overlay(&mut yaml, &candidate.matrix);
        overlay(&mut yaml, rule.map_or(&[], |it| &it.variables));
        yaml
    }

    /// Applies the rules of all jobs. `None` after an error.
    fn decide_all(&'a self, report: &mut Report) -> Option<Vec<Option<Decided<'a>>>> {
        let mut all = Vec::with_capacity(self.candidates.all.len());
        for candidate in &self.candidates.all {
            match self.decide(candidate) {
                Ok(decided) => all.push(decided),
                Err(Undecided(reason)) => {
                    let message = format!("Failed to parse rule for {}: {reason}", candidate.name);
                    report.error(candidate.job.span, message);
                    return None;
                }
            }
        }
        Some(all)
    }

    /// Applies the rules of one job. `None`: it is left out.
    fn decide(&self, candidate: &'a Candidate<'a>) -> Result<Option<Decided<'a>>, Undecided> {
        let predefined = self.predefined(candidate);
        let scope = self.scope(candidate, &predefined, None);
        let has_workflow_rules = self.config.workflow.has_rules;
        let decision = rules::decide(candidate.job, has_workflow_rules, &scope, self.facts)?;
        Ok(decision.map(|decision| Decided {
            candidate,
            decision,
            predefined,
        }))
    }
}
