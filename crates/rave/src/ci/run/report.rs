//! What is said of a run when it is over.

use std::time::Duration;

use rave_ci::local::{LocalJob, LocalPipeline};
use rave_core::job::Status;
use rave_http::component;
use serde_json::json;

use super::HowArgs;
use super::follow::Follow;
use super::leave::Left;
use super::show::{self, Shown};
use crate::job_log::tail;
use crate::terminal::{Style, print, say};

/// How many lines of a failed job's log are shown.
const TAIL: usize = 30;

/// A run that is over.
pub(super) struct Over<'a> {
    pub(super) pipelines: &'a [LocalPipeline],
    pub(super) left: &'a Left,
    pub(super) took: Duration,
    pub(super) shown: Shown,
}

impl Over<'_> {
    /// Whether the pipeline passed, as far as it could without a person.
    pub(super) fn passed(&self) -> bool {
        let status = self.pipelines.first().map(|it| it.status);
        matches!(
            status,
            Some(Status::Success | Status::Manual | Status::Skipped)
        )
    }

    /// Says how it ended: the logs of jobs that failed, unless they were shown before, and one line for all.
    pub(super) async fn report(&self, how: &HowArgs, follow: &Follow<'_>) -> anyhow::Result<()> {
        let Some(root) = self.pipelines.first() else {
            return Ok(());
        };
        let jobs = || self.pipelines.iter().flat_map(|it| &it.jobs);
        let duration_ms = i64::try_from(self.took.as_millis()).unwrap_or(i64::MAX);
        if self.shown == Shown::Json {
            show::emit(&json!({
                "event": "summary",
                "status": root.status.label(),
                "duration_ms": duration_ms,
                "jobs": jobs().map(show::shape).collect::<Vec<_>>(),
                "artifacts": (!self.left.jobs.is_empty()).then(|| self.left.directory.display().to_string()),
            }));
            return Ok(());
        }
        let style = Style::stderr();
        if self.shown == Shown::Table {
            for job in jobs().filter(|it| it.status == Status::Failed) {
                show_log(how, follow, job).await?;
            }
        } else if jobs().nth(1).is_some() {
            say("");
            for line in show::table(self.pipelines, style) {
                say(&line);
            }
        }
        let word = match root.status {
            Status::Success => style.green("passed"),
            Status::Failed => style.red("failed"),
            Status::Manual => style.yellow("waits for manual jobs"),
            status => style.dim(show::word(status)),
        };
        let name = root
            .name
            .as_deref()
            .map(|it| format!(" {}", style.bold(it)));
        let took = component::duration(duration_ms);
        say(&format!(
            "Pipeline{} {word} in {took}",
            name.unwrap_or_default()
        ));
        if !self.left.jobs.is_empty() {
            let place = self.left.directory.display();
            say(&format!(
                "Artifacts of {} are in {place}",
                show::list(&self.left.jobs)
            ));
        }
        Ok(())
    }
}

/// Shows the end of a failed job's log.
async fn show_log(how: &HowArgs, follow: &Follow<'_>, job: &LocalJob) -> anyhow::Result<()> {
    let style = Style::stderr();
    let log = follow.log(job.id).await?;
    let colour = Style::stdout().is_coloured();
    let count = if how.full_log { usize::MAX } else { TAIL };
    let mut lines = tail(&log, count, colour, how.full_log);
    if lines.len() < 2 {
        // It failed before its script began.
        lines = tail(&log, count, colour, true);
    }
    let what = if how.full_log {
        "the log"
    } else {
        "the end of the log"
    };
    say(&format!("\n{}: {what}", style.bold(&job.name)));
    let text: String = lines
        .iter()
        .map(|it| format!("  {} {it}\n", style.dim("│")))
        .collect();
    print(&text)?;
    Ok(())
}
