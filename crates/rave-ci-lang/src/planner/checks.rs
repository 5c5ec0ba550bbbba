//! Jobs compared with stages and with each other, before any rule is asked.

use std::collections::{HashMap, HashSet};

use super::candidates::Candidates;
use crate::entry::{Config, Job, NeedEntry};
use crate::graph;
use crate::report::{Report, did_you_mean};
use crate::yaml::Span;

const MAX_NEEDS: usize = 50;

pub(super) fn check(config: &Config, candidates: &Candidates<'_>, report: &mut Report) {
    let checker = Checker { config, candidates };
    for job in &config.jobs {
        checker.job(job, report);
    }
    if report.has_errors() {
        return;
    }
    let owner = |name: &str| {
        candidates
            .named(name)
            .first()
            .map(|it| candidates.all[*it].job.name.as_str())
    };
    let edges = |job: &'_ Job| {
        job.needs
            .iter()
            .flatten()
            .filter_map(|it| owner(&it.job))
            .collect()
    };
    check_circles(
        config
            .jobs
            .iter()
            .map(|it| (it.name.as_str(), edges(it)))
            .collect(),
        config,
        report,
    );
}

/// Reports needs that go in circles.
pub(super) fn check_circles(jobs: Vec<(&str, Vec<&str>)>, config: &Config, report: &mut Report) {
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
    let span = config
        .jobs
        .iter()
        .find(|it| it.name == *first)
        .map_or(Span::default(), |it| it.span);
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
    fn job(&self, job: &Job, report: &mut Report) {
        let Some(stage) = self.config.stages.iter().position(|it| *it == job.stage) else {
            let stages = self.config.stages.join(", ");
            let message = format!(
                "{} job: chosen stage {} does not exist; available stages are {stages}",
                job.name, job.stage
            );
            let hint = did_you_mean(&job.stage, self.config.stages.iter().map(String::as_str));
            report.error_with_hint(job.stage_span, message, hint);
            return;
        };
        for (span, dependency) in job
            .dependencies
            .iter()
            .flat_map(|(span, names)| names.iter().map(move |it| (*span, it)))
        {
            self.reference(job, stage, dependency, "dependency", span, report);
            if job
                .needs
                .as_ref()
                .is_some_and(|it| !it.iter().any(|it| it.job == *dependency))
            {
                let message = format!(
                    "jobs:{} dependencies the {dependency} should be part of needs",
                    job.name
                );
                report.entry_error(span, message);
            }
        }
        self.needs(job, stage, job.needs.as_deref().unwrap_or_default(), report);
        for rule in job.rules.iter().flatten() {
            self.needs(job, stage, &rule.needs, report);
        }
        self.warn_of_double_pipelines(job, report);
    }

    fn needs(&self, job: &Job, stage: usize, needs: &[NeedEntry], report: &mut Report) {
        let mut seen = HashSet::new();
        let mut count = 0;
        for need in needs {
            let named = self.candidates.named(&need.job);
            count += named.len();
            if !(named.is_empty() && need.optional) {
                self.reference(job, stage, &need.job, "need", need.span, report);
            }
            if named.iter().any(|it| !seen.insert(*it)) {
                report.error(
                    need.span,
                    format!(
                        "{} has the following needs duplicated: {}.",
                        job.name, need.job
                    ),
                );
            }
        }
        if count > MAX_NEEDS {
            let message = format!(
                "{} job: one job can only need {MAX_NEEDS} others, but you have listed {count}. \
                 See needs keyword documentation for more details",
                job.name
            );
            report.error(job.span, message);
        }
    }

    /// Checks that a name means jobs of the same or an earlier stage.
    fn reference(
        &self,
        job: &Job,
        stage: usize,
        name: &str,
        what: &str,
        span: Span,
        report: &mut Report,
    ) {
        let named = self.candidates.named(name);
        if named.is_empty() {
            let hint = did_you_mean(name, self.config.jobs.iter().map(|it| it.name.as_str()));
            report.error_with_hint(
                span,
                format!("{} job: undefined {what}: {name}", job.name),
                hint,
            );
        } else if named
            .iter()
            .any(|it| self.candidates.all[*it].stage_index > stage)
        {
            let message = format!(
                "{} job: {what} {name} is not defined in current or prior stages",
                job.name
            );
            report.error(span, message);
        }
    }

    fn warn_of_double_pipelines(&self, job: &Job, report: &mut Report) {
        let last = job.rules.as_ref().and_then(|it| it.last());
        let Some(last) = last
            .filter(|it| it.clauses.is_empty() && it.when.is_some() && !super::rules::is_never(it))
        else {
            return;
        };
        if self.config.workflow.rules.is_none() {
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
