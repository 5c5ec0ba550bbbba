#![doc = include_str!("../README.md")]

mod diagnostic;
mod event;
mod plan;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use event::{EventContext, Limits, SourceFile, Tree, Variable};
pub use plan::{
    ArtifactAccess, Artifacts, AutoCancel, Cache, CacheFilesBy, CacheKey, Compiled, Environment,
    Expiry, Image, JobPlan, Need, OnJobFailure, OnNewCommit, Outcome, ParallelCopy, Plan, Report,
    Retry, UploadWhen, When,
};
