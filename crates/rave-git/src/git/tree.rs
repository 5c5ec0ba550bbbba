//! Directories at a commit.

use std::path::Path;

use rave_core::name::ObjectId;

use crate::error::GitError;
use crate::git::command::Runner;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Such as `100644`.
    pub(crate) mode: String,
    pub(crate) kind: EntryKind,
    pub(crate) id: String,
    /// The path from the root of the repository.
    pub(crate) path: String,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKind {
    Tree,
    Blob,
    /// A submodule.
    Commit,
}

impl EntryKind {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Commit => "commit",
        }
    }
}

impl Entry {
    /// Returns the last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Lists a directory, `None` when there is none at that path. Directories come first, as people expect.
pub(crate) async fn list(
    runner: &Runner,
    repository: &Path,
    commit: &ObjectId,
    directory: &str,
    recursive: bool,
) -> Result<Option<Vec<Entry>>, GitError> {
    let mut arguments = vec!["ls-tree", "-z", "--full-tree"];
    if recursive {
        arguments.extend(["-r", "-t"]);
    }
    let at = format!("{commit}:{directory}");
    arguments.push(&at);
    let output = runner.run(repository, "ls-tree", arguments).await?;
    if output.is_missing() || output.stderr.contains("not a tree object") {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.need("ls-tree")?).into_owned();
    let mut entries: Vec<Entry> = text
        .split('\0')
        .filter_map(|it| entry(it, directory))
        .collect();
    entries.sort_by(|one, other| (one.kind, &one.path).cmp(&(other.kind, &other.path)));
    Ok(Some(entries))
}

fn entry(line: &str, directory: &str) -> Option<Entry> {
    let (facts, name) = line.split_once('\t')?;
    let mut facts = facts.split(' ');
    let (mode, kind, id) = (facts.next()?, facts.next()?, facts.next()?);
    let kind = match kind {
        "tree" => EntryKind::Tree,
        "commit" => EntryKind::Commit,
        _ => EntryKind::Blob,
    };
    let path = if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    };
    Some(Entry {
        mode: mode.to_owned(),
        kind,
        id: id.to_owned(),
        path,
    })
}

/// Lists the paths of all files at a commit, at most `limit`.
pub(crate) async fn list_files(
    runner: &Runner,
    repository: &Path,
    commit: &ObjectId,
    limit: usize,
) -> Result<Vec<String>, GitError> {
    let arguments = [
        "ls-tree",
        "-r",
        "-z",
        "--name-only",
        "--full-tree",
        commit.as_str(),
    ];
    let output = runner.run(repository, "ls-tree", arguments).await?;
    let text = String::from_utf8_lossy(&output.need("ls-tree")?).into_owned();
    let paths = text.split('\0').filter(|it| !it.is_empty());
    Ok(paths.take(limit).map(ToOwned::to_owned).collect())
}
