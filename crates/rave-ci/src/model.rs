//! What continuous integration is made of: pipelines, jobs, artifacts and runners, as the rest of the crate sees them.
//!
//! Rows become these types in `store`, and these become wire types in `api`. Nothing here holds a secret.

use std::collections::BTreeMap;

use rave_blob::Digest;
use rave_ci_lang::Diagnostic;
use rave_core::id::{JobId, PipelineId, ProjectId, RunnerId, UserId};
use rave_core::job::{FailureReason, JobState, Status, When};
use rave_core::memory::{Shortage, shown};
use rave_core::pipeline::{Graph, Node, Road};
use rave_core::time::Timestamp;
use rave_core::trace::TraceContext;

use crate::usage::Usage;

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $label:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$item])* $variant),+ }

        impl $name {
            /// Returns the API's name.
            pub(crate) const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// Returns the one with this name.
            pub(crate) fn from_label(label: &str) -> Option<Self> {
                match label { $($label => Some(Self::$variant),)+ _ => None }
            }
        }
    )+};
}

labels! {
    /// What asked for a pipeline.
    Source {
        Push = "push",
        Web = "web",
        Trigger = "trigger",
        Schedule = "schedule",
        Api = "api",
        /// A bridge of another project's pipeline, or a job by its token.
        Pipeline = "pipeline",
        /// A bridge of a pipeline of the same project and commit.
        ParentPipeline = "parent_pipeline",
    }
    /// What becomes of a pipeline when another commit arrives.
    OnNewCommit {
        /// It is canceled as long as nothing that must not be interrupted has started.
        Conservative = "conservative",
        /// What may be interrupted is canceled.
        Interruptible = "interruptible",
        Never = "none",
    }
    /// What becomes of a pipeline when one of its jobs fails.
    OnJobFailure {
        Nothing = "none",
        /// Everything else is canceled.
        CancelAll = "all",
    }
    /// In which order waiting jobs get their resource.
    ProcessMode {
        Unordered = "unordered",
        OldestFirst = "oldest_first",
        NewestFirst = "newest_first",
        /// As the one before, but nobody waits for jobs that are not let go yet.
        NewestReadyFirst = "newest_ready_first",
    }
    /// How a pipeline's status becomes that of a bridge.
    Strategy {
        /// The bridge runs until it ends.
        Depend = "depend",
        /// The bridge always has its status.
        Mirror = "mirror",
    }
    /// What has to be done to a pipeline.
    ChoreKind {
        /// Cancel it.
        Cancel = "cancel",
        /// Cancel those of its jobs that may be interrupted.
        Interrupt = "interrupt",
        /// Look which pipelines it makes redundant.
        Redundant = "redundant",
    }
    /// Why a pipeline failed before it had jobs.
    PipelineFailure {
        /// The file is not valid.
        Config = "config_error",
    }
    /// Whose jobs a runner takes.
    RunnerType {
        Instance = "instance_type",
        Group = "group_type",
        Project = "project_type",
    }
    /// How an artifact's bytes are packed.
    ArtifactFormat {
        Raw = "raw",
        Zip = "zip",
        Gzip = "gzip",
    }
    /// Who may download an artifact.
    Audience {
        All = "all",
        Developer = "developer",
        Maintainer = "maintainer",
        /// Only later jobs of the pipeline.
        Nobody = "none",
    }
}

impl OnNewCommit {
    /// Returns what the file says.
    pub(crate) fn of(plan: rave_ci_lang::AutoCancel) -> Self {
        match plan.on_new_commit {
            rave_ci_lang::OnNewCommit::Conservative => Self::Conservative,
            rave_ci_lang::OnNewCommit::Interruptible => Self::Interruptible,
            rave_ci_lang::OnNewCommit::None => Self::Never,
        }
    }
}

