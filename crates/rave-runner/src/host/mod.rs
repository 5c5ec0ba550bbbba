//! The machine that jobs share: who may begin, what each uses, and what happens when it becomes too little.
//!
//! The decisions are those of [`crate::budget`]; this reads the figures, waits, and acts on the control groups of jobs.

pub(crate) mod learned;
mod machine;
mod usage;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rave_core::id::JobId;
use rave_core::memory::{Shortage, shown};
use rave_core::time::Clock;
use tokio::sync::Notify;

use crate::budget::JobKey;
use crate::budget::ledger::{Asking, Ledger};
use crate::budget::size::{MemoryPolicy, Share, Terms, Wishes};
use crate::config::RunnerConfig;
use crate::exec::cgroup::{CgroupError, Cgroups, JobGroup, Limits, Sample};
use crate::pool::Pool;
pub(crate) use machine::Space;
use usage::Tally;
pub(crate) use usage::Usage;

/// Whoever waits looks again this often: how long it waits decides as well.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What all runners of one process share: the budget and the jobs that have a part of it.
#[derive(Debug)]
pub(crate) struct Common {
    state: Mutex<State>,
    /// Memory came back, or the host is open again.
    changed: Notify,
    /// A job began, so that there is something to watch.
    began: Notify,
    /// Who watches the jobs, for all.
    watching: tokio::sync::Mutex<()>,
    /// How many runners there were.
    runners: AtomicU32,
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

#[derive(Debug)]
struct State {
    ledger: Ledger,
    running: Vec<Entry>,
    /// Why no job begins, other than for want of memory that is set aside.
    refuses: Option<String>,
}

/// A job that runs.
#[derive(Debug)]
struct Entry {
    job: JobKey,
    share: Share,
    group: Arc<JobGroup>,
    tally: Tally,
    last: Sample,
    /// It stands still.
    frozen: bool,
    ending: bool,
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

/// What a job that was given to a runner will ask for. It ends when the job asks; dropping it ends it too.
#[derive(Debug)]
pub(crate) struct Claim {
    common: Arc<Common>,
    key: JobKey,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.common.lock().ledger.unclaim(self.key);
        self.common.changed.notify_waiters();
    }
}

/// A job's part of the budget. Dropping it gives it back.
pub(crate) struct Grant {
    host: Arc<Host>,
    job: JobKey,
    pub(crate) share: Share,
    group: Option<Arc<JobGroup>>,
}

impl Grant {
    /// Returns what the job may use.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: Some(self.share.limit_bytes),
            cpus: self.host.terms().cpus,
            pids: self.host.pids,
        }
    }

    /// Makes the job's control group, where the machine has any, and has it watched.
    pub(crate) fn begin(&mut self) -> Result<Option<Arc<JobGroup>>, CgroupError> {
        let Some(cgroups) = &self.host.cgroups else {
            return Ok(None);
        };
        let group = cgroups.make(self.limits())?;
        self.host.lock().running.push(Entry {
            job: self.job,
            share: self.share,
            group: group.clone(),
            tally: Tally::default(),
            last: Sample::default(),
            frozen: false,
            ending: false,
        });
        self.host.common.began.notify_one();
        self.group = Some(group.clone());
        Ok(Some(group))
    }

    /// Returns the job's control group, once it has one.
    pub(crate) fn group(&self) -> Option<Arc<JobGroup>> {
        self.group.clone()
    }

    /// Returns what the job used so far.
    pub(crate) fn usage(&self) -> Usage {
        let terms = self.host.terms();
        let most_bytes = terms.most_bytes;
        let Some(group) = &self.group else {
            return Usage::unknown(self.share, most_bytes);
        };
        let sample = group.sample();
        let mut state = self.host.lock();
        let entry = state.running.iter_mut().find(|it| it.job == self.job);
        let mut tally = entry.map_or_else(Tally::default, |entry| {
            if let Some(sample) = sample {
                entry.note(sample);
            }
            entry.tally.clone()
        });
        drop(state);
        if let Some(overrun) = group.overrun() {
            tally.overrun = Some(overrun.clone());
        }
        tally.total(self.share, most_bytes, &group.consumption())
    }

    /// Ends everything of the job, and gives back what it had.
    pub(crate) async fn end(self) -> Usage {
        let usage = self.usage();
        if let Some(group) = &self.group {
            group.remove().await;
        }
        usage
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut state = self.host.lock();
        state.running.retain(|it| it.job != self.job);
        state.ledger.release(self.job);
        drop(state);
        self.host.common.changed.notify_waiters();
    }
}
