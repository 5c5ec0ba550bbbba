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
    /// Whether what these jobs wait for is wanted too, and what that waits for.
    pub needed: bool,
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
}

impl Plan {
    /// Returns the names of the jobs that a selection names, in order; of everything, of none in particular.
    ///
    /// # Errors
    /// With the first name that stands for nothing here.
    pub fn named(&self, selection: &Selection) -> Result<Vec<String>, NotSelected> {
        let mut named = BTreeSet::new();
        for wanted in &selection.jobs {
            let is = |job: &&JobPlan| job.name == *wanted || job.group_name() == wanted;
            let before = named.len();
            named.extend(self.jobs.iter().filter(is).map(|it| it.name.as_str()));
            if named.len() == before && !named.contains(wanted.as_str()) {
                return Err(NotSelected::Job(wanted.clone()));
            }
        }
        for wanted in &selection.stages {
            let mut jobs = self.jobs.iter().filter(|it| it.stage == *wanted).peekable();
            if jobs.peek().is_none() {
                return Err(NotSelected::Stage(wanted.clone()));
            }
            named.extend(jobs.map(|it| it.name.as_str()));
        }
        let in_order = self.jobs.iter().filter(|it| named.contains(&*it.name));
        Ok(in_order.map(|it| it.name.clone()).collect())
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
        if selection.needed {
            self.add_needed(&mut kept);
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

    /// Adds what these jobs wait for, step by step: their needs, or all jobs of earlier stages.
    fn add_needed(&self, kept: &mut BTreeSet<String>) {
        let by_name: BTreeMap<&str, &JobPlan> =
            self.jobs.iter().map(|it| (it.name.as_str(), it)).collect();
        let mut open: Vec<&JobPlan> = kept
            .iter()
            .filter_map(|it| by_name.get(&**it))
            .copied()
            .collect();
        // Jobs of a stage wait for the same jobs, so only the latest stage that was added counts.
        let mut stages = 0;
        while let Some(job) = open.pop() {
            let waits: Vec<&JobPlan> = match &job.needs {
                Some(needs) => needs
                    .iter()
                    .filter_map(|it| by_name.get(&*it.job))
                    .copied()
                    .collect(),
                None if job.stage_index <= stages => Vec::new(),
                None => {
                    stages = job.stage_index;
                    let earlier = |it: &&JobPlan| it.stage_index < stages;
                    self.jobs.iter().filter(earlier).collect()
                }
            };
            open.extend(waits.into_iter().filter(|it| kept.insert(it.name.clone())));
        }
    }
}
