//! A job as its rules see it, for `explain`.

use super::Planner;
use super::candidates::Candidates;
use super::rules;
use super::workflow::Workflow;
use crate::entry::{Config, Job};
use crate::facts::Facts;
use crate::report::Report;
use crate::scope::Layer;
use crate::{Variable, When};

/// One job, or one copy of a parallel job.
pub(crate) struct Subject<'a> {
    pub(crate) name: String,
    pub(crate) job: &'a Job,
    /// Variables of this copy of a matrix.
    pub(crate) matrix: Vec<Variable>,
    /// Predefined variables of the job.
    pub(crate) predefined: Vec<Variable>,
    /// Variables of the file, without those of the job's rules.
    pub(crate) yaml: Vec<Variable>,
    /// How it comes in: `when` and `allow_failure`. `None`: the job's own keywords leave it out.
    pub(crate) decision: Option<(When, bool)>,
}

/// Returns the jobs that a name means: one job, or each copy; without a name, all jobs. None after an error, or if
/// nothing has that name.
pub(crate) fn subjects<'a>(
    config: &'a Config,
    facts: &Facts<'_>,
    name: Option<&str>,
    report: &mut Report,
) -> Vec<Subject<'a>> {
    let Some(candidates) = Candidates::new(config, facts.limits.jobs, report) else {
        return Vec::new();
    };
    let workflow = Workflow::decide(config, facts);
    // Where the workflow refuses, this is what the job would have seen.
    let variables = workflow
        .as_ref()
        .map_or(&config.variables, |it| &it.variables);
    let root = Layer::new(variables);
    let planner = Planner::new(config, facts, &candidates, &root);
    let has_workflow_rules = config.workflow.has_rules;
    let wanted = candidates.all.iter();
    let wanted = wanted.filter(|it| name.is_none_or(|name| it.name == name || it.job.name == name));
    wanted
        .map(|candidate| {
            let predefined = planner.predefined(candidate);
            let yaml = planner.yaml(candidate, None);
            let scope = planner.scope(candidate, &predefined, None);
            let decision = rules::decide(candidate.job, has_workflow_rules, &scope, facts);
            let decision = decision.ok().flatten();
            Subject {
                name: candidate.name.clone(),
                job: candidate.job,
                matrix: candidate.matrix.clone(),
                decision: decision.map(|it| (it.when, it.allow_failure)),
                predefined,
                yaml,
            }
        })
        .collect()
}
