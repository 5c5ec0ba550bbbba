//! What the language is given: the file, the event that asks for a pipeline, and questions about the tree of the commit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The file to compile.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// Path for messages, and the base of nothing: local includes start at the root of the tree.
    pub path: &'a str,
    pub text: &'a str,
}

/// What the language asks of the tree at the commit, of the event's range, and of the world around for `include`.
///
/// Each method is called only when a file needs the answer, and `files` and `changed` at most once per compilation. Those
/// with a body answer for a caller that has nothing but the commit.
pub trait Tree {
    /// Returns the text of a file at the commit. `path` has no leading `/`.
    fn read(&self, path: &str) -> Option<String>;

    /// Returns the paths of all files at the commit.
    fn files(&self) -> Vec<String>;

    /// Returns the paths that the event changed. `None` when the event has no range, for example a new branch or a
    /// manual run: then every `rules:changes` holds.
    fn changed(&self) -> Option<Vec<String>>;

    /// Returns the paths changed since the merge base with `reference`, for `changes:compare_to`. `None`: there is no such
    /// reference.
    fn changed_since(&self, reference: &str) -> Option<Vec<String>> {
        let _ = reference;
        None
    }

    /// Opens another project at a branch, tag or commit, by default its `HEAD`.
    ///
    /// # Errors
    ///
    /// The answer is the same for a project that does not exist and one that the requester may not read.
    fn open(
        &self,
        project: &str,
        reference: Option<&str>,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        let _ = (project, reference, by);
        Err(OpenError::NoProject)
    }

    /// Returns the text of a file of an opened project.
    fn read_at(&self, at: &Foreign, path: &str) -> Option<String> {
        let _ = (at, path);
        None
    }

    /// Returns the paths of all files of an opened project.
    fn files_at(&self, at: &Foreign) -> Vec<String> {
        let _ = at;
        Vec::new()
    }

    /// Opens the project of a component at the version asked for.
    ///
    /// # Errors
    ///
    /// As [`Tree::open`]; a version that does not exist is a missing reference.
    fn open_component(
        &self,
        project: &str,
        version: &str,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        self.open(project, Some(version), by)
    }

    /// Begins to fetch what is going to be asked for, several at a time. The order and the answers do not depend on it.
    fn prefetch(&self, urls: &[RemoteFile]) {
        let _ = urls;
    }

    /// Returns the size of a file, of the commit or of an opened project, that was not given because it is larger than a
    /// file may be. `None`: it is not there.
    fn oversize(&self, at: Option<&Foreign>, path: &str) -> Option<u64> {
        let _ = (at, path);
        None
    }

    /// Returns what a URL answers.
    ///
    /// # Errors
    ///
    /// Why there is no usable answer.
    fn remote(&self, file: &RemoteFile) -> Result<String, RemoteError> {
        let _ = file;
        Err(RemoteError::Refused(
            "files of other servers are not fetched here".to_owned(),
        ))
    }

    /// Returns a template that comes with the server.
    fn template(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// Returns a file out of the artifacts of a job of the parent pipeline, for dynamic child pipelines.
    ///
    /// # Errors
    ///
    /// A sentence that says why there is none.
    fn artifact(&self, job: &str, path: &str) -> Result<String, String> {
        let _ = (job, path);
        Err(
            "Including configs from artifacts is only allowed when triggering child pipelines"
                .to_owned(),
        )
    }
}

/// A project and commit that [`Tree::open`] found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Foreign {
    /// Full path of the project.
    pub project: String,
    pub sha: String,
    /// The name by which it was asked for, or that was chosen: a branch, a tag, a version.
    pub reference: String,
}

/// On whose behalf a project is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Requester {
    /// The user who asks for the pipeline.
    User,
    /// Nobody in particular: a file of another server must not reach what the user may read.
    Anyone,
}

/// Why a project cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OpenError {
    /// It does not exist or may not be read.
    NoProject,
    NoReference,
}

/// A file of another server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteFile {
    pub url: String,
    /// For how long an answer may be used again, in seconds; 0: not at all.
    pub cache_secs: u64,
}

/// Why a URL gives no file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RemoteError {
    /// The address may not be asked; why.
    Refused(String),
    /// The server answered with this status, in the last of so many attempts.
    Status { status: u16, attempts: u32 },
    /// No usable answer in so many attempts; the kind of error, such as `a timeout error`.
    Failed { error: String, attempts: u32 },
    /// The answer is larger than a file may be.
    TooLarge,
    /// The time for all files together is over.
    OutOfTime,
}

/// Why a pipeline is asked for, and what is known then. Order inside each list is low to high: the last value of a key wins.
#[derive(Clone, Debug, Default)]
pub struct EventContext {
    /// `push`, `web`, `api`, `schedule` and so on, as in `CI_PIPELINE_SOURCE`.
    pub source: String,
    /// Short name of the branch or tag.
    pub ref_name: String,
    pub tag: bool,
    /// Path of the project, for `only: [main@group/project]`.
    pub project_path: String,
    /// Predefined variables that are known before there are jobs. The compiler adds those of a job (`CI_JOB_NAME` and so on).
    pub predefined: Vec<Variable>,
    /// Variables of instance, group and project, filtered for this ref.
    pub project_variables: Vec<Variable>,
    /// Variables given with the event: push options, trigger, schedule, manual run.
    pub pipeline_variables: Vec<Variable>,
    /// Inputs given with the event, for the header of the file.
    pub inputs: Vec<(String, InputValue)>,
    /// Host, and port unless it is the scheme's own, that component addresses begin with.
    pub server_fqdn: String,
    /// Whether the file is that of a child pipeline, which may include artifacts.
    pub child: bool,
}

