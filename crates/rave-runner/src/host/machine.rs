//! What the machine has, read from the kernel.

use std::fs;
use std::path::Path;

use crate::budget::size::Machine;

/// Looks at the machine. `limit` is what this process is kept to, where it runs in a container or a service.
pub(super) fn look(limit: Option<u64>) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let total = field(&read("/proc/meminfo"), "MemTotal:").unwrap_or(u64::MAX);
    Machine {
        total_bytes: limit.map_or(total, |it| it.min(total)),
        own_bytes: field(&read("/proc/self/status"), "RssAnon:").unwrap_or(0),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}

/// Reads a line such as `MemTotal: 1024 kB`.
fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|it| it.strip_prefix(key))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// How much space a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// For this process.
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

impl Space {
    /// Looks at the file system that a directory is on. `None` when it says nothing.
    pub(crate) fn of(dir: &Path) -> Option<Self> {
        let found = nix::sys::statvfs::statvfs(dir).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        Some(Self {
            free_bytes: bytes(found.blocks_available()),
            total_bytes: bytes(found.blocks()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let text = "MemTotal:       24688484 kB\nMemFree: 1 kB\n";
        assert_eq!(field(text, "MemTotal:"), Some(24_688_484 << 10));
        assert_eq!((field(text, "Swap:"), field("A: x kB", "A:")), (None, None));
    }

    #[test]
    fn this_machine_has_something() {
        let machine = look(None);
        assert!(machine.total_bytes > machine.own_bytes && machine.own_bytes > 0);
        assert_eq!(look(Some(1 << 20)).total_bytes, 1 << 20);
        assert!(Space::of(Path::new("/")).is_some() && Space::of(Path::new("/absent")).is_none());
    }
}
