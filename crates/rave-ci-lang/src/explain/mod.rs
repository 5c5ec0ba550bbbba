//! Why a job is what it is: which rule decided, with which values, and where its keys and variables come from.
//!
//! Nothing is recorded while a plan is made. A second pass over one job asks the same conditions again and keeps the answers.

mod evidence;
mod layers;
mod origin;
mod render;

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::report::{Report, did_you_mean};
use crate::yaml::Mapping;
use crate::{
    Diagnostic, Diagnostics, EventContext, Limits, Outcome, Place, SourceFile, Tree, When, entry,
    merge, planner,
};

/// Why a job is in the pipeline of an event or is not, and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// `CI_PIPELINE_SOURCE` of the event.
    pub source: String,
    /// Branch or tag of the event.
    pub ref_name: String,
    pub workflow: WorkflowExplanation,
    /// The job, or each copy of a parallel one.
    pub jobs: Vec<JobExplanation>,
    /// What keeps the pipeline from being made: jobs that do not fit together.
    pub errors: Vec<Diagnostic>,
}

/// Whether there is a pipeline for the event at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowExplanation {
    pub allows: bool,
    pub verdict: String,
    /// Empty when the file has no `workflow:rules`.
    pub rules: Vec<RuleEvidence>,
}

/// All jobs of the file, and which of them the event gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// `CI_PIPELINE_SOURCE` of the event.
    pub source: String,
    /// Branch or tag of the event.
    pub ref_name: String,
    pub workflow: WorkflowExplanation,
    /// As written.
    pub jobs: Vec<JobVerdict>,
    /// What keeps the pipeline from being made: jobs that do not fit together.
    pub errors: Vec<Diagnostic>,
}

/// Whether the event gets a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobVerdict {
    pub name: String,
    pub stage: String,
    pub included: bool,
    /// Why, in one sentence.
    pub verdict: String,
    /// `None`: the job is left out.
    pub when: Option<When>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobExplanation {
    pub name: String,
    pub stage: String,
    pub place: Place,
    /// Whether the event gets the job.
    pub included: bool,
    /// Why, in one sentence.
    pub verdict: String,
    /// `None`: the job is left out.
    pub when: Option<When>,
    pub allow_failure: Option<bool>,
    /// `rules`, in order.
    pub rules: Vec<RuleEvidence>,
    /// The parts of `only`, or of what it means when it is absent.
    pub only: Vec<ClauseEvidence>,
    pub except: Vec<ClauseEvidence>,
    /// Variables of the file, the project and the event, and the predefined ones that these hide.
    pub variables: Vec<VariableOrigin>,
    /// The keys of the job after everything is merged.
    pub keys: Vec<KeyOrigin>,
    /// `None`: the job is left out.
    pub waits_for: Option<WaitsFor>,
}

/// One rule and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleEvidence {
    /// 1-based.
    pub number: usize,
    pub place: Place,
    /// `None`: not asked, because an earlier rule had decided.
    pub held: Option<bool>,
    /// `when`, if the rule says it.
    pub when: Option<String>,
    pub clauses: Vec<ClauseEvidence>,
}

/// One condition and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClauseEvidence {
    /// `if`, `changes`, `exists`, `refs` and so on.
    pub keyword: String,
    /// As written, in one line.
    pub text: String,
    /// `None`: not asked, because an earlier condition had failed.
    pub held: Option<bool>,
    /// The variables that an expression mentions.
    pub operands: Vec<Operand>,
    /// What made it hold or fail, such as the path that matched.
    pub because: Option<String>,
}

/// A variable in an expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operand {
    pub name: String,
    /// `None`: there is no such variable. Secret values are `[redacted]`.
    pub value: Option<String>,
    pub layer: Option<Layer>,
}

/// Who sets a variable, from low to high precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Predefined,
    Root,
    /// The number of the rule.
    WorkflowRule(usize),
    Job,
    Matrix,
    /// The number of the rule.
    Rule(usize),
    /// Instance, group or project.
    Project,
    /// Given with the event.
    Pipeline,
}

/// A variable of a job and who sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableOrigin {
    pub key: String,
    /// As written. Secret values are `[redacted]`.
    pub value: String,
    pub layer: Layer,
    /// Where the file says it.
    pub place: Option<Place>,
    /// Lower ones with the same key, highest first.
    pub hides: Vec<Hidden>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    pub value: String,
    pub layer: Layer,
}

/// A key of a job and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOrigin {
    pub key: String,
    pub origin: Origin,
    pub place: Place,
    /// Where parts of the value come from, as far as that is elsewhere.
    pub parts: Vec<(Origin, Place)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The job itself, perhaps in an included file.
    Job,
    /// `default`.
    Default,
    /// A keyword at the root, the older form of `default`.
    Root,
    /// A parent by `extends`, direct or not.
    Extends(String),
    /// Another entry, by `!reference` or a YAML alias.
    Reference(String),
}

