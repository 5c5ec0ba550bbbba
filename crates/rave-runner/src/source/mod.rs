//! Brings the job's commit into its working copy, with stock git.
//!
//! What git does there happens in the job's own executor: a working copy may carry configuration, hooks and attributes that
//! an earlier job planted, and whatever git makes of them then happens where a job may do as it likes anyway. They are
//! removed all the same, so that one job cannot meddle with the next.

mod remote;
mod script;
pub(crate) mod store;

use crate::variables::Variables;

pub(crate) use remote::Remote;
pub(crate) use script::{Objects, commands};

/// How the working copy is brought to the job's commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Keep what is there and fetch what is new.
    Fetch,
    /// Start from nothing.
    Clone,
    /// Leave the directory as the last job left it.
    None,
    /// Give the job an empty directory.
    Empty,
}

impl Strategy {
    /// Reads `GIT_STRATEGY`. A server that allows no fetch gets a clone.
    pub(crate) fn of(variables: &Variables, allow_fetch: bool) -> Option<Self> {
        match variables.get("GIT_STRATEGY").trim() {
            "fetch" => Some(Self::Fetch),
            "clone" => Some(Self::Clone),
            "none" => Some(Self::None),
            "empty" => Some(Self::Empty),
            "" => Some(if allow_fetch {
                Self::Fetch
            } else {
                Self::Clone
            }),
            _ => None,
        }
    }

    /// Says whether the directory is emptied first.
    pub(crate) const fn starts_empty(self) -> bool {
        matches!(self, Self::Clone | Self::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strategy_is_read() {
        let mut variables = Variables::default();
        assert_eq!(Strategy::of(&variables, false), Some(Strategy::Clone));
        variables.set("GIT_STRATEGY", "empty");
        assert_eq!(Strategy::of(&variables, true), Some(Strategy::Empty));
        variables.set("GIT_STRATEGY", "guess");
        assert_eq!(Strategy::of(&variables, true), None);
    }
}
