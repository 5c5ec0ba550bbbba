//! What build tools are told about their size. Most of them look at the whole machine, and a job has a part of it.

use super::size::Profile;

/// What one compiler or linker process takes, roughly.
const PROCESS_BYTES: u64 = 768 << 20;

/// The size of a job, as it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) memory_bytes: u64,
    pub(crate) cpus: f64,
    pub(crate) profile: Profile,
}

/// Returns variables for the build tools that are known to read them. They hold only where a job sets none of its own.
pub(crate) fn told(size: &Size) -> Vec<(&'static str, String)> {
    let mib = size.memory_bytes >> 20;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the clamp"
    )]
    let cpus = size.cpus.ceil().clamp(1.0, 4096.0) as u64;
    let by_memory = (size.memory_bytes / PROCESS_BYTES).max(1);
    let jobs = cpus.min(by_memory).to_string();
    let mut all = vec![
        ("CARGO_BUILD_JOBS", jobs.clone()),
        ("CMAKE_BUILD_PARALLEL_LEVEL", jobs.clone()),
        ("CTEST_PARALLEL_LEVEL", jobs.clone()),
        ("GOMAXPROCS", cpus.to_string()),
        // What counts is the process; the rest is for the tools that it starts.
        ("GOMEMLIMIT", format!("{}MiB", (mib / 10 * 9).max(16))),
        (
            "JAVA_TOOL_OPTIONS",
            format!("-XX:MaxRAM={} -XX:MaxRAMPercentage=75.0", size.memory_bytes),
        ),
        ("MAKEFLAGS", format!("-j{jobs}")),
        ("NIX_BUILD_CORES", jobs),
        (
            "NODE_OPTIONS",
            format!("--max-old-space-size={}", (mib / 4 * 3).max(64)),
        ),
    ];
    if size.profile == Profile::Safe {
        let safe = [
            ("NIX_BUILD_CORES", "2"),
            ("NIX_MAX_JOBS", "1"),
            ("QEMU_CPUS", "2"),
            ("QEMU_RAM_MB", "3072"),
            ("SAFE", "1"),
        ];
        all.retain(|it| it.0 != "NIX_BUILD_CORES");
        all.extend(safe.map(|(key, value)| (key, value.to_owned())));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(memory_bytes: u64, cpus: f64, profile: Profile, expected: &[(&str, &str)]) {
        let told = told(&Size {
            memory_bytes,
            cpus,
            profile,
        });
        for (key, value) in expected {
            let found = told.iter().find(|it| it.0 == *key).map(|it| it.1.as_str());
            assert_eq!(found, Some(*value), "{key}");
            assert_eq!(told.iter().filter(|it| it.0 == *key).count(), 1, "{key}");
        }
    }

    #[test]
    fn tools_are_told_what_a_job_has() {
        check(
            4 << 30,
            8.0,
            Profile::Full,
            &[
                ("CARGO_BUILD_JOBS", "5"),
                ("MAKEFLAGS", "-j5"),
                ("NIX_BUILD_CORES", "5"),
                ("GOMAXPROCS", "8"),
                ("GOMEMLIMIT", "3681MiB"),
                ("NODE_OPTIONS", "--max-old-space-size=3072"),
                (
                    "JAVA_TOOL_OPTIONS",
                    "-XX:MaxRAM=4294967296 -XX:MaxRAMPercentage=75.0",
                ),
            ],
        );
        check(
            64 << 20,
            0.5,
            Profile::Full,
            &[("MAKEFLAGS", "-j1"), ("GOMAXPROCS", "1")],
        );
    }

    #[test]
    fn the_safe_profile_says_that_it_is_one() {
        check(
            4 << 30,
            2.0,
            Profile::Safe,
            &[
                ("SAFE", "1"),
                ("QEMU_RAM_MB", "3072"),
                ("QEMU_CPUS", "2"),
                ("NIX_BUILD_CORES", "2"),
                ("NIX_MAX_JOBS", "1"),
            ],
        );
    }
}
