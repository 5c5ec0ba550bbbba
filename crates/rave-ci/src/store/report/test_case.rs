//! Rows of tests.

use std::collections::BTreeMap;

use rave_core::id::{JobId, PipelineId, ProjectId};
use rave_core::port::{Page, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, Value, params};

use super::Unread;
use crate::findings::{Outcome, TestCase, group_name};
use crate::store::{Conditions, count, label, limits};

const COLUMNS: [&str; 14] = [
    "job_id",
    "pipeline_id",
    "project_id",
    "digest",
    "suite",
    "class",
    "name",
    "file",
    "line",
    "outcome",
    "duration_ms",
    "message",
    "output",
    "attachment",
];

/// Adds tests that a report of a job names.
pub(crate) fn insert(tx: &mut Tx<'_>, of: &Unread, tests: &[TestCase]) -> Result<(), Error> {
    let group = group_name(&of.job_name);
    let row = |it: &TestCase| -> Vec<Value> {
        vec![
            of.job.0.into(),
            of.pipeline.0.into(),
            of.project.0.into(),
            it.digest(group).into(),
            (&it.suite).into(),
            (&it.class).into(),
            (&it.name).into(),
            it.file.as_ref().into(),
            it.line.into(),
            it.outcome.label().into(),
            it.duration_ms.into(),
            (&it.message).into(),
            (&it.output).into(),
            it.attachment.as_ref().into(),
        ]
    };
    super::insert_rows(tx, "ci_test", &COLUMNS, tests.iter().map(row))
}

/// How a test of a pipeline compares with the same test of the pipeline before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It fails and did not.
    New,
    /// It fails as before.
    Existing,
    /// It failed and does not.
    Fixed,
}

/// A test of a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct StoredTest {
    pub(crate) job: JobId,
    pub(crate) job_name: String,
    pub(crate) digest: String,
    /// Whether it failed in the pipeline before.
    pub(crate) failed_before: bool,
    pub(crate) case: TestCase,
}

/// Which tests are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestFilter {
    pub(crate) outcomes: Vec<Outcome>,
    /// Only those of these jobs.
    pub(crate) jobs: Vec<JobId>,
    /// Only those whose class or name contains it, whatever the case.
    pub(crate) text: Option<String>,
    pub(crate) change: Option<Change>,
    /// The pipeline to compare with.
    pub(crate) base: Option<PipelineId>,
}

const FAILING: &str = "('error', 'failed')";

/// Lists tests of a pipeline, the failing ones first.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    filter: &TestFilter,
    slice: Slice,
) -> Result<Page<StoredTest>, Error> {
    let mut where_ = Conditions::default();
    let base = where_.param(filter.base.map_or(0, |it| it.0));
    let before = format!(
        "EXISTS (SELECT 1 FROM ci_test AS before JOIN ci_job AS other ON other.id = before.job_id
         WHERE before.project_id = test.project_id AND before.digest = test.digest AND before.pipeline_id = {base}
         AND before.outcome IN {FAILING} AND other.retried = 0)"
    );
    where_.add("test.pipeline_id = ?", pipeline.0);
    where_.add_plain("job.retried = 0");
    where_.add_any("test.outcome", filter.outcomes.iter().map(|it| it.label()));
    where_.add_any("test.job_id", filter.jobs.iter().map(|it| it.0));
    if let Some(text) = &filter.text {
        let pattern = like(text);
        where_.add(
            "LOWER(test.class || '.' || test.name) LIKE ? ESCAPE '!'",
            pattern,
        );
    }
    match filter.change {
        Some(Change::New) => {
            where_.add_plain(&format!("test.outcome IN {FAILING} AND NOT {before}"));
        }
        Some(Change::Existing) => {
            where_.add_plain(&format!("test.outcome IN {FAILING} AND {before}"));
        }
        Some(Change::Fixed) => where_.add_plain(&format!("test.outcome = 'success' AND {before}")),
        None => {}
    }
    // The parameter for the base is named in every query: PostgreSQL wants to know the type of each.
    let from = format!(
        "FROM ci_test AS test JOIN ci_job AS job ON job.id = test.job_id
         WHERE CAST({base} AS BIGINT) IS NOT NULL AND {}",
        where_.sql()
    );
    let sql = format!("SELECT COUNT(*) AS total {from}");
    let total = count(&tx.query_one(&sql, where_.params())?, "total")?;
    let (limit, offset) = limits(slice);
    let (limit, offset) = (where_.param(limit), where_.param(offset));
    let sql = format!(
        "SELECT test.job_id AS job_id, job.name AS job_name, digest, suite, class, test.name AS name, file, line, outcome,
             duration_ms, message, output, attachment,
             CAST(CASE WHEN {before} THEN 1 ELSE 0 END AS BIGINT) AS failed_before
         {from} ORDER BY test.outcome, test.id LIMIT {limit} OFFSET {offset}"
    );
    let items = tx.query(&sql, where_.params())?;
    let items = items.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// Returns a pattern for `LIKE … ESCAPE '!'` that finds a text anywhere.
