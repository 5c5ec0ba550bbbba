//! Memory as a budget: how much there is, which jobs get how much, and what happens when they take more.
//!
//! Everything here is decided from figures that are given; reading them from the kernel and acting on cgroups is left to
//! [`crate::exec`] and [`crate::host`].

pub(crate) mod builds;
pub(crate) mod guard;
pub(crate) mod ledger;
pub(crate) mod size;
