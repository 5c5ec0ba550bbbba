//! A run as a table that is drawn anew while it lasts: a line per job; when they are too many for the terminal, one for
//! each that runs or failed and one for the rest.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rave_ci::local::{LocalJob, LocalPipeline};
use rave_core::job::Status;

use super::{Show, duration, painted, reason, sign};
use crate::terminal::{Style, say};

pub(crate) struct Table {
    bar: ProgressBar,
    style: Style,
    pipelines: Vec<LocalPipeline>,
}

impl Table {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            style: Style::stderr(),
            pipelines: Vec::new(),
        }
    }

    fn draw(&self, room: usize) {
        self.bar
            .set_message(lines(&self.pipelines, self.style, room).join("\n"));
        self.bar.tick();
    }
}

impl Show for Table {
    fn wants_logs(&self) -> bool {
        false
    }

    fn output(&mut self, _: &LocalJob, _: &[u8]) {}

    fn update(&mut self, pipelines: &[LocalPipeline]) {
        self.pipelines = pipelines.to_vec();
        self.tick();
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn tick(&mut self) {
        let height =
            terminal_size::terminal_size_of(std::io::stderr()).map_or(24, |it| usize::from(it.1.0));
        self.draw(height.saturating_sub(2).max(4));
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    fn finish(&mut self) {
        self.draw(usize::MAX);
        self.bar.abandon();
    }
}

/// Returns the table in at most so many lines.
pub(super) fn lines(pipelines: &[LocalPipeline], style: Style, room: usize) -> Vec<String> {
    let jobs: Vec<&LocalJob> = pipelines.iter().flat_map(|it| &it.jobs).collect();
    let widest = |of: fn(&LocalJob) -> &str| {
        jobs.iter()
            .map(|it| of(it).chars().count())
            .max()
            .unwrap_or_default()
    };
    let (stage, name) = (
        widest(|it| &it.stage).min(16),
        widest(|it| &it.name).min(40),
    );
    let row = |job: &&&LocalJob| {
        let mut text = format!(
            "  {} {:<stage$}  {:<name$}  {}",
            sign(style, job),
            job.stage,
            job.name,
            painted(style, job)
        );
        if let Some(duration) = duration(job) {
            text += &format!(" {duration}");
        }
        if let Some(reason) = reason(job) {
            text += &style.dim(&format!(" ({reason})"));
        }
        text
    };
    if jobs.len() <= room {
        return jobs.iter().map(|it| row(&it)).collect();
    }
    let speaks = |it: &&&LocalJob| {
        matches!(
            it.status,
            Status::Running | Status::Failed | Status::Canceling
        )
    };
    let mut rows: Vec<String> = jobs
        .iter()
        .filter(speaks)
        .take(room - 1)
        .map(|it| row(&it))
        .collect();
    let count = |wanted: fn(Status) -> bool| jobs.iter().filter(|it| wanted(it.status)).count();
    let passed = count(|it| it == Status::Success);
    let left = count(|it| !it.is_finished() && it != Status::Running);
    rows.push(style.dim(&format!("  {passed} of {} passed, {left} wait", jobs.len())));
    rows
}
