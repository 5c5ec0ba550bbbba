//! The jobs that may come into the pipeline: parallel ones as their copies, each under its own name.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::entry::{Axes, Config, Job, NeedEntry, copy_names};
use crate::event::set_by;
use crate::report::Report;
use crate::{ParallelCopy, Variable};

pub(super) struct Candidate<'a> {
    pub(super) name: String,
    pub(super) job: &'a Job,
    /// Index into the stages; meaningless until [`super::checks::check`] found no error.
    pub(super) stage_index: usize,
    pub(super) parallel: Option<ParallelCopy>,
    /// Variables of this copy of a matrix.
    pub(super) matrix: Vec<Variable>,
}

pub(super) struct Candidates<'a> {
    pub(super) all: Vec<Candidate<'a>>,
    by_name: HashMap<String, usize>,
    /// The copies of each parallel job. One that a matrix makes twice is there twice.
    copies: HashMap<&'a str, Vec<usize>>,
}

/// A name that a job gives for another one, and which one that is.
pub(super) struct Target<'n> {
    pub(super) name: Cow<'n, str>,
    pub(super) index: Option<usize>,
}

/// A key in `$[[ matrix.KEY ]]` that the job does not have.
#[derive(Debug)]
pub(super) struct NotInMatrix(pub(super) String);

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
            all: Vec::with_capacity(config.jobs.len()),
            by_name: HashMap::with_capacity(config.jobs.len()),
            copies: HashMap::new(),
        };
        for job in &config.jobs {
            let stage_index = stages.get(job.stage.as_str()).copied().unwrap_or(0);
            let candidate = |name, parallel, matrix| Candidate {
                name,
                job,
                stage_index,
                parallel,
                matrix,
            };
            match &job.parallel {
                None => {
                    candidates.add(candidate(job.name.clone(), None, Vec::new()));
                }
                Some(parallel) => {
                    let copies = parallel.copies();
                    let total = u32::try_from(copies.len()).unwrap_or(u32::MAX);
                    let indexes = (1..)
                        .zip(copies)
                        .map(|(index, (suffix, variables))| {
                            let name = format!("{}{suffix}", job.name);
                            let copy = ParallelCopy { index, total };
                            candidates.add(candidate(name, Some(copy), variables))
                        })
                        .collect();
                    candidates.copies.insert(&job.name, indexes);
                }
            }
            if candidates.all.len() > limit {
                let message = format!("The number of jobs has exceeded the limit of {limit}.");
                report.error_with_hint(job.span, message, set_by("max_jobs"));
                return None;
            }
        }
        Some(candidates)
    }

    /// Adds a job. Of two with one name the later counts, at the place of the first.
    fn add(&mut self, candidate: Candidate<'a>) -> usize {
        if let Some(&index) = self.by_name.get(&candidate.name) {
            self.all[index] = candidate;
            return index;
        }
        self.by_name.insert(candidate.name.clone(), self.all.len());
        self.all.push(candidate);
        self.all.len() - 1
    }

    /// Returns the job of exactly that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Returns what a name means: the name of a parallel job all of its copies.
    pub(super) fn named<'n>(&self, name: &'n str) -> Vec<Target<'n>>
    where
        'a: 'n,
    {
        match self.copies.get(name) {
            None => vec![self.target(Cow::Borrowed(name))],
            Some(copies) => copies
                .iter()
                .map(|it| self.target(Cow::Owned(self.all[*it].name.clone())))
                .collect(),
        }
    }

    /// Returns the jobs that a need of `candidate` means.
    pub(super) fn needed<'n>(
        &self,
        candidate: &Candidate<'_>,
        need: &'n NeedEntry,
    ) -> Result<Vec<Target<'n>>, NotInMatrix>
    where
        'a: 'n,
    {
        if self.copies.is_empty() {
            return Ok(vec![self.target(Cow::Borrowed(&need.job))]);
        }
        let fill = |text| fill_matrix(text, candidate);
        let name = fill(&need.job)?;
        let filter = match &need.matrix {
            Some(matrix) if self.copies.contains_key(name.as_ref()) => matrix,
            _ => {
                return Ok(match name {
                    Cow::Borrowed(name) => self.named(name),
                    Cow::Owned(name) => self
                        .named(&name)
                        .into_iter()
                        .map(|it| Target {
                            name: Cow::Owned(it.name.into_owned()),
                            index: it.index,
                        })
                        .collect(),
                });
            }
        };
        let filled: Vec<Axes> = filter
            .iter()
            .map(|axes| {
                axes.iter()
                    .map(|(key, values)| {
                        let values = values.iter().map(|it| fill(it).map(Cow::into_owned));
                        Ok((key.clone(), values.collect::<Result<_, _>>()?))
                    })
                    .collect()
            })
            .collect::<Result<_, _>>()?;
        Ok(copy_names(&name, &filled)
            .into_iter()
            .map(|it| self.target(Cow::Owned(it)))
            .collect())
    }

    fn target<'n>(&self, name: Cow<'n, str>) -> Target<'n> {
        Target {
            index: self.find(&name),
            name,
        }
    }
}

/// Fills in `$[[ matrix.KEY ]]` from the variables of the job and of its copy.
fn fill_matrix<'t>(text: &'t str, candidate: &Candidate<'_>) -> Result<Cow<'t, str>, NotInMatrix> {
    if !text.contains("$[[") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("$[[") {
        out += &rest[..at];
        rest = &rest[at..];
        let Some((key, length)) = matrix_block(rest) else {
            out += "$[[";
            rest = &rest[3..];
            continue;
        };
        let own = candidate.matrix.iter().rev();
        let variable = own
            .chain(candidate.job.variables.iter().rev())
            .find(|it| it.key == key);
        out += &variable.ok_or_else(|| NotInMatrix(key.to_owned()))?.value;
        rest = &rest[length..];
    }
    Ok(Cow::Owned(out + rest))
}

/// Reads `$[[ matrix.KEY ]]` at the start of a text: its key and its length.
fn matrix_block(text: &str) -> Option<(&str, usize)> {
    let end = text.find("]]")?;
    let key = text[3..end].trim().strip_prefix("matrix.")?;
    let valid = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    (!key.is_empty() && key.chars().all(valid)).then_some((key, end + 2))
}
