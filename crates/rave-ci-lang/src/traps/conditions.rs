//! Conditions that compare something else than they seem to, because values count as written.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::map;
use crate::expression::{Expression, Value};
use crate::facts::Facts;
use crate::report::{Report, did_you_mean};
use crate::yaml::{Mapping, Node, Span};

/// Variables that exist only once a job runs.
const LATE: [&str; 26] = [
    "CI_PIPELINE_ID",
    "CI_PIPELINE_URL",
    "CI_JOB_ID",
    "CI_JOB_URL",
    "CI_JOB_TOKEN",
    "CI_JOB_STARTED_AT",
    "CI_JOB_STATUS",
    "CI_JOB_TIMEOUT",
    "CI_JOB_IMAGE",
    "CI_REPOSITORY_URL",
    "CI_REGISTRY_PASSWORD",
    "CI_DEPENDENCY_PROXY_USER",
    "CI_DEPENDENCY_PROXY_PASSWORD",
    "CI_DEPLOY_USER",
    "CI_DEPLOY_PASSWORD",
    "CI_ENVIRONMENT_SLUG",
    "CI_ENVIRONMENT_ID",
    "CI_RUNNER_ID",
    "CI_RUNNER_DESCRIPTION",
    "CI_RUNNER_TAGS",
    "CI_RUNNER_VERSION",
    "CI_PROJECT_DIR",
    "CI_BUILDS_DIR",
    "CI_CONCURRENT_ID",
    "CI_SERVER",
    "CI_DISPOSABLE_ENVIRONMENT",
];

/// Predefined variables that conditions may ask for.
const EARLY: &str = "
    CI GITLAB_CI CI_API_V4_URL CI_API_GRAPHQL_URL CI_SERVER_FQDN CI_SERVER_HOST CI_SERVER_PORT CI_SERVER_PROTOCOL
    CI_SERVER_URL CI_SERVER_NAME CI_SERVER_VERSION CI_SERVER_VERSION_MAJOR CI_SERVER_VERSION_MINOR CI_SERVER_VERSION_PATCH
    CI_SERVER_REVISION CI_SERVER_SHELL_SSH_HOST CI_SERVER_SHELL_SSH_PORT GITLAB_FEATURES CI_PROJECT_ID CI_PROJECT_NAME
    CI_PROJECT_TITLE CI_PROJECT_DESCRIPTION CI_PROJECT_PATH CI_PROJECT_PATH_SLUG CI_PROJECT_NAMESPACE
    CI_PROJECT_NAMESPACE_SLUG CI_PROJECT_NAMESPACE_ID CI_PROJECT_ROOT_NAMESPACE CI_PROJECT_URL CI_PROJECT_VISIBILITY
    CI_PROJECT_REPOSITORY_LANGUAGES CI_PROJECT_CLASSIFICATION_LABEL CI_PROJECT_TOPICS CI_DEFAULT_BRANCH
    CI_DEFAULT_BRANCH_SLUG CI_CONFIG_PATH CI_CONFIG_REF_URI CI_TEMPLATE_REGISTRY_HOST CI_PAGES_DOMAIN CI_PAGES_HOSTNAME
    CI_PAGES_URL CI_REGISTRY CI_REGISTRY_IMAGE CI_REGISTRY_USER CI_DEPENDENCY_PROXY_SERVER
    CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX CI_PIPELINE_IID CI_PIPELINE_SOURCE
    CI_PIPELINE_CREATED_AT CI_PIPELINE_NAME CI_PIPELINE_SCHEDULE_DESCRIPTION CI_PIPELINE_TRIGGERED CI_TRIGGER_SHORT_TOKEN
    CI_COMMIT_SHA CI_COMMIT_SHORT_SHA CI_COMMIT_BEFORE_SHA CI_COMMIT_REF_NAME CI_COMMIT_REF_SLUG CI_COMMIT_REF_PROTECTED
    CI_COMMIT_BRANCH CI_COMMIT_TAG CI_COMMIT_TAG_MESSAGE CI_COMMIT_MESSAGE CI_COMMIT_TITLE CI_COMMIT_DESCRIPTION
    CI_COMMIT_MESSAGE_IS_TRUNCATED CI_COMMIT_TIMESTAMP CI_COMMIT_AUTHOR CI_COMMIT_USER_LOGIN CI_OPEN_MERGE_REQUESTS
    CI_MERGE_REQUEST_ID CI_MERGE_REQUEST_IID CI_MERGE_REQUEST_REF_PATH CI_MERGE_REQUEST_PROJECT_ID
    CI_MERGE_REQUEST_PROJECT_PATH CI_MERGE_REQUEST_PROJECT_URL CI_MERGE_REQUEST_TITLE CI_MERGE_REQUEST_DESCRIPTION
    CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED CI_MERGE_REQUEST_DRAFT CI_MERGE_REQUEST_ASSIGNEES CI_MERGE_REQUEST_LABELS
    CI_MERGE_REQUEST_MILESTONE CI_MERGE_REQUEST_APPROVED CI_MERGE_REQUEST_SQUASH_ON_MERGE
    CI_MERGE_REQUEST_SOURCE_BRANCH_NAME CI_MERGE_REQUEST_SOURCE_BRANCH_SHA CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED
    CI_MERGE_REQUEST_SOURCE_PROJECT_ID CI_MERGE_REQUEST_SOURCE_PROJECT_PATH CI_MERGE_REQUEST_SOURCE_PROJECT_URL
    CI_MERGE_REQUEST_TARGET_BRANCH_NAME CI_MERGE_REQUEST_TARGET_BRANCH_SHA CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED
    CI_MERGE_REQUEST_DIFF_ID CI_MERGE_REQUEST_DIFF_BASE_SHA CI_MERGE_REQUEST_EVENT_TYPE CI_EXTERNAL_PULL_REQUEST_IID
    CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY
    CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA
    CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA CI_UPSTREAM_PIPELINE_ID
    CI_UPSTREAM_PROJECT_ID CI_UPSTREAM_JOB_ID CI_KUBERNETES_ACTIVE CI_DEPLOY_FREEZE CI_GITLAB_FIPS_MODE
    CI_HAS_OPEN_REQUIREMENTS CI_JOB_NAME CI_JOB_NAME_SLUG CI_JOB_GROUP_NAME CI_JOB_STAGE CI_JOB_MANUAL CI_NODE_INDEX
    CI_NODE_TOTAL CI_ENVIRONMENT_NAME CI_ENVIRONMENT_ACTION CI_ENVIRONMENT_TIER CI_ENVIRONMENT_URL GITLAB_USER_ID
    GITLAB_USER_LOGIN GITLAB_USER_NAME GITLAB_USER_EMAIL CI_RELEASE_DESCRIPTION CI_RELEASE_NAME CI_DEBUG_TRACE
    CI_DEBUG_SERVICES GITLAB_ENV";

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})")
        .expect("the pattern is valid")
});

