//! What happens when jobs together use more than was set aside for them.
//!
//! Requests are expectations, so jobs may grow beyond the budget together although each was admitted. Before the host runs
//! out, nothing new begins; then the youngest jobs stand still, one after the other, so that the oldest comes to its end
//! with what there is; and at the last the one that is furthest above its request is ended.

use super::JobKey;

/// Shares of the budget, in percent, from which something is done.
const CLOSE: u64 = 75;
const FREEZE: u64 = 85;
const KILL: u64 = 92;

/// A job that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) job: JobKey,
    /// What it has, without what the kernel can take back.
    pub(crate) held_bytes: u64,
    pub(crate) request_bytes: u64,
    pub(crate) frozen: bool,
    /// It is being ended, and what it has comes back in a moment.
    pub(crate) ending: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Freeze(JobKey),
    Thaw(JobKey),
    Kill(JobKey),
}

/// What follows from a look at the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Whether another job may begin.
    pub(crate) admits: bool,
    pub(crate) act: Option<Act>,
}

/// Decides about the jobs of a runner, in the order in which they began.
pub(crate) fn decide(budget_bytes: u64, jobs: &[Running]) -> Decision {
    let used: u64 = jobs.iter().map(|it| it.held_bytes).sum();
    let percent = used.saturating_mul(100) / budget_bytes.max(1);
    let awake = || jobs.iter().filter(|it| !it.frozen && !it.ending);
    let oldest_frozen = jobs.iter().find(|it| it.frozen && !it.ending);
    let act = match percent {
        // One that is alone meets its own limit, which is within the budget.
        KILL.. if jobs.len() > 1 && jobs.iter().all(|it| !it.ending) => {
            victim(jobs).map(|it| Act::Kill(it.job))
        }
        FREEZE.. if awake().count() > 1 => awake().next_back().map(|it| Act::Freeze(it.job)),
        _ if percent < CLOSE || awake().count() == 0 => oldest_frozen.map(|it| Act::Thaw(it.job)),
        _ => None,
    };
    Decision {
        admits: percent < CLOSE && oldest_frozen.is_none(),
        act,
    }
}

/// Chooses the job that is furthest above its request; where none is above, the youngest.
fn victim(jobs: &[Running]) -> Option<&Running> {
    let above = |it: &Running| it.held_bytes.saturating_sub(it.request_bytes);
    // Of equals the last is taken, which is the youngest.
    jobs.iter().max_by_key(|it| above(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rave_core::id::JobId;

    fn key(job: i64) -> JobKey {
        JobKey {
            runner: 1,
            job: JobId(job),
        }
    }

    fn running(job: i64, held: u64, request: u64) -> Running {
        Running {
            job: key(job),
            held_bytes: held,
            request_bytes: request,
            frozen: false,
            ending: false,
        }
    }

    fn frozen(it: Running) -> Running {
        Running { frozen: true, ..it }
    }

    fn check(jobs: &[Running], admits: bool, act: Option<Act>) {
        assert_eq!(decide(100, jobs), Decision { admits, act }, "{jobs:?}");
    }

    #[test]
    fn each_share_of_the_budget_has_its_consequence() {
        let two = |a, b| [running(1, a, 50), running(2, b, 50)];
        check(&[], true, None);
        check(&two(40, 34), true, None);
        check(&two(40, 35), false, None);
        check(&two(40, 44), false, None);
        check(&two(40, 45), false, Some(Act::Freeze(key(2))));
        check(&two(40, 52), false, Some(Act::Kill(key(2))));
        check(&two(60, 32), false, Some(Act::Kill(key(1))));
        check(&two(46, 46), false, Some(Act::Kill(key(2))));
    }

    #[test]
    fn a_job_alone_meets_its_own_limit() {
        check(&[running(1, 99, 10)], false, None);
    }

    #[test]
    fn frozen_jobs_go_on_when_there_is_room_or_nobody_else() {
        let (old, young) = (running(1, 40, 50), running(2, 40, 50));
        check(&[old, frozen(young)], false, None);
        check(
            &[running(1, 30, 50), frozen(young)],
            false,
            Some(Act::Thaw(key(2))),
        );
        check(
            &[frozen(old), frozen(young)],
            false,
            Some(Act::Thaw(key(1))),
        );
        let more = running(3, 6, 50);
        check(
            &[old, frozen(young), more],
            false,
            Some(Act::Freeze(key(3))),
        );
    }

    #[test]
    fn one_is_ended_at_a_time() {
        let ending = Running {
            ending: true,
            ..running(2, 50, 10)
        };
        check(&[running(1, 50, 50), ending], false, None);
    }

    proptest! {
        /// Jobs grow to their peaks, as long as they are awake, and end. None waits for ever, and no job is ended as
        /// long as the others can stand still in time.
        #[test]
        fn every_job_ends(peaks in proptest::collection::vec(1_u64..60, 1..8), steps in proptest::collection::vec(1_u64..4, 8)) {
            let mut jobs: Vec<Running> = (1..).zip(&peaks).map(|(number, peak)| running(number, 0, *peak)).collect();
            let (mut ended, mut looks) = (0, 0);
            while !jobs.is_empty() {
                looks += 1;
                prop_assert!(looks < 10_000, "{jobs:?} do not go on");
                match decide(100, &jobs).act {
                    Some(Act::Freeze(job)) => jobs.iter_mut().filter(|it| it.job == job).for_each(|it| it.frozen = true),
                    Some(Act::Thaw(job)) => jobs.iter_mut().filter(|it| it.job == job).for_each(|it| it.frozen = false),
                    Some(Act::Kill(job)) => {
                        prop_assert!(jobs.iter().map(|it| it.held_bytes).sum::<u64>() >= 92);
                        jobs.retain(|it| it.job != job);
                        ended += 1;
                    }
                    None => {}
                }
                let before = jobs.len();
                jobs.retain(|it| it.held_bytes < it.request_bytes);
                ended += before - jobs.len();
                for (at, job) in jobs.iter_mut().enumerate().filter(|it| !it.1.frozen) {
                    job.held_bytes = (job.held_bytes + steps[at % steps.len()]).min(job.request_bytes);
                }
            }
            prop_assert_eq!(ended, peaks.len());
        }
    }
}
