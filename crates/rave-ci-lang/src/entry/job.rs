//! One job: its keywords as typed values, defaults applied.

use std::fmt::Display;

use super::check::{blank, duration, one_of, script, text, unknown_keys};
use super::common::Common;
use super::credentials::secrets;
use super::environment::{coverage, environment};
use super::inherit::Inherit;
use super::job_keys::{check_keys, notices};
use super::needs::{Needs, NeedsOf, needs};
use super::only::{Policy, policy};
use super::parallel::{Parallel, parallel};
use super::publishing::{PagesEntry, pages, release};
use super::retry::exit_codes;
use super::rules::{Owner, Rule, WEEK, rules};
use super::steps::{job_inputs, steps};
use super::trigger::{artifact_jobs, trigger};
use super::variables::{Level, variables};
use crate::report::Report;
use crate::yaml::{Key, Mapping, Node, Span};
use crate::{Bridge, Environment, JobInput, Release, SecretSource, UploadWhen, Variable, When};

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
    /// Instead of a script. Project and branch are not expanded.
    pub(crate) bridge: Option<Bridge>,
    /// Jobs out of whose artifacts the child pipeline takes its files.
    pub(crate) artifact_jobs: Vec<(Span, String)>,
    /// `run`, as given.
    pub(crate) steps: Option<serde_json::Value>,
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
    pub(crate) needs: Option<Needs>,
    pub(crate) dependencies: Option<(Span, Vec<String>)>,
    pub(crate) environment: Option<Environment>,
    pub(crate) coverage: Option<String>,
    pub(crate) resource_group: Option<String>,
    pub(crate) manual_confirmation: Option<String>,
    pub(crate) parallel: Option<Parallel>,
    pub(crate) secrets: Vec<SecretSource>,
    pub(crate) inputs: Vec<JobInput>,
    pub(crate) release: Option<Release>,
    pub(crate) pages: Option<PagesEntry>,
}

/// Reads a job. `None` if it is none, which is reported.
pub(super) fn job(key: &Key, node: &Node, default: &Common, report: &mut Report) -> Option<Job> {
    let at = format!("jobs:{}", key.text);
    let map = node.as_mapping()?;
    let is_script = map.get("script").is_some() || map.get("run").is_some();
    notices(map, report);
    check_keys(map, is_script, &at, report);

    let mut common = Common::read(map, Some(&at), report);
    let inherit = map
        .given("inherit")
        .map(|it| Inherit::read(it, &at, report))
        .unwrap_or_default();
    common.or_default(default, |key| {
        inherit.has_default(key) && (is_script || key == "interruptible")
    });
    let when = when(map, is_script, &at, report);
    let allow_failure = map.given("allow_failure");
    let allow_map = allow_failure
        .and_then(Node::as_mapping)
        .filter(|_| is_script);
    if let Some(map) = allow_map {
        unknown_keys(
            map,
            &format_args!("{at}:allow_failure"),
            &["exit_codes"],
            report,
        );
    } else if let Some(node) = allow_failure.filter(|it| it.as_bool().is_none()) {
        report.entry_error(
            node.span,
            match is_script {
                true => format!("{at} allow failure should be a hash or a boolean value"),
                false => format!("{at} allow failure should be a boolean value"),
            },
        );
    }
    let mut policy_of = |key: &str| {
        map.given(key)
            .map(|it| policy(it, &format_args!("{at}:{key}"), report))
    };
    let (only, except) = (policy_of("only"), policy_of("except"));
    let stage = map.given("stage");
    let owner = if is_script {
        NeedsOf::Job
    } else {
        NeedsOf::Bridge
    };
    let needs = map
        .given("needs")
        .map(|it| needs(it, owner, &format_args!("{at}:needs"), report));
    let bridge = if is_script {
        None
    } else {
        bridge(key, map, needs.as_ref(), &at, report)
    };
    Some(Job {
        name: key.text.to_string(),
        span: key.span,
        bridge,
        artifact_jobs: map.given("trigger").map(artifact_jobs).unwrap_or_default(),
        steps: map.given("run").map(|it| steps(it, &at, report)),
        secrets: map
            .given("secrets")
            .map(|it| secrets(it, &format_args!("{at}:secrets"), report))
            .unwrap_or_default(),
        inputs: map
            .given("inputs")
            .map(|it| job_inputs(it, &at, report))
            .unwrap_or_default(),
        release: map
            .given("release")
            .and_then(|it| release(it, &format_args!("{at}:release"), report)),
        pages: if is_script {
            pages(key, map, &at, report)
        } else {
            None
        },
        stage: stage
            .and_then(|it| stage_name(it, &at, report))
            .unwrap_or_else(|| "test".to_owned()),
        stage_span: stage.map_or(key.span, |it| it.span),
        script: map
            .get("script")
            .filter(|_| map.given("run").is_none())
            .map(|it| lines(it, &at, report))
            .unwrap_or_default(),
        common,
        inherit,
        variables: map
            .given("variables")
            .map(|it| variables(it, Level::Job, &format_args!("{at}:variables"), report))
            .unwrap_or_default(),
        when,
        start_in_secs: start_in(map, when, key.span, &at, report),
        allow_failure: match allow_map {
            Some(_) => Some(false),
            None => allow_failure.and_then(Node::as_bool),
        },
        allow_failure_exit_codes: allow_map
            .and_then(|it| it.given("exit_codes"))
            .map(|it| exit_codes(it, &format_args!("{at}:allow_failure exit codes"), report))
            .unwrap_or_default(),
        rules: map
            .given("rules")
            .map(|it| rules(it, &at, Owner::Job, report)),
        only,
        except,
        dependencies: dependencies(map, needs.as_ref(), &at, report),
        needs,
        environment: map
            .given("environment")
            .and_then(|it| environment(it, &format_args!("{at}:environment"), report)),
        coverage: map
            .given("coverage")
            .and_then(|it| coverage(it, &format_args!("{at}:coverage"), report)),
        resource_group: resource_group(map, &at, report),
        manual_confirmation: text(map, "manual_confirmation", &at, report),
        parallel: map
            .given("parallel")
            .and_then(|it| parallel(it, !is_script, &format_args!("{at}:parallel"), report)),
    })
}

