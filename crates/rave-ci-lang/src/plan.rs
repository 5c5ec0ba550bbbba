//! The finished plan: what a pipeline consists of, as plain data that is stored and handed to the scheduler.
//!
//! Nothing here refers to the file any more. Variables in `image`, `script`, `cache` and `artifacts` are still
//! references: the runner knows more of them than the compiler does.

use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Variable};

/// A file that compiled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compiled {
    pub outcome: Outcome,
    /// Warnings and keywords that are not carried out yet. Never errors.
    pub notices: Vec<Diagnostic>,
}

/// What a valid file means for this event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Pipeline(Plan),
    /// `workflow:rules` say no.
    FilteredByWorkflow,
    /// The rules leave no job outside `.pre` and `.post`.
    NoJobs,
}

impl Outcome {
    /// Returns GitLab's explanation of why there is no pipeline.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Pipeline(_) => None,
            Self::FilteredByWorkflow => Some("Pipeline filtered out by workflow rules."),
            Self::NoJobs => Some(
                "The resulting pipeline would have been empty. Review the rules configuration for the relevant jobs.",
            ),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `workflow:name`, expanded.
    pub name: Option<String>,
    /// All stages in order, `.pre` first and `.post` last, also those without jobs.
    pub stages: Vec<String>,
    /// Ordered by stage, then as written.
    pub jobs: Vec<JobPlan>,
    /// Root variables, with those of the matching workflow rule on top, unexpanded.
    pub variables: Vec<Variable>,
    pub auto_cancel: AutoCancel,
}

impl Plan {
    /// Returns the job of that name.
    pub fn find_job(&self, name: &str) -> Option<&JobPlan> {
        self.jobs.iter().find(|job| job.name == name)
    }
}

/// What becomes of a pipeline when another commit arrives, or when one of its jobs fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoCancel {
    pub on_new_commit: OnNewCommit,
    pub on_job_failure: OnJobFailure,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNewCommit {
    /// Cancel the pipeline as long as no uninterruptible job has started.
    #[default]
    Conservative,
    /// Cancel the interruptible jobs only.
    Interruptible,
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnJobFailure {
    #[default]
    None,
    All,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    pub name: String,
    pub stage: String,
    /// Index into [`Plan::stages`].
    pub stage_index: usize,
    /// `before_script`, then `script`: one shell runs both.
    pub script: Vec<String>,
    pub after_script: Vec<String>,
    /// `hooks:pre_get_sources_script`.
    pub pre_get_sources_script: Vec<String>,
    /// Variables of the file: root, workflow rule, job, rule, later ones on top; one per key, unexpanded.
    pub variables: Vec<Variable>,
    /// `Some`, even when empty: the job waits for these jobs only. `None`: it waits for all earlier stages.
    pub needs: Option<Vec<Need>>,
    /// Jobs to download artifacts from. `None`: those of [`JobPlan::needs`], or of all earlier stages.
    pub dependencies: Option<Vec<String>>,
    pub artifacts: Option<Artifacts>,
    pub cache: Vec<Cache>,
    pub when: When,
    /// How long a delayed job waits.
    pub start_in_secs: Option<u64>,
    pub allow_failure: bool,
    /// Exit codes that count as allowed failure even if `allow_failure` is false.
    pub allow_failure_exit_codes: Vec<i32>,
    /// Expanded; references to unknown variables stay.
    pub tags: Vec<String>,
    pub retry: Retry,
    pub timeout_secs: Option<u64>,
    pub image: Option<Image>,
    pub interruptible: bool,
    pub environment: Option<Environment>,
    /// Pattern to find a percentage in the log, without slashes.
    pub coverage: Option<String>,
    /// Expanded.
    pub resource_group: Option<String>,
    /// What a person is asked before a manual job starts.
    pub manual_confirmation: Option<String>,
    /// Which copy of a parallel job this is.
    pub parallel: Option<ParallelCopy>,
}

/// When a job runs. `never` is decided while planning and does not get here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    #[default]
    OnSuccess,
    OnFailure,
    Always,
    Manual,
    Delayed,
}

/// A job that another one waits for. The job exists in the plan, except that an absent optional one is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    pub job: String,
    pub artifacts: bool,
    pub optional: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    pub paths: Vec<String>,
    pub exclude: Vec<String>,
    pub untracked: bool,
    pub name: Option<String>,
    pub when: UploadWhen,
    /// `None`: the server's default.
    pub expire_in: Option<Expiry>,
    pub expose_as: Option<String>,
    pub access: ArtifactAccess,
    /// Kind and paths, in written order.
    pub reports: Vec<ArtifactReport>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    AfterSecs(u64),
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactAccess {
    #[default]
    All,
    Developer,
    Maintainer,
    None,
}

/// One entry of `artifacts:reports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactReport {
    /// `junit`, `dotenv` and so on; of a coverage report its format, such as `cobertura`.
    pub kind: String,
    pub paths: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadWhen {
    #[default]
    OnSuccess,
    OnFailure,
    Always,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    pub key: CacheKey,
    pub paths: Vec<String>,
    pub untracked: bool,
    /// `pull-push`, `pull`, `push`, or text with a variable that the runner fills in.
    pub policy: String,
    pub when: UploadWhen,
    /// Shared between protected and other refs.
    pub unprotect: bool,
    pub fallback_keys: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKey {
    /// Used as it is, once the runner has filled in variables.
    Text(String),
    /// `PREFIX-` and the SHA-1 in hex of the sorted, unique ids of the existing files joined with `-`;
    /// `PREFIX-default` when none exists.
    Files {
        prefix: String,
        /// Paths, of which `*` may be part.
        files: Vec<String>,
        /// Whose ids are meant.
        by: CacheFilesBy,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheFilesBy {
    /// Git blob ids of the files at the commit.
    Blob,
    /// Ids of the last commits that touched the files.
    LastCommit,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// 0 to 2.
    pub max: u32,
    /// Failure reasons that are tried again. Empty only if [`Retry::exit_codes`] alone decide, or `max` is 0.
    pub when: Vec<String>,
    pub exit_codes: Vec<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub name: String,
    pub entrypoint: Option<Vec<String>>,
    pub pull_policy: Vec<String>,
}

/// `environment`, as far as it can be known before the job runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Expanded.
    pub name: String,
    /// Not expanded: dotenv values may take part once the job is done.
    pub url: Option<String>,
    /// `start`, `prepare`, `stop`, `verify`, `access`.
    pub action: String,
    pub on_stop: Option<String>,
    pub auto_stop_in: Option<String>,
    pub deployment_tier: Option<String>,
}

/// Position among the copies of a parallel job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParallelCopy {
    /// 1-based.
    pub index: u32,
    pub total: u32,
}
