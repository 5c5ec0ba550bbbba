//! A job's state machine. Every change of a job's state is decided by [`next`].

use serde::{Deserialize, Serialize};

use crate::id::RunnerId;
use crate::time::Timestamp;

/// When a job runs, once the jobs before it have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    OnSuccess,
    OnFailure,
    Always,
    Manual,
    Delayed,
}

macro_rules! failure_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal),+ $(,)?) => {
        /// Why a job failed, in the names that clients print.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FailureReason { $($(#[$doc])* $name),+ }

        impl FailureReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the API's name.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }

            /// Returns the reason with this name; an unknown name counts as [`Self::UnknownFailure`].
            #[must_use]
            pub fn from_label(label: &str) -> Self {
                Self::ALL.iter().copied().find(|it| it.label() == label).unwrap_or(Self::UnknownFailure)
            }
        }
    };
}

failure_reasons! {
    UnknownFailure = "unknown_failure",
    ScriptFailure = "script_failure",
    ApiFailure = "api_failure",
    /// No word from the runner for too long, or no runner took the job.
    StuckOrTimeoutFailure = "stuck_or_timeout_failure",
    RunnerSystemFailure = "runner_system_failure",
    MissingDependencyFailure = "missing_dependency_failure",
    RunnerUnsupported = "runner_unsupported",
    /// Its time passed long ago while nothing could start it.
    StaleSchedule = "stale_schedule",
    JobExecutionTimeout = "job_execution_timeout",
    ArchivedFailure = "archived_failure",
    SchedulerFailure = "scheduler_failure",
    DataIntegrityFailure = "data_integrity_failure",
    UserBlocked = "user_blocked",
    ProjectDeleted = "project_deleted",
    NoMatchingRunner = "no_matching_runner",
    EnvironmentCreationFailure = "environment_creation_failure",
    /// A pipeline would start itself again and again.
    PipelineLoopDetected = "pipeline_loop_detected",
    InsufficientBridgePermissions = "insufficient_bridge_permissions",
    DownstreamBridgeProjectNotFound = "downstream_bridge_project_not_found",
    /// A bridge triggers its own project without saying which file.
    InvalidBridgeTrigger = "invalid_bridge_trigger",
    UpstreamBridgeProjectNotFound = "upstream_bridge_project_not_found",
    InsufficientUpstreamPermissions = "insufficient_upstream_permissions",
    DownstreamPipelineCreationFailed = "downstream_pipeline_creation_failed",
    ReachedMaxDescendantPipelinesDepth = "reached_max_descendant_pipelines_depth",
    ReachedMaxPipelineHierarchySize = "reached_max_pipeline_hierarchy_size",
    ReachedDownstreamPipelineTriggerRateLimit = "reached_downstream_pipeline_trigger_rate_limit",
    TraceSizeExceeded = "trace_size_exceeded",
    ImagePullFailure = "image_pull_failure",
    RunnerConfigurationError = "runner_configuration_error",
    RunnerExternalDependencyFailure = "runner_external_dependency_failure",
    /// The runner's host went away.
    RunnerInterrupted = "runner_interrupted",
    /// The runner stopped reporting and its lease ended.
    NoUpdatesRunning = "no_updates_running",
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waits for jobs before it.
    Created,
    /// Waits for a person.
    Manual,
    /// Waits for a time.
    Scheduled {
        at: Timestamp,
    },
    /// Waits until no other job of its resource group is at work.
    WaitingForResource,
    /// Waits for a runner.
    Pending,
    /// Given to a runner that has not yet said a word; it returns to `Pending` when none comes.
    Assigned {
        runner: RunnerId,
    },
    /// A runner works on it.
    Running {
        runner: RunnerId,
    },
    /// Was told to stop; the runner still runs its `after_script`.
    Canceling {
        runner: RunnerId,
    },
    /// A bridge: the pipeline that it triggers, or the one that it mirrors, is about to be found.
    Triggering,
    /// A bridge that goes on as long as another pipeline does.
    Following {
        /// That pipeline waits for a person, and the bridge shows it.
        blocked: bool,
    },
    Success,
    Failed(FailureReason),
    Canceled,
    Skipped,
}

