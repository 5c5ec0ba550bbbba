//! What a pipeline found out, for clients: tests in GitLab's shapes, findings and covered files in ours.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use rave_core::permission::{Access, ReadPipelines};
use rave_core::port::Slice;
use rave_http::page::encode_path;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use crate::findings::{Severity, TestTotals, group_name};
use crate::model::Pipeline;
use crate::service::Ci;
use crate::store::report::Report;
use crate::store::report::finding::{FindingFilter, StoredFinding};
use crate::store::report::test_case::{StoredTest, TestFilter};

/// Most tests of one answer, the failing ones first.
const TESTS: u64 = 20_000;
/// Most failing tests whose past is looked up.
const RECENT: usize = 500;

async fn load(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    path: &PathParams,
) -> Result<(Pipeline, Vec<Report>), HttpError> {
    let pipeline = ci.load_pipeline(access, path.pipeline()?).await?;
    ci.wait_for_reports(pipeline.id).await?;
    let reports = ci.pipeline_reports(&pipeline).await?;
    Ok((pipeline, reports))
}

/// The tests of one job, or of all copies of a parallel one.
#[derive(Default)]
struct Suite {
    totals: TestTotals,
    jobs: BTreeSet<i64>,
    error: Option<String>,
}

fn suites(reports: &[Report]) -> BTreeMap<&str, Suite> {
    let mut suites: BTreeMap<&str, Suite> = BTreeMap::new();
    for report in reports.iter().filter(|it| it.kind == "junit") {
        let suite = suites.entry(group_name(&report.job_name)).or_default();
        suite.jobs.insert(report.job.0);
        suite
            .totals
            .merge(&report.summary.tests.unwrap_or_default());
        let error = report.error.as_ref();
        suite.error = suite
            .error
            .take()
            .or_else(|| error.map(|it| format!("JUnit report cannot be read: {it}")));
    }
    suites
}

#[expect(clippy::cast_precision_loss, reason = "a test takes less than 2^52 ms")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn counts(totals: &TestTotals) -> Value {
    json!({
        "total_time": seconds(totals.duration_ms),
        "total_count": totals.count(),
        "success_count": totals.success,
        "failed_count": totals.failed,
        "skipped_count": totals.skipped,
        "error_count": totals.error,
    })
}

fn total(suites: &BTreeMap<&str, Suite>) -> TestTotals {
    let mut all = TestTotals::default();
    for suite in suites.values() {
        all.merge(&suite.totals);
    }
    all
}

/// `GET …/test_report`.
pub(crate) async fn tests(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let (pipeline, reports) = load(&ci, &access, &path).await?;
    let suites = suites(&reports);
    let slice = Slice {
        offset: 0,
        limit: TESTS,
    };
    let tests = ci
        .list_tests(&pipeline, TestFilter::default(), slice)
        .await?
        .items;
    let failing = tests.iter().filter(|it| it.case.outcome.is_failing());
    let digests = failing.take(RECENT).map(|it| it.digest.clone()).collect();
    let recent = ci.recent_failures(&access, digests).await?;
    let branch = &access.project().default_branch;
    let home = format!("{}/{}", ci.config.external_url, access.project().path);
    let mut cases: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for test in &tests {
        let mut case = case(test, &home);
        let failures = recent
            .get(&test.digest)
            .filter(|_| test.case.outcome.is_failing());
        if let Some(count) = failures {
            case["recent_failures"] = json!({ "count": count, "base_branch": branch });
        }
        cases
            .entry(group_name(&test.job_name))
            .or_default()
            .push(case);
    }
    let list = suites.iter().map(|(name, suite)| {
        let mut value = counts(&suite.totals);
        value["name"] = json!(name);
        value["suite_error"] = json!(suite.error);
        value["test_cases"] = json!(cases.remove(name).unwrap_or_default());
        value
    });
    let list: Vec<Value> = list.collect();
    let mut body = counts(&total(&suites));
    body["test_suites"] = json!(list);
    Ok(Json(body).into_response())
}

fn case(test: &StoredTest, home: &str) -> Value {
    let it = &test.case;
    let output = match (it.message.as_str(), it.output.as_str()) {
        ("", "") => None,
        ("", output) => Some(output.to_owned()),
        (message, "") => Some(message.to_owned()),
        (message, output) => Some(format!("{message}\n\n{output}")),
    };
    let attachment = it.attachment.as_ref().map(|path| {
        let (job, path) = (test.job, encode_path(path));
        format!("{home}/-/jobs/{job}/artifacts/file/{path}")
    });
    json!({
        "status": it.outcome.label(),
        "name": it.name,
        "classname": it.class,
        "file": it.file,
        "execution_time": seconds(it.duration_ms),
        "system_output": output,
        "stack_trace": null,
        "attachment_url": attachment,
        "recent_failures": null,
    })
}

