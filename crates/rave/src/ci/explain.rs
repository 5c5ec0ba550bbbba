//! `rave ci explain JOB`: why a job is in the pipeline or is not, and where it comes from.

use std::process::ExitCode;

use clap::Args;
use rave_ci_lang::NotExplained;

use super::{PlanArgs, Session};
use crate::failure::hinted;
use crate::terminal::{Style, print};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Name of the job; that of a parallel job means all of its copies [default: a verdict on every job of the file]
    #[arg(value_name = "JOB")]
    job: Option<String>,
    #[command(flatten)]
    plan: PlanArgs,
}

/// Prints the explanation.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.plan.place, &args.plan.event)?;
    let Some(job) = &args.job else {
        return overview(&session, args.plan.json);
    };
    let explained = rave_ci_lang::explain(
        &session.source(),
        &session.occasion.context,
        &session.tree,
        &session.limits,
        job,
    );
    let explanation = match explained {
        Ok(explanation) => explanation,
        Err(NotExplained::Invalid(errors)) => return Err(session.invalid(&errors)),
        Err(error @ NotExplained::NoSuchJob { .. }) => {
            let NotExplained::NoSuchJob { hint, .. } = &error else {
                return Err(error.into());
            };
            let hint = hint.clone();
            let hint =
                hint.unwrap_or_else(|| "`rave ci show` prints all jobs of the file".to_owned());
            return Err(hinted(error.to_string(), hint, None));
        }
    };
    if args.plan.json {
        print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&explanation)?
        ))?;
    } else {
        print(&painted(&explanation.render(), Style::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line for every job of the file.
fn overview(session: &Session, json: bool) -> anyhow::Result<ExitCode> {
    let verdicts = rave_ci_lang::verdicts(
        &session.source(),
        &session.occasion.context,
        &session.tree,
        &session.limits,
    );
    let verdicts = verdicts.map_err(|it| session.invalid(&it))?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&verdicts)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style::stdout();
    let width = verdicts.jobs.iter().map(|it| it.name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut out = format!(
        "{} on {}: {}\n\n",
        verdicts.source, verdicts.ref_name, verdicts.workflow.verdict
    );
    for job in &verdicts.jobs {
        let included = match job.included {
            true => style.green("yes"),
            false => style.red("no "),
        };
        let name = style.bold(&format!("{:width$}", job.name));
        out += &format!("{name}  {included}  {}\n", job.verdict);
    }
    for error in &verdicts.errors {
        out += &format!("\nno pipeline is made, because {error}\n");
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Colours titles and answers.
fn painted(text: &str, style: Style) -> String {
    let line = |line: &str| {
        if !line.is_empty() && !line.starts_with(' ') {
            return style.bold(line);
        }
        for (answer, painted) in [
            ("yes", style.green("yes")),
            ("no", style.red("no")),
            ("not asked", style.dim("not asked")),
        ] {
            let ends = |rest: &str| rest.is_empty() || rest.starts_with([':', ',']);
            if let Some((before, rest)) = line.rsplit_once(&format!("  {answer}"))
                && ends(rest)
            {
                return format!("{before}  {painted}{rest}");
            }
        }
        line.to_owned()
    };
    text.lines().map(|it| line(it) + "\n").collect()
}
