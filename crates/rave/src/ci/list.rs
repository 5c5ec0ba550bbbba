//! `rave ci list`: the jobs of an event, in the order of their stages.

use std::process::ExitCode;

use rave_ci_lang::{JobPlan, Outcome, Plan, When};
use serde_json::{Value, json};

use super::{PlanArgs, Session};
use crate::terminal::{Style, print, say};

/// Prints the jobs.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.place, &args.event)?;
    let compiled = session.compile().map_err(|it| session.invalid(&it))?;
    let plan = match &compiled.outcome {
        Outcome::Pipeline(plan) => Some(plan),
        _ => None,
    };
    if args.json {
        let jobs: Vec<Value> = plan.iter().flat_map(|it| &it.jobs).map(summary).collect();
        print(&format!("{:#}\n", Value::from(jobs)))?;
        return Ok(ExitCode::SUCCESS);
    }
    match plan {
        Some(plan) => print(&table(plan, Style::stdout()))?,
        None => say(compiled.outcome.refusal().unwrap_or_default()),
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

pub(crate) fn summary(job: &JobPlan) -> Value {
    let needs = job.needs.as_ref();
    json!({
        "name": job.name,
        "stage": job.stage,
        "when": when_label(job.when),
        "allow_failure": job.allow_failure,
        "needs": needs.map(|it| it.iter().map(|it| &it.job).collect::<Vec<_>>()),
    })
}

fn table(plan: &Plan, style: Style) -> String {
    let width = |texts: &mut dyn Iterator<Item = &str>, title: &str| {
        let widest = texts.map(|it| it.chars().count()).max();
        widest.unwrap_or(0).max(title.len())
    };
    let stages = width(&mut plan.jobs.iter().map(|it| it.stage.as_str()), "STAGE");
    let names = width(&mut plan.jobs.iter().map(|it| it.name.as_str()), "NAME");
    let header = format!(
        "{:stages$}  {:names$}  {:10}  {}",
        "STAGE", "NAME", "WHEN", "NEEDS"
    );
    let mut out = style.dim(&header) + "\n";
    for job in &plan.jobs {
        let when = format!("{:10}", when_label(job.when));
        let when = match job.when {
            When::OnSuccess => when,
            When::Manual | When::Delayed => style.yellow(&when),
            When::OnFailure | When::Always => style.cyan(&when),
        };
        let needs: Vec<&str> = job
            .needs
            .iter()
            .flatten()
            .map(|it| it.job.as_str())
            .collect();
        let mut last = match &job.needs {
            None => String::new(),
            Some(_) if needs.is_empty() => "nothing".to_owned(),
            Some(_) => needs.join(", "),
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
