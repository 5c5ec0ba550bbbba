//! Bridges that go on as long as another pipeline does.
//!
//! Whenever a pipeline's status changes, those who follow it become due in the same transaction. A worker compares what
//! each bridge is with what it should be; the mark goes only if the status is still the one that was seen.

use rave_core::job::{FailureReason, JobEvent, JobState, Status};

use super::Ci;
use super::advance::Action;
use crate::error::CiError;
use crate::model::Strategy;
use crate::store;
use crate::store::downstream::Follow;

/// How many bridges are looked at in one go.
const BATCH: u32 = 100;

impl Ci {
    /// Brings bridges in line with the pipelines that they follow. Returns how many had to look.
    pub(crate) async fn follow_pipelines(&self) -> Result<usize, CiError> {
        let due: Vec<Follow> = self
            .db
            .read("ci_follow_due", |tx| {
                Ok::<_, CiError>(store::downstream::due(tx, BATCH)?)
            })
            .await?;
        for it in &due {
            self.look(*it).await?;
        }
        Ok(due.len())
    }

    async fn look(&self, it: Follow) -> Result<(), CiError> {
        if it.retried {
            return self
                .db
                .write("ci_unfollow", move |tx| {
                    Ok::<_, CiError>(store::downstream::unfollow(tx, it.bridge)?)
                })
                .await;
        }
        let mut bridge_ended = it.state.status().is_finished();
        if let Some(action) = action(&it) {
            match self.apply(it.upstream, action).await {
                Ok(_) => bridge_ended = it.status.is_finished(),
                // Something else happened to it in this moment: it is still due.
                Err(CiError::Refused(_) | CiError::Forbidden(_)) => return Ok(()),
                Err(CiError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let ended = if it.status.is_finished() {
            bridge_ended
        } else {
            it.ended && bridge_ended
        };
        self.db
            .write("ci_follow_seen", move |tx| {
                Ok::<_, CiError>(store::downstream::put_seen(
                    tx, it.bridge, it.status, ended,
                )?)
            })
            .await
    }
}

/// Returns what has to happen to a bridge, `None` if it is as it should be.
fn action(it: &Follow) -> Option<Action> {
    let job = it.bridge;
    if it.state.status().is_finished() {
        // One that was canceled while its pipeline went on stays so. One that ended with it goes on with it.
        return (it.ended && !it.status.is_finished()).then_some(Action::Reopen { job });
    }
    let mirror = it.strategy == Strategy::Mirror;
    let event = match it.status {
        Status::Success => JobEvent::Succeed,
        Status::Canceled => JobEvent::Cancel { graceful: false },
        Status::Skipped if mirror => JobEvent::Skip,
        Status::Failed | Status::Skipped => JobEvent::Fail(FailureReason::UnknownFailure),
        status => JobEvent::Follow {
            blocked: mirror && status == Status::Manual,
        },
    };
    if let (JobEvent::Follow { blocked }, JobState::Following { blocked: now }) = (event, it.state)
        && blocked == now
    {
        return None;
    }
    Some(Action::Job {
        job,
        event,
        exit_code: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_core::id::{JobId, PipelineId};

    fn of(state: JobState, status: Status, strategy: Strategy, ended: bool) -> String {
        let it = Follow {
            bridge: JobId(1),
            upstream: PipelineId(1),
            retried: false,
            state,
            status,
            strategy,
            ended,
        };
        match action(&it) {
            None => "nothing".into(),
            Some(Action::Job { event, .. }) => format!("{event:?}"),
            Some(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn a_bridge_has_the_fate_of_its_pipeline() {
        use {Status as S, Strategy::Depend, Strategy::Mirror};
        let going = JobState::Following { blocked: false };
        let check = |status, strategy, expected| {
            assert_eq!(of(going, status, strategy, false), expected, "{status:?}");
        };
        check(S::Success, Depend, "Succeed");
        check(S::Failed, Depend, "Fail(UnknownFailure)");
        check(S::Skipped, Depend, "Fail(UnknownFailure)");
        check(S::Skipped, Mirror, "Skip");
        check(S::Canceled, Depend, "Cancel { graceful: false }");
        check(S::Manual, Depend, "nothing");
        check(S::Manual, Mirror, "Follow { blocked: true }");
        check(S::Running, Mirror, "nothing");
    }

    #[test]
    fn only_what_ended_together_goes_on_together() {
        let ended = |both| of(JobState::Success, Status::Running, Strategy::Depend, both);
        assert_eq!(ended(true), "Reopen { job: JobId(1) }");
        assert_eq!(ended(false), "nothing");
        let both = of(JobState::Canceled, Status::Success, Strategy::Depend, true);
        assert_eq!(both, "nothing");
    }
}