pub(super) fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for it in text.to_lowercase().chars() {
        if matches!(it, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(it);
    }
    pattern + "%"
}

fn of_row(row: &Row) -> Result<StoredTest, Error> {
    Ok(StoredTest {
        job: JobId(row.int("job_id")?),
        job_name: row.text("job_name")?,
        digest: row.text("digest")?,
        failed_before: row.bool("failed_before")?,
        case: TestCase {
            suite: row.text("suite")?,
            class: row.text("class")?,
            name: row.text("name")?,
            file: row.opt_text("file")?,
            line: row.opt_int("line")?,
            outcome: label(row, "outcome", Outcome::from_label)?,
            duration_ms: row.int("duration_ms")?,
            message: row.text("message")?,
            output: row.text("output")?,
            attachment: row.opt_text("attachment")?,
        },
    })
}

/// The outcomes of tests by digest, each with its pipeline, the newest first.
pub(crate) type History = BTreeMap<String, Vec<(PipelineId, Outcome)>>;

/// Returns how tests ended in the last `pipelines` pipelines with tests of a branch or tag, up to `last`.
pub(crate) fn history(
    tx: &mut Tx<'_>,
    project: ProjectId,
    ref_name: &str,
    last: PipelineId,
    pipelines: u32,
    digests: &[&str],
) -> Result<History, Error> {
    let sql = "SELECT pipeline.id AS id FROM ci_pipeline AS pipeline
               WHERE pipeline.project_id = $1 AND pipeline.ref = $2 AND pipeline.id <= $3
               AND EXISTS (SELECT 1 FROM ci_report WHERE ci_report.pipeline_id = pipeline.id AND kind = 'junit')
               ORDER BY pipeline.id DESC LIMIT $4";
    let ids: Vec<i64> = tx
        .query(sql, params![project.0, ref_name, last.0, pipelines])?
        .iter()
        .map(|row| row.int("id"))
        .collect::<Result<_, _>>()?;
    let mut history = History::new();
    if ids.is_empty() || digests.is_empty() {
        return Ok(history);
    }
    let mut where_ = Conditions::default();
    where_.add("test.project_id = ?", project.0);
    where_.add_any("test.digest", digests.iter().copied());
    where_.add_any("test.pipeline_id", ids);
    // Of a test that a pipeline ran twice the worse outcome counts: their names are in that order.
    let sql = format!(
        "SELECT digest, test.pipeline_id AS pipeline_id, MIN(outcome) AS outcome
         FROM ci_test AS test JOIN ci_job AS job ON job.id = test.job_id AND job.retried = 0
         WHERE {} GROUP BY digest, test.pipeline_id ORDER BY test.pipeline_id DESC",
        where_.sql()
    );
    for row in &tx.query(&sql, where_.params())? {
        let outcome = label(row, "outcome", Outcome::from_label)?;
        let pipeline = PipelineId(row.int("pipeline_id")?);
        history
            .entry(row.text("digest")?)
            .or_default()
            .push((pipeline, outcome));
    }
    Ok(history)
}

/// Returns how often tests failed at a branch since an instant.
pub(crate) fn failures_since(
    tx: &mut Tx<'_>,
    project: ProjectId,
    branch: &str,
    since: Timestamp,
    digests: &[&str],
) -> Result<BTreeMap<String, i64>, Error> {
    if digests.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add("test.project_id = ?", project.0);
    where_.add("pipeline.ref = ?", branch);
    where_.add("pipeline.created_at >= ?", since);
    where_.add_any("test.digest", digests.iter().copied());
    let sql = format!(
        "SELECT digest, COUNT(*) AS failures FROM ci_test AS test
         JOIN ci_pipeline AS pipeline ON pipeline.id = test.pipeline_id AND pipeline.tag = 0
         WHERE {} AND test.outcome IN {FAILING} GROUP BY digest",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((row.text("digest")?, row.int("failures")?)))
        .collect()
}
