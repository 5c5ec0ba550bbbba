//! The machine that jobs share: who may begin, what each uses, and what happens when it becomes too little.
//!
//! The decisions are those of [`crate::budget`]; this reads the figures, waits, and acts on the control groups of jobs.

mod common;
mod grant;
pub(crate) mod learned;
mod machine;
mod usage;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use rave_core::id::JobId;
use rave_core::memory::{Shortage, shown};
use rave_core::time::Clock;

use crate::budget::JobKey;
use crate::budget::ledger::Asking;
use crate::budget::size::{MemoryPolicy, Share, Terms, Wishes};
use crate::config::RunnerConfig;
use crate::exec::cgroup::{Cgroups, Limits};
use crate::pool::Pool;
pub(crate) use common::Common;
use common::State;
pub(crate) use grant::{Claim, Grant};
pub(crate) use machine::Space;
pub(crate) use usage::Usage;

/// Whoever waits looks again this often: how long it waits decides as well.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The machine, as one runner and its jobs see it.
pub(crate) struct Host {
    common: Arc<Common>,
    /// Tells the jobs of this runner from those of others.
    number: u32,
    policy: MemoryPolicy,
    wishes: Wishes,
    pids: Option<u64>,
    disk: Disk,
    cgroups: Option<Cgroups>,
    /// The limit that this process itself is under.
    own_limit: Option<u64>,
    clock: Arc<dyn Clock>,
}

/// What is watched of the disk.
#[derive(Clone, Debug)]
struct Disk {
    dir: PathBuf,
    /// Below this much free space no job begins.
    reserve_bytes: u64,
}

/// What a runner offers the server that it asks for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// What the jobs of this runner can share.
    pub(crate) budget_bytes: u64,
    /// What of it nobody has or waits for.
    pub(crate) free_bytes: u64,
    /// What one job may ask for at most.
    pub(crate) most_bytes: u64,
    /// What one job may have that does not say.
    pub(crate) limit_bytes: u64,
    /// What a job is expected to need that nobody knows anything of.
    pub(crate) request_bytes: u64,
    /// What jobs of other runners of this process have.
    pub(crate) foreign_bytes: u64,
    /// Jobs that hold memory, which comes free when they end.
    pub(crate) holders: Vec<(JobId, u64)>,
    pub(crate) refuses: Option<String>,
}

