//! Objects that the server makes itself.

use std::path::Path;
use std::time::Duration;

use rave_core::name::ObjectId;

use crate::error::GitError;
use crate::git::command::Runner;

const LIMIT_BYTES: usize = 4 << 10;
const DEADLINE: Duration = Duration::from_secs(30);

/// Stores an object and returns its id.
async fn make(
    runner: &Runner,
    repository: &Path,
    name: &'static str,
    arguments: &[&str],
    content: Vec<u8>,
) -> Result<ObjectId, GitError> {
    let output = runner
        .run_with(repository, name, arguments, content, LIMIT_BYTES, DEADLINE)
        .await?
        .need(name)?;
    let text = String::from_utf8_lossy(&output);
    ObjectId::parse(text.trim()).map_err(|_| GitError::Answer { command: name })
}

/// Makes an annotated tag. `tagger` is `Name <address> seconds +0000`.
pub(crate) async fn make_tag(
    runner: &Runner,
    repository: &Path,
    commit: &ObjectId,
    name: &str,
    tagger: &str,
    message: &str,
) -> Result<ObjectId, GitError> {
    let text = format!(
        "object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{}\n",
        message.trim_end()
    );
    make(runner, repository, "mktag", &["mktag"], text.into_bytes()).await
}

/// Makes a commit of one file, the beginning of a history.
pub(crate) async fn make_first_commit(
    runner: &Runner,
    repository: &Path,
    file: (&str, &str),
    author: &str,
    message: &str,
) -> Result<ObjectId, GitError> {
    let (path, content) = file;
    let blob = make(
        runner,
        repository,
        "hash-object",
        &["hash-object", "-w", "--stdin"],
        content.into(),
    )
    .await?;
    let entry = format!("100644 blob {blob}\t{path}\0");
    let tree = make(
        runner,
        repository,
        "mktree",
        &["mktree", "-z"],
        entry.into_bytes(),
    )
    .await?;
    let text = format!("tree {tree}\nauthor {author}\ncommitter {author}\n\n{message}\n");
    let arguments = ["hash-object", "-t", "commit", "-w", "--stdin"];
    make(
        runner,
        repository,
        "hash-object",
        &arguments,
        text.into_bytes(),
    )
    .await
}
