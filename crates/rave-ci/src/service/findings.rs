//! What pipelines found out: reports read into the database after their upload, coverage found in logs, and both read
//! back for pages, the API and badges.

use std::collections::BTreeMap;
use std::time::Duration;

use rave_blob::{Digest, GetError};
use rave_core::event::{EventKind, NewEvent};
use rave_core::id::{JobId, PipelineId, ProjectId};
use rave_core::name::ObjectId;
use rave_core::permission::{Access, ReadPipelines};
use rave_core::port::{ForgeError, Page, Slice};
use rave_store::Tx;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::Ci;
use crate::error::CiError;
use crate::findings::paths::{self, Files};
use crate::findings::percentage::{SEARCHED, Search};
use crate::findings::{self, FileCoverage, Parsed, Severity, Summary};
use crate::model::Pipeline;
use crate::store::report::finding::{FindingFilter, StoredFinding};
use crate::store::report::test_case::{History, StoredTest, TestFilter};
use crate::store::report::{self, Report, Unread};

/// How many rows one transaction adds: others write meanwhile.
const ROWS: usize = 2000;
/// How much of a log is in memory at once while it is searched.
const PIECE: u64 = 256 * 1024;
/// How long somebody who asks for results waits for reports that were only just uploaded.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often such a reader looks without being told to.
const LOOK: Duration = Duration::from_millis(200);
/// How many files of a commit are compared with paths of reports.
const FILES: usize = 200_000;
/// How many pipelines a test's history goes back.
const HISTORY: u32 = 10;

/// Tells the log of events that something is known of a job which was not before.
pub(crate) fn tell(tx: &mut Tx<'_>, job: JobId, kind: &str) -> Result<(), rave_store::Error> {
    let Some(found) = crate::store::job::find_anywhere(tx, job)? else {
        return Ok(());
    };
    let payload =
        json!({ "id": job.0, "pipeline_id": found.pipeline.0, "name": found.name, "kind": kind });
    let event = NewEvent::new(EventKind::JobReported, format!("job/{job}"))
        .project(found.project)
        .payload(payload);
    tx.append(event).map(drop)
}

impl Ci {
    /// Reads an uploaded report and stores what it says. A report that cannot be read is stored as such, for people to
    /// see. May be repeated.
    #[tracing::instrument(skip_all, name = "read_report", fields(job.id = of.job.0, report.kind = of.kind))]
    pub(crate) async fn read_report(&self, of: &Unread) -> Result<(), CiError> {
        let parsed = match self.parse(of).await {
            Ok(Some(parsed)) => parsed,
            // Erased or expired before it was read.
            Ok(None) => return self.put_read(of, None).await,
            Err(Unparsed::Later(error)) => return Err(error),
            Err(Unparsed::Bad(reason)) => {
                tracing::info!(reason, "a report cannot be read");
                return self
                    .put_read(of, Some((Some(reason), Summary::default())))
                    .await;
            }
        };
        match self.store_parsed(of, parsed).await {
            Err(error) if !error.is_transient() => {
                tracing::warn!(%error, "a report cannot be stored");
                let reason = "the server cannot store it".to_owned();
                self.put_read(of, Some((Some(reason), Summary::default())))
                    .await
            }
            other => other,
        }
    }

    async fn parse(&self, of: &Unread) -> Result<Option<Parsed>, Unparsed> {
        let file = match self.blobs.open_file(&of.digest).await {
            Ok(file) => file,
            Err(GetError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(Unparsed::Later(error.into())),
        };
        let (kind, format) = (of.kind.clone(), of.format);
        let read = tokio::task::spawn_blocking(move || findings::read(&kind, format, file)).await;
        let mut parsed = match read {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(error)) => return Err(Unparsed::Bad(error.to_string())),
            Err(error) => {
                tracing::error!(%error, "reading a report panicked");
                return Err(Unparsed::Bad("the server failed to read it".into()));
            }
        };
        let has_paths = !parsed.files.is_empty() || parsed.tests.iter().any(|it| it.file.is_some());
        if has_paths && let Ok(commit) = ObjectId::parse(&of.sha) {
            match self.forge.list_files(of.project, &commit, FILES).await {
                Ok(files) => paths::resolve(&mut parsed, &Files::new(&files)),
                Err(ForgeError::Port(error)) if error.transient => {
                    return Err(Unparsed::Later(error.into()));
                }
                // Without the list paths stay as the tool wrote them.
                Err(error) => tracing::warn!(%error, "cannot list the files of a commit"),
            }
        }
        Ok(Some(parsed))
    }

