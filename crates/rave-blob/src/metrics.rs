//! Figures about the store. What is there is counted by the sweep and carried on by puts in between.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::{Stats, Stored, Swept};

/// Into these parts the durations of puts and reads are sorted, in seconds.
const DURATIONS: [f64; 7] = [0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0];

/// This part's metrics.
pub(crate) struct BlobMetrics {
    objects: Gauge,
    logical_bytes: Gauge,
    stored_bytes: Gauge,
    pack_bytes: Gauge,
    dead_bytes: Gauge,
    put_bytes: Counter,
    put_added_bytes: Counter,
    put_durations: Histogram,
    read_bytes: Counter,
    read_durations: Histogram,
    damaged_chunks: Counter,
    swept_objects: Counter,
    swept_chunks: Counter,
    swept_packs: Counter,
    swept_bytes: Counter,
}

impl Default for BlobMetrics {
    fn default() -> Self {
        Self {
            objects: Gauge::default(),
            logical_bytes: Gauge::default(),
            stored_bytes: Gauge::default(),
            pack_bytes: Gauge::default(),
            dead_bytes: Gauge::default(),
            put_bytes: Counter::default(),
            put_added_bytes: Counter::default(),
            put_durations: Histogram::new(DURATIONS),
            read_bytes: Counter::default(),
            read_durations: Histogram::new(DURATIONS),
            damaged_chunks: Counter::default(),
            swept_objects: Counter::default(),
            swept_chunks: Counter::default(),
            swept_packs: Counter::default(),
            swept_bytes: Counter::default(),
        }
    }
}

impl BlobMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("objects", "Objects that are stored", &self.objects),
            (
                "logical_bytes",
                "What the objects are long in sum",
                &self.logical_bytes,
            ),
            (
                "stored_bytes",
                "What their content takes, once each and compressed",
                &self.stored_bytes,
            ),
            (
                "pack_bytes",
                "What packs took on the disk at the last sweep",
                &self.pack_bytes,
            ),
            (
                "dead_bytes",
                "What of that no object was made of",
                &self.dead_bytes,
            ),
        ];
        let counters = [
            (
                "put_bytes",
                "Content of the objects that were put",
                &self.put_bytes,
            ),
            (
                "put_added_bytes",
                "What of that was new, compressed",
                &self.put_added_bytes,
            ),
            (
                "read_bytes",
                "Content and frames that were read for others",
                &self.read_bytes,
            ),
            (
                "damaged_chunks",
                "Chunks that were found damaged",
                &self.damaged_chunks,
            ),
            (
                "swept_objects",
                "Objects that sweeps deleted",
                &self.swept_objects,
            ),
            (
                "swept_chunks",
                "Chunks that sweeps deleted",
                &self.swept_chunks,
            ),
            (
                "swept_packs",
                "Packs that sweeps deleted",
                &self.swept_packs,
            ),
            (
                "swept_bytes",
                "What the packs took that sweeps deleted",
                &self.swept_bytes,
            ),
        ];
        let histograms = [
            (
                "put_duration_seconds",
                "Time that puts took, their senders included",
                &self.put_durations,
            ),
            (
                "read_duration_seconds",
                "Time to read and check neighbouring chunks",
                &self.read_durations,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(format!("rave_blob_{name}"), help, gauge.clone());
        }
        for (name, help, counter) in counters {
            registry.register(format!("rave_blob_{name}"), help, counter.clone());
        }
        for (name, help, histogram) in histograms {
            registry.register(format!("rave_blob_{name}"), help, histogram.clone());
        }
    }

    pub(crate) fn note_stats(&self, it: &Stats) {
        self.objects.set(signed(it.objects));
        self.logical_bytes.set(signed(it.logical_bytes));
        self.stored_bytes.set(signed(it.stored_bytes));
        self.pack_bytes.set(signed(it.pack_bytes));
        self.dead_bytes.set(signed(it.dead_bytes));
    }

    pub(crate) fn note_put(&self, it: &Stored, took: Duration) {
        self.put_bytes.inc_by(it.size_bytes);
        self.put_added_bytes.inc_by(it.added_bytes);
        self.put_durations.observe(took.as_secs_f64());
        if !it.was_known {
            self.objects.inc();
            self.logical_bytes.inc_by(signed(it.size_bytes));
        }
        self.stored_bytes.inc_by(signed(it.added_bytes));
    }

    pub(crate) fn note_read(&self, bytes: u64, took: Duration) {
        self.read_bytes.inc_by(bytes);
        self.read_durations.observe(took.as_secs_f64());
    }

    pub(crate) fn note_damage(&self) {
        self.damaged_chunks.inc();
    }

    pub(crate) fn note_sweep(&self, it: &Swept) {
        self.swept_objects.inc_by(it.objects);
        self.swept_chunks.inc_by(it.chunks);
        self.swept_packs.inc_by(it.packs);
        self.swept_bytes.inc_by(it.pack_bytes);
    }
}

fn signed(it: u64) -> i64 {
    i64::try_from(it).unwrap_or(i64::MAX)
}
