//! Long-running work: one contract, and the loop that keeps it going.
//!
//! A worker takes no input. It reads what should be, compares it with what is, and does the difference; being woken
//! only makes it early.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::{BoxError, Error};

/// The first pause after a failed step; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something was done, and there may be more: step again at once.
    Worked,
    /// There was nothing to do: wait.
    Idle,
}

/// A step that failed. It is tried again after a pause.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StepError {
    /// What was being done, as a lower-case fragment.
    pub what: String,
    #[source]
    pub source: BoxError,
}

impl StepError {
    /// Makes the error of a step that could not do `what`.
    pub fn new(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self {
            what: what.into(),
            source: source.into(),
        }
    }
}

impl From<Error> for StepError {
    fn from(source: Error) -> Self {
        Self::new("the store failed", source)
    }
}

/// Long-running work in small steps, each of which may be the second try.
pub trait Worker: Send {
    /// Returns the name that logs know it by.
    fn name(&self) -> &'static str;
    /// Does one unit of work. Runs to completion: shutdown waits for it.
    fn step(&mut self) -> impl Future<Output = Result<Progress, StepError>> + Send;
    /// Waits until there may be work. May be dropped at any await point.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;
}

/// Steps a worker until `shutdown`. A step under way is finished first.
///
/// A failing step is tried again with growing pauses; a streak of failures is logged when it begins and when it ends.
pub async fn run_worker<W: Worker>(mut worker: W, shutdown: CancellationToken) {
    drive(&mut worker, &shutdown).await;
}

pub(crate) async fn drive<W: Worker>(worker: &mut W, shutdown: &CancellationToken) {
    let mut failures = 0_u32;
    while !shutdown.is_cancelled() {
        let step = AssertUnwindSafe(worker.step()).catch_unwind().await;
        match step.unwrap_or_else(|_| {
            Err(StepError::new(
                "the step panicked",
                "see the panic's message",
            ))
        }) {
            Ok(progress) => {
                if std::mem::take(&mut failures) > 0 {
                    tracing::info!(worker.name = worker.name(), "the worker recovered");
                }
                match progress {
                    // A worker with much to do leaves room for others.
                    Progress::Worked => tokio::task::yield_now().await,
                    Progress::Idle => until(shutdown, worker.wait()).await,
                }
            }
            Err(error) => {
                if failures == 0 {
                    let error = crate::error::chain(&error);
                    tracing::warn!(
                        worker.name = worker.name(),
                        error,
                        "a step failed and will be tried again"
                    );
                }
                until(shutdown, tokio::time::sleep(pause(failures))).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn until(shutdown: &CancellationToken, wait: impl Future<Output = ()>) {
    // Dropping the wait is what the contract allows.
    let _ = shutdown.run_until_cancelled(wait).await;
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause(0), Duration::from_millis(100));
        assert_eq!(pause(3), Duration::from_millis(800));
        assert_eq!(pause(9), LONGEST_PAUSE);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
