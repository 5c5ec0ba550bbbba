//! `include`, `extends`, anchors, merge keys and references.

use insta::assert_snapshot;

use crate::{Commit, compile_in, compiled, job, plan, plan_of, push, shown, summary};

#[test]
fn extends_merges_maps_and_replaces_the_rest() {
    let plan = plan(
        ".x: {variables: {A: 1, B: 1}, image: {name: i, entrypoint: [a]}, tags: [p]}\n\
         .y: {variables: {B: 2}, tags: [q]}\n\
         a: {extends: [.x, .y], script: s, variables: {C: 3}, image: j}\n\
         b: {extends: .x, script: s, image: {name: k}}\n",
    );
    let a = plan.find_job("a").unwrap();
    assert_eq!(shown(&a.variables), "A=1 B=2 C=3");
    assert_eq!(
        (a.image.as_ref().unwrap().name.as_str(), &a.tags),
        ("j", &vec!["q".to_owned()])
    );
    assert_eq!(a.image.as_ref().unwrap().entrypoint, None);
    let b = plan.find_job("b").unwrap();
    assert_eq!(b.image.as_ref().unwrap().name, "k");
    assert_eq!(
        b.image.as_ref().unwrap().entrypoint,
        Some(vec!["a".to_owned()])
    );
    assert_eq!(b.tags, ["p"]);
}

#[test]
fn extends_reaches_through_levels_and_null_takes_away() {
    let a = job(
        ".a: {tags: [x], retry: 2}\n.b: {extends: .a, script: [b]}\na: {extends: .b, tags: null}\n",
    );
    assert_eq!(
        (a.script, a.tags.len(), a.retry.max),
        (vec!["b".to_owned()], 0, 2)
    );
    assert_eq!(job("a: {script: x, extends: null}").script, ["x"]);
    assert_eq!(job("a: {script: x, extends: []}").script, ["x"]);
}

#[test]
fn anchors_and_merge_keys() {
    let text = ".base: &base {tags: [x], retry: 1}\n.more: &more {retry: 2, image: i}\n.lines: &lines [one, two]\n\
                a:\n  <<: [*base, *more]\n  image: own\n  script: [*lines, three]\n";
    let a = job(text);
    assert_eq!(
        (a.tags, a.retry.max, a.image.unwrap().name),
        (vec!["x".to_owned()], 1, "own".to_owned())
    );
    assert_eq!(a.script, ["one", "two", "three"]);
}

#[test]
fn references_see_extended_jobs_and_flatten() {
    let text = ".a: {script: [one, two], variables: {V: x}}\n.b: {extends: .a, before_script: [zero]}\n\
                .rules: {rules: [{if: $NOPE}, {when: always}]}\n\
                a:\n  script:\n    - !reference [.b, before_script]\n    - [!reference [.b, script]]\n    - three\n  \
                variables: !reference [.b, variables]\n  rules: [!reference [.rules, rules]]\n";
    let a = job(text);
    assert_eq!(a.script, ["zero", "one", "two", "three"]);
    assert_eq!(shown(&a.variables), "V=x");
}

#[test]
fn includes_lie_below_the_file() {
    let commit = Commit::default()
        .with(
            "ci/a.yml",
            "variables: {A: 1, B: 1}\none: {script: one, tags: [x]}\ninclude: /ci/deep/c.yaml",
        )
        .with("ci/b.yml", "variables: {B: 2, C: 2}\none: {script: two}")
        .with("ci/deep/c.yaml", "deep: {script: deep}")
        .with("ci/deep/d.txt", "no: yaml");
    let text = "include: ['/ci/*.yml', {local: ci/missing.yml, rules: [{if: $NOPE}]}]\nvariables: {C: 3}\nown: {script: own}\n";
    let plan = plan_of(compile_in(text, &push(), &commit).unwrap());
    assert_eq!(shown(&plan.variables), "A=1 B=2 C=3");
    assert_snapshot!(summary(&plan), @r#"
    test: deep ["deep"]
    test: one ["two"]
    test: own ["own"]
    "#);
    assert_eq!(plan.find_job("one").unwrap().tags, ["x"]);
}

#[test]
fn includes_use_variables_and_rules() {
    let commit = Commit::default()
        .with("ci/app.yml", "b: {script: b}")
        .with("Cargo.toml", "");
    let included = |include: &str| {
        let text = format!("include: {include}\na: {{script: a}}\n");
        plan_of(compile_in(&text, &push(), &commit).unwrap())
            .find_job("b")
            .is_some()
    };
    assert!(included("ci/$CI_PROJECT_NAME.yml"));
    assert!(included("ci/app$NOPE.yml"));
    assert!(included(
        "[{local: ci/app.yml, rules: [{exists: [Cargo.toml]}]}]"
    ));
    assert!(!included(
        "[{local: ci/app.yml, rules: [{exists: [Cargo.lock]}]}]"
    ));
    assert!(!included(
        "[{local: ci/app.yml, rules: [{if: $CI_COMMIT_BRANCH, when: never}]}]"
    ));
    assert!(!included("'none/*.yml'"));
}

#[test]
fn other_kinds_of_include_are_noticed() {
    let notices = |include: &str| {
        let compiled = compiled(&format!("include: {include}\na: {{script: x}}"));
        compiled
            .notices
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let expected = |kind: &str, column: u32| {
        format!(
            ".gitlab-ci.yml:1:{column}: include:{kind} is recognised but not done yet: the file is left out"
        )
    };
    assert_eq!(notices("https://example.com/a.yml"), expected("remote", 10));
    assert_eq!(
        notices("[{template: Go.gitlab-ci.yml}]"),
        expected("template", 11)
    );
    assert_eq!(
        notices("[{project: a/b, file: x.yml, ref: main}]"),
        expected("project", 11)
    );
    assert_eq!(
        notices("[{component: example.com/a/b/c@1}]"),
        expected("component", 11)
    );
}

#[test]
fn a_header_is_noticed_and_a_later_document_ignored() {
    let compiled = compiled("spec:\n  inputs: {}\n---\na: {script: x}\n");
    assert_eq!(compiled.notices.len(), 1);
    assert_eq!(summary(&plan_of(compiled)), r#"test: a ["x"]"#);
    assert_eq!(
        summary(&plan("a: {script: x}\n---\nb: {script: y}")),
        r#"test: a ["x"]"#
    );
}

#[test]
fn duplicate_keys_are_warned_of() {
    let compiled = compiled("a: {script: x}\na: {script: y}\n");
    assert_eq!(
        compiled.notices[0].to_string(),
        ".gitlab-ci.yml:2:1: duplicate key `a`"
    );
    assert_eq!(summary(&plan_of(compiled)), r#"test: a ["y"]"#);
}
