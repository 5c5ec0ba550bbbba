//! `rules` of jobs and of the workflow: the first rule whose conditions hold decides.

use std::fmt::Display;
use std::time::Duration;

use super::Clauses;
use super::check::{blank, boolean, duration, flattened, known_value, unknown_keys};
use super::needs::{Needs, NeedsOf, needs};
use super::variables::{Level, variables};
use super::workflow::{AutoCancelEntry, auto_cancel};
use crate::report::Report;
use crate::yaml::{Mapping, Node, Span};
use crate::{Variable, When};

const JOB_KEYS: [&str; 9] = [
    "if",
    "changes",
    "exists",
    "when",
    "start_in",
    "allow_failure",
    "variables",
    "needs",
    "interruptible",
];
const INCLUDE_KEYS: [&str; 4] = ["if", "exists", "when", "changes"];
const WORKFLOW_KEYS: [&str; 9] = [
    "if",
    "changes",
    "exists",
    "when",
    "start_in",
    "allow_failure",
    "variables",
    "needs",
    "auto_cancel",
];
pub(super) const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) span: Span,
    pub(crate) clauses: Clauses,
    pub(crate) when: Option<RuleWhen>,
    pub(crate) start_in_secs: Option<u64>,
    pub(crate) allow_failure: Option<bool>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) needs: Needs,
    pub(crate) interruptible: Option<bool>,
    pub(crate) auto_cancel: AutoCancelEntry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleWhen {
    Never,
    Run(When),
}

const JOB_WORDS: [(&str, RuleWhen); 6] = [
    ("on_success", RuleWhen::Run(When::OnSuccess)),
    ("on_failure", RuleWhen::Run(When::OnFailure)),
    ("always", RuleWhen::Run(When::Always)),
    ("manual", RuleWhen::Run(When::Manual)),
    ("delayed", RuleWhen::Run(When::Delayed)),
    ("never", RuleWhen::Never),
];
const WORKFLOW_WORDS: [(&str, RuleWhen); 2] = [
    ("always", RuleWhen::Run(When::Always)),
    ("never", RuleWhen::Never),
];

/// Whose rules are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Job,
    Workflow,
    /// An `include` of a trigger.
    Include,
}

impl Owner {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Job => &JOB_KEYS,
            Self::Workflow => &WORKFLOW_KEYS,
            Self::Include => &INCLUDE_KEYS,
        }
    }

    fn words(self) -> &'static [(&'static str, RuleWhen)] {
        match self {
            Self::Job => &JOB_WORDS,
            Self::Workflow | Self::Include => &WORKFLOW_WORDS,
        }
    }
}

/// Reads a list of rules. `parent` is where the keyword stands, such as `jobs:NAME`.
pub(super) fn rules(
    node: &Node,
    parent: &dyn Display,
    owner: Owner,
    report: &mut Report,
) -> Vec<Rule> {
    let items = match items(node, parent, owner) {
        Ok(items) => items,
        Err(problem) => {
            report.entry_error(node.span, problem);
            return Vec::new();
        }
    };
    let at = format!("{parent}:rules:rule");
    items
        .into_iter()
        .filter(|it| !it.is_null())
        .filter_map(|it| match it.as_mapping() {
            Some(map) => Some(rule(it, map, &at, owner, report)),
            None => {
                report.entry_error(it.span, format!("{at} config should be a hash"));
                None
            }
        })
        .collect()
}

/// Returns the items of the list, or what is wrong with it.
fn items<'n>(node: &'n Node, parent: &dyn Display, owner: Owner) -> Result<Vec<&'n Node>, String> {
    let items = flattened(node);
    let are_maps = |it: &Vec<&Node>| it.iter().all(|it| it.as_mapping().is_some());
    if owner == Owner::Job && !items.as_ref().is_some_and(are_maps) {
        let problem = "should be an array containing hashes and arrays of hashes";
        return Err(format!("{parent} rules {problem}"));
    }
    match items {
        _ if blank(node) => Err(format!("{parent}:rules config can't be blank")),
        Some(items) => Ok(items),
        None => Err(format!("{parent}:rules config should be an array")),
    }
}

fn rule(node: &Node, map: &Mapping, at: &dyn Display, owner: Owner, report: &mut Report) -> Rule {
    if map.is_empty() {
        report.entry_error(node.span, format!("{at} config can't be blank"));
    }
    let when = map
        .given("when")
        .and_then(|it| known_value(it, owner.words(), &format_args!("{at} when"), report));
    let start_in_secs = match owner {
        Owner::Include => None,
        Owner::Job | Owner::Workflow => start_in(node, map, when, at, report),
    };
    unknown_keys(map, at, owner.keys(), report);
    Rule {
        span: node.span,
        clauses: Clauses::read(map, at, report),
        when,
        start_in_secs,
        allow_failure: boolean(map, "allow_failure", at, report),
        variables: map
            .given("variables")
            .map(|it| variables(it, Level::Plain, &format_args!("{at}:variables"), report))
            .unwrap_or_default(),
        needs: map
            .given("needs")
            .map(|it| needs(it, NeedsOf::Rule, &format_args!("{at}:needs"), report))
            .unwrap_or_default(),
        interruptible: boolean(map, "interruptible", at, report),
        auto_cancel: map
            .given("auto_cancel")
            .map(|it| auto_cancel(it, &format_args!("{at}:auto_cancel"), report))
            .unwrap_or_default(),
    }
}

fn start_in(
    node: &Node,
    map: &Mapping,
    when: Option<RuleWhen>,
    at: &dyn Display,
    report: &mut Report,
) -> Option<u64> {
    match (
        map.get("start_in"),
        when == Some(RuleWhen::Run(When::Delayed)),
    ) {
        (Some(it), true) if !blank(it) => {
            duration(it, WEEK, &format_args!("{at} start in"), report)
        }
        (Some(it), false) => {
            report.entry_error(
                it.span,
                format!("{at} config contains disallowed keys: start_in"),
            );
            None
        }
        (_, true) => {
            report.entry_error(node.span, format!("{at} start in can't be blank"));
            None
        }
        (None, false) => None,
    }
}