impl OnJobFailure {
    /// Returns what the file says.
    pub(crate) fn of(plan: rave_ci_lang::AutoCancel) -> Self {
        match plan.on_job_failure {
            rave_ci_lang::OnJobFailure::None => Self::Nothing,
            rave_ci_lang::OnJobFailure::All => Self::CancelAll,
        }
    }
}

/// Whether a runner is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunnerStatus {
    Online,
    Offline,
    /// Not heard of for a week.
    Stale,
    NeverContacted,
}

impl RunnerStatus {
    /// How long somebody counts as being there: a held request alone lasts almost a minute.
    pub(crate) const ONLINE_MS: i64 = 2 * 60 * 1000;
    /// After this time nobody expects it back.
    pub(crate) const STALE_MS: i64 = 7 * 24 * 3600 * 1000;

    /// Judges by the time of the last contact.
    pub(crate) fn of(contacted_at: Option<Timestamp>, made_at: Timestamp, now: Timestamp) -> Self {
        match contacted_at.map(|it| now.since(it)) {
            None if now.since(made_at) >= Self::STALE_MS => Self::Stale,
            None => Self::NeverContacted,
            Some(age) if age < Self::ONLINE_MS => Self::Online,
            Some(age) if age < Self::STALE_MS => Self::Offline,
            Some(_) => Self::Stale,
        }
    }

    /// Returns the status with the API's name.
    pub(crate) fn from_label(label: &str) -> Option<Self> {
        [
            Self::Online,
            Self::Offline,
            Self::Stale,
            Self::NeverContacted,
        ]
        .into_iter()
        .find(|it| it.label() == label)
    }

    /// Returns the API's name.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Stale => "stale",
            Self::NeverContacted => "never_contacted",
        }
    }
}

/// A pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) id: PipelineId,
    pub(crate) iid: i64,
    pub(crate) project: ProjectId,
    /// Short name of the branch or tag.
    pub(crate) ref_name: String,
    pub(crate) tag: bool,
    pub(crate) protected: bool,
    pub(crate) sha: String,
    pub(crate) before_sha: String,
    pub(crate) source: Source,
    pub(crate) status: Status,
    pub(crate) user: Option<UserId>,
    /// `workflow:name`.
    pub(crate) name: Option<String>,
    pub(crate) failure: Option<PipelineFailure>,
    /// What keeps the file from being a pipeline; with it there are no jobs.
    pub(crate) errors: Vec<Diagnostic>,
    /// Warnings, and keywords that have no effect yet.
    pub(crate) notices: Vec<Diagnostic>,
    /// All stages in order, also those without jobs.
    pub(crate) stages: Vec<String>,
    pub(crate) trace: Option<TraceContext>,
    /// The bridge that made it, and that bridge's pipeline.
    pub(crate) upstream: Option<Upstream>,
    /// The newer pipeline that made it redundant.
    pub(crate) auto_canceled_by: Option<PipelineId>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
}

/// Where a downstream pipeline comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) pipeline: PipelineId,
    pub(crate) bridge: JobId,
}

impl Pipeline {
    /// Whether it belongs to a pipeline of the same project, with which it is shown.
    pub(crate) fn is_child(&self) -> bool {
        self.source == Source::ParentPipeline
    }

