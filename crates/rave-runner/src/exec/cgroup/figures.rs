//! What a job uses, as the kernel counts it.

use std::fs;
use std::path::Path;

use super::group::JobGroup;
use super::{Place, Version};

/// What a job has of memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Without pages of files, which the kernel takes back when it needs them: a build that reads much is not large.
    pub(crate) held_bytes: u64,
    pub(crate) file_bytes: u64,
    /// How many processes were ended for want of memory.
    pub(crate) oom_kills: u64,
}

/// What a job used from its begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumption {
    /// The most memory at once, pages of files included.
    pub(crate) charged_bytes: u64,
    pub(crate) cpu_usec: Option<u64>,
    pub(crate) read_bytes: Option<u64>,
    pub(crate) written_bytes: Option<u64>,
    /// How long something of the job waited for memory, processors or input and output.
    pub(crate) memory_stall_usec: Option<u64>,
    pub(crate) cpu_stall_usec: Option<u64>,
    pub(crate) io_stall_usec: Option<u64>,
}

impl JobGroup {
    /// Looks at the job's memory. `None` where the machine does not count it.
    pub(crate) fn sample(&self) -> Option<Sample> {
        let place = self.places.iter().find(|it| it.has("memory"))?;
        let stat = fs::read_to_string(place.dir.join("memory.stat")).ok()?;
        let (usage, files, oom) = match place.version {
            Version::One => (
                "memory.usage_in_bytes",
                ["total_active_file", "total_inactive_file"],
                "memory.oom_control",
            ),
            Version::Two => (
                "memory.current",
                ["active_file", "inactive_file"],
                "memory.events",
            ),
        };
        let file_bytes = files.iter().filter_map(|it| value(&stat, it)).sum();
        Some(Sample {
            held_bytes: place.number(usage)?.saturating_sub(file_bytes),
            file_bytes,
            oom_kills: place.field(oom, "oom_kill").unwrap_or(0),
        })
    }

    /// Returns what the job used so far.
    pub(crate) fn consumption(&self) -> Consumption {
        let place = |name: &str| self.places.iter().find(|it| it.has(name));
        let two = self.places.iter().find(|it| it.version == Version::Two);
        let charged = place("memory").and_then(|it| match it.version {
            Version::One => it.number("memory.max_usage_in_bytes"),
            Version::Two => it.number("memory.peak"),
        });
        // The v2 tree counts time and stalls without any controller.
        let cpu_usec = two
            .and_then(|it| it.field("cpu.stat", "usage_usec"))
            .or_else(|| Some(place("cpuacct")?.number("cpuacct.usage")? / 1000));
        let (read_bytes, written_bytes) = match (place("io"), place("blkio")) {
            (Some(place), _) => (place.io("rbytes="), place.io("wbytes=")),
            (None, Some(place)) => (place.blkio("Read"), place.blkio("Write")),
            (None, None) => (None, None),
        };
        let stall = |what: &str| two.and_then(|it| it.stall(what));
        Consumption {
            charged_bytes: charged.unwrap_or(0),
            cpu_usec,
            read_bytes,
            written_bytes,
            memory_stall_usec: stall("memory.pressure"),
            cpu_stall_usec: stall("cpu.pressure"),
            io_stall_usec: stall("io.pressure"),
        }
    }

    /// Returns the largest process of the job now: its name and what it has.
    pub(crate) fn largest(&self) -> Option<(String, u64)> {
        /// A job has more processes than that only if it is up to something.
        const LOOKED_AT: usize = 4096;
        let place = self.places.iter().find(|it| it.has("memory"))?;
        let members = place.members().into_iter().take(LOOKED_AT);
        members.filter_map(resident).max_by_key(|it| it.1)
    }
}

impl Place {
    /// Returns the least memory limit of this group and those above it.
    pub(super) fn memory_limit_above(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        let above = self
            .dir
            .ancestors()
            .take_while(|it| it.starts_with(&self.top));
        let limit = |dir: &Path| -> Option<u64> {
            fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
        };
        above.filter_map(limit).min()
    }

    fn io(&self, key: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join("io.stat")).ok()?;
        let values = text
            .split_whitespace()
            .filter_map(|it| it.strip_prefix(key)?.parse::<u64>().ok());
        Some(values.sum())
    }

    fn blkio(&self, operation: &str) -> Option<u64> {
        let file = self.dir.join("blkio.throttle.io_service_bytes_recursive");
        let text = fs::read_to_string(file).ok()?;
        let values = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            (words.next()? == operation).then(|| words.next()?.parse::<u64>().ok())?
        });
        Some(values.sum())
    }

    fn stall(&self, file: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join(file)).ok()?;
        let some = text.lines().find(|it| it.starts_with("some "))?;
        some.rsplit_once("total=")?.1.parse().ok()
    }
}

