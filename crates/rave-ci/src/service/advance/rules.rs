//! What the settings say about time and tries.

use rave_ci_lang::JobPlan;
use rave_core::job::{FailureReason, JobState};
use rave_core::time::Timestamp;

use crate::config::{CiConfig, millis};
use crate::store::usage::Ended;

/// The settings that decide about time and tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) pending_ms: i64,
    pub(crate) assign_ms: i64,
    pub(crate) lost_ms: i64,
    pub(crate) lost_retries: u32,
}

impl Rules {
    pub(crate) fn of(config: &CiConfig) -> Self {
        Self {
            pending_ms: millis(config.pending_timeout),
            assign_ms: millis(config.assign_timeout),
            lost_ms: millis(config.lost_after),
            lost_retries: config.lost_retries,
        }
    }

    /// Returns when somebody has to look at a job that is in `state` since `now`.
    pub(crate) fn due(&self, state: JobState, now: Timestamp) -> Option<Timestamp> {
        match state {
            JobState::Pending => Some(now.plus_millis(self.pending_ms)),
            JobState::Scheduled { at } => Some(at),
            JobState::Assigned { .. } => Some(now.plus_millis(self.assign_ms)),
            JobState::Running { .. } | JobState::Canceling { .. } => {
                Some(now.plus_millis(self.lost_ms))
            }
            _ => None,
        }
    }

    /// Returns when somebody has to look at a running job that spoke at `now`: when it would have been silent for too
    /// long, or should long have ended.
    pub(crate) fn due_running(
        &self,
        started_at: Option<Timestamp>,
        timeout_ms: i64,
        now: Timestamp,
    ) -> Timestamp {
        let silent = now.plus_millis(self.lost_ms);
        let overdue = Self::overdue(started_at.unwrap_or(now), timeout_ms);
        silent.min(overdue.max(now))
    }

    /// Returns when the server itself ends a job. Its runner does so first, and then has some time to clear up.
    pub(crate) fn overdue(started_at: Timestamp, timeout_ms: i64) -> Timestamp {
        const GRACE_MS: i64 = 10 * 60 * 1000;
        started_at.plus_millis(timeout_ms.saturating_add(GRACE_MS))
    }

    /// Returns how often a job may be tried again by itself after failing so.
    pub(super) fn retries(
        &self,
        plan: &JobPlan,
        reason: FailureReason,
        exit_code: Option<i64>,
    ) -> u32 {
        use FailureReason as F;
        if matches!(
            reason,
            F::MissingDependencyFailure | F::NoMatchingRunner | F::EnvironmentCreationFailure
        ) {
            return 0;
        }
        let retry = &plan.retry;
        let named = |it: &str| retry.when.iter().any(|when| when == it);
        let stuck = reason == F::NoUpdatesRunning && named(F::StuckOrTimeoutFailure.label());
        let by_code =
            exit_code.is_some_and(|code| retry.exit_codes.iter().any(|it| i64::from(*it) == code));
        if retry.max > 0 && (named("always") || named(reason.label()) || stuck || by_code) {
            return retry.max;
        }
        match reason {
            F::SchedulerFailure => 2,
            // The job is not to blame for its runner.
            F::NoUpdatesRunning | F::RunnerSystemFailure | F::RunnerInterrupted
                if !deploys(plan) =>
            {
                self.lost_retries
            }
            _ => 0,
        }
    }
}

/// Returns the memory of another try, if a job failed for want of it and may have more. It gets that once, and where its
/// variables say what it is to have, these count.
pub(super) fn more_memory(plan: &JobPlan, reason: FailureReason, ended: &Ended) -> Option<u64> {
    let once = ended.asked_bytes.is_none() && ended.given_bytes.is_none();
    let may = once && reason == FailureReason::ScriptFailure && !deploys(plan);
    ended.usage.as_ref().filter(|_| may)?.doubled()
}

/// Whether a job changes something outside, so that nobody but a person or its file may decide to do it twice.
fn deploys(plan: &JobPlan) -> bool {
    let changes = |action: &str| !matches!(action, "prepare" | "verify" | "access");
    plan.environment
        .as_ref()
        .is_some_and(|it| changes(&it.action))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_ci_lang::Retry;

    fn retries(retry: Retry, reason: FailureReason, exit_code: Option<i64>) -> u32 {
        let plan: JobPlan = JobPlan {
            retry,
            ..crate::service::plan::tests::job("a")
        };
        Rules::of(&CiConfig::new("http://x", "1")).retries(&plan, reason, exit_code)
    }

    #[test]
    fn retries_follow_the_file_and_forgive_runners() {
        use FailureReason as F;
        let retry = |max, when: &[&str], exit_codes: &[i32]| Retry {
            max,
            when: when.iter().map(ToString::to_string).collect(),
            exit_codes: exit_codes.to_vec(),
        };
        assert_eq!(retries(retry(0, &[], &[]), F::ScriptFailure, Some(1)), 0);
        assert_eq!(
            retries(retry(2, &["always"], &[]), F::ScriptFailure, Some(1)),
            2
        );
        assert_eq!(
            retries(retry(2, &["script_failure"], &[]), F::ApiFailure, None),
            0
        );
        assert_eq!(
            retries(retry(2, &[], &[137]), F::ScriptFailure, Some(137)),
            2
        );
        assert_eq!(retries(retry(2, &[], &[137]), F::ScriptFailure, Some(1)), 0);
        assert_eq!(retries(retry(0, &[], &[]), F::NoUpdatesRunning, None), 1);
        assert_eq!(
            retries(
                retry(2, &["stuck_or_timeout_failure"], &[]),
                F::NoUpdatesRunning,
                None
            ),
            2
        );
        assert_eq!(
            retries(
                retry(2, &["always"], &[]),
                F::MissingDependencyFailure,
                None
            ),
            0
        );
    }
}
