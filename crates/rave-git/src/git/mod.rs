//! Git as child processes: how they are started, bounded and read.

pub(crate) mod batch;
pub(crate) mod child;
pub(crate) mod command;
pub(crate) mod diff;
pub(crate) mod history;
pub(crate) mod objects;
pub(crate) mod refs;
pub(crate) mod tree;
