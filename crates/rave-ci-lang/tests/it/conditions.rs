//! Conditions over paths, and the variables that conditions see.

use rave_ci_lang::{
    AutoCancel, Foreign, FormVariable, Limits, OnJobFailure, OnNewCommit, OpenError, Outcome,
    Requester, SourceFile, Tree, compile,
};

use crate::{compiled, job, plan, plan_of, push};

/// A commit on a branch beside `main`, and another project.
struct History;

impl Tree for History {
    fn read(&self, _: &str) -> Option<String> {
        None
    }
    fn files(&self) -> Vec<String> {
        ["Cargo.toml", "src/lib.rs"].map(str::to_owned).into()
    }
    fn changed(&self) -> Option<Vec<String>> {
        Some(vec!["docs/a.md".to_owned()])
    }
    fn changed_since(&self, reference: &str) -> Option<Vec<String>> {
        (reference == "main").then(|| vec!["src/lib.rs".to_owned()])
    }
    fn open(
        &self,
        project: &str,
        reference: Option<&str>,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        match (project, reference, by) {
            ("team/other", None | Some("v1"), Requester::User) => Ok(Foreign {
                project: project.to_owned(),
                sha: "1".repeat(40),
                reference: reference.unwrap_or("HEAD").to_owned(),
            }),
            ("team/other", _, _) => Err(OpenError::NoReference),
            _ => Err(OpenError::NoProject),
        }
    }
    fn files_at(&self, at: &Foreign) -> Vec<String> {
        vec![format!("{}.txt", at.reference)]
    }
}

/// Returns whether job `a` comes in with this rule, or what is wrong with it.
fn holds(rule: &str) -> Result<bool, String> {
    let text = format!(
        "variables: {{B: main, P: team/other}}\na: {{script: x, rules: [{{{rule}}}]}}\nb: {{script: x}}\n"
    );
    let source = SourceFile {
        path: ".gitlab-ci.yml",
        text: &text,
    };
    match compile(&source, &push(), &History, &Limits::default()) {
        Ok(compiled) => Ok(plan_of(compiled).find_job("a").is_some()),
        Err(errors) => Err(errors.first().expect("an error").message.clone()),
    }
}

fn check(rule: &str, expected: bool) {
    assert_eq!(holds(rule), Ok(expected), "{rule}");
}

fn check_error(rule: &str, expected: &str) {
    assert_eq!(holds(rule), Err(expected.to_owned()), "{rule}");
}

#[test]
fn changes_since_a_reference() {
    check("changes: [src/*]", false);
    check("changes: {paths: [src/*], compare_to: main}", true);
    check("changes: {paths: [src/*], compare_to: $B}", true);
    check("changes: {paths: [docs/*], compare_to: main}", false);
    check_error(
        "changes: {paths: [src/*], compare_to: gone}",
        "Failed to parse rule for a: rules:changes:compare_to is not a valid ref",
    );
}

#[test]
fn files_of_other_projects() {
    check("exists: {paths: [Cargo.toml]}", true);
    check("exists: {paths: [Cargo.toml], project: team/other}", false);
    check("exists: {paths: [HEAD.txt], project: $P}", true);
    check(
        "exists: {paths: ['*.txt'], project: team/other, ref: v1}",
        true,
    );
    check_error(
        "exists: {paths: [x], project: team/hidden}",
        "Failed to parse rule for a: rules:exists:project `team/hidden` not found or access denied",
    );
    check_error(
        "exists: {paths: [x], project: team/other, ref: v9}",
        "Failed to parse rule for a: rules:exists:ref `v9` is not a valid ref in project `team/other`",
    );
}

#[test]
fn paths_by_regular_expression() {
    check("exists: {regexp: '^src/.*[.]rs$'}", true);
    check("exists: {regexp: 'py$'}", false);
    check("changes: {regexp: 'docs?/'}", true);
    check("changes: {regexp: 'src', compare_to: main}", true);
    check_error(
        "changes: {regexp: '('}",
        "jobs:a:rules:rule:changes regexp must be a regular expression with re2 syntax",
    );
}

#[test]
fn one_condition_in_many_jobs_is_decided_once() {
    let jobs: String = (0..1500)
        .map(|it| format!("j{it}: {{extends: .base}}\n"))
        .collect();
    let patterns: Vec<String> = (0..40)
        .map(|it| format!("'{{a,b,c,d}}/{it}/**/*.{{rs,toml}}'"))
        .collect();
    let text = format!(
        ".base: {{script: x, rules: [{{changes: [{}]}}]}}\nlast: {{script: x}}\n{jobs}",
        patterns.join(", ")
    );
    let source = SourceFile {
        path: ".gitlab-ci.yml",
        text: &text,
    };
    let compiled = compile(&source, &push(), &History, &Limits::default()).unwrap();
    assert_eq!(plan_of(compiled).jobs.len(), 1);
}