fn value(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|it| it.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Returns a process's name, as far as it can be printed, and its resident memory.
fn resident(pid: i32) -> Option<(String, u64)> {
    let dir = Path::new("/proc").join(pid.to_string());
    let status = fs::read(dir.join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let field = |key: &str| status.lines().find_map(|it| it.strip_prefix(key));
    let kib: u64 = field("VmRSS:")?.split_whitespace().next()?.parse().ok()?;
    // A job chooses the names of its processes.
    let name = field("Name:")?.trim().chars();
    let name = name.filter(|it| !it.is_control()).take(32).collect();
    Some((name, kib << 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::cgroup::{Cgroups, Limits};

    /// Makes a group whose files are given, as a version would have them.
    fn place(
        version: Version,
        controllers: &[&str],
        files: &[(&str, &str)],
    ) -> (tempfile::TempDir, JobGroup) {
        let top = tempfile::tempdir().expect("a directory");
        let parent = Place {
            dir: top.path().to_owned(),
            top: top.path().to_owned(),
            version,
            controllers: controllers.iter().map(ToString::to_string).collect(),
        };
        let group = JobGroup::make(&[parent], "job", Limits::default()).expect("made");
        for (file, text) in files {
            fs::write(top.path().join("job").join(file), text).expect("written");
        }
        (top, group)
    }

    #[test]
    fn each_version_is_read() {
        let (_one, group) = place(
            Version::One,
            &["memory", "cpuacct", "blkio"],
            &[
                ("memory.usage_in_bytes", "1000\n"),
                ("memory.max_usage_in_bytes", "2000\n"),
                (
                    "memory.stat",
                    "cache 7\ntotal_active_file 100\ntotal_inactive_file 200\n",
                ),
                (
                    "memory.oom_control",
                    "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
                ),
                ("cpuacct.usage", "5000000\n"),
                (
                    "blkio.throttle.io_service_bytes_recursive",
                    "8:0 Read 10\n8:0 Write 20\n8:16 Read 5\nTotal 35\n",
                ),
            ],
        );
        let sample = group.sample().expect("counted");
        assert_eq!(
            (sample.held_bytes, sample.file_bytes, sample.oom_kills),
            (700, 300, 3)
        );
        let used = group.consumption();
        assert_eq!((used.charged_bytes, used.cpu_usec), (2000, Some(5000)));
        assert_eq!((used.read_bytes, used.written_bytes), (Some(15), Some(20)));

        let (_two, group) = place(
            Version::Two,
            &["memory", "io"],
            &[
                ("memory.current", "1000\n"),
                ("memory.peak", "2000\n"),
                (
                    "memory.stat",
                    "anon 7\nactive_file 100\ninactive_file 200\n",
                ),
                ("memory.events", "low 0\noom 1\noom_kill 1\n"),
                ("cpu.stat", "usage_usec 5000\nuser_usec 1\n"),
                (
                    "io.stat",
                    "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=5 wbytes=0\n",
                ),
                (
                    "memory.pressure",
                    "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0 total=1\n",
                ),
            ],
        );
        let sample = group.sample().expect("counted");
        assert_eq!(
            (sample.held_bytes, sample.file_bytes, sample.oom_kills),
            (700, 300, 1)
        );
        let used = group.consumption();
        assert_eq!((used.charged_bytes, used.cpu_usec), (2000, Some(5000)));
        assert_eq!((used.read_bytes, used.written_bytes), (Some(15), Some(20)));
        assert_eq!(
            (used.memory_stall_usec, used.io_stall_usec),
            (Some(77), None)
        );
    }

    #[test]
    fn a_machine_that_counts_nothing_says_nothing() {
        let (_top, group) = place(Version::One, &["pids"], &[]);
        assert_eq!(
            (group.sample(), group.consumption()),
            (None, Consumption::default())
        );
    }

    #[test]
    fn the_kernel_counts_and_stops_a_job_of_this_machine() {
        let Ok(cgroups) = Cgroups::open() else {
            // Without any, jobs run without, and there is nothing to count.
            return;
        };
        let group = cgroups.make(Limits::default()).expect("a group");
        let script = group.script().expect("a group below");
        let mut child = std::process::Command::new("sleep")
            .arg("70110.9")
            .spawn()
            .expect("started");
        script.add(child.id()).expect("added");
        if let Some(sample) = group.sample() {
            let (name, bytes) = group.largest().expect("there is one process");
            assert!(name == "sleep" && bytes > 0 && sample.oom_kills == 0);
        }
        assert!(group.consumption().cpu_usec.is_some());
        group.freeze(true);
        // What stands still is ended as well.
        script.kill();
        assert!(!child.wait().expect("ended").success());
    }
}
