//! Headers: inputs, what they accept, and their values in the file.

use rave_ci_lang::{EventContext, InputValue, Variable};
use serde_json::json;

use crate::including::{World, compile_with, error, jobs};
use crate::{plan_of, push, summary};

/// Compiles a file with inputs of the event.
fn given(text: &str, inputs: &[(&str, serde_json::Value)]) -> Result<String, String> {
    let value = |it: &serde_json::Value| {
        serde_json::from_value::<InputValue>(it.clone()).expect("any JSON is an input")
    };
    let event = EventContext {
        inputs: inputs
            .iter()
            .map(|(name, it)| ((*name).to_owned(), value(it)))
            .collect(),
        ..push()
    };
    match compile_with(text, &event, &World::default()) {
        Ok(compiled) => Ok(summary(&plan_of(compiled))),
        Err(errors) => Err(errors
            .iter()
            .map(|it| it.message.clone())
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

/// Returns the script of the only job, which prints the input `x`, or the errors.
fn value(spec: &str, given_value: Option<serde_json::Value>) -> String {
    let text = format!("spec: {{inputs: {{x: {spec}}}}}\n---\na: {{script: '$[[ inputs.x ]]!'}}\n");
    let inputs: Vec<_> = given_value.into_iter().map(|it| ("x", it)).collect();
    match given(&text, &inputs) {
        Ok(summary) => {
            let inner = summary
                .trim_start_matches("test: a [")
                .trim_end_matches(']');
            serde_json::from_str::<String>(inner)
                .expect("the script is one line")
                .trim_end_matches('!')
                .to_owned()
        }
        Err(errors) => errors,
    }
}

#[test]
fn values_are_coerced_and_checked_by_type() {
    let check = |spec: &str, given: serde_json::Value, expected: &str| {
        assert_eq!(value(spec, Some(given.clone())), expected, "{spec} {given}");
    };
    check("", json!("v"), "v");
    check("{}", json!(5), "5");
    check("{type: string}", json!(["a", 1]), r#"["a", 1]"#);
    check("{type: number}", json!("5"), "5");
    check("{type: number}", json!(1.5), "1.5");
    check(
        "{type: number}",
        json!("x"),
        "`x` input: provided value is not a number",
    );
    check("{type: boolean}", json!("true"), "true");
    check("{type: boolean}", json!(false), "false");
    check(
        "{type: boolean}",
        json!("yes"),
        "`x` input: provided value is not a boolean",
    );
    check(
        "{type: array}",
        json!("[1, \"a\", {\"k\": null}]"),
        r#"[1, "a", {"k"=>nil}]"#,
    );
    check(
        "{type: array}",
        json!("a"),
        "`x` input: provided value is not an array",
    );
    check(
        "{type: array}",
        json!({"a": 1}),
        "`x` input: provided value is not an array",
    );
}

#[test]
fn defaults_make_inputs_optional() {
    let check = |spec: &str, expected: &str| assert_eq!(value(spec, None), expected, "{spec}");
    check("", "`x` input: required value has not been provided");
    check(
        "{type: number}",
        "`x` input: required value has not been provided",
    );
    check("{default: d}", "d");
    check("{default: }", "");
    check("{default: 1.50}", "1.5");
    check("{type: number, default: 2}", "2");
    check(
        "{type: number, default: a}",
        "`x` input: default value is not a number",
    );
    check(
        "{type: boolean, default: 1}",
        "`x` input: default value is not a boolean",
    );
    check("{type: array, default: [a]}", r#"["a"]"#);
    check(
        "{type: array, default: x}",
        "`x` input: default value is not an array",
    );
    assert_eq!(value("{default: d}", Some(json!(null))), "d");
    assert_eq!(value("{default: d}", Some(json!(""))), "");
}

#[test]
fn options_and_patterns_restrict() {
    let check = |spec: &str, given: serde_json::Value, expected: &str| {
        assert_eq!(value(spec, Some(given.clone())), expected, "{spec} {given}");
    };
    check("{options: [a, 1]}", json!("1"), "1");
    check(
        "{options: [a, b]}",
        json!("z"),
        "`x` input: `z` cannot be used because it is not in the list of allowed options",
    );
    check("{type: number, options: [1, 2]}", json!("2.0"), "2.0");
    check(
        "{type: number, options: [1, 2]}",
        json!(3),
        "`x` input: `3` cannot be used because it is not in the list of the allowed options",
    );
    check(
        "{type: boolean, options: [true], default: true}",
        json!(true),
        "`x` input: Options can only be used with string and number inputs",
    );
    check("{regex: '^v\\d+$'}", json!("v12"), "v12");
    check("{regex: '/^v\\d+$/'}", json!("v12"), "v12");
    check(
        "{regex: ^v\\d+$}",
        json!("12"),
        "`x` input: provided value does not match required RegEx pattern",
    );
    check(
        "{regex: ^v, default: w}",
        json!("v"),
        "`x` input: default value does not match required RegEx pattern",
    );
    check(
        "{regex: '('}",
        json!("v"),
        "`x` input: invalid regular expression",
    );
    check(
        "{type: number, regex: x}",
        json!(1),
        "`x` input: RegEx validation can only be used with string inputs",
    );
}

#[test]
fn rules_choose_options_and_defaults() {
    let text = "spec:
  inputs:
    env: {default: dev}
    fast: {type: boolean, default: false}
    size:
      rules:
        - {if: '$[[ inputs.fast ]]', default: tiny}
        - {if: '$[[ inputs.env ]] == \"prod\"', options: [m, l], default: m}
        - {options: [s], default: s}
---
a: {script: '$[[ inputs.size ]]'}
";
    let check = |inputs: &[(&str, serde_json::Value)], expected: &str| {
        let found = given(text, inputs).unwrap_or_else(|it| it);
        assert_eq!(
            found.replace("test: a [\"", "").replace("\"]", ""),
            expected,
            "{inputs:?}"
        );
    };
    check(&[], "s");
    check(&[("env", json!("prod"))], "m");
    check(&[("env", json!("prod")), ("size", json!("l"))], "l");
    check(&[("env", json!("prod")), ("size", json!(""))], "m");
    check(&[("fast", json!("true")), ("size", json!("huge"))], "huge");
    check(
        &[("size", json!("l"))],
        "`size` input: `l` cannot be used because it is not in the list of allowed options",
    );
}

#[test]
fn what_is_given_must_be_known() {
    let text = "spec: {inputs: {x: {default: 1}}}\n---\na: {script: s}\n";
    assert_eq!(
        given(text, &[("zz", json!(1))]).unwrap_err(),
        "unknown input arguments: zz"
    );
    assert_eq!(
        given("a: {script: s}", &[("x", json!(1))]).unwrap_err(),
        "Given inputs not defined in the `spec` section of the included configuration file"
    );
    let world = World::default().file("x.yml", "b: {script: s}").file(
        "y.yml",
        "spec: {inputs: {n: {type: number}}}\n---\nb: {script: 'n$[[ inputs.n ]]'}",
    );
    let check = |inputs: &str, expected: &str| {
        assert_eq!(
            error(&format!("include:\n- {inputs}"), &world),
            expected,
            "{inputs}"
        );
    };
    check(
        "{local: x.yml, inputs: {a: 1}}",
        ".gitlab-ci.yml:2:3: `x.yml`: Given inputs not defined in the `spec` section of the included configuration file",
    );
    check(
        "{local: y.yml}",
        ".gitlab-ci.yml:2:3: `y.yml`: `n` input: required value has not been provided",
    );
    check(
        "{local: y.yml, inputs: {n: x}}",
        ".gitlab-ci.yml:2:30: `y.yml`: `n` input: provided value is not a number",
    );
    check(
        "{local: y.yml, inputs: {n: 1, m: 2}}",
        ".gitlab-ci.yml:2:33: `y.yml`: unknown input arguments: m",
    );
    assert_eq!(
        jobs("include: [{local: y.yml, inputs: {n: 1}}]", &world),
        r#"test: b ["n1"]"#
    );
}

#[test]
fn headers_are_checked() {
    let check = |header: &str, expected: &str| {
        let found = given(&format!("{header}\n---\na: {{script: s}}"), &[]).expect_err(header);
        assert_eq!(found, expected, "{header}");
    };
    check(
        "spec: {foo: x}",
        "header:spec config contains unknown keys: foo",
    );
    check("spec: x", "header:spec config should be a hash");
    check(
        "{spec: {}, Foo: 1}",
        "header config contains unknown keys: foo",
    );
    check(
        "spec: {inputs: [x]}",
        "header:spec:inputs config should be a hash",
    );
    check(
        "spec: {inputs: {x: y}}",
        "header:spec:inputs:x config should be a hash",
    );
    check(
        "spec: {inputs: {x: {foo: 1}}}",
        "header:spec:inputs:x config contains unknown keys: foo",
    );
    check(
        "spec: {inputs: {x: {type: Foo}}}",
        "header:spec:inputs:x input type unknown value: foo",
    );
    check(
        "spec: {inputs: {x: {regex: 1}}}",
        "header:spec:inputs:x input regex should be a string",
    );
    check(
        "spec: {inputs: {x: {description: [1]}}}",
        "header:spec:inputs:x input description must be an alphanumeric string",
    );
    check(
        "spec: {inputs: {x: {options: a}}}",
        "header:spec:inputs:x input options should be an array",
    );
    check(
        "spec: {inputs: {x: {options: [null]}}}",
        "header:spec:inputs:x config options array cannot contain null values",
    );
    let many = vec!["a"; 51].join(", ");
    check(
        &format!("spec: {{inputs: {{x: {{options: [{many}]}}}}}}"),
        "header:spec:inputs:x config cannot define more than 50 options",
    );
    check(
        "spec: {inputs: {x: {rules: [{default: 1}], options: [1]}}}",
        "header:spec:inputs:x config these keys cannot be used together: rules, options",
    );
    check(
        "spec: {inputs: {x: {rules: [{default: 1}], default: 1}}}",
        "header:spec:inputs:x config these keys cannot be used together: rules, default",
    );
    check(
        "spec: {inputs: {x: {rules: 1}}}",
        "header:spec:inputs:x:rules config should be an array",
    );
    check(
        "spec: {inputs: {x: {rules: [{}]}}}",
        "`x` input: can't be blank",
    );
    check(
        "spec: {inputs: {x: {rules: [{foo: 1, default: 1}]}}}",
        "`x` input: contains unknown keys: foo",
    );
    check(
        "spec: {inputs: {x: {rules: [{if: '(', default: 1}]}}}",
        "`x` input: if invalid expression syntax",
    );
    check(
        "spec: {inputs: {x: {rules: [{options: [a]}]}}}",
        "`x` input: rule must define 'options' with at least one value and a 'default'",
    );
    check(
        "spec: {inputs: {x: {rules: [{options: [a], default: b}]}}}",
        "`x` input: default 'b' must be one of the options",
    );
    check(
        "spec: {component: [foo]}",
        "header:spec:component config contains unknown values: foo",
    );
    check(
        "spec: {component: foo}",
        "header:spec:component config should be an array",
    );
    check(
        "spec: {component: [1]}",
        "header:spec:component config should be an array of strings",
    );
    check(
        &format!("spec: {{description: {}}}", "x".repeat(257)),
        "header:spec config description is too long (maximum is 256 characters)",
    );
    assert_eq!(
        given("spec:\n---\na: {script: s}", &[]).unwrap(),
        r#"test: a ["s"]"#
    );
    let included = World::default().file("x.yml", "spec: {Foo: x}\n---\nb: {script: s}");
    assert_eq!(
        error("include: x.yml", &included),
        "x.yml:1:8: `x.yml`: header:spec config contains unknown keys: foo"
    );
}

#[test]
fn whole_scalars_keep_their_type() {
    let text = "spec:
  inputs:
    list: {type: array, default: [one, two]}
    flag: {type: boolean, default: true}
    count: {type: number, default: 2}
    name: {default: job}
    rules: {type: array, default: [{if: $CI_COMMIT_BRANCH, when: manual}]}
---
$[[ inputs.name ]]-1:
  script: [first, '$[[ inputs.list ]]', 'x $[[inputs.list]] y', '$[[ inputs.list[1] ]]']
  parallel: $[[ inputs.count ]]
  interruptible: $[[ inputs.flag ]]
  rules: $[[ inputs.rules ]]
  variables: {A: '$[[ inputs.count ]]', B: \"$[[ inputs.rules[0].when ]]\"}
";
    assert_eq!(
        given(text, &[]).unwrap(),
        "test: job-1 1/2 [\"first\", \"one\", \"two\", \"x [\\\"one\\\", \\\"two\\\"] y\", \"two\"]\n\
         test: job-1 2/2 [\"first\", \"one\", \"two\", \"x [\\\"one\\\", \\\"two\\\"] y\", \"two\"]"
    );
}

#[test]
fn blocks_stay_where_there_is_no_header() {
    assert_eq!(
        given("a: {script: '$[[ inputs.x ]] $[[ ]] $[[ y'}", &[]).unwrap(),
        r#"test: a ["$[[ inputs.x ]] $[[ ]] $[[ y"]"#
    );
    assert_eq!(
        given(
            "spec: {inputs: {}}\n---\na: {script: '$[[ x ]] $[[ y'}",
            &[]
        )
        .unwrap(),
        r#"test: a ["$[[ x ]] $[[ y"]"#
    );
}

#[test]
fn blocks_that_make_no_sense_are_refused() {
    let check = |block: &str, expected: &str| {
        let text = format!(
            "spec: {{inputs: {{arr: {{type: array, default: [1]}}, s: {{default: v}}}}}}\n---\na: {{script: 'x $[[ {block} ]]'}}"
        );
        assert_eq!(given(&text, &[]).expect_err(block), expected, "{block}");
    };
    check(
        "inputs.y",
        "unknown interpolation provided: `y` in `inputs.y`",
    );
    check(
        "component.name",
        "unknown interpolation provided: `name` in `component.name`",
    );
    check(
        "nope",
        "invalid pattern used for interpolation. valid pattern is $[[ inputs.input ]]",
    );
    check(
        "inputs.s | foo",
        "no function matching `foo`: check that the function name, arguments, and types are correct",
    );
    check(
        "inputs.s | expand_vars | expand_vars | expand_vars | expand_vars",
        "too many functions in interpolation block",
    );
    check(
        "inputs.arr[1]",
        "array index 1 out of bounds (size: 1) in `inputs.arr[1]`",
    );
    check(
        "inputs.arr | truncate(0,1)",
        "error in `truncate` function: invalid input type: truncate can only be used with string inputs",
    );
    let two = "spec: {inputs: {}}\n---\na:\n  script: ['$[[ inputs.x ]]', '$[[ inputs.x ]]', '$[[ inputs.y ]]']";
    assert_eq!(
        given(two, &[]).unwrap_err(),
        "unknown interpolation provided: `x` in `inputs.x`\nunknown interpolation provided: `y` in `inputs.y`"
    );
    let included = World::default().file(
        "x.yml",
        "spec: {inputs: {}}\n---\nb:\n  script: $[[ inputs.q ]]",
    );
    assert_eq!(
        error("include: x.yml", &included),
        "x.yml:4:11: `x.yml`: unknown interpolation provided: `q` in `inputs.q`"
    );
}

#[test]
fn functions_and_the_matrix() {
    let text = "spec: {inputs: {x: {default: '$CI_PROJECT_NAME is $NOPE'}}}\n---\n\
                a:\n  script: ['$[[ inputs.x | expand_vars | truncate(0,6) | posix_escape ]]', '$[[ matrix.K ]]']\n  parallel: {matrix: [{K: v}]}\n";
    assert_eq!(
        given(text, &[]).unwrap(),
        r#"test: a: [v] ["app\\ is", "$[[ matrix.K ]]"]"#
    );
    let mut event = push();
    event.pipeline_variables.push(Variable {
        masked: true,
        ..Variable::public("SECRET", "hunter2hunter2")
    });
    let text = "spec: {inputs: {x: {default: $SECRET}}}\n---\na: {script: '$[[ inputs.x | expand_vars ]]'}";
    let errors = compile_with(text, &event, &World::default()).unwrap_err();
    assert_eq!(
        errors.first().unwrap().message,
        "error in `expand_vars` function: variable expansion error: masked variables cannot be expanded"
    );
}

#[test]
fn headers_include_inputs() {
    let world = World::default()
        .file("inputs.yml", "inputs: {x: {default: from a file}}")
        .file("more.yml", "inputs: {z: {type: foo}}")
        .file("wrong.yml", "inputs: {}\nother: 1");
    let with = |include: &str| {
        format!(
            "spec:\n  include: [{include}]\n  inputs: {{y: {{default: own}}}}\n---\na: {{script: '$[[ inputs.x ]] $[[ inputs.y ]]'}}"
        )
    };
    assert_eq!(
        jobs(&with("{local: inputs.yml}"), &world),
        r#"test: a ["from a file own"]"#
    );
    let check = |include: &str, expected: &str| {
        assert_eq!(error(&with(include), &world), expected, "{include}");
    };
    check(
        "inputs.yml, {local: inputs.yml}",
        "inputs.yml:1:10: Duplicate input keys found: x. Input keys must be unique across all included files and inline specifications.",
    );
    check(
        "wrong.yml",
        ".gitlab-ci.yml:2:13: Header include file `wrong.yml` contains unknown keys: [:other]",
    );
    check(
        "{template: x}",
        ".gitlab-ci.yml:2:13: `{\"template\":\"x\"}` does not have a valid subkey for header include. Valid subkeys are: `local`, `remote`, `project`",
    );
    check(
        "none.yml",
        ".gitlab-ci.yml:2:13: Local file `none.yml` does not exist!",
    );
    check(
        "more.yml",
        "more.yml:1:20: `more.yml`: header:spec:inputs:z input type unknown value: foo",
    );
}

#[test]
fn inputs_reach_the_names_of_includes() {
    let world = World::default()
        .file("ci/a.yml", "spec: {inputs: {job: , list: {type: array}}}\n---\n$[[ inputs.job ]]: {script: '$[[ inputs.list ]]'}");
    let text = "spec: {inputs: {which: {default: a}, lines: {type: array, default: [x]}}}\n---\n\
                include: [{local: 'ci/$[[ inputs.which ]].yml', inputs: {job: j, list: '$[[ inputs.lines ]]'}}]\n";
    assert_eq!(jobs(text, &world), r#"test: j ["x"]"#);
}

#[test]
fn what_a_small_file_can_multiply_is_bounded() {
    let world = World::default();
    let long = "x".repeat(1_000_000);
    let blocks = "$[[ inputs.a ]]".repeat(10_000);
    let text =
        format!("spec: {{inputs: {{a: {{default: {long}}}}}}}\n---\na: {{script: '{blocks}'}}");
    assert!(error(&text, &world).ends_with("The parsed YAML is too big"));
    let many: String = (0..10_001)
        .map(|it| format!("$[[ inputs.a{it} ]]"))
        .collect();
    let names: String = (0..10_001)
        .map(|it| format!("a{it}: {{default: ''}}, "))
        .collect();
    let text = format!("spec: {{inputs: {{{names}}}}}\n---\na: {{script: '{many}'}}");
    assert!(error(&text, &world).ends_with("too many interpolation blocks"));
    let huge = "y".repeat(1_100_000);
    let text = format!("spec: {{inputs: {{}}}}\n---\na: {{script: '$[[ inputs.x ]]{huge}'}}");
    assert!(error(&text, &world).ends_with("config node too large"));
}
