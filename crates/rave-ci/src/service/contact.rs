//! When a runner was last heard of, written down at most every few seconds for each of its machines.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use rave_core::id::RunnerId;
use rave_core::time::Timestamp;

use super::Ci;
use crate::error::CiError;
use crate::model::{MachineInfo, Runner};
use crate::store;
use crate::store::job::Held;

/// How often a machine is written down that has nothing new to say.
const AGAIN_MS: i64 = 20_000;
/// How many are remembered. Those that were written down long ago are forgotten beyond this.
const MANY: usize = 1000;

/// Who was written down when, and with what.
#[derive(Default)]
pub(crate) struct Contacts(Mutex<HashMap<Who, (Timestamp, u64)>>);

#[derive(PartialEq, Eq, Hash)]
enum Who {
    /// A machine that asks for jobs.
    Machine(RunnerId, String),
    /// The machine that has a job.
    Job(i64),
}

impl Contacts {
    /// Whether it is time to write this down again. If so, it counts as written down.
    fn is_due(&self, who: Who, what: u64, now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: Timestamp| now.since(at) < AGAIN_MS;
        if known
            .get(&who)
            .is_some_and(|(at, last)| fresh(*at) && *last == what)
        {
            return false;
        }
        if known.len() >= MANY {
            known.retain(|_, (at, _)| fresh(*at));
        }
        known.insert(who, (now, what));
        true
    }

    /// Forgets what was written down of a runner, because the row is gone.
    pub(crate) fn forget(&self, runner: RunnerId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|who, _| !matches!(who, Who::Machine(it, _) if *it == runner));
    }
}

impl Ci {
    /// Notes that a machine speaks for a runner: at once if it says something new of itself, else every few seconds.
    pub(crate) async fn note_contact(
        &self,
        runner: &Runner,
        machine: &MachineInfo,
    ) -> Result<(), CiError> {
        let mut hasher = DefaultHasher::new();
        machine.hash(&mut hasher);
        let who = Who::Machine(runner.id, machine.system_id.clone());
        if !self.contacts.is_due(who, hasher.finish(), self.now()) {
            return Ok(());
        }
        let (id, machine) = (runner.id, machine.clone());
        self.db
            .write("ci_contact", move |tx| {
                Ok(store::runner_manager::put(tx, id, &machine)?)
            })
            .await
    }

    /// Notes that a machine works on its job: one that has no slot free asks for no other.
    pub(crate) async fn note_work(&self, held: &Held) -> Result<(), CiError> {
        let job = held.job;
        if !self.contacts.is_due(Who::Job(job.0), 0, self.now()) {
            return Ok(());
        }
        self.db
            .write("ci_note_work", move |tx| {
                Ok(store::runner_manager::touch(tx, job)?)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_written_down_now_and_then_and_news_at_once() {
        let contacts = Contacts::default();
        let due = |what, at| {
            contacts.is_due(Who::Machine(RunnerId(1), "s_1".into()), what, Timestamp(at))
        };
        assert!(due(1, 0));
        assert!(!due(1, 19_999));
        assert!(due(2, 19_999), "it was updated");
        assert!(!due(2, 20_001));
        assert!(due(2, 40_000));
        contacts.forget(RunnerId(1));
        assert!(due(2, 40_001));
    }
}
