//! Whole files through the public interface.

mod bridges;
mod conditions;
mod differences;
mod errors;
mod explaining;
mod hostile;
mod including;
mod inputs;
mod keywords;
mod merging;
mod planning;
mod rules;
mod selection;

use std::collections::BTreeMap;

use rave_ci_lang::{
    Compiled, Diagnostics, EventContext, JobPlan, Limits, Outcome, Plan, SourceFile, Tree,
    Variable, compile,
};

/// A commit with some files, and what the event changed.
#[derive(Default)]
struct Commit {
    files: BTreeMap<String, String>,
    changed: Option<Vec<String>>,
}

impl Tree for Commit {
    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }
    fn files(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }
    fn changed(&self) -> Option<Vec<String>> {
        self.changed.clone()
    }
}

impl Commit {
    fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }
}

fn push() -> EventContext {
    EventContext {
        source: "push".to_owned(),
        ref_name: "main".to_owned(),
        project_path: "team/app".to_owned(),
        predefined: vec![
            Variable::public("CI_COMMIT_BRANCH", "main"),
            Variable::public("CI_PIPELINE_SOURCE", "push"),
            Variable::public("CI_PROJECT_NAME", "app"),
        ],
        ..EventContext::default()
    }
}

fn compile_in(text: &str, event: &EventContext, commit: &Commit) -> Result<Compiled, Diagnostics> {
    compile(
        &SourceFile {
            path: ".gitlab-ci.yml",
            text,
        },
        event,
        commit,
        &Limits::default(),
    )
}

fn compiled(text: &str) -> Compiled {
    compile_in(text, &push(), &Commit::default()).unwrap_or_else(|it| panic!("{it}\n{text}"))
}

fn plan_of(compiled: Compiled) -> Plan {
    match compiled.outcome {
        Outcome::Pipeline(plan) => plan,
        other => panic!("no pipeline: {other:?}"),
    }
}

fn plan(text: &str) -> Plan {
    plan_of(compiled(text))
}

/// Compiles a file and returns the job that is called `a`.
fn job(text: &str) -> JobPlan {
    let plan = plan(text);
    plan.find_job("a")
        .cloned()
        .unwrap_or_else(|| panic!("no job a: {plan:#?}"))
}

/// Returns all errors with their places.
fn errors(text: &str) -> String {
    errors_in(text, &Commit::default())
}

fn errors_in(text: &str, commit: &Commit) -> String {
    match compile_in(text, &push(), commit) {
        Ok(compiled) => panic!("no error: {:?}\n{text}", compiled.outcome),
        Err(errors) => errors.to_string(),
    }
}

/// Returns the jobs of the plan, one line each.
fn summary(plan: &Plan) -> String {
    let lines: Vec<String> = plan
        .jobs
        .iter()
        .map(|job| {
            let needs = job
                .needs
                .as_ref()
                .map(|it| it.iter().map(|it| it.job.as_str()).collect::<Vec<_>>());
            let needs = needs.map(|it| format!(" needs {it:?}")).unwrap_or_default();
            format!("{}: {}{needs} {:?}", job.stage, job.name, job.script)
        })
        .collect();
    lines.join("\n")
}

fn shown(variables: &[Variable]) -> String {
    variables
        .iter()
        .map(|it| format!("{}={}", it.key, it.value))
        .collect::<Vec<_>>()
        .join(" ")
}
