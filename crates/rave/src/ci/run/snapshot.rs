//! The working tree as a commit, uncommitted and untracked files included.
//!
//! Nothing of the user's repository is touched: the index is a copy, new objects go to a directory of the run, and no
//! reference moves. The commit's date and message are those of what is checked out, so that the same files are the same
//! commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use rave_core::name::ObjectId;

use crate::terminal::say;

/// What git takes from its environment about the repository, which is another one when a hook starts us.
const FOREIGN: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
];

/// A working tree as a commit.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) commit: ObjectId,
    /// The files, whatever the commit is; large ones may be pointers.
    pub(super) tree: ObjectId,
    /// Directories that have the objects.
    pub(super) objects: Vec<PathBuf>,
    /// Branches and tags, as the server would have them.
    pub(super) references: Vec<(String, ObjectId)>,
    /// The file that says where the history of a shallow clone ends.
    pub(super) shallow: Option<PathBuf>,
    /// Whether objects of older commits may be missing.
    pub(super) partial: bool,
}

/// Takes snapshots of one working tree.
#[derive(Debug)]
pub(super) struct Camera {
    root: PathBuf,
    /// Where the copies are.
    scratch: PathBuf,
    source: Source,
    /// Held while the copy of the index is written: a watcher may still look when the next run begins.
    looking: Mutex<()>,
}

/// Where the files' history is.
#[derive(Debug)]
enum Source {
    /// A repository that the project is, or is a directory of.
    Repository {
        prefix: String,
        index: PathBuf,
        objects: PathBuf,
        shallow: PathBuf,
    },
    /// None: the run has one of its own.
    Own { git_dir: PathBuf },
}

/// What is checked out.
#[derive(Debug, Default)]
struct Head {
    commit: String,
    tree: String,
    /// Name, address and date of author and committer.
    people: [[String; 3]; 2],
    message: String,
}

impl Camera {
    /// Prepares for a project. `scratch` is a directory of the run.
    pub(super) fn new(root: &Path, has_git: bool, scratch: &Path) -> anyhow::Result<Self> {
        let scratch = scratch.to_owned();
        for dir in ["objects/info", "objects/pack"] {
            fs::create_dir_all(scratch.join(dir)).context("cannot prepare the snapshot")?;
        }
        let mut camera = Self {
            root: root.to_owned(),
            source: Source::Own {
                git_dir: scratch.join("git"),
            },
            scratch,
            looking: Mutex::new(()),
        };
        if has_git {
            let words = [
                "rev-parse",
                "--path-format=absolute",
                "--git-path",
                "index",
                "--git-path",
                "objects",
            ];
            let found = camera
                .plain(&[&words[..], &["--git-path", "shallow", "--show-prefix"]].concat())?;
            let mut lines = found.lines();
            let mut path = || PathBuf::from(lines.next().unwrap_or_default());
            let (index, objects, shallow) = (path(), path(), path());
            camera.source = Source::Repository {
                index,
                objects,
                shallow,
                prefix: lines.next().unwrap_or_default().to_owned(),
            };
        } else {
            let made = camera.scratch.join("git");
            camera.plain(&[
                "init",
                "--quiet",
                "--bare",
                "--template=",
                &made.display().to_string(),
            ])?;
        }
        Ok(camera)
    }

