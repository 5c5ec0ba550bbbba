//! Rows of findings.

use std::collections::BTreeMap;

use rave_core::id::{JobId, PipelineId};
use rave_core::port::{Page, Slice};
use rave_store::{Error, Row, Tx, Value};

use super::Unread;
use crate::findings::{Finding, Severity};
use crate::store::{Conditions, corrupt, count, limits};

const COLUMNS: [&str; 14] = [
    "job_id",
    "pipeline_id",
    "project_id",
    "kind",
    "fingerprint",
    "severity",
    "title",
    "description",
    "solution",
    "path",
    "line",
    "identifier",
    "link",
    "scanner",
];

/// Adds findings that a report of a job names.
pub(crate) fn insert(tx: &mut Tx<'_>, of: &Unread, findings: &[Finding]) -> Result<(), Error> {
    let row = |it: &Finding| -> Vec<Value> {
        vec![
            of.job.0.into(),
            of.pipeline.0.into(),
            of.project.0.into(),
            (&of.kind).into(),
            (&it.fingerprint).into(),
            rank(it.severity).into(),
            (&it.title).into(),
            (&it.description).into(),
            (&it.solution).into(),
            (&it.path).into(),
            it.line.into(),
            (&it.identifier).into(),
            it.link.as_ref().into(),
            (&it.scanner).into(),
        ]
    };
    super::insert_rows(tx, "ci_finding", &COLUMNS, findings.iter().map(row))
}

fn rank(severity: Severity) -> i64 {
    let at = Severity::ALL.iter().position(|it| *it == severity);
    i64::try_from(at.unwrap_or_default()).unwrap_or_default()
}

fn severity(row: &Row) -> Result<Severity, Error> {
    let at = usize::try_from(row.int("severity")?).ok();
    let found = at.and_then(|it| Severity::ALL.get(it));
    found
        .copied()
        .ok_or_else(|| corrupt("a finding has no severity that is known"))
}

/// A finding of a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct StoredFinding {
    pub(crate) id: i64,
    pub(crate) job: JobId,
    pub(crate) job_name: String,
    pub(crate) kind: String,
    /// Whether the pipeline before had it too.
    pub(crate) known: bool,
    pub(crate) finding: Finding,
}

/// Which findings are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct FindingFilter {
    pub(crate) kinds: Vec<String>,
    pub(crate) severities: Vec<Severity>,
    pub(crate) text: Option<String>,
    /// Only those that the base has too, or only those that it has not.
    pub(crate) known: Option<bool>,
    /// The pipeline to compare with.
    pub(crate) base: Option<PipelineId>,
}

fn conditions(pipeline: PipelineId, filter: &FindingFilter) -> (Conditions, String) {
    let mut where_ = Conditions::default();
    let base = where_.param(filter.base.map_or(0, |it| it.0));
    let known = format!(
        "EXISTS (SELECT 1 FROM ci_finding AS before JOIN ci_job AS other ON other.id = before.job_id
         WHERE before.pipeline_id = CAST({base} AS BIGINT) AND before.kind = finding.kind
         AND before.fingerprint = finding.fingerprint AND other.retried = 0)"
    );
    where_.add_plain(&format!("CAST({base} AS BIGINT) IS NOT NULL"));
    where_.add("finding.pipeline_id = ?", pipeline.0);
    where_.add_plain("job.retried = 0");
    where_.add_any("finding.kind", &filter.kinds);
    where_.add_any(
        "finding.severity",
        filter.severities.iter().map(|it| rank(*it)),
    );
    if let Some(text) = &filter.text {
        let pattern = super::test_case::like(text);
        where_.add(
            "LOWER(finding.title || ' ' || finding.path || ' ' || finding.identifier) LIKE ? ESCAPE '!'",
            pattern,
        );
    }
    match filter.known {
        Some(true) => where_.add_plain(&known),
        Some(false) => where_.add_plain(&format!("NOT {known}")),
        None => {}
    }
    (where_, known)
}

const FROM: &str = "FROM ci_finding AS finding JOIN ci_job AS job ON job.id = finding.job_id";

/// Lists findings of a pipeline, the worst first.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    filter: &FindingFilter,
    slice: Slice,
) -> Result<Page<StoredFinding>, Error> {
    let (mut where_, known) = conditions(pipeline, filter);
    let conditions = where_.sql();
    let sql = format!("SELECT COUNT(*) AS total {FROM} WHERE {conditions}");
    let total = count(&tx.query_one(&sql, where_.params())?, "total")?;
    let (limit, offset) = limits(slice);
    let (limit, offset) = (where_.param(limit), where_.param(offset));
    let sql = format!(
        "SELECT finding.id AS id, finding.job_id AS job_id, job.name AS job_name, kind, fingerprint, severity, title,
             description, solution, path, line, identifier, link, scanner,
             CAST(CASE WHEN {known} THEN 1 ELSE 0 END AS BIGINT) AS known
         {FROM} WHERE {conditions} ORDER BY severity, kind, path, line, finding.id LIMIT {limit} OFFSET {offset}"
    );
    let items = tx.query(&sql, where_.params())?;
    let items = items.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// Counts findings of a pipeline by kind and severity.
pub(crate) fn counts(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    filter: &FindingFilter,
) -> Result<BTreeMap<(String, Severity), u64>, Error> {
    let (where_, _) = conditions(pipeline, filter);
    let sql = format!(
        "SELECT kind, severity, COUNT(*) AS findings {FROM} WHERE {} GROUP BY kind, severity",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok(((row.text("kind")?, severity(row)?), count(row, "findings")?)))
        .collect()
}

fn of_row(row: &Row) -> Result<StoredFinding, Error> {
    Ok(StoredFinding {
        id: row.int("id")?,
        job: JobId(row.int("job_id")?),
        job_name: row.text("job_name")?,
        kind: row.text("kind")?,
        known: row.bool("known")?,
        finding: Finding {
            severity: severity(row)?,
            title: row.text("title")?,
            description: row.text("description")?,
            solution: row.text("solution")?,
            path: row.text("path")?,
            line: row.opt_int("line")?,
            identifier: row.text("identifier")?,
            link: row.opt_text("link")?,
            scanner: row.text("scanner")?,
            fingerprint: row.text("fingerprint")?,
        },
    })
}
