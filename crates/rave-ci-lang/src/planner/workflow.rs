//! `workflow`: whether there is a pipeline, its name and its variables.

use super::rules;
use crate::entry::{AutoCancelEntry, Config, overlay};
use crate::expand::Unknown;
use crate::facts::Facts;
use crate::scope::Scope;
use crate::{AutoCancel, Variable};

/// What the workflow decides for the whole pipeline.
pub(super) struct Workflow {
    pub(super) name: Option<String>,
    /// Root variables with those of the matching rule.
    pub(super) variables: Vec<Variable>,
    pub(super) auto_cancel: AutoCancel,
}

impl Workflow {
    /// Returns `None` if there is to be no pipeline.
    pub(super) fn decide(config: &Config, facts: &Facts<'_>) -> Option<Self> {
        let mut variables = config.variables.clone();
        let mut of_rule = AutoCancelEntry::default();
        if let Some(rules) = &config.workflow.rules {
            let scope = Scope::new(&[], &config.variables, facts.event);
            // What cannot be decided is no reason for a pipeline.
            let rule = rules::first_match(rules, &scope, facts).ok().flatten()?;
            if rules::is_never(rule) {
                return None;
            }
            of_rule = rule.auto_cancel;
            overlay(&mut variables, &rule.variables);
        }
        let scope = Scope::new(&[], &variables, facts.event);
        let name = config
            .workflow
            .name
            .as_ref()
            .map(|it| scope.fill(it, Unknown::Empty).trim().to_owned());
        let name = name.filter(|it| !it.is_empty());
        Some(Self {
            name,
            variables,
            auto_cancel: config.workflow.auto_cancel.with(of_rule),
        })
    }
}
