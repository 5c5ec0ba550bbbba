//! Held requests for jobs: who waits, who is woken when jobs begin to wait, and who looks.
//!
//! Whoever waits may lead: the leader finds out for whom there may be a job and wakes no more requests than there are jobs.
//! A request that was woken and goes away without one leaves its place to the next.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rave_core::id::{JobId, RunnerId};
use tokio::sync::{Notify, watch};

use super::memory::{Offer, PassedOver};

/// Whose requests look alike: the runner, and what the machine says that it can do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asker {
    pub(crate) runner: RunnerId,
    pub(crate) features: Option<Vec<String>>,
    /// What it has of memory; `None`: it does not say.
    pub(crate) offer: Option<Offer>,
}

/// The jobs that wait, as far as this process knows when that changes, and the requests that wait for them.
pub(crate) struct Queue {
    /// Changes whenever a job begins to wait or a runner's settings change. An asker that found nothing at a version need
    /// not look again before the next.
    version: watch::Sender<u64>,
    /// Changes with the version, and when the requests that were woken may have been too few.
    calls: watch::Sender<u64>,
    /// Up to which call the leader has woken requests.
    leader: tokio::sync::Mutex<u64>,
    looking: tokio::sync::Mutex<HashMap<Asker, u64>>,
    waiting: Mutex<Waiting>,
    /// Jobs that requests of this process are about to take.
    reserved: Arc<Mutex<HashSet<JobId>>>,
    /// Jobs that did not fit.
    pub(crate) passed: PassedOver,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    /// In the order in which they came.
    requests: Vec<Held>,
}

struct Held {
    number: u64,
    asker: Asker,
    woken: bool,
    /// The version at which it found nothing for itself.
    looked: Option<u64>,
    signal: Arc<Notify>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            version: watch::Sender::new(1),
            calls: watch::Sender::new(1),
            leader: tokio::sync::Mutex::new(0),
            looking: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            reserved: Arc::default(),
            passed: PassedOver::default(),
        }
    }

    /// Says that there may be work for those who wait.
    pub(crate) fn ring(&self) {
        self.version.send_modify(|it| *it = it.wrapping_add(1));
        self.call();
    }

    /// Has the leader look at who should be woken, though no job came.
    fn call(&self) {
        self.calls.send_modify(|it| *it = it.wrapping_add(1));
    }

    /// Returns the present version.
    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Takes the lead, to hear of calls. Returns up to which call others led.
    pub(crate) async fn lead(&self) -> (tokio::sync::MutexGuard<'_, u64>, watch::Receiver<u64>) {
        (self.leader.lock().await, self.calls.subscribe())
    }

    /// Enters a request into the list of those who wait.
    pub(crate) fn enter(&self, asker: Asker) -> Place<'_> {
        let signal = Arc::new(Notify::new());
        let mut waiting = self.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.requests.push(Held {
            number,
            asker,
            woken: false,
            looked: None,
            signal: signal.clone(),
        });
        Place {
            queue: self,
            number,
            signal,
        }
    }

    /// Returns who waits and may be woken, in the order in which they came: not those who were, or who found nothing in the
    /// queue as it is.
    pub(crate) fn sleeping(&self) -> Vec<(u64, Asker)> {
        let version = self.version();
        let waiting = self.lock();
        let sleeps = |it: &&Held| !it.woken && it.looked != Some(version);
        let sleeping = waiting.requests.iter().filter(sleeps);
        sleeping.map(|it| (it.number, it.asker.clone())).collect()
    }

    /// Returns how many requests wait that were not woken.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.lock().requests.iter().filter(|it| !it.woken).count()
    }

    /// Wakes one request.
    pub(crate) fn wake(&self, number: u64) {
        let mut waiting = self.lock();
        if let Some(held) = waiting.requests.iter_mut().find(|it| it.number == number) {
            held.woken = true;
            held.signal.notify_one();
        }
    }

    /// Waits for its turn to look. While the guard lives, no other request of this process looks.
    pub(crate) async fn look(&self) -> tokio::sync::MutexGuard<'_, HashMap<Asker, u64>> {
        /// Askers whose last look is remembered; beyond, all look once more.
        const ASKERS: usize = 10_000;
        let mut looked = self.looking.lock().await;
        if looked.len() > ASKERS {
            looked.clear();
        }
        looked
    }

    /// Returns the jobs that requests of this process are about to take.
    pub(crate) fn reserved(&self) -> HashSet<JobId> {
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.clone()
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's place among those who wait. It is given up when the request is answered or goes away.
pub(crate) struct Place<'a> {
    queue: &'a Queue,
    number: u64,
    signal: Arc<Notify>,
}

impl Place<'_> {
    /// Says that the request found nothing at a version, so that others are woken for what there is.
    pub(crate) fn pass(&self, version: u64) {
        let mut waiting = self.queue.lock();
        let own = waiting
            .requests
            .iter_mut()
            .find(|it| it.number == self.number);
        let news = own.is_some_and(|it| it.looked.replace(version) != Some(version));
        let others = waiting.requests.len() > 1;
        drop(waiting);
        if news && others {
            self.queue.call();
        }
    }

    /// Waits until there may be a job for this request.
    pub(crate) async fn woken(&self) {
        self.signal.notified().await;
        let mut waiting = self.queue.lock();
        let own = waiting
            .requests
            .iter_mut()
            .find(|it| it.number == self.number);
        if let Some(held) = own {
            held.woken = false;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = {
            let mut waiting = self.queue.lock();
            waiting.requests.retain(|it| it.number != self.number);
            !waiting.requests.is_empty()
        };
        // It may have been woken for a job that it does not take, or have taken one that another was woken for.
        if left {
            self.queue.call();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(runner: i64) -> Asker {
        Asker {
            runner: RunnerId(runner),
            features: None,
            offer: None,
        }
    }

    #[tokio::test]
    async fn one_request_is_woken_and_others_sleep_on() {
        let queue = Queue::new();
        let (one, other) = (queue.enter(asker(1)), queue.enter(asker(1)));
        assert_eq!(queue.sleeping().len(), 2);
        queue.wake(queue.sleeping()[0].0);
        assert_eq!(queue.sleeping().len(), 1, "it is on its way to look");
        one.woken().await;
        assert_eq!(
            queue.sleeping().len(),
            2,
            "it looks, and may be woken again"
        );
        drop(other);
        assert_eq!(queue.sleeping().len(), 1);
    }

    #[tokio::test]
    async fn who_finds_nothing_leaves_its_turn_to_others() {
        let queue = Queue::new();
        let (one, other) = (queue.enter(asker(1)), queue.enter(asker(2)));
        let (_led, mut calls) = queue.lead().await;
        calls.borrow_and_update();
        one.pass(queue.version());
        assert!(calls.has_changed().unwrap());
        assert_eq!(queue.sleeping(), [(other.number, asker(2))]);
        queue.ring();
        assert_eq!(
            queue.sleeping().len(),
            2,
            "there may be something for it now"
        );
    }

    #[tokio::test]
    async fn who_goes_away_has_the_leader_look_for_another() {
        let queue = Queue::new();
        let (one, _other) = (queue.enter(asker(1)), queue.enter(asker(2)));
        let (_led, mut calls) = queue.lead().await;
        calls.borrow_and_update();
        drop(one);
        assert!(calls.has_changed().unwrap());
    }
}
