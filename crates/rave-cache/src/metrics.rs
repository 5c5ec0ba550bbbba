//! Figures about binary caches. The name of a cache is no label: whoever may make caches would make labels.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// This part's metrics.
#[derive(Default)]
pub(crate) struct CacheMetrics {
    asked: Family<ResultLabel, Counter>,
    nars: Counter,
    bytes_served: Counter,
    paths_pushed: Counter,
    bytes_pushed: Counter,
    bytes_stored: Counter,
    bytes_pulled: Counter,
}

impl CacheMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        for found in [true, false] {
            self.by_result(found);
        }
        registry.register(
            "rave_cache_narinfo_requests",
            "Narinfo files asked for, by result",
            self.asked.clone(),
        );
        let counters = [
            ("rave_cache_nars_served", "NARs sent", &self.nars),
            (
                "rave_cache_served_bytes",
                "Bytes of NARs sent",
                &self.bytes_served,
            ),
            (
                "rave_cache_paths_pushed",
                "Paths pushed",
                &self.paths_pushed,
            ),
            (
                "rave_cache_pushed_bytes",
                "Bytes of the NARs that were pushed",
                &self.bytes_pushed,
            ),
            (
                "rave_cache_stored_bytes",
                "Bytes of pushed NARs that had to be stored",
                &self.bytes_stored,
            ),
            (
                "rave_cache_pulled_bytes",
                "Bytes of NARs fetched from upstream caches",
                &self.bytes_pulled,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }

    fn by_result(&self, found: bool) -> Counter {
        let result = if found { "hit" } else { "miss" };
        self.asked.get_or_create(&ResultLabel { result }).clone()
    }

    pub(crate) fn asked(&self, found: bool) {
        self.by_result(found).inc();
    }

    pub(crate) fn served(&self, bytes: u64) {
        self.nars.inc();
        self.bytes_served.inc_by(bytes);
    }

    pub(crate) fn pushed(&self, nar_bytes: u64, stored_bytes: u64) {
        self.paths_pushed.inc();
        self.bytes_pushed.inc_by(nar_bytes);
        self.bytes_stored.inc_by(stored_bytes);
    }

    pub(crate) fn pulled(&self, nar_bytes: u64) {
        self.bytes_pulled.inc_by(nar_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_shown() {
        let metrics = CacheMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.asked(true);
        metrics.served(7);
        metrics.pushed(10, 4);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writes");
        for line in [
            "rave_cache_narinfo_requests_total{result=\"hit\"} 1",
            "rave_cache_narinfo_requests_total{result=\"miss\"} 0",
            "rave_cache_served_bytes_total 7",
            "rave_cache_stored_bytes_total 4",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
