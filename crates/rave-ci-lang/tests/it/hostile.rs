//! Files come from anyone who can push: nothing may panic, exhaust the stack or take forever.

use proptest::prelude::*;
use rave_ci_lang::{Limits, SourceFile, compile};

use crate::{Commit, compile_in, errors, push};

/// A file with a bit of everything, to be broken.
const SAMPLE: &str = "include: {local: x.yml, rules: [{exists: ['*.yml']}]}
stages: [build, test]
default: &d {tags: [a], retry: {max: 2, when: [always]}, timeout: 1h 30m}
workflow: {name: '$A ${B}', rules: [{if: '$A =~ /ab+/i || !$B', variables: {X: 1}}, {when: always}]}
variables: {A: abc, B: {value: $A, expand: true}}
.base: {before_script: [one, 'two: x'], cache: [{key: {files: [a, b]}, paths: [c]}]}
a:
  extends: [.base]
  <<: *d
  script: [!reference [.base, before_script], done]
  rules: [{changes: ['src/**/*.{rs,toml}'], when: delayed, start_in: 2 days}, {if: $A == 'abc'}]
  artifacts: {paths: [x], expire_in: 1 week, reports: {junit: r.xml}}
  parallel: {matrix: [{K: [1, 2], L: [x]}]}
b: {script: x, needs: [{job: a, optional: true}], environment: {name: p/$A}, only: [/^ma.*/]}
";

#[test]
fn the_sample_is_valid() {
    let commit = Commit::default().with("x.yml", "c: {script: y}");
    assert!(compile_in(SAMPLE, &push(), &commit).is_ok());
}

#[test]
fn depth_is_limited() {
    assert!(errors(&format!("a: {}", "[".repeat(100_000))).contains("The parsed YAML is too big"));
    assert!(errors(&"a: {".repeat(5_000)).contains("The parsed YAML is too big"));
    let chain: String = (1..3000)
        .map(|it| format!("k{it}: &a{it} [[[[[[[[[[*a{}]]]]]]]]]]\n", it - 1))
        .collect();
    assert!(errors(&format!("k0: &a0 x\n{chain}")).contains("The parsed YAML is too big"));
}

#[test]
fn size_is_limited() {
    let text = format!("a: {{script: {}}}", "x".repeat(2 * 1024 * 1024));
    assert!(errors(&text).contains("The parsed YAML is too big"));
    let bomb: String = (1..30)
        .map(|it| format!("k{it}: &a{it} [*a{0}, *a{0}, *a{0}]\n", it - 1))
        .collect();
    assert!(errors(&format!("k0: &a0 x\n{bomb}")).contains("The parsed YAML is too big"));
    let bomb: String = (1..9)
        .map(|it| {
            format!(
                ".k{it}: {{s: [{}]}}\n",
                format!("!reference [.k{}, s], ", it - 1).repeat(20)
            )
        })
        .collect();
    assert!(
        errors(&format!(".k0: {{s: [x]}}\n{bomb}a: {{script: x}}"))
            .contains("The parsed YAML is too big")
    );
    let base: String = (0..2000).map(|it| format!("V{it}: x, ")).collect();
    let jobs: String = (0..1000)
        .map(|it| format!("j{it}: {{extends: .b, script: x}}\n"))
        .collect();
    assert!(
        errors(&format!(".b: {{variables: {{{base}}}}}\n{jobs}"))
            .contains("The parsed YAML is too big")
    );
}

/// Returns the cure of the first error.
fn hint(text: &str) -> String {
    let compiled = compile_in(text, &push(), &Commit::default());
    let errors = compiled.expect_err(text);
    let first = errors.first().and_then(|it| it.hint.clone());
    first.unwrap_or_default()
}

#[test]
fn each_limit_is_named_by_its_setting() {
    let check = |setting: &str, value: usize, text: &str| {
        let mut limits = Limits::default();
        limits.set(setting, value);
        let source = SourceFile {
            path: ".gitlab-ci.yml",
            text,
        };
        let tree = Commit::default();
        assert!(Limits::SETTINGS.contains(&setting));
        let errors = compile(&source, &push(), &tree, &limits).expect_err(text);
        let hint = errors.first().and_then(|it| it.hint.clone());
        let hint = hint.unwrap_or_default();
        let named = format!("`ci.{setting}`");
        assert!(hint.contains(&named), "{setting}: {hint:?} {errors}");
    };
    let jobs = "a: {script: x}\nb: {script: x}\nc: {script: x, needs: [a, b]}\n";
    check("max_file_bytes", 20, jobs);
    check("max_total_bytes", 20, jobs);
    check("max_depth", 1, jobs);
    check("max_nodes", 9, jobs);
    check("max_jobs", 2, jobs);
    check("max_needs", 1, jobs);
    check("max_includes", 1, "include: [a.yml, b.yml]");
    check("max_parallel", 3, "a: {script: x, parallel: 4}");
    let matrix = "{matrix: [{A: [x, y], B: [x, y]}]}";
    check(
        "max_parallel",
        3,
        &format!("a: {{script: x, parallel: {matrix}}}"),
    );
    let ruled = |condition: &str| format!("a: {{script: x, rules: [{{if: '{condition}'}}]}}");
    check("max_expression_tokens", 2, &ruled("$A == $B"));
    check("max_patterns", 1, &ruled("$A =~ /xx/ && $A =~ /yy/"));
    check("max_pattern_bytes", 3, &ruled("$A =~ /abcd/"));
    check("max_pattern_bytes", 30, &ruled("$A =~ /a{100}b{100}/"));
}

