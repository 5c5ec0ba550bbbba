//! The working tree as the language sees it: files as they are on disk, uncommitted and untracked ones included, and
//! other projects where the command line says that they are.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rave_ci_lang::{Foreign, OpenError, RemoteError, RemoteFile, Requester, Tree};
use rave_core::name::RepoPath;

use super::git::Git;
use super::remote::Fetcher;

/// Most files of a tree without a repository, and how deep they may lie.
const FILES: usize = 200_000;
const DEPTH: usize = 64;

/// The reference by which files of a directory are known that are not those of a commit.
const UNCOMMITTED: &str = "0000000000000000000000000000000000000000";

/// What `changed` answers.
#[derive(Clone, Debug)]
pub(crate) enum Changes {
    /// The event has no range: every condition holds.
    Unknown,
    Given(Vec<String>),
    /// What differs from this branch.
    Since(String),
}

/// Answers from a directory. Clones share what was fetched.
#[derive(Clone, Debug)]
pub(crate) struct WorkingTree {
    git: Option<Git>,
    root: PathBuf,
    /// Files are those of this commit, not those on disk.
    commit: Option<String>,
    changes: Changes,
    /// Directories of other projects by path; the project's own is among them.
    projects: Vec<(String, PathBuf)>,
    fetcher: Fetcher,
    /// Projects that were asked for and are nowhere.
    missing: Arc<Mutex<Vec<String>>>,
}

impl WorkingTree {
    pub(crate) fn new(
        root: &Path,
        git: Option<Git>,
        changes: Changes,
        projects: Vec<(String, PathBuf)>,
        fetcher: Fetcher,
    ) -> Self {
        Self {
            git,
            root: root.to_owned(),
            commit: None,
            changes,
            projects,
            fetcher,
            missing: Arc::default(),
        }
    }

    /// Returns the tree as it was at a commit. What the event changes stays the same.
    pub(crate) fn at(&self, commit: String) -> Self {
        Self {
            git: self.git.clone(),
            root: self.root.clone(),
            commit: Some(commit),
            changes: self.changes.clone(),
            projects: self.projects.clone(),
            fetcher: self.fetcher.clone(),
            missing: Arc::default(),
        }
    }

    /// Returns the projects that a file includes and that no directory was given for.
    pub(crate) fn missing_projects(&self) -> Vec<String> {
        let missing = self.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the tree with another answer to what changed.
    pub(crate) fn with_changes(&self, changes: Changes) -> Self {
        Self {
            changes,
            ..self.clone()
        }
    }

    fn directory_of(&self, project: &str) -> Option<&Path> {
        let found = self.projects.iter().rev();
        let mut found = found.filter(|it| it.0.eq_ignore_ascii_case(project));
        found.next().map(|it| it.1.as_path())
    }
}

impl Tree for WorkingTree {
    fn read(&self, path: &str) -> Option<String> {
        match (&self.commit, &self.git) {
            (Some(commit), Some(git)) => read_at_commit(git, commit, path),
            _ => read_below(&self.root, path, self.fetcher.limit_bytes),
        }
    }

    fn files(&self) -> Vec<String> {
        if let (Some(commit), Some(git)) = (&self.commit, &self.git) {
            return git.files_at(commit).unwrap_or_default();
        }
        files_below(&self.root, self.git.as_ref())
    }

    fn changed(&self) -> Option<Vec<String>> {
        match &self.changes {
            Changes::Unknown => None,
            Changes::Given(paths) => Some(paths.clone()),
            Changes::Since(branch) => self.changed_since(branch),
        }
    }

    fn changed_since(&self, reference: &str) -> Option<Vec<String>> {
        let git = self.git.as_ref()?;
        // What others have pushed counts, not what this clone once had.
        let remote = format!("refs/remotes/origin/{reference}");
        let commit = git
            .commit_of(&remote)
            .or_else(|| git.commit_of(reference))?;
        git.changed_since(&commit)
    }

    // Nothing here is beyond the reach of the one who runs the command.
    fn open(
        &self,
        project: &str,
        reference: Option<&str>,
        _: Requester,
    ) -> Result<Foreign, OpenError> {
        let Some(directory) = self.directory_of(project) else {
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            missing.push(project.to_owned());
            return Err(OpenError::NoProject);
        };
        let sha = match reference {
            None | Some("HEAD") => UNCOMMITTED.to_owned(),
            Some(name) => Git::new(directory)
                .commit_of(name)
                .ok_or(OpenError::NoReference)?,
        };
        Ok(Foreign {
            project: project.to_owned(),
            sha,
            reference: reference.unwrap_or("HEAD").to_owned(),
        })
    }

    fn read_at(&self, at: &Foreign, path: &str) -> Option<String> {
        let directory = self.directory_of(&at.project)?;
        if at.sha == UNCOMMITTED {
            return read_below(directory, path, self.fetcher.limit_bytes);
        }
        read_at_commit(&Git::new(directory), &at.sha, path)
    }

    fn files_at(&self, at: &Foreign) -> Vec<String> {
        let Some(directory) = self.directory_of(&at.project) else {
            return Vec::new();
        };
        let git = Git::new(directory);
        if at.sha == UNCOMMITTED {
            return files_below(directory, Some(&git));
        }
        git.files_at(&at.sha).unwrap_or_default()
    }

    fn open_component(
        &self,
        project: &str,
        version: &str,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        let tags = || {
            let directory = self.directory_of(project);
            directory.map_or_else(Vec::new, |it| Git::new(it).tags())
        };
        match self.open(project, Some(version), by) {
            Err(OpenError::NoReference) => {}
            answer => return answer,
        }
        match (latest(version, &tags()), version) {
            (Some(tag), _) => self.open(project, Some(&tag), by),
            // A directory that was never released is its own latest version.
            (None, "~latest") => self.open(project, None, by),
            (None, _) => Err(OpenError::NoReference),
        }
    }

