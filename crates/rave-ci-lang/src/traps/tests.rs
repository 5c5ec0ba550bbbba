use std::fmt::Write as _;

use crate::{EventContext, Limits, SourceFile, Tree, Variable, compile};

struct Empty;

impl Tree for Empty {
    fn read(&self, _: &str) -> Option<String> {
        None
    }
    fn files(&self) -> Vec<String> {
        Vec::new()
    }
    fn changed(&self) -> Option<Vec<String>> {
        None
    }
}

/// Compares the warnings of a file, one a line, with their lines.
#[track_caller]
fn check(text: &str, expected: &str) {
    let source = SourceFile { path: "f", text };
    let event = EventContext {
        source: "push".to_owned(),
        ref_name: "main".to_owned(),
        project_path: "team/app".to_owned(),
        predefined: vec![
            Variable::public("CI_COMMIT_BRANCH", "main"),
            Variable::public("CI_OWN", "x"),
        ],
        ..EventContext::default()
    };
    let compiled = compile(&source, &event, &Empty, &Limits::default());
    let compiled = compiled.unwrap_or_else(|it| panic!("{it}\n{text}"));
    let mut found = String::new();
    for notice in &compiled.notices {
        writeln!(found, "{}: {}", notice.line, notice.message).unwrap();
    }
    assert_eq!(found.trim_end(), expected, "{text}");
}

fn in_if(condition: &str, expected: &str) {
    let expected = if expected.is_empty() {
        String::new()
    } else {
        format!("2: {expected}")
    };
    let text = format!(
        "a: {{script: x, variables: {{OWN: y}}, rules: [\n  {{if: '{condition}'}}, {{when: never}}]}}\nb: {{script: x}}\n\
         variables: {{REF: 'x-$CI_COMMIT_BRANCH', RAW: {{value: $A, expand: false}}, PLAIN: x}}\n"
    );
    check(&text, &expected);
}

#[test]
fn unquoted_values() {
    let value = |text: &str, expected: &str| {
        let expected = match expected {
            "" => String::new(),
            read => format!("1: `{text}` is read as `{read}`, which is what `V` gets"),
        };
        check(
            &format!("variables: {{V: {text}}}\na: {{script: x}}\n"),
            &expected,
        );
        check(
            &format!("a: {{script: x, variables: {{V: {{value: {text}}}}}}}"),
            &expected,
        );
        check(
            &format!(
                "a: {{script: x, rules: [{{if: $CI, variables: {{V: {text}}}}}]}}\nb: {{script: x}}"
            ),
            &expected,
        );
    };
    value("1.10", "1.1");
    value("0755", "493");
    value("yes", "true");
    value("off", "false");
    value("1_000", "1000");
    value("12:30", "45000");
    for text in [
        "1.1", "755", "true", "False", "1", "1.2.3", "'1.10'", "\"yes\"", "text", "-1", "2.0",
    ] {
        value(text, "");
    }
    check(
        "variables:\n  V: :sym\na: {script: x}",
        "2: `:sym` is read as `sym`, which is what `V` gets",
    );
    check(
        "a: {script: x, parallel: {matrix: [{V: [x, 0755]}]}}",
        "1: `0755` is read as `493`, which is what `V` gets",
    );
    check("variables: {V: , W: ~, X: null}\na: {script: x}", "");
}

#[test]
fn conditions_in_values() {
    let value = |text: &str, expected: &str| {
        check(
            &format!("variables:\n  V: {text}\na: {{script: x}}"),
            expected,
        );
    };
    let warning = "2: `V` gets this condition as text, not its outcome";
    value("$CI_COMMIT_BRANCH == \"main\"", warning);
    value("'$A =~ /xy/ && $B'", warning);
    for text in [
        "'a == b'",
        "'--filter=$A'",
        "$A && $B",
        "'[ $A == x ]'",
        "'$A==>$B'",
        "x!=$Y z",
    ] {
        value(text, "");
    }
}

