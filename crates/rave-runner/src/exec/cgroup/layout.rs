//! Finds the hierarchies of control groups in what the kernel says of this process.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Place, Version};

/// The controllers of version 1 that matter.
const CONTROLLERS: [&str; 6] = ["memory", "pids", "cpu", "cpuacct", "blkio", "freezer"];

/// Finds where this process is in each hierarchy that matters, as a directory.
pub(super) fn find_places(membership: &str, mountinfo: &str) -> Vec<Place> {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
    let mut places: Vec<Place> = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let names: Vec<&str> = names.split(',').filter(|it| !it.is_empty()).collect();
        let unified = names.is_empty();
        if !unified && !names.iter().any(|it| CONTROLLERS.contains(it)) {
            continue;
        }
        let fits = |it: &&Mount<'_>| match unified {
            true => it.kind == "cgroup2",
            false => {
                it.kind == "cgroup"
                    && names
                        .iter()
                        .all(|name| it.options.split(',').any(|it| it == *name))
            }
        };
        let Some(mount) = mounts.iter().find(fits) else {
            continue;
        };
        let Some(below) = path.strip_prefix(mount.root.trim_end_matches('/')) else {
            continue;
        };
        let dir = Path::new(mount.point).join(below.trim_start_matches('/'));
        let controllers = match unified {
            true => controllers_of(&dir),
            false => names.iter().map(|it| (*it).to_owned()).collect(),
        };
        let version = if unified { Version::Two } else { Version::One };
        let top = PathBuf::from(mount.point);
        places.push(Place {
            top,
            dir,
            version,
            controllers,
        });
    }
    places
}

/// Lists the controllers that a v2 group could pass on.
pub(super) fn controllers_of(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A line of `mountinfo`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        let (root, point) = (left.next()?, left.next()?);
        Some(Self {
            root,
            point,
            kind: right.next()?,
            options: right.nth(1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(membership: &str, mountinfo: &str, expected: &[(&str, Version, &[&str])]) {
        let found = find_places(membership, mountinfo);
        let found: Vec<_> = found
            .iter()
            .map(|it| {
                let controllers: Vec<&str> = it.controllers.iter().map(String::as_str).collect();
                (it.dir.display().to_string(), it.version, controllers)
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(dir, version, names)| ((*dir).to_owned(), *version, names.to_vec()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_layout_is_found() {
        let one = "9:name=systemd:/\n8:pids:/\n4:memory:/a/b\n2:cpu,cpuacct:/\n0::/\n";
        let mounts = "1 0 0:1 / /c/memory rw - cgroup cgroup rw,memory\n2 0 0:1 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      3 0 0:1 / /c/pids rw - cgroup cgroup rw,pids\n4 0 0:1 / /c/unified rw - cgroup2 cgroup2 rw\n";
        check(
            one,
            mounts,
            &[
                ("/c/pids/", Version::One, &["pids"]),
                ("/c/memory/a/b", Version::One, &["memory"]),
                ("/c/cpu/", Version::One, &["cpu", "cpuacct"]),
                ("/c/unified/", Version::Two, &[]),
            ],
        );
        check(
            "0::/x\n",
            "1 0 0:1 / /c rw - cgroup2 none rw\n",
            &[("/c/x", Version::Two, &[])],
        );
    }

    #[test]
    fn a_container_that_sees_part_of_the_tree_is_understood() {
        let mounts = "1 0 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        check(
            "4:memory:/docker/abc\n",
            mounts,
            &[("/sys/fs/cgroup/memory/", Version::One, &["memory"])],
        );
        check("4:memory:/elsewhere\n", mounts, &[]);
    }
}