    /// Returns what is wrong with the file as one text with a line per error, `None` for a valid file.
    pub(crate) fn yaml_errors(&self) -> Option<String> {
        let lines: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Returns from start to end, or until `now` while it runs.
    pub(crate) fn duration_ms(&self, now: Timestamp) -> Option<i64> {
        let start = self.started_at?;
        Some(self.finished_at.unwrap_or(now).since(start).max(0))
    }
}

/// A job: one try at what the plan says. A retry is another job with the same position.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) pipeline: PipelineId,
    pub(crate) project: ProjectId,
    /// Where the job stands in the plan, by which needs name it.
    pub(crate) position: usize,
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) stage_index: usize,
    /// The positions that it waits for; `None`: all jobs of earlier stages.
    pub(crate) needs: Option<Vec<usize>>,
    pub(crate) when: When,
    /// Whether it makes or follows another pipeline instead of running a script.
    pub(crate) bridge: bool,
    pub(crate) interruptible: bool,
    /// The resource that it shares with other jobs.
    pub(crate) resource_group: Option<i64>,
    pub(crate) tags: Vec<String>,
    pub(crate) state: JobState,
    /// The runner that has it or had it last.
    pub(crate) runner: Option<RunnerId>,
    pub(crate) allow_failure: bool,
    pub(crate) exit_code: Option<i64>,
    /// Whether a newer try took its place.
    pub(crate) retried: bool,
    /// Who started it: the pipeline's user, or whoever played or retried it.
    pub(crate) user: Option<UserId>,
    pub(crate) timeout_ms: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) queued_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// How many bytes its log has.
    pub(crate) trace_bytes: u64,
    pub(crate) erased_at: Option<Timestamp>,
    /// The percentage that `coverage:` found in its log.
    pub(crate) coverage: Option<f64>,
    /// What it used of its machine, if its runner said so.
    pub(crate) usage: Option<Usage>,
}

impl Job {
    /// Returns the status that clients see.
    pub(crate) fn status(&self) -> Status {
        self.state.status()
    }

    /// Returns why it failed.
    pub(crate) fn failure_reason(&self) -> Option<FailureReason> {
        match self.state {
            JobState::Failed(reason) => Some(reason),
            _ => None,
        }
    }

    /// Returns from start to end, or until `now` while it runs.
    pub(crate) fn duration_ms(&self, now: Timestamp) -> Option<i64> {
        let start = self.started_at?;
        Some(self.finished_at.unwrap_or(now).since(start).max(0))
    }

    /// Returns how long it waited for a runner, until `now` while it waits.
    pub(crate) fn queued_ms(&self, now: Timestamp) -> Option<i64> {
        let from = self.queued_at?;
        let until = self.started_at.or(self.finished_at).unwrap_or(now);
        Some(until.since(from).max(0))
    }

    /// Whether a person can start it.
    pub(crate) fn is_playable(&self) -> bool {
        !self.retried && matches!(self.state, JobState::Manual | JobState::Scheduled { .. })
    }

    /// Whether it can be tried again.
    pub(crate) fn is_retryable(&self) -> bool {
        let ended = matches!(
            self.state,
            JobState::Success | JobState::Failed(_) | JobState::Canceled
        );
        ended && !self.retried
    }

    /// Whether it can be stopped.
    pub(crate) fn is_cancelable(&self) -> bool {
        !self.status().is_finished()
    }

    /// Whether its log and artifacts can be erased.
    pub(crate) fn is_erasable(&self) -> bool {
        self.status().is_finished() && self.erased_at.is_none()
    }
}

impl Job {
    /// Returns what it waits for once the jobs before it have let it go.
    pub(crate) fn road(&self) -> Road {
        Road {
            resource: self.resource_group.is_some(),
            bridge: self.bridge,
        }
    }
}

/// What at most one job of a project uses at a time.
#[derive(Clone, Debug)]
pub(crate) struct ResourceGroup {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) process_mode: ProcessMode,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Returns the jobs as the state machine sees them.
pub(crate) fn graph_of(jobs: &[Job]) -> Graph {
    let index: BTreeMap<usize, usize> = jobs
        .iter()
        .enumerate()
        .map(|(at, it)| (it.position, at))
        .collect();
    let node = |job: &Job| Node {
        stage: job.stage_index,
        needs: job.needs.as_ref().map(|it| {
            it.iter()
                .filter_map(|need| index.get(need).copied())
                .collect()
        }),
        when: job.when,
        start_in_millis: 0,
        road: job.road(),
        interruptible: job.interruptible,
        allow_failure: job.allow_failure,
        state: job.state,
    };
    Graph {
        nodes: jobs.iter().map(node).collect(),
    }
}

