//! Keeps a plan in proportion to its file.

use super::candidates::Candidate;
use crate::report::Report;
use crate::yaml::{TEXT_PER_NODE, TOO_BIG};
use crate::{JobPlan, Variable};

/// How much of a plan may still be made. Copies and defaults multiply what a small file says.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new(nodes: usize) -> Self {
        Self(nodes)
    }

    /// Takes from the budget. `None`: it is used up, which is reported.
    pub(super) fn take(
        &mut self,
        weight: usize,
        candidate: &Candidate<'_>,
        report: &mut Report,
    ) -> Option<()> {
        match self.0.checked_sub(weight) {
            Some(left) => self.0 = left,
            None => {
                report.error(candidate.job.span, TOO_BIG);
                return None;
            }
        }
        Some(())
    }
}

fn weight_of_texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    texts
        .into_iter()
        .map(|it| 1 + it.len() / TEXT_PER_NODE)
        .sum()
}

pub(super) fn weight_of_variables(variables: &[Variable]) -> usize {
    weight_of_texts(variables.iter().flat_map(|it| [&it.key, &it.value]))
}

pub(super) fn weight(job: &JobPlan) -> usize {
    let lines = job
        .script
        .iter()
        .chain(&job.after_script)
        .chain(&job.pre_get_sources_script);
    let artifacts = job
        .artifacts
        .iter()
        .flat_map(|it| it.paths.iter().chain(&it.exclude));
    let reports = job
        .artifacts
        .iter()
        .flat_map(|it| &it.reports)
        .flat_map(|it| &it.paths);
    let caches = job
        .cache
        .iter()
        .flat_map(|it| it.paths.iter().chain(&it.fallback_keys));
    let needs = job
        .needs
        .iter()
        .flatten()
        .map(|it| &it.job)
        .chain(job.dependencies.iter().flatten());
    let names = job
        .tags
        .iter()
        .chain(&job.resource_group)
        .chain(job.environment.as_ref().map(|it| &it.name));
    weight_of_texts(
        lines
            .chain(artifacts)
            .chain(reports)
            .chain(caches)
            .chain(needs)
            .chain(names),
    ) + weight_of_variables(&job.variables)
}
