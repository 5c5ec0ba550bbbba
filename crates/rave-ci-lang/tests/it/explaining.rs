//! Why jobs are in a pipeline or are not.

use insta::assert_snapshot;
use rave_ci_lang::{
    EventContext, Explanation, Layer, Limits, NotExplained, Origin, SourceFile, Variable, WaitsFor,
    explain, verdicts,
};

use super::{Commit, push};

const FILE: &str = r#"
include: ci/base.yml
stages: [build, test, deploy]
default:
  image: debian
  tags: [linux]
variables:
  MODE: root
  LEVEL: "1"
workflow:
  rules:
    - if: $CI_COMMIT_TAG
      when: never
    - if: $CI_COMMIT_BRANCH
      variables: {LEVEL: "2"}
build:
  stage: build
  script: make
test:
  extends: .base
  script:
    - !reference [.setup, script]
    - make test
  variables: {MODE: job}
  rules:
    - if: $CI_PIPELINE_SOURCE == "schedule" || $NIGHTLY =~ /yes/
      when: never
    - changes: [docs/**/*]
      when: manual
    - if: $TOKEN == "none-of-this" && $MODE
    - exists: ["src/*.rs"]
      changes: ["src/*.rs"]
      variables: {MODE: rule}
    - when: always
deploy:
  stage: deploy
  needs: [test]
  script: "true"
  only: [tags]
matrix:
  stage: test
  script: make
  needs: []
  parallel: {matrix: [{OS: [a, b]}]}
  rules: [{if: $OS == "b"}]
"#;

const BASE: &str = "
.setup:
  script: [setup]
.base:
  stage: test
  tags: [arm]
  retry: 1
";

fn commit() -> Commit {
    Commit {
        changed: Some(vec!["README.md".to_owned(), "src/lib.rs".to_owned()]),
        ..Commit::default()
    }
    .with("ci/base.yml", BASE)
    .with("src/lib.rs", "")
}

fn event() -> EventContext {
    EventContext {
        project_variables: vec![Variable {
            key: "TOKEN".to_owned(),
            value: "glpat-secret".to_owned(),
            masked: true,
            ..Variable::default()
        }],
        pipeline_variables: vec![Variable::public("NIGHTLY", "no")],
        ..push()
    }
}

fn explained(text: &str, event: &EventContext, job: &str) -> Result<Explanation, NotExplained> {
    let source = SourceFile {
        path: ".gitlab-ci.yml",
        text,
    };
    explain(&source, event, &commit(), &Limits::default(), job)
}

