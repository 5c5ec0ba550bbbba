//! A queued transaction with its types erased, and the answer it owes.

use rave_core::time::Clock;
use tokio::sync::oneshot;

use crate::{Error, Tx, db::run_closure, session::Session};

/// A transaction that waits for a thread. It is run once, then answered once.
pub(crate) trait Job: Send {
    /// Runs the closure and returns what to do with its changes.
    fn run(&mut self, session: &mut dyn Session, clock: &dyn Clock) -> Outcome;
    /// Answers the caller: with the closure's result, or with `failure` when that came to nothing.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

/// What a closure left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Keep { appended: bool },
    Undo,
}

pub(crate) struct Closure<F, T, E> {
    name: &'static str,
    f: Option<F>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Closure<F, T, E> {
    pub(crate) fn new(name: &'static str, f: F, answer: oneshot::Sender<Result<T, E>>) -> Self {
        Self {
            name,
            f: Some(f),
            result: None,
            answer,
        }
    }
}

impl<F, T, E> Job for Closure<F, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, session: &mut dyn Session, clock: &dyn Clock) -> Outcome {
        let Some(f) = self.f.take() else {
            return Outcome::Undo;
        };
        let (result, appended) = run_closure(self.name, session, clock, f);
        let kept = result.is_ok();
        self.result = Some(result);
        if kept {
            Outcome::Keep { appended }
        } else {
            Outcome::Undo
        }
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let result = match (self.result, failure) {
            // The closure's own error says more than the failure of what it had given up anyway.
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(E::from(failure)),
            (Some(result), None) => result,
            (None, None) => Err(E::from(Error::Closed)),
        };
        // A caller that no longer waits needs no answer.
        let _ = self.answer.send(result);
    }
}
