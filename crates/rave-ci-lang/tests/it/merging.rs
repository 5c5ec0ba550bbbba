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
fn extends_is_a_keyword_of_jobs_only() {
    let a = job(".x: {script: wrong}\na: {script: x, variables: {extends: .x}}\n");
    assert_eq!(
        (a.script, shown(&a.variables)),
        (vec!["x".to_owned()], "extends=.x".to_owned())
    );
}

#[test]
fn extends_sees_references_and_references_see_what_is_extended() {
    let a = job(
        ".lines: {script: [one]}\n.more: {script: [!reference [.lines, script], two]}\n.last: {extends: .more, tags: [t]}\n\
         a: {extends: .last, before_script: !reference [.last, script]}\n",
    );
    assert_eq!(a.script, ["one", "two", "one", "two"]);
    assert_eq!(a.tags, ["t"]);
}

#[test]
fn references_are_values_of_any_type() {
    let text = ".x: {list: [a, b], map: {A: 1}, needs: [b], text: t, paths: [p], stages: [build, test]}\n\
                stages: [!reference [.x, stages], deploy]\nb: {script: x, stage: build}\n\
                a:\n  script: !reference [.x, text]\n  variables: !reference [.x, map]\n  needs: [!reference [.x, needs]]\n  \
                tags: !reference [.x, list]\n  artifacts: {paths: !reference [.x, paths]}\n";
    let plan = plan(text);
    let a = plan.find_job("a").unwrap();
    assert_eq!(
        (
            a.script.as_slice(),
            shown(&a.variables).as_str(),
            a.tags.as_slice()
        ),
        (
            ["t".to_owned()].as_slice(),
            "A=1",
            ["a".to_owned(), "b".to_owned()].as_slice()
        )
    );
    assert_eq!(a.needs.as_ref().unwrap()[0].job, "b");
    assert_eq!(plan.stages, [".pre", "build", "test", "deploy", ".post"]);
}

#[test]
fn lists_of_references_stay_nested_where_gitlab_leaves_them() {
    let refused = |keyword: &str, expected: &str| {
        let text = format!(".x: {{l: [a]}}\na: {{script: x, {keyword}}}\n");
        let errors = compile_in(&text, &push(), &Commit::default()).unwrap_err();
        assert_eq!(errors.first().unwrap().message, expected, "{keyword}");
    };
    refused(
        "tags: [!reference [.x, l]]",
        "jobs:a:tags config should be an array of strings",
    );
    refused(
        "artifacts: {paths: [!reference [.x, l]]}",
        "jobs:a:artifacts paths should be an array of strings",
    );
    refused(
        "parallel: {matrix: [!reference [.x, l]]}",
        "jobs:a:parallel:matrix config should be an array of hashes",
    );
}

#[test]
fn references_to_nothing_are_refused() {
    for target in ["null", "false", "{}"] {
        let text = format!(".x: {{k: {target}}}\na: {{script: x, retry: !reference [.x, k, z]}}\n");
        let errors = compile_in(&text, &push(), &Commit::default()).unwrap_err();
        assert_eq!(
            errors.first().unwrap().message,
            r#"!reference [".x", "k", "z"] could not be found"#
        );
    }
    let text = ".x: {k: false}\na: {script: x, interruptible: !reference [.x, k]}\n";
    let errors = compile_in(text, &push(), &Commit::default()).unwrap_err();
    assert_eq!(
        errors.first().unwrap().message,
        r#"!reference [".x", "k"] could not be found"#
    );
}

#[test]
fn references_lead_to_each_other_ten_times() {
    let chain = |length: usize| {
        let hops: String = (1..length)
            .map(|it| format!(".k{it}: {{s: !reference [.k{}, s]}}\n", it + 1))
            .collect();
        format!("{hops}.k{length}: {{s: end}}\na: {{script: !reference [.k1, s]}}\n")
    };
    assert_eq!(job(&chain(10)).script, ["end"]);
    let errors = compile_in(&chain(11), &push(), &Commit::default()).unwrap_err();
    assert!(errors.to_string().contains("nested too deep"), "{errors}");
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
fn without_a_header_a_later_document_is_ignored() {
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
