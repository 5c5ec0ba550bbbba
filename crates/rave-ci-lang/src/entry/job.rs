//! One job: its keywords as typed values, defaults applied.

use super::check::{duration, one_of, script, text, unknown_keys};
use super::common::Common;
use super::environment::{coverage, environment};
use super::inherit::Inherit;
use super::job_keys::{check_keys, notices};
use super::needs::{NeedEntry, needs};
use super::only::{Policy, policy};
use super::parallel::{Parallel, parallel};
use super::retry::exit_codes;
use super::rules::{Owner, Rule, WEEK, rules};
use super::variables::{Level, variables};
use crate::report::Report;
use crate::yaml::{Key, Mapping, Node, Span};
use crate::{Environment, UploadWhen, Variable, When};

pub(super) const UPLOAD_WHEN: [(&str, UploadWhen); 3] = [
    ("on_success", UploadWhen::OnSuccess),
    ("on_failure", UploadWhen::OnFailure),
    ("always", UploadWhen::Always),
];
const WHEN: [(&str, When); 5] = [
    ("on_success", When::OnSuccess),
    ("on_failure", When::OnFailure),
    ("always", When::Always),
    ("manual", When::Manual),
    ("delayed", When::Delayed),
];
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) kind: JobKind,
    pub(crate) stage: String,
    pub(crate) stage_span: Span,
    pub(crate) script: Vec<String>,
    pub(crate) common: Common,
    pub(crate) inherit: Inherit,
    pub(crate) variables: Vec<Variable>,
    pub(crate) when: When,
    pub(crate) start_in_secs: Option<u64>,
    /// `None`: not given.
    pub(crate) allow_failure: Option<bool>,
    pub(crate) allow_failure_exit_codes: Vec<i32>,
    pub(crate) rules: Option<Vec<Rule>>,
    pub(crate) only: Option<Policy>,
    pub(crate) except: Option<Policy>,
    pub(crate) needs: Option<Vec<NeedEntry>>,
    pub(crate) dependencies: Option<(Span, Vec<String>)>,
    pub(crate) environment: Option<Environment>,
    pub(crate) coverage: Option<String>,
    pub(crate) resource_group: Option<String>,
    pub(crate) manual_confirmation: Option<String>,
    pub(crate) parallel: Option<Parallel>,
}

/// What the planner does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobKind {
    Script,
    /// Of a kind that is not done yet: other jobs may name it, but it does not run.
    LeftOut,
}