/// `GET …/test_report_summary`.
pub(crate) async fn test_summary(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let (_, reports) = load(&ci, &access, &path).await?;
    let suites = suites(&reports);
    let all = total(&suites);
    let list = suites.iter().map(|(name, suite)| {
        let mut value = counts(&suite.totals);
        value["name"] = json!(name);
        value["build_ids"] = json!(suite.jobs);
        value["suite_error"] = json!(suite.error);
        value
    });
    let body = json!({
        "total": {
            "time": seconds(all.duration_ms),
            "count": all.count(),
            "success": all.success,
            "failed": all.failed,
            "skipped": all.skipped,
            "error": all.error,
            "suite_error": suites.values().find_map(|it| it.error.as_ref()),
        },
        "test_suites": list.collect::<Vec<_>>(),
    });
    Ok(Json(body).into_response())
}

/// Which findings a state means, compared with the pipeline before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FindingState {
    New,
    Existing,
    Fixed,
}

impl FindingState {
    pub(crate) fn from_label(label: &str) -> Option<Self> {
        match label {
            "new" => Some(Self::New),
            "existing" => Some(Self::Existing),
            "fixed" => Some(Self::Fixed),
            _ => None,
        }
    }
}

/// `GET …/findings`: of all kinds or of some, the worst first. `state` compares with the pipeline before.
pub(crate) async fn findings(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let several = |text: Option<String>| -> Vec<String> {
        let text = text.unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        parts.map(str::to_owned).collect()
    };
    let kinds = several(params.text("kind"));
    let wanted = several(params.text("severity"));
    let severities: Vec<Severity> = wanted
        .iter()
        .filter_map(|it| Severity::from_label(it))
        .collect();
    if severities.len() < wanted.len() {
        let message = "severity does not have a valid value";
        return Err(HttpError::bad_request(message).body(json!({ "error": message })));
    }
    let state = params.choice("state", FindingState::from_label);
    let text = params.text("search").filter(|it| !it.is_empty());
    params.check()?;
    let (pipeline, reports) = load(&ci, &access, &path).await?;
    let own: Vec<&str> = reports.iter().map(|it| it.kind.as_str()).collect();
    let base = ci.base_of(&access, &pipeline, &own).await?.map(|it| it.id);
    let mut filter = FindingFilter {
        kinds,
        severities,
        text,
        known: None,
        base,
    };
    let mut of = pipeline.id;
    match (state, base) {
        (None, _) => {}
        (Some(FindingState::New), _) => filter.known = Some(false),
        (Some(FindingState::Existing), _) => filter.known = Some(true),
        (Some(FindingState::Fixed), Some(base)) => {
            (of, filter.base, filter.known) = (base, Some(of), Some(false));
        }
        (Some(FindingState::Fixed), None) => return Ok(pagination.json::<Value>(&[], 0)),
    }
    let fixed = state == Some(FindingState::Fixed);
    let page = ci.list_findings(of, filter, pagination.slice()).await?;
    let label = |it: &StoredFinding| match (fixed, base, it.known) {
        (true, _, _) => Some("fixed"),
        (_, None, _) => None,
        (_, _, true) => Some("existing"),
        (_, _, false) => Some("new"),
    };
    let items: Vec<Value> = page.items.iter().map(|it| finding(it, label(it))).collect();
    Ok(pagination.json(&items, page.total))
}

fn finding(stored: &StoredFinding, state: Option<&str>) -> Value {
    let it = &stored.finding;
    json!({
        "id": stored.id,
        "kind": stored.kind,
        "severity": it.severity.label(),
        "title": it.title,
        "description": it.description,
        "solution": it.solution,
        "location": { "path": it.path, "line": it.line },
        "identifier": it.identifier,
        "link": it.link,
        "scanner": it.scanner,
        "fingerprint": it.fingerprint,
        "state": state,
        "job": { "id": stored.job.0, "name": stored.job_name },
    })
}

/// `GET …/coverage_report`: lines per file, and the percentages that logs told.
pub(crate) async fn coverage(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let (pipeline, _) = load(&ci, &access, &path).await?;
    let files = ci.covered_files(pipeline.id).await?;
    let mean = ci.coverage_of(std::slice::from_ref(&pipeline)).await?;
    let jobs = ci.pipeline_jobs(&access, pipeline.id, false).await?;
    let told = jobs.iter().filter(|it| it.coverage.is_some());
    let sum = |of: fn(&crate::findings::FileCoverage) -> i64| files.iter().map(of).sum::<i64>();
    let list: Vec<Value> = files
        .iter()
        .map(|it| {
            json!({
                "path": it.path,
                "lines": it.lines,
                "covered": it.covered,
                "percentage": it.percentage(),
                "missed": it.missed,
            })
        })
        .collect();
    let body = json!({
        "coverage": mean.get(&pipeline.id),
        "jobs": told.map(|it| json!({ "id": it.id.0, "name": it.name, "coverage": it.coverage })).collect::<Vec<_>>(),
        "lines": sum(|it| it.lines),
        "covered": sum(|it| it.covered),
        "files": list,
    });
    Ok(Json(body).into_response())
}