/// What must be over before a job starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    Nothing,
    /// All jobs of these stages.
    Stages(Vec<String>),
    /// `needs`.
    Jobs(Vec<String>),
}

/// Why there is nothing to explain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExplained {
    #[error("the file is not valid")]
    Invalid(#[source] Diagnostics),
    #[error("there is no job {name}")]
    NoSuchJob {
        name: String,
        /// What was probably meant.
        hint: Option<String>,
    },
}

/// Explains a job, by its name as written, which means all of its copies, or by the name of one copy.
///
/// # Errors
///
/// When the file is not valid in itself, or has no such job. Jobs that do not fit together are part of the explanation.
pub fn explain(
    source: &SourceFile<'_>,
    event: &EventContext,
    tree: &dyn Tree,
    limits: &Limits,
    job: &str,
) -> Result<Explanation, NotExplained> {
    let facts = Facts::new(event, tree, limits);
    let mut report = Report::new(facts.patterns.clone(), *facts.limits);
    let Some((root, config)) = read(source, &facts, &mut report) else {
        return Err(NotExplained::Invalid(errors(report)));
    };
    let subjects = planner::subjects(&config, &facts, Some(job), &mut report);
    if report.has_errors() {
        return Err(NotExplained::Invalid(errors(report)));
    }
    if subjects.is_empty() {
        let known = config.jobs.iter().map(|it| it.name.as_str());
        return Err(NotExplained::NoSuchJob {
            name: job.to_owned(),
            hint: did_you_mean(job, known),
        });
    }
    let origins = origin::Origins::new(&report, limits);
    let outcome = planner::plan(&config, &facts, &mut report);
    let witness = evidence::Witness {
        config: &config,
        facts: &facts,
        root: &root,
        report: &report,
        redactor: layers::Redactor::new(event),
    };
    let workflow = witness.workflow();
    let plan = match &outcome {
        Some(Outcome::Pipeline(plan)) => Some(plan),
        _ => None,
    };
    let jobs = subjects
        .iter()
        .map(|subject| witness.job(subject, &workflow, plan, &origins))
        .collect();
    Ok(Explanation {
        source: event.source.clone(),
        ref_name: event.ref_name.clone(),
        workflow,
        jobs,
        errors: report
            .finish(outcome)
            .err()
            .map_or_else(Vec::new, |it| it.0),
    })
}

/// Says of every job of a file whether the event gets it.
///
/// # Errors
///
/// When the file is not valid in itself. Jobs that do not fit together are part of the answer.
pub fn verdicts(
    source: &SourceFile<'_>,
    event: &EventContext,
    tree: &dyn Tree,
    limits: &Limits,
) -> Result<Verdicts, Diagnostics> {
    let facts = Facts::new(event, tree, limits);
    let mut report = Report::new(facts.patterns.clone(), *facts.limits);
    let Some((root, config)) = read(source, &facts, &mut report) else {
        return Err(errors(report));
    };
    let subjects = planner::subjects(&config, &facts, None, &mut report);
    if report.has_errors() {
        return Err(errors(report));
    }
    let outcome = planner::plan(&config, &facts, &mut report);
    let witness = evidence::Witness {
        config: &config,
        facts: &facts,
        root: &root,
        report: &report,
        redactor: layers::Redactor::new(event),
    };
    let workflow = witness.workflow();
    let jobs = subjects
        .iter()
        .map(|subject| {
            let judged = witness.judge(subject, &workflow);
            JobVerdict {
                name: subject.name.clone(),
                stage: subject.job.stage.clone(),
                included: judged.included,
                verdict: judged.verdict,
                when: subject.decision.filter(|_| judged.included).map(|it| it.0),
            }
        })
        .collect();
    Ok(Verdicts {
        source: event.source.clone(),
        ref_name: event.ref_name.clone(),
        workflow,
        jobs,
        errors: report
            .finish(outcome)
            .err()
            .map_or_else(Vec::new, |it| it.0),
    })
}

/// Returns the merged tree and its keywords. `None` after errors of shape.
fn read(
    source: &SourceFile<'_>,
    facts: &Facts<'_>,
    report: &mut Report,
) -> Option<(Mapping, entry::Config)> {
    let root = merge::load(source, facts, report)?;
    let config = entry::read(&root, facts.limits.nodes, report);
    (!report.has_errors()).then_some((root, config))
}

fn errors(report: Report) -> Diagnostics {
    report
        .finish(None)
        .err()
        .unwrap_or_else(|| Diagnostics(Vec::new()))
}
