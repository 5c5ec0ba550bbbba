//! Memory as a budget: how much there is, which jobs get how much, and what happens when they take more.
//!
//! Everything here is decided from figures that are given; reading them from the kernel and acting on cgroups is left to
//! [`crate::exec`] and [`crate::host`].

use rave_core::id::JobId;

pub(crate) mod builds;
pub(crate) mod guard;
pub(crate) mod ledger;
pub(crate) mod size;

/// A job of one of the runners of this process: jobs of several servers may have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobKey {
    /// Which of the runners, by a number of its own.
    pub(crate) runner: u32,
    pub(crate) job: JobId,
}
