//! `rave ci list`: the jobs of an event, in the order of their stages.

use std::process::ExitCode;

use rave_ci_lang::{Compiled, JobPlan, Outcome, When};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PlanArgs, Session};
use crate::terminal::{Style, print, say};

/// What is listed of a plan.
#[derive(Serialize, Deserialize)]
struct List {
    jobs: Vec<Row>,
    /// Why there is no pipeline.
    refusal: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    name: String,
    stage: String,
    when: When,
    allow_failure: bool,
    needs: Option<Vec<String>>,
}

impl List {
    fn of(compiled: Compiled) -> Self {
        let refusal = compiled.outcome.refusal().map(str::to_owned);
        let jobs = match compiled.outcome {
            Outcome::Pipeline(plan) => plan.jobs,
            _ => Vec::new(),
        };
        let jobs = jobs.iter().map(Row::of).collect();
        Self { jobs, refusal }
    }
}

impl Row {
    pub(crate) fn of(job: &JobPlan) -> Self {
        let needs = job.needs.as_ref();
        Self {
            name: job.name.clone(),
            stage: job.stage.clone(),
            when: job.when,
            allow_failure: job.allow_failure,
            needs: needs.map(|it| it.iter().map(|it| it.job.clone()).collect()),
        }
    }
}

/// Prints the jobs.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.place, &args.event)?;
    let list = session.part_of_plan("list", List::of);
    let list = list.map_err(|it| session.invalid(&it))?;
    if args.json {
        let jobs: Vec<Value> = list.jobs.iter().map(summary).collect();
        print(&format!("{:#}\n", Value::from(jobs)))?;
        return Ok(ExitCode::SUCCESS);
    }
    match &list.refusal {
        None => print(&table(&list.jobs, Style::stdout()))?,
        Some(refusal) => say(refusal),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the API's word for when a job runs.
pub(crate) const fn when_label(when: When) -> &'static str {
    match when {
        When::OnSuccess => "on_success",
        When::OnFailure => "on_failure",
        When::Always => "always",
        When::Manual => "manual",
        When::Delayed => "delayed",
    }
}

pub(crate) fn summary(job: &Row) -> Value {
    json!({
        "name": job.name,
        "stage": job.stage,
        "when": when_label(job.when),
        "allow_failure": job.allow_failure,
        "needs": job.needs,
    })
}

fn table(jobs: &[Row], style: Style) -> String {
    let width = |texts: &mut dyn Iterator<Item = &str>, title: &str| {
        let widest = texts.map(|it| it.chars().count()).max();
        widest.unwrap_or(0).max(title.len())
    };
    let stages = width(&mut jobs.iter().map(|it| it.stage.as_str()), "STAGE");
    let names = width(&mut jobs.iter().map(|it| it.name.as_str()), "NAME");
    let header = format!(
        "{:stages$}  {:names$}  {:10}  {}",
        "STAGE", "NAME", "WHEN", "NEEDS"
    );
    let mut out = style.dim(&header) + "\n";
    for job in jobs {
        let when = format!("{:10}", when_label(job.when));
        let when = match job.when {
            When::OnSuccess => when,
            When::Manual | When::Delayed => style.yellow(&when),
            When::OnFailure | When::Always => style.cyan(&when),
        };
        let mut last = match &job.needs {
            None => String::new(),
            Some(needs) if needs.is_empty() => "nothing".to_owned(),
            Some(needs) => needs.join(", "),
        };
        if job.allow_failure {
            let gap = if last.is_empty() { "" } else { "  " };
            last += &format!("{gap}{}", style.dim("(may fail)"));
        }
        let name = style.bold(&format!("{:names$}", job.name));
        let line = format!("{:stages$}  {name}  {when}  {last}", job.stage);
        out += line.trim_end();
        out.push('\n');
    }
    out
}
