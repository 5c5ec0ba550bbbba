//! The words of errors. Users search for GitLab's, so they are part of the interface.

use insta::assert_snapshot;

use rave_ci_lang::Variable;

use crate::{Commit, compile_in, errors, errors_in, push};

/// Checks the first message of a job `a` that has `script: x` and these lines.
fn check(keywords: &str, expected: &str) {
    let lines = keywords.replace('\n', "\n  ");
    check_file(
        &format!("a:\n  script: x\n  {lines}\nb: {{script: x}}\n"),
        expected,
    );
}

/// Checks the first message of a file.
fn check_file(text: &str, expected: &str) {
    match compile_in(text, &push(), &Commit::default()) {
        Ok(compiled) => panic!("no error: {:?}\n{text}", compiled.outcome),
        Err(errors) => assert_eq!(
            errors.first().map_or("", |it| it.message.as_str()),
            expected,
            "{text}"
        ),
    }
}

#[test]
fn yaml_and_root() {
    check_file(" \n", "Please provide content of .gitlab-ci.yml");
    check_file("- a", "Invalid configuration format");
    check_file(
        "# only a comment",
        "jobs config should contain at least one visible job",
    );
    check_file(
        "a: [1",
        "(<unknown>): did not find expected ',' or ']' while parsing a flow sequence at line 1 column 4",
    );
    check_file(
        "a:\n\tb: c",
        "(<unknown>): found character that cannot start any token while scanning for the next token at line 2 column 1",
    );
    check_file("a: *x", "Unknown alias: x");
    check_file("a: 2026-01-01", "Tried to load unspecified class: Date");
    check_file(
        "a: \u{1}",
        "(<unknown>): control characters are not allowed at line 1 column 1",
    );
    check_file(
        ".a: {script: x}",
        "jobs config should contain at least one visible job",
    );
    check_file(
        "a: {stage: x}",
        "jobs a config should implement the script:, run:, or trigger: keyword",
    );
    check_file(
        "My Job: {stage: x}",
        "jobs my_job config should implement the script:, run:, or trigger: keyword",
    );
    check_file("123: {script: x}", "jobs:123 name should be a symbol");
    check_file("on: {script: x}", "jobs:true name should be a symbol");
    check_file(
        &format!("{}: {{script: x}}", "n".repeat(256)),
        &format!(
            "jobs:{} name is too long (maximum is 255 characters)",
            "n".repeat(256)
        ),
    );
    check_file(".a:\nb: {script: x}", "jobs:.a config can't be blank");
    check_file(
        "stages: build\na: {script: x}",
        "stages config should be an array of strings or a nested array of strings up to 10 levels deep",
    );
    check_file(
        "image: x\ndefault: {image: y}\na: {script: x}",
        "image is defined in top-level and `default:` entry",
    );
    check_file(
        "default: {stage: x}\na: {script: x}",
        "default config contains unknown keys: stage",
    );
    check_file(
        "workflow: {foo: 1}\na: {script: x}",
        "workflow config contains unknown keys: foo",
    );
    check_file(
        "workflow: {rules: []}\na: {script: x}",
        "workflow:rules config can't be blank",
    );
    check_file(
        "workflow: {rules: [{when: manual}]}\na: {script: x}",
        "workflow:rules:rule when unknown value: manual",
    );
    check_file(
        "workflow: {auto_cancel: {on_new_commit: x}}\na: {script: x}",
        "workflow:auto_cancel on new commit must be one of: conservative, interruptible, none",
    );
    check_file(
        "workflow: {auto_cancel: {on_job_failure: x}}\na: {script: x}",
        "workflow:auto_cancel on job failure must be one of: none, all",
    );
}

