//! A run as lines: what the jobs print, each line with its job's name, on standard output; what happens to them, on
//! standard error. One job alone prints without its name.

use std::collections::BTreeMap;

use rave_ci::local::{LocalJob, LocalPipeline};
use rave_core::id::JobId;
use rave_core::job::Status;

use super::{Show, duration, painted, reason, sign};
use crate::job_log::LogLines;
use crate::terminal::{Style, print, say};

/// The widest name that others are aligned with.
const WIDEST: usize = 24;

pub(crate) struct Lines {
    /// The width of names; `None`: names are not shown.
    width: Option<usize>,
    everything: bool,
    logs: BTreeMap<JobId, LogLines>,
    seen: BTreeMap<JobId, Status>,
    /// Whether what happens to jobs is shown, too.
    states: bool,
}

impl Lines {
    /// `names` are those of all jobs.
    pub(crate) fn new(names: &[&str], everything: bool, states: bool) -> Self {
        let widest = names
            .iter()
            .map(|it| it.chars().count())
            .max()
            .unwrap_or_default();
        Self {
            width: (names.len() > 1).then_some(widest.min(WIDEST)),
            everything,
            logs: BTreeMap::new(),
            seen: BTreeMap::new(),
            states,
        }
    }

    fn write(&self, job: &LocalJob, lines: impl IntoIterator<Item = String>) {
        let style = Style::stdout();
        let prefix = match self.width {
            Some(width) => format!("{} ", style.cyan(&format!("{:<width$} |", job.name))),
            None => String::new(),
        };
        let text: String = lines
            .into_iter()
            .map(|it| format!("{prefix}{it}\n"))
            .collect();
        // Whoever closed standard output does not want to read on; the run goes on all the same.
        let _ = print(&text);
    }
}

impl Show for Lines {
    fn wants_logs(&self) -> bool {
        true
    }

    fn output(&mut self, job: &LocalJob, bytes: &[u8]) {
        let everything = self.everything;
        let colour = Style::stdout().is_coloured();
        let log = self
            .logs
            .entry(job.id)
            .or_insert_with(|| LogLines::new(colour, everything));
        let lines = log.push(bytes);
        self.write(job, lines);
    }

    fn update(&mut self, pipelines: &[LocalPipeline]) {
        let style = Style::stderr();
        for job in pipelines.iter().flat_map(|it| &it.jobs) {
            let before = self.seen.insert(job.id, job.status);
            if before == Some(job.status) {
                continue;
            }
            if job.status.is_finished()
                && let Some(line) = self.logs.get_mut(&job.id).and_then(LogLines::finish)
            {
                self.write(job, [line]);
            }
            let waits = matches!(job.status, Status::Created | Status::Pending);
            if waits || !self.states {
                continue;
            }
            let mut parts = vec![sign(style, job), style.bold(&job.name), painted(style, job)];
            let ended = job.status.is_finished();
            parts.extend(duration(job).filter(|_| ended).map(|it| format!("in {it}")));
            parts.extend(reason(job).map(|it| style.dim(&format!("({it})"))));
            say(&parts.join(" "));
        }
    }
}
