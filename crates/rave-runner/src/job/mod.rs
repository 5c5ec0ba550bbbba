//! One job from its announcement to its result.

mod archives;
mod disk;
pub(crate) mod lost;
mod memory;
pub(crate) mod place;
mod run_steps;
mod sources;
mod stages;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::host::Usage;
use crate::report::{Reporter, Stops, Verdict};
use crate::runner::Shared;
use crate::source::Remote;
use crate::trace::{Form, Tone, Trace};
use crate::variables::Variables;
use crate::wire;
use disk::Quota;
use place::Place;
use stages::{Failure, Stages};

/// How long a job without a timeout of its own may take.
const DEFAULT_TIMEOUT_SECS: u64 = 7200;

/// Runs a job and reports it. Never fails: whatever happens is the job's result.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    job: wire::Job,
    slot: usize,
    live: bool,
    interrupted: CancellationToken,
) {
    let arrived = Instant::now();
    let config = &shared.config;
    let labels = config.labels();
    let info = &job.job_info;
    let _running = config
        .metrics
        .job(&labels, info.time_in_queue_seconds, info.queue_size);
    let place = Place::new(&config.builds_dir, slot, &job, shared.executor.layout());
    let remote = Remote::parse(&job.git_info.repo_url);
    let timeout = u64::try_from(job.runner_info.timeout)
        .ok()
        .filter(|it| *it > 0)
        .unwrap_or(DEFAULT_TIMEOUT_SECS);
    let mut variables = settle(shared, &job, &place, slot, timeout, &remote);
    let placed = chosen(shared, &place, variables.get("GIT_CLONE_PATH"));
    let place = match &placed {
        Ok(Some(chosen)) => {
            variables = settle(shared, &job, chosen, slot, timeout, &remote);
            chosen.clone()
        }
        _ => place,
    };
    let form = Form {
        limit: config.output_limit_bytes,
        sections: job.features.trace_sections,
        timestamps: variables.is_on("FF_TIMESTAMPS"),
    };
    let (record, files) = match shared.state.keep(&job, place.temporary()) {
        Ok(kept) => kept,
        Err(error) => {
            // Without a log there is nothing to tell the server; it ends the job when its lease does.
            tracing::error!(job.id = job.id, %error, "cannot keep a job's log");
            return;
        }
    };
    let prefixes = &job.features.token_mask_prefixes;
    let trace = Trace::open(
        files,
        variables.masked(),
        prefixes,
        form,
        config.clock.clone(),
    );
    let stops = Stops::new(interrupted);
    let mut reporter = Reporter::new(
        shared.client.clone(),
        &job,
        trace.clone(),
        stops.clone(),
        live,
    );
    reporter.set_debug(variables.is_on("CI_DEBUG_TRACE"));
    tracing::info!(
        job.id = job.id,
        project.id = job.job_info.project_id,
        name = job.job_info.name,
        "job started"
    );
    if !reporter.announce().await {
        tracing::info!(job.id = job.id, "the job was taken back");
        record.remove();
        return;
    }
    let done = CancellationToken::new();
    let work = async {
        let admitted = match memory::settle(shared, &job, &mut variables, &trace) {
            Ok(share) => memory::admit(shared, &job, share, &trace, &stops).await,
            Err(failure) => Err(failure),
        };
        let ended = match admitted {
            Ok(grant) => {
                let written = (place.written(), config.clock.now());
                let quota = Quota::settle(config.job_disk_bytes, written.0, written.1);
                let stop = stops.all.clone();
                let mut stages = Stages {
                    shared,
                    session: None,
                    misplaced: placed.err(),
                    grant,
                    job: &job,
                    place,
                    variables,
                    remote,
                    trace: trace.clone(),
                    stops,
                    deadline: Instant::now() + Duration::from_secs(timeout),
                };
                let run = Box::pin(stages.run());
                let failure = bounded(run, quota.as_ref(), &trace, &stop).await;
                (failure, Some(stages.grant.end().await))
            }
            Err(failure) => (Some(failure), None),
        };
        done.cancel();
        ended
    };
    let ((failure, usage), reporter) = tokio::join!(work, reporter.follow(done.clone()));
    if let Some(line) = usage.as_ref().and_then(Usage::line) {
        trace.line(Tone::Plain, &line);
    }
    let verdict = conclude(&trace, failure, timeout);
    if let Verdict::Failed { reason, .. } = &verdict {
        config.metrics.job_failed(&labels, reason);
    }
    let duration_ms = u64::try_from(arrived.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(job.id = job.id, ?verdict, duration_ms, "job finished");
    if let Some(usage) = &usage {
        memory::learn(shared, &job, usage, &verdict).await;
    }
    record.conclude(&verdict);
    if reporter.finish(&verdict, usage).await {
        record.remove();
    }
}

/// Runs a job's stages, and ends them when it writes more to the disk than it may.
async fn bounded(
    mut run: Pin<Box<impl Future<Output = Option<Failure>>>>,
    quota: Option<&Quota>,
    trace: &Trace,
    stop: &CancellationToken,
) -> Option<Failure> {
    let exceeded = async {
        match quota {
            Some(quota) => quota.exceeded().await,
            None => std::future::pending().await,
        }
    };
    let exceeded = tokio::select! {
        failure = &mut run => return failure,
        exceeded = exceeded => exceeded,
    };
    trace.line(Tone::Error, &exceeded.text());
    stop.cancel();
    run.await;
    Some(Failure::Disk)
}

/// Writes the last line of the log and returns the result.
fn conclude(trace: &Trace, failure: Option<Failure>, timeout_secs: u64) -> Verdict {
    let Some(failure) = failure else {
        trace.finish(Tone::Notice, "Job succeeded");
        return Verdict::Success;
    };
    let failed = |reason: &'static str, exit_code| Verdict::Failed {
        reason: reason.into(),
        exit_code,
    };
    let (text, verdict) = match failure {
        Failure::Exit(code) => (
            format!("exit status {code}"),
            failed("script_failure", Some(code)),
        ),
        Failure::Signal(signal) => (
            format!("ended by signal {signal}"),
            failed("script_failure", Some(128 + signal)),
        ),
        Failure::OutOfMemory => (
            "out of memory".to_owned(),
            failed("script_failure", Some(137)),
        ),
        Failure::Disk => (
            "it wrote more to the disk than it may".to_owned(),
            failed("script_failure", None),
        ),
        Failure::ScriptTimeout => (
            "the script took longer than it may".to_owned(),
            failed("job_execution_timeout", None),
        ),
        Failure::Timeout => (
            format!("execution took longer than {timeout_secs} seconds"),
            failed("job_execution_timeout", None),
        ),
        Failure::Canceled => ("canceled".to_owned(), failed("job_canceled", None)),
        Failure::Interrupted => (
            "the runner is shutting down".to_owned(),
            failed("runner_interrupted", None),
        ),
        Failure::Configuration(text) => (text, failed("runner_configuration_error", None)),
        Failure::Image(text) => (text, failed("image_pull_failure", None)),
        Failure::TooLarge(text) => (text, failed("runner_unsupported", None)),
        Failure::Evicted => (
            "(system failure): the machine ran out of memory".to_owned(),
            failed("runner_system_failure", None),
        ),
        Failure::System(text) => (
            format!("(system failure): {text}"),
            failed("runner_system_failure", None),
        ),
    };
    let separator = if text.starts_with("(system") {
        " "
    } else {
        ": "
    };
    trace.finish(Tone::Error, &format!("ERROR: Job failed{separator}{text}"));
    verdict
}

