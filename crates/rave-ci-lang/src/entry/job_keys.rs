//! Which keywords a job may have, which of them exclude each other, and which have no effect yet.

use std::fmt::Display;

use super::check::unknown_keys;
use crate::report::Report;
use crate::yaml::{Key, Mapping};

const JOB_KEYS: [&str; 38] = [
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
const NOT_DONE: [(&str, &str); 5] = [
    ("release", "no release is made"),
    ("pages", "nothing is published"),
    ("publish", "nothing is published"),
    ("manual_confirmation", "nobody is asked"),
    ("dast_configuration", "it is ignored"),
];

/// Says which keywords of the job have no effect.
pub(super) fn notices(map: &Mapping, report: &mut Report) {
    for (key, instead) in NOT_DONE {
        let given = map.entry(key);
        let given = given.filter(|it| !it.1.is_null() && it.1.as_bool() != Some(false));
        if let Some((key, _)) = given {
            report.unsupported(key.span, &key.text, instead);
        }
    }
}

/// Refuses keywords that are unknown or do not go together.
pub(super) fn check_keys(map: &Mapping, is_script: bool, at: &dyn Display, report: &mut Report) {
    for keys in [
        &["script", "trigger"][..],
        &["run", "trigger"],
        &["script", "run"],
        &["before_script", "run"],
        &["after_script", "run"],
    ] {
        let found: Vec<&Key> = map
            .iter()
            .map(|it| &it.0)
            .filter(|it| keys.contains(&it.text.as_str()))
            .collect();
        if let [first, second] = found.as_slice() {
            let message = format!(
                "{at} config these keys cannot be used together: {}, {}",
                first.text, second.text
            );
            report.entry_error(second.span, message);
        }
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
    let known: &[&str] = if is_script { &JOB_KEYS } else { &BRIDGE_KEYS };
    unknown_keys(map, at, known, report);
}