#[test]
fn keywords_of_a_job() {
    check("script:", "jobs:a script can't be blank");
    check("script: []", "jobs:a script can't be blank");
    check(
        "script: [yes]",
        "jobs:a:script config should be a string or a nested array of strings up to 10 levels deep",
    );
    check(
        "after_script: 1",
        "jobs:a:after_script config should be a string or a nested array of strings up to 10 levels deep",
    );
    check(
        "foo: 1\nbar: 2",
        "jobs:a config contains unknown keys: foo, bar",
    );
    check(
        "stage: foo",
        "a job: chosen stage foo does not exist; available stages are .pre, build, test, deploy, .post",
    );
    check("stage: [a]", "jobs:a:stage config should be a string");
    check(
        "when: foo",
        "jobs:a when should be one of: on_success, on_failure, always, manual, delayed",
    );
    check(
        "when: never",
        "jobs:a when should be one of: on_success, on_failure, always, manual, delayed",
    );
    check("when: delayed", "jobs:a start in should be a duration");
    check(
        "when: delayed\nstart_in: 8 days",
        "jobs:a start in should not exceed the limit",
    );
    check("start_in: 1 day", "jobs:a start in must be blank");
    check(
        "image: 1",
        "jobs:a:image config should be a hash or a string",
    );
    check(
        "image: {name: '', entrypoint: [a]}",
        "jobs:a:image name can't be blank",
    );
    check("image: {name: [a]}", "jobs:a:image name should be a string");
    check("image: {}", "jobs:a:image name should be a string");
    check(
        "image: {name: a, foo: 1}",
        "jobs:a:image config contains unknown keys: foo",
    );
    check(
        "image: {name: a, entrypoint: b}",
        "jobs:a:image entrypoint should be an array of strings",
    );
    check(
        "image: {name: a, pull_policy: b}",
        "jobs:a:image:pull_policy config is not included in the list",
    );
    check(
        "image: {name: a, pull_policy: [foo]}",
        "jobs:a:image:pull_policy config contains unknown values: foo",
    );
    check(
        "tags: a",
        "jobs:a:tags config should be an array of strings",
    );
    check(
        &format!("tags: [{}]", "x,".repeat(50)),
        "jobs:a:tags config must be less than the limit of 50 tags",
    );
    check(
        "coverage: abc",
        "jobs:a:coverage config must be a regular expression with re2 syntax",
    );
    check("retry: 3", "retry config must be less than or equal to 2");
    check(
        "retry: x",
        "retry config has to be either an integer or a hash",
    );
    check(
        "retry: {max: 3}",
        "retry max must be less than or equal to 2",
    );
    check(
        "retry: {when: foo}",
        "retry when is not included in the list",
    );
    check(
        "retry: {when: [foo]}",
        "retry when contains unknown values: foo",
    );
    check("retry: {foo: 1}", "retry config contains unknown keys: foo");
    check("timeout: foo", "jobs:a:timeout config should be a duration");
    check("timeout: 10", "jobs:a:timeout config should be a duration");
    check(
        "timeout: 31 days",
        "jobs:a:timeout config should not exceed the limit",
    );
    check(
        "interruptible: 1",
        "jobs:a:interruptible config should be a boolean value",
    );
    check(
        "allow_failure: 1",
        "jobs:a allow failure should be a hash or a boolean value",
    );
    check(
        "allow_failure: {exit_codes: x}",
        "jobs:a:allow_failure exit codes should be an array of integers or an integer",
    );
    check(
        "environment: 1",
        "jobs:a:environment config should be a hash or a string",
    );
    check(
        "environment: {url: x}",
        "jobs:a:environment name can't be blank",
    );
    check(
        "environment: a#",
        "jobs:a:environment name can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but it cannot start or end with '/'",
    );
    check(
        "environment: {name: a, action: foo}",
        "jobs:a:environment action should be start, stop, prepare, verify, or access",
    );
    check(
        "resource_group: [a]",
        "jobs:a resource group should be a string",
    );
    check(
        "hooks: {foo: x}",
        "jobs:a:hooks config contains unknown keys: foo",
    );
    check(
        "inherit: {default: x}",
        "jobs:a:inherit:default should be a bool or array of strings",
    );
    check(
        "inherit: {default: [foo]}",
        "jobs:a:inherit:default config contains unknown values: foo",
    );
    check(
        "inherit: {foo: 1}",
        "jobs:a:inherit config contains unknown keys: foo",
    );
    check(
        "trigger: x",
        "jobs:a config these keys cannot be used together: script, trigger",
    );
    check_file(
        "a: {needs: [b]}\nb: {script: x}",
        "jobs:a config should contain either a trigger or a needs:pipeline",
    );
    check_file(
        "cache: 1\nb: {script: x}",
        "caches config can only be a hash or an array",
    );
    check(
        "run: [{name: a, script: x}]",
        "jobs:a config these keys cannot be used together: script, run",
    );
}

