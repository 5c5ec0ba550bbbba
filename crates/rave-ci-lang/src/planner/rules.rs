//! Whether a job comes into the pipeline, and with which `when` and `allow_failure`.

use crate::When;
use crate::entry::{Job, Policy, Rule, RuleWhen};
use crate::facts::{Facts, Undecided};
use crate::scope::Scope;

/// How a job comes in.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) rule: Option<&'a Rule>,
    pub(super) when: When,
    pub(super) start_in_secs: Option<u64>,
    pub(super) allow_failure: bool,
    pub(super) allow_failure_exit_codes: &'a [i32],
}

pub(super) fn first_match<'a>(
    rules: &'a [Rule],
    scope: &Scope<'_>,
    facts: &Facts<'_>,
) -> Result<Option<&'a Rule>, Undecided> {
    for rule in rules {
        if rule.clauses.hold(scope, facts)? {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

pub(crate) fn is_never(rule: &Rule) -> bool {
    rule.when == Some(RuleWhen::Never)
}

/// Decides about one job. `None`: it is left out.
pub(super) fn decide<'a>(
    job: &'a Job,
    has_workflow_rules: bool,
    scope: &Scope<'_>,
    facts: &Facts<'_>,
) -> Result<Option<Decision<'a>>, Undecided> {
    let rule = match &job.rules {
        Some(rules) => match first_match(rules, scope, facts)? {
            Some(rule) if !is_never(rule) => Some(rule),
            _ => return Ok(None),
        },
        None if passes_policies(job, has_workflow_rules, scope, facts) => None,
        None => return Ok(None),
    };
    let when = match rule.and_then(|it| it.when) {
        Some(RuleWhen::Run(when)) => when,
        _ => job.when,
    };
    let (allow_failure, allow_failure_exit_codes) = match rule.and_then(|it| it.allow_failure) {
        Some(allowed) => (allowed, &[][..]),
        // Only the job's own `when: manual` makes a manual job optional: one made manual by a rule blocks.
        None => (
            job.allow_failure.unwrap_or(job.when == When::Manual),
            job.allow_failure_exit_codes.as_slice(),
        ),
    };
    let start_in_secs = rule
        .and_then(|it| it.start_in_secs)
        .or(job.start_in_secs)
        .filter(|_| when == When::Delayed);
    Ok(Some(Decision {
        rule,
        when,
        start_in_secs,
        allow_failure,
        allow_failure_exit_codes,
    }))
}

/// Decides `only` and `except`. A job without any of them and of rules runs for branches and tags.
fn passes_policies(
    job: &Job,
    has_workflow_rules: bool,
    scope: &Scope<'_>,
    facts: &Facts<'_>,
) -> bool {
    let allowed = match &job.only {
        Some(only) => only.allows(scope, facts),
        None if has_workflow_rules => true,
        None => Policy::branches_and_tags().allows(scope, facts),
    };
    allowed
        && !job
            .except
            .as_ref()
            .is_some_and(|it| it.forbids(scope, facts))
}
