//! What a person or a program sees of a run while it lasts.

mod json;
mod lines;
mod table;

use std::time::Duration;

use rave_ci::local::{LocalJob, LocalPipeline};
use rave_core::job::Status;
use rave_core::time::{Clock as _, SystemClock};
use rave_http::component;

pub(super) use json::{Json, emit, shape};
pub(super) use lines::Lines;
pub(super) use table::Table;

use crate::terminal::{Style, say};

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Table,
    Lines,
    Json,
}

/// Shows a run.
pub(super) trait Show {
    /// Whether [`Show::output`] is to be called.
    fn wants_logs(&self) -> bool;
    /// A log grew by these bytes.
    fn output(&mut self, job: &LocalJob, bytes: &[u8]);
    /// Something may have happened. Logs have been passed on before.
    fn update(&mut self, pipelines: &[LocalPipeline]);
    /// How often [`Show::tick`] is to be called.
    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }
    /// Time has passed.
    fn tick(&mut self) {}
    /// Something is to be said to the user.
    fn note(&mut self, text: &str) {
        say(text);
    }
    /// Nothing more comes.
    fn finish(&mut self) {}
}

/// Returns a line per job.
pub(super) fn table(pipelines: &[LocalPipeline], style: Style) -> Vec<String> {
    table::lines(pipelines, style, usize::MAX)
}

/// Returns how long a job ran, or has run.
pub(super) fn duration(job: &LocalJob) -> Option<String> {
    let until = job.finished_at.unwrap_or_else(|| SystemClock.now());
    Some(component::duration(until.since(job.started_at?)))
}

/// Returns the word for a status.
pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::Success => "passed",
        Status::Created => "waits",
        Status::Manual => "manual",
        Status::Scheduled => "delayed",
        Status::Canceling => "stopping",
        status => status.label(),
    }
}

/// Returns the sign of a status in its colour.
pub(super) fn sign(style: Style, job: &LocalJob) -> String {
    match job.status {
        Status::Success => style.green("✓"),
        Status::Failed if job.allow_failure => style.yellow("!"),
        Status::Failed => style.red("✗"),
        Status::Running | Status::Canceling => style.cyan("●"),
        Status::Manual | Status::Scheduled => style.yellow("▶"),
        Status::Skipped | Status::Canceled => style.dim("–"),
        _ => style.dim("·"),
    }
}

/// Returns a status's word in its colour.
pub(super) fn painted(style: Style, job: &LocalJob) -> String {
    let word = word(job.status);
    match job.status {
        Status::Success => style.green(word),
        Status::Failed if job.allow_failure => style.yellow(word),
        Status::Failed => style.red(word),
        Status::Running => style.cyan(word),
        _ => style.dim(word),
    }
}

/// Returns why a job does not run, or why it failed.
pub(super) fn reason(job: &LocalJob) -> Option<String> {
    let tries = match job.retries {
        0 => String::new(),
        count => format!(", try {}", count + 1),
    };
    match (job.status, job.failure, job.exit_code) {
        (Status::Failed, _, Some(code)) => Some(format!("exit code {code}{tries}{}", allowed(job))),
        (Status::Failed, Some(reason), None) => {
            let label = reason.label().replace('_', " ");
            Some(format!("{label}{tries}{}", allowed(job)))
        }
        (Status::Created, ..) if !job.waits_for.is_empty() => {
            Some(format!("for {}", list(&job.waits_for)))
        }
        (Status::Pending, ..) => {
            let message = job.pending_message.clone();
            Some(message.unwrap_or_else(|| "for a free place".to_owned()))
        }
        (Status::Manual, ..) => Some(format!("start it with --manual {}", quoted(&job.name))),
        (Status::Skipped, ..) => Some("because of the jobs before it".to_owned()),
        _ if job.retries > 0 => Some(format!("try {}", job.retries + 1)),
        _ => None,
    }
}

fn allowed(job: &LocalJob) -> &'static str {
    if job.allow_failure {
        ", which is allowed"
    } else {
        ""
    }
}

/// Joins names as in `a, b and 3 more`.
pub(super) fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] if first.len() < 4 => format!("{} and {last}", first.join(", ")),
        [first @ .., _] => format!("{} and {} more", first[..3].join(", "), names.len() - 3),
    }
}

/// Quotes a name for the shell where it needs it.
pub(super) fn quoted(name: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:@%+=".contains(it);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_and_quoted() {
        let names: Vec<String> = "abcdef".chars().map(String::from).collect();
        assert_eq!(list(&names[..3]), "a, b and c");
        assert_eq!(list(&names), "a, b, c and 3 more");
        assert_eq!(quoted("build:linux"), "build:linux");
        assert_eq!(quoted("it's [a]"), r"'it'\''s [a]'");
    }
}
