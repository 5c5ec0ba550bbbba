//! The finished plan: what a pipeline consists of, as plain data that is stored and handed to the scheduler.
//!
//! Nothing here refers to the file any more. Variables in `image`, `script`, `cache` and `artifacts` are still
//! references: the runner knows more of them than the compiler does.

use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Diagnostics, Foreign, InputValue, MergedFile, Place, Variable};

/// A file that compiled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compiled {
    pub outcome: Outcome,
    /// Warnings and keywords that are not carried out yet. Never errors.
    pub notices: Vec<Diagnostic>,
    /// What to ask whoever runs a pipeline of this file by hand.
    #[serde(default)]
    pub form: Vec<FormVariable>,
}

/// A file with everything there is to say about it.
#[derive(Clone, Debug)]
pub struct Linted {
    pub compiled: Result<Compiled, Diagnostics>,
    /// The file with everything merged into it. `None`: it could not be merged.
    pub merged: Option<MergedFile>,
    /// In the order in which they were read.
    pub includes: Vec<Included>,
    /// The inputs of the file's header, also when it is not valid for want of them.
    pub inputs: Vec<FormInput>,
}

/// An included file. Values of masked variables are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Included {
    /// `local`, `file` (of a project), `remote`, `template`, `artifact` or `component`.
    pub kind: String,
    /// How the `include` names it.
    pub location: String,
    /// Its path where it is, or its address.
    pub file: String,
    /// The place that names it.
    pub at: Place,
    /// Where the including file is, unless at the commit.
    pub context: Option<Foreign>,
    /// Where the file is, if that is another project.
    pub project: Option<Foreign>,
    /// The reference under which a project was asked for.
    pub reference: Option<String>,
    /// The job whose artifact it is.
    pub job: Option<String>,
}

/// An input of a header, as whoever runs a pipeline by hand is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormInput {
    pub name: String,
    pub kind: InputKind,
    /// What it is without an answer: a text as it is, anything else as JSON. `None`: there has to be an answer.
    pub default: Option<String>,
    pub description: Option<String>,
    /// The only values there may be, written like the default; empty: any.
    pub options: Vec<String>,
}

/// What an input of a header or a job accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    Array,
    Boolean,
    Number,
    #[default]
    String,
}

/// A root variable that says what it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormVariable {
    pub key: String,
    /// What it is without an answer.
    pub value: String,
    pub description: Option<String>,
    /// The only values there may be; empty: any.
    pub options: Vec<String>,
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
    /// Artifacts of other pipelines that the job downloads. It does not wait for them.
    #[serde(default)]
    pub foreign_needs: Vec<ForeignNeed>,
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
    #[serde(default)]
    pub services: Vec<Service>,
    /// `Some`: the job has no script, and runs by making another pipeline or following one.
    #[serde(default)]
    pub bridge: Option<Bridge>,
    /// `run`: steps instead of a script, as given.
    #[serde(default)]
    pub steps: Option<serde_json::Value>,
    #[serde(default)]
    pub id_tokens: Vec<IdToken>,
    #[serde(default)]
    pub secrets: Vec<SecretSource>,
    #[serde(default)]
    pub inputs: Vec<JobInput>,
    #[serde(default)]
    pub release: Option<Release>,
    #[serde(default)]
    pub pages: Option<Pages>,
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
    /// `docker:platform`.
    #[serde(default)]
    pub platform: Option<String>,
    /// `docker:user`.
    #[serde(default)]
    pub user: Option<String>,
    /// `kubernetes:user`.
    #[serde(default)]
    pub kubernetes_user: Option<String>,
}

/// A container that runs beside a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub image: Image,
    /// Host names under which the job reaches it, besides those made from the image's name.
    pub alias: Vec<String>,
    pub command: Option<Vec<String>>,
    /// For this service only, on top of the job's.
    pub variables: Vec<Variable>,
}

/// A job without script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bridge {
    /// `trigger`: makes a pipeline.
    Trigger(Trigger),
    /// `needs:pipeline`: takes over the status of the latest pipeline of a project's default branch. Expanded.
    Mirror { project: String },
}

/// `trigger`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub target: TriggerTarget,
    pub strategy: TriggerStrategy,
    pub forward: Forward,
    /// For the header of the downstream file, in written order.
    pub inputs: Vec<(String, InputValue)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerTarget {
    /// A pipeline of another project; path and branch are expanded.
    Project {
        project: String,
        branch: Option<String>,
    },
    /// A pipeline of the same project and commit, whose file is this text: nothing but the `include` of the trigger, as
    /// JSON, in which `artifact` entries are allowed.
    Child { config: String },
}

/// How the result of the downstream pipeline becomes the bridge's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerStrategy {
    /// It succeeds once the pipeline exists.
    #[default]
    None,
    /// It runs until the pipeline ends, and then succeeds, fails or is canceled with it.
    Depend,
    /// It has the pipeline's status all the time.
    Mirror,
}

/// Which variables go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    pub yaml_variables: bool,
    pub pipeline_variables: bool,
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            yaml_variables: true,
            pipeline_variables: false,
        }
    }
}

/// A job of another pipeline whose artifacts are wanted. All texts may hold variables that are known when the job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignNeed {
    /// A job of a pipeline of the same family, such as the parent.
    Pipeline {
        pipeline: String,
        job: String,
        artifacts: bool,
    },
    /// The latest successful job of that name at a branch or tag of some project.
    Project {
        project: String,
        reference: String,
        job: String,
        artifacts: bool,
    },
}

/// `id_tokens`: a variable that holds a signed statement about the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdToken {
    pub name: String,
    /// Expanded.
    pub audience: Vec<String>,
}

/// `secrets`: a variable whose value a provider knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretSource {
    pub name: String,
    /// `vault`, `azure_key_vault`, `gcp_secret_manager`, `aws_secrets_manager`, `gitlab_secrets_manager`.
    pub provider: String,
    /// Where the provider finds it; short forms are written out.
    pub source: serde_json::Value,
    /// The job gets the path of a file that holds the value.
    pub file: bool,
    /// The id token that authenticates the job with the provider.
    pub token: Option<String>,
}

/// `inputs` of a job: values that may be changed when it is played.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInput {
    pub name: String,
    #[serde(default)]
    pub kind: InputKind,
    /// The value, unless somebody gives another one.
    pub default: InputValue,
    pub description: Option<String>,
    pub options: Vec<InputValue>,
    pub regex: Option<String>,
}

/// `release`: made after a successful script.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub tag_name: String,
    /// Text, or the path of a file that holds it.
    pub description: String,
    pub tag_message: Option<String>,
    pub name: Option<String>,
    pub reference: Option<String>,
    pub milestones: Vec<String>,
    pub released_at: Option<String>,
    pub links: Vec<ReleaseLink>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseLink {
    pub name: String,
    pub url: String,
    pub filepath: Option<String>,
    /// `other`, `runbook`, `image`, `package`.
    pub link_type: Option<String>,
}

/// `pages`: a directory of the artifacts that is served as a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    pub publish: String,
    pub path_prefix: Option<String>,
    pub expire_in: Option<Expiry>,
}

/// `environment`, as far as it can be known before the job runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// `kubernetes`, as given.
    #[serde(default)]
    pub kubernetes: Option<serde_json::Value>,
}

/// Position among the copies of a parallel job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParallelCopy {
    /// 1-based.
    pub index: u32,
    pub total: u32,
}
