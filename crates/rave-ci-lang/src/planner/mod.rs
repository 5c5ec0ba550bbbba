//! Typed keywords to a plan: which jobs the event gets, and with what.

mod budget;
mod candidates;
mod checks;
mod rules;
mod subject;
mod workflow;

use self::rules::Decision;
pub(crate) use self::rules::is_never;
pub(crate) use self::subject::{Subject, subjects};

use self::budget::{Budget, weight, weight_of_variables};
use self::candidates::{Candidate, Candidates};
use self::workflow::Workflow;
use crate::entry::{Config, NeedEntry, Needs, PagesEntry, overlay};
use crate::expand::{Unknown, expand, expand_with};
use crate::facts::Facts;
use crate::report::Report;
use crate::scope::Scope;
use crate::{
    Artifacts, Bridge, Environment, Expiry, IdToken, JobPlan, Need, Outcome, Pages, Plan, Trigger,
    TriggerTarget, Variable, parse_duration,
};

const MAX_NEEDS: usize = 50;

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
    let planner = Planner {
        config,
        facts,
        candidates: &candidates,
        variables: &workflow.variables,
    };
    let mut budget = Budget::new(facts.limits.nodes);
    let mut decided = Vec::with_capacity(candidates.all.len());
    for candidate in &candidates.all {
        let decision = planner.decide(candidate);
        budget.take(
            decision
                .as_ref()
                .map_or(0, |it| weight_of_variables(&it.yaml)),
            candidate,
            report,
        )?;
        decided.push(decision);
    }
    let mut jobs: Vec<JobPlan> = Vec::new();
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
    let last = config.stages.len() - 1;
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
    variables: &'a [Variable],
}

/// A job that the event gets.
struct Decided<'a> {
    candidate: &'a Candidate<'a>,
    decision: Decision<'a>,
    /// Predefined variables of the job.
    predefined: Vec<Variable>,
    /// Variables of the file, those of the matching rule included.
    yaml: Vec<Variable>,
}

impl<'a> Planner<'a> {
    /// Returns the predefined variables of a job and those of the file, as its rules see them.
    fn variables_of(&self, candidate: &Candidate<'_>) -> (Vec<Variable>, Vec<Variable>) {
        let job = candidate.job;
        let inherited = self
            .variables
            .iter()
            .filter(|it| job.inherit.has_variable(&it.key));
        let mut yaml: Vec<Variable> = inherited.cloned().collect();
        overlay(&mut yaml, &job.variables);
        overlay(&mut yaml, &candidate.matrix);
        let mut predefined = predefined(candidate);
        if let Some(environment) = &job.environment {
            let scope = Scope::new(&predefined, &yaml, self.facts.event);
            let name = expand(
                &environment.name,
                &scope.expanded().variables,
                Unknown::Empty,
            );
            predefined.push(Variable::public("CI_ENVIRONMENT_NAME", name));
            predefined.push(Variable::public(
                "CI_ENVIRONMENT_ACTION",
                &environment.action,
            ));
        }
        (predefined, yaml)
    }

