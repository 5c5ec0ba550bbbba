//! Several objects read through one child: `git cat-file --batch-command`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rave_core::name::{ObjectId, RefName};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::GitError;
use crate::git::child::Group;
use crate::git::command::Runner;

const NAME: &str = "cat-file";
/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Tree,
    Commit,
    Tag,
}

/// An object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) id: ObjectId,
    pub(crate) kind: Kind,
    pub(crate) size_bytes: u64,
}

/// A child that answers questions about objects until it is dropped.
#[derive(Debug)]
pub(crate) struct Batch {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _group: Group,
    _permit: OwnedSemaphorePermit,
}

impl Batch {
    /// Starts the child.
    pub(crate) async fn open(runner: &Runner, repository: &Path) -> Result<Self, GitError> {
        let permit = runner.permit().await;
        let mut command = runner.command(repository, &[]);
        command
            .args(["cat-file", "--batch-command", "-z"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut group = Group::spawn(&mut command).map_err(child)?;
        let pipes = (group.child().stdin.take(), group.child().stdout.take());
        let (Some(input), Some(output)) = pipes else {
            return Err(GitError::Answer { command: NAME });
        };
        Ok(Self {
            input,
            output: BufReader::with_capacity(32 << 10, output),
            _group: group,
            _permit: permit,
        })
    }

    /// Looks an object up by a name that git understands: an id, a reference, `<commit>:<path>`.
    pub(crate) async fn info(&mut self, name: &str) -> Result<Option<Info>, GitError> {
        self.ask("info", name).await
    }

    /// Reads a whole object that [`Self::info`] found. The caller has looked at its size.
    pub(crate) async fn content(&mut self, info: &Info) -> Result<Vec<u8>, GitError> {
        let found = self.ask("contents", info.id.as_str()).await?;
        let size = found.ok_or(GitError::Answer { command: NAME })?.size_bytes;
        let size = usize::try_from(size).map_err(|_| GitError::Answer { command: NAME })?;
        let mut bytes = vec![0; size + 1];
        let read = self.output.read_exact(&mut bytes);
        within(read).await?;
        bytes.truncate(size);
        Ok(bytes)
    }

    /// Finds the commit that a branch, tag or (abbreviated) commit id stands for, and its full name if it has one.
    pub(crate) async fn resolve(
        &mut self,
        name: &str,
    ) -> Result<Option<(ObjectId, Option<RefName>)>, GitError> {
        let candidates = [
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}"),
            name.to_owned(),
        ];
        for reference in candidates.iter().filter_map(|it| RefName::parse(it).ok()) {
            if let Some(commit) = self.commit_of(reference.as_str()).await? {
                return Ok(Some((commit, Some(reference))));
            }
        }
        let hex = (4..=64).contains(&name.len()) && name.bytes().all(|it| it.is_ascii_hexdigit());
        if name != "HEAD" && !hex {
            return Ok(None);
        }
        Ok(self.commit_of(name).await?.map(|it| (it, None)))
    }

    async fn commit_of(&mut self, name: &str) -> Result<Option<ObjectId>, GitError> {
        let found = self.info(&format!("{name}^{{commit}}")).await?;
        Ok(found.filter(|it| it.kind == Kind::Commit).map(|it| it.id))
    }

    async fn ask(&mut self, question: &str, name: &str) -> Result<Option<Info>, GitError> {
        // The answer about a missing object repeats the name, and answers are lines.
        if name.is_empty() || name.contains(['\n', '\0', '\r']) {
            return Ok(None);
        }
        let text = format!("{question} {name}\0");
        within(self.input.write_all(text.as_bytes())).await?;
        let mut line = Vec::new();
        within(self.output.read_until(b'\n', &mut line)).await?;
        let line = String::from_utf8_lossy(&line);
        parse(line.trim_end_matches('\n'))
    }
}

fn parse(line: &str) -> Result<Option<Info>, GitError> {
    if line.ends_with(" missing") || line.ends_with(" ambiguous") {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let mut parsed = || {
        let id = ObjectId::parse(words.next()?).ok()?;
        let kind = match words.next()? {
            "blob" => Kind::Blob,
            "tree" => Kind::Tree,
            "commit" => Kind::Commit,
            "tag" => Kind::Tag,
            _ => return None,
        };
        let size_bytes = words.next()?.parse().ok()?;
        Some(Info {
            id,
            kind,
            size_bytes,
        })
    };
    parsed().map(Some).ok_or(GitError::Answer { command: NAME })
}

async fn within<T>(work: impl Future<Output = std::io::Result<T>>) -> Result<T, GitError> {
    tokio::time::timeout(DEADLINE, work)
        .await
        .map_err(|_| GitError::Deadline {
            command: NAME,
            limit: DEADLINE,
        })?
        .map_err(child)
}

fn child(source: std::io::Error) -> GitError {
    GitError::Child {
        command: NAME,
        source,
    }
}