/// Returns the directories that a job asks for, if it does and may.
fn chosen(shared: &Shared, place: &Place, path: &str) -> Result<Option<Place>, String> {
    let allowed = shared.config.custom_build_dir;
    if path.is_empty() {
        return Ok(None);
    }
    if !allowed.unwrap_or(shared.executor.layout().disposable) {
        return Err(
            "GIT_CLONE_PATH is set, and this runner does not let jobs choose their directory: \
                    enable custom_build_dir in its configuration, or leave the variable out"
                .to_owned(),
        );
    }
    let outside = || {
        format!(
            "GIT_CLONE_PATH is {path:?}, which is not below {}",
            place.job_builds
        )
    };
    place.moved(path).ok_or_else(outside).map(Some)
}

/// Settles the variables of a job, in the order that the protocol gives them.
fn settle(
    shared: &Shared,
    job: &wire::Job,
    place: &Place,
    slot: usize,
    timeout_secs: u64,
    remote: &Remote,
) -> Variables {
    let config = &shared.config;
    let mut variables = Variables::default();
    variables.set("CI_RUNNER_SHORT_TOKEN", config.short_token());
    for (key, value) in &config.extra_env {
        variables.set(key, value);
    }
    variables.set("CI_BUILDS_DIR", &place.job_builds);
    variables.set("CI_PROJECT_DIR", &place.job_project);
    variables.set("CI_CONCURRENT_ID", slot.to_string());
    variables.set("CI_CONCURRENT_PROJECT_ID", slot.to_string());
    variables.set("CI_SERVER", "yes");
    variables.set("CI_JOB_STATUS", "running");
    variables.set("CI_JOB_TIMEOUT", timeout_secs.to_string());
    variables.extend_from_job(&job.variables, &place.job_temporary);
    let environment = if shared.executor.layout().disposable {
        "CI_DISPOSABLE_ENVIRONMENT"
    } else {
        "CI_SHARED_ENVIRONMENT"
    };
    variables.set(environment, "true");
    variables.set("CI_RUNNER_VERSION", &config.version);
    variables.set("CI_RUNNER_REVISION", &config.version);
    variables.set(
        "CI_RUNNER_EXECUTABLE_ARCH",
        format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    );
    variables.set("RUNNER_TEMP_PROJECT_DIR", &place.job_temporary);
    variables.set(
        "GITLAB_ENV",
        format!("{}/gitlab_runner_env", place.job_temporary),
    );
    for secret in [
        Some(job.token.as_str()),
        Some(config.token.expose()),
        remote.password(),
    ]
    .into_iter()
    .flatten()
    {
        variables.mask(secret);
    }
    variables.expanded()
}
