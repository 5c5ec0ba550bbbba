//! Branches and tags as git lists them, and the few changes to references that do not come by a push.

use std::collections::BTreeMap;
use std::path::Path;

use rave_core::name::{ObjectId, RefName};

use crate::error::GitError;
use crate::git::command::Runner;

/// A branch or tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Without `refs/heads/` or `refs/tags/`.
    pub(crate) name: String,
    /// The object that the reference holds: for an annotated tag the tag itself.
    pub(crate) target: String,
    /// The commit that it leads to.
    pub(crate) commit: String,
    /// An annotated tag's own text.
    pub(crate) message: Option<String>,
}

/// Lists the objects of all branches and tags by full name.
pub(crate) async fn list_targets(
    runner: &Runner,
    repository: &Path,
) -> Result<BTreeMap<String, String>, GitError> {
    let arguments = [
        "for-each-ref",
        "--format=%(objectname) %(refname)",
        "refs/heads",
        "refs/tags",
    ];
    let output = runner.run(repository, "for-each-ref", arguments).await?;
    let text = String::from_utf8_lossy(&output.need("for-each-ref")?).into_owned();
    let pairs = text.lines().filter_map(|it| it.split_once(' '));
    Ok(pairs
        .map(|(id, name)| (name.to_owned(), id.to_owned()))
        .collect())
}

/// Which references a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Branches by name.
    Branches,
    /// Branches, the latest commit first.
    BranchesByDate,
    /// Tags, the newest first.
    Tags,
}

/// Lists branches or tags.
pub(crate) async fn list(
    runner: &Runner,
    repository: &Path,
    listing: Listing,
) -> Result<Vec<Reference>, GitError> {
    let (prefix, sort) = match listing {
        Listing::Branches => ("refs/heads/", "refname"),
        Listing::BranchesByDate => ("refs/heads/", "-committerdate"),
        Listing::Tags => ("refs/tags/", "-creatordate"),
    };
    let format =
        "--format=%(refname)%00%(objectname)%00%(*objectname)%00%(objecttype)%00%(contents)%00";
    let sort = format!("--sort={sort}");
    let output = runner
        .run(
            repository,
            "for-each-ref",
            ["for-each-ref", &sort, format, prefix],
        )
        .await?;
    let text = String::from_utf8_lossy(&output.need("for-each-ref")?).into_owned();
    let fields: Vec<&str> = text.split('\0').collect();
    let records = fields.chunks_exact(5);
    Ok(records.filter_map(|it| reference(it, prefix)).collect())
}

fn reference(fields: &[&str], prefix: &str) -> Option<Reference> {
    let [name, target, peeled, kind, contents] = fields else {
        return None;
    };
    let annotated = *kind == "tag";
    Some(Reference {
        name: name
            .trim_start_matches('\n')
            .strip_prefix(prefix)?
            .to_owned(),
        target: (*target).to_owned(),
        commit: if peeled.is_empty() { target } else { peeled }.to_string(),
        message: annotated.then(|| contents.trim_end().to_owned()),
    })
}

/// What became of a change to a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Done,
    /// The reference is not where the caller thought.
    Refused,
}

/// Moves, makes or deletes a reference if it still is at `before`; all zeros stand for "absent".
pub(crate) async fn update(
    runner: &Runner,
    repository: &Path,
    name: &RefName,
    before: &str,
    after: &str,
) -> Result<Moved, GitError> {
    let arguments = ["update-ref", "--no-deref", name.as_str(), after, before];
    let output = runner.run(repository, "update-ref", arguments).await?;
    if output.success {
        return Ok(Moved::Done);
    }
    if output.stderr.contains("cannot lock ref") {
        return Ok(Moved::Refused);
    }
    output.need("update-ref").map(|_| Moved::Done)
}

/// Puts a reference where it should be, wherever it was.
pub(crate) async fn keep(
    runner: &Runner,
    repository: &Path,
    name: &RefName,
    at: &ObjectId,
) -> Result<(), GitError> {
    let arguments = ["update-ref", name.as_str(), at.as_str()];
    let output = runner.run(repository, "update-ref", arguments).await?;
    output.need("update-ref").map(drop)
}

/// Lets `HEAD` lead to a branch, which may not exist yet.
pub(crate) async fn set_head(
    runner: &Runner,
    repository: &Path,
    branch: &RefName,
) -> Result<(), GitError> {
    let arguments = ["symbolic-ref", "HEAD", branch.as_str()];
    let output = runner.run(repository, "symbolic-ref", arguments).await?;
    output.need("symbolic-ref").map(drop)
}
