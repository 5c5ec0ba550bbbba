//! A consumer of the event log: every event at least once, in order, across crashes.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use rave_core::event::{Event, EventKind, NewEvent};
use tokio_util::sync::CancellationToken;

use crate::{
    BoxError, Db, Engine, Error, EventSignal,
    worker::{Progress, StepError, Worker, drive},
};

/// How many events are read at once.
const BATCH: u32 = 64;
/// How far a cursor may lag behind events that are not the consumer's before it is moved for tidiness alone.
const LAG: i64 = 1000;
/// How long another process waits for one that died.
const LEASE_MS: i64 = 15_000;
/// How often the handler may panic at one event.
const PANICS: u32 = 5;

/// Why a handler could not deal with an event.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It may succeed later: the event is tried again, with pauses, and those behind it wait.
    #[error("not handled yet")]
    Transient(#[source] BoxError),
    /// It never will: the event is passed over and the log says so with [`EventKind::ConsumerFailed`].
    #[error("cannot be handled")]
    Permanent(#[source] BoxError),
}

impl From<Error> for HandleError {
    fn from(source: Error) -> Self {
        Self::Transient(source.into())
    }
}

/// What a consumer does with an event. It may see an event again: after a crash, after a failure.
pub trait Handler: Send {
    /// Deals with one event. Runs to completion: shutdown waits for it.
    fn handle(&mut self, event: Event) -> impl Future<Output = Result<(), HandleError>> + Send;
}

impl<F, R> Handler for F
where
    F: FnMut(Event) -> R + Send,
    R: Future<Output = Result<(), HandleError>> + Send,
{
    fn handle(&mut self, event: Event) -> impl Future<Output = Result<(), HandleError>> + Send {
        self(event)
    }
}

/// A consumer of the event log with a durable cursor of its own.
#[derive(Debug)]
pub struct Consumer {
    db: Db,
    name: &'static str,
    kinds: &'static [EventKind],
    timer: Duration,
}

impl Consumer {
    /// Makes the consumer `name` of all events. A name that is new begins with the oldest event.
    #[must_use]
    pub fn new(db: Db, name: &'static str) -> Self {
        Self {
            db,
            name,
            kinds: &[],
            timer: Duration::from_secs(5),
        }
    }

    /// Limits it to some kinds.
    #[must_use]
    pub fn kinds(mut self, kinds: &'static [EventKind]) -> Self {
        self.kinds = kinds;
        self
    }

    /// Sets how often it looks without being woken.
    #[must_use]
    pub fn timer(mut self, timer: Duration) -> Self {
        self.timer = timer;
        self
    }

    /// Handles events until `shutdown`. Of several processes with a consumer of this name, one works.
    pub async fn run<H: Handler>(self, handler: H, shutdown: CancellationToken) {
        let signal = self.db.events();
        let mut consuming = Consuming {
            consumer: self,
            handler,
            signal,
            panics: 0,
        };
        drive(&mut consuming, &shutdown).await;
        consuming.consumer.release().await;
    }

    fn lease(&self) -> String {
        format!("consumer:{}", self.name)
    }

    /// Returns whether this process is the one that works.
    ///
    /// SQLite is used by one server, whose successor after a crash must not wait for a lease to end.
    async fn is_ours(&self) -> Result<bool, Error> {
        if self.db.engine() == Engine::Sqlite {
            return Ok(true);
        }
        let (lease, holder) = (self.lease(), self.db.holder().to_owned());
        self.db
            .write("consumer_lease", move |tx| {
                tx.try_lease(&lease, &holder, LEASE_MS)
            })
            .await
    }

    async fn release(&self) {
        if self.db.engine() == Engine::Sqlite {
            return;
        }
        let (lease, holder) = (self.lease(), self.db.holder().to_owned());
        let released: Result<bool, Error> = self
            .db
            .write("consumer_release", move |tx| {
                tx.release_lease(&lease, &holder)
            })
            .await;
        if let Err(error) = released {
            let error = crate::error::chain(&error);
            tracing::debug!(
                consumer = self.name,
                error,
                "the lease stays until it expires"
            );
        }
    }

    /// Returns the next events, the cursor, and the position up to which there are no others.
    async fn load(&self) -> Result<(Vec<Event>, i64, i64), Error> {
        let (name, kinds) = (self.name, self.kinds);
        self.db
            .read("consumer_load", move |tx| {
                let cursor = tx.cursor(name)?;
                let last = tx.last_event()?;
                let events = if last > cursor {
                    tx.events_after(cursor, kinds, BATCH)?
                } else {
                    Vec::new()
                };
                Ok((events, cursor, last))
            })
            .await
    }

    async fn advance(&self, to: i64) -> Result<(), Error> {
        let name = self.name;
        self.db
            .write("consumer_advance", move |tx| tx.advance(name, to))
            .await
    }

    /// Passes over an event that cannot be handled, and says so in the log.
    async fn give_up(&self, event: Event, cause: BoxError) -> Result<(), Error> {
        let reason = crate::error::chain(&*cause);
        tracing::error!(consumer = self.name, event.id = %event.id, event.seq, reason, "gave an event up");
        let name = self.name;
        self.db
            .write("consumer_give_up", move |tx| {
                // A consumer that cannot handle news of failures must not make more of them.
                if event.what.kind != EventKind::ConsumerFailed {
                    tx.append(failure_of(name, &event, &reason))?;
                }
                tx.advance(name, event.seq)
            })
            .await
    }
}

fn failure_of(consumer: &str, event: &Event, reason: &str) -> NewEvent {
    let payload = serde_json::json!({
        "consumer": consumer,
        "event_id": event.id.to_string(),
        "event_kind": event.what.kind.label(),
        "reason": reason,
    });
    let mut failure = NewEvent::new(EventKind::ConsumerFailed, format!("event/{}", event.id))
        .payload(payload)
        .trace(event.what.trace);
    failure.project = event.what.project;
    failure
}

/// A consumer at work.
struct Consuming<H> {
    consumer: Consumer,
    handler: H,
    signal: EventSignal,
    panics: u32,
}

impl<H: Handler> Consuming<H> {
    async fn handle(&mut self, event: Event) -> Result<(), StepError> {
        let handled = AssertUnwindSafe(self.handler.handle(event.clone()))
            .catch_unwind()
            .await;
        let result = handled.unwrap_or_else(|_| {
            self.panics += 1;
            let error = if self.panics < PANICS {
                HandleError::Transient
            } else {
                HandleError::Permanent
            };
            Err(error("the handler panicked".into()))
        });
        match result {
            Ok(()) => self.consumer.advance(event.seq).await?,
            Err(HandleError::Permanent(cause)) => self.consumer.give_up(event, cause).await?,
            Err(HandleError::Transient(cause)) => {
                return Err(StepError::new(
                    format!(
                        "event {} ({}) is not handled yet",
                        event.id,
                        event.what.kind.label()
                    ),
                    cause,
                ));
            }
        }
        self.panics = 0;
        Ok(())
    }
}

impl<H: Handler> Worker for Consuming<H> {
    fn name(&self) -> &'static str {
        self.consumer.name
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let (events, cursor, last) = self.consumer.load().await?;
        if events.is_empty() {
            if last - cursor > LAG {
                self.consumer.advance(last).await?;
            }
            return Ok(Progress::Idle);
        }
        for event in events {
            // Asked before each event: a slow one may have cost the lease.
            if !self.consumer.is_ours().await? {
                return Ok(Progress::Idle);
            }
            self.handle(event).await?;
        }
        Ok(Progress::Worked)
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.signal.changed() => {}
            () = tokio::time::sleep(self.consumer.timer) => {}
        }
    }
}