#[test]
fn rules() {
    check(
        "rules: [{if: $A}]\nonly: [x]",
        "jobs:a config key may not be used with `rules`: only",
    );
    check("rules: []", "jobs:a:rules config can't be blank");
    check(
        "rules: x",
        "jobs:a rules should be an array containing hashes and arrays of hashes",
    );
    check("rules: [{}]", "jobs:a:rules:rule config can't be blank");
    check(
        "rules: [{foo: 1}]",
        "jobs:a:rules:rule config contains unknown keys: foo",
    );
    check(
        "rules: [{when: foo}]",
        "jobs:a:rules:rule when unknown value: foo",
    );
    check(
        "rules: [{if: $A == a}]",
        "jobs:a:rules:rule if invalid expression syntax",
    );
    check(
        "rules: [{if: 1}]",
        "jobs:a:rules:rule if invalid expression syntax",
    );
    check(
        "rules: [{allow_failure: 1}]",
        "jobs:a:rules:rule allow failure should be a boolean value",
    );
    check(
        "rules: [{start_in: 1 day}]",
        "jobs:a:rules:rule config contains disallowed keys: start_in",
    );
    check(
        "rules: [{when: delayed}]",
        "jobs:a:rules:rule start in can't be blank",
    );
    check(
        "rules: [{changes: x}]",
        "jobs:a:rules:rule:changes should be an array or a hash",
    );
    check(
        "rules: [{changes: [1]}]",
        "jobs:a:rules:rule:changes config should be an array of strings",
    );
    check(
        "rules: [{changes: {compare_to: x}}]",
        "jobs:a:rules:rule:changes config missing required keys: paths",
    );
    check(
        "rules: [{changes: {foo: x, paths: [a]}}]",
        "jobs:a:rules:rule:changes config contains unknown keys: foo",
    );
    check(
        &format!("rules: [{{exists: [{}]}}]", "x,".repeat(51)),
        "jobs:a:rules:rule:exists config has too many entries (maximum 50)",
    );
    check(
        "rules: [{exists: {paths: [a], ref: x}}]",
        "jobs:a:rules:rule:exists config missing required keys: project",
    );
    check(
        "rules: [{variables: x}]",
        "jobs:a:rules:rule:variables config should be a hash",
    );
    check(
        "rules: [{variables: {a: {value: x}}}]",
        "jobs:a:rules:rule:variables:a config must be a string",
    );
    check(
        "only: {foo: 1}",
        "jobs:a:only config contains unknown keys: foo",
    );
    check(
        "only: 1",
        "jobs:a:only has to be either an array of conditions or a hash",
    );
    check(
        "only: ['/(/']",
        "jobs:a:only config should be an array of strings or regular expressions using re2 syntax",
    );
    check(
        "only: {variables: ['$A ==']}",
        "jobs:a:only variables invalid expression syntax",
    );
    check("only: {}", "jobs:a:only config can't be blank");
}

#[test]
fn caches_and_artifacts() {
    check(
        "cache: x",
        "jobs:a:caches config can only be a hash or an array",
    );
    check(
        "cache: [{}, {}, {}, {}, {}]",
        "jobs:a:caches config no more than 4 caches can be created",
    );
    check(
        "cache: {foo: 1}",
        "jobs:a:cache config contains unknown keys: foo",
    );
    check(
        "cache: {key: a/b}",
        "jobs:a:cache:key config cannot contain the \"/\" character",
    );
    check(
        "cache: {key: '..'}",
        "jobs:a:cache:key config cannot be \".\" or \"..\"",
    );
    check(
        "cache: {key: [a]}",
        "jobs:a:cache:key should be a hash, a string or a symbol",
    );
    check(
        "cache: {key: {files: [a, b, c]}}",
        "jobs:a:cache:key:files config has too many items (maximum is 2)",
    );
    check(
        "cache: {key: {prefix: a}}",
        "jobs:a:cache:key config must use exactly one of these keys: files, files_commits",
    );
    check(
        "cache: {policy: foo}",
        "jobs:a:cache policy should be a variable or one of: pull-push, push, pull",
    );
    check(
        "cache: {when: foo}",
        "jobs:a:cache when should be one of: on_success, on_failure, always",
    );
    check(
        "cache: {fallback_keys: [a, b, c, d, e, f]}",
        "jobs:a:cache fallback keys has to many entries (maximum 5)",
    );
    check(
        "cache: {paths: a}",
        "jobs:a:cache:paths config should be an array of strings",
    );
    check("artifacts: x", "jobs:a:artifacts config should be a hash");
    check(
        "artifacts: {foo: 1}",
        "jobs:a:artifacts config contains unknown keys: foo",
    );
    check(
        "artifacts: {paths: a}",
        "jobs:a:artifacts paths should be an array of strings",
    );
    check(
        "artifacts: {expire_in: foo}",
        "jobs:a:artifacts expire in should be a duration",
    );
    check(
        "artifacts: {when: foo}",
        "jobs:a:artifacts when should be one of: on_success, on_failure, always",
    );
    check(
        "artifacts: {public: true, access: all}",
        "jobs:a:artifacts config these keys cannot be used together: public, access",
    );
    check(
        "artifacts: {access: foo}",
        "jobs:a:artifacts access should be one of: none, developer, maintainer, all",
    );
    check(
        "artifacts: {paths: ['*'], expose_as: x}",
        "jobs:a:artifacts paths can't contain '*' when used with 'expose_as'",
    );
    check(
        "artifacts: {reports: {foo: x}}",
        "jobs:a:artifacts:reports config contains unknown keys: foo",
    );
    check(
        "artifacts: {reports: {coverage_report: {coverage_format: x, path: y}}}",
        "jobs:a:artifacts:reports:coverage_report coverage format must be one of supported formats: cobertura, jacoco.",
    );
}