#[test]
fn rules_see_the_job_and_its_environment() {
    let holds = |keywords: &str, condition: &str| {
        let text = format!(
            "a: {{script: x, {keywords}, rules: [{{if: '{condition}'}}]}}\nb: {{script: x}}\n"
        );
        plan(&text).find_job("a").is_some()
    };
    for (keywords, condition) in [
        ("stage: build", r#"$CI_JOB_STAGE == "build""#),
        ("when: manual", "$CI_JOB_MANUAL"),
        (
            "stage: test",
            r#"$CI_NODE_TOTAL == "1" && $CI_NODE_INDEX == null"#,
        ),
        (
            "environment: review/$CI_COMMIT_BRANCH",
            r#"$CI_ENVIRONMENT_NAME == "review/main" && $CI_ENVIRONMENT_TIER == "development""#,
        ),
        (
            "environment: {name: live, action: verify, url: http://x}",
            r#"$CI_ENVIRONMENT_ACTION == "verify" && $CI_ENVIRONMENT_URL == "http://x""#,
        ),
    ] {
        assert!(holds(keywords, condition), "{keywords}: {condition}");
    }
    assert!(!holds(
        "stage: test",
        "$CI_JOB_MANUAL || $CI_ENVIRONMENT_NAME"
    ));
    let copies = plan(
        "a: {script: x, parallel: 3, rules: [{if: '$CI_NODE_INDEX == \"2\" && $CI_JOB_GROUP_NAME == \"a\"'}]}",
    );
    assert_eq!(copies.jobs.len(), 1);
    assert_eq!(copies.jobs[0].name, "a 2/3");
}

#[test]
fn the_workflow_sees_no_job() {
    let text = "workflow: {rules: [{if: $CI_JOB_NAME}]}\na: {script: x}\n";
    assert_eq!(compiled(text).outcome, Outcome::FilteredByWorkflow);
}

#[test]
fn a_rule_of_the_workflow_overrides_what_it_names() {
    let plan = plan(
        "workflow: {auto_cancel: {on_new_commit: none, on_job_failure: all}, rules: [{auto_cancel: {on_new_commit: interruptible}}]}\na: {script: x}",
    );
    assert_eq!(
        plan.auto_cancel,
        AutoCancel {
            on_new_commit: OnNewCommit::Interruptible,
            on_job_failure: OnJobFailure::All,
        }
    );
}

#[test]
fn a_form_asks_for_described_variables() {
    let text = "variables:\n  A: plain\n  B: {value: b, description: which one, options: [b, c]}\n  C: {description: free}\n\
                workflow: {rules: [{when: never}]}\na: {script: x}\n";
    let compiled = compiled(text);
    assert_eq!(compiled.outcome, Outcome::FilteredByWorkflow);
    let variable = |key: &str, value: &str, description: &str, options: &[&str]| FormVariable {
        key: key.to_owned(),
        value: value.to_owned(),
        description: Some(description.to_owned()),
        options: options.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        compiled.form,
        [
            variable("B", "b", "which one", &["b", "c"]),
            variable("C", "", "free", &[]),
        ]
    );
}

#[test]
fn environments_in_full() {
    let a = job(
        "a: {script: x, variables: {D: 2 days}, environment: {name: $CI_PROJECT_NAME/Prod, url: 'https://$D', auto_stop_in: $D, on_stop: b, \
         kubernetes: {agent: 'p:n', namespace: ns}}}\nb: {script: x, environment: {name: $CI_PROJECT_NAME/Prod, action: stop}}",
    );
    let environment = a.environment.unwrap();
    assert_eq!(environment.name, "app/Prod");
    assert_eq!(environment.tier(), "production");
    assert_eq!(
        environment.slug(),
        rave_ci_lang::environment_slug("app/Prod")
    );
    assert_eq!(environment.auto_stop_in.as_deref(), Some("2 days"));
    assert_eq!(environment.url.as_deref(), Some("https://$D"));
    assert_eq!(
        environment.kubernetes,
        Some(serde_json::json!({"agent": "p:n", "namespace": "ns"}))
    );
}
