//! `rave ci plan`: the whole pipeline of an event, or what a change of the file does to it.

use std::process::ExitCode;

use clap::Args;
use rave_ci_lang::{JobPlan, Outcome, Plan, PlanDiff};

use super::list::when_label;
use super::{PlanArgs, Session};
use crate::failure::hinted;
use crate::terminal::{Style, print};

/// Longest value of a changed key that is shown.
const MAX_VALUE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct PlanCommandArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Say what the working tree adds to and drops from the plan of this commit
    #[arg(long, value_name = "REF")]
    diff: Option<String>,
}

/// Prints the plan or the difference.
pub(crate) fn run(args: &PlanCommandArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.plan.place, &args.plan.event)?;
    let style = Style::stdout();
    if let Some(reference) = &args.diff {
        let diff = compared(&session, reference)?;
        print(&match args.plan.json {
            true => format!("{}\n", serde_json::to_string_pretty(&diff)?),
            false => rendered(&diff, reference, style),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let compiled = session.compile().map_err(|it| session.invalid(&it))?;
    if args.plan.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&compiled)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let context = &session.occasion.context;
    let mut out = format!(
        "{} on {} {}\n",
        style.bold(&context.source),
        if context.tag { "tag" } else { "branch" },
        style.bold(&context.ref_name)
    );
    match &compiled.outcome {
        Outcome::Pipeline(plan) => out += &described(plan, style),
        other => out += &format!("no pipeline: {}\n", other.refusal().unwrap_or_default()),
    }
    for notice in &compiled.notices {
        out += &format!("{} {notice}\n", style.yellow("note:"));
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn described(plan: &Plan, style: Style) -> String {
    let mut out = String::new();
    if let Some(name) = &plan.name {
        out += &format!("name: {name}\n");
    }
    for (index, stage) in plan.stages.iter().enumerate() {
        let mut jobs = plan
            .jobs
            .iter()
            .filter(|it| it.stage_index == index)
            .peekable();
        if jobs.peek().is_some() {
            out += &format!("\n{}\n", style.cyan(stage));
        }
        for job in jobs {
            out += &format!("  {}{}\n", style.bold(&job.name), style.dim(&remarks(job)));
        }
    }
    out
}

/// Says what is not the usual of a job.
fn remarks(job: &JobPlan) -> String {
    let mut remarks = Vec::new();
    if job.when != rave_ci_lang::When::OnSuccess {
        remarks.push(when_label(job.when).to_owned());
    }
    if job.allow_failure {
        remarks.push("may fail".to_owned());
    }
    match job.needs.as_deref() {
        None => {}
        Some([]) => remarks.push("needs nothing".to_owned()),
        Some(needs) => {
            let names: Vec<&str> = needs.iter().map(|it| it.job.as_str()).collect();
            remarks.push(format!("needs {}", names.join(", ")));
        }
    }
    if let Some(image) = &job.image {
        remarks.push(format!("image {}", image.name));
    }
    if !job.tags.is_empty() {
        remarks.push(format!("tags {}", job.tags.join(", ")));
    }
    if let Some(environment) = &job.environment {
        remarks.push(format!("environment {}", environment.name));
    }
    match remarks.is_empty() {
        true => String::new(),
        false => format!("  {}", remarks.join("; ")),
    }
}

/// Compares the plan of the working tree with that of a commit, for the same event.
fn compared(session: &Session, reference: &str) -> anyhow::Result<PlanDiff> {
    let after = session.compile().map_err(|it| session.invalid(&it))?;
    let before = match session.compile_at(reference)? {
        None => Outcome::NoJobs,
        Some(Ok(compiled)) => compiled.outcome,
        Some(Err(errors)) => {
            let text = format!("{} is not valid at {reference}", session.file);
            return Err(hinted(
                text,
                "compare with a commit at which it was",
                Some(errors.into()),
            ));
        }
    };
    Ok(PlanDiff::between(&before, &after.outcome))
}

fn rendered(diff: &PlanDiff, reference: &str, style: Style) -> String {
    if diff.is_empty() {
        return format!("the same jobs as at {reference}\n");
    }
    let mut out = String::new();
    for name in &diff.added {
        out += &format!("{} {name}\n", style.green("+"));
    }
    for name in &diff.dropped {
        out += &format!("{} {name}\n", style.red("-"));
    }
    for job in &diff.changed {
        out += &format!("{} {}\n", style.yellow("~"), job.name);
        for key in &job.keys {
            out += &format!(
                "    {}: {} -> {}\n",
                key.key,
                cut(&key.before),
                cut(&key.after)
            );
        }
    }
    if let (None, Some(reason)) = (&diff.refused_before, &diff.refused_after) {
        out += &format!("no pipeline any more: {reason}\n");
    }
    out
}

fn cut(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