impl Host {
    pub(crate) fn open(config: &RunnerConfig) -> Arc<Self> {
        let limits = Limits {
            memory_bytes: Some(u64::MAX),
            cpus: config.cpus,
            pids: config.pids,
        };
        let cgroups = Cgroups::open_or_warn(&limits);
        let own_limit = cgroups.as_ref().and_then(Cgroups::own_memory_limit);
        let wishes = Wishes {
            job_bytes: config.default_memory_bytes,
            most_bytes: config.max_memory_bytes,
            cpus: config.cpus,
            concurrency: config.concurrency,
        };
        let terms = Terms::of(&config.memory, &wishes, &machine::look(own_limit));
        tracing::info!(
            profile = ?terms.profile,
            budget = shown(terms.budget_bytes),
            concurrency = terms.concurrency,
            "jobs share this much memory"
        );
        let common = config.pool.as_ref().map(Pool::common).unwrap_or_default();
        common.lock().ledger.set_budget(terms.budget_bytes);
        Arc::new(Self {
            number: common.runners.fetch_add(1, Ordering::Relaxed),
            common,
            policy: config.memory,
            wishes,
            pids: config.pids,
            disk: Disk {
                dir: config.builds_dir.clone(),
                reserve_bytes: config.disk_reserve_bytes,
            },
            cgroups,
            own_limit,
            clock: config.clock.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.common.lock()
    }

    /// Names a job of this runner.
    fn key(&self, job: JobId) -> JobKey {
        JobKey {
            runner: self.number,
            job,
        }
    }

    /// Settles the terms by what is there now.
    pub(crate) fn terms(&self) -> Terms {
        Terms::of(&self.policy, &self.wishes, &machine::look(self.own_limit))
    }

    /// Returns how many processors' worth of time a job has.
    pub(crate) fn cpus(&self, terms: &Terms) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "no machine has that many")]
        let all = machine::look(None).cpus as f64;
        terms.cpus.map_or(all, |it| it.min(all))
    }

    /// Says what there is for the next job.
    pub(crate) fn offer(&self) -> Offer {
        let terms = self.terms();
        let low = self.low_disk();
        let mut state = self.lock();
        state.ledger.set_budget(terms.budget_bytes);
        let own = |it: &(JobKey, u64)| it.0.runner == self.number;
        let (holders, foreign): (Vec<_>, Vec<_>) = state.ledger.holders().partition(own);
        let foreign_bytes = foreign.iter().map(|it| it.1).sum();
        Offer {
            budget_bytes: terms.budget_bytes.saturating_sub(foreign_bytes),
            free_bytes: state.ledger.unclaimed(),
            most_bytes: terms.most_bytes,
            limit_bytes: terms.job_bytes,
            request_bytes: terms.request_bytes.min(terms.job_bytes),
            foreign_bytes,
            holders: holders.into_iter().map(|(key, it)| (key.job, it)).collect(),
            refuses: low.or_else(|| state.refuses.clone()),
        }
    }

    /// Waits until the offer is worth asking with: `enough` says so.
    pub(crate) async fn wait_for_room(&self, enough: impl Fn(&Offer) -> bool) {
        while !enough(&self.offer()) {
            tokio::select! {
                () = self.common.changed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Waits until jobs of other runners of this process gave memory back since an offer, of which its server cannot know.
    pub(crate) async fn more_than(&self, offer: &Offer) {
        /// Less is not worth another request.
        const WORTH: u64 = 16 << 20;
        if offer.foreign_bytes == 0 {
            return std::future::pending().await;
        }
        let enough = offer.foreign_bytes.saturating_sub(WORTH);
        self.wait_for_room(|it| it.foreign_bytes <= enough).await;
    }

    /// Takes note of a job that was given to this runner and will ask for memory.
    pub(crate) fn claim(self: &Arc<Self>, job: JobId, bytes: u64) -> Claim {
        let key = self.key(job);
        self.lock().ledger.claim(key, bytes);
        Claim {
            common: self.common.clone(),
            key,
        }
    }

    /// Says why no job may begin for want of space on the disk.
    fn low_disk(&self) -> Option<String> {
        let space = Space::of(&self.disk.dir)?;
        // On a small file system a part of it is enough.
        let reserve = self.disk.reserve_bytes.min(space.total_bytes / 20);
        (space.free_bytes < reserve).then(|| {
            format!(
                "only {} of its disk are free, and {} are kept free",
                shown(space.free_bytes),
                shown(reserve)
            )
        })
    }

    /// Waits until a job has the memory that it needs. `say` hears what it lacks, each time that this changes.
    ///
    /// Dropping the future gives up the place in the line.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        job: JobId,
        share: Share,
        mut say: impl FnMut(&Shortage),
    ) -> Grant {
        let job = self.key(job);
        let grant = Grant {
            host: self.clone(),
            job,
            share,
            group: None,
        };
        let (mut asked, mut said) = (false, None);
        loop {
            let changed = self.common.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let shortage = {
                let (now, budget) = (self.clock.now(), self.terms().budget_bytes);
                let mut state = self.lock();
                state.ledger.set_budget(budget);
                let granted = if asked {
                    state.ledger.admit(now);
                    state.ledger.has(job)
                } else {
                    // What shrank below the job since it was judged is as much as it can have.
                    let bytes = share.request_bytes.min(budget);
                    state.ledger.ask(job, bytes, now) == Asking::Granted
                };
                asked = true;
                if granted {
                    return grant;
                }
                state.ledger.shortage(job, now)
            };
            if let Some(shortage) = shortage
                && said.as_ref() != Some(&shortage)
            {
                say(&shortage);
                said = Some(shortage);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use rave_core::secret::Secret;
    use rave_core::time::SystemClock;

    /// Opens the host of a runner of a process whose jobs have 256 MiB.
    fn host(dir: &std::path::Path, pool: &Pool) -> Arc<Host> {
        let clock = Arc::new(SystemClock);
        let mut config = RunnerConfig::new("http://x", Secret::new("t"), dir, clock);
        config.builds_dir = dir.to_owned();
        config.memory.budget_bytes = Some(256 << 20);
        config.pool = Some(pool.clone());
        Host::open(&config)
    }

    fn share(mib: u64) -> Share {
        Share {
            request_bytes: mib << 20,
            limit_bytes: mib << 20,
            explicit: true,
        }
    }

    #[tokio::test]
    async fn runners_of_one_process_share_its_memory() {
        let dir = tempfile::tempdir().expect("a directory");
        let pool = Pool::new(2);
        let (one, other) = (host(dir.path(), &pool), host(dir.path(), &pool));
        let grant = one.admit(JobId(1), share(200), |_| ()).await;
        let offer = other.offer();
        assert_eq!((offer.budget_bytes, offer.free_bytes), (56 << 20, 56 << 20));
        assert!(offer.holders.is_empty(), "the server knows nothing of them");
        let mut said = Vec::new();
        {
            // The other's job has the same number, and waits for memory all the same.
            let waiting = other.admit(JobId(1), share(100), |it| said.push(it.sentence()));
            tokio::pin!(waiting);
            assert!(waiting.as_mut().now_or_never().is_none());
            assert!(other.more_than(&offer).now_or_never().is_none());
            drop(grant);
            other.more_than(&offer).await;
            drop(waiting.await);
        }
        assert_eq!(said, ["Needs 100 MiB of memory, 56 MiB free"]);
        assert_eq!(one.offer().free_bytes, 256 << 20);
    }

    #[tokio::test]
    async fn a_job_counts_from_the_moment_in_which_it_was_given() {
        let dir = tempfile::tempdir().expect("a directory");
        let host = host(dir.path(), &Pool::new(1));
        let claim = host.claim(JobId(1), 100 << 20);
        let offer = host.offer();
        assert_eq!(offer.holders, [(JobId(1), 100 << 20)]);
        assert_eq!(
            (offer.budget_bytes, offer.free_bytes),
            (256 << 20, 156 << 20)
        );
        let grant = host.admit(JobId(1), share(50), |_| ()).await;
        assert_eq!(host.offer().holders, [(JobId(1), 50 << 20)]);
        drop((grant, claim));
        assert!(host.offer().holders.is_empty());
    }
}
