//! A look at the queue for one machine: which job it takes, and what becomes of those that it passes over.
//!
//! Whose jobs a runner takes, and in which turns, is decided by [`super::dispatch`].

use std::collections::{HashMap, HashSet};

use rave_core::id::{JobId, ProjectId};
use rave_core::memory::Admission;
use rave_core::time::Timestamp;
use rave_store::Tx;

use super::memory::{self, Lack, Offer, Room};
use crate::error::CiError;
use crate::model::{Runner, missing_features};
use crate::store;
use crate::store::queue::Candidate;

/// How many waiting jobs are looked at in one go: at first few, because most often one of these goes.
const FIRST: u32 = 16;
const BATCH: u32 = 200;
/// How many jobs may be passed over in one look. Smaller ones behind them have to wait: a look takes no longer because many
/// do.
const PASSED: usize = 200;

/// One look at the queue, for one machine.
pub(super) struct Look {
    pub(super) runner: Runner,
    pub(super) features: Option<Vec<String>>,
    /// The projects that it serves: those of one turn are as good as each other.
    pub(super) turns: Vec<Vec<ProjectId>>,
    pub(super) reserved: HashSet<JobId>,
    pub(super) offer: Option<Offer>,
    /// Since when jobs are passed over for want of memory.
    pub(super) since: HashMap<JobId, Timestamp>,
    pub(super) now: Timestamp,
}

/// What a look came to.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) found: Option<(Candidate, Option<u64>)>,
    pub(super) unsupported: Vec<(Candidate, Vec<String>)>,
    /// Those that ask for more memory than the machine gives any job.
    pub(super) too_large: Vec<Candidate>,
    pub(super) passed: Vec<(JobId, Lack)>,
    /// Those that were judged already because they are overdue.
    judged: HashSet<JobId>,
    /// Those that were passed over earlier and wait no more.
    pub(super) gone: Vec<JobId>,
}

impl Look {
    /// Looks at all that waits, until something goes.
    pub(super) fn look(&self, tx: &mut Tx<'_>) -> Result<Seen, CiError> {
        let mut seen = Seen::default();
        let offer = self.offer.clone();
        let mut room = offer.map(|it| Room::open(tx, it)).transpose()?;
        if let Some(room) = &mut room {
            self.look_at_overdue(tx, room, &mut seen)?;
        }
        for projects in &self.turns {
            let full = room.as_ref().is_some_and(|it| it.passed.len() >= PASSED);
            if seen.found.is_some() || full {
                break;
            }
            self.look_at(tx, projects, room.as_mut(), &mut seen)?;
        }
        seen.passed = room.map(|it| it.passed).unwrap_or_default();
        Ok(seen)
    }

    /// Looks at the jobs that were passed over for too long, of whichever project: what is free is theirs first.
    fn look_at_overdue(
        &self,
        tx: &mut Tx<'_>,
        room: &mut Room,
        seen: &mut Seen,
    ) -> Result<(), CiError> {
        let overdue = memory::overdue(&self.since, self.now);
        let mut waiting = store::queue::by_id(tx, &overdue)?;
        seen.gone = overdue.clone();
        seen.gone.retain(|it| !waiting.contains_key(it));
        let served: HashSet<ProjectId> = self.turns.iter().flatten().copied().collect();
        let mut jobs: Vec<Candidate> = overdue.iter().filter_map(|it| waiting.remove(it)).collect();
        jobs.retain(|it| served.contains(&it.project));
        room.learn(tx, &jobs)?;
        for candidate in jobs {
            if seen.found.is_some() || room.is_closed() {
                break;
            }
            seen.judged.insert(candidate.job);
            self.consider(candidate, Some(room), seen);
        }
        Ok(())
    }

    /// Looks at the jobs of one turn.
    fn look_at(
        &self,
        tx: &mut Tx<'_>,
        projects: &[ProjectId],
        mut room: Option<&mut Room>,
        seen: &mut Seen,
    ) -> Result<(), CiError> {
        let (mut after, mut limit) = (JobId(0), FIRST);
        loop {
            let batch = store::queue::of_projects(tx, projects, after, limit)?;
            let last = batch.len() < limit as usize;
            if let Some(room) = &mut room {
                room.learn(tx, &batch)?;
            }
            for candidate in batch {
                after = candidate.job;
                if seen.judged.contains(&candidate.job) {
                    continue;
                }
                self.consider(candidate, room.as_deref_mut(), seen);
                if seen.found.is_some() {
                    return Ok(());
                }
            }
            let full = |it: &&mut Room| it.is_closed() || it.passed.len() >= PASSED;
            if last || room.as_ref().is_some_and(full) {
                return Ok(());
            }
            limit = BATCH;
        }
    }

    /// Judges one job.
    fn consider(&self, candidate: Candidate, room: Option<&mut Room>, seen: &mut Seen) {
        let wants = &candidate.wants;
        if !self.runner.fits(&wants.tags, wants.protected) || self.reserved.contains(&candidate.job)
        {
            return;
        }
        let missing = missing_features(&wants.features, self.features.as_deref());
        if !missing.is_empty() {
            seen.unsupported.push((candidate, missing));
            return;
        }
        let Some(room) = room else {
            seen.found = Some((candidate, None));
            return;
        };
        let since = self.since.get(&candidate.job);
        let waited_ms = since.map_or(0, |it| self.now.since(*it));
        match room.consider(&candidate, waited_ms) {
            Admission::Go => {
                let request = room.request(&candidate);
                seen.found = Some((candidate, Some(request)));
            }
            Admission::TooLarge => seen.too_large.push(candidate),
            Admission::Wait | Admission::Behind => {}
        }
    }
}
