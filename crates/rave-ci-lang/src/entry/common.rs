//! The keywords that jobs share with `default` and, in the older style, with the root.

use std::time::Duration;

use super::cache::caches;
use super::check::{
    duration, one_of, script, string_list, string_or_strings, strings, text, unknown_keys,
};
use crate::report::Report;
use crate::yaml::{Mapping, Node, Value};
use crate::{Cache, Image, Retry};

pub(super) const DEFAULT_KEYS: [&str; 13] = [
    "after_script",
    "artifacts",
    "before_script",
    "cache",
    "hooks",
    "id_tokens",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
    "identity",
];
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const TAGS_LIMIT: usize = 50;
const RETRY_REASONS: [&str; 22] = [
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "missing_dependency_failure",
    "forward_deployment_failure",
    "environment_creation_failure",
    "reached_downstream_pipeline_trigger_rate_limit",
    "server_timeout_running",
    "server_timeout_canceling",
    "no_matching_runner",
    "runner_provisioning_timeout",
    "job_router_failure",
];

/// `None` means not given, so that a default applies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    pub(crate) before_script: Option<Vec<String>>,
    pub(crate) after_script: Option<Vec<String>>,
    pub(crate) pre_get_sources_script: Option<Vec<String>>,
    pub(crate) artifacts: Option<crate::Artifacts>,
    pub(crate) cache: Option<Vec<Cache>>,
    pub(crate) image: Option<Image>,
    pub(crate) interruptible: Option<bool>,
    pub(crate) retry: Option<Retry>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) timeout_secs: Option<u64>,
}

impl Common {
    /// Reads the keywords of a job, of `default` or of the root, which is at `""`.
    pub(super) fn read(map: &Mapping, parent: &str, report: &mut Report) -> Self {
        let at = |key: &str| {
            if parent.is_empty() {
                key.to_owned()
            } else {
                format!("{parent}:{key}")
            }
        };
        for (key, instead) in [
            ("services", "the job runs without them"),
            ("id_tokens", "the job gets no such token"),
            ("identity", "the job gets no identity"),
        ] {
            if let Some(node) = map.given(key) {
                report.unsupported(node.span, key, instead);
            }
        }
        let mut lines = |key: &str| map.given(key).map(|it| script(it, &at(key), report));
        let (before_script, after_script) = (lines("before_script"), lines("after_script"));
        Self {
            before_script,
            after_script,
            pre_get_sources_script: map.given("hooks").map(|it| hooks(it, &at("hooks"), report)),
            artifacts: map
                .given("artifacts")
                .and_then(|it| super::artifacts::artifacts(it, &at("artifacts"), report)),
            cache: map.given("cache").map(|it| caches(it, parent, report)),
            image: map
                .given("image")
                .and_then(|it| image(it, &at("image"), report)),
            interruptible: map
                .given("interruptible")
                .and_then(|it| interruptible(it, &at("interruptible"), report)),
            retry: map.given("retry").map(|it| retry(it, report)),
            tags: map.given("tags").map(|it| tags(it, &at("tags"), report)),
            timeout_secs: map
                .given("timeout")
                .and_then(|it| duration(it, MONTH, &format!("{} config", at("timeout")), report)),
        }
    }

    /// Fills what is not given from the defaults that `inherits` names.
    pub(super) fn or_default(&mut self, default: &Self, inherits: impl Fn(&str) -> bool) {
        fn fill<T: Clone>(own: &mut Option<T>, default: &Option<T>, inherited: bool) {
            if own.is_none() && inherited {
                own.clone_from(default);
            }
        }
        fill(
            &mut self.before_script,
            &default.before_script,
            inherits("before_script"),
        );
        fill(
            &mut self.after_script,
            &default.after_script,
            inherits("after_script"),
        );
        fill(
            &mut self.pre_get_sources_script,
            &default.pre_get_sources_script,
            inherits("hooks"),
        );
        fill(
            &mut self.artifacts,
            &default.artifacts,
            inherits("artifacts"),
        );
        fill(&mut self.cache, &default.cache, inherits("cache"));
        fill(&mut self.image, &default.image, inherits("image"));
        fill(
            &mut self.interruptible,
            &default.interruptible,
            inherits("interruptible"),
        );
        fill(&mut self.retry, &default.retry, inherits("retry"));
        fill(&mut self.tags, &default.tags, inherits("tags"));
        fill(
            &mut self.timeout_secs,
            &default.timeout_secs,
            inherits("timeout"),
        );
    }
}

fn hooks(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    let key = "pre_get_sources_script";
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    unknown_keys(map, at, &[key], report);
    map.given(key)
        .map(|it| script(it, &format!("{at}:{key}"), report))
        .unwrap_or_default()
}

fn interruptible(node: &Node, at: &str, report: &mut Report) -> Option<bool> {
    if node.as_bool().is_none() {
        report.entry_error(node.span, format!("{at} config should be a boolean value"));
    }
    node.as_bool()
}

fn tags(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    let tags = string_list(
        node,
        &format!("{at} config should be an array of strings"),
        report,
    );
    if tags.len() >= TAGS_LIMIT {
        report.entry_error(
            node.span,
            format!("{at} config must be less than the limit of {TAGS_LIMIT} tags"),
        );
    }
    tags
}

