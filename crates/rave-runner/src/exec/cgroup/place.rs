//! A directory of one hierarchy, under which groups are made: how each version is divided, limited and killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::layout::controllers_of;
use super::{CgroupError, LEAF, Limits, PREFIX, next_number};

/// How a directory's controllers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// A place in one hierarchy under which groups of jobs are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// The highest group of the hierarchy that this process sees.
    pub(super) top: PathBuf,
    pub(super) version: Version,
    pub(super) controllers: Vec<String>,
}

impl Place {
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|it| it == controller)
    }

    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        let path = self.dir.join(file);
        fs::write(&path, value).map_err(|source| CgroupError::Write {
            path,
            value: value.to_owned(),
            source,
        })
    }

    /// Writes a file that not every kernel has.
    pub(super) fn write_if_there(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        if self.dir.join(file).exists() {
            self.write(file, value)
        } else {
            Ok(())
        }
    }

    pub(super) fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.dir.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub(super) fn field(&self, file: &str, key: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join(file)).ok()?;
        text.lines()
            .find_map(|it| it.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Tries whether a group can be made here, and clears away those of dead runners.
    pub(super) fn probe(&self) -> Result<(), CgroupError> {
        self.sweep();
        let probe = self.dir.join(format!(
            "{PREFIX}{}-probe-{}",
            std::process::id(),
            next_number()
        ));
        let made = fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe));
        made.map_err(|source| CgroupError::Make {
            dir: self.dir.clone(),
            source,
        })
    }

    /// Finds a v2 group that can pass its controllers on: this process's own, or the highest.
    pub(super) fn delegate(&mut self) -> Result<(), CgroupError> {
        if self.dir.ends_with(LEAF) {
            // An earlier runner of this process has moved it already.
            self.dir.pop();
        }
        match self.pass_on() {
            // A login session or a script shares its group with the shell that started it.
            Err(CgroupError::Shared { .. }) if self.dir != self.top => {
                self.dir.clone_from(&self.top);
                self.controllers = controllers_of(&self.dir);
                self.pass_on()
            }
            done => done,
        }
    }

    /// Passes the controllers of a v2 group on to groups below it.
    ///
    /// A v2 group with processes of its own cannot do that, so this process moves to a leaf first.
    pub(super) fn pass_on(&mut self) -> Result<(), CgroupError> {
        if self.controllers.is_empty() {
            return Ok(());
        }
        let is_root = !self.dir.join("cgroup.type").exists();
        let own = std::process::id().to_string();
        let procs = self.dir.join("cgroup.procs");
        let members = fs::read_to_string(&procs).map_err(|source| CgroupError::Read {
            path: procs,
            source,
        })?;
        if !is_root && !members.trim().is_empty() {
            if members.split_whitespace().any(|it| it != own) {
                return Err(CgroupError::Shared {
                    dir: self.dir.clone(),
                });
            }
            let leaf = self.dir.join(LEAF);
            if let Err(source) = fs::create_dir(&leaf)
                && source.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(CgroupError::Make {
                    dir: self.dir.clone(),
                    source,
                });
            }
            let leaf = Self {
                dir: leaf,
                ..self.clone()
            };
            leaf.write("cgroup.procs", &own)?;
        }
        let wanted = std::mem::take(&mut self.controllers).into_iter();
        let wanted = wanted.filter(|it| matches!(it.as_str(), "memory" | "pids" | "cpu" | "io"));
        for controller in wanted.collect::<Vec<_>>() {
            if self
                .write("cgroup.subtree_control", &format!("+{controller}"))
                .is_ok()
            {
                self.controllers.push(controller);
            }
        }
        Ok(())
    }

    /// Removes groups of runners that were killed.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|it| {
                it.strip_prefix(PREFIX)?
                    .split('-')
                    .next()?
                    .parse::<u32>()
                    .ok()
            });
            if owner.is_some_and(|it| !Path::new("/proc").join(it.to_string()).exists()) {
                let stale = Self {
                    dir: entry.path(),
                    ..self.clone()
                };
                stale.kill();
                // What was killed needs a moment to be gone. One that is not empty even then is removed at the next start.
                for _ in 0..100 {
                    if stale.try_remove() {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        }
    }

    pub(super) fn limit(&self, limits: Limits) -> Result<(), CgroupError> {
        if let Some(bytes) = limits.memory_bytes.filter(|_| self.has("memory")) {
            let bytes = bytes.to_string();
            if self.version == Version::Two {
                self.write("memory.max", &bytes)?;
                self.write_if_there("memory.swap.max", "0")?;
                // A job that lost one process seldom makes sense of it: the kernel then ends all of it.
                self.write_if_there("memory.oom.group", "1")?;
            } else {
                self.write("memory.limit_in_bytes", &bytes)?;
                self.write_if_there("memory.memsw.limit_in_bytes", &bytes)?;
            }
        }
        if let Some(cpus) = limits
            .cpus
            .filter(|it| self.has("cpu") && it.is_finite() && *it > 0.0)
        {
            #[expect(clippy::cast_possible_truncation, reason = "bounded by the clamp")]
            let quota = (cpus.clamp(0.01, 10_000.0) * 100_000.0) as i64;
            if self.version == Version::Two {
                self.write("cpu.max", &format!("{quota} 100000"))?;
            } else {
                self.write("cpu.cfs_period_us", "100000")?;
                self.write("cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        if let Some(pids) = limits.pids.filter(|_| self.has("pids")) {
            self.write("pids.max", &pids.to_string())?;
        }
        Ok(())
    }

    /// Kills every process of the group and of those below it.
    pub(super) fn kill(&self) {
        if self.version == Version::Two && self.write("cgroup.kill", "1").is_ok() {
            return;
        }
        // What stands still does not end.
        self.freeze(false);
        // Processes may be made while the list is read; a few rounds outrun all but a fork bomb, which `pids` stops.
        for _ in 0..20 {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            for member in members {
                let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
        }
    }

    /// Stops or continues everything in the group and below, where this hierarchy can. Returns whether it can.
    pub(super) fn freeze(&self, frozen: bool) -> bool {
        match self.version {
            Version::Two => self.write("cgroup.freeze", if frozen { "1" } else { "0" }),
            Version::One if self.has("freezer") => {
                self.write("freezer.state", if frozen { "FROZEN" } else { "THAWED" })
            }
            Version::One => return false,
        }
        .is_ok()
    }

    /// Lists the groups below.
    pub(super) fn below(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let dirs = entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
        dirs.map(|it| it.path())
    }

    /// Lists the processes in the group and below. Groups of jobs have one level below them.
    pub(super) fn members(&self) -> Vec<i32> {
        let mut members = Vec::new();
        for dir in std::iter::once(self.dir.clone()).chain(self.below()) {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            members.extend(
                text.split_whitespace()
                    .filter_map(|it| it.parse::<i32>().ok()),
            );
        }
        members
    }

    /// Removes the group and those below it, if nothing is in them.
    pub(super) fn try_remove(&self) -> bool {
        let removed = |dir: &Path| match fs::remove_dir(dir) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        self.below().filter(|it| !removed(it)).count() == 0 && removed(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays out files as a v2 hierarchy has them: a top, and a group below it with `members`.
    fn hierarchy(members: &str) -> (tempfile::TempDir, Place) {
        let top = tempfile::tempdir().expect("a directory");
        let dir = top.path().join("session");
        fs::create_dir(&dir).expect("made");
        fs::write(dir.join("cgroup.type"), "domain").expect("written");
        for dir in [top.path(), &dir] {
            fs::write(dir.join("cgroup.controllers"), "cpu io memory pids").expect("written");
            fs::write(dir.join("cgroup.procs"), members).expect("written");
        }
        let (controllers, top_dir) = (controllers_of(&dir), top.path().to_owned());
        (
            top,
            Place {
                dir,
                top: top_dir,
                version: Version::Two,
                controllers,
            },
        )
    }

    #[test]
    fn a_group_of_its_own_is_divided_after_moving_to_a_leaf() {
        let own = std::process::id().to_string();
        let (_top, mut place) = hierarchy(&own);
        let dir = place.dir.clone();
        place.delegate().expect("divided");
        assert_eq!((&place.dir, place.controllers.len()), (&dir, 4));
        assert_eq!(
            fs::read_to_string(dir.join(LEAF).join("cgroup.procs")).expect("moved"),
            own
        );
        // The next runner of the same process finds itself in the leaf.
        fs::write(dir.join("cgroup.procs"), "").expect("written");
        place.dir = dir.join(LEAF);
        place.delegate().expect("divided again");
        assert_eq!(place.dir, dir);
    }

    #[test]
    fn a_group_shared_with_others_is_left_alone() {
        let (top, mut place) = hierarchy("1\n2\n");
        place.delegate().expect("the top can be divided");
        assert_eq!(
            (place.dir.as_path(), place.controllers.len()),
            (top.path(), 4)
        );
        let (_top, mut place) = hierarchy("1\n2\n");
        place.top.clone_from(&place.dir);
        assert!(matches!(place.delegate(), Err(CgroupError::Shared { .. })));
    }

    #[test]
    fn limits_are_written_as_each_version_reads_them() {
        let limits = Limits {
            memory_bytes: Some(1 << 20),
            cpus: Some(1.5),
            pids: Some(9),
        };
        let (_top, place) = hierarchy("");
        for file in ["memory.swap.max", "memory.oom.group"] {
            fs::write(place.dir.join(file), "").expect("written");
        }
        place.limit(limits).expect("limited");
        let one = Place {
            version: Version::One,
            ..place.clone()
        };
        one.limit(limits).expect("limited");
        let read = |file: &str| fs::read_to_string(place.dir.join(file)).expect("written");
        let two = [
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "cpu.max",
            "pids.max",
        ];
        assert_eq!(two.map(read), ["1048576", "0", "1", "150000 100000", "9"]);
        let one = [
            "memory.limit_in_bytes",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
        ];
        assert_eq!(one.map(read), ["1048576", "150000", "100000"]);
        assert!(
            !place.dir.join("memory.memsw.limit_in_bytes").exists(),
            "not every kernel has it"
        );
    }
}
