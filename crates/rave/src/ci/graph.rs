//! `rave ci graph`: stages and what each job waits for.

use std::process::ExitCode;

use clap::Args;
use rave_ci_lang::{JobPlan, Outcome, Plan};
use serde_json::{Value, json};

use super::list::{Row, summary, when_label};
use super::{PlanArgs, Session};
use crate::terminal::{Style, print, say};

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Print a Mermaid flowchart, which Markdown pages show as a picture
    #[arg(long, conflicts_with = "json")]
    mermaid: bool,
}

/// Prints the graph.
pub(crate) fn run(args: &GraphArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.plan.place, &args.plan.event)?;
    let compiled = session.compile().map_err(|it| session.invalid(&it))?;
    let Outcome::Pipeline(plan) = &compiled.outcome else {
        say(compiled.outcome.refusal().unwrap_or_default());
        if args.plan.json {
            print("{\n  \"stages\": []\n}\n")?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let graph = Graph::of(plan);
    print(&if args.plan.json {
        format!("{:#}\n", graph.json())
    } else if args.mermaid {
        graph.mermaid()
    } else {
        graph.text(Style::stdout())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The stages that have jobs, in order.
struct Graph<'a> {
    stages: Vec<(&'a str, Vec<&'a JobPlan>)>,
}

impl<'a> Graph<'a> {
    fn of(plan: &'a Plan) -> Self {
        let stages = plan.stages.iter().enumerate();
        let with_jobs = stages.map(|(index, stage)| {
            let jobs = plan.jobs.iter().filter(|it| it.stage_index == index);
            (stage.as_str(), jobs.collect::<Vec<_>>())
        });
        Self {
            stages: with_jobs.filter(|it| !it.1.is_empty()).collect(),
        }
    }

    fn json(&self) -> Value {
        let mut earlier: Vec<&str> = Vec::new();
        let mut stages = Vec::new();
        for (stage, jobs) in &self.stages {
            let jobs = jobs.iter().map(|job| {
                let mut value = summary(&Row::of(job));
                if job.needs.is_none() {
                    value["waits_for_stages"] = json!(earlier);
                }
                value
            });
            stages.push(json!({ "name": stage, "jobs": jobs.collect::<Vec<_>>() }));
            earlier.push(stage);
        }
        json!({ "stages": stages })
    }

    fn text(&self, style: Style) -> String {
        let jobs = self.stages.iter().flat_map(|it| &it.1);
        let width = jobs.map(|it| it.name.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        let mut before = None;
        for (stage, jobs) in &self.stages {
            out += &format!("{}\n", style.cyan(stage));
            for job in jobs {
                let waits = match (&job.needs, before) {
                    (Some(needs), _) if needs.is_empty() => "starts at once".to_owned(),
                    (Some(needs), _) => {
                        let names: Vec<&str> = needs.iter().map(|it| it.job.as_str()).collect();
                        format!("after {}", names.join(", "))
                    }
                    (None, Some(stage)) => format!("after the stage {stage}"),
                    (None, None) => "starts at once".to_owned(),
                };
                let when = match job.when {
                    rave_ci_lang::When::OnSuccess => String::new(),
                    when => format!(", {}", when_label(when)),
                };
                let name = style.bold(&format!("{:width$}", job.name));
                out += &format!("  {name}  {}\n", style.dim(&(waits + &when)));
            }
            before = Some(*stage);
        }
        out
    }

    fn mermaid(&self) -> String {
        let jobs: Vec<&JobPlan> = self
            .stages
            .iter()
            .flat_map(|it| it.1.iter().copied())
            .collect();
        let ids: std::collections::HashMap<&str, usize> = jobs
            .iter()
            .enumerate()
            .map(|(id, it)| (it.name.as_str(), id))
            .collect();
        let mut out = "flowchart LR\n".to_owned();
        for (number, (stage, jobs)) in self.stages.iter().enumerate() {
            out += &format!("  subgraph s{number}[\"{}\"]\n", escaped(stage));
            for job in jobs {
                out += &format!(
                    "    j{}[\"{}\"]\n",
                    ids[job.name.as_str()],
                    escaped(&job.name)
                );
            }
            out += "  end\n";
        }
        for (number, (_, jobs)) in self.stages.iter().enumerate() {
            for job in jobs {
                let id = ids[job.name.as_str()];
                match &job.needs {
                    Some(needs) => {
                        for from in needs.iter().filter_map(|it| ids.get(it.job.as_str())) {
                            out += &format!("  j{from} --> j{id}\n");
                        }
                    }
                    None if number > 0 => out += &format!("  s{} --> j{id}\n", number - 1),
                    None => {}
                }
            }
        }
        out
    }
}

/// Makes a name harmless inside the quotes of a Mermaid label.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '"' => out += "#quot;",
            '#' => out += "#35;",
            '<' => out += "#lt;",
            '>' => out += "#gt;",
            it => out.push(it),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_leave_their_quotes() {
        assert_eq!(escaped("a \"b\" #1 <x>"), "a #quot;b#quot; #35;1 #lt;x#gt;");
    }
}
