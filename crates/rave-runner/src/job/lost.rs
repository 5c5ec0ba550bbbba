//! The jobs of a runner that was killed: what they left is removed, and the server is told.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::place::remove_tree;
use crate::config::RunnerConfig;
use crate::report::{Reporter, Stops, Verdict};
use crate::runner::Shared;
use crate::state::Lost;
use crate::trace::{Tone, Trace};

/// Removes what jobs and their stages left in the runner's directories. Their processes, and with these their mounts, ended
/// with the runner; their control groups are swept when the executor opens.
pub(crate) fn clear(config: &RunnerConfig, lost: &[Lost]) {
    for job in lost {
        removed(&job.temporary, remove_tree(&job.temporary));
    }
    // Archives on their way, which have no other name than that of a temporary file.
    for entry in std::fs::read_dir(&config.builds_dir)
        .into_iter()
        .flatten()
        .flatten()
    {
        let unnamed = entry.file_name().to_string_lossy().starts_with(".tmp");
        if unnamed && entry.file_type().is_ok_and(|it| it.is_file()) {
            removed(&entry.path(), std::fs::remove_file(entry.path()));
        }
    }
}

fn removed(path: &Path, done: io::Result<()>) {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "cannot remove what a killed runner left");
        }
        _ => {}
    }
}

/// Sends the rest of a lost job's log, and how the job ended: as it did, or for want of a runner.
pub(crate) async fn settle(shared: &Arc<Shared>, lost: Lost, interrupted: CancellationToken) {
    let Lost {
        job,
        verdict,
        log,
        record,
        ..
    } = lost;
    let trace = match Trace::reopen(log, shared.config.clock.clone()) {
        Ok(trace) => trace,
        Err(error) => {
            tracing::error!(job.id = job.id, %error, "cannot read the log of a job whose runner was killed");
            record.remove();
            return;
        }
    };
    let verdict = verdict.unwrap_or_else(|| {
        if trace.is_mid_line().unwrap_or(false) {
            trace.line(Tone::Plain, "");
        }
        let text = "ERROR: Job failed (system failure): the runner was killed while the job ran";
        trace.finish(Tone::Error, text);
        Verdict::Failed {
            reason: "runner_system_failure".into(),
            exit_code: None,
        }
    });
    tracing::info!(
        job.id = job.id,
        ?verdict,
        "reporting a job whose runner was killed"
    );
    let reporter = Reporter::new(
        shared.client.clone(),
        &job,
        trace,
        Stops::new(interrupted),
        false,
    );
    if reporter.finish(&verdict, None).await {
        record.remove();
    }
}
