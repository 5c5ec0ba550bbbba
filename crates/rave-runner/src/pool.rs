//! How many jobs one process runs at once, whichever of its runners they are for, and what memory they share.
//!
//! A held request has a place as long as it is held. Where others wait for one, it is given up for them after a moment, so
//! that runners ask in turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::host::Common;

/// How long a request is left alone: a server that has a job gives it by then.
const ALONE: Duration = Duration::from_secs(1);

/// The places for jobs that several runners share.
#[derive(Clone, Debug)]
pub struct Pool {
    free: Arc<Semaphore>,
    sizes: Arc<Mutex<Sizes>>,
    /// How many runners wait for a place.
    waiting: watch::Sender<usize>,
    /// The machine's memory, which is shared as well.
    common: Arc<Common>,
}

#[derive(Debug)]
struct Sizes {
    places: usize,
    /// Places that jobs have and that are not to be there any more.
    surplus: usize,
}

/// One place, taken. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct PoolPlace {
    permit: Option<OwnedSemaphorePermit>,
    sizes: Arc<Mutex<Sizes>>,
}

impl Drop for PoolPlace {
    fn drop(&mut self) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.surplus > 0 {
            sizes.surplus -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

/// Counts a runner among those that wait, as long as it lives.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|it| *it += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|it| *it -= 1);
    }
}

impl Pool {
    /// Makes a pool with so many places.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(places)),
            sizes: Arc::new(Mutex::new(Sizes { places, surplus: 0 })),
            waiting: watch::Sender::new(0),
            common: Arc::default(),
        }
    }

    /// Returns what its runners share of the machine.
    pub(crate) fn common(&self) -> Arc<Common> {
        self.common.clone()
    }

    /// Changes how many places there are. Jobs that have one keep it: with fewer places than jobs, none is free until enough
    /// have ended.
    pub fn resize(&self, places: usize) {
        let mut sizes = self.lock();
        let before = std::mem::replace(&mut sizes.places, places);
        if places > before {
            let forgiven = sizes.surplus.min(places - before);
            sizes.surplus -= forgiven;
            self.free.add_permits(places - before - forgiven);
        } else {
            let gone = before - places;
            sizes.surplus += gone - self.free.forget_permits(gone);
        }
    }

    /// Returns how many places there are.
    #[must_use]
    pub fn places(&self) -> usize {
        self.lock().places
    }

    fn lock(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    pub(crate) async fn take(&self) -> PoolPlace {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                let _waiting = Waiting::new(&self.waiting);
                // The semaphore is never closed.
                self.free.clone().acquire_owned().await.ok()
            }
        };
        PoolPlace {
            permit,
            sizes: self.sizes.clone(),
        }
    }

    /// Waits until a request should be given up, because others wait for its place.
    pub(crate) async fn crowded(&self) {
        tokio::time::sleep(ALONE).await;
        self.wanted().await;
    }

    async fn wanted(&self) {
        let mut waiting = self.waiting.subscribe();
        // The sender is this pool's own.
        let _ = waiting.wait_for(|it| *it > 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_place_is_wanted_while_somebody_waits_for_it() {
        let pool = Pool::new(1);
        let place = pool.take().await;
        assert!(pool.wanted().now_or_never().is_none(), "nobody waits");
        {
            let other = pool.take();
            tokio::pin!(other);
            assert!(other.as_mut().now_or_never().is_none());
            assert!(pool.wanted().now_or_never().is_some());
            drop(place);
            other.await;
        }
        assert!(
            pool.wanted().now_or_never().is_none(),
            "nobody waits any more"
        );
    }

    #[tokio::test]
    async fn a_pool_that_shrinks_waits_for_jobs_to_end() {
        let pool = Pool::new(3);
        let places = [pool.take().await, pool.take().await, pool.take().await];
        pool.resize(1);
        drop(places);
        assert_eq!((pool.places(), pool.free.available_permits()), (1, 1));
        pool.resize(2);
        assert_eq!((pool.places(), pool.free.available_permits()), (2, 2));
    }
}