#[test]
fn the_limit_is_named() {
    let bomb: String = (1..30)
        .map(|it| format!("k{it}: &a{it} [*a{0}, *a{0}, *a{0}]\n", it - 1))
        .collect();
    assert!(hint(&format!("k0: &a0 x\n{bomb}")).contains("(setting `ci.max_nodes`)"));
    let line = "x".repeat(1024 * 1024);
    assert!(
        hint(&format!("a: {{script: {line}, parallel: 200}}")).contains("(setting `ci.max_nodes`)")
    );
}

#[test]
fn what_multiplies_is_limited() {
    let line = "x".repeat(1024 * 1024);
    let jobs: String = (0..1000)
        .map(|it| format!("j{it}: {{script: x}}\n"))
        .collect();
    let too_big = |text: &str| assert!(errors(text).contains("The parsed YAML is too big"));
    too_big(&format!("k: &a {line}\nl: [{}]", "*a, ".repeat(1000)));
    too_big(&format!("default: {{before_script: [{line}]}}\n{jobs}"));
    too_big(&format!("variables: {{A: {line}}}\n{jobs}"));
    too_big(&format!("a: {{script: {line}, parallel: 200}}"));
    too_big(&format!(
        "variables: {{A: {}}}\na: {{script: x, parallel: 200, tags: ['{}']}}",
        "x".repeat(1000),
        "$A".repeat(1000)
    ));
    let many: String = (0..1200)
        .map(|it| format!("    - if: $A =~ /ab{it}/\n"))
        .collect();
    assert!(
        errors(&format!("a:\n  script: x\n  rules:\n{many}")).contains("invalid expression syntax")
    );
}

#[test]
fn long_chains_end() {
    let extends: String = (0..20_000)
        .map(|it| format!(".k{it}: {{extends: .k{}}}\n", it + 1))
        .collect();
    assert!(errors(&extends).contains("nesting too deep"));
    let references: String = (0..2_000)
        .map(|it| format!(".k{it}: !reference [.k{}]\n", it + 1))
        .collect();
    assert!(errors(&references).contains("nested too deep"));
    let needs: String = (0..1_500)
        .map(|it| format!("j{it}: {{script: x, needs: [j{}]}}\n", (it + 1) % 1_500))
        .collect();
    assert!(errors(&needs).contains("circular dependencies"));
}

#[test]
fn a_file_of_errors_gives_a_bounded_list() {
    let text: String = (0..5_000)
        .map(|it| format!("j{it}: {{scrip: x}}\n"))
        .collect();
    assert_eq!(errors(&text).lines().count(), 100);
}

fn survives(text: &str) {
    let commit = Commit::default().with("x.yml", "c: {script: y}");
    if let Err(errors) = compile(
        &SourceFile { path: "f", text },
        &push(),
        &commit,
        &Limits::default(),
    ) {
        assert!(errors.first().is_some());
        for error in &errors {
            error.render();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn text_of_yaml_characters(text in r"[a-c:\[\]{},&*!<>|?%@`'\x22 \n#~0-9$/.-]{0,80}") {
        survives(&text);
    }

    #[test]
    fn a_broken_sample(cuts in prop::collection::vec((0..SAMPLE.len(), 0..12_usize, "[a-c:\\[\\]{}&*! \n$/'\"0-]{0,6}"), 1..6)) {
        let mut text = SAMPLE.to_owned();
        for (from, length, put) in cuts {
            let from = from.min(text.len());
            let to = (from + length).min(text.len());
            text.replace_range(from..to, &put);
        }
        survives(&text);
    }

    #[test]
    fn planning_is_deterministic(cuts in prop::collection::vec((0..SAMPLE.len(), 0..12_usize, "[a-c:\\[\\]{}&*! \n$/'\"0-]{0,6}"), 0..3)) {
        let mut text = SAMPLE.to_owned();
        for (from, length, put) in cuts {
            let from = from.min(text.len());
            let to = (from + length).min(text.len());
            text.replace_range(from..to, &put);
        }
        let commit = Commit::default().with("x.yml", "c: {script: y}");
        let once = || format!("{:?}", compile_in(&text, &push(), &commit));
        prop_assert_eq!(once(), once());
    }

    /// Variables that refer to each other in any way, themselves included.
    #[test]
    fn expansion_ends(values in prop::collection::vec("(\\$[A-F]|\\$\\{[A-F]\\}|%[A-F]%|\\$\\$|x){0,6}", 6)) {
        let lines: Vec<String> = "ABCDEF".chars().zip(&values).map(|(key, value)| format!("{key}: '{value}'")).collect();
        survives(&format!("variables: {{{}}}\na: {{script: x, tags: [$A$B$C$D$E$F], environment: $F}}", lines.join(", ")));
    }

    #[test]
    fn swapped_words(from in 0..60_usize, to in 0..60_usize) {
        let mut words: Vec<&str> = SAMPLE.split_inclusive([' ', '[', '{', ',']).collect();
        let count = words.len();
        words.swap(from % count, to % count);
        survives(&words.concat());
    }
}