#[test]
fn needs_and_dependencies() {
    check("needs: [c]", "a job: undefined need: c");
    check(
        "needs: [a]",
        "The pipeline has circular dependencies: self-dependency: a",
    );
    check("needs: [b, b]", "a has the following needs duplicated: b.");
    check(
        "needs: x",
        "jobs:a:needs config can only be a hash or an array",
    );
    check("needs: {}", "jobs:a:needs config can not be an empty hash");
    check("needs: [1]", "jobs:a:needs:need has an unsupported type");
    check(
        "needs: [{job: b, foo: 1}]",
        "jobs:a:needs:need config contains unknown keys: foo",
    );
    check(
        "needs: [{job: b, artifacts: 1}]",
        "jobs:a:needs:need artifacts should be a boolean value",
    );
    check(
        "stage: build\nneeds: [b]",
        "a job: need b is not defined in current or prior stages",
    );
    check("dependencies: [c]", "a job: undefined dependency: c");
    check(
        "stage: build\ndependencies: [b]",
        "a job: dependency b is not defined in current or prior stages",
    );
    check(
        "needs: [c]\ndependencies: [b]",
        "jobs:a dependencies the b should be part of needs",
    );
    check(
        "dependencies: b",
        "jobs:a dependencies should be an array of strings",
    );
    check_file(
        "a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}",
        r#"The pipeline has circular dependencies: topological sort failed: ["a", "b"]"#,
    );
    check_file(
        "a: {script: x, needs: [b]}\nb: {script: x, rules: [{when: never}]}",
        "'a' job needs 'b' job, but 'b' does not exist in the pipeline. This might be because of the only, except, or rules keywords. To need a job that sometimes does not exist in the pipeline, use needs:optional.",
    );
    let many: String = (0..51)
        .map(|it| format!("j{it}: {{script: x}}\n"))
        .collect();
    let names: Vec<String> = (0..51).map(|it| format!("j{it}")).collect();
    check_file(
        &format!("{many}a: {{script: x, needs: [{}]}}", names.join(", ")),
        "a: one job can only need 50 others, but you have listed 51. See needs keyword documentation for more details",
    );
}

#[test]
fn needs_of_other_pipelines() {
    check(
        "needs: [{pipeline: p}]",
        "jobs:a:needs config uses invalid types: bridge",
    );
    check(
        "needs: [{pipeline: p, job: j, foo: x}]",
        "jobs:a:needs:need config contains unknown keys: foo",
    );
    let six = "{pipeline: p, job: j},".repeat(6);
    check(
        &format!("needs: [{six}]"),
        "jobs:a:needs config must be less than or equal to 5",
    );
    check(
        "needs: [{project: p, job: j, ref: ''}]",
        "jobs:a:needs:need ref can't be blank",
    );
    check(
        "needs: [{ref: main}]",
        "jobs:a:needs:need has an unsupported type",
    );
    check(
        "needs: [{pipeline: p, job: j}]\ndependencies: [b]",
        "jobs:a needs corresponding to dependencies must be from the same pipeline",
    );
}

#[test]
fn needs_of_parallel_jobs() {
    check(
        "needs: [{job: b, parallel: 2}]",
        "jobs:a:needs config cannot use \"parallel: <number>\".",
    );
    let file = |needs: &str| {
        format!(
            "m: {{script: x, parallel: {{matrix: [{{K: [1, 2]}}]}}}}\na: {{script: x, needs: [{needs}]}}"
        )
    };
    check_file(
        &file("{job: m, parallel: {matrix: [{K: 3}]}}"),
        "a job: undefined need: m: [3]",
    );
    check_file(
        &file("{job: m, parallel: {matrix: [{K: '$[[ matrix.Z ]]'}]}}"),
        "a job: 'Z' does not exist in matrix configuration",
    );
    check_file(
        &file("m, 'm: [1]'"),
        "a has the following needs duplicated: m: [1].",
    );
}