/// A job's status in the API's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Created,
    Manual,
    Scheduled,
    WaitingForResource,
    Pending,
    Running,
    Canceling,
    Success,
    Failed,
    Canceled,
    Skipped,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 11] = [
        Self::Created,
        Self::Manual,
        Self::Scheduled,
        Self::WaitingForResource,
        Self::Pending,
        Self::Running,
        Self::Canceling,
        Self::Success,
        Self::Failed,
        Self::Canceled,
        Self::Skipped,
    ];

    /// Returns the API's name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Manual => "manual",
            Self::Scheduled => "scheduled",
            Self::WaitingForResource => "waiting_for_resource",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Canceling => "canceling",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
        }
    }

    /// Returns the status with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.label() == label)
    }

    /// Whether nothing more happens by itself and nobody is waited for.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failed | Self::Canceled | Self::Skipped
        )
    }
}

impl JobState {
    /// Returns the status that clients see. An assigned job shows as pending until its runner reports, a bridge as what
    /// it stands for.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Created => Status::Created,
            Self::Manual => Status::Manual,
            Self::Scheduled { .. } => Status::Scheduled,
            Self::WaitingForResource => Status::WaitingForResource,
            Self::Pending | Self::Assigned { .. } | Self::Triggering => Status::Pending,
            Self::Running { .. } | Self::Following { blocked: false } => Status::Running,
            Self::Following { blocked: true } => Status::Manual,
            Self::Canceling { .. } => Status::Canceling,
            Self::Success => Status::Success,
            Self::Failed(_) => Status::Failed,
            Self::Canceled => Status::Canceled,
            Self::Skipped => Status::Skipped,
        }
    }

    /// Returns the runner that has the job.
    #[must_use]
    pub const fn runner(self) -> Option<RunnerId> {
        match self {
            Self::Assigned { runner } | Self::Running { runner } | Self::Canceling { runner } => {
                Some(runner)
            }
            _ => None,
        }
    }
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// The jobs before it let it go, its time came, or a person started it.
    Enqueue,
    /// The jobs before it let it go, but it waits until a time.
    Schedule {
        at: Timestamp,
    },
    /// The jobs before it let it go, but a person has to start it.
    Actionize,
    /// Its time shall not start it any more, only a person.
    Unschedule,
    /// It was let go, but shares a resource with other jobs.
    AwaitResource,
    /// As [`Self::Enqueue`], of a bridge.
    Trigger,
    /// The pipeline that a bridge waits for exists, and perhaps waits for a person.
    Follow {
        blocked: bool,
    },
    /// The jobs before it rule it out.
    Skip,
    /// A job before it is tried again.
    Reset,
    /// A runner takes it.
    Assign(RunnerId),
    /// The runner that took it says its first word.
    Start,
    /// The runner that took it never said a word.
    Release,
    Succeed,
    Fail(FailureReason),
    /// Someone stops it. With `graceful` the runner still runs its `after_script`.
    Cancel {
        graceful: bool,
    },
}

/// An event that makes no sense in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} refuses {event:?}", state.status().label())]
pub struct Refused {
    pub state: JobState,
    pub event: JobEvent,
}