/// Reads a job. `None` if it is none, which is reported.
pub(super) fn job(key: &Key, node: &Node, default: &Common, report: &mut Report) -> Option<Job> {
    let at = format!("jobs:{}", key.text);
    let map = node.as_mapping()?;
    let is_script = map.get("script").is_some() || map.get("run").is_some();
    let kind = if is_script && map.given("run").is_none() {
        JobKind::Script
    } else {
        JobKind::LeftOut
    };
    notices(key, map, is_script, report);
    check_keys(map, is_script, &at, report);

    let mut common = Common::read(map, &at, report);
    let inherit = map
        .given("inherit")
        .map(|it| Inherit::read(it, &at, report))
        .unwrap_or_default();
    common.or_default(default, |key| inherit.has_default(key));
    let when = when(map, &at, report);
    let allow_failure = map.given("allow_failure");
    let allow_map = allow_failure.and_then(Node::as_mapping);
    if let Some(map) = allow_map {
        unknown_keys(map, &format!("{at}:allow_failure"), &["exit_codes"], report);
    } else if let Some(node) = allow_failure.filter(|it| it.as_bool().is_none()) {
        report.entry_error(
            node.span,
            format!("{at} allow failure should be a hash or a boolean value"),
        );
    }
    let mut policy_of = |key: &str| {
        map.given(key)
            .map(|it| policy(it, &format!("{at}:{key}"), report))
    };
    let (only, except) = (policy_of("only"), policy_of("except"));
    let stage = map.given("stage");
    Some(Job {
        name: key.text.clone(),
        span: key.span,
        kind,
        stage: stage
            .and_then(|it| stage_name(it, &at, report))
            .unwrap_or_else(|| "test".to_owned()),
        stage_span: stage.map_or(key.span, |it| it.span),
        script: map
            .get("script")
            .filter(|_| kind == JobKind::Script)
            .map(|it| lines(it, &at, report))
            .unwrap_or_default(),
        common,
        inherit,
        variables: map
            .given("variables")
            .map(|it| variables(it, Level::Job, &format!("{at}:variables"), report))
            .unwrap_or_default(),
        when,
        start_in_secs: start_in(map, when, key.span, &at, report),
        allow_failure: match allow_map {
            Some(_) => Some(false),
            None => allow_failure.and_then(Node::as_bool),
        },
        allow_failure_exit_codes: allow_map
            .and_then(|it| it.given("exit_codes"))
            .map(|it| exit_codes(it, &format!("{at}:allow_failure exit codes"), report))
            .unwrap_or_default(),
        rules: map
            .given("rules")
            .map(|it| rules(it, &at, Owner::Job, report)),
        only,
        except,
        needs: map
            .given("needs")
            .map(|it| needs(it, &format!("{at}:needs"), report)),
        dependencies: dependencies(map, &at, report),
        environment: map
            .given("environment")
            .and_then(|it| environment(it, &format!("{at}:environment"), report)),
        coverage: map
            .given("coverage")
            .and_then(|it| coverage(it, &format!("{at}:coverage"), report)),
        resource_group: resource_group(map, &at, report),
        manual_confirmation: text(map, "manual_confirmation", &at, report),
        parallel: map
            .given("parallel")
            .and_then(|it| parallel(it, &format!("{at}:parallel"), report)),
    })
}

fn lines(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    let blank = node.is_null()
        || node.as_text().is_some_and(|it| it.trim().is_empty())
        || node.as_sequence().is_some_and(<[Node]>::is_empty);
    if blank {
        report.entry_error(node.span, format!("{at} script can't be blank"));
        return Vec::new();
    }
    script(node, &format!("{at}:script"), report)
}

fn stage_name(node: &Node, at: &str, report: &mut Report) -> Option<String> {
    if node.as_text().is_none() {
        report.entry_error(node.span, format!("{at}:stage config should be a string"));
    }
    node.as_text().map(str::to_owned)
}

fn when(map: &Mapping, at: &str, report: &mut Report) -> When {
    let problem =
        format!("{at} when should be one of: on_success, on_failure, always, manual, delayed");
    map.given("when")
        .and_then(|it| one_of(it, &WHEN, &problem, report))
        .unwrap_or_default()
}

fn start_in(map: &Mapping, when: When, span: Span, at: &str, report: &mut Report) -> Option<u64> {
    match (map.given("start_in"), when == When::Delayed) {
        (Some(it), true) => duration(it, WEEK, &format!("{at} start in"), report),
        (Some(it), false) if map.given("rules").is_none() => {
            report.entry_error(it.span, format!("{at} start in must be blank"));
            None
        }
        (None, true) => {
            report.entry_error(span, format!("{at} start in should be a duration"));
            None
        }
        _ => None,
    }
}

fn dependencies(map: &Mapping, at: &str, report: &mut Report) -> Option<(Span, Vec<String>)> {
    let node = map.given("dependencies")?;
    let names = super::check::listed(map, "dependencies", at, report);
    Some((node.span, names))
}

fn resource_group(map: &Mapping, at: &str, report: &mut Report) -> Option<String> {
    const MAX_LENGTH: usize = 255;
    let node = map.given("resource_group")?;
    report.unsupported(
        node.span,
        "resource_group",
        "it is recorded, but jobs of the group run side by side",
    );
    let group = text(map, "resource_group", at, report)?;
    if group.chars().count() > MAX_LENGTH {
        report.entry_error(
            node.span,
            format!("{at} resource group is too long (maximum is {MAX_LENGTH} characters)"),
        );
        return None;
    }
    Some(group)
}
