//! Figures about jobs and runners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rave_core::job::Status;
use rave_core::time::Timestamp;

use crate::usage::Usage;

const MIB: f64 = 1_048_576.0;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

/// The states that the gauge shows: those that a job leaves by itself.
const ACTIVE: [Status; 4] = [
    Status::Pending,
    Status::Running,
    Status::Canceling,
    Status::Scheduled,
];

/// Into these parts times are sorted in which a job stood still, in seconds.
const STALLS: [f64; 6] = [0.01, 0.1, 1.0, 10.0, 60.0, 600.0];

/// This part's metrics.
pub(crate) struct CiMetrics {
    jobs: Family<StatusLabel, Gauge>,
    ended: Family<StatusLabel, Counter>,
    queue_time: Histogram,
    durations: Histogram,
    runners_online: Gauge,
    pipelines: Counter,
    memory_peaks: Histogram,
    cpu_times: Histogram,
    transfers: Histogram,
    memory_stalls: Histogram,
    cpu_stalls: Histogram,
    io_stalls: Histogram,
}

impl Default for CiMetrics {
    fn default() -> Self {
        Self {
            jobs: Family::default(),
            ended: Family::default(),
            queue_time: Histogram::new([0.05, 0.2, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0]),
            durations: Histogram::new([0.1, 1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0]),
            runners_online: Gauge::default(),
            pipelines: Counter::default(),
            memory_peaks: Histogram::new((0..11).map(|it| f64::from(1 << it) * 32.0 * MIB)),
            cpu_times: Histogram::new([0.1, 1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0]),
            transfers: Histogram::new((0..8).map(|it| f64::from(1 << (2 * it)) * MIB)),
            memory_stalls: Histogram::new(STALLS),
            cpu_stalls: Histogram::new(STALLS),
            io_stalls: Histogram::new(STALLS),
        }
    }
}

impl CiMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        for status in ACTIVE {
            self.gauge(status).set(0);
        }
        registry.register(
            "rave_ci_jobs",
            "Jobs that have not ended, by status",
            self.jobs.clone(),
        );
        registry.register(
            "rave_ci_jobs_finished",
            "Jobs that ended, by status",
            self.ended.clone(),
        );
        registry.register(
            "rave_ci_job_queue_duration_seconds",
            "Time that jobs waited for a runner",
            self.queue_time.clone(),
        );
        registry.register(
            "rave_ci_job_duration_seconds",
            "Time that jobs ran",
            self.durations.clone(),
        );
        registry.register(
            "rave_ci_runners_online",
            "Runners that were heard of lately and are not paused",
            self.runners_online.clone(),
        );
        let used = [
            (
                "rave_ci_job_memory_peak_bytes",
                "Memory that jobs had at most",
                &self.memory_peaks,
            ),
            (
                "rave_ci_job_cpu_seconds",
                "Processor time of jobs",
                &self.cpu_times,
            ),
            (
                "rave_ci_job_io_bytes",
                "What jobs read from disks and wrote to them",
                &self.transfers,
            ),
            (
                "rave_ci_job_memory_stall_seconds",
                "Time in which something of a job waited for memory",
                &self.memory_stalls,
            ),
            (
                "rave_ci_job_cpu_stall_seconds",
                "Time in which something of a job waited for a processor",
                &self.cpu_stalls,
            ),
            (
                "rave_ci_job_io_stall_seconds",
                "Time in which something of a job waited for a disk",
                &self.io_stalls,
            ),
        ];
        for (name, help, histogram) in used {
            registry.register(name, help, histogram.clone());
        }
        registry.register(
            "rave_ci_pipelines",
            "Pipelines made",
            self.pipelines.clone(),
        );
    }

    fn gauge(&self, status: Status) -> Gauge {
        let label = StatusLabel {
            status: status.label(),
        };
        self.jobs.get_or_create(&label).clone()
    }

    /// Sets how many jobs are in each state. Names are the stored ones.
    pub(crate) fn set_jobs(&self, counts: &[(String, i64)]) {
        for status in ACTIVE {
            let here = |name: &str| match name {
                // To clients it still waits.
                "assigned" => status == Status::Pending,
                name => status.label() == name,
            };
            let count = counts.iter().filter(|it| here(&it.0)).map(|it| it.1).sum();
            self.gauge(status).set(count);
        }
    }

    pub(crate) fn set_runners_online(&self, count: u64) {
        self.runners_online
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts what a job used, as far as its runner says.
    pub(crate) fn job_used(&self, usage: &Usage) {
        let seconds = |it: u64| std::time::Duration::from_millis(it).as_secs_f64();
        if usage.peak_bytes > 0 {
            self.memory_peaks.observe(bytes(usage.peak_bytes));
        }
        if let Some(cpu) = usage.cpu_ms {
            self.cpu_times.observe(seconds(cpu));
        }
        if let (Some(read), Some(written)) = (usage.read_bytes, usage.written_bytes) {
            self.transfers.observe(bytes(read.saturating_add(written)));
        }
        for (stall_ms, histogram) in [
            (usage.memory_stall_ms, &self.memory_stalls),
            (usage.cpu_stall_ms, &self.cpu_stalls),
            (usage.io_stall_ms, &self.io_stalls),
        ] {
            if let Some(stall) = stall_ms {
                histogram.observe(seconds(stall));
            }
        }
    }

    pub(crate) fn pipeline_made(&self) {
        self.pipelines.inc();
    }

    pub(crate) fn job_taken(&self, queued_at: Timestamp, now: Timestamp) {
        self.queue_time.observe(seconds(queued_at, now));
    }

    pub(crate) fn job_ended(&self, status: Status, started_at: Option<Timestamp>, now: Timestamp) {
        let label = StatusLabel {
            status: status.label(),
        };
        self.ended.get_or_create(&label).inc();
        if let Some(started_at) = started_at {
            self.durations.observe(seconds(started_at, now));
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a histogram needs no single bytes"
)]
fn bytes(count: u64) -> f64 {
    count as f64
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    std::time::Duration::from_millis(u64::try_from(to.since(from)).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_shown() {
        let metrics = CiMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.set_jobs(&[
            ("pending".into(), 2),
            ("assigned".into(), 1),
            ("running".into(), 4),
        ]);
        metrics.job_ended(Status::Failed, Some(Timestamp(0)), Timestamp(2000));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writes");
        for line in [
            "rave_ci_jobs{status=\"pending\"} 3",
            "rave_ci_jobs{status=\"running\"} 4",
            "rave_ci_jobs{status=\"scheduled\"} 0",
            "rave_ci_jobs_finished_total{status=\"failed\"} 1",
            "rave_ci_job_duration_seconds_sum 2.0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
