//! Which keywords a job may have, which of them exclude each other, and which have no effect yet.

use super::check::unknown_keys;
use crate::report::Report;
use crate::yaml::{Key, Mapping, Node};

const JOB_KEYS: [&str; 39] = [
    "after_script",
    "allow_failure",
    "artifacts",
    "before_script",
    "cache",
    "coverage",
    "dependencies",
    "environment",
    "except",
    "extends",
    "hooks",
    "id_tokens",
    "image",
    "inherit",
    "inputs",
    "interruptible",
    "manual_confirmation",
    "needs",
    "only",
    "pages",
    "parallel",
    "publish",
    "release",
    "resource_group",
    "retry",
    "rules",
    "run",
    "script",
    "services",
    "stage",
    "start_in",
    "tags",
    "timeout",
    "variables",
    "when",
    "dast_configuration",
    "identity",
    "secrets",
    "trigger",
];
const BRIDGE_KEYS: [&str; 15] = [
    "allow_failure",
    "environment",
    "except",
    "extends",
    "inherit",
    "interruptible",
    "needs",
    "only",
    "parallel",
    "resource_group",
    "rules",
    "stage",
    "trigger",
    "variables",
    "when",
];
/// Keywords that are known and have no effect, and what happens instead.
const NOT_DONE: [(&str, &str); 7] = [
    ("release", "no release is made"),
    ("pages", "nothing is published"),
    ("publish", "nothing is published"),
    ("secrets", "the job gets no secrets"),
    ("inputs", "the job gets no inputs"),
    ("dast_configuration", "it is ignored"),
    ("manual_confirmation", "it is recorded, but nobody is asked"),
];

/// Says which keywords of the job have no effect.
pub(super) fn notices(key: &Key, map: &Mapping, is_script: bool, report: &mut Report) {
    if key.text == "pages" && map.get("pages").is_none() {
        report.unsupported(
            key.span,
            "a job named pages",
            "it runs, but nothing is published",
        );
    }
    for (key, instead) in NOT_DONE {
        if let Some((key, value)) = map.entry(key).filter(|it| !it.1.is_null()) {
            let off = key.text == "pages" && value.as_bool() == Some(false);
            if !off {
                report.unsupported(key.span, &key.text, instead);
            }
        }
    }
    if let Some((key, _)) = map.entry("run").filter(|it| !it.1.is_null()) {
        report.unsupported(key.span, "run", "the job is left out");
    }
    if !is_script {
        let (name, span) = ["trigger", "needs"]
            .into_iter()
            .find_map(|it| map.entry(it).map(|(key, _)| (it, key.span)))
            .unwrap_or_default();
        let name = if name == "needs" {
            "needs:pipeline without script"
        } else {
            name
        };
        report.unsupported(
            span,
            name,
            "no other pipeline is started and the job is left out",
        );
    }
}

/// Refuses keywords that are unknown or do not go together.
pub(super) fn check_keys(map: &Mapping, is_script: bool, at: &str, report: &mut Report) {
    let known: &[&str] = if is_script { &JOB_KEYS } else { &BRIDGE_KEYS };
    unknown_keys(map, at, known, report);
    let together = |first: &str, others: &[&str]| {
        let others: Vec<&str> = others
            .iter()
            .copied()
            .filter(|it| map.given(it).is_some())
            .collect();
        let found = map.given(first).filter(|_| !others.is_empty());
        found.map(|it| {
            (
                it.span,
                format!(
                    "{at} config these keys cannot be used together: {first}, {}",
                    others.join(", ")
                ),
            )
        })
    };
    let clashes = [
        together("trigger", &["script"]),
        together("run", &["script", "before_script", "after_script"]),
    ];
    for (span, message) in clashes.into_iter().flatten() {
        report.entry_error(span, message);
    }
    let needs_pipeline = |it: &Node| {
        it.as_mapping()
            .is_some_and(|it| it.get("pipeline").is_some())
    };
    let needs = map
        .given("needs")
        .filter(|_| !is_script && map.given("trigger").is_none());
    if let Some(needs) = needs.filter(|it| {
        !needs_pipeline(it)
            && !it
                .as_sequence()
                .is_some_and(|it| it.iter().any(needs_pipeline))
    }) {
        let message = format!("{at} config should contain either a trigger or a needs:pipeline");
        report.error_with_hint(
            needs.span,
            message.to_lowercase(),
            Some("a job needs a `script`".to_owned()),
        );
    }
    if map.given("rules").is_some() {
        let clashing: Vec<&str> = ["only", "except", "start_in"]
            .into_iter()
            .filter(|it| map.given(it).is_some())
            .collect();
        if let Some(node) = clashing.first().and_then(|it| map.given(it)) {
            let message = format!(
                "{at} config key may not be used with `rules`: {}",
                clashing.join(", ")
            );
            report.entry_error(node.span, message);
        }
    }
}