/// A file that a job left.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    pub(crate) job: JobId,
    /// `archive`, or the kind of report.
    pub(crate) file_type: String,
    pub(crate) format: ArtifactFormat,
    pub(crate) filename: String,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) audience: Audience,
    /// `None`: kept until somebody erases it.
    pub(crate) expire_at: Option<Timestamp>,
}

impl Artifact {
    /// Whether this is the archive of `artifacts:paths`.
    pub(crate) fn is_archive(&self) -> bool {
        self.file_type == "archive"
    }
}

/// A runner: one token, any number of machines.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) id: RunnerId,
    pub(crate) kind: RunnerType,
    /// The project that owns a [`RunnerType::Project`]; there may be others that use it.
    pub(crate) project: Option<ProjectId>,
    /// The namespace of a [`RunnerType::Group`].
    pub(crate) group: Option<i64>,
    pub(crate) description: String,
    pub(crate) maintenance_note: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) run_untagged: bool,
    pub(crate) locked: bool,
    pub(crate) paused: bool,
    /// Takes jobs of protected refs only.
    pub(crate) protected: bool,
    pub(crate) maximum_timeout_secs: Option<i64>,
    pub(crate) creator: Option<UserId>,
    /// Whether it registered itself with a registration token.
    pub(crate) legacy: bool,
    /// `None`: its token counts until somebody resets it.
    pub(crate) token_expires_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) contacted_at: Option<Timestamp>,
}

impl Runner {
    /// Returns whether it was heard of lately.
    pub(crate) fn status(&self, now: Timestamp) -> RunnerStatus {
        RunnerStatus::of(self.contacted_at, self.created_at, now)
    }

    /// Whether its tags and protection let it take the job. Whose jobs it takes is asked elsewhere.
    pub(crate) fn fits(&self, tags: &[String], protected: bool) -> bool {
        let tagged = match tags {
            [] => self.run_untagged,
            tags => tags.iter().all(|it| self.tags.contains(it)),
        };
        tagged && (protected || !self.protected)
    }
}

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct MachineInfo {
    pub(crate) system_id: String,
    /// The program, such as `gitlab-runner`.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) revision: String,
    pub(crate) platform: String,
    pub(crate) architecture: String,
    pub(crate) executor: String,
    /// What it can do; `None`: it says nothing of it.
    pub(crate) features: Option<Vec<String>>,
    pub(crate) ip_address: String,
    /// The most memory that it gives one job; `None`: it says nothing of it.
    pub(crate) memory_bytes: Option<u64>,
}

impl MachineInfo {
    /// Whether it can stop a script and still run what comes after.
    pub(crate) fn is_graceful(&self) -> bool {
        let named = |it: &Vec<String>| it.iter().any(|it| it == "cancel_gracefully");
        self.features.as_ref().is_some_and(named)
    }
}

/// A machine that uses a runner's token.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    pub(crate) id: i64,
    pub(crate) runner: RunnerId,
    pub(crate) info: MachineInfo,
    pub(crate) created_at: Timestamp,
    pub(crate) contacted_at: Timestamp,
}

impl Manager {
    /// Returns whether it was heard of lately.
    pub(crate) fn status(&self, now: Timestamp) -> RunnerStatus {
        RunnerStatus::of(Some(self.contacted_at), self.created_at, now)
    }
}

/// Returns which of the features that a job needs a machine lacks. One that says nothing of its features, as scripts do,
/// lacks none.
pub(crate) fn missing_features(needed: &[String], has: Option<&[String]>) -> Vec<String> {
    let Some(has) = has else {
        return Vec::new();
    };
    let lacks = |it: &&String| !has.contains(it);
    needed.iter().filter(lacks).cloned().collect()
}

/// A part of a job's log.
#[derive(Clone, Debug)]
pub(crate) struct LogSlice {
    pub(crate) bytes: Vec<u8>,
    /// How long the log is now.
    pub(crate) size_bytes: u64,
    /// Whether nothing more will come.
    pub(crate) complete: bool,
}

