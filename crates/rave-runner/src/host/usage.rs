//! What a job used: gathered while it runs, told at its end.

use rave_core::memory::shown;
use serde::Serialize;

use crate::budget::size::Share;
use crate::exec::cgroup::{Consumption, Overrun, Sample};

/// What was seen of a job's memory so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    held_bytes: u64,
    file_bytes: u64,
    pub(super) oom_kills: u64,
    /// The largest process when the job was near its limit.
    pub(super) largest: Option<(String, u64)>,
    pub(super) overrun: Option<Overrun>,
}

impl Tally {
    pub(super) fn add(&mut self, sample: Sample) {
        self.held_bytes = self.held_bytes.max(sample.held_bytes);
        self.file_bytes = self.file_bytes.max(sample.file_bytes);
        self.oom_kills = self.oom_kills.max(sample.oom_kills);
    }

    /// Returns the most that the job had at once without pages of files.
    ///
    /// Between two looks it may have had more. What the kernel counted at most, pages of files included, less the most of
    /// these that were seen, is not too much either.
    fn peak(&self, charged_bytes: u64) -> u64 {
        if self.oom_kills > 0 {
            // All that it had was needed, or the kernel would have taken it back first.
            return charged_bytes.max(self.held_bytes);
        }
        self.held_bytes
            .max(charged_bytes.saturating_sub(self.file_bytes))
    }

    pub(super) fn total(self, share: Share, most_bytes: u64, used: &Consumption) -> Usage {
        let millis = |usec: Option<u64>| usec.map(|it| it / 1000);
        Usage {
            request_bytes: share.request_bytes,
            limit_bytes: share.limit_bytes,
            most_bytes,
            peak_bytes: self.peak(used.charged_bytes),
            outgrew: self.oom_kills > 0 || matches!(self.overrun, Some(Overrun::Memory)),
            cpu_ms: millis(used.cpu_usec),
            read_bytes: used.read_bytes,
            written_bytes: used.written_bytes,
            memory_stall_ms: millis(used.memory_stall_usec),
            cpu_stall_ms: millis(used.cpu_stall_usec),
            io_stall_ms: millis(used.io_stall_usec),
            largest: self.largest,
        }
    }
}

/// What a job used, as the log and the server are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// What was set aside for it.
    pub(crate) request_bytes: u64,
    /// What it could have had.
    pub(crate) limit_bytes: u64,
    /// What any job can have here.
    pub(crate) most_bytes: u64,
    /// What it had at most.
    pub(crate) peak_bytes: u64,
    /// It was ended because it needed more.
    pub(crate) outgrew: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_stall_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_stall_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) io_stall_ms: Option<u64>,
    /// Its name is the job's choice, so that only the job's own log shows it.
    #[serde(skip)]
    pub(crate) largest: Option<(String, u64)>,
}

impl Usage {
    /// What is told where the machine counts nothing.
    pub(super) fn unknown(share: Share, most_bytes: u64) -> Self {
        Tally::default().total(share, most_bytes, &Consumption::default())
    }

    /// Returns the line at the end of the log, if anything is known.
    pub(crate) fn line(&self) -> Option<String> {
        if self.peak_bytes == 0 && self.cpu_ms.is_none() {
            return None;
        }
        let (peak, limit) = (shown(self.peak_bytes), shown(self.limit_bytes));
        let mut parts = vec![format!("{peak} of {limit} memory at most")];
        parts.extend(self.cpu_ms.map(|it| format!("{} of CPU time", seconds(it))));
        parts.extend(self.read_bytes.map(|it| format!("{} read", shown(it))));
        parts.extend(
            self.written_bytes
                .map(|it| format!("{} written", shown(it))),
        );
        for (stall_ms, what) in [
            (self.memory_stall_ms, "memory"),
            (self.cpu_stall_ms, "a processor"),
            (self.io_stall_ms, "the disk"),
        ] {
            let waited = stall_ms.filter(|it| *it >= 100);
            parts.extend(waited.map(|it| format!("{} stalled for {what}", seconds(it))));
        }
        Some(format!("Used {}", parts.join(", ")))
    }

