//! Artifacts: streamed in from runners, found and streamed out for people and later jobs.

use std::io::{BufReader, Read as _};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rave_blob::{BlobFile, BlobReader, ByteStream, Digest, PutOptions, Stored};
use rave_ci_lang::{ArtifactAccess, Expiry, JobPlan, parse_duration};
use rave_core::id::JobId;
use rave_core::job::Status;
use rave_core::permission::{Access, Principal, ReadPipelines, Role};
use rave_core::time::Timestamp;
use zip::ZipReadOptions;
use zip::result::ZipError;
// Not frozen in the crate yet. Unlike its older reader it keeps no index, whose size the sender of an archive would choose.
use zip::unstable::read::ZipIterable;

use super::Ci;
use crate::config::millis;
use crate::dotenv;
use crate::error::CiError;
use crate::model::{Artifact, ArtifactFormat, Audience, Job};
use crate::store;
use crate::store::job::Held;

/// How much of a file in an archive is unpacked ahead of its reader.
const PIECE: usize = 64 * 1024;
/// How many such pieces wait at most.
const PIECES: usize = 4;

/// An artifact that a runner uploads.
pub(crate) struct Upload {
    pub(crate) file_type: String,
    pub(crate) format: ArtifactFormat,
    pub(crate) filename: String,
    /// As the runner repeats it from the job.
    pub(crate) expire_in: Option<String>,
}

/// A file inside an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveEntry {
    /// Its path, with a slash at the end for a directory.
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) directory: bool,
}

/// A file out of an archive, on its way.
pub(crate) struct ArchiveFile {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) stream: ByteStream<'static>,
}

impl Ci {
    /// Takes in the bytes of an upload. They go again unless an artifact comes of them.
    pub(crate) async fn keep_upload(&self, stream: ByteStream<'_>) -> Result<Stored, CiError> {
        let limit = self.config.artifact_limit_bytes;
        Ok(self.blobs.put(stream, PutOptions::at_most(limit)).await?)
    }

    /// Stores an artifact of a running job. Uploading the same bytes again is no mistake.
    #[tracing::instrument(skip_all, name = "store_artifact", fields(job.id = held.job.0, artifact.type = upload.file_type))]
    pub(crate) async fn store_artifact(
        &self,
        held: &Held,
        upload: Upload,
        stored: Stored,
    ) -> Result<Artifact, CiError> {
        let variables = match upload.file_type.as_str() {
            "dotenv" => self.read_dotenv(&stored.digest).await?,
            _ => Vec::new(),
        };
        let (job, project, version_now) = (held.job, held.project, self.now());
        let default_expiry = millis(self.config.artifact_expiry);
        let artifact = self
            .db
            .write("ci_store_artifact", move |tx| {
                let current =
                    store::job::find_anywhere(tx, job)?.ok_or(CiError::NotFound("Job"))?;
                if current.state.runner().is_none() {
                    return Err(CiError::Forbidden("Job is not processing"));
                }
                let plan = store::job::load_plan(tx, job)?;
                let artifact = Artifact {
                    job,
                    file_type: upload.file_type.clone(),
                    format: upload.format,
                    filename: upload.filename,
                    digest: stored.digest,
                    size_bytes: stored.size_bytes,
                    audience: audience(&plan),
                    expire_at: expire_at(
                        &plan,
                        upload.expire_in.as_deref(),
                        default_expiry,
                        version_now,
                    ),
                };
                if store::artifact::insert(tx, project, &artifact)? {
                    store::dotenv::insert(tx, job, &variables)?;
                    return Ok(artifact);
                }
                let existing = store::artifact::find(tx, job, &upload.file_type)?;
                match existing.filter(|it| it.digest == stored.digest) {
                    Some(existing) => Ok(existing),
                    None => Err(CiError::Invalid(
                        "400 Bad request - another artifact of the same type already exists".into(),
                    )),
                }
            })
            .await?;
        self.wakes.reports.notify_one();
        Ok(artifact)
    }

    /// Reads a report of variables. One that is none is the job's mistake.
    async fn read_dotenv(&self, digest: &Digest) -> Result<Vec<(String, String)>, CiError> {
        let file = self.blobs.open_file(digest).await?;
        let parsed = tokio::task::spawn_blocking(move || dotenv::parse(file)).await?;
        parsed.map_err(|why| CiError::Invalid(format!("400 Bad request - {why}")))
    }

