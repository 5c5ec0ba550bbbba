//! A pipeline in the terminal: one line per job, updated in place; without a terminal, one line per change.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rave_core::job::Status;

use super::api::{Api, INTERVAL, Job};
use crate::terminal::{Style, say};

/// Shows the pipeline until it ends or waits for a person.
pub(super) async fn watch(api: &Api, pipeline: i64) -> anyhow::Result<Status> {
    let mut table = Table::new();
    loop {
        // The status is read first: when it says that all is over, the jobs read after it say so too.
        let status = api.pipeline_status(pipeline).await?;
        table.update(&api.jobs(pipeline).await?);
        if status.is_finished() || status == Status::Manual {
            table.finish();
            return Ok(status);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Table {
    bars: MultiProgress,
    rows: BTreeMap<i64, Row>,
    style: Style,
}

struct Row {
    bar: ProgressBar,
    status: Option<Status>,
}

impl Table {
    fn new() -> Self {
        Self {
            bars: MultiProgress::new(),
            rows: BTreeMap::new(),
            style: Style::stderr(),
        }
    }

    fn update(&mut self, jobs: &[Job]) {
        for job in jobs {
            let row = self.rows.entry(job.id).or_insert_with(|| {
                let bar = self.bars.add(ProgressBar::new_spinner());
                Row { bar, status: None }
            });
            if row.status == Some(job.status) {
                continue;
            }
            row.status = Some(job.status);
            show(row, job, self.style, self.bars.is_hidden());
        }
    }

    fn finish(&self) {
        self.rows.values().for_each(|it| it.bar.abandon());
    }
}

fn show(row: &Row, job: &Job, style: Style, plain: bool) {
    let running = job.status == Status::Running;
    // While a job runs its line counts by itself.
    let seconds = job.seconds.filter(|_| !running);
    let seconds = seconds.map(|it| format!("{it:.1}s")).unwrap_or_default();
    let text = format!(
        "{:<8} {:<9} {} {seconds}",
        job.stage,
        job.name,
        painted(style, job.status)
    );
    if plain {
        say(format!("  {text}").trim_end());
        return;
    }
    let template = if running {
        "  {spinner:.blue} {msg}{elapsed}"
    } else {
        "  {prefix} {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        row.bar.set_style(style);
    }
    row.bar.set_prefix(sign(style, job.status));
    row.bar.set_message(text);
    row.bar.reset_elapsed();
    if running {
        row.bar.enable_steady_tick(Duration::from_millis(100))
    } else {
        row.bar.disable_steady_tick()
    }
    row.bar.tick();
}

fn sign(style: Style, status: Status) -> String {
    match status {
        Status::Success => style.green("✓"),
        Status::Failed => style.red("✗"),
        Status::Skipped | Status::Canceled => style.dim("–"),
        Status::Manual => style.yellow("▶"),
        _ => style.dim("·"),
    }
}

/// Returns a status's name in its colour.
pub(super) fn painted(style: Style, status: Status) -> String {
    let name = if status == Status::Success {
        "passed"
    } else {
        status.label()
    };
    match status {
        Status::Success => style.green(name),
        Status::Failed => style.red(name),
        Status::Running => style.cyan(name),
        _ => style.dim(name),
    }
}
