//! Files that a job could have arranged to mislead: everything in its project directory.
//!
//! Reading them for artifacts and caches, and writing them from archives, happens in the runner's process and
//! with its rights, so no symbolic link is ever followed here.

pub(crate) mod collect;
pub(crate) mod glob;
pub(crate) mod pack;
pub(crate) mod tree;
pub(crate) mod unpack;