    fn template(&self, name: &str) -> Option<String> {
        rave_ci::find_template(name).map(str::to_owned)
    }

    fn oversize(&self, at: Option<&Foreign>, path: &str) -> Option<u64> {
        let directory = match at {
            None if self.commit.is_none() => &self.root,
            Some(at) if at.sha == UNCOMMITTED => self.directory_of(&at.project)?,
            // Files of commits are given whatever their size, and the language looks.
            _ => return None,
        };
        let (_, size_bytes) = find_below(directory, path)?;
        (size_bytes > self.fetcher.limit_bytes as u64).then_some(size_bytes)
    }

    fn prefetch(&self, urls: &[RemoteFile]) {
        self.fetcher.prefetch(urls);
    }

    fn remote(&self, file: &RemoteFile) -> Result<String, RemoteError> {
        self.fetcher.fetch(file)
    }
}

/// Returns the highest released version that `1`, `1.2` or `~latest` stands for.
fn latest(version: &str, tags: &[String]) -> Option<String> {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        let text = text.strip_prefix('v').unwrap_or(text);
        text.split('.').map(|it| it.parse().ok()).collect()
    };
    let wanted = match version {
        "~latest" => Vec::new(),
        version => numbers(version)?,
    };
    tags.iter()
        .filter_map(|tag| Some((numbers(tag).filter(|it| it.len() == 3)?, tag)))
        .filter(|it| it.0.starts_with(&wanted))
        .max_by(|left, right| left.0.cmp(&right.0))
        .map(|it| it.1.clone())
}

/// Returns a path without parts that lead elsewhere.
fn checked(path: &str) -> Option<&str> {
    // As the server's git has it, `./file` is no path.
    RepoPath::parse(path).is_ok().then_some(path)
}

fn read_at_commit(git: &Git, commit: &str, path: &str) -> Option<String> {
    let bytes = git.file_at(commit, checked(path)?)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a file below a directory, unless it is too large.
fn read_below(directory: &Path, path: &str, limit_bytes: usize) -> Option<String> {
    let (path, size_bytes) = find_below(directory, path)?;
    if size_bytes > limit_bytes as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    // It may grow meanwhile.
    file.take(limit_bytes as u64).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns where a file below a directory is, and its size. Links that lead out of it are not followed, since no server
/// would either.
fn find_below(directory: &Path, path: &str) -> Option<(PathBuf, u64)> {
    let path = directory.join(checked(path)?).canonicalize().ok()?;
    if !path.starts_with(directory.canonicalize().ok()?) {
        return None;
    }
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((path, metadata.len()))
}

fn files_below(directory: &Path, git: Option<&Git>) -> Vec<String> {
    git.and_then(Git::files).unwrap_or_else(|| {
        let mut files = Vec::new();
        walk(directory, "", DEPTH, &mut files);
        files
    })
}

/// Collects files where there is no repository, without those of `.git` directories.
fn walk(directory: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if files.len() >= FILES || name == ".git" {
            continue;
        }
        match kind.is_dir() {
            true if depth > 0 => {
                walk(&entry.path(), &format!("{prefix}{name}/"), depth - 1, files);
            }
            true => {}
            false => files.push(format!("{prefix}{name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path) -> WorkingTree {
        let projects = vec![("team/shared".to_owned(), root.join("inner"))];
        WorkingTree::new(root, None, Changes::Unknown, projects, Fetcher::offline())
    }

    #[test]
    fn files_are_read_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("work");
        std::fs::create_dir_all(root.join("inner/.git")).unwrap();
        std::fs::write(root.join("a.yml"), "A").unwrap();
        std::fs::write(root.join("inner/b.yml"), "B").unwrap();
        std::fs::write(root.join("inner/.git/config"), "").unwrap();
        std::fs::write(directory.path().join("secret.yml"), "S").unwrap();
        std::os::unix::fs::symlink("../secret.yml", root.join("link.yml")).unwrap();
        let tree = tree(&root);
        assert_eq!(tree.read("a.yml").as_deref(), Some("A"));
        for outside in [
            "../secret.yml",
            "link.yml",
            "/etc/passwd",
            "inner",
            "",
            "none",
        ] {
            assert_eq!(tree.read(outside), None, "{outside}");
        }
        let mut files = tree.files();
        files.sort();
        assert_eq!(files, ["a.yml", "inner/b.yml", "link.yml"]);
    }

    #[test]
    fn projects_come_from_given_directories() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("inner/b.yml"), "B").unwrap();
        let tree = tree(directory.path());
        let opened = tree.open("Team/Shared", None, Requester::User).unwrap();
        assert_eq!(tree.read_at(&opened, "b.yml").as_deref(), Some("B"));
        assert_eq!(
            tree.open("team/other", None, Requester::User),
            Err(OpenError::NoProject)
        );
        assert_eq!(
            tree.open("team/shared", Some("v1"), Requester::User),
            Err(OpenError::NoReference)
        );
        assert_eq!(tree.missing_projects(), ["team/other"]);
    }

    #[test]
    fn versions_stand_for_the_highest_release() {
        let tags = ["1.2.3", "1.10.0", "v2.0.0", "2.1.0-rc", "nightly"].map(str::to_owned);
        let check = |version: &str, expected: Option<&str>| {
            assert_eq!(latest(version, &tags).as_deref(), expected, "{version}");
        };
        check("~latest", Some("v2.0.0"));
        check("1", Some("1.10.0"));
        check("1.2", Some("1.2.3"));
        check("3", None);
        check("main", None);
    }
}
