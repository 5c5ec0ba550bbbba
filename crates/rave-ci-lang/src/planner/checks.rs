//! Jobs compared with stages and with each other, before any rule is asked.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::candidates::{Candidate, Candidates, NotInMatrix, Target};
use crate::entry::{Config, Job, NeedEntry};
use crate::graph;
use crate::report::{Report, did_you_mean};
use crate::yaml::Span;

pub(super) fn check(config: &Config, candidates: &Candidates<'_>, report: &mut Report) {
    let checker = Checker { config, candidates };
    let mut wrong: Option<*const Job> = None;
    for candidate in &candidates.all {
        // What is wrong with one copy is wrong with all of them.
        if wrong.is_some_and(|it| std::ptr::eq(it, candidate.job)) {
            continue;
        }
        let errors = report.error_count();
        checker.candidate(candidate, report);
        if report.error_count() > errors {
            wrong = Some(candidate.job);
        }
    }
    for job in &config.jobs {
        checker.warn_of_double_pipelines(job, report);
    }
    if report.has_errors() {
        return;
    }
    let edges = |candidate: &Candidate<'_>| {
        let needs = candidate.job.needs.iter().flat_map(|it| &it.jobs);
        needs
            .flat_map(|it| candidates.needed(candidate, it).unwrap_or_default())
            .filter_map(|it| it.index)
            .map(|it| candidates.all[it].name.as_str())
            .collect()
    };
    check_circles(
        candidates
            .all
            .iter()
            .map(|it| (it.name.as_str(), edges(it)))
            .collect(),
        candidates,
        report,
    );
}

/// Reports needs that go in circles.
pub(super) fn check_circles(
    jobs: Vec<(&str, Vec<&str>)>,
    candidates: &Candidates<'_>,
    report: &mut Report,
) {
    let index: HashMap<&str, usize> = jobs
        .iter()
        .enumerate()
        .map(|(index, it)| (it.0, index))
        .collect();
    let edges: Vec<Vec<usize>> = jobs
        .iter()
        .map(|it| {
            it.1.iter()
                .filter_map(|it| index.get(it).copied())
                .collect()
        })
        .collect();
    let (_, on_circle) = graph::sort(&edges);
    let names: Vec<&str> = jobs
        .iter()
        .zip(&on_circle)
        .filter(|it| *it.1)
        .map(|it| it.0.0)
        .collect();
    let Some(first) = names.first() else { return };
    let self_needing = (0..jobs.len()).find(|it| edges[*it].contains(it));
    let what = match self_needing {
        Some(job) => format!("self-dependency: {}", jobs[job].0),
        None => format!("topological sort failed: {names:?}"),
    };
    let span = candidates
        .find(first)
        .map_or(Span::default(), |it| candidates.all[it].job.span);
    report.error(
        span,
        format!("The pipeline has circular dependencies: {what}"),
    );
}

struct Checker<'a> {
    config: &'a Config,
    candidates: &'a Candidates<'a>,
}

