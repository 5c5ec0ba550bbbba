//! Jobs that make or follow other pipelines, and artifacts from elsewhere.

use insta::assert_snapshot;
use rave_ci_lang::{
    Bridge, ForeignNeed, Forward, InputValue, Trigger, TriggerStrategy, TriggerTarget,
};

use crate::{compiled, job, plan, shown, summary};

fn trigger(keyword: &str) -> Trigger {
    let a = job(&format!(
        "a:\n  variables: {{P: group/$CI_PROJECT_NAME}}\n  trigger: {keyword}\n"
    ));
    assert_eq!(a.script, [""; 0]);
    match a.bridge {
        Some(Bridge::Trigger(trigger)) => trigger,
        other => panic!("no trigger: {other:?}"),
    }
}

#[test]
fn a_trigger_names_a_project() {
    let target = |project: &str, branch: Option<&str>| TriggerTarget::Project {
        project: project.to_owned(),
        branch: branch.map(str::to_owned),
    };
    let simple = trigger("group/other");
    assert_eq!(simple.target, target("group/other", None));
    assert_eq!(simple.strategy, TriggerStrategy::None);
    assert_eq!(simple.forward, Forward::default());

    let full = trigger(
        "{project: $P, branch: $CI_COMMIT_BRANCH, strategy: depend, inputs: {n: 1, b: yes, t: x, l: [1]}, \
         forward: {yaml_variables: false, pipeline_variables: true}}",
    );
    assert_eq!(full.target, target("group/app", Some("main")));
    assert_eq!(full.strategy, TriggerStrategy::Depend);
    assert!(!full.forward.yaml_variables && full.forward.pipeline_variables);
    let inputs = full.inputs.iter().map(|it| (it.0.as_str(), &it.1));
    assert_eq!(
        inputs.collect::<Vec<_>>(),
        [
            ("n", &InputValue::Number(1.into())),
            ("b", &InputValue::Boolean(true)),
            ("t", &InputValue::Text("x".to_owned())),
            ("l", &InputValue::Other(serde_json::json!([1]))),
        ]
    );
    assert_eq!(
        trigger("{project: g/p, branch: $NOPE}").target,
        target("g/p", None)
    );
}

#[test]
fn a_trigger_includes_files() {
    let config = |include: &str| match trigger(&format!("{{include: {include}, strategy: mirror}}"))
        .target
    {
        TriggerTarget::Child { config } => config,
        other => panic!("no child: {other:?}"),
    };
    assert_eq!(config("ci/child.yml"), r#"{"include":"ci/child.yml"}"#);
    assert_eq!(
        config("[{local: $P.yml, inputs: {a: [1, true]}}, a.yml]"),
        r#"{"include":[{"inputs":{"a":[1,true]},"local":"$P.yml"},"a.yml"]}"#
    );
}

#[test]
fn a_child_pipeline_from_artifacts_names_its_job() {
    let a = plan(
        "make: {script: x, stage: build}\na: {trigger: {include: [{artifact: c.yml, job: make}]}}",
    );
    assert_snapshot!(summary(&a), @r#"
    build: make ["x"]
    test: a []
    "#);
}

#[test]
fn bridges_take_few_defaults() {
    let a = job(
        "default: {interruptible: true, tags: [t], before_script: [x], retry: 2}\n\
         a: {trigger: g/p, when: manual, needs: [b], resource_group: r, variables: {A: 1}}\nb: {script: x}",
    );
    assert!(a.interruptible && a.allow_failure);
    assert_eq!((a.script.len(), a.tags.len(), a.retry.max), (0, 0, 0));
    assert_eq!(a.needs.unwrap().len(), 1);
    assert_eq!(shown(&a.variables), "A=1");
}

#[test]
fn a_bridge_follows_a_pipeline() {
    let compiled = compiled("a: {needs: [{pipeline: '$CI_PROJECT_NAME/other'}]}");
    assert_eq!(compiled.notices, []);
    let plan = crate::plan_of(compiled);
    let a = plan.find_job("a").unwrap();
    let project = "app/other".to_owned();
    assert_eq!(a.bridge, Some(Bridge::Mirror { project }));
    assert_eq!(a.needs, None);
}

#[test]
fn a_matrix_of_bridges() {
    let plan = plan("a: {trigger: g/$K, parallel: {matrix: [{K: [x, y]}]}}");
    let projects: Vec<String> = plan
        .jobs
        .iter()
        .map(|it| match &it.bridge {
            Some(Bridge::Trigger(Trigger {
                target: TriggerTarget::Project { project, .. },
                ..
            })) => project.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(projects, ["g/x", "g/y"]);
}

#[test]
fn artifacts_of_other_pipelines() {
    let a = job(
        "a: {script: x, needs: [{pipeline: $PARENT_PIPELINE_ID, job: j}, {project: g/p, ref: main, job: k, artifacts: false}]}",
    );
    assert_eq!(a.needs, Some(vec![]));
    assert_eq!(
        a.foreign_needs,
        [
            ForeignNeed::Pipeline {
                pipeline: "$PARENT_PIPELINE_ID".to_owned(),
                job: "j".to_owned(),
                artifacts: true,
            },
            ForeignNeed::Project {
                project: "g/p".to_owned(),
                reference: "main".to_owned(),
                job: "k".to_owned(),
                artifacts: false,
            },
        ]
    );
}

#[test]
fn needs_pick_copies_of_a_matrix() {
    let plan = plan(
        "m: {script: x, stage: build, parallel: {matrix: [{K: [1, 2], L: [a, b]}]}}\n\
         one: {script: x, needs: [{job: m, parallel: {matrix: [{K: 1, L: [a, b]}]}}]}\n\
         each: {script: x, parallel: {matrix: [{K: [1, 2]}]}, needs: [{job: m, parallel: {matrix: [{K: '$[[ matrix.K ]]', L: b}]}}]}\n",
    );
    assert_snapshot!(summary(&plan), @r#"
    build: m: [1, a] ["x"]
    build: m: [1, b] ["x"]
    build: m: [2, a] ["x"]
    build: m: [2, b] ["x"]
    test: one needs ["m: [1, a]", "m: [1, b]"] ["x"]
    test: each: [1] needs ["m: [1, b]"] ["x"]
    test: each: [2] needs ["m: [2, b]"] ["x"]
    "#);
}