fn image(node: &Node, at: &str, report: &mut Report) -> Option<Image> {
    let map = match &node.value {
        Value::Text(name) if name.is_empty() => {
            report.entry_error(node.span, format!("{at} name can't be blank"));
            return None;
        }
        Value::Text(name) => {
            return Some(Image {
                name: name.clone(),
                ..Image::default()
            });
        }
        Value::Mapping(map) => map,
        _ => {
            report.entry_error(
                node.span,
                format!("{at} config should be a hash or a string"),
            );
            return None;
        }
    };
    unknown_keys(
        map,
        at,
        &["name", "entrypoint", "pull_policy", "docker", "kubernetes"],
        report,
    );
    for key in ["docker", "kubernetes"] {
        if let Some(node) = map.given(key) {
            report.unsupported(
                node.span,
                &format!("image:{key}"),
                "the image runs with its own settings",
            );
        }
    }
    if map.given("name").is_none_or(|it| it.as_text() == Some("")) {
        report.entry_error(node.span, format!("{at} name can't be blank"));
        return None;
    }
    let entrypoint = map.given("entrypoint").map(|it| {
        strings(it).unwrap_or_else(|| {
            report.entry_error(
                it.span,
                format!("{at} entrypoint should be an array of strings"),
            );
            Vec::new()
        })
    });
    let pull_policy = map
        .given("pull_policy")
        .map(|it| pull_policy(it, &format!("{at}:pull_policy"), report));
    let name = text(map, "name", at, report)?;
    Some(Image {
        name,
        entrypoint,
        pull_policy: pull_policy.unwrap_or_default(),
    })
}

fn pull_policy(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    const KNOWN: [&str; 3] = ["always", "never", "if-not-present"];
    let policies = string_or_strings(node).unwrap_or_default();
    let unknown: Vec<&str> = policies
        .iter()
        .map(String::as_str)
        .filter(|it| !KNOWN.contains(it))
        .collect();
    if policies.is_empty() || node.as_text().is_some() && !unknown.is_empty() {
        report.entry_error(
            node.span,
            format!("{at} config is not included in the list"),
        );
    } else if !unknown.is_empty() {
        report.entry_error(
            node.span,
            format!(
                "{at} config contains unknown values: {}",
                unknown.join(", ")
            ),
        );
    }
    policies
}

/// GitLab's messages about `retry` do not name the job.
fn retry(node: &Node, report: &mut Report) -> Retry {
    let always = || vec!["always".to_owned()];
    match &node.value {
        Value::Integer(max) => Retry {
            max: at_most_two(*max, node, "retry config", report),
            when: always(),
            exit_codes: Vec::new(),
        },
        Value::Mapping(map) => {
            unknown_keys(map, "retry", &["max", "when", "exit_codes"], report);
            let max = map.given("max").map_or(0, |it| match it.as_integer() {
                Some(max) => at_most_two(max, it, "retry max", report),
                None => {
                    report.entry_error(it.span, "retry max is not a number");
                    0
                }
            });
            let when = map.given("when").map(|it| retry_when(it, report));
            let exit_codes = map
                .given("exit_codes")
                .map(|it| exit_codes(it, "retry exit codes", report));
            let default = if exit_codes.is_some() {
                Vec::new()
            } else {
                always()
            };
            Retry {
                max,
                when: when.unwrap_or(default),
                exit_codes: exit_codes.unwrap_or_default(),
            }
        }
        _ => {
            report.entry_error(
                node.span,
                "retry config has to be either an integer or a hash",
            );
            Retry::default()
        }
    }
}

fn at_most_two(max: i128, node: &Node, at: &str, report: &mut Report) -> u32 {
    match max {
        ..0 => report.entry_error(
            node.span,
            format!("{at} must be greater than or equal to 0"),
        ),
        3.. => report.entry_error(node.span, format!("{at} must be less than or equal to 2")),
        _ => {}
    }
    u32::try_from(max.clamp(0, 2)).unwrap_or(0)
}

fn retry_when(node: &Node, report: &mut Report) -> Vec<String> {
    if node.as_text().is_some() {
        let words = RETRY_REASONS.map(|it| (it, it));
        return one_of(
            node,
            &words,
            "retry when is not included in the list",
            report,
        )
        .map(str::to_owned)
        .into_iter()
        .collect();
    }
    let reasons = string_list(
        node,
        "retry when should be an array of strings or a string",
        report,
    );
    let unknown: Vec<&str> = reasons
        .iter()
        .map(String::as_str)
        .filter(|it| !RETRY_REASONS.contains(it))
        .collect();
    if !unknown.is_empty() {
        report.entry_error(
            node.span,
            format!("retry when contains unknown values: {}", unknown.join(", ")),
        );
    }
    reasons
}

/// Reads an integer or a list of them.
pub(super) fn exit_codes(node: &Node, at: &str, report: &mut Report) -> Vec<i32> {
    let one = |it: &Node| it.as_integer().and_then(|it| i32::try_from(it).ok());
    let codes: Option<Vec<i32>> = match node.as_sequence() {
        Some(items) => items.iter().map(one).collect(),
        None => one(node).map(|it| vec![it]),
    };
    codes.unwrap_or_else(|| {
        report.entry_error(
            node.span,
            format!("{at} should be an array of integers or an integer"),
        );
        Vec::new()
    })
}