#[test]
fn a_job_with_rules() {
    let explanation = explained(FILE, &event(), "test").expect("an explanation");
    assert_snapshot!(explanation.render(), @r#"
    test: in the pipeline, when the jobs before it passed
      because rule 4 holds
      event push on main; stage test; .gitlab-ci.yml:19

    workflow: rule 2 of `workflow` allows it
      1. .gitlab-ci.yml:12  no, when: never
         if: $CI_COMMIT_TAG  no
           $CI_COMMIT_TAG is not set
      2. .gitlab-ci.yml:14  yes
         if: $CI_COMMIT_BRANCH  yes
           $CI_COMMIT_BRANCH is "main" (predefined)

    rules
      1. .gitlab-ci.yml:26  no, when: never
         if: $CI_PIPELINE_SOURCE == "schedule" || $NIGHTLY =~ /yes/  no
           $CI_PIPELINE_SOURCE is "push" (predefined)
           $NIGHTLY is "no" (given with the event)
      2. .gitlab-ci.yml:28  no, when: manual
         changes: docs/**/*  no: none of the 2 changed paths matches
      3. .gitlab-ci.yml:30  no
         if: $TOKEN == "none-of-this" && $MODE  no
           $TOKEN is "[redacted]" (project)
           $MODE is "job" (job)
      4. .gitlab-ci.yml:31  yes
         changes: src/*.rs  yes: src/lib.rs matches
         exists: src/*.rs  yes: src/lib.rs matches
      5. .gitlab-ci.yml:34  not asked, when: always

    waits for
      all jobs of build

    variables
      LEVEL = "2"  rule 2 of workflow, .gitlab-ci.yml:15
        hides "1" of root of the file
      MODE = "rule"  rule 4, .gitlab-ci.yml:33
        hides "job" of job
        hides "root" of root of the file
      NIGHTLY = "no"  given with the event
      TOKEN = "[redacted]"  project

    keys
      stage      ci/base.yml:5  extends .base
      tags       ci/base.yml:6  extends .base
      retry      ci/base.yml:7  extends .base
      script     .gitlab-ci.yml:21
                   partly ci/base.yml:3  from .setup (!reference or alias)
      variables  .gitlab-ci.yml:24
      rules      .gitlab-ci.yml:25
      image      .gitlab-ci.yml:5  from default
    "#);
    let text = serde_json::to_string(&explanation).expect("it is plain data");
    assert!(!text.contains("glpat-secret"), "{text}");
    assert_eq!(
        serde_json::from_str::<Explanation>(&text).expect("it reads itself"),
        explanation
    );
}

#[test]
fn copies_of_a_job_differ() {
    let explanation = explained(FILE, &event(), "matrix").expect("an explanation");
    let jobs: Vec<_> = explanation
        .jobs
        .iter()
        .map(|it| (it.name.as_str(), it.included, it.verdict.as_str()))
        .collect();
    assert_eq!(
        jobs,
        [
            ("matrix: [a]", false, "its only rule does not hold"),
            ("matrix: [b]", true, "rule 1 holds"),
        ]
    );
    assert_eq!(explanation.jobs[1].waits_for, Some(WaitsFor::Nothing));
    assert_eq!(
        explanation.jobs[1].rules[0].clauses[0].operands[0].layer,
        Some(Layer::Matrix)
    );
    let one = explained(FILE, &event(), "matrix: [b]").expect("an explanation");
    assert_eq!(one.jobs, explanation.jobs[1..]);
}

#[test]
fn what_an_event_does_not_get() {
    let verdict = |text: &str, event: &EventContext, job: &str| {
        let explanation = explained(text, event, job).expect("an explanation");
        let job = explanation.jobs.into_iter().next().expect("a job");
        assert!(!job.included);
        assert_eq!((job.when, job.waits_for), (None, None));
        job.verdict
    };
    let push = event();
    assert_eq!(
        verdict(FILE, &push, "deploy"),
        "`only:refs` does not allow it"
    );
    let scheduled = EventContext {
        predefined: vec![
            Variable::public("CI_COMMIT_BRANCH", "main"),
            Variable::public("CI_PIPELINE_SOURCE", "schedule"),
        ],
        ..event()
    };
    assert_eq!(verdict(FILE, &scheduled, "test"), "rule 1 says never");
    let tag = EventContext {
        tag: true,
        ref_name: "v1".to_owned(),
        predefined: vec![Variable::public("CI_COMMIT_TAG", "v1")],
        ..event()
    };
    assert_eq!(
        verdict(FILE, &tag, "build"),
        "there is no pipeline: rule 1 of `workflow` says never"
    );
    let nothing = EventContext {
        predefined: Vec::new(),
        ..event()
    };
    assert_eq!(
        verdict(FILE, &nothing, "build"),
        "there is no pipeline: none of the rules of `workflow` holds"
    );
    let merge_request = EventContext {
        source: "merge_request_event".to_owned(),
        ..event()
    };
    let plain = "a:\n  script: x\nb:\n  script: x\n  only: [merge_requests]\nc:\n  script: x\n  except: [merge_requests]\n  only: {variables: [$CI_PIPELINE_SOURCE]}\n";
    assert_eq!(
        verdict(plain, &merge_request, "a"),
        "a job without `rules` and `only` runs for branches and tags alone"
    );
    assert_eq!(
        verdict(plain, &merge_request, "c"),
        "`only:refs` does not allow it"
    );
}

#[test]
fn every_job_of_the_file_gets_a_verdict() {
    let source = SourceFile {
        path: ".gitlab-ci.yml",
        text: FILE,
    };
    let all = verdicts(&source, &event(), &commit(), &Limits::default()).expect("verdicts");
    let jobs: Vec<_> = all
        .jobs
        .iter()
        .map(|it| (it.name.as_str(), it.included, it.verdict.as_str()))
        .collect();
    assert_eq!(
        jobs,
        [
            ("build", true, "it has no rules, so every pipeline gets it"),
            ("test", true, "rule 4 holds"),
            ("deploy", false, "`only:refs` does not allow it"),
            ("matrix: [a]", false, "its only rule does not hold"),
            ("matrix: [b]", true, "rule 1 holds"),
        ]
    );
    assert!(all.errors.is_empty());
}

#[test]
fn jobs_that_do_not_fit_together_are_explained_too() {
    let text = "a:\n  script: x\n  rules: [{when: never}]\nb:\n  needs: [a]\n  script: x\n";
    let explanation = explained(text, &event(), "a").expect("an explanation");
    assert_eq!(explanation.jobs[0].verdict, "rule 1 says never");
    assert!(
        explanation.errors[0]
            .message
            .starts_with("'b' job needs 'a' job")
    );
    assert!(
        explanation
            .render()
            .contains("no pipeline is made, because")
    );
}

#[test]
fn keys_come_from_defaults_parents_and_aliases() {
    let text = "
image: debian
.a: &a
  script: x
  cache: {paths: [p]}
.b:
  extends: .c
  retry: 1
.c:
  timeout: 1h
job:
  <<: *a
  extends: .b
  variables: {A: b}
";
    let explanation = explained(text, &event(), "job").expect("an explanation");
    let keys: Vec<(&str, Origin, u32)> = explanation.jobs[0]
        .keys
        .iter()
        .map(|it| (it.key.as_str(), it.origin.clone(), it.place.line))
        .collect();
    assert!(
        keys.contains(&("script", Origin::Reference(".a".to_owned()), 4)),
        "{keys:?}"
    );
    assert!(
        keys.contains(&("retry", Origin::Extends(".b".to_owned()), 8)),
        "{keys:?}"
    );
    assert!(
        keys.contains(&("timeout", Origin::Extends(".c".to_owned()), 10)),
        "{keys:?}"
    );
    assert!(keys.contains(&("variables", Origin::Job, 14)), "{keys:?}");
    assert!(keys.contains(&("image", Origin::Root, 2)), "{keys:?}");
}

#[test]
fn there_may_be_nothing_to_explain() {
    let missing = explained(FILE, &event(), "tset").unwrap_err();
    assert_eq!(missing.to_string(), "there is no job tset");
    assert!(
        matches!(missing, NotExplained::NoSuchJob { hint: Some(it), .. } if it.contains("`test`"))
    );
    let invalid = explained("a: {scrip: x}", &event(), "a").unwrap_err();
    assert!(matches!(invalid, NotExplained::Invalid(it) if !it.0.is_empty()));
}
