//! What a job is expected to need, by what it needed before.

use serde::{Deserialize, Serialize};

/// How many runs are remembered.
pub const KEPT: usize = 20;

/// No job is expected to need less: what is measured of small ones is mostly chance.
pub const LEAST_REQUEST_BYTES: u64 = 32 << 20;

/// What one run of a job needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The most that it had at once, without what the kernel could have taken back.
    pub peak_bytes: u64,
    /// It was ended for want of memory, so that it would have needed more.
    #[serde(default)]
    pub outgrew: bool,
}

/// The runs of one job, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(Vec<Run>);

impl History {
    /// Remembers a run. One that failed for another reason says little about those that succeed: it counts only if it
    /// needed more than is expected anyway.
    pub fn note(&mut self, run: Run, success: bool) {
        if !success && !run.outgrew && self.estimate().is_some_and(|it| run.peak_bytes <= it) {
            return;
        }
        self.0.insert(0, run);
        self.0.truncate(KEPT);
    }

    /// Returns what the next run is expected to need: the 95th percentile of the peaks and a fifth more, where each run
    /// weighs a tenth less than the one after it, so that one exception is forgotten after some runs.
    ///
    /// A run that outgrew what it was given counts twice, until a later one shows what it takes.
    #[must_use]
    pub fn estimate(&self) -> Option<u64> {
        let mut weighted = Vec::with_capacity(self.0.len());
        let (mut weight, mut known) = (1.0_f64, false);
        for run in &self.0 {
            let peak = match run.outgrew && !known {
                true => run.peak_bytes.saturating_mul(2),
                false => run.peak_bytes,
            };
            known |= !run.outgrew;
            weighted.push((peak, weight));
            weight *= 0.9;
        }
        weighted.sort_unstable_by_key(|it| std::cmp::Reverse(it.0));
        let above = weighted.iter().map(|it| it.1).sum::<f64>() * 0.05;
        let mut passed = 0.0;
        let percentile = weighted.iter().find(|(_, weight)| {
            passed += weight;
            passed > above
        });
        let peak = percentile.or(weighted.first())?.0;
        Some((peak.saturating_add(peak / 5)).max(LEAST_REQUEST_BYTES))
    }
}

/// Returns the name under which a job's runs are remembered: those of `parallel: 3` are one job three times.
#[must_use]
pub fn history_name(job: &str) -> &str {
    let number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    match job.rsplit_once(' ') {
        Some((name, part))
            if part
                .split_once('/')
                .is_some_and(|(a, b)| number(a) && number(b)) =>
        {
            name
        }
        _ => job,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ok(mib: u64) -> Run {
        Run {
            peak_bytes: mib << 20,
            outgrew: false,
        }
    }

    fn outgrew(mib: u64) -> Run {
        Run {
            outgrew: true,
            ..ok(mib)
        }
    }

    /// Returns the estimate in MiB after runs in the order of time.
    fn after(runs: &[(Run, bool)]) -> Option<u64> {
        let mut history = History::default();
        runs.iter()
            .for_each(|(run, success)| history.note(*run, *success));
        history.estimate().map(|it| it >> 20)
    }

    #[test]
    fn a_job_is_expected_to_need_a_fifth_more_than_it_did() {
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[(ok(100), true)]), Some(120));
        assert_eq!(after(&[(ok(100), true), (ok(50), true)]), Some(120));
        assert_eq!(after(&[(ok(1), true)]), Some(32));
    }

    #[test]
    fn an_exception_is_forgotten() {
        let mut runs = vec![(ok(1000), true)];
        runs.extend([(ok(100), true); 7]);
        assert_eq!(after(&runs), Some(1200));
        runs.extend([(ok(100), true); 8]);
        assert_eq!(after(&runs), Some(120));
    }

    #[test]
    fn a_run_that_outgrew_its_memory_counts_twice_until_one_succeeds() {
        assert_eq!(after(&[(ok(50), true), (outgrew(100), false)]), Some(240));
        assert_eq!(after(&[(outgrew(100), false), (ok(130), true)]), Some(156));
    }

    #[test]
    fn a_run_that_failed_early_teaches_nothing() {
        assert_eq!(after(&[(ok(100), true), (ok(5), false)]), Some(120));
        assert_eq!(after(&[(ok(100), true), (ok(200), false)]), Some(240));
        assert_eq!(after(&[(ok(5), false)]), Some(32));
    }

    #[test]
    fn jobs_that_run_in_parallel_are_one() {
        let names = ["test 1/20", "test", "build: [a, b] 2/3", "a b/c", "1/2"].map(history_name);
        assert_eq!(names, ["test", "test", "build: [a, b]", "a b/c", "1/2"]);
    }

    proptest! {
        #[test]
        fn the_same_need_again_and_again_is_always_met(peak in 0_u64..1 << 40, runs in 1_usize..40) {
            let mut history = History::default();
            for _ in 0..runs {
                history.note(Run { peak_bytes: peak, outgrew: false }, true);
                let estimate = history.estimate().expect("there are runs");
                prop_assert!(estimate >= peak && estimate <= (peak + peak / 5).max(LEAST_REQUEST_BYTES));
            }
        }
    }
}
