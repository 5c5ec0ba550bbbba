//! The status of a set of jobs by GitLab's rules, from how many of each kind there are: sets grow and shrink without
//! anybody looking at all of their jobs again.

use super::{Graph, Node};
use crate::job::Status;

/// How many kinds of members there are.
const KINDS: usize = 2 + Status::ALL.len();

/// What a job counts as within a set of jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    /// Failed or canceled, but allowed to.
    Warning,
    /// Waits for a person, but need not be played.
    Ignored,
    Is(Status),
}

impl Member {
    /// Every kind, each at the place of its count.
    fn all() -> impl Iterator<Item = Self> {
        [Self::Warning, Self::Ignored]
            .into_iter()
            .chain(Status::ALL.into_iter().map(Self::Is))
    }

    pub(super) fn of(job: &Node) -> Self {
        match job.state.status() {
            Status::Failed | Status::Canceled if job.allow_failure => Self::Warning,
            Status::Manual if job.allow_failure => Self::Ignored,
            status => Self::Is(status),
        }
    }

    /// Whether later jobs wait for it: a set has a final status when it has no such member, and never before, but for
    /// what a job needs, of which one that is set aside says enough.
    pub(super) fn is_open(self) -> bool {
        match self {
            Self::Warning | Self::Ignored => false,
            Self::Is(status) => !status.is_finished(),
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

    /// Returns the name under which its count is kept.
    fn label(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Ignored => "ignored",
            Self::Is(status) => status.label(),
        }
    }
}

/// How many jobs of each kind a set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [usize; KINDS],
    total: usize,
}

impl Tally {
    /// Makes a tally of counts by the names of kinds. `None` for a kind that there is not.
    pub fn from_counts<'a>(counts: impl IntoIterator<Item = (&'a str, usize)>) -> Option<Self> {
        let mut tally = Self::default();
        for (label, count) in counts {
            let member = Member::all().find(|it| it.label() == label)?;
            tally.counts[member.index()] = count;
        }
        tally.total = tally.counts.iter().sum();
        Some(tally)
    }

    /// Returns the counts that are not zero, by the names of their kinds.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        Member::all()
            .map(|it| (it.label(), self.count(it)))
            .filter(|it| it.1 > 0)
    }

    /// Adds a job as it is now.
    pub(super) fn add(&mut self, job: &Node) {
        self.counts[Member::of(job).index()] += 1;
        self.total += 1;
    }

    /// Adds all of another set.
    fn add_all(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Counts a job as another kind than before.
    fn recount(&mut self, from: Member, to: Member) {
        let before = &mut self.counts[from.index()];
        *before = before.saturating_sub(1);
        self.counts[to.index()] += 1;
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

/// The jobs of a pipeline by kind, stage by stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    stages: Vec<Tally>,
}

impl Tallies {
    /// Returns the tallies of these stages, in their order.
    #[must_use]
    pub fn new(stages: Vec<Tally>) -> Self {
        Self { stages }
    }

    /// Counts the jobs of a graph.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut tallies = Self::default();
        for job in &graph.nodes {
            tallies.stage(job.stage).add(job);
        }
        tallies
    }

    /// Returns the tally of each stage, in their order.
    #[must_use]
    pub fn stages(&self) -> &[Tally] {
        &self.stages
    }

    /// Returns the pipeline's status; an empty one counts as skipped.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut all = Tally::default();
        self.stages.iter().for_each(|it| all.add_all(it));
        all.status(false).unwrap_or(Status::Skipped)
    }

    /// Whether a job such as this is among those that were counted.
    #[must_use]
    pub fn has(&self, job: &Node) -> bool {
        let stage = self.stages.get(job.stage);
        stage.is_some_and(|it| it.count(Member::of(job)) > 0)
    }

    /// Counts a job as what it is `now` and not as what it was `before`, in the same stage.
    pub(super) fn recount(&mut self, before: &Node, now: &Node) {
        self.stage(now.stage)
            .recount(Member::of(before), Member::of(now));
    }

    /// Returns the stage after `stage` that has created jobs although all stages before it have come to their end, with
    /// the status of those. There is one at most: its created jobs keep those after it from beginning.
    pub(super) fn begun_after(&self, stage: usize) -> Option<(usize, Status)> {
        let mut earlier = Tally::default();
        for (at, tally) in self.stages.iter().enumerate() {
            if tally.has(Status::Created) {
                let gate = earlier.status(false).unwrap_or(Status::Success);
                return (at > stage && gate.is_finished()).then_some((at, gate));
            }
            earlier.add_all(tally);
        }
        None
    }

    fn stage(&mut self, stage: usize) -> &mut Tally {
        if self.stages.len() <= stage {
            self.stages.resize(stage + 1, Tally::default());
        }
        &mut self.stages[stage]
    }
}
