//! Wakes held requests for jobs when jobs begin to wait, and keeps them from looking in vain or for the same job.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rave_core::id::{JobId, RunnerId};
use tokio::sync::watch;

/// The wake-up call of waiting jobs.
///
/// Its version changes whenever a job begins to wait or a runner's settings change. A runner that found nothing at a
/// version need not look again before the next: of a hundred held requests of one runner, one looks.
pub(crate) struct Queue {
    version: watch::Sender<u64>,
    looking: tokio::sync::Mutex<HashMap<RunnerId, u64>>,
    /// Jobs that requests of this process are about to take.
    reserved: Arc<Mutex<HashSet<JobId>>>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            version: watch::Sender::new(1),
            looking: tokio::sync::Mutex::default(),
            reserved: Arc::default(),
        }
    }

    /// Tells everyone who waits to look.
    pub(crate) fn ring(&self) {
        self.version.send_modify(|it| *it = it.wrapping_add(1));
    }

    /// Returns what changes when there may be work.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Returns the present version.
    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Waits for its turn to look. While the guard lives, no other request of this process looks.
    pub(crate) async fn look(&self) -> tokio::sync::MutexGuard<'_, HashMap<RunnerId, u64>> {
        self.looking.lock().await
    }

    /// Whether a request of this process is about to take the job.
    pub(crate) fn is_reserved(&self, job: JobId) -> bool {
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.contains(&job)
    }

    /// Keeps other requests of this process from the job while the reservation lives.
    pub(crate) fn reserve(&self, job: JobId) -> Reservation {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.insert(job);
        Reservation {
            reserved: self.reserved.clone(),
            job,
        }
    }
}

/// A job that one request is about to take.
pub(crate) struct Reservation {
    reserved: Arc<Mutex<HashSet<JobId>>>,
    job: JobId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.remove(&self.job);
    }
}
