//! Who has how much of the budget, and who waits for some.

use std::collections::BTreeMap;

use rave_core::memory::{Admission, Gate, Shortage};
use rave_core::time::Timestamp;

use super::JobKey;

/// The reservations of the runners of one process.
///
/// Invariant: nothing is granted that would raise the sum of reservations above the budget. When the budget itself shrinks,
/// what was granted stays, and nothing more is granted until the sum is below it again.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget_bytes: u64,
    /// Whether anything is granted at all.
    open: bool,
    granted: BTreeMap<JobKey, u64>,
    /// Jobs that were given to a runner and did not ask yet, with what they are expected to ask for.
    claimed: BTreeMap<JobKey, u64>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    job: JobKey,
    bytes: u64,
    since: Timestamp,
}

/// What becomes of a job that asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    Granted,
    Waits,
    /// It asks for more than the whole budget.
    TooLarge,
}

impl Ledger {
    pub(crate) const fn new(budget_bytes: u64) -> Self {
        Self {
            budget_bytes,
            open: true,
            granted: BTreeMap::new(),
            claimed: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Sets what there is.
    pub(crate) const fn set_budget(&mut self, bytes: u64) {
        self.budget_bytes = bytes;
    }

    /// Sets whether anything is granted, as far as the host is concerned.
    pub(crate) const fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Returns what is set aside for jobs that run.
    fn reserved(&self) -> u64 {
        self.granted.values().sum()
    }

    /// Returns what nobody has.
    pub(crate) fn free(&self) -> u64 {
        self.budget_bytes.saturating_sub(self.reserved())
    }

    /// Returns what nobody has or waits for.
    pub(crate) fn unclaimed(&self) -> u64 {
        let claimed: u64 = self.holders().map(|it| it.1).sum();
        self.budget_bytes.saturating_sub(claimed)
    }

    /// Lists the jobs that have memory, or wait for some, with how much.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (JobKey, u64)> {
        let waiting = self.waiting.iter().map(|it| (it.job, it.bytes));
        let known = self.granted.iter().chain(&self.claimed);
        known.map(|(job, bytes)| (*job, *bytes)).chain(waiting)
    }

    /// Takes note of a job that will ask for memory, so that nobody else is promised it.
    pub(crate) fn claim(&mut self, job: JobKey, bytes: u64) {
        self.claimed.insert(job, bytes);
    }

    /// Forgets that a job will ask.
    pub(crate) fn unclaim(&mut self, job: JobKey) {
        self.claimed.remove(&job);
    }

    /// Sets memory aside for a job, or lets it wait behind those that came before it.
    pub(crate) fn ask(&mut self, job: JobKey, bytes: u64, now: Timestamp) -> Asking {
        self.unclaim(job);
        if bytes > self.budget_bytes {
            return Asking::TooLarge;
        }
        self.waiting.push(Waiting {
            job,
            bytes,
            since: now,
        });
        match self.admit(now).contains(&job) {
            true => Asking::Granted,
            false => Asking::Waits,
        }
    }

    /// Grants memory to those that can have it now, and returns them.
    pub(crate) fn admit(&mut self, now: Timestamp) -> Vec<JobKey> {
        if !self.open {
            return Vec::new();
        }
        let mut gate = Gate::new(self.free(), self.budget_bytes);
        let mut admitted = Vec::new();
        self.waiting.retain(|it| {
            let goes = gate.consider(it.bytes, now.since(it.since)) == Admission::Go;
            if goes {
                self.granted.insert(it.job, it.bytes);
                admitted.push(it.job);
            }
            !goes
        });
        admitted
    }

    /// Takes back what a job has or waits for.
    pub(crate) fn release(&mut self, job: JobKey) {
        self.granted.remove(&job);
        self.waiting.retain(|it| it.job != job);
    }

    /// Whether memory is set aside for a job.
    pub(crate) fn has(&self, job: JobKey) -> bool {
        self.granted.contains_key(&job)
    }

    /// Says what a waiting job lacks.
    pub(crate) fn shortage(&self, job: JobKey, now: Timestamp) -> Option<Shortage> {
        let mut gate = Gate::new(self.free(), self.budget_bytes);
        let mut behind = None;
        // Numbers of another server's jobs mean nothing to who reads this.
        let own = |it: &&JobKey| it.runner == job.runner;
        for it in &self.waiting {
            if it.job == job {
                return Some(Shortage {
                    needs_bytes: it.bytes,
                    free_bytes: self.free(),
                    holders: self.granted.keys().filter(own).map(|it| it.job).collect(),
                    behind: behind.as_ref().filter(own).map(|it| it.job),
                });
            }
            gate.consider(it.bytes, now.since(it.since));
            if gate.is_closed() {
                behind = behind.or(Some(it.job));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rave_core::id::JobId;
    use rave_core::memory::PATIENCE_MS;

    fn key(job: i64) -> JobKey {
        JobKey {
            runner: 1,
            job: JobId(job),
        }
    }

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn what_does_not_fit_waits_and_says_for_what() {
        let mut ledger = Ledger::new(8 << 30);
        assert_eq!(ledger.ask(key(17), 6 << 30, NOW), Asking::Granted);
        assert_eq!(ledger.ask(key(18), 6 << 30, NOW), Asking::Waits);
        assert_eq!((ledger.free(), ledger.unclaimed()), (2 << 30, 0));
        let shortage = ledger.shortage(key(18), NOW).expect("it waits");
        assert_eq!(
            shortage.sentence(),
            "Needs 6 GiB of memory, 2 GiB free: waits for job 17"
        );
        // A smaller one passes it, until it has waited too long.
        assert_eq!(ledger.ask(key(19), 1 << 30, NOW), Asking::Granted);
        let later = NOW.plus_millis(PATIENCE_MS);
        assert_eq!(ledger.ask(key(20), 1 << 30, later), Asking::Waits);
        let shortage = ledger.shortage(key(20), later).expect("it waits");
        assert_eq!(shortage.behind, Some(JobId(18)));
        ledger.release(key(17));
        assert_eq!(ledger.admit(later), [key(18), key(20)]);
        assert_eq!(ledger.ask(key(21), 9 << 30, later), Asking::TooLarge);
    }

    #[test]
    fn a_job_that_is_on_its_way_is_counted() {
        let mut ledger = Ledger::new(10);
        ledger.claim(key(1), 6);
        assert_eq!((ledger.free(), ledger.unclaimed()), (10, 4));
        assert_eq!(ledger.ask(key(1), 5, NOW), Asking::Granted);
        assert_eq!(ledger.unclaimed(), 5);
        ledger.claim(key(2), 6);
        ledger.unclaim(key(2));
        assert_eq!(ledger.unclaimed(), 5);
    }

    #[test]
    fn jobs_of_other_servers_are_not_named() {
        let mut ledger = Ledger::new(10);
        let foreign = JobKey {
            runner: 2,
            job: JobId(1),
        };
        assert_eq!(ledger.ask(foreign, 8, NOW), Asking::Granted);
        assert_eq!(ledger.ask(key(1), 8, NOW), Asking::Waits);
        let shortage = ledger.shortage(key(1), NOW).expect("it waits");
        assert_eq!((shortage.free_bytes, shortage.holders), (2, vec![]));
        ledger.release(foreign);
        assert_eq!(ledger.admit(NOW), [key(1)], "one number, two jobs");
    }

    #[test]
    fn a_closed_ledger_grants_nothing() {
        let mut ledger = Ledger::new(10);
        ledger.set_open(false);
        assert_eq!(ledger.ask(key(1), 1, NOW), Asking::Waits);
        ledger.set_open(true);
        assert_eq!(ledger.admit(NOW), [key(1)]);
    }

    #[test]
    fn a_budget_that_shrinks_takes_nothing_away() {
        let mut ledger = Ledger::new(10);
        assert_eq!(ledger.ask(key(1), 8, NOW), Asking::Granted);
        ledger.set_budget(5);
        assert_eq!(
            (ledger.free(), ledger.ask(key(2), 1, NOW)),
            (0, Asking::Waits)
        );
        ledger.release(key(1));
        assert_eq!(ledger.admit(NOW), [key(2)]);
    }

    proptest! {
        /// Jobs of all sizes come and go at random; then none comes any more and those that run end.
        #[test]
        fn the_budget_holds_and_every_job_that_fits_runs(
            budget in 1_u64..100,
            jobs in proptest::collection::vec((1_u64..120, 0_i64..40_000, any::<bool>()), 1..60),
        ) {
            let mut ledger = Ledger::new(budget);
            let (mut now, mut running, mut ran) = (NOW, Vec::new(), 0);
            let fitting = jobs.iter().filter(|it| it.0 <= budget).count();
            for (number, (bytes, pause, ends)) in (1..).zip(jobs) {
                now = now.plus_millis(pause);
                match ledger.ask(key(number), bytes, now) {
                    Asking::Granted => running.push(key(number)),
                    Asking::Waits => prop_assert!(ledger.shortage(key(number), now).is_some()),
                    Asking::TooLarge => prop_assert!(bytes > budget),
                }
                prop_assert!(ledger.reserved() <= budget);
                if ends && !running.is_empty() {
                    ledger.release(running.remove(0));
                    ran += 1;
                    running.extend(ledger.admit(now));
                    prop_assert!(ledger.reserved() <= budget);
                }
            }
            while let Some(ended) = running.pop() {
                ledger.release(ended);
                ran += 1;
                now = now.plus_millis(1000);
                running.extend(ledger.admit(now));
                prop_assert!(ledger.reserved() <= budget);
            }
            prop_assert_eq!((ran, ledger.waiting.len()), (fitting, 0));
        }

        /// Small jobs never stop coming; the large one runs all the same.
        #[test]
        fn a_large_job_is_not_starved(budget in 10_u64..100, small in 1_u64..5, lasts_ms in 1_i64..30_000) {
            let mut ledger = Ledger::new(budget);
            let (mut now, mut next, mut running) = (NOW, 1, Vec::new());
            let mut begin = |ledger: &mut Ledger, running: &mut Vec<(JobKey, Timestamp)>, now: Timestamp| {
                let job = key(next);
                next += 1;
                if ledger.ask(job, small, now) == Asking::Granted {
                    running.push((job, now.plus_millis(lasts_ms)));
                }
            };
            while ledger.free() >= small {
                begin(&mut ledger, &mut running, now);
            }
            let large = key(1_000_000);
            prop_assert_eq!(ledger.ask(large, budget, now), Asking::Waits);
            let deadline = now.plus_millis(PATIENCE_MS + 2 * lasts_ms + 2000);
            loop {
                now = now.plus_millis(500);
                begin(&mut ledger, &mut running, now);
                let ended: Vec<JobKey> = running.iter().filter(|it| it.1 <= now).map(|it| it.0).collect();
                running.retain(|it| it.1 > now);
                ended.into_iter().for_each(|it| ledger.release(it));
                let admitted = ledger.admit(now);
                if admitted.contains(&large) {
                    break;
                }
                running.extend(admitted.into_iter().map(|it| (it, now.plus_millis(lasts_ms))));
                prop_assert!(now < deadline, "the large job still waits");
            }
        }
    }
}