    /// Returns a job's archive for whoever has the token of a running job that may read the project.
    pub(crate) async fn load_archive_of(&self, job: &Job) -> Result<Artifact, CiError> {
        let id = job.id;
        let artifact = self
            .db
            .read("ci_find_archive", move |tx| {
                Ok::<_, CiError>(store::artifact::find(tx, id, "archive")?)
            })
            .await?;
        artifact.ok_or(CiError::NotFound(""))
    }

    /// Returns one artifact of a job, if the caller may have it.
    pub(crate) async fn find_artifact(
        &self,
        access: &Access<ReadPipelines>,
        job: JobId,
        file_type: &str,
    ) -> Result<Artifact, CiError> {
        let (project, file_type) = (access.project().id, file_type.to_owned());
        let found = self
            .db
            .read("ci_find_artifact", move |tx| {
                match store::job::find(tx, project, job)? {
                    Some(job) => Ok::<_, CiError>(store::artifact::find(tx, job.id, &file_type)?),
                    None => Err(CiError::NotFound("Job")),
                }
            })
            .await?;
        let artifact = found.ok_or(CiError::NotFound(""))?;
        if may_download(access, artifact.audience) {
            Ok(artifact)
        } else {
            Err(CiError::Forbidden(
                "the artifacts of this job are not for you",
            ))
        }
    }

    /// Opens a part of an artifact's bytes, as they are packed.
    pub(crate) async fn open_artifact(
        &self,
        artifact: &Artifact,
        part: Range<u64>,
    ) -> Result<BlobReader, CiError> {
        Ok(self.blobs.get(&artifact.digest, Some(part)).await?)
    }

    /// Lists what an archive holds, by path. Archives are not unpacked for it.
    pub(crate) async fn list_archive(
        &self,
        artifact: &Artifact,
        limit: usize,
    ) -> Result<Vec<ArchiveEntry>, CiError> {
        let file = self.blobs.open_file(&artifact.digest).await?;
        tokio::task::spawn_blocking(move || {
            let mut archive = ZipIterable::try_new(BufReader::new(file), Default::default())?;
            let mut entries = Vec::new();
            for entry in archive.files()?.take(limit) {
                let entry = entry?;
                entries.push(ArchiveEntry {
                    path: entry.name()?.into_owned(),
                    size_bytes: entry.size(),
                    directory: entry.is_dir(),
                });
            }
            entries.sort_by(|left, right| left.path.cmp(&right.path));
            Ok(entries)
        })
        .await?
    }

    /// Opens one file of an archive. It is unpacked while it is read.
    pub(crate) async fn open_archive_file(
        &self,
        artifact: &Artifact,
        path: &str,
    ) -> Result<ArchiveFile, CiError> {
        let file = self.blobs.open_file(&artifact.digest).await?;
        let (found, size) = tokio::sync::oneshot::channel();
        let (pieces, unpacked) = tokio::sync::mpsc::channel(PIECES);
        let name = path.to_owned();
        self.tasks.spawn_blocking(move || {
            if let Err(error) = unpack(file, &name, found, &pieces) {
                // Whoever reads may be gone already, and then nobody needs to know.
                let _ = pieces.blocking_send(Err(std::io::Error::other(error)));
            }
        });
        match size.await {
            Ok(Some(size_bytes)) => Ok(ArchiveFile {
                path: path.to_owned(),
                size_bytes,
                stream: futures_util::stream::unfold(unpacked, |mut unpacked| async move {
                    unpacked.recv().await.map(|it| (it, unpacked))
                })
                .boxed(),
            }),
            Ok(None) => Err(CiError::NotFound("")),
            Err(_) => Err(CiError::Invalid(
                "400 Bad request - the archive cannot be read".into(),
            )),
        }
    }