#[test]
fn triggers() {
    let check = |keywords: &str, expected: &str| {
        check_file(&format!("a: {{{keywords}}}\nb: {{script: x}}\n"), expected);
    };
    check(
        "trigger: [x]",
        "jobs:a:trigger has to be either a string or a hash",
    );
    check("trigger: ''", "jobs:a:trigger config can't be blank");
    check("trigger: {}", "jobs:a:trigger config can't be blank");
    check(
        "trigger: {project: '', branch: x}",
        "jobs:a:trigger project can't be blank",
    );
    check(
        "trigger: {project: x, include: y}",
        "jobs:a:trigger config contains unknown keys: project",
    );
    check(
        "trigger: {project: x, strategy: y}",
        "jobs:a:trigger strategy should be depend or mirror",
    );
    check(
        "trigger: {include: [a, b, c, d]}",
        "jobs:a:trigger:include config is too long (maximum is 3)",
    );
    check(
        "trigger: {include: {local: x}}",
        "jobs:a:trigger:include config should be an array or a string",
    );
    check(
        "trigger: {include: [{artifact: x.yml}]}",
        "jobs:a:trigger:include:include config must specify the job where to fetch the artifact from",
    );
    check(
        "trigger: {include: [{artifact: x.yml, job: z}]}",
        "a job: undefined dependency: z",
    );
    check(
        "trigger: {include: [{local: x.yml, foo: z}]}",
        "jobs:a:trigger:include:include config contains unknown keys: foo",
    );
    check(
        "trigger: {project: x, forward: {foo: true}}",
        "jobs:a:trigger:forward config contains unknown keys: foo",
    );
    check(
        "trigger: {project: x, inputs: [y]}",
        "jobs:a:trigger inputs should be a hash",
    );
    check(
        "trigger: x, tags: [y]",
        "jobs:a config contains unknown keys: tags",
    );
    check(
        "trigger: x, when: delayed",
        "jobs:a when should be one of: on_success, on_failure, always, manual",
    );
    check(
        "trigger: x, allow_failure: {exit_codes: 1}",
        "jobs:a allow failure should be a boolean value",
    );
    check(
        "trigger: x, parallel: 2",
        "jobs:a:parallel config cannot use \"parallel: <number>\".",
    );
    check(
        "needs: [{pipeline: x}, {pipeline: y}]",
        "jobs:a config should contain at most one bridge need",
    );
}

#[test]
fn variables_and_parallel() {
    check_file(
        "variables: x\na: {script: x}",
        "variables config should be a hash",
    );
    check_file(
        "variables: {a: [x]}\na: {script: x}",
        "variable definition must be either a string or a hash",
    );
    check_file(
        "variables: {a: {foo: x}}\na: {script: x}",
        "variables:a config uses invalid data keys: foo",
    );
    check_file(
        "variables: {a: {value: x, options: [y]}}\na: {script: x}",
        "variables:a config value must be present in options",
    );
    check_file(
        "variables: {a: {value: [x]}}\na: {script: x}",
        "variables:a config value must be a scalar",
    );
    check_file(
        "variables: {ON: x}\na: {script: x}",
        "variables:true key must be an alphanumeric string",
    );
    check(
        "variables: {a: {value: x, description: y}}",
        "jobs:a:variables:a config uses invalid data keys: description",
    );
    check(
        "variables: {A: $B, B: $A}",
        r#"a: circular variable reference detected: ["A", "B"]"#,
    );
    check(
        "parallel: 0",
        "jobs:a:parallel config must be greater than or equal to 1",
    );
    check(
        "parallel: 201",
        "jobs:a:parallel config must be less than or equal to 200",
    );
    check("parallel: 1.5", "jobs:a:parallel config must be an integer");
    check(
        "parallel: x",
        "jobs:a:parallel should be an integer or a hash",
    );
    check(
        "parallel: {}",
        "jobs:a:parallel config missing required keys: matrix",
    );
    check(
        "parallel: {matrix: x}",
        "jobs:a:parallel:matrix config should be an array of hashes",
    );
    check(
        "parallel: {matrix: [{}]}",
        "jobs:a:parallel:matrix:variables config requires at least 1 items",
    );
    check(
        "parallel: {matrix: [{A: [true]}]}",
        "jobs:a:parallel:matrix:variables config should be a hash of key value pairs, value can be an array",
    );
    let values: Vec<String> = (0..15).map(|it| it.to_string()).collect();
    let values = values.join(", ");
    check(
        &format!("parallel: {{matrix: [{{A: [{values}], B: [{values}]}}]}}"),
        "jobs:a:parallel:matrix config generates too many jobs (maximum is 200)",
    );
}

