//! What pages say about the state of jobs, in sentences.

use maud::{Markup, html};
use rave_core::job::{FailureReason, JobState, Status};
use rave_core::time::Timestamp;
use rave_http::component;

use crate::model::Job;

/// Returns why a job failed, as a sentence and what to do about it.
pub(super) fn failure(job: &Job, reason: FailureReason) -> (String, &'static str) {
    use FailureReason as R;
    if job.bridge && reason == R::UnknownFailure {
        return (
            "The pipeline that it waited for did not succeed".to_owned(),
            "Look at that pipeline; when it is retried, this job goes on with it.",
        );
    }
    let (sentence, hint) = match reason {
        R::ScriptFailure => match job.exit_code {
            Some(code) => return (exit_code(code), exit_hint(code)),
            None => ("The script failed", "The end of the log says where."),
        },
        R::StuckOrTimeoutFailure => (
            "No runner took the job in time, or its runner fell silent",
            "Check that a runner with the job's tags is online, then retry.",
        ),
        R::JobExecutionTimeout => {
            let limit = component::duration(job.timeout_ms);
            return (
                format!("The job ran longer than its limit of {limit}"),
                "Raise `timeout` in the file, or find out what hangs.",
            );
        }
        R::RunnerSystemFailure => (
            "The runner could not run the job",
            "The log says what it lacked; it is rarely the script's fault. Retry, or look at the runner.",
        ),
        R::RunnerUnsupported => (
            "The runner lacks a feature that the job needs",
            "Update the runner, or send the job to another one by `tags`.",
        ),
        R::MissingDependencyFailure => (
            "Artifacts of a job before it are gone",
            "They expired or were erased: retry the job that made them first.",
        ),
        R::TraceSizeExceeded => (
            "The log grew beyond the server's limit",
            "Write less to it, or write to a file and keep that as an artifact.",
        ),
        R::ImagePullFailure => (
            "The image could not be pulled",
            "Check its name and whether the runner may read its registry.",
        ),
        R::RunnerConfigurationError => (
            "The runner is not configured for this job",
            "The log says what is missing.",
        ),
        R::RunnerExternalDependencyFailure => (
            "Something that the runner relies on failed",
            "Retry; if it happens again, look at the runner's host.",
        ),
        R::RunnerInterrupted => (
            "The runner's host went away while the job ran",
            "Retry the job.",
        ),
        R::NoUpdatesRunning => (
            "The runner stopped reporting while the job ran",
            "Its host may have lost power or network. Retry the job.",
        ),
        R::StaleSchedule => (
            "Its time passed long ago while the server could not start it",
            "Retry the job.",
        ),
        R::ArchivedFailure => (
            "The pipeline is archived and does not run any more",
            "Start a new pipeline.",
        ),
        R::NoMatchingRunner => (
            "There is no runner that may take the job",
            "Check the job's tags and whether runners are protected.",
        ),
        R::DataIntegrityFailure => (
            "What is stored of the job cannot be understood",
            "The server's log says more. Start a new pipeline.",
        ),
        R::UserBlocked => (
            "The account that started it may not sign in any more",
            "Let somebody else start it.",
        ),
        R::ProjectDeleted => ("The project was deleted", "Nothing is left to do."),
        R::EnvironmentCreationFailure => (
            "Its environment could not be made",
            "Check the name and variables in `environment`.",
        ),
        R::PipelineLoopDetected => (
            "Pipelines would start one another forever",
            "Follow the triggers from this job: they lead back to the same branch of the same project.",
        ),
        R::InsufficientBridgePermissions => (
            "Whoever started this pipeline may not run pipelines there",
            "They need at least the role Developer in the triggered project, and may run pipelines of that branch.",
        ),
        R::DownstreamBridgeProjectNotFound => (
            "The project to trigger does not exist, or may not be seen",
            "Check its path in `trigger`, and that whoever started this pipeline is a member there.",
        ),
        R::InvalidBridgeTrigger => (
            "The job triggers its own project without saying which file",
            "Use `trigger: include` for a child pipeline.",
        ),
        R::UpstreamBridgeProjectNotFound => (
            "The project to follow does not exist or has no pipeline",
            "Check its path in `needs: pipeline`.",
        ),
        R::InsufficientUpstreamPermissions => (
            "Whoever started this pipeline may not read the pipelines to follow",
            "They need to be a member of that project.",
        ),
        R::DownstreamPipelineCreationFailed => (
            "The triggered pipeline could not be made",
            "See below what is wrong with its file.",
        ),
        R::ReachedMaxDescendantPipelinesDepth => (
            "Children may have children, but these none of their own",
            "Trigger it further up.",
        ),
        R::ReachedMaxPipelineHierarchySize => (
            "Pipelines that belong together have grown to the limit of 1,000",
            "Split them, or run more jobs in each.",
        ),
        R::ReachedDownstreamPipelineTriggerRateLimit => (
            "Too many pipelines were triggered in the last minute",
            "Retry the job in a minute.",
        ),
        R::ApiFailure => (
            "The runner could not talk to the server",
            "Retry; if it happens again, look at the runner's own log.",
        ),
        R::SchedulerFailure => ("The job could not be scheduled", "Retry the job."),
        R::UnknownFailure => (
            "The job failed for a reason that its runner did not name",
            "The end of the log may say more.",
        ),
    };
    (sentence.to_owned(), hint)
}

fn exit_code(code: i64) -> String {
    match code {
        137 => "The script was killed (exit code 137)".to_owned(),
        143 => "The script was told to stop (exit code 143)".to_owned(),
        code => format!("The script ended with exit code {code}"),
    }
}

fn exit_hint(code: i64) -> &'static str {
    match code {
        126 => "A file that was called is not executable.",
        127 => "A command was not found: is it installed where the job runs?",
        137 => "Most often it used more memory than it was allowed.",
        _ => "The end of the log says where.",
    }
}

/// Returns what ended without success, in one sentence, for rows of lists.
pub(super) fn outcome(job: &Job) -> Option<String> {
    match job.state {
        JobState::Failed(reason) => Some(failure(job, reason).0),
        JobState::Skipped => Some("Was skipped because of the jobs before it".to_owned()),
        _ => None,
    }
}

/// Writes a percentage as people do: `85%`, `85.4%`.
pub(super) fn percent(value: f64) -> String {
    let text = format!("{value:.1}");
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// Shows how long a job ran or has run so far, nothing before it starts.
pub(super) fn ran(job: &Job, now: Timestamp) -> Markup {
    elapsed(job.started_at, job.finished_at, now)
}

/// Shows the time between two instants. One that still goes on is counted further by the page's script.
pub(super) fn elapsed(
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Markup {
    let text = |since: Timestamp, until: Timestamp| component::duration(until.since(since));
    html! {
        @match (since, until) {
            (Some(since), Some(until)) => (text(since, until)),
            (Some(since), None) => span data-since=(since.0) { (text(since, now)) },
            (None, _) => {},
        }
    }
}

/// Returns the word for a status in a sentence such as "passed in 12s".
pub(super) fn past(status: Status) -> &'static str {
    match status {
        Status::Success => "Passed",
        Status::Failed => "Failed",
        Status::Canceled => "Canceled",
        Status::Skipped => "Skipped",
        Status::Running => "Running",
        Status::Canceling => "Stopping",
        Status::WaitingForResource => "Waits for a resource",
        Status::Pending => "Pending",
        Status::Created => "Created",
        Status::Manual => "Waits for a person",
        Status::Scheduled => "Scheduled",
    }
}
