//! Which jobs an event gets.

use rave_ci_lang::{EventContext, JobPlan, Limits, Outcome, SourceFile, Variable, When, compile};

use crate::{Commit, compile_in, compiled, job, plan_of, push, shown};

/// Returns job `a` of a file in which only it may be missing.
fn find(keywords: &str, event: &EventContext, commit: &Commit) -> Option<JobPlan> {
    let text = format!(
        "variables: {{ROOT: r}}\na: {{script: x, {keywords}}}\nb: {{script: x, rules: [{{when: always}}]}}\n"
    );
    plan_of(compile_in(&text, event, commit).unwrap_or_else(|it| panic!("{it}")))
        .find_job("a")
        .cloned()
}

#[test]
fn manual_and_allow_failure() {
    let check = |keywords: &str, when: When, allow_failure: bool, codes: &[i32]| {
        let job = find(keywords, &push(), &Commit::default()).unwrap();
        let found = (job.when, job.allow_failure, job.allow_failure_exit_codes);
        assert_eq!(found, (when, allow_failure, codes.to_vec()), "{keywords}");
    };
    check("when: manual", When::Manual, true, &[]);
    check(
        "when: manual, allow_failure: false",
        When::Manual,
        false,
        &[],
    );
    check("rules: [{when: manual}]", When::Manual, false, &[]);
    check(
        "when: manual, rules: [{if: $ROOT}]",
        When::Manual,
        true,
        &[],
    );
    check(
        "allow_failure: true, rules: [{when: manual}]",
        When::Manual,
        true,
        &[],
    );
    check(
        "allow_failure: true, rules: [{allow_failure: false}]",
        When::OnSuccess,
        false,
        &[],
    );
    check(
        "when: manual, allow_failure: {exit_codes: 3}",
        When::Manual,
        false,
        &[3],
    );
    check(
        "allow_failure: {exit_codes: [3, 4]}",
        When::OnSuccess,
        false,
        &[3, 4],
    );
    check(
        "allow_failure: {exit_codes: 3}, rules: [{allow_failure: true}]",
        When::OnSuccess,
        true,
        &[],
    );
    check("when: always", When::Always, false, &[]);
}

#[test]
fn the_first_rule_that_holds_decides() {
    let found = |rules: &str| find(&format!("rules: [{rules}]"), &push(), &Commit::default());
    assert!(found("{if: $NOPE}").is_none());
    assert!(found("{if: '$CI_COMMIT_BRANCH == \"main\"', when: never}, {when: always}").is_none());
    assert!(found("{if: null}").is_some());
    let job = found(
        "{if: $NOPE, when: never}, {when: delayed, start_in: 2 h, variables: {ROOT: rule, N: 1}, interruptible: true}",
    );
    let job = job.unwrap();
    assert_eq!(
        (job.when, job.start_in_secs, job.interruptible),
        (When::Delayed, Some(7200), true)
    );
    assert_eq!(shown(&job.variables), "ROOT=rule N=1");
    let job = find(
        "rules: [{if: '$CI_JOB_NAME == \"a\" && $CI_JOB_STAGE == \"test\"'}]",
        &push(),
        &Commit::default(),
    );
    assert!(job.is_some());
}

#[test]
fn project_and_pipeline_variables_win_over_the_file() {
    let mut event = push();
    let rules = "variables: {V: yaml}, rules: [{if: '$V == \"wanted\"'}]";
    assert!(find(rules, &event, &Commit::default()).is_none());
    event.project_variables = vec![Variable::public("V", "wanted")];
    assert!(find(rules, &event, &Commit::default()).is_some());
    event.pipeline_variables = vec![Variable::public("V", "other")];
    assert!(find(rules, &event, &Commit::default()).is_none());
}

#[test]
fn changes_and_exists() {
    let mut commit = Commit::default()
        .with("Cargo.toml", "")
        .with("src/app/main.rs", "");
    commit.changed = Some(vec!["src/app/main.rs".to_owned()]);
    let found = |rule: &str| find(&format!("rules: [{{{rule}}}]"), &push(), &commit).is_some();
    assert!(found("changes: ['src/**/*']"));
    assert!(found("changes: {paths: ['src/$CI_PROJECT_NAME/*']}"));
    assert!(!found("changes: ['docs/**/*', '$NOPE/*']"));
    assert!(found("exists: [Cargo.toml]"));
    assert!(found("exists: {paths: ['**/*.rs']}"));
    assert!(!found("exists: ['*.rs']"));
    assert!(!found("exists: [Cargo.toml], changes: [Cargo.toml]"));
    commit.changed = None;
    assert!(find("rules: [{changes: [nothing]}]", &push(), &commit).is_some());
}

