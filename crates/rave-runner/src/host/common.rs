//! What all runners of one process share of the machine.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::usage::Tally;
use crate::budget::JobKey;
use crate::budget::ledger::Ledger;
use crate::budget::size::Share;
use crate::exec::cgroup::{JobGroup, Sample};

/// What all runners of one process share: the budget and the jobs that have a part of it.
#[derive(Debug)]
pub(crate) struct Common {
    pub(super) state: Mutex<State>,
    /// Memory came back, or the host is open again.
    pub(super) changed: Notify,
    /// A job began, so that there is something to watch.
    pub(super) began: Notify,
    /// Who watches the jobs, for all.
    pub(super) watching: tokio::sync::Mutex<()>,
    /// How many runners there were.
    pub(super) runners: AtomicU32,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ledger: Ledger::new(0),
                running: Vec::new(),
                refuses: None,
            }),
            changed: Notify::new(),
            began: Notify::new(),
            watching: tokio::sync::Mutex::default(),
            runners: AtomicU32::new(0),
        }
    }
}

impl Common {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) running: Vec<Entry>,
    /// Why no job begins, other than for want of memory that is set aside.
    pub(super) refuses: Option<String>,
}

/// A job that runs.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: JobKey,
    pub(super) share: Share,
    pub(super) group: Arc<JobGroup>,
    pub(super) tally: Tally,
    pub(super) last: Sample,
    /// It stands still.
    pub(super) frozen: bool,
    pub(super) ending: bool,
}
