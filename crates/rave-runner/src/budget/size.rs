//! How large the budget is, and what of it one job may have.

use rave_core::memory::{Asked, DEFAULT_REQUEST_BYTES, shown};

/// What is left to the system, at least.
const LEAST_RESERVE_BYTES: u64 = 512 << 20;
/// No machine is too small for some job.
const LEAST_BUDGET_BYTES: u64 = 64 << 20;
/// What a job may have at most in [`Profile::Safe`].
const SAFE_JOB_BYTES: u64 = 4 << 30;
const SAFE_CPUS: f64 = 2.0;
/// Below this much memory a machine is a small one.
const SMALL_BYTES: u64 = 4 << 30;

/// How much of the machine jobs get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// One job at a time, with half of the memory, at most 4 GB, and two processors.
    Safe,
    /// As many jobs as fit.
    Full,
}

impl Profile {
    /// Returns the profile that suits a machine with this much memory.
    #[must_use]
    pub const fn suiting(total_bytes: u64) -> Self {
        if total_bytes < SMALL_BYTES {
            Self::Safe
        } else {
            Self::Full
        }
    }
}

/// What of the machine's memory jobs get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `None`: what suits the machine.
    pub profile: Option<Profile>,
    /// The most that all jobs together get. `None`: what the machine has.
    pub budget_bytes: Option<u64>,
    /// What is set aside for a job that says nothing and never ran.
    pub request_bytes: u64,
}

impl Default for MemoryPolicy {
    fn default() -> Self {
        Self {
            profile: None,
            budget_bytes: None,
            request_bytes: DEFAULT_REQUEST_BYTES,
        }
    }
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// What the machine has, or the least limit that this process is under.
    pub(crate) total_bytes: u64,
    /// What this process uses.
    pub(crate) own_bytes: u64,
    pub(crate) cpus: usize,
}

/// The budget of a runner and the terms on which jobs get their share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) profile: Profile,
    /// What all jobs together get.
    pub(crate) budget_bytes: u64,
    /// What one job may have at most that does not ask for a limit.
    pub(crate) job_bytes: u64,
    /// What one job may ask for at most.
    pub(crate) most_bytes: u64,
    pub(crate) request_bytes: u64,
    pub(crate) cpus: Option<f64>,
    pub(crate) concurrency: usize,
}

/// What a runner's configuration says beside its [`MemoryPolicy`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    pub(crate) job_bytes: Option<u64>,
    pub(crate) most_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) concurrency: usize,
}

impl Terms {
    /// Settles them: the least of what is configured and what is really there.
    pub(crate) fn of(policy: &MemoryPolicy, wishes: &Wishes, machine: &Machine) -> Self {
        let total = machine.total_bytes;
        let profile = policy.profile.unwrap_or(Profile::suiting(total));
        let reserve = LEAST_RESERVE_BYTES.max(total / 10);
        // A machine that is smaller than the reserve still runs something.
        let there = total
            .saturating_sub(reserve)
            .saturating_sub(machine.own_bytes)
            .max(LEAST_BUDGET_BYTES);
        let share = match profile {
            Profile::Safe => there.min(total / 2),
            Profile::Full => there,
        };
        let budget_bytes = policy.budget_bytes.map_or(share, |it| it.min(there));
        let safe = profile == Profile::Safe;
        let most_bytes = wishes
            .most_bytes
            .map_or(budget_bytes, |it| it.min(budget_bytes));
        let job_bytes = wishes.job_bytes.unwrap_or(match safe {
            true => SAFE_JOB_BYTES,
            false => budget_bytes,
        });
        Self {
            profile,
            budget_bytes,
            job_bytes: job_bytes.min(most_bytes),
            most_bytes,
            request_bytes: policy.request_bytes,
            cpus: wishes.cpus.or(safe.then_some(SAFE_CPUS)),
            concurrency: if safe { 1 } else { wishes.concurrency },
        }
    }

    /// Settles what a job gets: by what its variables ask for, else by what it is expected to need.
    ///
    /// # Errors
    /// A sentence when it asks for more than it can ever get here.
    pub(crate) fn share(&self, asked: Asked, expected_bytes: Option<u64>) -> Result<Share, String> {
        let request = asked.request_bytes;
        if let Some(request) = request.filter(|it| *it > self.most_bytes) {
            return Err(format!(
                "the job asks for {} of memory, but no job may have more than {} here; ask for less by RAVE_MEMORY, or give \
                 the runner more",
                shown(request),
                shown(self.most_bytes),
            ));
        }
        // A job that is known to need more than the usual limit gets it.
        let usual = || self.job_bytes.max(expected_bytes.unwrap_or(0));
        let limit = asked.limit_bytes.unwrap_or_else(usual).min(self.most_bytes);
        let expected = expected_bytes.unwrap_or(self.request_bytes).min(limit);
        Ok(Share {
            request_bytes: request.unwrap_or(expected),
            // A request alone raises the usual limit.
            limit_bytes: limit.max(request.unwrap_or(0)),
            explicit: request.is_some(),
        })
    }
}