#[test]
fn extends_and_references() {
    check("extends: .b", "a: unknown keys in `extends` (.b)");
    check("extends: a", "a: circular dependency detected in `extends`");
    check_file(
        ".b: [x]\na: {script: x, extends: .b}",
        "a: invalid base hashes in `extends` (.b)",
    );
    check(
        "before_script: !reference [.a, script]",
        r#"!reference [".a", "script"] could not be found"#,
    );
    check("before_script: !reference []", "!reference [] is not valid");
    check_file(
        "a: {script: !reference [b, script]}\nb: {script: !reference [a, script]}",
        r#"!reference ["b", "script"] is part of a circular chain"#,
    );
    let chain = |levels: usize| {
        let parents: String = (2..=levels + 1)
            .map(|it| format!(".a{it}: {{extends: .a{}}}\n", it - 1))
            .collect();
        format!(".a1: {{script: x}}\n{parents}b: {{script: x}}\n")
    };
    assert!(compile_in(&chain(11), &push(), &Commit::default()).is_ok());
    check_file(&chain(12), ".a2: nesting too deep in `extends`");
}

#[test]
fn includes() {
    let commit = || {
        Commit::default()
            .with("ok.yml", "b: {script: x}")
            .with("empty.yml", " ")
            .with("bad.yml", "a: [1")
    };
    let check = |include: &str, expected: &str| {
        let text = errors_in(&format!("include: {include}\na: {{script: x}}"), &commit());
        assert_eq!(text, expected);
    };
    check(
        "x.yml",
        ".gitlab-ci.yml:1:10: Local file `x.yml` does not exist!",
    );
    check(
        "empty.yml",
        ".gitlab-ci.yml:1:10: Local file `empty.yml` is empty!",
    );
    check(
        "ok.txt",
        ".gitlab-ci.yml:1:10: Included file `ok.txt` does not have YAML extension!",
    );
    check(
        "bad.yml",
        "bad.yml:2:1: `bad.yml`: (<unknown>): did not find expected ',' or ']' while parsing a flow sequence at line 1 column 4",
    );
    check(
        "[[x]]",
        ".gitlab-ci.yml:1:11: Each include must be a hash or a string",
    );
    check(
        "[{foo: x}]",
        ".gitlab-ci.yml:1:11: `{\"foo\":\"x\"}` does not have a valid subkey for include. Valid subkeys are: `local`, `project`, `remote`, `template`, `artifact`, `component`",
    );
    check(
        "[{local: ok.yml, remote: x}]",
        ".gitlab-ci.yml:1:11: Each include must use only one of: `local`, `project`, `remote`, `template`, `artifact`, `component`",
    );
    check(
        "[{local: ok.yml, rules: [{when: manual}]}]",
        ".gitlab-ci.yml:1:35: include:rule when unknown value: manual",
    );
    check(
        "[{local: ok.yml, rules: x}]",
        ".gitlab-ci.yml:1:34: include:rules config should be an array",
    );
    let comments = Commit::default().with("c.yml", "# x\n");
    assert_eq!(
        errors_in("include: c.yml", &comments),
        ".gitlab-ci.yml:1:10: Included file `c.yml` does not have valid YAML syntax!"
    );
    let mut event = push();
    event.project_variables = vec![Variable {
        key: "KEY".into(),
        value: "hunter2".into(),
        masked: true,
        ..Variable::default()
    }];
    let hidden = compile_in("include: 'ci/$KEY.yml'", &event, &Commit::default()).unwrap_err();
    assert_eq!(
        hidden.to_string(),
        ".gitlab-ci.yml:1:10: Local file `ci/[MASKED].yml` does not exist!"
    );
    let endless = Commit::default().with("a.yml", "include: a.yml");
    assert!(
        errors_in("include: a.yml", &endless)
            .ends_with("Maximum of 150 nested includes are allowed!")
    );
}

