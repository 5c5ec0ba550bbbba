//! What changed between two trees: files, and the lines in them, up to a limit.

use std::path::Path;
use std::time::Duration;

use rave_core::name::ObjectId;

use crate::error::GitError;
use crate::git::command::Runner;

/// The tree without files.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
/// How much of a patch is read. Past it, files are listed without their lines.
const PATCH_BYTES: usize = 4 << 20;
const DEADLINE: Duration = Duration::from_secs(20);

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileDiff {
    pub(crate) old_mode: String,
    pub(crate) new_mode: String,
    pub(crate) change: Change,
    pub(crate) old_path: String,
    pub(crate) new_path: String,
    /// From the first `@@`; `None` when it was too much to read.
    pub(crate) patch: Option<String>,
    pub(crate) binary: bool,
}

/// How a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Deleted,
    Renamed,
    Modified,
}

/// How many lines differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) files: u64,
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
}

impl FileDiff {
    /// Counts the lines of the patch that were added and removed.
    pub(crate) fn lines(&self) -> (usize, usize) {
        let count = |sign| {
            self.patch
                .iter()
                .flat_map(|it| it.lines())
                .filter(|it| it.starts_with(sign))
                .count()
        };
        (count('+'), count('-'))
    }
}

fn side(commit: Option<&ObjectId>) -> &str {
    commit.map_or(EMPTY_TREE, ObjectId::as_str)
}

/// Compares two commits; `None` stands for the time before the first commit.
pub(crate) async fn compare(
    runner: &Runner,
    repository: &Path,
    from: Option<&ObjectId>,
    to: &ObjectId,
) -> Result<Vec<FileDiff>, GitError> {
    let arguments = [
        // One huge file must not use up what is read for all.
        "-c",
        "core.bigFileThreshold=1m",
        "diff-tree",
        "-r",
        "-M",
        "-z",
        "--raw",
        "-p",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        side(from),
        to.as_str(),
        "--",
    ];
    let output = runner
        .run_with(
            repository,
            "diff-tree",
            arguments,
            Vec::new(),
            PATCH_BYTES,
            DEADLINE,
        )
        .await?;
    let truncated = output.truncated;
    let bytes = output.need("diff-tree")?;
    Ok(parse(&String::from_utf8_lossy(&bytes), truncated))
}

/// Counts what differs, without reading it.
pub(crate) async fn stats(
    runner: &Runner,
    repository: &Path,
    from: Option<&ObjectId>,
    to: &ObjectId,
) -> Result<Stats, GitError> {
    let arguments = [
        // One huge file must not use up what is read for all.
        "-c",
        "core.bigFileThreshold=1m",
        "diff-tree",
        "-r",
        "-M",
        "--numstat",
        side(from),
        to.as_str(),
        "--",
    ];
    let answer = runner
        .run(repository, "diff-tree", arguments)
        .await?
        .need("diff-tree")?;
    let mut stats = Stats::default();
    for line in String::from_utf8_lossy(&answer).lines() {
        let mut words = line.split('\t').map(|it| it.parse::<u64>().unwrap_or(0));
        stats.files += 1;
        stats.additions += words.next().unwrap_or(0);
        stats.deletions += words.next().unwrap_or(0);
    }
    Ok(stats)
}

/// Lists the paths that differ.
pub(crate) async fn changed_paths(
    runner: &Runner,
    repository: &Path,
    from: Option<&ObjectId>,
    to: &ObjectId,
) -> Result<Vec<String>, GitError> {
    let arguments = [
        // One huge file must not use up what is read for all.
        "-c",
        "core.bigFileThreshold=1m",
        "diff-tree",
        "-r",
        "-z",
        "--name-only",
        "--no-renames",
        side(from),
        to.as_str(),
        "--",
    ];
    let output = runner.run(repository, "diff-tree", arguments).await?;
    let text = String::from_utf8_lossy(&output.need("diff-tree")?).into_owned();
    let paths = text.split('\0').filter(|it| !it.is_empty());
    Ok(paths.map(ToOwned::to_owned).collect())
}

/// Reads raw records, each `:old new old-id new-id status NUL path NUL`, a NUL, and the patches in the same order.
fn parse(text: &str, truncated: bool) -> Vec<FileDiff> {
    let mut files = Vec::new();
    let mut rest = text;
    while let Some(record) = rest.strip_prefix(':') {
        let Some((file, after)) = record_of(record) else {
            break;
        };
        files.push(file);
        rest = after;
    }
    let patches = sections(rest.strip_prefix('\0').unwrap_or(rest));
    let complete = patches.len().saturating_sub(usize::from(truncated));
    for (file, patch) in files.iter_mut().zip(&patches[..complete]) {
        let start = patch.find("\n@@ ").map(|it| it + 1);
        file.binary = start.is_none() && patch.contains("\nBinary files ");
        file.patch = Some(start.map_or_else(String::new, |it| patch[it..].to_owned()));
    }
    files
}

fn record_of(record: &str) -> Option<(FileDiff, &str)> {
    let (facts, rest) = record.split_once('\0')?;
    let (first, mut rest) = rest.split_once('\0')?;
    let mut words = facts.split(' ');
    let (old_mode, new_mode) = (words.next()?, words.next()?);
    let status = words.nth(2)?;
    let mut second = first;
    let change = match status.chars().next()? {
        'A' => Change::Added,
        'D' => Change::Deleted,
        'R' | 'C' => {
            (second, rest) = rest.split_once('\0')?;
            Change::Renamed
        }
        _ => Change::Modified,
    };
    let file = FileDiff {
        old_mode: old_mode.to_owned(),
        new_mode: new_mode.to_owned(),
        change,
        old_path: first.to_owned(),
        new_path: second.to_owned(),
        patch: None,
        binary: false,
    };
    Some((file, rest))
}

/// Splits a patch into its files. A file that became a link (or the reverse) has two parts, which belong together.
fn sections(text: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    let mut header = "";
    for line in text.split_inclusive('\n') {
        if line.starts_with("diff --git ") {
            if line == header {
                continue;
            }
            header = line;
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push_str(line);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_patches_are_paired() {
        let text = ":100644 100644 a1 b2 M\0a.txt\0:100644 100644 c c R090\0old\0new\0:000000 100644 0 d A\0pic\0\0\
            diff --git a/a.txt b/a.txt\nindex a..b\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-x\n+y\n\
            diff --git a/old b/new\nsimilarity index 100%\n\
            diff --git a/pic b/pic\nnew file mode 100644\nBinary files /dev/null and b/pic differ\n";
        let files = parse(text, false);
        let paths: Vec<_> = files
            .iter()
            .map(|it| (it.old_path.as_str(), it.new_path.as_str(), it.change))
            .collect();
        assert_eq!(
            paths,
            [
                ("a.txt", "a.txt", Change::Modified),
                ("old", "new", Change::Renamed),
                ("pic", "pic", Change::Added)
            ]
        );
        assert_eq!(files[0].patch.as_deref(), Some("@@ -1 +1 @@\n-x\n+y\n"));
        assert_eq!((files[0].lines(), files[2].binary), ((1, 1), true));
        let cut = parse(&text[..text.len() - 20], true);
        assert_eq!(cut[2].patch, None, "what was cut off is not shown");
    }
}
