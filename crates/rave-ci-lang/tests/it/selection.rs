//! Parts of plans.

use rave_ci_lang::{Needed, NotSelected, Plan, Selection};

use crate::plan;

const FILE: &str = "stages: [build, test, ship]\n\
    b1: {stage: build, script: x}\n\
    b2: {stage: build, script: x}\n\
    t1: {stage: test, script: x, needs: [b1]}\n\
    t2: {stage: test, script: x, parallel: 2}\n\
    t3: {stage: test, script: x, needs: [b2], parallel: {matrix: [{OS: [a, b]}]}}\n\
    s1: {stage: ship, script: x, needs: [t1, {job: t2, artifacts: false}], dependencies: [t1]}\n\
    s2: {stage: ship, script: x}\n";

fn selection(jobs: &[&str], stages: &[&str], all: bool) -> Selection {
    let owned = |it: &[&str]| it.iter().map(ToString::to_string).collect();
    Selection {
        jobs: owned(jobs),
        stages: owned(stages),
        needed: if all { Needed::All } else { Needed::Nothing },
    }
}

fn names(plan: &Plan) -> String {
    let names: Vec<&str> = plan.jobs.iter().map(|it| it.name.as_str()).collect();
    names.join(", ")
}

#[test]
fn named_jobs_stay_and_wait_for_nothing_else() {
    let check = |jobs: &[&str], stages: &[&str], needed, expected| {
        let mut plan = plan(FILE);
        let done = plan.select(&selection(jobs, stages, needed));
        assert_eq!(done, Ok(()));
        assert_eq!(names(&plan), expected, "{jobs:?} {stages:?} {needed}");
    };
    check(&["t1"], &[], false, "t1");
    check(&["t1"], &[], true, "b1, t1");
    check(&["t2"], &[], false, "t2 1/2, t2 2/2");
    check(&["t2 2/2"], &[], true, "b1, b2, t2 2/2");
    check(&["t3"], &[], true, "b2, t3: [a], t3: [b]");
    check(&["t3: [b]"], &[], false, "t3: [b]");
    check(&["s1"], &[], true, "b1, b2, t1, t2 1/2, t2 2/2, s1");
    check(
        &["b2"],
        &["test"],
        false,
        "b2, t1, t2 1/2, t2 2/2, t3: [a], t3: [b]",
    );
    let everything = names(&plan(FILE));
    check(&["s2"], &["ship"], true, &everything);
    check(&[], &[], false, &everything);
}

#[test]
fn waits_for_jobs_that_are_left_out_are_dropped() {
    let mut plan = plan(FILE);
    plan.select(&selection(&["s1", "t2 1/2"], &[], false))
        .unwrap();
    let ship = plan.find_job("s1").unwrap();
    let needs: Vec<&str> = ship
        .needs
        .iter()
        .flatten()
        .map(|it| it.job.as_str())
        .collect();
    assert_eq!(needs, ["t2 1/2"]);
    assert_eq!(ship.dependencies.as_deref(), Some(&[][..]));
}

#[test]
fn jobs_whose_artifacts_are_wanted_come_along() {
    let text = "stages: [build, test, ship]\n\
        lint: {stage: build, script: x}\n\
        b1: {stage: build, script: x, artifacts: {paths: [o]}}\n\
        b2: {stage: build, script: x, artifacts: {paths: [p]}}\n\
        t1: {stage: test, script: x}\n\
        t2: {stage: test, script: x, needs: [lint, b1, {job: b2, artifacts: false}]}\n\
        t3: {stage: test, script: x, dependencies: [b2]}\n\
        s1: {stage: ship, script: x, needs: [t1]}\n";
    let check = |job: &str, expected| {
        let mut plan = plan(text);
        let wanted = Selection {
            needed: Needed::Artifacts,
            ..selection(&[job], &[], false)
        };
        plan.select(&wanted).unwrap();
        assert_eq!(names(&plan), expected, "{job}");
    };
    check("t1", "b1, b2, t1");
    check("t2", "b1, t2");
    check("t3", "b2, t3");
    check("s1", "s1");
}

#[test]
fn a_name_that_stands_for_nothing_is_said() {
    let refused =
        |jobs: &[&str], stages: &[&str]| plan(FILE).select(&selection(jobs, stages, true));
    assert_eq!(
        refused(&["b1", "t4"], &[]),
        Err(NotSelected::Job("t4".into()))
    );
    assert_eq!(
        refused(&[], &["deploy"]),
        Err(NotSelected::Stage("deploy".into()))
    );
    assert_eq!(refused(&["t2", "t2 1/2"], &[]), Ok(()));
}