    async fn store_parsed(&self, of: &Unread, parsed: Parsed) -> Result<(), CiError> {
        let Parsed {
            mut tests,
            mut findings,
            mut files,
            summary,
            ..
        } = parsed;
        let (job, kind) = (of.job, of.kind.clone());
        self.db
            .write("ci_report_clear", move |tx| {
                Ok::<_, CiError>(report::clear(tx, job, &kind)?)
            })
            .await?;
        while !(tests.is_empty() && findings.is_empty() && files.is_empty()) {
            let first = |length: usize| length.min(ROWS);
            let tests: Vec<_> = tests.drain(..first(tests.len())).collect();
            let findings: Vec<_> = findings.drain(..first(findings.len())).collect();
            let files: Vec<_> = files.drain(..first(files.len())).collect();
            let of = of.clone();
            self.db
                .write("ci_report_rows", move |tx| {
                    report::test_case::insert(tx, &of, &tests)?;
                    report::finding::insert(tx, &of, &findings)?;
                    report::coverage::insert(tx, &of, &files)?;
                    Ok::<_, CiError>(())
                })
                .await?;
        }
        self.put_read(of, Some((None, summary))).await
    }

    /// Notes that a report was read, and with what result.
    async fn put_read(
        &self,
        of: &Unread,
        result: Option<(Option<String>, Summary)>,
    ) -> Result<(), CiError> {
        let of = of.clone();
        self.db
            .write("ci_report_read", move |tx| {
                if let Some((error, summary)) = result {
                    if error.is_some() {
                        report::clear(tx, of.job, &of.kind)?;
                    }
                    report::insert(tx, &of, error.as_deref(), &summary)?;
                    tell(tx, of.job, &of.kind)?;
                }
                Ok(report::put_read(tx, of.artifact)?)
            })
            .await
    }