/// Returns the state after `event`.
///
/// # Errors
/// When the event makes no sense in the state, such as a cancel that raced the runner's result.
pub fn next(state: JobState, event: JobEvent) -> Result<JobState, Refused> {
    use {JobEvent as E, JobState as S};
    match (state, event) {
        (
            S::Created | S::Manual | S::Scheduled { .. } | S::Skipped | S::WaitingForResource,
            E::Enqueue,
        ) => Ok(S::Pending),
        (
            S::Created | S::Manual | S::Scheduled { .. } | S::Skipped | S::WaitingForResource,
            E::Trigger,
        ) => Ok(S::Triggering),
        (S::Created | S::Manual | S::Scheduled { .. } | S::Skipped, E::AwaitResource) => {
            Ok(S::WaitingForResource)
        }
        (S::Created, E::Schedule { at }) => Ok(S::Scheduled { at }),
        (S::Created, E::Actionize) | (S::Scheduled { .. }, E::Unschedule) => Ok(S::Manual),
        // A bridge is skipped if the pipeline that it mirrors was.
        (S::Created | S::Following { .. }, E::Skip) => Ok(S::Skipped),
        (S::Skipped, E::Reset) => Ok(S::Created),
        (S::Pending, E::Assign(runner)) => Ok(S::Assigned { runner }),
        (S::Assigned { runner }, E::Start) => Ok(S::Running { runner }),
        (S::Assigned { .. }, E::Release) => Ok(S::Pending),
        (S::Triggering | S::Following { .. }, E::Follow { blocked }) => {
            Ok(S::Following { blocked })
        }
        (
            S::Assigned { .. } | S::Running { .. } | S::Triggering | S::Following { .. },
            E::Succeed,
        ) => Ok(S::Success),
        (S::Canceling { .. }, E::Succeed | E::Fail(_)) => Ok(S::Canceled),
        (S::Success | S::Failed(_) | S::Canceled | S::Skipped, E::Fail(_) | E::Cancel { .. }) => {
            Err(Refused { state, event })
        }
        (_, E::Fail(reason)) => Ok(S::Failed(reason)),
        (S::Running { runner }, E::Cancel { graceful: true }) => Ok(S::Canceling { runner }),
        (_, E::Cancel { .. }) => Ok(S::Canceled),
        (state, event) => Err(Refused { state, event }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const STATES: [JobState; 15] = [
        JobState::Created,
        JobState::Manual,
        JobState::Scheduled { at: Timestamp(9) },
        JobState::WaitingForResource,
        JobState::Pending,
        JobState::Assigned {
            runner: RunnerId(1),
        },
        JobState::Running {
            runner: RunnerId(1),
        },
        JobState::Canceling {
            runner: RunnerId(1),
        },
        JobState::Triggering,
        JobState::Following { blocked: false },
        JobState::Following { blocked: true },
        JobState::Success,
        JobState::Failed(FailureReason::ScriptFailure),
        JobState::Canceled,
        JobState::Skipped,
    ];

    const EVENTS: [JobEvent; 17] = [
        JobEvent::Enqueue,
        JobEvent::Schedule { at: Timestamp(9) },
        JobEvent::Actionize,
        JobEvent::Unschedule,
        JobEvent::AwaitResource,
        JobEvent::Trigger,
        JobEvent::Follow { blocked: false },
        JobEvent::Follow { blocked: true },
        JobEvent::Skip,
        JobEvent::Reset,
        JobEvent::Assign(RunnerId(1)),
        JobEvent::Start,
        JobEvent::Release,
        JobEvent::Succeed,
        JobEvent::Fail(FailureReason::ScriptFailure),
        JobEvent::Cancel { graceful: false },
        JobEvent::Cancel { graceful: true },
    ];

    #[test]
    fn the_whole_transition_table() {
        let mut table = String::new();
        for state in STATES {
            table += &format!("{state:?}\n");
            for event in EVENTS {
                if let Ok(after) = next(state, event) {
                    table += &format!("    {event:?} -> {after:?}\n");
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_finished_job_stays_as_it_is() {
        for state in STATES
            .into_iter()
            .filter(|it| it.status().is_finished() && *it != JobState::Skipped)
        {
            for event in EVENTS {
                assert!(next(state, event).is_err(), "{state:?} took {event:?}");
            }
        }
    }

    #[test]
    fn labels_find_their_way_back() {
        for status in Status::ALL {
            assert_eq!(Status::from_label(status.label()), Some(status));
        }
        for reason in FailureReason::ALL {
            assert_eq!(FailureReason::from_label(reason.label()), *reason);
        }
    }
}