    /// Applies rules. `None`: the job is left out.
    fn decide(&self, candidate: &'a Candidate<'a>) -> Option<Decided<'a>> {
        let job = candidate.job;
        let (predefined, mut yaml) = self.variables_of(candidate);
        let scope = Scope::new(&predefined, &yaml, self.facts.event);
        let has_workflow_rules = self.config.workflow.rules.is_some();
        let decision = rules::decide(job, has_workflow_rules, &scope, self.facts)?;
        if let Some(rule) = decision.rule {
            overlay(&mut yaml, &rule.variables);
        }
        Some(Decided {
            candidate,
            decision,
            predefined,
            yaml,
        })
    }

    /// Makes the plan of one job. `None` after an error.
    fn job(
        &self,
        decided: &Decided<'a>,
        all: &[Option<Decided<'a>>],
        report: &mut Report,
    ) -> Option<JobPlan> {
        let Decided {
            candidate,
            decision,
            ..
        } = decided;
        let job = candidate.job;
        let common = job.common.clone();
        let scope = Scope::new(&decided.predefined, &decided.yaml, self.facts.event);
        let expanded = scope.expanded();
        if !expanded.cycle.is_empty() {
            let message = format!(
                "{}: circular variable reference detected: {:?}",
                candidate.name, expanded.cycle
            );
            report.error(job.span, message);
            return None;
        }
        let fill = |text: &String| expand(text, &expanded.variables, Unknown::Empty);
        // GitLab looks for the job's own needs even if those of a rule replace them.
        let own = match &job.needs {
            Some(needs) => Some(self.needs(candidate, needs, all, report)?),
            None => None,
        };
        let follows = job.needs.as_ref().is_some_and(|it| !it.mirrors.is_empty());
        let needs = match decision.rule.map(|it| &it.needs) {
            Some(needs) if !needs.jobs.is_empty() => Some(self.needs_of_rule(needs, all)),
            // A bridge that follows another pipeline waits for its stage.
            _ => own.filter(|_| !follows),
        };
        Some(JobPlan {
            name: candidate.name.clone(),
            stage: job.stage.clone(),
            stage_index: candidate.stage_index,
            script: common
                .before_script
                .into_iter()
                .flatten()
                .chain(job.script.iter().cloned())
                .collect(),
            after_script: common.after_script.unwrap_or_default(),
            pre_get_sources_script: common.pre_get_sources_script.unwrap_or_default(),
            variables: decided.yaml.clone(),
            needs,
            foreign_needs: job
                .needs
                .as_ref()
                .map(|it| it.foreign.clone())
                .unwrap_or_default(),
            dependencies: job
                .dependencies
                .as_ref()
                .map(|it| self.dependencies(&it.1, all)),
            artifacts: match &job.pages {
                None => common.artifacts,
                Some(pages) => Some(with_path(common.artifacts, &pages.publish)),
            },
            cache: common.cache.unwrap_or_default(),
            when: decision.when,
            start_in_secs: decision.start_in_secs,
            allow_failure: decision.allow_failure,
            allow_failure_exit_codes: decision.allow_failure_exit_codes.clone(),
            tags: common
                .tags
                .iter()
                .flatten()
                .map(|it| expand_with(it, Unknown::Keep, |name| scope.find(name)))
                .collect(),
            retry: common.retry.unwrap_or_default(),
            timeout_secs: common.timeout_secs,
            image: common.image,
            services: common.services.unwrap_or_default(),
            bridge: job.bridge.as_ref().map(|it| expand_bridge(it, fill)),
            steps: job.steps.clone(),
            id_tokens: common
                .id_tokens
                .into_iter()
                .flatten()
                .map(|it| IdToken {
                    audience: it.audience.iter().map(fill).collect(),
                    ..it
                })
                .collect(),
            secrets: job.secrets.clone(),
            inputs: job.inputs.clone(),
            release: job.release.clone(),
            pages: job.pages.as_ref().map(|it| pages(it, fill)),
            interruptible: decision
                .rule
                .and_then(|it| it.interruptible)
                .or(common.interruptible)
                .unwrap_or(false),
            environment: job.environment.as_ref().map(|it| Environment {
                name: fill(&it.name),
                auto_stop_in: it.auto_stop_in.as_ref().map(fill),
                ..it.clone()
            }),
            coverage: job.coverage.clone(),
            resource_group: job
                .resource_group
                .as_ref()
                .map(fill)
                .filter(|it| !it.is_empty()),
            manual_confirmation: job.manual_confirmation.clone(),
            parallel: candidate.parallel,
        })
    }

    /// Returns the needs that exist. One that the rules left out is an error unless it is optional.
    fn needs(
        &self,
        candidate: &Candidate<'_>,
        written: &Needs,
        all: &[Option<Decided<'a>>],
        report: &mut Report,
    ) -> Option<Vec<Need>> {
        let mut needs = Vec::new();
        let mut count = 0;
        for entry in &written.jobs {
            let targets = self.candidates.needed(candidate, entry).ok()?;
            count += targets.len();
            for index in targets.iter().filter_map(|it| it.index) {
                if all[index].is_some() {
                    needs.push(self.need(index, entry));
                } else if !entry.optional {
                    let name = &self.candidates.all[index].name;
                    let message = format!(
                        "'{}' job needs '{name}' job, but '{name}' does not exist in the pipeline. This might be \
                         because of the only, except, or rules keywords. To need a job that sometimes does not exist \
                         in the pipeline, use needs:optional.",
                        candidate.name,
                    );
                    report.error(entry.span, message);
                    return None;
                }
            }
        }
        if count > MAX_NEEDS {
            let message = format!(
                "{}: one job can only need {MAX_NEEDS} others, but you have listed {count}. See needs keyword \
                 documentation for more details",
                candidate.name,
            );
            report.error(written.span, message);
            return None;
        }
        Some(needs)
    }

    /// Returns the needs of a rule that exist. They name each copy of a parallel job by itself.
    fn needs_of_rule(&self, written: &Needs, all: &[Option<Decided<'a>>]) -> Vec<Need> {
        let found = |it: &NeedEntry| {
            self.candidates
                .find(&it.job)
                .filter(|it| all[*it].is_some())
        };
        let needs = written.jobs.iter();
        needs
            .filter_map(|it| Some(self.need(found(it)?, it)))
            .collect()
    }

    fn need(&self, index: usize, entry: &NeedEntry) -> Need {
        Need {
            job: self.candidates.all[index].name.clone(),
            artifacts: entry.artifacts,
            optional: entry.optional,
        }
    }

    fn dependencies(&self, names: &[String], all: &[Option<Decided<'a>>]) -> Vec<String> {
        names
            .iter()
            .flat_map(|it| self.candidates.named(it))
            .filter(|it| it.index.is_some_and(|it| all[it].is_some()))
            .map(|it| it.name.into_owned())
            .collect()
    }
}

/// Fills variables into what pages are called and how long they stay.
fn pages(entry: &PagesEntry, fill: impl Fn(&String) -> String) -> Pages {
    let expire_in = entry.expire_in.as_ref().map(&fill);
    Pages {
        publish: fill(&entry.publish),
        path_prefix: entry.path_prefix.as_ref().map(&fill),
        expire_in: expire_in.and_then(|it| match it.eq_ignore_ascii_case("never") {
            true => Some(Expiry::Never),
            false => parse_duration(&it)
                .ok()
                .flatten()
                .map(|it| Expiry::AfterSecs(it.as_secs())),
        }),
    }
}

/// Adds the directory of pages to what the job leaves behind.
fn with_path(artifacts: Option<Artifacts>, path: &str) -> Artifacts {
    let mut artifacts = artifacts.unwrap_or_default();
    if !artifacts.paths.iter().any(|it| it == path) {
        artifacts.paths.push(path.to_owned());
    }
    artifacts
}

/// Fills variables into what a bridge names.
fn expand_bridge(bridge: &Bridge, fill: impl Fn(&String) -> String) -> Bridge {
    match bridge {
        Bridge::Mirror { project } => Bridge::Mirror {
            project: fill(project),
        },
        Bridge::Trigger(trigger) => Bridge::Trigger(Trigger {
            target: match &trigger.target {
                TriggerTarget::Project { project, branch } => TriggerTarget::Project {
                    project: fill(project),
                    branch: branch.as_ref().map(fill).filter(|it| !it.is_empty()),
                },
                child @ TriggerTarget::Child { .. } => child.clone(),
            },
            ..trigger.clone()
        }),
    }
}

/// Returns the predefined variables that exist once a job is planned.
fn predefined(candidate: &Candidate<'_>) -> Vec<Variable> {
    let Candidate { name, job, .. } = candidate;
    let mut variables = vec![
        Variable::public("CI_JOB_NAME", name),
        Variable::public("CI_JOB_NAME_SLUG", crate::slug(name)),
        Variable::public("CI_JOB_GROUP_NAME", &job.name),
        Variable::public("CI_JOB_STAGE", &job.stage),
    ];
    if job.when == crate::When::Manual {
        variables.push(Variable::public("CI_JOB_MANUAL", "true"));
    }
    if let Some(copy) = candidate.parallel {
        variables.push(Variable::public("CI_NODE_INDEX", copy.index.to_string()));
    }
    let total = candidate.parallel.map_or(1, |it| it.total);
    variables.push(Variable::public("CI_NODE_TOTAL", total.to_string()));
    variables
}
