//! What all commands are told: which file, which event, and what is known then.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rave_ci_lang::Limits;

#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) event: EventArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where files come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PlaceArgs {
    /// The file, from the top of the project [default: .gitlab-ci.yml]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) file: Option<String>,
    /// Directory to work in: the project is the nearest one at or above it with the file or a repository
    #[arg(long, short = 'C', value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Take the files of another project from a directory; may be given several times
    #[arg(long = "project", value_name = "PATH=DIR", value_parser = pair)]
    pub(crate) projects: Vec<(String, String)>,
    /// Ask no server: remote files come from the cache or not at all
    #[arg(long)]
    pub(crate) offline: bool,
    /// Raise or lower a limit that a message names, such as `max_jobs=20000`; may be given several times
    #[arg(long = "limit", value_name = "SETTING=NUMBER", value_parser = limit)]
    pub(crate) limits: Vec<(&'static str, usize)>,
    /// Plan anew, even if nothing changed since the last time
    #[arg(long)]
    pub(crate) no_cache: bool,
}

/// Why there would be a pipeline.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EventArgs {
    /// What asks for the pipeline [default: push, or tag with a tag checked out]
    #[arg(long, value_enum)]
    pub(crate) event: Option<EventArg>,
    /// Branch or tag [default: what is checked out]
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// Paths that the event changes [default: what differs from the default branch, uncommitted changes included]
    #[arg(long, value_name = "PATH", num_args = 0..)]
    pub(crate) changes: Option<Vec<String>>,
    /// A variable given with the event; may be given several times. The project's own are read from `.rave-ci.env`
    #[arg(long = "variable", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) variables: Vec<(String, String)>,
    /// A value for `spec:inputs` of the file; may be given several times
    #[arg(long = "input", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) inputs: Vec<(String, String)>,
    /// Source branch of the merge request [default: what is checked out]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) source: Option<String>,
    /// Target branch of the merge request [default: the default branch]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) target: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventArg {
    Push,
    /// A merge request
    Mr,
    Tag,
    Schedule,
    Web,
    Api,
    Trigger,
}

impl EventArg {
    /// Returns the value of `CI_PIPELINE_SOURCE`.
    pub(crate) const fn source(self) -> &'static str {
        match self {
            Self::Push | Self::Tag => "push",
            Self::Mr => "merge_request_event",
            Self::Schedule => "schedule",
            Self::Web => "web",
            Self::Api => "api",
            Self::Trigger => "trigger",
        }
    }

    /// Whether the event brings commits that can be compared with others.
    pub(crate) const fn has_range(self) -> bool {
        matches!(self, Self::Push | Self::Mr)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` has no `=`: write NAME=VALUE")),
    }
}

/// Reads a setting of the section `ci`, which may be written with or without the section's name.
fn limit(text: &str) -> Result<(&'static str, usize), String> {
    let (key, number) = pair(text)?;
    let name = key.strip_prefix("ci.").unwrap_or(&key);
    let known = Limits::SETTINGS.into_iter().find(|it| *it == name);
    let known = known.ok_or_else(|| {
        let all = Limits::SETTINGS.join(", ");
        format!("there is no limit {key}: the limits are {all}")
    })?;
    let number = number.parse();
    let number = number.map_err(|_| format!("{key} has to be a whole number"))?;
    Ok((known, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_one_that_exists() {
        assert_eq!(limit("ci.max_jobs=5"), Ok(("max_jobs", 5)));
        assert_eq!(limit("max_jobs=5"), Ok(("max_jobs", 5)));
        assert!(limit("max_jobs=many").is_err());
        assert!(limit("max_job=5").is_err_and(|it| it.contains("max_jobs")));
    }

    #[test]
    fn a_pair_is_cut_at_its_first_equals_sign() {
        assert_eq!(pair("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("A="), Ok(("A".to_owned(), String::new())));
        assert!(pair("A").is_err());
        assert!(pair("=a").is_err());
    }
}