#[test]
fn all_errors_of_shape_come_at_once_with_their_places() {
    let text = "build:\n  scirpt: make\ntest:\n  script: make test\n  stgae: test\n  retry: 5\n";
    assert_snapshot!(errors(text), @r#"
    .gitlab-ci.yml:1:1: jobs build config should implement the script:, run:, or trigger: keyword
    .gitlab-ci.yml:5:3: jobs:test config contains unknown keys: stgae
    .gitlab-ci.yml:6:10: retry config must be less than or equal to 2
    "#);
}

#[test]
fn hints_name_what_was_meant() {
    let hint = |text: &str| {
        let errors = compile_in(text, &push(), &Commit::default()).unwrap_err();
        errors.first().unwrap().hint.clone().unwrap_or_default()
    };
    assert_eq!(hint("a: {script: x, stgae: test}"), "did you mean `stage`?");
    assert_eq!(hint("a: {script: x, stage: tset}"), "did you mean `test`?");
    assert_eq!(
        hint("a: {script: x, needs: [bild]}\nbuild: {script: x}"),
        "did you mean `build`?"
    );
    assert_eq!(hint("a: {scirpt: x}"), "did you mean `script`?");
    assert_eq!(
        hint("stagse: [a]\na: {script: x}"),
        "did you mean `stages`?"
    );
    assert_eq!(
        hint("a: {script: x, when: on-success}"),
        "did you mean `on_success`?"
    );
    assert_eq!(
        hint("a: {script: x, extends: .bild}\n.build: {tags: []}"),
        "did you mean `.build`?"
    );
    assert_eq!(
        hint("a: {script: ['x', echo: y]}"),
        "quote the line: with `: ` in it, it is read as a map"
    );
    assert_eq!(
        hint("a: {script: x, rules: [{if: $A and $B}]}"),
        "it stops making sense at `and $B`"
    );
}

#[test]
fn keywords_that_are_handed_on() {
    for (keyword, expected) in [
        ("services: x", "jobs:a:services config should be an array"),
        (
            "services: [{name: x, foo: 1}]",
            "jobs:a:services:service config contains unknown keys: foo",
        ),
        (
            "services: ['']",
            "jobs:a:services:service name can't be blank",
        ),
        (
            "services: [{alias: x}]",
            "jobs:a:services:service name should be a string",
        ),
        (
            "image: {name: x, docker: {foo: 1}}",
            "jobs:a:image executor opts object property at `/docker/foo` is a disallowed additional property",
        ),
        (
            "image: {name: x, docker: {platform: 1}}",
            "jobs:a:image executor opts value at `/docker/platform` is not a string",
        ),
        (
            "id_tokens: {t: {}}",
            "jobs:a:id_tokens:t config missing required keys: aud",
        ),
        (
            "id_tokens: {t: {aud: 1}}",
            "jobs:a:id_tokens:t aud should be an array of strings or a string",
        ),
        (
            "secrets: {s: {foo: 1}}",
            "jobs:a:secrets:s config contains unknown keys: foo",
        ),
        (
            "secrets: {s: {gcp_secret_manager: {name: x}}}",
            "jobs:a:secrets:s token is required with gcp secrets manager",
        ),
        (
            "inputs: {foo: {}}",
            "jobs:a:inputs:foo must have a default value",
        ),
        (
            "inputs: {foo: {default: 1, type: x}}",
            "jobs:a:inputs:foo input type unknown value: x",
        ),
        (
            "release: {description: x, tag_name: ''}",
            "jobs:a:release tag name can't be blank",
        ),
        (
            "release: {tag_name: x, description: ''}",
            "jobs:a:release description can't be blank",
        ),
        (
            "release: {tag_name: x, description: y, released_at: soon}",
            "jobs:a:release released at must be a valid datetime",
        ),
        (
            "release: {tag_name: x, description: y, ref: 'a b'}",
            "jobs:a:release ref must be a valid ref",
        ),
        (
            "release: {tag_name: x, description: y, assets: {links: x}}",
            "jobs:a:release:assets links should be an array of hashes",
        ),
        (
            "pages: {foo: 1}",
            "jobs:a:pages config contains unknown keys: foo",
        ),
        (
            "publish: x",
            "jobs:a publish can only be used within a `pages` job",
        ),
        (
            "environment: {name: x, kubernetes: {flux_resource_path: y, namespace: z}}",
            "jobs:a:environment:kubernetes agent can't be blank",
        ),
        (
            "artifacts: {expose_as: x}",
            "jobs:a:artifacts paths can't be blank",
        ),
        (
            "artifacts: {paths: [x], expose_as: 'a/b'}",
            "jobs:a:artifacts expose as can contain only letters, digits, '-', '_' and spaces",
        ),
    ] {
        check(keyword, expected);
    }
}

#[test]
fn the_order_of_keys_that_exclude_each_other_is_kept() {
    for (file, expected) in [
        (
            "a: {trigger: x, script: y}",
            "jobs:a config these keys cannot be used together: trigger, script",
        ),
        (
            "a: {run: [{name: x, script: y}], script: z}",
            "jobs:a config these keys cannot be used together: run, script",
        ),
        (
            "a: {after_script: x, run: [{name: x, script: y}]}",
            "jobs:a config these keys cannot be used together: after_script, run",
        ),
    ] {
        check_file(file, expected);
    }
}

#[test]
fn environments_are_stopped_by_a_job_of_theirs() {
    for (job, expected) in [
        ("c: {script: x}", "JOB job: on_stop job b is not defined"),
        (
            "b: {script: x}",
            "JOB job: on_stop job b does not have environment defined",
        ),
        (
            "b: {script: x, environment: {name: f, action: stop}}",
            "JOB job: on_stop job b have different environment name",
        ),
        (
            "b: {script: x, environment: e}",
            "JOB job: on_stop job b needs to have action stop defined",
        ),
    ] {
        let stopped = "JOB: {script: x, environment: {name: e, on_stop: b}}";
        check_file(&format!("{stopped}\n{job}"), expected);
    }
}

#[test]
fn messages_between_jobs_keep_names_as_written() {
    check_file(
        "pages: {script: x, publish: a, pages: {publish: b}}",
        "pages job: use either pages:publish or pages:pages:publish",
    );
    check_file("JOB: {script: x, needs: [b]}", "JOB job: undefined need: b");
    check_file(
        "JOB: {script: x, dependencies: [b]}",
        "JOB job: undefined dependency: b",
    );
    let name = "n".repeat(256);
    check_file(
        &format!("workflow: {{name: {name}}}\na: {{script: x}}"),
        "workflow name is too long (maximum is 255 characters)",
    );
}

#[test]
fn what_null_and_nothing_mean() {
    for keywords in [
        "only: []",
        "except: []",
        "needs: [null]",
        "cache: [null]",
        "start_in: ''",
        "publish: ''",
        "cache: {policy: ''}",
        "cache: {key: {files: null}}",
        "rules: [{exists: {}}, {when: always}]",
        "parallel: {matrix: null}",
        "extends: null",
        "variables: null",
    ] {
        let text = format!("a:\n  script: x\n  {keywords}\nb: {{script: x}}\n");
        compile_in(&text, &push(), &Commit::default())
            .unwrap_or_else(|it| panic!("{keywords}: {it}"));
    }
    for (keywords, expected) in [
        ("only: {}", "jobs:a:only config can't be blank"),
        ("except: {}", "jobs:a:except config can't be blank"),
        (
            "only: {kubernetes: x}",
            "jobs:a:only kubernetes unknown value: x",
        ),
        (
            "rules: [{start_in: null}]",
            "jobs:a:rules:rule config contains disallowed keys: start_in",
        ),
        (
            "rules: [{when: [x]}]",
            "jobs:a:rules:rule when unknown value: [\"x\"]",
        ),
        (
            "rules: [{variables: {A: null}}]",
            "jobs:a:rules:rule:variables:a config must be a string",
        ),
        (
            "rules: [{exists: {paths: x}}]",
            "jobs:a:rules:rule:exists paths should be an array of strings",
        ),
        (
            "rules: [{exists: 1}]",
            "jobs:a:rules:rule:exists should be a string, an array of strings, or a hash",
        ),
        ("when: 1", "jobs:a when should be a string"),
        (
            "cache: {untracked: x}",
            "jobs:a:cache:untracked config should be a boolean value",
        ),
    ] {
        check(keywords, expected);
    }
    for (file, expected) in [
        (
            "workflow: {rules: x}\na: {script: x}",
            "workflow:rules config should be an array",
        ),
        (
            "workflow: {rules: [x]}\na: {script: x}",
            "workflow:rules:rule config should be a hash",
        ),
        (
            "workflow: {rules: [{interruptible: true}]}\na: {script: x}",
            "workflow:rules:rule config contains unknown keys: interruptible",
        ),
        (
            "variables: {a: {options: x}}\na: {script: x}",
            "variables:a config options should be an array of strings",
        ),
        (
            "stages: []\na: {script: x}",
            "a job: chosen stage test does not exist; available stages are ",
        ),
    ] {
        check_file(file, expected);
    }
}
