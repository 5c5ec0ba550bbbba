//! A part of a plan: the jobs that somebody names, and what they need.

use std::collections::{BTreeMap, BTreeSet};

use crate::{JobPlan, Plan};

/// Which jobs of a plan are wanted. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of jobs. That of a parallel job, without its number or its variables, means all copies.
    pub jobs: Vec<String>,
    /// Names of stages, for all of their jobs.
    pub stages: Vec<String>,
    /// What of that which these jobs wait for is wanted too, and of that which it waits for.
    pub needed: Needed,
}

/// What is wanted besides the jobs that are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Needed {
    #[default]
    Nothing,
    /// The jobs whose artifacts they get.
    Artifacts,
    /// All that they wait for.
    All,
}

impl Selection {
    /// Whether the whole plan is wanted.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.jobs.is_empty() && self.stages.is_empty()
    }
}

/// A name that stands for nothing in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSelected {
    Job(String),
    Stage(String),
}

impl JobPlan {
    /// Returns the name in the file, which the copies of a parallel job share.
    #[must_use]
    pub fn group_name(&self) -> &str {
        let Some(copy) = self.parallel else {
            return &self.name;
        };
        let number = format!(" {}/{}", copy.index, copy.total);
        match self.name.strip_suffix(&number) {
            Some(name) => name,
            // Of a matrix the copies are told apart by their variables.
            None => self.name.split(": [").next().unwrap_or(&self.name),
        }
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.group_name() == name
    }
}

impl Plan {
    /// Returns the names of the jobs that a selection names, in order; of everything, of none in particular.
    ///
    /// # Errors
    /// With the first name that stands for nothing here.
    pub fn named(&self, selection: &Selection) -> Result<Vec<String>, NotSelected> {
        let job = |name: &&String| !self.jobs.iter().any(|it| it.is_called(name));
        if let Some(name) = selection.jobs.iter().find(job) {
            return Err(NotSelected::Job(name.clone()));
        }
        let stage = |name: &&String| !self.jobs.iter().any(|it| it.stage == **name);
        if let Some(name) = selection.stages.iter().find(stage) {
            return Err(NotSelected::Stage(name.clone()));
        }
        Ok(if selection.is_everything() {
            Vec::new()
        } else {
            self.known(selection)
        })
    }

    /// Returns the names of the jobs that a selection names as far as they are in the plan, in order; of everything, of all.
    #[must_use]
    pub fn known(&self, selection: &Selection) -> Vec<String> {
        let wanted = |it: &&JobPlan| {
            selection.is_everything()
                || selection.jobs.iter().any(|name| it.is_called(name))
                || selection.stages.contains(&it.stage)
        };
        self.jobs
            .iter()
            .filter(wanted)
            .map(|it| it.name.clone())
            .collect()
    }

    /// Leaves out what a selection does not want, and every wait for it.
    ///
    /// # Errors
    /// As [`Plan::named`].
    pub fn select(&mut self, selection: &Selection) -> Result<(), NotSelected> {
        if selection.is_everything() {
            return Ok(());
        }
        let mut kept: BTreeSet<String> = self.named(selection)?.into_iter().collect();
        if selection.needed != Needed::Nothing {
            self.add_needed(&mut kept, selection.needed == Needed::All);
        }
        self.jobs.retain(|it| kept.contains(&it.name));
        for job in &mut self.jobs {
            if let Some(needs) = &mut job.needs {
                needs.retain(|it| kept.contains(&it.job));
            }
            if let Some(dependencies) = &mut job.dependencies {
                dependencies.retain(|it| kept.contains(it));
            }
        }
        Ok(())
    }

    /// Adds what these jobs wait for, step by step: their needs, or the jobs of earlier stages; of these, unless `all` are
    /// wanted, those whose artifacts they get.
    fn add_needed(&self, kept: &mut BTreeSet<String>, all: bool) {
        let by_name: BTreeMap<&str, &JobPlan> =
            self.jobs.iter().map(|it| (it.name.as_str(), it)).collect();
        let find = |name: &str| by_name.get(name).copied();
        let mut open: Vec<&JobPlan> = kept.iter().filter_map(|it| find(it)).collect();
        // Jobs of a stage wait for the same jobs, so only the latest stage that was added counts.
        let mut stages = 0;
        while let Some(job) = open.pop() {
            let waits: Vec<&JobPlan> = match (&job.dependencies, &job.needs) {
                (Some(names), _) if !all => names.iter().filter_map(|it| find(it)).collect(),
                (_, Some(needs)) => {
                    let wanted = needs.iter().filter(|it| all || it.artifacts);
                    wanted.filter_map(|it| find(&it.job)).collect()
                }
                (_, None) if job.stage_index <= stages => Vec::new(),
                (_, None) => {
                    stages = job.stage_index;
                    let earlier = |it: &&JobPlan| it.stage_index < stages;
                    self.jobs.iter().filter(earlier).collect()
                }
            };
            let waits = waits.into_iter().filter(|it| all || it.artifacts.is_some());
            open.extend(waits.filter(|it| kept.insert(it.name.clone())));
        }
    }
}