    /// Returns the tree of the files as they are now.
    pub(super) fn look(&self) -> anyhow::Result<ObjectId> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = self.scratch.join("index");
        if let Source::Repository { index, .. } = &self.source {
            match copy_index(index, &copy) {
                Ok(()) => {}
                // Nothing was ever added.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", index.display()));
                }
            }
        }
        self.add(&["--all", "--ignore-errors", "--", "."])?;
        self.write_tree()
    }

    /// Adds files to the copy of the index.
    fn add(&self, what: &[&str]) -> anyhow::Result<()> {
        let mut words = vec![
            "-c",
            "core.fsmonitor=false",
            "-c",
            "advice.addEmbeddedRepo=false",
        ];
        words.push("add");
        words.extend(what);
        let mut command = self.copying(&words);
        // A name is a name, whatever characters are in it.
        command.env("GIT_LITERAL_PATHSPECS", "1");
        let added = command
            .output()
            .context("cannot start git; is it installed?")?;
        if !added.status.success() {
            let text = String::from_utf8_lossy(&added.stderr);
            let first = text
                .lines()
                .find(|it| !it.trim().is_empty())
                .unwrap_or("git add failed");
            say(&format!("Some files are left out: {first}"));
        }
        Ok(())
    }

    /// Returns the tree of the copy of the index.
    fn write_tree(&self) -> anyhow::Result<ObjectId> {
        let prefix = format!("--prefix={}", self.prefix());
        let mut words = vec!["write-tree"];
        if !self.prefix().is_empty() {
            words.push(&prefix);
            // A directory all of whose files are ignored is in no tree.
            if output(self.copying(&["ls-files", "--", "."]))?.is_empty() {
                words = vec!["mktree"];
            }
        }
        let tree = output(self.copying(&words))?;
        ObjectId::parse(tree.trim()).map_err(|_| anyhow::anyhow!("git names the tree {tree:?}"))
    }

    /// Returns the tree that was looked at with the content of all large files: of those that have not changed, the index
    /// knows pointers.
    fn filled(&self, tree: &ObjectId) -> anyhow::Result<ObjectId> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        // `git add` knows no patterns of attributes everywhere, but it reads names from a file.
        let names = self.scratch.join("large");
        let file = fs::File::create(&names).context("cannot write the list of large files")?;
        let listed = self
            .copying(&["ls-files", "-z", "--", ":(attr:filter=lfs)"])
            .stdout(file)
            .status()
            .context("cannot start git; is it installed?")?;
        if !listed.success() {
            bail!("git cannot list the large files");
        }
        if fs::metadata(&names)
            .context("cannot read the list of large files")?
            .len()
            == 0
        {
            return Ok(tree.clone());
        }
        let from = format!("--pathspec-from-file={}", names.display());
        self.add(&["--renormalize", "--pathspec-file-nul", &from])?;
        self.write_tree()
    }

    /// Takes a snapshot.
    pub(super) fn take(&self) -> anyhow::Result<Snapshot> {
        let tree = self.look()?;
        let files = self.filled(&tree)?;
        let head = self.head().unwrap_or_default();
        let clean = head.tree == files.as_str() && self.prefix().is_empty();
        let commit = match ObjectId::parse(&head.commit) {
            Ok(commit) if clean => commit,
            _ => self.commit(&files, &head)?,
        };
        let own = self.scratch.join("objects");
        let (objects, shallow) = match &self.source {
            Source::Repository {
                objects, shallow, ..
            } => (vec![own, objects.clone()], Some(shallow.clone())),
            Source::Own { git_dir } => (vec![own, git_dir.join("objects")], None),
        };
        Ok(Snapshot {
            commit,
            tree,
            objects,
            references: self.references(),
            shallow: shallow.filter(|it| it.is_file()),
            partial: self
                .plain(&[
                    "config",
                    "--get-regexp",
                    r"^(extensions\.partialclone|remote\..*\.promisor)$",
                ])
                .is_ok(),
        })
    }

    /// Returns the paths that differ between two trees.
    pub(super) fn changed(
        &self,
        before: &ObjectId,
        after: &ObjectId,
    ) -> anyhow::Result<Vec<String>> {
        let arguments = [
            "diff-tree",
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            before.as_str(),
            after.as_str(),
        ];
        let listed = output(self.copying(&arguments))?;
        Ok(listed
            .split('\0')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect())
    }

    fn prefix(&self) -> &str {
        match &self.source {
            Source::Repository { prefix, .. } => prefix,
            Source::Own { .. } => "",
        }
    }

    fn head(&self) -> Option<Head> {
        let format = "--format=%H%x00%T%x00%an%x00%ae%x00%ad%x00%cn%x00%ce%x00%cd%x00%B";
        let shown = self
            .plain(&[
                "log",
                "-1",
                "--no-show-signature",
                "--date=format:@%s %z",
                format,
            ])
            .ok()?;
        let mut fields = shown.splitn(9, '\0').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        Some(Head {
            commit: field(),
            tree: field(),
            people: [[field(), field(), field()], [field(), field(), field()]],
            message: field(),
        })
    }

    fn commit(&self, tree: &ObjectId, head: &Head) -> anyhow::Result<ObjectId> {
        // The history of a directory of a repository is not that of the repository.
        let has_parent = !head.commit.is_empty() && self.prefix().is_empty();
        let parent = ["-p", &head.commit];
        let message = if head.message.trim().is_empty() {
            "Working tree"
        } else {
            head.message.trim_end()
        };
        let words = [
            &["commit-tree", tree.as_str(), "-m", message][..],
            if has_parent { &parent } else { &[] },
        ]
        .concat();
        let mut command = self.copying(&words);
        for (role, person) in ["AUTHOR", "COMMITTER"].into_iter().zip(&head.people) {
            let nobody = ["local", "local@localhost", "@0 +0000"];
            for ((key, value), nobody) in ["NAME", "EMAIL", "DATE"]
                .into_iter()
                .zip(person)
                .zip(nobody)
            {
                let value = if value.trim().is_empty() {
                    nobody
                } else {
                    value
                };
                command.env(format!("GIT_{role}_{key}"), value);
            }
        }
        let commit = output(command)?;
        ObjectId::parse(commit.trim())
            .map_err(|_| anyhow::anyhow!("git names the commit {commit:?}"))
    }

    /// Returns branches and tags. Those of `origin` count where there is no branch of that name here.
    fn references(&self) -> Vec<(String, ObjectId)> {
        if matches!(self.source, Source::Own { .. }) {
            return Vec::new();
        }
        let words = [
            "for-each-ref",
            "--format=%(objectname) %(refname)",
            "refs/remotes/origin",
            "refs/heads",
            "refs/tags",
        ];
        let listed = self.plain(&words).unwrap_or_default();
        let mut references = std::collections::BTreeMap::new();
        for line in listed.lines() {
            let Some((id, name)) = line.split_once(' ') else {
                continue;
            };
            let Ok(id) = ObjectId::parse(id) else {
                continue;
            };
            match name.strip_prefix("refs/remotes/origin/") {
                Some("HEAD") => {}
                Some(branch) => drop(
                    references
                        .entry(format!("refs/heads/{branch}"))
                        .or_insert(id),
                ),
                None => drop(references.insert(name.to_owned(), id)),
            }
        }
        references.into_iter().collect()
    }

    /// Runs a command that only reads.
    fn plain(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command();
        if let Source::Own { git_dir } = &self.source
            && git_dir.exists()
        {
            command.arg("--git-dir").arg(git_dir);
        }
        command.args(arguments);
        output(command)
    }

    /// Makes a command that works on the copy of the index and writes objects to the run's directory.
    ///
    /// Large files, which LFS keeps elsewhere, are for it as they are: nobody would give them to the jobs.
    fn copying(&self, arguments: &[&str]) -> Command {
        let mut command = self.command();
        for setting in ["clean=", "smudge=", "process=", "required=false"] {
            command.arg("-c").arg(format!("filter.lfs.{setting}"));
        }
        command.env("GIT_INDEX_FILE", self.scratch.join("index"));
        command.env("GIT_OBJECT_DIRECTORY", self.scratch.join("objects"));
        match &self.source {
            Source::Repository { objects, .. } => {
                command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(objects));
            }
            Source::Own { git_dir } => {
                command
                    .arg("--git-dir")
                    .arg(git_dir)
                    .arg("--work-tree")
                    .arg(&self.root);
            }
        }
        command.args(arguments);
        command
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.root).stdin(Stdio::null());
        for key in FOREIGN {
            command.env_remove(key);
        }
        command.args(["--no-optional-locks", "-c", "core.hooksPath=/dev/null"]);
        command
    }
}

