//! Asks for jobs and hands each to a slot, until told to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use rave_core::id::JobId;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::cache::Caches;
use crate::cache::s3::S3;
use crate::client::{Client, ClientError, chain};
use crate::config::{ConfigError, RunnerConfig};
use crate::exec::{self, Executor, ExecutorError};
use crate::host::Host;
use crate::host::learned::Learned;
use crate::job;
use crate::pool::Pool;
use crate::source::store::Stores;
use crate::state::{State, StateError};

/// A runner, ready to be verified and to run.
#[derive(Debug)]
pub struct Runner {
    config: Arc<RunnerConfig>,
    client: Arc<Client>,
    bucket: Option<Arc<S3>>,
}

/// The runner cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The executor does not work on this machine.
    #[error("cannot run jobs on this machine")]
    Executor(#[from] ExecutorError),
    /// The server refuses the runner's token.
    #[error("the server refuses the runner")]
    Refused(#[source] ClientError),
    /// A directory of the runner failed.
    #[error("cannot prepare the runner's directories")]
    Directories(#[source] std::io::Error),
    /// Another runner has the same directory, or it cannot be used.
    #[error("cannot keep what the runner does")]
    State(#[from] StateError),
}

/// What all jobs of a runner share.
pub(crate) struct Shared {
    pub(crate) config: Arc<RunnerConfig>,
    pub(crate) client: Arc<Client>,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) caches: Caches,
    pub(crate) bucket: Option<Arc<S3>>,
    pub(crate) stores: Stores,
    pub(crate) state: State,
    pub(crate) host: Arc<Host>,
    /// What jobs needed before, of servers that do not remember it.
    pub(crate) learned: Arc<Learned>,
}

impl Runner {
    /// Checks a configuration and makes the runner's directories.
    ///
    /// # Errors
    /// When the address is no HTTP address, or a directory cannot be made.
    pub fn new(config: RunnerConfig) -> Result<Self, ConfigError> {
        if config.concurrency == 0 {
            return Err(ConfigError::Concurrency);
        }
        for path in [&config.builds_dir, &config.cache_dir] {
            make_private(path).map_err(|source| ConfigError::Directory {
                path: path.clone(),
                source,
            })?;
        }
        let client = Arc::new(Client::new(&config)?);
        let bucket = config.cache_s3.as_ref();
        let bucket = bucket.map(|it| S3::open(it, &config.short_token()));
        let bucket = bucket
            .transpose()
            .map_err(|error| ConfigError::Cache(chain(&error)))?;
        Ok(Self {
            config: Arc::new(config),
            client,
            bucket: bucket.map(Arc::new),
        })
    }

    /// Asks the server whether it knows the runner's token.
    ///
    /// # Errors
    /// When it does not, or does not answer.
    pub async fn verify(&self) -> Result<(), ClientError> {
        self.client.verify().await.map(drop)
    }

    /// Runs jobs until `shutdown`, and then waits for those that run. `abort` kills them and reports them as
    /// interrupted.
    ///
    /// # Errors
    /// When the executor does not work here, or the server refuses the runner's token. Everything else is waited out.
    pub async fn run(
        self,
        shutdown: CancellationToken,
        abort: CancellationToken,
    ) -> Result<(), RunnerError> {
        let state = State::open(&self.config.state_dir, &self.config.token)?;
        let executor = exec::open(&self.config)?;
        executor.check().await?;
        let caches = Caches::new(self.config.cache_dir.clone(), self.config.cache_limit_bytes);
        let stores = Stores::new(
            self.config.cache_dir.join("git"),
            self.config.object_limit_bytes,
        );
        let shared = Arc::new(Shared {
            config: self.config.clone(),
            client: self.client.clone(),
            executor,
            caches,
            bucket: self.bucket,
            stores,
            state,
            host: Host::open(&self.config),
            learned: Arc::new(Learned::open(self.config.builds_dir.join(".memory.json"))),
        });
        let jobs = TaskTracker::new();
        let lost = shared.state.lost().map_err(RunnerError::Directories)?;
        job::lost::clear(&shared.config, &lost);
        shared.stores.sweep();
        shared.caches.sweep();
        for lost in lost {
            let (shared, abort) = (shared.clone(), abort.child_token());
            jobs.spawn(async move { job::lost::settle(&shared, lost, abort).await });
        }
        let watched = CancellationToken::new();
        let watching = watched.clone().drop_guard();
        let watch = shared.clone();
        let watch = TaskTracker::new().spawn(async move { watch.host.watch(watched).await });
        let ended = tokio::select! {
            ended = poll(&shared, &jobs, &abort) => ended,
            () = shutdown.cancelled() => Ok(()),
            () = abort.cancelled() => Ok(()),
        };
        jobs.close();
        jobs.wait().await;
        drop(watching);
        // It ends by itself now, and what it watched is gone.
        let _ = watch.await;
        ended
    }
}

/// Makes a directory that only this user can enter: working copies of private projects are below it.
pub(crate) fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Keeps requests for jobs open while slots are free. May be dropped while it waits: no job is lost by that.
async fn poll(
    shared: &Arc<Shared>,
    jobs: &TaskTracker,
    abort: &CancellationToken,
) -> Result<(), RunnerError> {
    let places = shared.host.terms().concurrency;
    let slots = Slots::new(places);
    let (metrics, labels) = (&shared.config.metrics, shared.config.labels());
    metrics.set_limit(&labels, places);
    let requests = shared.config.request_concurrency.clamp(1, places.max(1));
    let asking = (0..requests).map(|_| Box::pin(ask(shared, &slots, jobs, abort)));
    // None of them ends but for all of them.
    select_all(asking).await.0
}

/// Keeps one request open while a slot is free.
async fn ask(
    shared: &Arc<Shared>,
    slots: &Slots,
    jobs: &TaskTracker,
    abort: &CancellationToken,
) -> Result<(), RunnerError> {
    let host = &shared.host;
    let (metrics, labels) = (&shared.config.metrics, shared.config.labels());
    let pool = shared.config.pool.as_ref();
    let (mut failures, mut refusals, mut at_once) = (0_u32, 0, 0_u32);
    let mut refused = None;
    loop {
        let slot = slots.take().await;
        let place = match pool {
            Some(pool) => Some(pool.take().await),
            None => None,
        };
        let offer = host.offer();
        if let Some(reason) = offer.refuses.as_ref().filter(|_| refused != offer.refuses) {
            tracing::warn!(reason, "the runner takes no jobs for now");
        }
        refused = offer.refuses;
        if !shared.client.knows_offers() {
            // Whatever it gives has to be run here.
            host.wait_for_room(|it| it.refuses.is_none() && it.free_bytes >= it.request_bytes)
                .await;
        }
        let asked_at = Instant::now();
        let offer = host.offer();
        let open = metrics.ask(&labels);
        let asked = tokio::select! {
            asked = shared.client.request_job(&offer) => asked,
            // It holds a request that takes nothing, which is therefore made again.
            () = host.wait_for_room(|it| it.refuses.is_none()), if offer.refuses.is_some() => continue,
            () = host.more_than(&offer) => continue,
            () = crowded(pool) => {
                drop((open, place));
                tokio::time::sleep(shared.config.check_interval).await;
                continue;
            }
        };
        drop(open);
        match asked {
            Ok(Some((mut job, live))) => {
                (failures, refusals, at_once) = (0, 0, 0);
                shared.config.overlay.apply(&mut job);
                // Before the next request says what there is.
                let bytes = job.memory.counted_bytes.unwrap_or(offer.request_bytes);
                let claim = host.claim(JobId(job.id), bytes);
                let (shared, abort) = (shared.clone(), abort.child_token());
                let trace = job.trace().map(|it| it.trace_id());
                let span = tracing::info_span!("job", job.id = job.id, trace.id = trace);
                let work = async move {
                    Box::pin(job::run(&shared, job, slot.number, live, abort)).await;
                    drop((slot, place, claim));
                };
                jobs.spawn(work.instrument(span));
            }
            Ok(None) => {
                (failures, refusals) = (0, 0);
                let held = asked_at.elapsed() > Duration::from_millis(500);
                at_once = if held { 0 } else { at_once + 1 };
                let pause = idle_pause(at_once, shared.config.check_interval);
                // Others may want the place meanwhile.
                drop(place);
                tokio::time::sleep(pause).await;
            }
            Err(error) if error.status().is_some_and(|it| it == 403) => {
                refusals += 1;
                metrics.asking_failed(&labels);
                drop(place);
                if refusals == 3 {
                    return Err(RunnerError::Refused(error));
                }
                tracing::warn!(
                    error = chain(&error),
                    "the server refuses the runner; trying again"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => {
                let asked = match &error {
                    ClientError::Status { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let pause = asked.unwrap_or(Duration::from_millis(100 << failures.min(6)));
                let pause = pause.min(Duration::from_secs(if asked.is_some() { 300 } else { 5 }));
                failures += 1;
                metrics.asking_failed(&labels);
                drop(place);
                tracing::warn!(
                    error = chain(&error),
                    pause_ms = pause.as_millis(),
                    "cannot ask for a job; trying again"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Waits until others that share the places want the one of a held request.
async fn crowded(pool: Option<&Pool>) {
    match pool {
        Some(pool) => pool.crowded().await,
        None => std::future::pending().await,
    }
}

/// Returns how long to wait after so many answers in a row that came at once and without a job.
///
/// A server that holds requests answers the first one at once, and others when their queue changed. One that does not
/// hold them is asked as often as the configuration says, as other runners do.
fn idle_pause(at_once: u32, most: Duration) -> Duration {
    match at_once {
        0 | 1 => Duration::ZERO,
        more => Duration::from_millis(100 << more.min(16)).min(most),
    }
}

/// The places where jobs run, each with a number that tells their directories apart.
struct Slots {
    free: Arc<Semaphore>,
    numbers: Arc<std::sync::Mutex<Vec<usize>>>,
}

/// One place, taken. Dropping it frees the place.
struct Slot {
    number: usize,
    numbers: Arc<std::sync::Mutex<Vec<usize>>>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Slots {
    fn new(count: usize) -> Self {
        let numbers = (0..count).rev().collect();
        Self {
            free: Arc::new(Semaphore::new(count)),
            numbers: Arc::new(std::sync::Mutex::new(numbers)),
        }
    }

    async fn take(&self) -> Slot {
        let permit = self
            .free
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let mut numbers = self
            .numbers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = numbers.pop().expect("there are as many numbers as permits");
        Slot {
            number,
            numbers: self.numbers.clone(),
            _permit: permit,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.numbers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_holds_no_requests_is_asked_less_often() {
        let pauses: Vec<_> = [0, 1, 2, 5, 9]
            .into_iter()
            .map(|it| idle_pause(it, Duration::from_secs(3)).as_millis())
            .collect();
        assert_eq!(pauses, [0, 0, 400, 3000, 3000]);
    }

    #[tokio::test]
    async fn slots_are_told_apart_and_come_back() {
        let slots = Slots::new(2);
        let (one, two) = (slots.take().await, slots.take().await);
        assert_eq!((one.number, two.number), (0, 1));
        drop(one);
        assert_eq!(slots.take().await.number, 0);
    }
}
