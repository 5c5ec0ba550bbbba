#![doc = include_str!("../README.md")]

mod diagnostic;
mod diff;
mod duration;
mod entry;
mod environment;
mod event;
mod expand;
mod explain;
mod expression;
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod glob;
mod graph;
mod job_inputs;
mod merge;
mod plan;
mod planner;
mod recording;
mod report;
mod scope;
mod select;
mod slug;
mod traps;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Excerpt, Place, Severity};
pub use diff::{JobDiff, KeyDiff, PlanDiff};
pub use duration::{NotADuration, parse_duration};
pub use environment::environment_slug;
pub use event::{
    EventContext, Foreign, InputValue, Limits, OpenError, RemoteError, RemoteFile, Requester,
    SourceFile, Tree, Variable,
};
pub use expand::{Expanded, Reader, Unknown, expand, expand_all};
pub use explain::{
    ClauseEvidence, Explanation, Hidden, JobExplanation, JobVerdict, KeyOrigin, Layer,
    NotExplained, Operand, Origin, RuleEvidence, VariableOrigin, Verdicts, WaitsFor,
    WorkflowExplanation, explain, verdicts,
};
pub use job_inputs::give_inputs;
pub use plan::{
    ArtifactAccess, ArtifactReport, Artifacts, AutoCancel, Bridge, Cache, CacheFilesBy, CacheKey,
    Compiled, Environment, Expiry, ForeignNeed, FormInput, FormVariable, Forward, IdToken, Image,
    Included, InputKind, JobInput, JobPlan, Linted, Need, OnJobFailure, OnNewCommit, Outcome,
    Pages, ParallelCopy, Plan, Release, ReleaseLink, Retry, SecretSource, Service, Trigger,
    TriggerStrategy, TriggerTarget, UploadWhen, When,
};
pub use recording::{Answers, Fingerprints, Recording, Replaying};
pub use select::{Needed, NotSelected, Selection};
pub use slug::{skip_ci, slug};

/// Compiles a file for an event.
///
/// # Errors
///
/// All errors of shape at once, the one GitLab reports first; errors between jobs only if there are none of shape.
pub fn compile(
    source: &SourceFile<'_>,
    event: &EventContext,
    tree: &dyn Tree,
    limits: &Limits,
) -> Result<Compiled, Diagnostics> {
    let facts = facts::Facts::new(event, tree, limits);
    let mut report = report::Report::new(facts.patterns.clone(), *limits);
    let outcome = outcome(source, &facts, &mut report);
    report.finish(outcome)
}

/// Compiles a file like [`compile`], and also returns it merged.
pub fn lint(
    source: &SourceFile<'_>,
    event: &EventContext,
    tree: &dyn Tree,
    limits: &Limits,
) -> Linted {
    let facts = facts::Facts::new(event, tree, limits);
    let mut report = report::Report::new(facts.patterns.clone(), *limits);
    let merged = merge::load(source, &facts, &mut report);
    let outcome = merged
        .as_ref()
        .and_then(|it| planned(it, &facts, &mut report));
    Linted {
        includes: std::mem::take(&mut report.includes),
        inputs: std::mem::take(&mut report.inputs),
        compiled: report.finish(outcome),
        merged: merged.map(MergedFile),
    }
}

/// A file with everything merged into it.
#[derive(Clone, Debug)]
pub struct MergedFile(yaml::Mapping);

impl MergedFile {
    /// Returns the file as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::emit(&self.0)
    }
}

/// `None` after errors, which the report holds.
fn outcome(
    source: &SourceFile<'_>,
    facts: &facts::Facts<'_>,
    report: &mut report::Report,
) -> Option<Outcome> {
    let tree = merge::load(source, facts, report)?;
    planned(&tree, facts, report)
}

fn planned(
    tree: &yaml::Mapping,
    facts: &facts::Facts<'_>,
    report: &mut report::Report,
) -> Option<Outcome> {
    let mut config = entry::read(tree, facts.limits.nodes, report);
    report.form = std::mem::take(&mut config.form);
    if report.has_errors() {
        return None;
    }
    traps::check(tree, facts, report);
    planner::plan(&config, facts, report)
}
