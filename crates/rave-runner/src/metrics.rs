//! What runners of one process count, under the names that the stock runner gives: existing dashboards go on.
//!
//! Written in Prometheus's text format by hand, because the stock runner has both `gitlab_runner_jobs` and
//! `gitlab_runner_jobs_total`, which are one and the same metric to libraries for the newer format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Tells runners of one process apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunnerLabels {
    pub(crate) runner: String,
    pub(crate) runner_name: String,
    pub(crate) system_id: String,
}

impl RunnerLabels {
    fn all(&self) -> [(&'static str, &str); 3] {
        [
            ("runner", &self.runner),
            ("runner_name", &self.runner_name),
            ("system_id", &self.system_id),
        ]
    }

    fn short(&self) -> [(&'static str, &str); 2] {
        [("runner", &self.runner), ("system_id", &self.system_id)]
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
    Histogram(&'static [f64]),
}

const JOB_TIMES: Kind = Kind::Histogram(&[
    30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 10_800.0, 18_000.0, 36_000.0,
]);
const QUEUE_TIMES: Kind = Kind::Histogram(&[
    1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0,
]);
const CALL_TIMES: Kind = Kind::Histogram(&[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);

/// All metrics, without what their names begin with.
const FAMILIES: [(&str, Kind, &str); 18] = [
    ("version_info", Kind::Gauge, "The program"),
    (
        "concurrent",
        Kind::Gauge,
        "The most jobs of the process at once",
    ),
    ("limit", Kind::Gauge, "The most jobs of a runner at once"),
    (
        "request_concurrency",
        Kind::Gauge,
        "Requests for jobs that are open",
    ),
    ("jobs", Kind::Gauge, "Jobs that run now"),
    ("jobs_total", Kind::Counter, "Jobs taken"),
    ("job_duration_seconds", JOB_TIMES, "Time that jobs took"),
    (
        "job_queue_duration_seconds",
        QUEUE_TIMES,
        "Time that jobs waited for a runner",
    ),
    (
        "job_queue_size",
        Kind::Gauge,
        "Jobs that waited when the last one was taken",
    ),
    ("failed_jobs_total", Kind::Counter, "Jobs that failed"),
    (
        "api_request_statuses_total",
        Kind::Counter,
        "Answers of the server",
    ),
    (
        "api_request_duration_seconds",
        CALL_TIMES,
        "Time until the server answered",
    ),
    ("worker_slots_number", Kind::Gauge, "Places for jobs"),
    (
        "worker_feeds_total",
        Kind::Counter,
        "Times that a runner asked for a job",
    ),
    (
        "worker_feed_failures_total",
        Kind::Counter,
        "Times that asking for a job failed",
    ),
    (
        "configuration_loaded_total",
        Kind::Counter,
        "Times that the configuration was read",
    ),
    (
        "configuration_loading_error_total",
        Kind::Counter,
        "Times that the configuration could not be read",
    ),
    (
        "configuration_saved_total",
        Kind::Counter,
        "Times that the configuration was written",
    ),
];

fn kind_of(name: &str) -> Kind {
    let found = FAMILIES.iter().find(|it| it.0 == name);
    found.map_or(Kind::Counter, |it| it.1)
}

#[derive(Debug, Default)]
struct Sample {
    value: f64,
    /// Of a histogram: how many observations are in each bucket, and how many there are.
    buckets: Vec<u64>,
    count: u64,
}

type Samples = BTreeMap<(&'static str, String), Sample>;

/// The figures. One for a process, shared by its runners.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Samples>);

/// A request that counts as open as long as this lives.
#[derive(Debug)]
pub(crate) struct Asked<'a>(&'a Metrics, &'a RunnerLabels);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.add("request_concurrency", &self.1.short(), -1.0);
    }
}

/// A job that counts as running as long as this lives.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    metrics: &'a Metrics,
    labels: &'a RunnerLabels,
    since: tokio::time::Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.metrics.running(self.labels, -1.0);
        let labels = self.labels.all();
        let took = self.since.elapsed();
        self.metrics.observe("job_duration_seconds", &labels, took);
    }
}

impl Metrics {
    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &'static str, labels: &[(&str, &str)], by: f64) {
        let mut samples = self.samples();
        samples.entry((name, written(labels))).or_default().value += by;
    }

    fn set(&self, name: &'static str, labels: &[(&str, &str)], to: f64) {
        let mut samples = self.samples();
        samples.entry((name, written(labels))).or_default().value = to;
    }

    fn observe(&self, name: &'static str, labels: &[(&str, &str)], time: Duration) {
        let Kind::Histogram(bounds) = kind_of(name) else {
            return;
        };
        let seconds = time.as_secs_f64();
        let mut samples = self.samples();
        let sample = samples.entry((name, written(labels))).or_default();
        sample.buckets.resize(bounds.len(), 0);
        for (bound, count) in bounds.iter().zip(&mut sample.buckets) {
            *count += u64::from(seconds <= *bound);
        }
        sample.value += seconds;
        sample.count += 1;
    }

    /// Notes that the configuration was read, or could not be.
    pub fn configuration_loaded(&self, success: bool) {
        let name = match success {
            true => "configuration_loaded_total",
            false => "configuration_loading_error_total",
        };
        self.add(name, &[], 1.0);
    }

    /// Notes that the configuration was written.
    pub fn configuration_saved(&self) {
        self.add("configuration_saved_total", &[], 1.0);
    }

    /// Sets how many jobs the process runs at once.
    pub fn set_concurrent(&self, jobs: usize) {
        self.set("concurrent", &[], figure(jobs));
        self.set("worker_slots_number", &[], figure(jobs));
    }

    /// Names the program.
    pub fn set_version(&self, version: &str) {
        let labels = [
            ("name", "rave-runner"),
            ("version", version),
            ("revision", version),
            ("branch", ""),
            ("go_version", ""),
            ("built_at", ""),
            ("os", std::env::consts::OS),
            ("architecture", std::env::consts::ARCH),
        ];
        self.set("version_info", &labels, 1.0);
    }

    pub(crate) fn set_limit(&self, runner: &RunnerLabels, jobs: usize) {
        self.set("limit", &runner.all(), figure(jobs));
    }

    /// Counts a request for a job as open until what this returns is dropped.
    pub(crate) fn ask<'a>(&'a self, runner: &'a RunnerLabels) -> Asked<'a> {
        self.add("worker_feeds_total", &runner.all(), 1.0);
        self.add("request_concurrency", &runner.short(), 1.0);
        Asked(self, runner)
    }

    pub(crate) fn asking_failed(&self, runner: &RunnerLabels) {
        self.add("worker_feed_failures_total", &runner.all(), 1.0);
    }

    fn running(&self, runner: &RunnerLabels, by: f64) {
        let own = runner.all();
        let more = [("state", "running"), ("stage", ""), ("executor_stage", "")];
        self.add("jobs", &[own.as_slice(), more.as_slice()].concat(), by);
    }

    /// Counts a job that was taken, until what this returns is dropped.
    pub(crate) fn job<'a>(
        &'a self,
        runner: &'a RunnerLabels,
        waited_secs: f64,
        queue_size: i64,
    ) -> Running<'a> {
        let labels = runner.all();
        self.add("jobs_total", &labels, 1.0);
        let waited = Duration::try_from_secs_f64(waited_secs).unwrap_or_default();
        self.observe("job_queue_duration_seconds", &labels, waited);
        let size = usize::try_from(queue_size).unwrap_or_default();
        self.set("job_queue_size", &labels, figure(size));
        self.running(runner, 1.0);
        Running {
            metrics: self,
            labels: runner,
            since: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn job_failed(&self, runner: &RunnerLabels, reason: &str) {
        let labels = [
            ("runner", runner.runner.as_str()),
            ("runner_name", &runner.runner_name),
            ("failure_reason", reason),
            ("mode", "traditional"),
        ];
        self.add("failed_jobs_total", &labels, 1.0);
    }

    pub(crate) fn call(
        &self,
        runner: &RunnerLabels,
        (endpoint, method): (&'static str, &'static str),
        status: u16,
        time: Duration,
    ) {
        let [own, system] = runner.short();
        let (code, class) = (status.to_string(), format!("{}xx", status / 100));
        let endpoint = ("endpoint", endpoint);
        let method = ("method", method);
        let labels = [own, system, endpoint, ("status", code.as_str()), method];
        self.add("api_request_statuses_total", &labels, 1.0);
        let labels = [
            own,
            system,
            endpoint,
            ("status_class", class.as_str()),
            method,
        ];
        self.observe("api_request_duration_seconds", &labels, time);
    }

    /// Writes all figures in Prometheus's text format 0.0.4.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let samples = self.samples();
        let mut text = String::new();
        for (name, kind, help) in FAMILIES {
            let label = match kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram(_) => "histogram",
            };
            let full = format!("gitlab_runner_{name}");
            let own = samples.iter().filter(|it| it.0.0 == name);
            let mut lines = String::new();
            for ((_, labels), sample) in own {
                // Writing to a string does not fail.
                let _ = write_sample(&mut lines, &full, kind, labels, sample);
            }
            if !lines.is_empty() {
                let _ = write!(text, "# HELP {full} {help}\n# TYPE {full} {label}\n{lines}");
            }
        }
        text
    }
}

