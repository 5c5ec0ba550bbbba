#![doc = include_str!("../README.md")]

mod diagnostic;
mod duration;
mod event;
mod expand;
mod expression;
mod glob;
mod graph;
mod plan;
mod report;
mod slug;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use duration::{NotADuration, parse_duration};
pub use event::{EventContext, Limits, SourceFile, Tree, Variable};
pub use expand::{Expanded, Reader, Unknown, expand, expand_all};
pub use plan::{
    ArtifactAccess, Artifacts, AutoCancel, Cache, CacheFilesBy, CacheKey, Compiled, Environment,
    Expiry, Image, JobPlan, Need, OnJobFailure, OnNewCommit, Outcome, ParallelCopy, Plan, Report,
    Retry, UploadWhen, When,
};
pub use slug::{skip_ci, slug};