/// What one job gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// What is set aside for it.
    pub(crate) request_bytes: u64,
    /// What it may not exceed.
    pub(crate) limit_bytes: u64,
    /// Whether its variables say so.
    pub(crate) explicit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn wishes() -> Wishes {
        Wishes {
            job_bytes: None,
            most_bytes: None,
            cpus: None,
            concurrency: 4,
        }
    }

    fn machine(total_bytes: u64) -> Machine {
        Machine {
            total_bytes,
            own_bytes: 50 << 20,
            cpus: 4,
        }
    }

    fn terms(policy: MemoryPolicy, total: u64) -> Terms {
        Terms::of(&policy, &wishes(), &machine(total))
    }

    #[test]
    fn the_budget_is_what_is_really_there() {
        let full = |cap: Option<u64>, total| {
            let policy = MemoryPolicy {
                profile: Some(Profile::Full),
                budget_bytes: cap,
                ..MemoryPolicy::default()
            };
            terms(policy, total).budget_bytes
        };
        assert_eq!(full(None, 20 * GIB), 18 * GIB - (50 << 20));
        assert_eq!(full(None, 4 * GIB), 4 * GIB - (562 << 20));
        assert_eq!(full(Some(GIB), 4 * GIB), GIB);
        assert_eq!(full(Some(64 * GIB), 4 * GIB), 4 * GIB - (562 << 20));
        assert_eq!(full(None, GIB / 4), LEAST_BUDGET_BYTES);
    }

    #[test]
    fn a_small_machine_runs_one_job_with_half_of_it() {
        let small = terms(MemoryPolicy::default(), 3 * GIB);
        assert_eq!((small.profile, small.concurrency), (Profile::Safe, 1));
        assert_eq!(
            (small.budget_bytes, small.job_bytes),
            (3 * GIB / 2, 3 * GIB / 2)
        );
        assert_eq!(small.cpus, Some(2.0));
        let large = terms(MemoryPolicy::default(), 64 * GIB);
        assert_eq!((large.profile, large.concurrency), (Profile::Full, 4));
        let policy = MemoryPolicy {
            profile: Some(Profile::Safe),
            ..MemoryPolicy::default()
        };
        let safe = terms(policy, 64 * GIB);
        assert_eq!(safe.job_bytes, SAFE_JOB_BYTES);
    }

    #[test]
    fn a_job_gets_what_it_asks_for_or_is_expected_to_need() {
        let terms = terms(MemoryPolicy::default(), 10 * GIB);
        let budget = terms.budget_bytes;
        let check =
            |request: Option<u64>, limit: Option<u64>, expected: Option<u64>, share: (u64, u64)| {
                let asked = Asked {
                    request_bytes: request,
                    limit_bytes: limit,
                };
                let got = terms.share(asked, expected).expect("it fits");
                assert_eq!((got.request_bytes, got.limit_bytes), share);
            };
        check(None, None, None, (GIB, budget));
        check(None, None, Some(3 * GIB), (3 * GIB, budget));
        check(None, None, Some(99 * GIB), (budget, budget));
        check(Some(GIB), Some(GIB), Some(3 * GIB), (GIB, GIB));
        check(Some(GIB), Some(2 * GIB), None, (GIB, 2 * GIB));
        check(Some(2 * GIB), None, None, (2 * GIB, budget));
        check(Some(GIB), Some(99 * GIB), None, (GIB, budget));
        let asked = Asked {
            request_bytes: Some(10 * GIB),
            limit_bytes: None,
        };
        let refused = terms.share(asked, None).expect_err("too much");
        assert!(
            refused.contains("10 GiB") && refused.contains("RAVE_MEMORY"),
            "{refused}"
        );
    }

    #[test]
    fn a_job_that_is_known_to_need_more_than_the_usual_limit_gets_it() {
        let wishes = Wishes {
            job_bytes: Some(GIB),
            most_bytes: Some(4 * GIB),
            ..wishes()
        };
        let terms = Terms::of(&MemoryPolicy::default(), &wishes, &machine(10 * GIB));
        let limit = |expected| {
            let share = terms.share(Asked::default(), expected);
            share.expect("it fits").limit_bytes
        };
        assert_eq!((limit(None), limit(Some(GIB / 2))), (GIB, GIB));
        assert_eq!(
            (limit(Some(2 * GIB)), limit(Some(9 * GIB))),
            (2 * GIB, 4 * GIB)
        );
    }

    proptest! {
        #[test]
        fn a_share_is_never_above_the_budget(
            total in 0_u64..1 << 40, own in 0_u64..1 << 34, cap in proptest::option::of(1_u64..1 << 40),
            job in proptest::option::of(1_u64..1 << 40), most in proptest::option::of(1_u64..1 << 40), safe: bool,
            request in proptest::option::of(1_u64..1 << 40), limit in proptest::option::of(1_u64..1 << 40),
            expected in proptest::option::of(1_u64..1 << 40),
        ) {
            let policy = MemoryPolicy {
                profile: Some(if safe { Profile::Safe } else { Profile::Full }),
                budget_bytes: cap,
                request_bytes: GIB,
            };
            let wishes = Wishes { job_bytes: job, most_bytes: most, ..wishes() };
            let machine = Machine { total_bytes: total, own_bytes: own, cpus: 1 };
            let terms = Terms::of(&policy, &wishes, &machine);
            prop_assert!(terms.job_bytes <= terms.most_bytes && terms.most_bytes <= terms.budget_bytes);
            let asked = Asked { request_bytes: request.map(|it| limit.map_or(it, |limit| it.min(limit))), limit_bytes: limit };
            if let Ok(share) = terms.share(asked, expected) {
                prop_assert!(share.request_bytes <= share.limit_bytes);
                prop_assert!(share.limit_bytes <= terms.budget_bytes);
            }
        }
    }
}
