//! What a change of the file does to the pipeline of an event.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{JobPlan, Outcome};

/// The difference between two plans. Jobs are told apart by their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanDiff {
    /// Names, in the order of the new plan.
    pub added: Vec<String>,
    /// Names, in the order of the old plan.
    pub dropped: Vec<String>,
    pub changed: Vec<JobDiff>,
    /// Why there was no pipeline before, if there was none.
    pub refused_before: Option<String>,
    /// Why there is no pipeline now, if there is none.
    pub refused_after: Option<String>,
}

/// A job that is in both plans and not the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDiff {
    pub name: String,
    pub keys: Vec<KeyDiff>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyDiff {
    pub key: String,
    pub before: Value,
    pub after: Value,
}

impl PlanDiff {
    /// Compares two plans for the same event.
    #[must_use]
    pub fn between(before: &Outcome, after: &Outcome) -> Self {
        let (old, new) = (jobs(before), jobs(after));
        let by_name = |jobs: &[JobPlan]| -> HashMap<String, usize> {
            let names = jobs.iter().enumerate();
            names.map(|(at, it)| (it.name.clone(), at)).collect()
        };
        let (in_old, in_new) = (by_name(old), by_name(new));
        let missing = |jobs: &[JobPlan], there: &HashMap<String, usize>| -> Vec<String> {
            let names = jobs.iter().map(|it| it.name.clone());
            names.filter(|it| !there.contains_key(it)).collect()
        };
        let both = new
            .iter()
            .filter_map(|job| Some((old.get(*in_old.get(&job.name)?)?, job)));
        Self {
            added: missing(new, &in_old),
            dropped: missing(old, &in_new),
            changed: both.filter_map(|(old, new)| changed(old, new)).collect(),
            refused_before: before.refusal().map(str::to_owned),
            refused_after: after.refusal().map(str::to_owned),
        }
    }

    /// Whether the plans are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.dropped.is_empty()
            && self.changed.is_empty()
            && self.refused_before == self.refused_after
    }
}

fn jobs(outcome: &Outcome) -> &[JobPlan] {
    match outcome {
        Outcome::Pipeline(plan) => &plan.jobs,
        Outcome::FilteredByWorkflow | Outcome::NoJobs => &[],
    }
}

fn changed(before: &JobPlan, after: &JobPlan) -> Option<JobDiff> {
    if before == after {
        return None;
    }
    let value = |job: &JobPlan| serde_json::to_value(job).unwrap_or_default();
    let (before, after_value) = (value(before), value(after));
    let after_keys = after_value.as_object()?;
    let keys: Vec<KeyDiff> = after_keys
        .iter()
        // The number of a stage says nothing that its name does not.
        .filter(|(key, value)| *key != "stage_index" && before.get(key) != Some(value))
        .map(|(key, value)| KeyDiff {
            key: key.clone(),
            before: before.get(key).cloned().unwrap_or_default(),
            after: value.clone(),
        })
        .collect();
    (!keys.is_empty()).then(|| JobDiff {
        name: after.name.clone(),
        keys,
    })
}
