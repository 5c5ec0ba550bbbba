//! Memory in the queue: what waiting jobs need, what a machine that asks has, and which jobs were passed over for want of it.
//!
//! Only RAVE's own runner says what it has. Stock runners are given jobs whatever these need.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rave_ci_lang::{JobPlan, Reader, Variable, expand_all};
use rave_core::id::{JobId, ProjectId};
use rave_core::memory::{Admission, Asked, Gate, PATIENCE_MS, Shortage};
use rave_core::time::Timestamp;
use rave_store::{Error, Tx};

use crate::store;
use crate::store::queue::Candidate;

/// How many jobs that were passed over are remembered.
const REMEMBERED: usize = 1000;

/// What a machine says of its memory when it asks for a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Offer {
    /// What all its jobs share.
    pub(crate) budget_bytes: u64,
    /// The most that one job may ask for.
    pub(crate) most_bytes: u64,
    /// What one job may have that does not say.
    pub(crate) limit_bytes: u64,
    /// What is set aside for a job that nobody knows anything of.
    pub(crate) request_bytes: u64,
    /// Jobs that have a part of the budget, which comes free when they end.
    pub(crate) holders: Vec<(JobId, u64)>,
    /// Why it takes no jobs now.
    pub(crate) refuses: Option<String>,
}

/// What keeps a job from machines that would take it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// They have too little memory free.
    Memory(Shortage),
    /// They take no jobs, for a reason of their own.
    Refused(String),
}

impl Lack {
    /// Returns it in words, without a full stop.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Memory(shortage) => shortage.sentence(),
            Self::Refused(reason) => format!("The machine takes no jobs now: {reason}"),
        }
    }
}

/// Returns what variables ask for of memory.
pub(super) fn asked(variables: &[Variable]) -> Option<u64> {
    let pairs = variables
        .iter()
        .map(|it| (it.key.as_str(), it.value.as_str()));
    Asked::of(pairs).request_bytes
}

/// Returns what the variables of a planned job ask for of memory. `above` are those that count more than the file's.
pub(super) fn asked_of(plan: &JobPlan, predefined: &[Variable], above: &[Variable]) -> Option<u64> {
    let says = |it: &Variable| Asked::VARIABLES.contains(&it.key.as_str());
    if !plan.variables.iter().chain(above).any(says) {
        return None;
    }
    let all = [predefined, &plan.variables, above].concat();
    asked(&expand_all(&all, Reader::Runner).variables)
}

/// The memory of one machine while it looks for a job.
pub(super) struct Room {
    offer: Offer,
    gate: Gate,
    free_bytes: u64,
    /// The first job that lost patience.
    behind: Option<JobId>,
    /// What jobs are expected to need, as far as it was looked up.
    expected: BTreeMap<(ProjectId, String), Option<u64>>,
    pub(super) passed: Vec<(JobId, Lack)>,
}

impl Room {
    /// Opens it: jobs that ended since the machine spoke have given back what they had.
    pub(super) fn open(tx: &mut Tx<'_>, mut offer: Offer) -> Result<Self, Error> {
        let ids: Vec<JobId> = offer.holders.iter().map(|it| it.0).collect();
        let active = store::queue::active(tx, &ids)?;
        offer.holders.retain(|it| active.contains(&it.0));
        let held = offer
            .holders
            .iter()
            .fold(0, |sum: u64, it| sum.saturating_add(it.1));
        let free_bytes = offer.budget_bytes.saturating_sub(held);
        Ok(Self {
            gate: Gate::new(free_bytes, offer.most_bytes),
            free_bytes,
            behind: None,
            expected: BTreeMap::new(),
            passed: Vec::new(),
            offer,
        })
    }

    /// Looks up what these jobs are expected to need.
    pub(super) fn learn(&mut self, tx: &mut Tx<'_>, batch: &[Candidate]) -> Result<(), Error> {
        let unknown = batch
            .iter()
            .filter(|it| it.wants.memory_bytes.is_none() && it.given_bytes.is_none())
            .map(|it| (it.project, it.name.as_str()));
        store::usage::learn(tx, unknown, &mut self.expected)
    }

    /// Returns what is set aside for a job here.
    pub(super) fn request(&self, candidate: &Candidate) -> u64 {
        if let Some(given) = candidate.given_bytes {
            return given.min(self.offer.most_bytes);
        }
        candidate.wants.memory_bytes.unwrap_or_else(|| {
            let key = (candidate.project, store::usage::key(&candidate.name));
            match self.expected.get(&key).copied().flatten() {
                Some(expected) => expected.min(self.offer.most_bytes),
                None => self.offer.request_bytes.min(self.offer.limit_bytes),
            }
        })
    }

