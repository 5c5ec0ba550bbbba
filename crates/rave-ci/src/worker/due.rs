//! Jobs that somebody has to look at now: delayed ones whose time came, those that no runner took or spoke of, and those
//! whose runner fell silent or that should long have ended.

use std::sync::Arc;
use std::time::Duration;

use rave_core::job::{FailureReason, JobEvent, JobState};
use rave_core::time::Timestamp;
use rave_store::{EventSignal, Progress, StepError, Worker};

use crate::error::CiError;
use crate::service::Ci;
use crate::service::advance::{Action, Rules};
use crate::store;
use crate::store::job::Held;

/// How many jobs one step looks at.
const BATCH: u32 = 50;
/// Longest wait, should a wake-up call be missed.
const TIMER: Duration = Duration::from_secs(20);

/// How late a delayed job may start. Beyond, nobody counts on it any more.
const STALE_MS: i64 = 60 * 60 * 1000;

pub(crate) struct DueJobs {
    ci: Arc<Ci>,
    signal: EventSignal,
    next: Option<Timestamp>,
    forgiven: bool,
}

impl DueJobs {
    pub(crate) fn new(ci: Arc<Ci>) -> Self {
        Self {
            signal: ci.db.events(),
            ci,
            next: None,
            forgiven: false,
        }
    }

    /// Silence that the server's own absence caused is nobody's fault: runners get a new term when it is back.
    async fn forgive(&mut self) -> Result<(), StepError> {
        if self.forgiven {
            return Ok(());
        }
        let term = Rules::of(&self.ci.config).lost_ms;
        self.ci
            .db
            .write("ci_forgive", move |tx| {
                let until = tx.now().plus_millis(term);
                store::job::forgive(tx, until)
            })
            .await?;
        self.forgiven = true;
        Ok(())
    }

    async fn look(&self, held: &Held) -> Result<(), CiError> {
        let (rules, now) = (Rules::of(&self.ci.config), self.ci.now());
        let silent = held
            .contact_at
            .is_none_or(|it| now.since(it) >= rules.lost_ms);
        let overdue = held
            .started_at
            .is_some_and(|it| Rules::overdue(it, held.timeout_ms) <= now);
        let fail = |reason| Some(JobEvent::Fail(reason));
        let event = match held.state {
            JobState::Scheduled { at } if now.since(at) > STALE_MS => {
                fail(FailureReason::StaleSchedule)
            }
            JobState::Scheduled { .. } => Some(JobEvent::Enqueue),
            JobState::Assigned { .. } => Some(JobEvent::Release),
            JobState::Pending => fail(FailureReason::StuckOrTimeoutFailure),
            JobState::Running { .. } if overdue => fail(FailureReason::JobExecutionTimeout),
            JobState::Running { .. } if silent => fail(FailureReason::NoUpdatesRunning),
            JobState::Canceling { .. } if silent || overdue => {
                Some(JobEvent::Cancel { graceful: false })
            }
            _ => None,
        };
        let Some(event) = event else {
            return self.put_off(held).await;
        };
        let (job, exit_code) = (held.job, None);
        match self
            .ci
            .apply(
                held.pipeline,
                Action::Job {
                    job,
                    event,
                    exit_code,
                },
            )
            .await
        {
            Ok(_) => tracing::info!(job.id = job.0, ?event, "a job was due"),
            // Something else happened to it in this moment.
            Err(CiError::Refused(_) | CiError::NotFound(_) | CiError::Forbidden(_)) => {
                self.put_off(held).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn put_off(&self, held: &Held) -> Result<(), CiError> {
        let rules = Rules::of(&self.ci.config);
        let held = held.clone();
        self.ci
            .db
            .write("ci_put_off", move |tx| {
                let spoke = held.contact_at.unwrap_or(tx.now());
                let due = rules.due_running(held.started_at, held.timeout_ms, spoke);
                let due = due.max(tx.now().plus_millis(1000));
                Ok(store::job::put_due(tx, held.job, held.version, due)?)
            })
            .await
    }
}

impl Worker for DueJobs {
    fn name(&self) -> &'static str {
        "ci.due"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        self.forgive().await?;
        let (due, next) = self
            .ci
            .db
            .read("ci_due", |tx| {
                Ok::<_, rave_store::Error>((store::job::due(tx, BATCH)?, store::job::next_due(tx)?))
            })
            .await?;
        self.next = next;
        for (held, _) in &due {
            let looked = self.look(held).await;
            looked.map_err(|error| StepError::new(format!("job {} is due", held.job), error))?;
        }
        Ok(if due.is_empty() {
            Progress::Idle
        } else {
            Progress::Worked
        })
    }

    async fn wait(&mut self) {
        let until_next = self.next.map_or(TIMER, |it| {
            let millis = u64::try_from(it.since(self.ci.now())).unwrap_or(0);
            Duration::from_millis(millis.max(1)).min(TIMER)
        });
        tokio::select! {
            // An earlier time may have come up.
            () = self.signal.changed() => {}
            () = self.ci.wakes.due.notified() => {}
            () = tokio::time::sleep(until_next) => {}
        }
    }
}