/// Why a job that waits for a runner does not get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// There is no runner that takes jobs of this project.
    NoRunner,
    /// No runner has all of the job's tags, or none takes jobs without tags.
    NoTags,
    /// Those with the tags take jobs of protected branches and tags only.
    ProtectedOnly,
    /// Those that match were told to take no jobs.
    Paused,
    /// Those that match are not heard of.
    Offline,
    /// The machines of those that match cannot do what the job needs.
    Features(Vec<String>),
    /// The machines of those that match give no job as much memory as it asks for.
    TooLarge { needs_bytes: u64, most_bytes: u64 },
    /// Those that match have too little memory free. No obstacle: it passes.
    Memory(Shortage),
    /// Those that match take no jobs for now, for a reason of their machine. No obstacle: it passes.
    Refused(String),
    /// Those that match work on other jobs, and this many come first. No obstacle: it passes.
    Busy(usize),
}

impl Stuck {
    /// Whether the job waits for a person and not only for its turn.
    pub(crate) fn is_obstacle(&self) -> bool {
        !matches!(self, Self::Busy(_) | Self::Memory(_) | Self::Refused(_))
    }

    /// Returns the name of the reason, for programs.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::NoRunner => "no_runner",
            Self::NoTags => "no_matching_runner",
            Self::ProtectedOnly => "protected_runners_only",
            Self::Paused => "runners_paused",
            Self::Offline => "runners_offline",
            Self::Features(_) => "runner_unsupported",
            Self::TooLarge { .. } => "runners_too_small",
            Self::Memory(_) => "runners_lack_memory",
            Self::Refused(_) => "runners_refuse",
            Self::Busy(_) => "runners_busy",
        }
    }

    /// Returns what people read about a job with these tags, without a full stop.
    pub(crate) fn sentence(&self, tags: &[String]) -> String {
        let with = match tags {
            [] => "that take jobs without tags".to_owned(),
            [tag] => format!("with the tag {tag}"),
            tags => format!("with the tags {}", tags.join(", ")),
        };
        match (self, tags) {
            (Self::NoRunner, _) => {
                "Stuck: no runner is registered for the project. Start one with `rave runner`"
                    .into()
            }
            (Self::NoTags, []) => "Stuck: no runner takes jobs without tags".into(),
            (Self::NoTags, [tag]) => {
                format!("Stuck: no runner that may take the job has the tag {tag}")
            }
            (Self::NoTags, tags) => {
                let listed = tags.join(", ");
                format!("Stuck: no runner that may take the job has all of the tags {listed}")
            }
            (Self::ProtectedOnly, _) => format!(
                "Stuck: the runners {with} take jobs of protected branches and tags only, and this ref is not protected"
            ),
            (Self::Paused, _) => format!("Stuck: the runners {with} are paused"),
            (Self::Offline, _) => format!("Stuck: no runner {} is online", one_of(&with)),
            (Self::Features(lacking), _) => format!(
                "Stuck: the runners {with} do not support {}, which the job needs",
                lacking.join(", ")
            ),
            (
                Self::TooLarge {
                    needs_bytes,
                    most_bytes,
                },
                _,
            ) => format!(
                "Stuck: the runners {with} give a job {} of memory at most, and it asks for {}",
                shown(*most_bytes),
                shown(*needs_bytes)
            ),
            (Self::Memory(shortage), _) => shortage.sentence(),
            (Self::Refused(reason), _) => format!("The runners {with} take no jobs now: {reason}"),
            (Self::Busy(0), _) => "All matching runners are busy; this job is next".into(),
            (Self::Busy(1), _) => "All matching runners are busy (1 job before it)".into(),
            (Self::Busy(ahead), _) => {
                format!("All matching runners are busy ({ahead} jobs before it)")
            }
        }
    }
}

/// Turns what is said of several runners into what is said of one.
fn one_of(with: &str) -> String {
    with.replace("that take ", "that takes ")
}

