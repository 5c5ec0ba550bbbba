//! `rules` of jobs and of the workflow: the first rule whose conditions hold decides.

use std::time::Duration;

use super::Clauses;
use super::check::{boolean, duration, flattened, one_of, unknown_keys};
use super::needs::{Needs, NeedsOf, needs};
use super::variables::{Level, variables};
use super::workflow::auto_cancel;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Span};
use crate::{AutoCancel, Variable, When};

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
const WORKFLOW_KEYS: [&str; 10] = [
    "if",
    "changes",
    "exists",
    "when",
    "variables",
    "auto_cancel",
    "start_in",
    "allow_failure",
    "needs",
    "interruptible",
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
    pub(crate) auto_cancel: Option<AutoCancel>,
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
}

/// Reads a list of rules. `parent` is where the keyword stands, such as `jobs:NAME`.
pub(super) fn rules(node: &Node, parent: &str, owner: Owner, report: &mut Report) -> Vec<Rule> {
    let items = flattened(node).filter(|it| it.iter().all(|it| it.as_mapping().is_some()));
    match items {
        None => {
            let message =
                format!("{parent} rules should be an array containing hashes and arrays of hashes");
            report.entry_error(node.span, message);
            Vec::new()
        }
        Some(items) if items.is_empty() => {
            report.entry_error(node.span, format!("{parent}:rules config can't be blank"));
            Vec::new()
        }
        Some(items) => {
            let at = format!("{parent}:rules:rule");
            items
                .iter()
                .filter_map(|it| Some(rule(it, it.as_mapping()?, &at, owner, report)))
                .collect()
        }
    }
}

fn rule(node: &Node, map: &Mapping, at: &str, owner: Owner, report: &mut Report) -> Rule {
    if map.is_empty() {
        report.entry_error(node.span, format!("{at} config can't be blank"));
    }
    let known: &[&str] = if owner == Owner::Job {
        &JOB_KEYS
    } else {
        &WORKFLOW_KEYS
    };
    unknown_keys(map, at, known, report);
    let when = map.given("when").and_then(|it| {
        let words: &[(&str, RuleWhen)] = if owner == Owner::Job {
            &JOB_WORDS
        } else {
            &WORKFLOW_WORDS
        };
        let problem = format!(
            "{at} when unknown value: {}",
            it.scalar_text().unwrap_or_default()
        );
        one_of(it, words, &problem, report)
    });
    Rule {
        span: node.span,
        clauses: Clauses::read(map, at, report),
        when,
        start_in_secs: if owner == Owner::Job {
            start_in(node, map, when, at, report)
        } else {
            None
        },
        allow_failure: boolean(map, "allow_failure", at, report),
        variables: map
            .given("variables")
            .map(|it| variables(it, Level::Plain, &format!("{at}:variables"), report))
            .unwrap_or_default(),
        needs: map
            .given("needs")
            .map(|it| needs(it, NeedsOf::Rule, &format!("{at}:needs"), report))
            .unwrap_or_default(),
        interruptible: boolean(map, "interruptible", at, report),
        auto_cancel: map.given("auto_cancel").map(|it| auto_cancel(it, report)),
    }
}

fn start_in(
    node: &Node,
    map: &Mapping,
    when: Option<RuleWhen>,
    at: &str,
    report: &mut Report,
) -> Option<u64> {
    match (
        map.given("start_in"),
        when == Some(RuleWhen::Run(When::Delayed)),
    ) {
        (Some(it), true) => duration(it, WEEK, &format!("{at} start in"), report),
        (Some(it), false) => {
            report.entry_error(
                it.span,
                format!("{at} config contains disallowed keys: start_in"),
            );
            None
        }
        (None, true) => {
            report.entry_error(node.span, format!("{at} start in can't be blank"));
            None
        }
        (None, false) => None,
    }
}