    /// Decides about the next job in order, which was passed over for `waited_ms`, and takes note if it has to wait.
    pub(super) fn consider(&mut self, candidate: &Candidate, waited_ms: i64) -> Admission {
        let job = candidate.job;
        if let Some(reason) = &self.offer.refuses {
            self.passed.push((job, Lack::Refused(reason.clone())));
            return Admission::Behind;
        }
        let request = self.request(candidate);
        let admission = self.gate.consider(request, waited_ms);
        if matches!(admission, Admission::Wait | Admission::Behind) {
            let shortage = Shortage {
                needs_bytes: request,
                free_bytes: self.free_bytes,
                holders: self.offer.holders.iter().map(|it| it.0).collect(),
                behind: self.behind.filter(|_| admission == Admission::Behind),
            };
            self.passed.push((job, Lack::Memory(shortage)));
        }
        if self.gate.is_closed() {
            self.behind = self.behind.or(Some(job));
        }
        admission
    }

    /// Whether nothing more can go, so that there is no need to look on.
    pub(super) fn is_closed(&self) -> bool {
        self.gate.is_closed() || self.offer.refuses.is_some()
    }
}

/// The jobs that were passed over for want of room, as far as this process knows.
#[derive(Default)]
pub(crate) struct PassedOver(Mutex<HashMap<JobId, Waiting>>);

struct Waiting {
    since: Timestamp,
    lack: Lack,
}

impl PassedOver {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an end of a job may let another one go.
    pub(crate) fn is_any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Takes note of jobs that were passed over now.
    pub(super) fn note(&self, passed: Vec<(JobId, Lack)>, now: Timestamp) {
        let mut waiting = self.lock();
        for (job, lack) in passed {
            let full = waiting.len() >= REMEMBERED;
            match waiting.get_mut(&job) {
                Some(known) => known.lack = lack,
                None if full => {}
                None => {
                    waiting.insert(job, Waiting { since: now, lack });
                }
            }
        }
    }

    /// Forgets jobs that wait no more.
    pub(super) fn forget(&self, jobs: &[JobId]) {
        let mut waiting = self.lock();
        for job in jobs {
            waiting.remove(job);
        }
    }

    /// Returns since when jobs are passed over, those that lost patience first.
    pub(super) fn since(&self) -> HashMap<JobId, Timestamp> {
        let waiting = self.lock();
        waiting.iter().map(|(job, it)| (*job, it.since)).collect()
    }

    /// Returns what a job lacks, if it was passed over.
    pub(super) fn lack_of(&self, job: JobId) -> Option<Lack> {
        self.lock().get(&job).map(|it| it.lack.clone())
    }
}

/// Returns the jobs that lost patience, the one that waits the longest first.
pub(super) fn overdue(since: &HashMap<JobId, Timestamp>, now: Timestamp) -> Vec<JobId> {
    let late = |it: &(&JobId, &Timestamp)| now.since(*it.1) >= PATIENCE_MS;
    let mut jobs: Vec<(Timestamp, JobId)> =
        since.iter().filter(late).map(|it| (*it.1, *it.0)).collect();
    jobs.sort_unstable();
    jobs.into_iter().map(|it| it.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::plan::tests::job;

    #[test]
    fn the_variables_of_a_job_say_what_it_asks_for() {
        let check = |file: &[(&str, &str)], above: &[(&str, &str)], expected: Option<u64>| {
            let list = |pairs: &[(&str, &str)]| -> Vec<Variable> {
                let variable = |it: &(&str, &str)| Variable::public(it.0, it.1);
                pairs.iter().map(variable).collect()
            };
            let plan = JobPlan {
                variables: list(file),
                ..job("a")
            };
            let predefined = list(&[("CI_SIZE", "3Mi")]);
            assert_eq!(
                asked_of(&plan, &predefined, &list(above)),
                expected,
                "{file:?} {above:?}"
            );
        };
        let mib = |it: u64| Some(it << 20);
        check(&[], &[], None);
        check(&[("RAVE_MEMORY", "2Mi")], &[], mib(2));
        check(&[("RAVE_MEMORY", "2Mi")], &[("RAVE_MEMORY", "4Mi")], mib(4));
        check(&[("RAVE_MEMORY", "$CI_SIZE")], &[], mib(3));
        check(&[("RAVE_MEMORY", "$SIZE")], &[("SIZE", "5Mi")], mib(5));
        check(&[], &[("KUBERNETES_MEMORY_LIMIT", "6Mi")], mib(6));
        check(&[("RAVE_MEMORY", "much")], &[], None);
    }

    #[test]
    fn those_that_wait_the_longest_lose_patience_first() {
        let passed = PassedOver::default();
        let lack = || Lack::Memory(Shortage::default());
        passed.note(vec![(JobId(1), lack())], Timestamp(5));
        passed.note(vec![(JobId(2), lack()), (JobId(3), lack())], Timestamp(0));
        passed.note(vec![(JobId(1), lack())], Timestamp(9));
        passed.forget(&[JobId(3)]);
        let overdue = |at| overdue(&passed.since(), Timestamp(at));
        assert_eq!(overdue(PATIENCE_MS - 1), []);
        assert_eq!(overdue(PATIENCE_MS), [JobId(2)]);
        assert_eq!(overdue(PATIENCE_MS + 5), [JobId(2), JobId(1)]);
    }
}