fn write_sample(
    text: &mut String,
    name: &str,
    kind: Kind,
    labels: &str,
    sample: &Sample,
) -> std::fmt::Result {
    let braced = |labels: &str| match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    };
    let Kind::Histogram(bounds) = kind else {
        return writeln!(text, "{name}{} {}", braced(labels), sample.value);
    };
    let separator = if labels.is_empty() { "" } else { "," };
    let buckets = bounds.iter().map(ToString::to_string).zip(&sample.buckets);
    for (bound, count) in buckets.chain([("+Inf".to_owned(), &sample.count)]) {
        let labels = format!("{labels}{separator}le=\"{bound}\"");
        writeln!(text, "{name}_bucket{} {count}", braced(&labels))?;
    }
    writeln!(text, "{name}_sum{} {}", braced(labels), sample.value)?;
    writeln!(text, "{name}_count{} {}", braced(labels), sample.count)
}

fn written(labels: &[(&str, &str)]) -> String {
    let escape = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let pairs = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

#[expect(clippy::cast_precision_loss, reason = "a number of jobs is small")]
fn figure(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_the_stock_runner_names_them() {
        let metrics = Metrics::default();
        let labels = RunnerLabels {
            runner: "abcdefghi".into(),
            runner_name: "the \"big\" one".into(),
            system_id: "s_1".into(),
        };
        metrics.set_concurrent(4);
        let job = metrics.job(&labels, 2.0, 3);
        let own = r#"runner="abcdefghi",runner_name="the \"big\" one",system_id="s_1""#;
        let shown = |line: &str| {
            let text = metrics.prometheus();
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        };
        shown("gitlab_runner_concurrent 4");
        let running =
            format!("gitlab_runner_jobs{{{own},state=\"running\",stage=\"\",executor_stage=\"\"}}");
        shown(&format!("{running} 1"));
        shown(&format!(
            "gitlab_runner_job_queue_duration_seconds_bucket{{{own},le=\"3\"}} 1"
        ));
        shown(&format!(
            "gitlab_runner_job_queue_duration_seconds_bucket{{{own},le=\"1\"}} 0"
        ));
        drop(job);
        shown(&format!("{running} 0"));
        shown(&format!("gitlab_runner_jobs_total{{{own}}} 1"));
        shown(&format!(
            "gitlab_runner_job_duration_seconds_count{{{own}}} 1"
        ));
        metrics.call(
            &labels,
            ("request_job", "POST"),
            201,
            Duration::from_millis(5),
        );
        shown(
            r#"gitlab_runner_api_request_statuses_total{runner="abcdefghi",system_id="s_1",endpoint="request_job",status="201",method="POST"} 1"#,
        );
        shown("# TYPE gitlab_runner_jobs_total counter");
    }
}
