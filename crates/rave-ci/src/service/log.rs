//! Logs of jobs: appended by runners, read by people, archived once the job has ended.

use futures_util::{StreamExt as _, stream};
use rave_core::id::JobId;
use rave_core::permission::{Access, ReadPipelines, Role};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use super::Ci;
use super::advance::Rules;
use crate::error::CiError;
use crate::model::LogSlice;
use crate::store;
use crate::store::job::Held;

/// How much of a log is in memory at once while it is archived.
const PIECE: usize = 256 * 1024;

/// Tells readers of live logs to look. Which log grew, the log itself says.
pub(crate) struct LogSignal(watch::Sender<u64>);

impl LogSignal {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Tells everyone who reads a live log to look.
    pub(crate) fn ring(&self) {
        self.0.send_modify(|it| *it = it.wrapping_add(1));
    }

    /// Returns what changes when a log of a job that reports to this process may have grown. Other processes' jobs are
    /// not heard: keep a timer beside it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// What became of a piece of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The log has this size now.
    Size(u64),
    /// The log has this size, which is not where the piece begins.
    Mismatch(u64),
    /// The job ran no longer.
    Ended,
    /// The log would exceed the limit; its job was failed.
    TooLong,
}

impl Ci {
    /// Appends a piece at offset `start` to the log of a running job.
    pub(crate) async fn append_log(
        &self,
        held: &Held,
        start: u64,
        body: bytes::Bytes,
    ) -> Result<Appended, CiError> {
        if held.trace_bytes != start {
            return Ok(Appended::Mismatch(held.trace_bytes));
        }
        let size = start + body.len() as u64;
        if size > self.config.trace_limit_bytes {
            return Ok(Appended::TooLong);
        }
        let mut crc = crc32fast::Hasher::new_with_initial(held.trace_crc);
        crc.update(&body);
        let crc = crc.finalize();
        let rules = Rules::of(&self.config);
        let (job, started_at, timeout_ms) = (held.job, held.started_at, held.timeout_ms);
        let appended = self
            .db
            .write("ci_append_log", move |tx| {
                let due = rules.due_running(started_at, timeout_ms, tx.now());
                if store::trace::append(tx, job, start, &body, crc, due)? {
                    return Ok::<_, CiError>(Appended::Size(size));
                }
                let place = store::trace::place(tx, job)?.ok_or(CiError::NotFound("Job"))?;
                Ok(match place {
                    place if place.complete => Appended::Ended,
                    place => Appended::Mismatch(place.size_bytes),
                })
            })
            .await?;
        self.logs.ring();
        Ok(appended)
    }

    /// Reads a part of a job's log: up to `limit` bytes from offset `from` on.
    ///
    /// A live reader asks again from where the part ended when [`LogSignal::subscribe`] changes, until the slice is
    /// complete and its end is the log's size.
    pub(crate) async fn read_log(
        &self,
        access: &Access<ReadPipelines>,
        job: JobId,
        from: u64,
        limit: usize,
    ) -> Result<LogSlice, CiError> {
        let project = access.project().id;
        let debug = self
            .db
            .read("ci_log_job", move |tx| {
                Ok::<_, CiError>(store::trace::is_debug(tx, project, job)?)
            })
            .await?;
        if debug.ok_or(CiError::NotFound("Job"))? && !access.is_at_least(Role::Developer) {
            return Err(CiError::Forbidden(
                "the log shows every command and may hold secrets: it is for developers",
            ));
        }
        self.read_log_of(job, from, limit).await
    }

    async fn read_log_of(&self, job: JobId, from: u64, limit: usize) -> Result<LogSlice, CiError> {
        let (place, bytes) = self
            .db
            .read("ci_read_log", move |tx| {
                let place = store::trace::place(tx, job)?.ok_or(CiError::NotFound("Job"))?;
                let stored = place.digest.is_none() && from < place.size_bytes;
                let bytes = if stored {
                    store::trace::read(tx, job, from, limit)?
                } else {
                    Vec::new()
                };
                Ok::<_, CiError>((place, bytes))
            })
            .await?;
        let mut slice = LogSlice {
            bytes,
            size_bytes: place.size_bytes,
            complete: place.complete,
        };
        if let Some(digest) = place.digest.filter(|_| from < place.size_bytes) {
            let end = place.size_bytes.min(from + limit as u64);
            let mut reader = self.blobs.get(&digest, Some(from..end)).await?;
            reader
                .read_to_end(&mut slice.bytes)
                .await
                .map_err(CiError::Upload)?;
        }
        Ok(slice)
    }

    /// Moves the log of an ended job into the blob store, and searches it for the job's coverage. Returns whether it is
    /// there now.
    pub(crate) async fn archive_log(&self, job: JobId, size: u64) -> Result<bool, CiError> {
        let pieces = stream::unfold(0_u64, |from| async move {
            if from >= size {
                return None;
            }
            let read = self
                .db
                .read("ci_archive_read", move |tx| {
                    Ok::<_, CiError>(store::trace::read(tx, job, from, PIECE)?)
                })
                .await;
            match read {
                Ok(bytes) if bytes.is_empty() => {
                    let lost = std::io::Error::other("a piece of the log is missing");
                    Some((Err(lost), size))
                }
                Ok(bytes) => {
                    let next = from + bytes.len() as u64;
                    Some((Ok(bytes::Bytes::from(bytes)), next))
                }
                Err(error) => Some((Err(std::io::Error::other(error)), size)),
            }
        });
        let stored = self
            .blobs
            .put(pieces.boxed(), rave_blob::PutOptions::at_most(u64::MAX))
            .await?;
        let coverage = self.coverage_in_log(job, &stored.digest, size).await?;
        self.db
            .write("ci_archive_log", move |tx| {
                let archived = store::trace::put_archived(tx, job, size, &stored.digest)?;
                if let (true, Some(coverage)) = (archived, coverage) {
                    store::report::coverage::put(tx, job, coverage)?;
                    super::findings::tell(tx, job, "coverage")?;
                }
                Ok(archived)
            })
            .await
    }
}
