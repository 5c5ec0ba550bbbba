//! What a job used of its machine, as its runner says at the end. Stock runners say nothing.

use serde::{Deserialize, Serialize};

/// More than any machine has; beyond, a runner talks nonsense.
const MOST: u64 = 1 << 60;

/// What one job used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    /// The memory that was set aside for it.
    pub(crate) request_bytes: u64,
    /// What it could have had.
    pub(crate) limit_bytes: u64,
    /// What any job could have had there; 0: the runner does not say.
    pub(crate) most_bytes: u64,
    /// What it had at most.
    pub(crate) peak_bytes: u64,
    /// It was ended because it needed more.
    pub(crate) outgrew: bool,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) read_bytes: Option<u64>,
    pub(crate) written_bytes: Option<u64>,
    /// How long something of it waited for memory, processors or the disk.
    pub(crate) memory_stall_ms: Option<u64>,
    pub(crate) cpu_stall_ms: Option<u64>,
    pub(crate) io_stall_ms: Option<u64>,
}

impl Usage {
    /// Reads what a runner says. What makes no sense is left out as a whole.
    pub(crate) fn of(said: &serde_json::Value) -> Option<Self> {
        let usage = Self::deserialize(said.is_object().then_some(said)?).ok()?;
        let figures = [
            usage.request_bytes,
            usage.limit_bytes,
            usage.most_bytes,
            usage.peak_bytes,
        ];
        let more = [
            usage.cpu_ms,
            usage.read_bytes,
            usage.written_bytes,
            usage.memory_stall_ms,
            usage.cpu_stall_ms,
            usage.io_stall_ms,
        ];
        let sane = figures
            .into_iter()
            .chain(more.into_iter().flatten())
            .all(|it| it < MOST);
        sane.then_some(usage)
    }

    /// Returns what another try gets of memory, if this one had too little and there is more: twice as much.
    pub(crate) fn doubled(&self) -> Option<u64> {
        let double = self.limit_bytes.saturating_mul(2).min(self.most_bytes);
        (self.outgrew && double > self.limit_bytes).then_some(double)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_that_outgrew_its_memory_gets_twice_as_much_where_there_is_more() {
        let check = |outgrew, limit_bytes, most_bytes, expected| {
            let usage = Usage {
                outgrew,
                limit_bytes,
                most_bytes,
                ..Usage::default()
            };
            assert_eq!(usage.doubled(), expected, "{usage:?}");
        };
        check(true, 4, 10, Some(8));
        check(true, 6, 10, Some(10));
        check(true, 10, 10, None);
        check(false, 4, 10, None);
        check(true, 4, 0, None);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let usage = Usage::of(&json!({"peak_bytes": 5, "cpu_ms": 7, "new": true})).expect("read");
        assert_eq!(
            (usage.peak_bytes, usage.cpu_ms, usage.outgrew),
            (5, Some(7), false)
        );
        for said in [
            json!(null),
            json!([1]),
            json!({"peak_bytes": -1}),
            json!({"cpu_ms": u64::MAX}),
        ] {
            assert_eq!(Usage::of(&said), None, "{said}");
        }
    }
}
