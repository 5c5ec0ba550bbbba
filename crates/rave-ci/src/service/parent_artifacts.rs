//! Files out of the artifacts of a parent pipeline, for dynamic child pipelines.

use std::io::Read as _;

use rave_blob::{BlobFile, Blobs};
use rave_core::id::PipelineId;
use rave_store::Db;

use crate::error::CiError;
use crate::store;

/// Largest archive that the file of a child pipeline is taken from, and largest such file.
const ARCHIVE_BYTES: u64 = 5 << 20;

/// The archives of a pipeline's jobs, out of which its children may take files.
pub(super) struct ParentArtifacts {
    pub(super) db: Db,
    pub(super) blobs: Blobs,
    pub(super) pipeline: PipelineId,
}

impl ParentArtifacts {
    /// Reads a file out of the archive of a job, or says in a sentence why there is none.
    pub(super) async fn read(
        &self,
        job: &str,
        path: &str,
    ) -> Result<Result<String, String>, CiError> {
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
fn extract(file: BlobFile, job: &str, path: &str) -> Result<String, String> {
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