/// The value of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InputValue {
    Boolean(bool),
    Number(serde_json::Number),
    Text(String),
    /// Anything else a file can hold, null included.
    Other(serde_json::Value),
}

/// A variable and how it is to be treated.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Variable {
    pub key: String,
    pub value: String,
    /// References in the value are text.
    #[serde(default)]
    pub raw: bool,
    /// The job gets the path of a file that holds the value.
    #[serde(default)]
    pub file: bool,
    #[serde(default)]
    pub masked: bool,
    #[serde(default)]
    pub public: bool,
}

impl Variable {
    /// Makes a public variable, as those of a YAML file and most predefined ones are.
    pub fn public(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            public: true,
            ..Self::default()
        }
    }
}

/// Shows the value of public variables only.
impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.public && !self.masked {
            self.value.as_str()
        } else {
            "[redacted]"
        };
        write!(f, "{}={shown:?}", self.key)?;
        for (set, flag) in [
            (self.raw, "raw"),
            (self.file, "file"),
            (self.masked, "masked"),
            (!self.public, "private"),
        ] {
            if set {
                write!(f, " ({flag})")?;
            }
        }
        Ok(())
    }
}

/// Bounds on what one compilation may cost. Each is a setting, which messages name: see [`Limits::SETTINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of one file.
    pub file_bytes: usize,
    /// Size of all files together.
    pub total_bytes: usize,
    /// Nesting of one file.
    pub depth: usize,
    /// Nodes after aliases, `extends`, references and defaults are filled in, and parts of the plan; 64 bytes of text
    /// count as a node.
    pub nodes: usize,
    pub includes: usize,
    /// Jobs of one pipeline.
    pub jobs: usize,
    /// Jobs that one job needs.
    pub needs: usize,
    /// Copies of one parallel job.
    pub parallel: usize,
    /// Comparisons of paths with patterns in one `changes` or `exists`; beyond, the clause holds.
    pub comparisons: usize,
    /// Words and signs of one `if`.
    pub expression_tokens: usize,
    /// Different regular expressions.
    pub patterns: usize,
    /// Length of one regular expression; compiled, it may take 64 times as much.
    pub pattern_bytes: usize,
}

impl Limits {
    /// The keys of the section `ci` of the server's configuration that set a limit.
    pub const SETTINGS: [&'static str; 12] = [
        "max_file_bytes",
        "max_total_bytes",
        "max_depth",
        "max_nodes",
        "max_includes",
        "max_jobs",
        "max_needs",
        "max_parallel",
        "max_comparisons",
        "max_expression_tokens",
        "max_patterns",
        "max_pattern_bytes",
    ];

    /// Sets the limit of a setting. A setting that does not exist changes nothing.
    pub fn set(&mut self, setting: &str, value: usize) {
        let limit = match setting {
            "max_file_bytes" => &mut self.file_bytes,
            "max_total_bytes" => &mut self.total_bytes,
            "max_depth" => &mut self.depth,
            "max_nodes" => &mut self.nodes,
            "max_includes" => &mut self.includes,
            "max_jobs" => &mut self.jobs,
            "max_needs" => &mut self.needs,
            "max_parallel" => &mut self.parallel,
            "max_comparisons" => &mut self.comparisons,
            "max_expression_tokens" => &mut self.expression_tokens,
            "max_patterns" => &mut self.patterns,
            "max_pattern_bytes" => &mut self.pattern_bytes,
            _ => return,
        };
        *limit = value;
    }

    /// Says that a tree of nodes is too large.
    pub(crate) fn nodes_hint(&self) -> String {
        let limit = self.nodes;
        let what = "aliases, `extends`, references and copies make";
        format!("{what} more than {limit} nodes (setting `ci.max_nodes`)")
    }

    /// Says that a file is larger than files may be.
    #[must_use]
    pub fn file_too_large(&self, size_bytes: u64) -> String {
        let limit = self.file_bytes;
        format!("the file has {size_bytes} bytes, more than {limit} (setting `ci.max_file_bytes`)")
    }
}

/// Says which setting it is that a message without room for it speaks of.
pub(crate) fn set_by(setting: &str) -> Option<String> {
    Some(format!(
        "the setting `ci.{setting}` says how many there may be"
    ))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 2 * 1024 * 1024,
            total_bytes: 32 * 1024 * 1024,
            depth: 100,
            nodes: 500_000,
            includes: 150,
            jobs: 2_000,
            needs: 50,
            parallel: 200,
            comparisons: 50_000,
            expression_tokens: 100,
            patterns: 1_000,
            pattern_bytes: 16 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_sets_another_limit() {
        let mut limits = Limits::default();
        for (value, key) in (1..).zip(Limits::SETTINGS) {
            limits.set(key, value);
        }
        let shown = format!("{limits:?}");
        for value in 1..=Limits::SETTINGS.len() {
            assert!(shown.contains(&format!(": {value}")), "{shown}");
        }
        assert_eq!(shown.matches(": ").count(), Limits::SETTINGS.len());
    }

    #[test]
    fn debug_hides_what_is_not_public() {
        let secret = Variable {
            key: "TOKEN".to_owned(),
            value: "hunter2".to_owned(),
            masked: true,
            ..Variable::default()
        };
        assert_eq!(
            format!("{secret:?}"),
            r#"TOKEN="[redacted]" (masked) (private)"#
        );
        assert_eq!(format!("{:?}", Variable::public("A", "x")), r#"A="x""#);
    }
}