/// Copies an index with its time, by which git tells whether a file may have changed in the moment after it was added.
fn copy_index(from: &Path, to: &Path) -> std::io::Result<()> {
    let written = fs::metadata(from)?.modified()?;
    fs::copy(from, to)?;
    fs::File::options()
        .write(true)
        .open(to)?
        .set_modified(written)
}

/// Writes a path so that git does not take its colons for separators.
fn quoted(path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from("\"");
    let plain = path.to_string_lossy();
    text.push(plain.replace('\\', "\\\\").replace('"', "\\\""));
    text.push("\"");
    text
}

fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .context("cannot start git; is it installed?")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text
        .lines()
        .find(|it| !it.trim().is_empty())
        .unwrap_or_default();
    bail!("git failed: {first}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(root: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(root).args(arguments);
        for (key, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ] {
            command.env(key, value);
        }
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Ann")
                .env(format!("GIT_{role}_EMAIL"), "ann@localhost");
        }
        output(command).unwrap()
    }

    fn files(camera: &Camera, snapshot: &Snapshot) -> String {
        let list = output(camera.copying(&[
            "ls-tree",
            "-r",
            "--full-tree",
            "--name-only",
            snapshot.commit.as_str(),
        ]))
        .unwrap();
        list.lines().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_clean_tree_is_its_commit_and_a_changed_one_a_child_of_it() {
        let (work, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = work.path();
        git(root, &["init", "-q", "-b", "main"]);
        for (name, text) in [("a", "1"), ("gone", ""), (".gitignore", "*.o\n")] {
            fs::write(root.join(name), text).unwrap();
        }
        git(root, &["add", "."]);
        git(root, &["commit", "-q", "-m", "First"]);
        let head = git(root, &["rev-parse", "HEAD"]);
        let camera = Camera::new(root, true, scratch.path()).unwrap();
        let clean = camera.take().unwrap();
        assert_eq!(clean.commit.as_str(), head.trim());
        assert_eq!(
            clean.references,
            [("refs/heads/main".to_owned(), clean.commit.clone())]
        );

        let before = fs::read(root.join(".git/index")).unwrap();
        // Of the same size, and within the same second: only the time of the index tells.
        fs::write(root.join("a"), "2").unwrap();
        fs::write(root.join("new"), "").unwrap();
        fs::write(root.join("x.o"), "").unwrap();
        fs::remove_file(root.join("gone")).unwrap();
        let dirty = camera.take().unwrap();
        assert_eq!(files(&camera, &dirty), ".gitignore a new");
        assert_eq!(
            camera.take().unwrap().commit,
            dirty.commit,
            "the same files are the same commit"
        );
        let parent = output(camera.copying(&["rev-parse", &format!("{}^", dirty.commit)])).unwrap();
        assert_eq!(parent, head);
        assert_eq!(
            camera.changed(&clean.tree, &dirty.tree).unwrap(),
            ["a", "gone", "new"]
        );
        // The repository is as it was.
        assert_eq!(fs::read(root.join(".git/index")).unwrap(), before);
        assert!(
            Command::new("git")
                .current_dir(root)
                .args(["cat-file", "-e", dirty.commit.as_str()])
                .output()
                .is_ok_and(|it| !it.status.success())
        );
        assert_eq!(git(root, &["for-each-ref"]).lines().count(), 1);
    }

    #[test]
    fn a_directory_of_a_repository_is_a_tree_of_its_own() {
        let (work, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = work.path();
        git(root, &["init", "-q"]);
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/in"), "").unwrap();
        fs::write(root.join("out"), "").unwrap();
        let camera = Camera::new(&root.join("sub"), true, scratch.path()).unwrap();
        assert_eq!(files(&camera, &camera.take().unwrap()), "in");
    }

    #[test]
    fn files_without_a_repository_have_a_commit_too() {
        let (work, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(work.path().join("a"), "").unwrap();
        fs::write(work.path().join("b.o"), "").unwrap();
        fs::write(work.path().join(".gitignore"), "*.o").unwrap();
        let camera = Camera::new(work.path(), false, scratch.path()).unwrap();
        let snapshot = camera.take().unwrap();
        assert_eq!(files(&camera, &snapshot), ".gitignore a");
        assert!(snapshot.references.is_empty() && snapshot.shallow.is_none() && !snapshot.partial);
        assert!(!work.path().join(".git").exists());
    }
}
