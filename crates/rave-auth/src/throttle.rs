//! Counts wrong passwords per address and per account, so that nobody can try many.
//!
//! In memory on purpose: a restart forgives, and of several processes each counts for itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use rave_core::time::Timestamp;

const WINDOW_MS: i64 = 60_000;
/// Most addresses and accounts that are watched at a time.
const WATCHED: usize = 10_000;

/// The recent failures.
pub(crate) struct Throttle {
    limit: usize,
    failures: Mutex<HashMap<String, VecDeque<Timestamp>>>,
}

impl Throttle {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            failures: Mutex::default(),
        }
    }

    /// Returns for how many more seconds one of these keys may not try, `None` when it may.
    pub(crate) fn wait_secs(&self, keys: &[&str], now: Timestamp) -> Option<u64> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = keys.iter().filter_map(|key| {
            let recent: Vec<&Timestamp> = failures
                .get(*key)?
                .iter()
                .filter(|at| now.since(**at) < WINDOW_MS)
                .collect();
            // Once this failure is old enough, fewer than the limit are left.
            let decisive = recent.len().checked_sub(self.limit)?;
            let wait_ms = WINDOW_MS - now.since(*recent[decisive]);
            Some(u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000).max(1))
        });
        waits.max()
    }

    /// Notes a failure of all these keys.
    pub(crate) fn note_failure(&self, keys: &[&str], now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() + keys.len() > WATCHED {
            failures.retain(|_, at| at.back().is_some_and(|it| now.since(*it) < WINDOW_MS));
        }
        for key in keys {
            if failures.len() >= WATCHED && !failures.contains_key(*key) {
                continue;
            }
            let times = failures.entry((*key).to_owned()).or_default();
            times.push_back(now);
            if times.len() > self.limit {
                times.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_try_in_a_minute_waits() {
        let throttle = Throttle::new(10);
        for second in 0..10 {
            assert_eq!(
                throttle.wait_secs(&["a", "b"], Timestamp(second * 1000)),
                None
            );
            throttle.note_failure(&["a"], Timestamp(second * 1000));
        }
        assert_eq!(throttle.wait_secs(&["a"], Timestamp(10_000)), Some(50));
        assert_eq!(throttle.wait_secs(&["b", "a"], Timestamp(59_999)), Some(1));
        assert_eq!(throttle.wait_secs(&["b"], Timestamp(10_000)), None);
        assert_eq!(throttle.wait_secs(&["a"], Timestamp(60_000)), None);
        throttle.note_failure(&["a"], Timestamp(60_000));
        assert_eq!(throttle.wait_secs(&["a"], Timestamp(60_000)), Some(1));
    }

    #[test]
    fn what_is_watched_is_bounded() {
        let throttle = Throttle::new(1);
        for number in 0..2 * WATCHED {
            throttle.note_failure(&[&number.to_string()], Timestamp(0));
        }
        assert_eq!(throttle.failures.lock().expect("lock").len(), WATCHED);
        throttle.note_failure(&["new"], Timestamp(WINDOW_MS));
        assert_eq!(throttle.failures.lock().expect("lock").len(), 1);
    }
}