    /// Explains an end for want of memory, and says what to do.
    pub(crate) fn out_of_memory(&self) -> String {
        let limit = self.limit_bytes;
        // A container engine says no more than that it happened, which it does at the limit.
        let peak = match self.outgrew {
            true => self.peak_bytes.min(limit),
            false => limit,
        };
        let largest = match &self.largest {
            Some((name, bytes)) => {
                format!(" The largest process was {name} with {}.", shown(*bytes))
            }
            None => String::new(),
        };
        format!(
            "The job ran out of memory: it reached {} of the {} that it may use, and all of it was ended (exit code 137).{largest} {}",
            shown(peak),
            shown(limit),
            self.advice(limit.saturating_mul(2)),
        )
    }

    /// Explains that the job was ended for the sake of others.
    pub(crate) fn evicted(&self) -> String {
        format!(
            "The jobs of this machine needed more memory together than it has, and this one was the furthest above its \
             part: it had {}, and {} were set aside for it. {}",
            shown(self.peak_bytes),
            shown(self.request_bytes),
            suggestion(self.most_bytes.min(self.peak_bytes / 2 * 3)),
        )
    }

    /// Says how the job gets more memory.
    fn advice(&self, bytes: u64) -> String {
        if self.limit_bytes >= self.most_bytes && bytes > self.most_bytes {
            return "No job can have more on this runner: let this one use less, or give the runner more.".to_owned();
        }
        suggestion(bytes.min(self.most_bytes))
    }
}

fn suggestion(bytes: u64) -> String {
    let mib = bytes.div_ceil(1 << 20);
    format!("Set the variable RAVE_MEMORY to allow it more, for example RAVE_MEMORY: \"{mib}Mi\".")
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn usage(peak: u64, limit: u64, most: u64) -> Usage {
        let share = Share {
            request_bytes: 32 * MIB,
            limit_bytes: limit * MIB,
            explicit: false,
        };
        Usage {
            peak_bytes: peak * MIB,
            ..Usage::unknown(share, most * MIB)
        }
    }

    #[test]
    fn pages_of_files_do_not_count() {
        let mut tally = Tally::default();
        let sample = |held, file, oom_kills| Sample {
            held_bytes: held,
            file_bytes: file,
            oom_kills,
        };
        tally.add(sample(100, 900, 0));
        tally.add(sample(80, 300, 0));
        assert_eq!(tally.peak(1000), 100, "the rest were files");
        assert_eq!(
            tally.peak(1200),
            300,
            "more than was seen between two looks"
        );
        tally.add(sample(80, 300, 1));
        assert_eq!(tally.peak(1200), 1200);
    }

    #[test]
    fn the_log_ends_with_what_was_used() {
        let mut used = usage(812, 4096, 8192);
        used.cpu_ms = Some(12_345);
        used.written_bytes = Some(20 * MIB);
        used.memory_stall_ms = Some(50);
        used.io_stall_ms = Some(1_250);
        let line = used.line().expect("known");
        assert_eq!(
            line,
            "Used 812 MiB of 4 GiB memory at most, 12.3 s of CPU time, 20 MiB written, 1.2 s stalled for the disk"
        );
        assert_eq!(usage(0, 1, 1).line(), None);
    }

    #[test]
    fn an_end_for_want_of_memory_names_figures_and_a_way_out() {
        let mut used = usage(64, 64, 1024);
        used.largest = Some(("ld".to_owned(), 60 * MIB));
        let text = used.out_of_memory();
        let parts = [
            "64 MiB of the 64 MiB",
            "137",
            "was ld with 60 MiB",
            "RAVE_MEMORY: \"128Mi\"",
        ];
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
        let text = usage(64, 64, 64).out_of_memory();
        assert!(text.contains("No job can have more"), "{text}");
        let text = usage(100, 1024, 1024).evicted();
        assert!(
            text.contains("had 100 MiB, and 32 MiB were") && text.contains("\"150Mi\""),
            "{text}"
        );
    }
}
