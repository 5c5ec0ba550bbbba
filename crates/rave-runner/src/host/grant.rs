//! What a job has of the machine: promised, given, measured and given back.

use std::sync::Arc;

use super::common::{Common, Entry};
use super::usage::Tally;
use super::{Host, Usage};
use crate::budget::JobKey;
use crate::budget::size::Share;
use crate::exec::cgroup::{CgroupError, JobGroup, Limits, Sample};

/// What a job that was given to a runner will ask for. It ends when the job asks; dropping it ends it too.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) common: Arc<Common>,
    pub(super) key: JobKey,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.common.lock().ledger.unclaim(self.key);
        self.common.changed.notify_waiters();
    }
}

/// A job's part of the budget. Dropping it gives it back.
pub(crate) struct Grant {
    pub(super) host: Arc<Host>,
    pub(super) job: JobKey,
    pub(crate) share: Share,
    pub(super) group: Option<Arc<JobGroup>>,
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