/// Which pipelines a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct PipelineFilter {
    pub(crate) status: Vec<Status>,
    pub(crate) source: Option<Source>,
    pub(crate) ref_name: Option<String>,
    pub(crate) sha: Option<String>,
    /// Only those of tags, or only those of branches.
    pub(crate) tag: Option<bool>,
    /// Only those whose file is, or is not, valid.
    pub(crate) yaml_errors: Option<bool>,
    pub(crate) user: Option<UserId>,
    pub(crate) name: Option<String>,
    /// Only those of a schedule.
    pub(crate) schedule: Option<i64>,
    pub(crate) updated_after: Option<Timestamp>,
    pub(crate) updated_before: Option<Timestamp>,
    pub(crate) order: PipelineOrder,
    pub(crate) ascending: bool,
}

/// By what a list of pipelines is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PipelineOrder {
    #[default]
    Id,
    Status,
    Ref,
    UpdatedAt,
    UserId,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn runner(tags: &[&str], run_untagged: bool, protected: bool) -> Runner {
        Runner {
            id: RunnerId(1),
            kind: RunnerType::Instance,
            project: None,
            group: None,
            description: String::new(),
            maintenance_note: None,
            tags: tags.iter().map(ToString::to_string).collect(),
            run_untagged,
            locked: false,
            paused: false,
            protected,
            maximum_timeout_secs: None,
            creator: None,
            legacy: false,
            token_expires_at: None,
            created_at: Timestamp(0),
            contacted_at: Some(Timestamp(0)),
        }
    }

    #[test]
    fn a_job_says_in_words_what_keeps_runners_from_it() {
        let check = |stuck: Stuck, tags: &[&str], expected: &str| {
            let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
            assert_eq!(stuck.sentence(&tags), expected);
        };
        check(
            Stuck::Offline,
            &["x", "y"],
            "Stuck: no runner with the tags x, y is online",
        );
        check(
            Stuck::Offline,
            &[],
            "Stuck: no runner that takes jobs without tags is online",
        );
        check(
            Stuck::Paused,
            &["x"],
            "Stuck: the runners with the tag x are paused",
        );
        check(
            Stuck::Busy(3),
            &[],
            "All matching runners are busy (3 jobs before it)",
        );
        check(
            Stuck::Features(vec!["artifacts_exclude".into()]),
            &[],
            "Stuck: the runners that take jobs without tags do not support artifacts_exclude, which the job needs",
        );
        assert!(Stuck::NoRunner.is_obstacle() && !Stuck::Busy(1).is_obstacle());
    }

    #[test]
    fn only_what_a_machine_speaks_of_can_be_missing() {
        let names = |of: &[&str]| -> Vec<String> { of.iter().map(ToString::to_string).collect() };
        let needed = names(&["refspecs", "vault_secrets"]);
        assert!(missing_features(&needed, None).is_empty());
        assert_eq!(
            missing_features(&needed, Some(&names(&["refspecs"]))),
            ["vault_secrets"]
        );
    }

    #[test]
    fn tags_and_protection_decide_what_a_runner_takes() {
        let check = |runner: &Runner, tags: &[&str], protected, expected| {
            let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
            assert_eq!(runner.fits(&tags, protected), expected, "{tags:?}");
        };
        let docker = runner(&["docker", "linux"], false, false);
        check(&docker, &["docker"], false, true);
        check(&docker, &["docker", "linux"], false, true);
        check(&docker, &["docker", "arm"], false, false);
        check(&docker, &[], false, false);
        check(&runner(&[], true, false), &[], false, true);
        check(&runner(&[], true, true), &[], false, false);
        check(&runner(&[], true, true), &[], true, true);
    }

    #[test]
    fn a_runner_that_is_silent_goes_offline_and_stale() {
        let runner = runner(&[], true, false);
        let status = |minutes: i64| runner.status(Timestamp(minutes * 60_000)).label();
        assert_eq!(status(1), "online");
        assert_eq!(status(3), "offline");
        assert_eq!(status(8 * 24 * 60), "stale");
    }
}
