//! `workflow`: whether there is a pipeline at all, and how it is called.

use std::fmt::Display;

use super::check::{one_of, unknown_keys};
use super::rules::{Owner, Rule, rules};
use crate::report::Report;
use crate::yaml::Node;
use crate::{AutoCancel, OnJobFailure, OnNewCommit};

const MAX_NAME: usize = 255;

#[derive(Clone, Debug, Default)]
pub(crate) struct Workflow {
    pub(crate) name: Option<String>,
    pub(crate) auto_cancel: AutoCancelEntry,
    /// Even empty, they make jobs without rules run for merge requests.
    pub(crate) has_rules: bool,
    pub(crate) rules: Option<Vec<Rule>>,
}

/// `auto_cancel` as written: what a rule does not say, the workflow may.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AutoCancelEntry {
    on_new_commit: Option<OnNewCommit>,
    on_job_failure: Option<OnJobFailure>,
}

impl AutoCancelEntry {
    /// Returns what holds if `rule` says something of its own.
    pub(crate) fn with(self, rule: Self) -> AutoCancel {
        AutoCancel {
            on_new_commit: rule
                .on_new_commit
                .or(self.on_new_commit)
                .unwrap_or_default(),
            on_job_failure: rule
                .on_job_failure
                .or(self.on_job_failure)
                .unwrap_or_default(),
        }
    }
}

pub(super) fn workflow(node: &Node, report: &mut Report) -> Workflow {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, "workflow config should be a hash");
        return Workflow::default();
    };
    unknown_keys(map, &"workflow", &["name", "rules", "auto_cancel"], report);
    let name = map.given("name").and_then(|it| {
        let text = it.as_text();
        match text {
            None => report.entry_error(it.span, "workflow name should be a string"),
            Some(text) if text.chars().count() > MAX_NAME => {
                report.entry_error(
                    it.span,
                    format!("workflow name is too long (maximum is {MAX_NAME} characters)"),
                );
            }
            Some(_) => {}
        }
        text.map(str::to_owned)
    });
    Workflow {
        name,
        auto_cancel: map
            .given("auto_cancel")
            .map(|it| auto_cancel(it, &"workflow:auto_cancel", report))
            .unwrap_or_default(),
        has_rules: map.get("rules").is_some(),
        rules: map
            .given("rules")
            .map(|it| rules(it, &"workflow", Owner::Workflow, report)),
    }
}

/// Reads `auto_cancel` of the workflow or of one of its rules.
pub(super) fn auto_cancel(node: &Node, at: &dyn Display, report: &mut Report) -> AutoCancelEntry {
    const COMMIT: [(&str, OnNewCommit); 3] = [
        ("conservative", OnNewCommit::Conservative),
        ("interruptible", OnNewCommit::Interruptible),
        ("none", OnNewCommit::None),
    ];
    const FAILURE: [(&str, OnJobFailure); 2] =
        [("none", OnJobFailure::None), ("all", OnJobFailure::All)];
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return AutoCancelEntry::default();
    };
    unknown_keys(map, at, &["on_new_commit", "on_job_failure"], report);
    let on_new_commit = map.given("on_new_commit").and_then(|it| {
        let problem = "must be one of: conservative, interruptible, none";
        one_of(
            it,
            &COMMIT,
            &format_args!("{at} on new commit"),
            problem,
            report,
        )
    });
    let on_job_failure = map.given("on_job_failure").and_then(|it| {
        one_of(
            it,
            &FAILURE,
            &format_args!("{at} on job failure"),
            "must be one of: none, all",
            report,
        )
    });
    AutoCancelEntry {
        on_new_commit,
        on_job_failure,
    }
}
