//! Which paths of a cache may go: decided at once over the whole cache, without I/O.
//!
//! Whatever goes, no path that stays refers to it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use rave_core::time::Timestamp;

use crate::model::hash_part;
use crate::store::paths::Bare;

/// By what a cache's paths are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// What was made and last asked for before this may go.
    pub(crate) unused_since: Option<Timestamp>,
    pub(crate) quota_bytes: Option<i64>,
}

/// Why a path goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody asked for it within the retention period.
    Unused,
    /// The cache is larger than its quota, and of what nothing refers to this was not asked for the longest.
    Quota,
}

/// What a cache holds, as a graph. Paths go by their place in the list.
pub(crate) struct Graph {
    references: Vec<Vec<usize>>,
    by_hash: HashMap<String, usize>,
}

impl Graph {
    pub(crate) fn new(paths: &[Bare]) -> Self {
        let named = paths.iter().enumerate();
        let by_hash: HashMap<String, usize> = named
            .map(|(at, it)| (hash_part(&it.path).to_owned(), at))
            .collect();
        let references = paths.iter().enumerate().map(|(at, it)| {
            let all = it
                .references
                .split(' ')
                .filter_map(|it| by_hash.get(hash_part(it)));
            all.copied().filter(|it| *it != at).collect()
        });
        Self {
            references: references.collect(),
            by_hash,
        }
    }

    /// Returns the paths with these hash parts and all that they refer to.
    pub(crate) fn closure<'a>(&self, hashes: impl Iterator<Item = &'a str>) -> HashSet<usize> {
        self.reach(hashes.filter_map(|it| self.by_hash.get(it).copied()))
    }

    fn reach(&self, from: impl Iterator<Item = usize>) -> HashSet<usize> {
        let mut reached: HashSet<usize> = HashSet::new();
        let mut next: Vec<usize> = from.collect();
        while let Some(at) = next.pop() {
            if reached.insert(at) {
                next.extend(
                    self.references[at]
                        .iter()
                        .filter(|it| !reached.contains(it)),
                );
            }
        }
        reached
    }
}

/// Decides what goes. `pinned` are hash parts.
pub(crate) fn plan(
    paths: &[Bare],
    graph: &Graph,
    pinned: &HashSet<String>,
    policy: Policy,
) -> Vec<(usize, Reason)> {
    let pinned = graph.closure(pinned.iter().map(String::as_str));
    let unused = |it: &Bare| {
        let since = policy.unused_since;
        it.visible
            && since.is_some_and(|since| it.created_at <= since && it.last_access_at <= since)
    };
    let used = (0..paths.len()).filter(|at| pinned.contains(at) || !unused(&paths[*at]));
    let staying = graph.reach(used);
    let gone = (0..paths.len()).filter(|at| !staying.contains(at));
    let mut plan: Vec<(usize, Reason)> = gone.map(|at| (at, Reason::Unused)).collect();
    if let Some(quota) = policy.quota_bytes {
        let over = over_quota(paths, graph, &staying, &pinned, quota);
        plan.extend(over.into_iter().map(|at| (at, Reason::Quota)));
    }
    plan
}

/// Chooses paths from the outside in, so that nothing that stays loses what it refers to.
fn over_quota(
    paths: &[Bare],
    graph: &Graph,
    staying: &HashSet<usize>,
    pinned: &HashSet<usize>,
    quota: i64,
) -> Vec<usize> {
    let mut total: i64 = staying.iter().map(|at| paths[*at].nar_size).sum();
    let mut referrers = vec![0_usize; paths.len()];
    for at in staying {
        graph.references[*at]
            .iter()
            .for_each(|it| referrers[*it] += 1);
    }
    let rank = |at: usize| Reverse((paths[at].last_access_at, at));
    let free = |at: &usize| !pinned.contains(at) && paths[*at].visible;
    let outermost = staying.iter().copied().filter(|at| referrers[*at] == 0);
    let mut heap: BinaryHeap<_> = outermost.filter(free).map(rank).collect();
    let mut gone = Vec::new();
    while total > quota {
        let Some(Reverse((_, at))) = heap.pop() else {
            break;
        };
        total -= paths[at].nar_size;
        gone.push(at);
        for next in &graph.references[at] {
            referrers[*next] -= 1;
            if referrers[*next] == 0 && free(next) {
                heap.push(rank(*next));
            }
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PathId;

    /// Makes a path with a name of one letter, last used at some time, of some size, that refers to others.
    fn path(name: char, used: i64, size: i64, refers_to: &str) -> Bare {
        let base = |it: char| format!("{}-{it}", it.to_string().repeat(32));
        let references: Vec<String> = refers_to.chars().map(base).collect();
        Bare {
            id: PathId(i64::from(u32::from(name))),
            path: base(name),
            references: references.join(" "),
            nar_digest: String::new(),
            nar_size: size,
            visible: true,
            created_at: Timestamp(0),
            last_access_at: Timestamp(used),
        }
    }

    fn check(paths: &[Bare], pins: &str, policy: Policy, expected: &str) {
        let pinned = pins.chars().map(|it| it.to_string().repeat(32)).collect();
        let graph = Graph::new(paths);
        let mut plan = plan(paths, &graph, &pinned, policy);
        plan.sort_by_key(|it| it.0);
        let name = |at: usize| paths[at].path.chars().next().unwrap();
        let found: String = plan.iter().map(|it| name(it.0)).collect();
        assert_eq!(found, expected);
        let gone: HashSet<usize> = plan.iter().map(|it| it.0).collect();
        for at in (0..paths.len()).filter(|it| !gone.contains(it)) {
            let broken = graph.references[at].iter().any(|it| gone.contains(it));
            assert!(!broken, "{} lost a reference", paths[at].path);
        }
    }

    fn unused(since: i64) -> Policy {
        Policy {
            unused_since: Some(Timestamp(since)),
            quota_bytes: None,
        }
    }

    fn quota(bytes: i64) -> Policy {
        Policy {
            unused_since: None,
            quota_bytes: Some(bytes),
        }
    }

    #[test]
    fn what_is_unused_goes_unless_something_used_needs_it() {
        let paths = [
            path('a', 100, 1, "bc"),
            path('b', 1, 1, "d"),
            path('c', 1, 1, "c"),
            path('d', 1, 1, ""),
            path('e', 1, 1, "d"),
            path('f', 1, 1, "e"),
        ];
        check(&paths, "", unused(50), "ef");
        check(&paths, "f", unused(50), "");
        check(&paths, "e", unused(50), "f");
        check(&paths, "", unused(100), "abcdef");
        check(&paths, "", unused(0), "");
        check(&paths, "", Policy::default(), "");
    }

    #[test]
    fn a_quota_takes_the_longest_unused_from_the_outside_in() {
        let paths = [
            path('a', 9, 10, "c"),
            path('b', 5, 10, "c"),
            path('c', 1, 10, ""),
            path('d', 2, 10, ""),
        ];
        check(&paths, "", quota(40), "");
        check(&paths, "", quota(39), "d");
        check(&paths, "", quota(20), "bd");
        check(&paths, "", quota(19), "abd");
        check(&paths, "", quota(0), "abcd");
        check(&paths, "a", quota(0), "bd");
    }

    #[test]
    fn what_is_held_stays_and_keeps_what_it_refers_to() {
        let mut held = path('h', 1, 10, "c");
        held.visible = false;
        let paths = [held, path('c', 1, 10, ""), path('d', 1, 10, "")];
        check(&paths, "", unused(50), "d");
        check(&paths, "", quota(0), "d");
    }
}
