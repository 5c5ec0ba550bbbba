//! The order in which paths are moved: what a path refers to comes before it, so that a cache never has a path without its
//! references, also when a push is cut off.

use std::collections::{HashMap, HashSet, VecDeque};

use rave_nix::{PathInfo, StorePath};

/// Hands out paths whose references are done.
#[derive(Debug)]
pub(super) struct Schedule {
    paths: Vec<Option<PathInfo>>,
    /// For each path those that wait for it.
    waiting: Vec<Vec<usize>>,
    /// For each path how many it still waits for.
    missing: Vec<usize>,
    ready: VecDeque<usize>,
}

impl Schedule {
    /// References to paths that are not among these are taken to be there.
    pub(super) fn new(paths: Vec<PathInfo>) -> Self {
        let index: HashMap<StorePath, usize> = paths
            .iter()
            .enumerate()
            .map(|(n, it)| (it.path.clone(), n))
            .collect();
        let mut waiting = vec![Vec::new(); paths.len()];
        let mut missing = vec![0; paths.len()];
        for (n, info) in paths.iter().enumerate() {
            for reference in info.references.iter().filter_map(|it| index.get(it)) {
                if *reference != n {
                    waiting[*reference].push(n);
                    missing[n] += 1;
                }
            }
        }
        let ready = (0..paths.len()).filter(|it| missing[*it] == 0).collect();
        Self {
            paths: paths.into_iter().map(Some).collect(),
            waiting,
            missing,
            ready,
        }
    }

    /// Takes a path that may be moved now, with the number to report it by.
    pub(super) fn next(&mut self) -> Option<(usize, PathInfo)> {
        let n = self.ready.pop_front()?;
        Some((n, self.paths[n].take()?))
    }

    /// A path is there now.
    pub(super) fn done(&mut self, n: usize) {
        for waiter in std::mem::take(&mut self.waiting[n]) {
            self.missing[waiter] -= 1;
            if self.missing[waiter] == 0 {
                self.ready.push_back(waiter);
            }
        }
    }

    /// Returns what was never handed out, because something before it failed.
    pub(super) fn left(self) -> Vec<PathInfo> {
        self.paths.into_iter().flatten().collect()
    }
}

/// Returns the paths that can be reached from some, by what is known of each.
pub(super) fn closure<E>(
    roots: &[StorePath],
    mut info: impl FnMut(&StorePath) -> Result<PathInfo, E>,
) -> Result<Vec<PathInfo>, E> {
    let mut seen: HashSet<StorePath> = HashSet::new();
    let mut todo: Vec<StorePath> = roots.to_vec();
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let info = info(&path)?;
        todo.extend(
            info.references
                .iter()
                .filter(|it| !seen.contains(*it))
                .cloned(),
        );
        found.push(info);
    }
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A path by the first letter of its hash part, with references by theirs.
    pub(crate) fn info(letter: char, references: &str) -> PathInfo {
        let path = |it: char| {
            format!("{}-{it}", it.to_string().repeat(32))
                .parse()
                .expect("a path")
        };
        PathInfo {
            path: path(letter),
            nar_hash: rave_nix::Sha256([0; 32]),
            nar_size: 1,
            references: references.chars().map(path).collect(),
            deriver: None,
            signatures: Vec::new(),
            content_address: None,
        }
    }

    fn names(paths: &[PathInfo]) -> String {
        paths.iter().map(|it| it.path.name()).collect()
    }

    #[test]
    fn references_come_first() {
        let mut schedule = Schedule::new(vec![
            info('a', "abc"),
            info('b', "c"),
            info('c', "z"),
            info('d', ""),
        ]);
        let mut order = Vec::new();
        while let Some((n, info)) = schedule.next() {
            schedule.done(n);
            order.push(info);
        }
        assert_eq!(names(&order), "cdba");
        assert!(schedule.left().is_empty());
    }

    #[test]
    fn what_waits_for_a_failure_is_left() {
        let mut schedule = Schedule::new(vec![info('a', "b"), info('b', "")]);
        assert_eq!(
            schedule
                .next()
                .map(|it| it.1.path.name().to_owned())
                .as_deref(),
            Some("b")
        );
        assert!(schedule.next().is_none());
        assert_eq!(names(&schedule.left()), "a");
    }

    #[test]
    fn a_closure_has_each_path_once() {
        let known = [
            info('a', "abc"),
            info('b', "c"),
            info('c', ""),
            info('d', ""),
        ];
        let find = |path: &StorePath| known.iter().find(|it| it.path == *path).cloned().ok_or(());
        let mut found = closure(&[known[0].path.clone()], find).unwrap();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(names(&found), "abc");
    }
}
