//! The status of a set of jobs by GitLab's rules, from how many of each kind there are: sets grow and shrink without
//! anybody looking at all of their jobs again.

use super::Node;
use crate::job::Status;

/// What a job counts as within a set of jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Failed or canceled, but allowed to.
    Warning,
    /// Waits for a person, but need not be played.
    Ignored,
    Is(Status),
}

impl Member {
    fn of(job: &Node) -> Self {
        match job.state.status() {
            Status::Failed | Status::Canceled if job.allow_failure => Self::Warning,
            Status::Manual if job.allow_failure => Self::Ignored,
            status => Self::Is(status),
        }
    }

    /// Returns the place of its count.
    fn index(self) -> usize {
        match self {
            Self::Warning => 0,
            Self::Ignored => 1,
            Self::Is(status) => 2 + status as usize,
        }
    }
}

/// How many jobs of each kind a set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    counts: [usize; 2 + Status::ALL.len()],
    total: usize,
}

impl Tally {
    /// Adds a job as it is now.
    pub(super) fn add(&mut self, job: &Node) {
        self.counts[Member::of(job).index()] += 1;
        self.total += 1;
    }

    /// Returns the set of these jobs.
    pub(super) fn of<'a>(jobs: impl Iterator<Item = &'a Node>) -> Self {
        let mut tally = Self::default();
        jobs.for_each(|it| tally.add(it));
        tally
    }

    fn count(&self, member: Member) -> usize {
        self.counts[member.index()]
    }

    fn has(&self, status: Status) -> bool {
        self.count(Member::Is(status)) > 0
    }

    /// Whether there are no others than these and ignored ones.
    fn only(&self, allowed: &[Status], warning: bool) -> bool {
        let statuses: usize = allowed.iter().map(|it| self.count(Member::Is(*it))).sum();
        let warnings = if warning {
            self.count(Member::Warning)
        } else {
            0
        };
        statuses + warnings + self.count(Member::Ignored) == self.total
    }

    /// Returns the status by the first rule that holds, `None` for an empty set. `dag`: the set is what a job needs.
    pub(super) fn status(&self, dag: bool) -> Option<Status> {
        use Status as S;
        if self.total == 0 {
            return None;
        }
        let set_aside = self.has(S::Skipped) || self.count(Member::Ignored) > 0;
        Some(match () {
            () if dag && set_aside => S::Skipped,
            () if self.only(&[S::Skipped], false) => S::Skipped,
            () if self.only(&[S::Success, S::Skipped], true) => S::Success,
            () if self.only(&[S::Created], true) => S::Created,
            () if self.only(&[S::Canceled, S::Success, S::Skipped], true) => S::Canceled,
            () if self.only(&[S::Pending, S::Created, S::Skipped], true) => S::Pending,
            () if self.has(S::Running) || self.has(S::Pending) => S::Running,
            () if self.has(S::WaitingForResource) => S::WaitingForResource,
            () if self.has(S::Manual) => S::Manual,
            () if self.has(S::Scheduled) => S::Scheduled,
            () if self.has(S::Created) => S::Running,
            () if self.has(S::Canceling) => S::Canceling,
            () => S::Failed,
        })
    }
}
