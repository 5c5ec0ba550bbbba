//! `inherit`: which defaults and root variables a job takes.

use std::fmt::Display;

use super::check::{strings, unknown_keys};
use super::common::DEFAULT_KEYS;
use crate::report::Report;
use crate::yaml::{Mapping, Node};

#[derive(Clone, Debug, Default)]
pub(crate) struct Inherit {
    default: Which,
    variables: Which,
}

#[derive(Clone, Debug, Default)]
enum Which {
    #[default]
    All,
    None,
    Only(Vec<String>),
}

impl Which {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(names) => names.iter().any(|it| it == name),
        }
    }
}

impl Inherit {
    pub(super) fn read(node: &Node, parent: &dyn Display, report: &mut Report) -> Self {
        let at = format!("{parent}:inherit");
        let Some(map) = node.as_mapping() else {
            report.entry_error(node.span, format!("{at} config should be a hash"));
            return Self::default();
        };
        unknown_keys(map, &at, &["default", "variables"], report);
        let default = which(map, "default", &at, report);
        if let (Which::Only(names), Some(node)) = (&default, map.given("default")) {
            let unknown: Vec<&str> = names
                .iter()
                .map(String::as_str)
                .filter(|it| !DEFAULT_KEYS.contains(it))
                .collect();
            if !unknown.is_empty() {
                let message = format!(
                    "{at}:default config contains unknown values: {}",
                    unknown.join(", ")
                );
                report.entry_error(node.span, message);
            }
        }
        Self {
            default,
            variables: which(map, "variables", &at, report),
        }
    }

    pub(crate) fn has_default(&self, key: &str) -> bool {
        self.default.has(key)
    }

    pub(crate) fn has_variable(&self, name: &str) -> bool {
        self.variables.has(name)
    }
}

fn which(map: &Mapping, key: &str, at: &dyn Display, report: &mut Report) -> Which {
    let Some(node) = map.given(key) else {
        return Which::All;
    };
    match (node.as_bool(), strings(node)) {
        (Some(true), _) => Which::All,
        (Some(false), _) => Which::None,
        (None, Some(names)) => Which::Only(names),
        (None, None) => {
            let problem = match node.as_sequence() {
                Some(_) => "config should be an array of strings",
                None => "should be a bool or array of strings",
            };
            report.entry_error(node.span, format!("{at}:{key} {problem}"));
            Which::All
        }
    }
}
