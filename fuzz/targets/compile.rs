//! Any file gives a plan or a diagnostic that can be shown, the same each time. A line `=====` parts it from a file that it may include.
#![no_main]

use rave_ci_lang::{EventContext, Limits, SourceFile, Tree, Variable, compile};

struct Commit<'a>(&'a str);

impl Tree for Commit<'_> {
    fn read(&self, path: &str) -> Option<String> {
        (path == "x.yml").then(|| self.0.to_owned())
    }
    fn files(&self) -> Vec<String> {
        ["x.yml", "src/main.rs", "docs/a b.md"]
            .map(str::to_owned)
            .into()
    }
    fn changed(&self) -> Option<Vec<String>> {
        Some(vec!["src/main.rs".to_owned()])
    }
}

libfuzzer_sys::fuzz_target!(|input: &str| {
    let (text, included) = input
        .split_once("\n=====\n")
        .unwrap_or((input, "b: {script: y}"));
    let event = EventContext {
        source: "push".to_owned(),
        ref_name: "main".to_owned(),
        project_path: "team/app".to_owned(),
        predefined: vec![
            Variable::public("CI_COMMIT_BRANCH", "main"),
            Variable::public("CI_PIPELINE_SOURCE", "push"),
        ],
        ..EventContext::default()
    };
    let limits = Limits {
        nodes: 20_000,
        jobs: 500,
        ..Limits::default()
    };
    let source = SourceFile {
        path: ".gitlab-ci.yml",
        text,
    };
    let run = || compile(&source, &event, &Commit(included), &limits);
    let first = run();
    assert_eq!(format!("{first:?}"), format!("{:?}", run()));
    match first {
        Ok(compiled) => {
            for notice in &compiled.notices {
                notice.render();
            }
        }
        Err(errors) => {
            assert!(errors.first().is_some());
            for error in &errors {
                error.render();
            }
        }
    }
});
