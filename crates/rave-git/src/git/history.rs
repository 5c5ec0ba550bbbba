//! Commits, one or many.

use std::path::Path;

use rave_core::name::{ObjectId, RepoPath};
use rave_core::port::Commit;

use crate::error::GitError;
use crate::git::command::{Output, Runner};

/// The fields of a commit, each ended by NUL, which none of them can contain.
const FORMAT: &str =
    "--format=tformat:%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00";
const FIELDS: usize = 9;

/// Which commits of a history are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    pub(crate) skip: u64,
    pub(crate) limit: u64,
    /// Only those that touch this file or directory.
    pub(crate) path: Option<RepoPath>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) author: Option<String>,
    /// Leave these and what they come from out.
    pub(crate) except: Option<ObjectId>,
    pub(crate) all: bool,
    pub(crate) first_parent: bool,
}

/// Returns a commit, or the commit that an annotated tag leads to.
pub(crate) async fn find_commit(
    runner: &Runner,
    repository: &Path,
    id: &ObjectId,
) -> Result<Option<Commit>, GitError> {
    let arguments = ["log", "-1", FORMAT, "--end-of-options", id.as_str(), "--"];
    let output = runner.run(repository, "log", arguments).await?;
    if output.is_missing() {
        return Ok(None);
    }
    Ok(parse(output)?.into_iter().next())
}

/// Lists commits, the newest first, beginning with `from`.
pub(crate) async fn walk(
    runner: &Runner,
    repository: &Path,
    from: &ObjectId,
    walk: &Walk,
) -> Result<Vec<Commit>, GitError> {
    let mut arguments = vec![
        "log".to_owned(),
        FORMAT.to_owned(),
        format!("--skip={}", walk.skip),
        format!("--max-count={}", walk.limit),
    ];
    arguments.extend(selection(from, walk));
    parse(runner.run(repository, "log", arguments).await?)
}

/// Counts the commits of a history, all pages together.
pub(crate) async fn count(
    runner: &Runner,
    repository: &Path,
    from: &ObjectId,
    walk: &Walk,
) -> Result<u64, GitError> {
    let mut arguments = vec!["rev-list".to_owned(), "--count".to_owned()];
    arguments.extend(selection(from, walk));
    let answer = runner
        .run(repository, "rev-list", arguments)
        .await?
        .need("rev-list")?;
    let text = String::from_utf8_lossy(&answer);
    text.trim().parse().map_err(|_| GitError::Answer {
        command: "rev-list",
    })
}

fn selection(from: &ObjectId, walk: &Walk) -> Vec<String> {
    let mut arguments = Vec::new();
    let options = [
        ("--since", &walk.since),
        ("--until", &walk.until),
        ("--author", &walk.author),
    ];
    for (option, value) in options {
        arguments.extend(value.as_ref().map(|it| format!("{option}={it}")));
    }
    if walk.author.is_some() {
        arguments.extend(["--fixed-strings".into(), "--regexp-ignore-case".into()]);
    }
    if walk.first_parent {
        arguments.push("--first-parent".into());
    }
    if walk.all {
        arguments.extend(["--branches".into(), "--tags".into()]);
    }
    arguments.push("--end-of-options".into());
    arguments.push(from.to_string());
    arguments.extend(walk.except.as_ref().map(|it| format!("^{it}")));
    arguments.push("--".into());
    arguments.extend(walk.path.as_ref().map(ToString::to_string));
    arguments
}

/// Returns these commits in this order; those that do not exist are left out.
pub(crate) async fn find_commits(
    runner: &Runner,
    repository: &Path,
    ids: &[&str],
) -> Result<Vec<Commit>, GitError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let arguments = [
        "log",
        "--no-walk=unsorted",
        "--ignore-missing",
        FORMAT,
        "--stdin",
    ];
    let input = ids.join("\n").into_bytes();
    let limits = (64 << 20, std::time::Duration::from_secs(30));
    let output = runner
        .run_with(repository, "log", arguments, input, limits.0, limits.1)
        .await?;
    parse(output)
}

/// Returns the best common ancestor.
pub(crate) async fn merge_base(
    runner: &Runner,
    repository: &Path,
    one: &ObjectId,
    other: &ObjectId,
) -> Result<Option<ObjectId>, GitError> {
    let arguments = ["merge-base", one.as_str(), other.as_str()];
    let output = runner.run(repository, "merge-base", arguments).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(ObjectId::parse(text.trim()).ok())
}

fn parse(output: Output) -> Result<Vec<Commit>, GitError> {
    let bytes = output.need("log")?;
    let text = String::from_utf8_lossy(&bytes);
    let fields: Vec<&str> = text.split('\0').collect();
    Ok(fields.chunks_exact(FIELDS).filter_map(commit).collect())
}

fn commit(fields: &[&str]) -> Option<Commit> {
    let [
        id,
        parents,
        author_name,
        author_email,
        authored_at,
        committer_name,
        committer_email,
        committed_at,
        message,
    ] = fields
    else {
        return None;
    };
    // The line end after the commit before.
    let id = ObjectId::parse(id.trim_start_matches('\n')).ok()?;
    Some(Commit {
        id,
        parents: parents
            .split(' ')
            .filter_map(|it| ObjectId::parse(it).ok())
            .collect(),
        author_name: (*author_name).to_owned(),
        author_email: (*author_email).to_owned(),
        authored_at: offset(authored_at),
        committer_name: (*committer_name).to_owned(),
        committer_email: (*committer_email).to_owned(),
        committed_at: offset(committed_at),
        message: (*message).to_owned(),
    })
}

/// Newer versions of git write `Z` where older ones write `+00:00`.
fn offset(time: &str) -> String {
    match time.strip_suffix('Z') {
        Some(it) => format!("{it}+00:00"),
        None => time.to_owned(),
    }
}
