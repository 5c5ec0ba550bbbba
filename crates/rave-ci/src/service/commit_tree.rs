//! What the language asks of the tree of a commit, answered by the forge.

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use rave_blob::BlobStore;
use rave_ci_lang::{Limits, Tree};
use rave_core::id::{PipelineId, ProjectId};
use rave_core::name::{ObjectId, RepoPath};
use rave_core::port::{Forge, ForgeError, PortError};
use rave_store::Db;
use tokio::runtime::Handle;

use super::Ci;
use super::plan::Occasion;
use crate::error::CiError;
use crate::store;

const NO_PARENT: &str =
    "Including configs from artifacts is only allowed when triggering child pipelines";
/// Largest archive that the file of a child pipeline is taken from, and largest such file.
const ARCHIVE_BYTES: u64 = 5 << 20;
/// Most paths that conditions look at.
const FILES: usize = 200_000;

/// The tree of a commit, for a thread that may wait.
pub(super) struct CommitTree {
    forge: Arc<dyn Forge>,
    project: ProjectId,
    commit: ObjectId,
    before: ObjectId,
    parent: Option<ParentArtifacts>,
    runtime: Handle,
    /// The first time the forge did not answer: the plan is then worth nothing.
    failure: Mutex<Option<ForgeError>>,
}

impl Ci {
    pub(super) fn commit_tree(&self, occasion: &Occasion) -> CommitTree {
        CommitTree {
            forge: self.forge.clone(),
            project: occasion.project.id,
            commit: occasion.commit.id.clone(),
            before: occasion.before.clone(),
            parent: occasion.parent.map(|pipeline| ParentArtifacts {
                db: self.db.clone(),
                blobs: self.blobs.clone(),
                pipeline,
            }),
            runtime: Handle::current(),
            failure: Mutex::new(None),
        }
    }
}

impl CommitTree {
    /// Returns why the answers, and with them the plan, are worth nothing.
    pub(super) fn into_failure(self) -> Option<ForgeError> {
        self.failure.into_inner().ok().flatten()
    }

    fn fail<T: Default>(&self, error: ForgeError) -> T {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        T::default()
    }
}

impl Tree for CommitTree {
    fn read(&self, path: &str) -> Option<String> {
        let path = RepoPath::parse(path).ok()?;
        let limit = Limits::default().file_bytes as u64;
        let read = self
            .forge
            .read_file(self.project, &self.commit, &path, limit);
        match self.runtime.block_on(read) {
            Ok(file) => file.map(|it| String::from_utf8_lossy(&it).into_owned()),
            // The language says that it cannot be read.
            Err(ForgeError::TooLarge { .. }) => None,
            Err(error) => self.fail(error),
        }
    }

    fn files(&self) -> Vec<String> {
        let list = self.forge.list_files(self.project, &self.commit, FILES);
        self.runtime
            .block_on(list)
            .unwrap_or_else(|error| self.fail(error))
    }

    fn changed(&self) -> Option<Vec<String>> {
        if self.before.is_zero() {
            return None;
        }
        let changed = self
            .forge
            .changed_files(self.project, &self.before, &self.commit);
        match self.runtime.block_on(changed) {
            Ok(files) => Some(files),
            Err(error) => self.fail(error),
        }
    }

    fn artifact(&self, job: &str, path: &str) -> Result<String, String> {
        let Some(parent) = &self.parent else {
            return Err(NO_PARENT.to_owned());
        };
        match self.runtime.block_on(parent.read(job, path)) {
            Ok(answer) => answer,
            Err(error) => {
                self.fail::<()>(PortError::new("read an artifact of the parent", error).into());
                Err("the artifacts cannot be read".to_owned())
            }
        }
    }
}

/// The archives of a pipeline's jobs, out of which its children may take files.
struct ParentArtifacts {
    db: Db,
    blobs: Arc<dyn BlobStore>,
    pipeline: PipelineId,
}

impl ParentArtifacts {
    /// Reads a file out of the archive of a job, or says in a sentence why there is none.
    async fn read(&self, job: &str, path: &str) -> Result<Result<String, String>, CiError> {
        let (pipeline, name) = (self.pipeline, job.to_owned());
        let archive =
            self.db
                .read("ci_parent_archive", move |tx| match store::job::find_named(
                    tx, pipeline, &name,
                )? {
                    Some(job) => Ok(store::artifact::find(tx, job.id, "archive")?),
                    None => Ok::<_, CiError>(None),
                })
                .await?;
        let Some(archive) = archive else {
            let why = "not found in parent pipeline or does not have artifacts!";
            return Ok(Err(format!("Job `{job}` {why}")));
        };
        if archive.size_bytes > ARCHIVE_BYTES {
            let why = format!("Artifacts archive for job `{job}` is too large: max 5 MiB");
            return Ok(Err(why));
        }
        let file = self.blobs.open_file(&archive.digest).await?;
        let (job, path) = (job.to_owned(), path.trim_start_matches('/').to_owned());
        Ok(tokio::task::spawn_blocking(move || extract(file, &job, &path)).await?)
    }
}

/// Reads a file out of an archive.
fn extract(file: std::fs::File, job: &str, path: &str) -> Result<String, String> {
    let missing = || format!("Path `{path}` does not exist inside the `{job}` artifacts archive!");
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file))
        .map_err(|error| format!("Artifacts archive for job `{job}` cannot be read: {error}"))?;
    let entry = archive.by_name(path).map_err(|_| missing())?;
    if !entry.is_file() {
        return Err(missing());
    }
    let mut bytes = Vec::new();
    // An archive may claim less than it holds.
    let read = entry.take(ARCHIVE_BYTES + 1).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() as u64 > ARCHIVE_BYTES => {
            Err(format!("File `{path}` is too large: max 5 MiB"))
        }
        Ok(0) => Err(format!("File `{path}` is empty!")),
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(format!("File `{path}` cannot be unpacked: {error}")),
    }
}