#[test]
fn values_in_conditions() {
    in_if(
        r#"$PLAIN == "x-$OWN""#,
        "`$OWN` in quotes is not expanded by `if`",
    );
    in_if(
        r#"$PLAIN != "${OWN}""#,
        "`${OWN}` in quotes is not expanded by `if`",
    );
    in_if(
        r#"$REF == "x-main""#,
        "`if` compares the value of `$REF` as it is written: `x-$CI_COMMIT_BRANCH`",
    );
    in_if(
        "$REF =~ /^x-main/",
        "`if` compares the value of `$REF` as it is written: `x-$CI_COMMIT_BRANCH`",
    );
    in_if(r#"$REF == "x-$CI_COMMIT_BRANCH""#, "");
    in_if(r#"$RAW == "$A""#, "`$A` in quotes is not expanded by `if`");
    in_if(r#"$PLAIN == "x" && $REF && $OWN =~ /^y$/"#, "");
    in_if(r#"$PLAIN == "5 $""#, "");
    in_if("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", "");
}

#[test]
fn variables_that_nothing_sets() {
    in_if("$CI_COMIT_BRANCH", "nothing sets `$CI_COMIT_BRANCH`");
    in_if(
        "$CI_PIPELINE_SORUCE == \"push\"",
        "nothing sets `$CI_PIPELINE_SORUCE`",
    );
    in_if(
        "$CI_JOB_ID",
        "`$CI_JOB_ID` is never set in `if`: it exists only while a job runs",
    );
    in_if(
        "$CI_OWN || $CI_SOMETHING_ELSE || $OWM || $CI_MERGE_REQUEST_IID",
        "",
    );
}

#[test]
fn needs() {
    let both = |needed: &str, needing: &str, expected: &str| {
        let text = format!("b: {{script: x, {needed}}}\na:\n  script: x\n{needing}");
        check(&text, expected);
    };
    let warning = "4: `a` needs `b`, which its rules leave out at times: then there is no pipeline";
    both(
        "rules: [{if: $CI_COMMIT_BRANCH == 'main'}]",
        "  needs: [b]",
        warning,
    );
    both("rules: [{changes: [x]}]", "  needs: [{job: b}]", warning);
    both("only: [main]", "  needs: [b]", warning);
    both(
        "rules: [{if: $CI_COMMIT_BRANCH}]",
        "  needs: [{job: b, optional: true}]",
        "",
    );
    both(
        "rules: [{if: $CI_COMMIT_BRANCH}, {if: $CI_COMMIT_TAG}]",
        "  needs: [b]",
        "",
    );
    both(
        "rules: [{if: $CI_COMMIT_TAG, when: never}, {exists: [x]}, {if: $CI_COMMIT_BRANCH}]",
        "  needs: [{job: b, optional: true}]",
        "",
    );
    both("only: [branches, tags]", "  needs: [b]", "");
    both("when: manual", "  needs: [b]", "");
    both(
        "rules: [{if: $CI_COMMIT_BRANCH == 'main'}]",
        "  needs: [b]\n  rules: [{if: $CI_COMMIT_BRANCH == 'main'}]",
        "",
    );
    both(
        "rules: [{if: $CI_COMMIT_BRANCH}]",
        "  needs: [b]\nworkflow: {rules: [{if: $CI_COMMIT_BRANCH}]}",
        "",
    );
    check(
        "a: {script: x, needs: [], rules: [{if: $CI_COMMIT_BRANCH, needs: []}]}",
        "1: an empty `needs` in a rule does nothing",
    );
}

#[test]
fn paths() {
    let path = |path: &str, expected: &str| {
        let expected = |what: &str| match expected {
            "" => String::new(),
            why => format!("1: the {what} path `{path}` finds nothing: {why}"),
        };
        check(
            &format!("a: {{script: x, cache: {{paths: ['{path}']}}}}"),
            &expected("cache"),
        );
        check(
            &format!("a: {{script: x, cache: [{{key: k, paths: ['{path}']}}]}}"),
            &expected("cache"),
        );
        check(
            &format!("default: {{artifacts: {{paths: ['{path}']}}}}\na: {{script: x}}"),
            &expected("artifact"),
        );
    };
    let outside = "this is outside of the project's directory";
    path("/root/.m2", outside);
    path("../x", outside);
    path("x/../../y", outside);
    path("~/.cache", "`~` is not expanded here");
    for inside in [
        "x/../y",
        "./x",
        ".m2",
        "$HOME/x",
        "$CI_PROJECT_DIR/x",
        "*/../../x",
        "/builds/team/app/x",
        "..x/y",
    ] {
        path(inside, "");
    }
}

#[test]
fn dotenv_reports() {
    let dotenv = |path: &str, script: &str, expected: &str| {
        check(
            &format!(
                "a:\n  artifacts: {{reports: {{dotenv: {path}}}}}\n  script:\n    - {script}\n"
            ),
            expected,
        );
    };
    dotenv(
        "'*.env'",
        "x",
        "2: the dotenv report `*.env` is not the name of one file",
    );
    dotenv(
        "out/",
        "x",
        "2: the dotenv report `out/` is not the name of one file",
    );
    dotenv(
        "b.env",
        "echo \"VERSION 1\" > b.env",
        "4: `VERSION 1` is no line for the dotenv report `b.env`",
    );
    dotenv(
        "b.env",
        "echo done >> ./b.env",
        "4: `done` is no line for the dotenv report `b.env`",
    );
    for line in [
        "echo \"A=1\" > b.env",
        "echo A=1 > b.env",
        "echo \"$LINE\" > b.env",
        "echo \"# comment\" > b.env",
        "echo done > c.env",
        "echo a | tee x > b.env",
        "echo > b.env",
        "echo -n > b.env",
    ] {
        dotenv("b.env", &format!("'{line}'"), "");
    }
}

#[test]
fn secrets() {
    let value = |text: &str, expected: &str| {
        check(
            &format!("a:\n  script: x\n  variables:\n    T: {text}"),
            expected,
        );
    };
    let warning = "4: the value of `T` looks like a secret";
    value(&format!("glpat-{}", "aB3".repeat(7)), warning);
    value(&format!("'x ghp_{} y'", "a1".repeat(18)), warning);
    value("AKIAIOSFODNN7EXAMPLE", warning);
    value(
        &format!("\"-----BEGIN RSA {} KEY-----\\nabc\"", "PRIVATE"),
        warning,
    );
    for text in [
        "glpat-x",
        "$TOKEN",
        "sha256-abc",
        "ghp_short",
        "xAKIAIOSFODNN7EXAMPLEx",
        "'-----BEGIN PUBLIC KEY-----'",
    ] {
        value(text, "");
    }
}

#[test]
fn a_warning_of_a_secret_does_not_show_it() {
    let secret = format!("glpat-{}", "aB3".repeat(7));
    let text = format!("a: {{script: x, variables: {{T: {secret}}}}}");
    let source = SourceFile {
        path: "f",
        text: &text,
    };
    let compiled = compile(
        &source,
        &EventContext::default(),
        &Empty,
        &Limits::default(),
    )
    .unwrap();
    let shown: String = compiled.notices.iter().map(|it| it.render()).collect();
    assert!(
        shown.contains("looks like a secret") && !shown.contains(&secret),
        "{shown}"
    );
}

#[test]
fn keys() {
    check("a: {script: x}\na: {script: y}", "2: duplicate key `a`");
    check(
        "a:\n  stage: build\n  <<: {stage: test, script: x}\n",
        "2: `<<` overrides `stage`, which is above it",
    );
    check("a:\n  <<: {stage: test, script: x}\n  stage: build\n", "");
    check("a:\n  stage: test\n  <<: {stage: test, script: x}\n", "");
}

#[test]
fn heredocs() {
    check(
        "a:\n  script:\n    - |\n      cat <<EOF\n      x\n    - y\n",
        "6: line 6 is outside of the heredoc `EOF`",
    );
    check(
        "a:\n  script:\n    - |\n      cat <<EOF\n      x\n      EOF\n    - y\n",
        "",
    );
    check(
        "a:\n  script:\n    - |\n      echo 'cout << endl;'\n      x = 1 << SHIFT\n    - y\n",
        "",
    );
}
