//! Follows a pipeline to its end: shows what happens, starts the manual jobs that were asked for, and stops everything
//! when the user wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rave_ci::Ci;
use rave_ci::local::LocalPipeline;
use rave_core::id::{JobId, PipelineId};
use rave_core::job::Status;
use rave_core::permission::{Access, ReadPipelines, RunPipelines};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::instance::{Instance, Running, no_runner};
use super::show::Show;
use super::stop::Stop;

/// How much of a log is read at once.
const PIECE: usize = 256 << 10;
/// How soon after one look the next may come.
const PAUSE: Duration = Duration::from_millis(20);

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing moves any more.
    Over,
    /// The user asked to stop, and everything did.
    Stopped,
    /// The user asked twice: jobs still run.
    Dropped,
    /// Something else made this run pointless, and everything stopped.
    Outdated,
}

/// What may happen besides the pipeline.
pub(super) struct World<'a> {
    pub(super) runner: &'a mut Running,
    pub(super) notices: &'a mut mpsc::Receiver<String>,
    pub(super) stop: &'a mut Stop,
}

/// Follows one pipeline.
pub(super) struct Follow<'a> {
    ci: &'a Arc<Ci>,
    run: Access<RunPipelines>,
    read: Access<ReadPipelines>,
    root: PipelineId,
    /// Names of jobs to start when they wait for a person or a time.
    play: &'a BTreeSet<String>,
    played: BTreeSet<JobId>,
    shown: BTreeMap<JobId, u64>,
}

impl<'a> Follow<'a> {
    pub(super) fn new(
        instance: &'a Instance,
        root: PipelineId,
        play: &'a BTreeSet<String>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            ci: instance.ci(),
            read: instance.access.also()?,
            run: instance.access.clone(),
            root,
            play,
            played: BTreeSet::new(),
            shown: BTreeMap::new(),
        })
    }

    /// Follows until nothing moves any more. `outdated` ends it, too.
    pub(super) async fn until_end(
        &mut self,
        world: World<'_>,
        show: &mut dyn Show,
        outdated: impl Future<Output = ()>,
    ) -> anyhow::Result<(End, Vec<LocalPipeline>)> {
        tokio::pin!(outdated);
        let mut changes = self.ci.local_changes();
        let mut stopping = None;
        loop {
            let looked_at = Instant::now();
            let pipelines = self.ci.local_pipelines(&self.read, self.root).await?;
            if show.wants_logs() {
                self.pass_logs(&pipelines, show).await?;
            }
            show.update(&pipelines);
            if !self.start_wanted(&pipelines).await? && is_over(&pipelines) {
                return Ok((stopping.unwrap_or(End::Over), pipelines));
            }
            loop {
                let tick = Instant::now() + show.interval();
                tokio::select! {
                    () = changes.wait() => break,
                    Some(notice) = world.notices.recv() => show.note(&notice),
                    ended = &mut *world.runner => return Err(no_runner(ended)),
                    () = world.stop.wait() => {
                        if stopping.is_some() {
                            return Ok((End::Dropped, pipelines));
                        }
                        stopping = Some(End::Stopped);
                        show.note("Stopping the jobs; once more stops at once");
                        self.cancel(&pipelines).await?;
                        break;
                    }
                    () = &mut outdated, if stopping.is_none() => {
                        stopping = Some(End::Outdated);
                        self.cancel(&pipelines).await?;
                        break;
                    }
                    () = sleep_until(tick) => show.tick(),
                }
            }
            sleep_until(looked_at + PAUSE).await;
        }
    }

    async fn cancel(&self, pipelines: &[LocalPipeline]) -> anyhow::Result<()> {
        for pipeline in pipelines {
            self.ci.local_cancel(&self.run, pipeline.id).await?;
        }
        Ok(())
    }

    /// Starts manual and delayed jobs that were named. Returns whether any started.
    async fn start_wanted(&mut self, pipelines: &[LocalPipeline]) -> anyhow::Result<bool> {
        let mut started = false;
        for job in pipelines.iter().flat_map(|it| &it.jobs) {
            let waits = matches!(job.status, Status::Manual | Status::Scheduled);
            if waits && self.play.contains(&job.name) && self.played.insert(job.id) {
                started |= self.ci.local_play(&self.run, job.id).await?;
            }
        }
        Ok(started)
    }

    /// Passes on what logs have grown by.
    async fn pass_logs(
        &mut self,
        pipelines: &[LocalPipeline],
        show: &mut dyn Show,
    ) -> anyhow::Result<()> {
        for job in pipelines.iter().flat_map(|it| &it.jobs) {
            let shown = self.shown.entry(job.id).or_default();
            while *shown < job.log_bytes {
                let piece = self.ci.local_log(&self.read, job.id, *shown, PIECE).await?;
                if piece.is_empty() {
                    break;
                }
                *shown += piece.len() as u64;
                show.output(job, &piece);
            }
        }
        Ok(())
    }

    /// Returns a job's whole log.
    pub(super) async fn log(&self, job: JobId) -> anyhow::Result<Vec<u8>> {
        let mut log = Vec::new();
        loop {
            let piece = self
                .ci
                .local_log(&self.read, job, log.len() as u64, PIECE)
                .await?;
            if piece.is_empty() {
                return Ok(log);
            }
            log.extend(piece);
        }
    }

    /// Opens the archive of a job's artifacts.
    pub(super) async fn archive(
        &self,
        job: JobId,
    ) -> anyhow::Result<Option<rave_blob::BlobReader>> {
        Ok(self.ci.local_archive(&self.read, job).await?)
    }
}

/// Whether nothing moves any more: everything has ended or waits for a person.
fn is_over(pipelines: &[LocalPipeline]) -> bool {
    pipelines
        .iter()
        .all(|it| it.status.is_finished() || it.status == Status::Manual)
}
