//! A run for a program: one JSON object per line on standard output.

use std::collections::BTreeMap;

use rave_ci::local::{LocalJob, LocalPipeline};
use rave_core::id::{JobId, PipelineId};
use rave_core::job::Status;
use serde_json::{Value, json};

use super::Show;
use crate::job_log::LogLines;
use crate::terminal::print;

#[derive(Default)]
pub(crate) struct Json {
    everything: bool,
    logs: BTreeMap<JobId, LogLines>,
    jobs: BTreeMap<JobId, Status>,
    pipelines: BTreeMap<PipelineId, Status>,
}

impl Json {
    pub(crate) fn new(everything: bool) -> Self {
        Self {
            everything,
            ..Self::default()
        }
    }

    fn lines(job: &LocalJob, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            emit(&json!({ "event": "log", "job": job.name, "line": line }));
        }
    }
}

/// Writes an object.
pub(crate) fn emit(value: &Value) {
    // Whoever closed standard output does not want to read on; the run goes on all the same.
    let _ = print(&format!("{value}\n"));
}

/// Returns what is known of a job.
pub(crate) fn shape(job: &LocalJob) -> Value {
    let duration = job
        .started_at
        .zip(job.finished_at)
        .map(|(from, to)| to.since(from));
    json!({
        "name": job.name,
        "stage": job.stage,
        "status": job.status.label(),
        "failure_reason": job.failure.map(|it| it.label()),
        "exit_code": job.exit_code,
        "allow_failure": job.allow_failure,
        "retries": job.retries,
        "waits_for": job.waits_for,
        "pending_message": job.pending_message,
        "duration_ms": duration,
        "artifacts": job.artifacts.iter().map(|it| json!({
            "kind": it.kind, "filename": it.filename, "size_bytes": it.size_bytes,
        })).collect::<Vec<_>>(),
    })
}

impl Show for Json {
    fn wants_logs(&self) -> bool {
        true
    }

    fn output(&mut self, job: &LocalJob, bytes: &[u8]) {
        let everything = self.everything;
        let log = self
            .logs
            .entry(job.id)
            .or_insert_with(|| LogLines::new(false, everything));
        Self::lines(job, log.push(bytes));
    }

    fn update(&mut self, pipelines: &[LocalPipeline]) {
        for pipeline in pipelines {
            for job in &pipeline.jobs {
                if self.jobs.insert(job.id, job.status) == Some(job.status) {
                    continue;
                }
                if job.status.is_finished() {
                    Self::lines(job, self.logs.get_mut(&job.id).and_then(LogLines::finish));
                }
                emit(&json!({ "event": "job", "pipeline": pipeline.id.0, "job": shape(job) }));
            }
            if self.pipelines.insert(pipeline.id, pipeline.status) != Some(pipeline.status) {
                emit(&json!({
                    "event": "pipeline", "pipeline": pipeline.id.0, "name": pipeline.name, "status": pipeline.status.label(),
                }));
            }
        }
    }
}