pub(super) struct Conditions<'a> {
    /// Variables of the root whose values have references.
    root: HashMap<&'a str, &'a str>,
    /// Those of the job.
    job: HashMap<&'a str, &'a str>,
    /// Names of all variables of the file so far, and of the event.
    defined: HashSet<&'a str>,
    early: HashSet<&'static str>,
    /// Conditions that were looked at with nothing but the root's variables.
    seen: HashSet<Span>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(variables: &'a Mapping, facts: &Facts<'a>) -> Self {
        let event = facts.event;
        let given = [
            &event.predefined,
            &event.project_variables,
            &event.pipeline_variables,
        ];
        let mut defined: HashSet<&str> = given
            .into_iter()
            .flatten()
            .map(|it| it.key.as_str())
            .collect();
        defined.extend(variables.iter().map(|it| it.0.text.as_str()));
        Self {
            root: with_references(variables),
            job: HashMap::new(),
            defined,
            early: EARLY.split_whitespace().collect(),
            seen: HashSet::new(),
        }
    }

    /// Goes on to the rules of a job.
    pub(super) fn enter(&mut self, job: &'a Mapping) {
        let variables = map(job, "variables");
        self.job = variables.map(with_references).unwrap_or_default();
        let names = variables.into_iter().flat_map(Mapping::iter);
        self.defined.extend(names.map(|it| it.0.text.as_str()));
    }

    pub(super) fn check(&mut self, condition: &Node, report: &mut Report) {
        let is_new = self.seen.insert(condition.span);
        if !is_new && self.job.is_empty() {
            return;
        }
        let Some(text) = condition.as_text() else {
            return;
        };
        let Ok(expression) = report.patterns.expression(text) else {
            return;
        };
        for (left, right) in expression.comparisons() {
            self.literal(left, right, condition, report);
            self.literal(right, left, condition, report);
        }
        for name in expression.variables() {
            self.name(name, condition, report);
        }
    }

    /// Looks at one side of a comparison with a fixed text.
    fn literal(&self, literal: &Expression, other: &Expression, at: &Node, report: &mut Report) {
        let variable = match other {
            Expression::Variable(name) => Some(name.as_str()),
            _ => None,
        };
        let value = variable.and_then(|it| self.job.get(it).or_else(|| self.root.get(it)));
        if let Expression::Value(Value::Text(text)) = literal
            && text.contains('$')
            && let Some(found) = REFERENCE.find(text)
            && value.is_none_or(|it| it != text)
        {
            let message = format!("`{}` in quotes is not expanded by `if`", found.as_str());
            let hint = "compare with the variable itself, without quotes";
            report.warn(at.span, message, Some(hint.to_owned()));
            return;
        }
        let has_reference = match literal {
            Expression::Value(Value::Text(text)) => text.contains('$'),
            Expression::Pattern(_) => false,
            _ => return,
        };
        if let (Some(name), Some(value), false) = (variable, value, has_reference) {
            let message =
                format!("`if` compares the value of `${name}` as it is written: `{value}`");
            let hint = "variables in values are expanded for scripts, not for `if`";
            report.warn(at.span, message, Some(hint.to_owned()));
        }
    }

    fn name(&self, name: &str, at: &Node, report: &mut Report) {
        if self.defined.contains(name) || self.early.contains(name) {
            return;
        }
        if LATE.contains(&name) {
            let message =
                format!("`${name}` is never set in `if`: it exists only while a job runs");
            report.warn(at.span, message, None);
            return;
        }
        if name.starts_with("CI_") || name.starts_with("GITLAB_") {
            let mut known: Vec<&str> = self.early.iter().copied().collect();
            known.sort_unstable();
            if let Some(hint) = did_you_mean(name, known) {
                report.warn(at.span, format!("nothing sets `${name}`"), Some(hint));
            }
        }
    }
}

/// Returns the variables whose values have references that are to be expanded.
fn with_references(variables: &Mapping) -> HashMap<&str, &str> {
    let found = variables.iter().filter_map(|(key, node)| {
        let value = match node.as_mapping() {
            None => node,
            Some(map) if map.get("expand").and_then(Node::as_bool) == Some(false) => return None,
            Some(map) => map.get("value")?,
        };
        let text = value.as_text()?;
        let refers = text.contains('$') && REFERENCE.is_match(text);
        refers.then_some((key.text.as_str(), text))
    });
    found.collect()
}