    /// Searches the end of a log for the percentage that the file asks for.
    pub(crate) async fn coverage_in_log(
        &self,
        job: JobId,
        log: &Digest,
        size: u64,
    ) -> Result<Option<f64>, CiError> {
        let pattern = self
            .db
            .read("ci_coverage_pattern", move |tx| {
                Ok::<_, CiError>(crate::store::trace::coverage_pattern(tx, job)?)
            })
            .await?;
        let Some(mut search) = pattern.and_then(|it| Search::new(&it)) else {
            return Ok(None);
        };
        let (mut end, last) = (size, size.saturating_sub(SEARCHED));
        while end > last {
            let start = end.saturating_sub(PIECE).max(last);
            let mut piece = Vec::new();
            let mut reader = self.blobs.get(log, Some(start..end)).await?;
            reader
                .read_to_end(&mut piece)
                .await
                .map_err(CiError::Upload)?;
            end = start;
            let searched = tokio::task::spawn_blocking(move || {
                let found = search.back(&piece);
                (search, found)
            });
            let found;
            (search, found) = searched.await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(search.finish())
    }

    /// Waits until the reports of a pipeline are read, though not for long. Returns whether they are.
    pub(crate) async fn wait_for_reports(&self, pipeline: PipelineId) -> Result<bool, CiError> {
        let mut signal = self.db.events();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let unread = self
                .db
                .read("ci_is_unread", move |tx| {
                    Ok::<_, CiError>(report::is_unread(tx, pipeline)?)
                })
                .await?;
            if !unread || Instant::now() >= deadline {
                return Ok(!unread);
            }
            tokio::select! {
                () = signal.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Whether something that a pipeline's jobs left is still to be looked at.
    pub(crate) async fn has_unread(&self, pipeline: PipelineId) -> Result<bool, CiError> {
        self.db
            .read("ci_has_unread", move |tx| {
                Ok(report::is_unread(tx, pipeline)? || report::is_unsearched(tx, pipeline)?)
            })
            .await
    }

    /// Returns what the reports of a pipeline came to.
    pub(crate) async fn pipeline_reports(
        &self,
        pipeline: &Pipeline,
    ) -> Result<Vec<Report>, CiError> {
        let id = pipeline.id;
        self.db
            .read("ci_pipeline_reports", move |tx| {
                Ok(report::of_pipeline(tx, id)?)
            })
            .await
    }

    /// Returns what the reports of a job came to. The caller has shown that it may read the job.
    pub(crate) async fn job_reports(&self, job: JobId) -> Result<Vec<Report>, CiError> {
        self.db
            .read("ci_job_reports", move |tx| Ok(report::of_job(tx, job)?))
            .await
    }

    /// Returns the pipeline that another is compared with as to reports of these kinds.
    pub(crate) async fn base_of(
        &self,
        access: &Access<ReadPipelines>,
        pipeline: &Pipeline,
        kinds: &[&str],
    ) -> Result<Option<Pipeline>, CiError> {
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let branch = access.project().default_branch.clone();
        let of = pipeline.clone();
        self.db
            .read("ci_base", move |tx| {
                let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
                match report::base(tx, &of, &kinds, &branch)? {
                    Some(base) => Ok(crate::store::pipeline::find(tx, of.project, base)?),
                    None => Ok(None),
                }
            })
            .await
    }

    /// Lists tests of a pipeline.
    pub(crate) async fn list_tests(
        &self,
        pipeline: &Pipeline,
        filter: TestFilter,
        slice: Slice,
    ) -> Result<Page<StoredTest>, CiError> {
        let id = pipeline.id;
        self.db
            .read("ci_list_tests", move |tx| {
                Ok(report::test_case::list(tx, id, &filter, slice)?)
            })
            .await
    }

    /// Returns how tests ended in the last pipelines of the same branch or tag.
    pub(crate) async fn test_history(
        &self,
        pipeline: &Pipeline,
        tests: &[&StoredTest],
    ) -> Result<History, CiError> {
        let digests: Vec<String> = tests.iter().map(|it| it.digest.clone()).collect();
        let of = pipeline.clone();
        self.db
            .read("ci_test_history", move |tx| {
                let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
                let (project, name) = (of.project, of.ref_name.as_str());
                Ok(report::test_case::history(
                    tx, project, name, of.id, HISTORY, &digests,
                )?)
            })
            .await
    }

    /// Returns how often tests failed at the default branch lately.
    pub(crate) async fn recent_failures(
        &self,
        access: &Access<ReadPipelines>,
        digests: Vec<String>,
    ) -> Result<BTreeMap<String, i64>, CiError> {
        const LATELY_MS: i64 = 14 * 24 * 3600 * 1000;
        let project = access.project();
        let (id, branch) = (project.id, project.default_branch.clone());
        let since = self.now().plus_millis(-LATELY_MS);
        self.db
            .read("ci_recent_failures", move |tx| {
                let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
                Ok(report::test_case::failures_since(
                    tx, id, &branch, since, &digests,
                )?)
            })
            .await
    }

    /// Lists findings of a pipeline.
    pub(crate) async fn list_findings(
        &self,
        pipeline: PipelineId,
        filter: FindingFilter,
        slice: Slice,
    ) -> Result<Page<StoredFinding>, CiError> {
        self.db
            .read("ci_list_findings", move |tx| {
                Ok(report::finding::list(tx, pipeline, &filter, slice)?)
            })
            .await
    }

    /// Counts findings of a pipeline by kind and severity.
    pub(crate) async fn count_findings(
        &self,
        pipeline: PipelineId,
        filter: FindingFilter,
    ) -> Result<BTreeMap<(String, Severity), u64>, CiError> {
        self.db
            .read("ci_count_findings", move |tx| {
                Ok(report::finding::counts(tx, pipeline, &filter)?)
            })
            .await
    }

    /// Returns the files that coverage reports of a pipeline name.
    pub(crate) async fn covered_files(
        &self,
        pipeline: PipelineId,
    ) -> Result<Vec<FileCoverage>, CiError> {
        self.db
            .read("ci_covered_files", move |tx| {
                Ok(report::coverage::files(tx, pipeline)?)
            })
            .await
    }

    /// Returns the coverage of these pipelines: of each the mean of its jobs', of those that tell any.
    pub(crate) async fn coverage_of(
        &self,
        pipelines: &[Pipeline],
    ) -> Result<BTreeMap<PipelineId, f64>, CiError> {
        let ids: Vec<PipelineId> = pipelines.iter().map(|it| it.id).collect();
        self.db
            .read("ci_coverage_of", move |tx| {
                Ok(report::coverage::means(tx, &ids)?)
            })
            .await
    }
}

impl Ci {
    /// Returns the coverage of the latest successful pipeline of a branch or tag, for badges: the mean of its jobs, or
    /// that of one of them.
    pub async fn coverage_of_ref(
        &self,
        project: ProjectId,
        ref_name: &str,
        job: Option<&str>,
    ) -> Result<Option<f64>, rave_store::Error> {
        let (ref_name, job) = (ref_name.to_owned(), job.map(str::to_owned));
        self.db
            .read("ci_coverage_of_ref", move |tx| {
                report::coverage::of_ref(tx, project, &ref_name, job.as_deref())
            })
            .await
    }
}

/// Why there is nothing to store of a report.
enum Unparsed {
    /// It is no good.
    Bad(String),
    /// Something was away that may be back.
    Later(CiError),
}