#[test]
fn only_and_except() {
    let mut event = push();
    let found =
        |keywords: &str, event: &EventContext| find(keywords, event, &Commit::default()).is_some();
    assert!(found("only: [main]", &event));
    assert!(!found("only: [tags]", &event));
    assert!(!found("except: [main]", &event));
    assert!(found("only: {variables: [$ROOT]}", &event));
    assert!(!found("only: {variables: [$NOPE]}", &event));
    assert!(!found("except: {variables: [$ROOT]}", &event));
    event.source = "merge_request_event".to_owned();
    assert!(!found("tags: []", &event));
    assert!(found("only: [merge_requests]", &event));
}

#[test]
fn workflow_rules() {
    let outcome = |rules: &str| {
        let text = format!(
            "workflow:\n  name: '$CI_PROJECT_NAME $W$NOPE'\n  rules: {rules}\nvariables: {{W: root, J: root}}\na: {{script: x, variables: {{J: job}}}}\n"
        );
        compiled(&text).outcome
    };
    assert_eq!(outcome("[{if: $NOPE}]"), Outcome::FilteredByWorkflow);
    assert_eq!(outcome("[{when: never}]"), Outcome::FilteredByWorkflow);
    assert!(
        Outcome::FilteredByWorkflow
            .refusal()
            .unwrap()
            .contains("workflow rules")
    );
    let Outcome::Pipeline(plan) = outcome("[{if: $W, variables: {W: rule, J: rule}}]") else {
        panic!("no pipeline")
    };
    assert_eq!(plan.name.as_deref(), Some("app rule"));
    assert_eq!(shown(&plan.variables), "W=rule J=rule");
    assert_eq!(shown(&plan.jobs[0].variables), "W=rule J=job");
}

#[test]
fn a_pipeline_of_nothing_but_pre_and_post_is_none() {
    assert_eq!(
        compiled("a: {script: x, stage: .pre}").outcome,
        Outcome::NoJobs
    );
    assert_eq!(
        compiled("a: {script: x, rules: [{if: $NOPE}]}").outcome,
        Outcome::NoJobs
    );
}

#[test]
fn a_catch_all_rule_is_warned_of() {
    let warned = |text: &str| {
        compiled(text).notices.iter().any(|it| {
            it.message
                .starts_with("jobs:a may allow multiple pipelines")
        })
    };
    assert!(warned("a: {script: x, rules: [{if: $A}, {when: always}]}"));
    assert!(!warned(
        "a: {script: x, rules: [{if: $A}, {when: never}]}\nb: {script: x}"
    ));
    assert!(!warned(
        "a: {script: x, rules: [{when: always}]}\nworkflow: {rules: [{when: always}]}"
    ));
}

#[test]
fn the_number_of_jobs_is_limited() {
    let text: String = (0..4).map(|it| format!("j{it}: {{script: x}}\n")).collect();
    let limits = Limits {
        jobs: 3,
        ..Limits::default()
    };
    let source = SourceFile {
        path: "ci.yml",
        text: &text,
    };
    let errors = compile(&source, &push(), &Commit::default(), &limits).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "ci.yml:4:1: The number of jobs has exceeded the limit of 3."
    );
}

#[test]
fn rule_needs_replace_the_needs_of_the_job() {
    let text = |needs: &str| {
        format!(
            "b: {{script: x}}\nc: {{script: x}}\na: {{script: x, needs: [b], rules: [{{needs: {needs}}}]}}\n"
        )
    };
    let needs = |text: &str| {
        job(text)
            .needs
            .unwrap()
            .into_iter()
            .map(|it| it.job)
            .collect::<Vec<_>>()
    };
    assert_eq!(needs(&text("[c]")), ["c"]);
    assert_eq!(needs(&text("[]")), ["b"]);
}
