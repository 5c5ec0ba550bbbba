//! The registry of metrics that `/metrics` shows. Each part registers its own.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The registry and this crate's own metrics.
pub struct Metrics {
    registry: Mutex<Registry>,
    pub(crate) http: HttpMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let http = HttpMetrics::register(&mut registry);
        registry.register_collector(Box::new(ProcessCollector));
        Self {
            registry: Mutex::new(registry),
            http,
        }
    }
}

impl Metrics {
    /// Lets a part register its metrics.
    pub fn register<T>(&self, part: impl FnOnce(&mut Registry) -> T) -> T {
        part(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes all metrics in the `OpenMetrics` format, version 1.0.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn openmetrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Writes all metrics in Prometheus's text format 0.0.4, for scrapers that do not ask for `OpenMetrics`.
    ///
    /// # Errors
    /// As [`Self::openmetrics`].
    pub fn prometheus(&self) -> Result<String, fmt::Error> {
        self.openmetrics().map(|it| to_prometheus(&it))
    }
}

/// The older format names a counter by its sample, knows no units and no end mark.
fn to_prometheus(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|it| it.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind @ ("HELP" | "TYPE")), Some(name), Some(rest))
                if counters.contains(&name) =>
            {
                text.push_str(&format!("# {kind} {name}_total {rest}\n"));
            }
            _ => {
                // An exemplar follows the sample after ` # `.
                let sample = if line.starts_with('#') {
                    line
                } else {
                    line.split(" # ").next().unwrap_or(line)
                };
                text.push_str(sample);
                text.push('\n');
            }
        }
    }
    text
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

/// Requests and latencies by route.
pub(crate) struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
}

impl HttpMetrics {
    fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        registry.register(
            "rave_http_requests",
            "Requests answered, by method, route and status",
            requests.clone(),
        );
        registry.register(
            "rave_http_request_duration_seconds",
            "Time until the answer's first byte, by route; held requests (long polls) are not counted",
            durations.clone(),
        );
        Self {
            requests,
            durations,
        }
    }

    pub(crate) fn observe(&self, method: &str, route: &str, code: u16, elapsed: Duration) {
        let labels = RequestLabels {
            method: method.to_owned(),
            route: route.to_owned(),
            code,
        };
        self.requests.get_or_create(&labels).inc();
        if route != "/api/v4/jobs/request" {
            self.durations
                .get_or_create(&RouteLabels {
                    route: route.to_owned(),
                })
                .observe(elapsed.as_secs_f64());
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.5, 2.5, 10.0])
}

/// The process's own figures under the names that every Prometheus client library uses, read when scraped.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(process) = Process::read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(process.cpu_seconds);
        let of = encoder.encode_descriptor(
            "process_cpu_seconds",
            "CPU time used by the process",
            None,
            cpu.metric_type(),
        )?;
        cpu.encode(of)?;
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM",
                process.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Address space of the process",
                process.virtual_bytes,
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                process.open_fds,
            ),
            ("process_threads", "Threads of the process", process.threads),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let of = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(of)?;
        }
        Ok(())
    }
}

struct Process {
    cpu_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_fds: i64,
    threads: i64,
}

impl Process {
    /// Reads `/proc/self`; `None` where there is none.
    fn read() -> Option<Self> {
        const TICKS_PER_SECOND: f64 = 100.0;
        const PAGE_BYTES: i64 = 4096;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name may contain blanks; the fields begin after its closing parenthesis, at number 3.
        let fields: Vec<i64> = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .map(|it| it.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied();
        #[expect(
            clippy::cast_precision_loss,
            reason = "ticks since the start of the process are far below 2^52"
        )]
        let cpu_seconds = (field(14)? + field(15)?) as f64 / TICKS_PER_SECOND;
        Some(Self {
            cpu_seconds,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * PAGE_BYTES,
            open_fds: i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_renamed_for_the_older_format() {
        let metrics = Metrics::default();
        metrics
            .http
            .observe("GET", "/-/health", 200, Duration::from_millis(3));
        let text = metrics.prometheus().expect("writes");
        assert!(
            text.contains("# TYPE rave_http_requests_total counter\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "rave_http_requests_total{method=\"GET\",route=\"/-/health\",code=\"200\"} 1\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("# TYPE process_resident_memory_bytes gauge\n")
                && !text.contains("# EOF"),
            "{text}"
        );
    }
}
