//! The jobs that may come into the pipeline: parallel ones as their copies, each under its own name.

use std::collections::HashMap;

use crate::entry::{Config, Job};
use crate::report::Report;
use crate::{ParallelCopy, Variable};

pub(super) struct Candidate<'a> {
    pub(super) name: String,
    pub(super) job: &'a Job,
    /// Index into the stages; meaningless until [`super::checks::check`] found no error.
    pub(super) stage_index: usize,
    pub(super) parallel: Option<ParallelCopy>,
    /// Variables of this copy of a matrix.
    pub(super) matrix: &'a [Variable],
}

pub(super) struct Candidates<'a> {
    pub(super) all: Vec<Candidate<'a>>,
    /// Indexes by the name of a job as written, which means all of its copies, and by the name of one copy.
    by_name: HashMap<String, Vec<usize>>,
}

impl<'a> Candidates<'a> {
    /// Returns `None` if there are more than `limit`.
    pub(super) fn new(config: &'a Config, limit: usize, report: &mut Report) -> Option<Self> {
        let stages: HashMap<&str, usize> = config
            .stages
            .iter()
            .enumerate()
            .map(|(index, it)| (it.as_str(), index))
            .collect();
        let mut candidates = Self {
            all: Vec::new(),
            by_name: HashMap::new(),
        };
        for job in &config.jobs {
            let stage_index = stages.get(job.stage.as_str()).copied().unwrap_or(0);
            for (name, parallel, matrix) in copies(job) {
                let index = candidates.all.len();
                if index == limit {
                    report.error(
                        job.span,
                        format!("The number of jobs has exceeded the limit of {limit}."),
                    );
                    return None;
                }
                let is_copy = name != job.name;
                candidates
                    .by_name
                    .entry(job.name.clone())
                    .or_default()
                    .push(index);
                if is_copy {
                    candidates
                        .by_name
                        .entry(name.clone())
                        .or_default()
                        .push(index);
                }
                candidates.all.push(Candidate {
                    name,
                    job,
                    stage_index,
                    parallel,
                    matrix,
                });
            }
        }
        Some(candidates)
    }

    /// Returns the indexes of the jobs that a name means.
    pub(super) fn named(&self, name: &str) -> &[usize] {
        self.by_name
            .get(name)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// Returns name, position and variables of each copy of a job. Of copies with one name the last counts.
fn copies(job: &Job) -> Vec<(String, Option<ParallelCopy>, &[Variable])> {
    let Some(parallel) = &job.parallel else {
        return vec![(job.name.clone(), None, &[])];
    };
    let mut copies: Vec<(String, &[Variable])> = Vec::new();
    for (suffix, variables) in parallel.copies() {
        let name = format!("{}{suffix}", job.name);
        match copies.iter_mut().find(|it| it.0 == name) {
            Some(same) => same.1 = variables,
            None => copies.push((name, variables)),
        }
    }
    let total = u32::try_from(copies.len()).unwrap_or(u32::MAX);
    let numbered = (1..).zip(copies);
    numbered
        .map(|(index, (name, variables))| (name, Some(ParallelCopy { index, total }), variables))
        .collect()
}