impl Checker<'_> {
    /// Asks the questions in GitLab's order.
    fn candidate(&self, candidate: &Candidate<'_>, report: &mut Report) {
        let job = candidate.job;
        if self.config.stages.get(candidate.stage_index) != Some(&job.stage) {
            let stages = self.config.stages.join(", ");
            let message = format!(
                "{} job: chosen stage {} does not exist; available stages are {stages}",
                candidate.name, job.stage
            );
            let hint = did_you_mean(&job.stage, self.config.stages.iter().map(String::as_str));
            report.error_with_hint(job.stage_span, message, hint);
            return;
        }
        for (span, name) in job
            .dependencies
            .iter()
            .flat_map(|(span, names)| names.iter().map(move |it| (*span, it)))
        {
            for target in self.candidates.named(name) {
                self.reference(candidate, &target, "dependency", span, report);
            }
        }
        self.needs(candidate, report);
        for rule in job.rules.iter().flatten() {
            let written = rule.needs.jobs.iter().map(|it| {
                let target = Target {
                    name: Cow::Borrowed(it.job.as_str()),
                    index: self.candidates.find(&it.job),
                };
                (it, target)
            });
            self.targets(candidate, written.collect(), report);
        }
        for (span, name) in &job.artifact_jobs {
            let target = Target {
                name: Cow::Borrowed(name.as_str()),
                index: self.candidates.find(name),
            };
            self.reference(candidate, &target, "dependency", *span, report);
        }
        self.stops(candidate, report);
        if job.pages.as_ref().is_some_and(|it| it.is_ambiguous) {
            let name = &candidate.name;
            report.error(
                job.span,
                format!("{name} job: use either {name}:publish or {name}:pages:publish"),
            );
        }
    }

    /// Checks that the job which is to stop an environment can do so.
    fn stops(&self, candidate: &Candidate<'_>, report: &mut Report) {
        let Some(environment) = &candidate.job.environment else {
            return;
        };
        let Some(on_stop) = &environment.on_stop else {
            return;
        };
        let found = self.candidates.find(on_stop);
        let found = found.map(|it| &self.candidates.all[it].job.environment);
        let problem = match found {
            None => "is not defined",
            Some(None) => "does not have environment defined",
            Some(Some(stopped)) if stopped.name != environment.name => {
                "have different environment name"
            }
            Some(Some(stopped)) if stopped.action != "stop" => "needs to have action stop defined",
            Some(Some(_)) => return,
        };
        let hint = match found {
            None => did_you_mean(on_stop, self.config.jobs.iter().map(|it| it.name.as_str())),
            Some(_) => None,
        };
        let message = format!("{} job: on_stop job {on_stop} {problem}", candidate.name);
        report.error_with_hint(candidate.job.span, message, hint);
    }

    fn needs(&self, candidate: &Candidate<'_>, report: &mut Report) {
        let Some(needs) = &candidate.job.needs else {
            return;
        };
        let mut targets = Vec::with_capacity(needs.jobs.len());
        for need in &needs.jobs {
            match self.candidates.needed(candidate, need) {
                Ok(found) => targets.extend(found.into_iter().map(|it| (need, it))),
                Err(NotInMatrix(key)) => {
                    let message = format!(
                        "{} job: '{key}' does not exist in matrix configuration",
                        candidate.job.name
                    );
                    report.error(need.span, message);
                    return;
                }
            }
        }
        self.targets(candidate, targets, report);
    }

    fn targets(
        &self,
        candidate: &Candidate<'_>,
        targets: Vec<(&NeedEntry, Target<'_>)>,
        report: &mut Report,
    ) {
        for (need, target) in &targets {
            if target.index.is_some() || !need.optional {
                self.reference(candidate, target, "need", need.span, report);
            }
        }
        let mut seen = HashSet::new();
        let twice: Vec<&(&NeedEntry, Target<'_>)> = targets
            .iter()
            .filter(|it| !seen.insert(it.1.name.as_ref()))
            .collect();
        if let Some((need, _)) = twice.first() {
            let names: Vec<&str> = twice.iter().map(|it| it.1.name.as_ref()).collect();
            let message = format!(
                "{} has the following needs duplicated: {}.",
                candidate.name,
                names.join(", ")
            );
            report.error(need.span, message);
        }
    }

    /// Checks that a name means a job of the same or an earlier stage.
    fn reference(
        &self,
        candidate: &Candidate<'_>,
        target: &Target<'_>,
        what: &str,
        span: Span,
        report: &mut Report,
    ) {
        let (job, name) = (&candidate.name, &target.name);
        match target.index {
            None => {
                let names = self.config.jobs.iter().map(|it| it.name.as_str());
                let hint = did_you_mean(name, names);
                report.error_with_hint(span, format!("{job} job: undefined {what}: {name}"), hint);
            }
            Some(index) if self.candidates.all[index].stage_index > candidate.stage_index => {
                report.error(
                    span,
                    format!("{job} job: {what} {name} is not defined in current or prior stages"),
                );
            }
            Some(_) => {}
        }
    }

    fn warn_of_double_pipelines(&self, job: &Job, report: &mut Report) {
        let last = job.rules.as_ref().and_then(|it| it.last());
        let Some(last) = last
            .filter(|it| it.clauses.is_empty() && it.when.is_some() && !super::rules::is_never(it))
        else {
            return;
        };
        if !self.config.workflow.has_rules {
            let message = format!(
                "jobs:{} may allow multiple pipelines to run for a single action due to `rules:when` clause with no \
                 `workflow:rules` - read more: https://docs.gitlab.com/ee/ci/jobs/job_troubleshooting.html\
                 #job-may-allow-multiple-pipelines-to-run-for-a-single-action-warning",
                job.name.to_lowercase()
            );
            report.warn(last.span, message, None);
        }
    }
}
