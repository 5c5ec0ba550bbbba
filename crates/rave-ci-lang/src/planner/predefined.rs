//! The predefined variables that exist once a job is planned.

use std::sync::LazyLock;

use regex::Regex;

use super::candidates::Candidate;
use crate::expand::Unknown;
use crate::scope::Scope;
use crate::{Variable, When};

/// What the copies of a parallel job have at the end of their names.
static COPY: LazyLock<Regex> = LazyLock::new(|| {
    let blank = r"[ \t\r\n\f\v]";
    let numbers = format!(r"[0-9]+(?:{blank}|[:/\\])+[0-9]+");
    Regex::new(&format!(
        r"(?:(?:{blank}|[:\x08])+(?:\[.*\]|{numbers})){{1,3}}{blank}*\z"
    ))
    .expect("the pattern is a constant")
});

/// Returns what a job is called together with its copies. GitLab goes by the name, so jobs whose names merely look like
/// those of copies share one.
fn group_name(name: &str) -> String {
    // Nothing else comes before a number or a bracket, and most names have none of it.
    if !name.contains(|it: char| it.is_ascii_whitespace() || matches!(it, ':' | '\x08' | '\x0b')) {
        return name.trim().to_owned();
    }
    COPY.replace(name, "").trim().to_owned()
}

/// Returns the variables that do not depend on others.
pub(super) fn of_job(candidate: &Candidate<'_>) -> Vec<Variable> {
    let Candidate { name, job, .. } = candidate;
    let mut variables = Vec::with_capacity(10);
    let mut add = |key: &str, value: String| variables.push(Variable::public(key, value));
    add("CI_JOB_NAME", name.clone());
    add("CI_JOB_NAME_SLUG", crate::slug(name));
    add("CI_JOB_GROUP_NAME", group_name(name));
    add("CI_JOB_STAGE", job.stage.clone());
    if matches!(job.when, When::Manual | When::Delayed) {
        add("CI_JOB_MANUAL", "true".to_owned());
    }
    if let Some(copy) = candidate.parallel {
        add("CI_NODE_INDEX", copy.index.to_string());
    }
    let total = candidate.parallel.map_or(1, |it| it.total);
    add("CI_NODE_TOTAL", total.to_string());
    variables
}

/// Returns the variables of the job's environment, whose name is made of the others.
pub(super) fn of_environment(candidate: &Candidate<'_>, scope: &Scope<'_>) -> Vec<Variable> {
    let Some(environment) = &candidate.job.environment else {
        return Vec::new();
    };
    let name = scope.fill(&environment.name, Unknown::Empty);
    let tier = environment.tier_as(&name);
    let mut variables = vec![
        Variable::public("CI_ENVIRONMENT_NAME", &name),
        Variable::public("CI_ENVIRONMENT_ACTION", &environment.action),
        Variable::public("CI_ENVIRONMENT_TIER", tier),
    ];
    let url = environment.url.as_ref();
    variables.extend(url.map(|it| Variable::public("CI_ENVIRONMENT_URL", it)));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_copies() {
        let check = |name: &str, expected: &str| assert_eq!(group_name(name), expected, "{name}");
        check("test", "test");
        check("test 1/3", "test");
        check("test 1 3", "test");
        check("test 1:3", "test");
        check("test: [a, b]", "test");
        check("test: [a] 1/2", "test");
        check("test 12", "test 12");
        check("deploy [x] later", "deploy [x] later");
    }
}