    /// Returns the newest successful job of a name in the latest successful pipeline of a ref.
    pub(crate) async fn find_job_of_ref(
        &self,
        access: &Access<ReadPipelines>,
        ref_name: &str,
        job: &str,
    ) -> Result<Job, CiError> {
        let (project, ref_name, name) = (access.project().id, ref_name.to_owned(), job.to_owned());
        let found = self
            .db
            .read("ci_job_of_ref", move |tx| {
                let status = Some(Status::Success);
                let latest = store::pipeline::find_latest(tx, project, &ref_name, status)?;
                let Some(latest) = latest else {
                    return Ok(None);
                };
                Ok::<_, CiError>(store::job::find_named(tx, latest.id, &name)?)
            })
            .await?;
        found
            .filter(|it| it.status() == Status::Success)
            .ok_or(CiError::NotFound(""))
    }
}

/// Unpacks one file into pieces, as fast as they are taken.
fn unpack(
    file: BlobFile,
    path: &str,
    found: tokio::sync::oneshot::Sender<Option<u64>>,
    pieces: &tokio::sync::mpsc::Sender<std::io::Result<Bytes>>,
) -> Result<(), ZipError> {
    let mut archive = ZipIterable::try_new(BufReader::new(file), Default::default())?;
    let files = archive.files()?;
    // Of several entries of one name the last one counts, as where an archive is unpacked.
    let mut last = None;
    for entry in files.by_ref() {
        let entry = entry?;
        if entry.name_raw() == path.as_bytes() {
            last = Some(entry);
        }
    }
    let Some(entry) = last.filter(|it| it.is_file()) else {
        let _ = found.send(None);
        return Ok(());
    };
    let mut entry = entry.with_reader(files.reader_mut(), ZipReadOptions::new())?;
    if found.send(Some(entry.size())).is_err() {
        return Ok(());
    }
    loop {
        let mut piece = vec![0; PIECE];
        let length = entry.read(&mut piece)?;
        piece.truncate(length);
        if length == 0 || pieces.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}

fn audience(plan: &JobPlan) -> Audience {
    match plan.artifacts.as_ref().map(|it| it.access) {
        None | Some(ArtifactAccess::All) => Audience::All,
        Some(ArtifactAccess::Developer) => Audience::Developer,
        Some(ArtifactAccess::Maintainer) => Audience::Maintainer,
        Some(ArtifactAccess::None) => Audience::Nobody,
    }
}

/// Whether the caller is among those that the file names. Jobs of the project are, whoever they name.
fn may_download(access: &Access<ReadPipelines>, audience: Audience) -> bool {
    let job = matches!(access.principal(), Principal::Job { project, .. } if *project == access.project().id);
    job || match audience {
        Audience::All => true,
        Audience::Developer => access.is_at_least(Role::Developer),
        Audience::Maintainer => access.is_at_least(Role::Maintainer),
        Audience::Nobody => false,
    }
}

/// Returns when an artifact expires: by the upload, else by the file, else by default. `None`: never.
fn expire_at(
    plan: &JobPlan,
    given: Option<&str>,
    default_ms: i64,
    now: Timestamp,
) -> Option<Timestamp> {
    let after = |it: Duration| Some(now.plus_millis(millis(it)));
    let planned = plan.artifacts.as_ref().and_then(|it| it.expire_in);
    match (given.map(str::trim).filter(|it| !it.is_empty()), planned) {
        (Some("never"), _) | (None, Some(Expiry::Never)) => None,
        (Some(text), _) => match parse_duration(text) {
            Ok(Some(it)) => after(it),
            Ok(None) | Err(_) => Some(now.plus_millis(default_ms)),
        },
        (None, Some(Expiry::AfterSecs(it))) => after(Duration::from_secs(it)),
        (None, None) => Some(now.plus_millis(default_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::plan::tests::job;

    #[test]
    fn the_upload_says_when_it_expires_else_the_file_else_the_default() {
        let mut plan = job("a");
        let at = |plan: &JobPlan, given| expire_at(plan, given, 7000, Timestamp(0)).map(|it| it.0);
        assert_eq!(at(&plan, None), Some(7000));
        assert_eq!(at(&plan, Some("1 day")), Some(86_400_000));
        assert_eq!(at(&plan, Some("never")), None);
        assert_eq!(at(&plan, Some("nonsense")), Some(7000));
        plan.artifacts = Some(rave_ci_lang::Artifacts {
            expire_in: Some(Expiry::Never),
            ..Default::default()
        });
        assert_eq!(at(&plan, None), None);
        assert_eq!(at(&plan, Some("10 s")), Some(10_000));
    }
}