fn lines(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<String> {
    if blank(node) {
        report.entry_error(node.span, format!("{at} script can't be blank"));
        return Vec::new();
    }
    script(node, &format_args!("{at}:script"), report)
}

fn stage_name(node: &Node, at: &dyn Display, report: &mut Report) -> Option<String> {
    if node.as_text().is_none() {
        report.entry_error(node.span, format!("{at}:stage config should be a string"));
    }
    node.as_text().map(str::to_owned)
}

/// Reads `when`. Bridges cannot be delayed.
fn when(map: &Mapping, is_script: bool, at: &dyn Display, report: &mut Report) -> When {
    let words = if is_script { &WHEN[..] } else { &WHEN[..4] };
    let Some(node) = map.given("when") else {
        return When::default();
    };
    let names: Vec<&str> = words.iter().map(|it| it.0).collect();
    let problem = format!("should be one of: {}", names.join(", "));
    one_of(node, words, &format_args!("{at} when"), &problem, report).unwrap_or_default()
}

/// Reads what a job without script does instead.
fn bridge(
    key: &Key,
    map: &Mapping,
    needs: Option<&Needs>,
    at: &dyn Display,
    report: &mut Report,
) -> Option<Bridge> {
    if let Some(node) = map.given("trigger") {
        return trigger(node, &format_args!("{at}:trigger"), report).map(Bridge::Trigger);
    }
    let mirrors = needs.map(|it| it.mirrors.as_slice()).unwrap_or_default();
    match mirrors {
        [project] => {
            let project = project.clone();
            return Some(Bridge::Mirror { project });
        }
        [] => report.error_with_hint(
            needs.map_or(key.span, |it| it.span),
            format!("{at} config should contain either a trigger or a needs:pipeline")
                .to_lowercase(),
            Some("a job needs a `script`".to_owned()),
        ),
        [_, second, ..] => report.error_with_hint(
            key.span,
            format!("{at} config should contain at most one bridge need").to_lowercase(),
            Some(format!("take away `{second}`")),
        ),
    }
    None
}

fn start_in(
    map: &Mapping,
    when: When,
    span: Span,
    at: &dyn Display,
    report: &mut Report,
) -> Option<u64> {
    match (map.given("start_in"), when == When::Delayed) {
        (Some(it), true) => duration(it, WEEK, &format_args!("{at} start in"), report),
        (Some(it), false) if map.given("rules").is_none() && !blank(it) => {
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

/// Reads `dependencies`, which must be part of the needs if there are any.
fn dependencies(
    map: &Mapping,
    needs: Option<&Needs>,
    at: &dyn Display,
    report: &mut Report,
) -> Option<(Span, Vec<String>)> {
    let node = map.given("dependencies")?;
    let names = super::check::listed(map, "dependencies", at, report);
    let (jobs, foreign) = needs.map_or((&[][..], false), |it| {
        (it.jobs.as_slice(), !it.foreign.is_empty())
    });
    if jobs.is_empty() && foreign && !names.is_empty() {
        report.entry_error(
            node.span,
            format!("{at} needs corresponding to dependencies must be from the same pipeline"),
        );
    } else if !jobs.is_empty() {
        let missing: Vec<&str> = names
            .iter()
            .filter(|name| !jobs.iter().any(|it| it.job == **name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            report.entry_error(
                node.span,
                format!(
                    "{at} dependencies the {} should be part of needs",
                    missing.join(", ")
                ),
            );
        }
    }
    Some((node.span, names))
}

fn resource_group(map: &Mapping, at: &dyn Display, report: &mut Report) -> Option<String> {
    const MAX_LENGTH: usize = 255;
    let node = map.given("resource_group")?;
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
