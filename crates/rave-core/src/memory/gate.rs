//! Which of several waiting jobs goes next: the first that fits, but none before one that has waited too long.

/// How long a job is passed over for smaller ones. After that these wait with it, so that memory gathers for it.
pub const PATIENCE_MS: i64 = 60_000;

/// What becomes of a waiting job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It fits and goes.
    Go,
    /// It waits for memory.
    Wait,
    /// It would fit, perhaps, but waits with one before it that has waited too long.
    Behind,
    /// It needs more than there will ever be.
    TooLarge,
}

/// Lets waiting jobs through, asked about each in their order.
///
/// No job is starved: one that has lost patience lets none behind it through, so that nothing new begins, memory is given
/// back as jobs end, and at the latest when all of it is free the job fits.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    free_bytes: u64,
    budget_bytes: u64,
    closed: bool,
}

impl Gate {
    /// Opens a gate to what is free of a budget.
    #[must_use]
    pub const fn new(free_bytes: u64, budget_bytes: u64) -> Self {
        Self {
            free_bytes,
            budget_bytes,
            closed: false,
        }
    }

    /// Decides about the next job in order, which has been passed over for `waited_ms`. One that goes takes its memory.
    pub const fn consider(&mut self, request_bytes: u64, waited_ms: i64) -> Admission {
        if request_bytes > self.budget_bytes {
            return Admission::TooLarge;
        }
        if self.closed {
            return Admission::Behind;
        }
        if request_bytes <= self.free_bytes {
            self.free_bytes -= request_bytes;
            return Admission::Go;
        }
        self.closed = waited_ms >= PATIENCE_MS;
        Admission::Wait
    }

    /// Whether no job can pass any more.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Admission::{Behind, Go, TooLarge, Wait};
    use proptest::prelude::*;

    fn check(free: u64, jobs: &[(u64, i64)], expected: &[Admission]) {
        let mut gate = Gate::new(free, 10);
        let decided: Vec<_> = jobs
            .iter()
            .map(|(bytes, ms)| gate.consider(*bytes, *ms))
            .collect();
        assert_eq!(decided, expected, "{free} free, {jobs:?}");
    }

    #[test]
    fn the_first_that_fits_goes_unless_one_before_it_lost_patience() {
        check(10, &[(6, 0), (6, 0), (4, 0)], &[Go, Wait, Go]);
        check(
            4,
            &[(6, PATIENCE_MS), (4, 0), (1, PATIENCE_MS)],
            &[Wait, Behind, Behind],
        );
        check(4, &[(6, PATIENCE_MS - 1), (4, 0)], &[Wait, Go]);
        check(
            10,
            &[(11, PATIENCE_MS), (10, 0), (0, 0)],
            &[TooLarge, Go, Go],
        );
    }

    proptest! {
        /// What goes fits together; from the first that lost patience on none does; and of nothing free nothing goes that
        /// needs something.
        #[test]
        fn what_goes_fits_and_nothing_passes_one_that_lost_patience(
            budget in 1_u64..100, free in 0_u64..100, jobs in proptest::collection::vec((0_u64..120, 0..2 * PATIENCE_MS), 0..40),
        ) {
            let free = free.min(budget);
            let mut gate = Gate::new(free, budget);
            let (mut taken, mut lost) = (0, false);
            for (bytes, waited_ms) in jobs {
                let decided = gate.consider(bytes, waited_ms);
                match decided {
                    Go => {
                        prop_assert!(!lost);
                        taken += bytes;
                    }
                    Wait => prop_assert!(!lost && taken + bytes > free),
                    Behind => prop_assert!(lost),
                    TooLarge => prop_assert!(bytes > budget),
                }
                lost |= decided == Wait && waited_ms >= PATIENCE_MS;
                prop_assert!(taken <= free && gate.is_closed() == lost);
            }
        }

        /// As long as jobs end, the one that waits the longest gets its turn, however many others come.
        #[test]
        fn no_job_that_fits_is_starved(budget in 1_u64..50, small in 1_u64..10, places in 1_usize..9) {
            let (small, mut running, mut waited_ms) = (small.min(budget), Vec::new(), 0);
            for _ in 0..10_000 {
                let free = budget - running.iter().sum::<u64>();
                let mut gate = Gate::new(free, budget);
                if gate.consider(budget, waited_ms) == Go {
                    return Ok(());
                }
                while running.len() < places && gate.consider(small, 0) == Go {
                    running.push(small);
                }
                running.pop();
                waited_ms += 1000;
            }
            prop_assert!(false, "the large job still waits");
        }
    }
}
