//! One question about graphs, asked of variables and of jobs: in which order, and where does it go in circles.

/// Returns an order in which each node comes after those it points to, and which nodes lie on a cycle.
///
/// Tarjan's algorithm with its own stack: chains may be as long as there are variables.
pub(crate) fn sort(edges: &[Vec<usize>]) -> (Vec<usize>, Vec<bool>) {
    const NEW: usize = usize::MAX;
    let count = edges.len();
    let (mut found, mut low, mut open) = (vec![NEW; count], vec![0; count], vec![false; count]);
    let (mut order, mut on_cycle) = (Vec::with_capacity(count), vec![false; count]);
    let (mut group, mut calls, mut clock) = (Vec::new(), Vec::new(), 0);
    for root in 0..count {
        if found[root] == NEW {
            calls.push((root, 0));
        }
        while let Some((node, next)) = calls.pop() {
            if next == 0 {
                (found[node], low[node], open[node]) = (clock, clock, true);
                clock += 1;
                group.push(node);
            } else {
                let child = edges[node][next - 1];
                if open[child] {
                    low[node] = low[node].min(low[child]);
                }
            }
            if let Some(&child) = edges[node].get(next) {
                calls.push((node, next + 1));
                if found[child] == NEW {
                    calls.push((child, 0));
                }
                continue;
            }
            if low[node] == found[node] {
                let from = group.iter().rposition(|it| *it == node).unwrap_or(0);
                let members = group.split_off(from);
                for &member in &members {
                    open[member] = false;
                    on_cycle[member] = members.len() > 1 || edges[member].contains(&member);
                }
                order.extend(members);
            }
        }
    }
    (order, on_cycle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first() {
        assert_eq!(
            sort(&[vec![1, 2], vec![2], vec![]]),
            (vec![2, 1, 0], vec![false; 3])
        );
    }

    #[test]
    fn circles_are_found_and_only_they() {
        let circles = |edges: &[Vec<usize>]| sort(edges).1;
        assert_eq!(
            circles(&[vec![1], vec![2], vec![1], vec![3]]),
            [false, true, true, true]
        );
        assert_eq!(circles(&[vec![1, 2], vec![3], vec![3], vec![]]), [false; 4]);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let edges: Vec<Vec<usize>> = (0..100_000)
            .map(|it| if it == 0 { vec![] } else { vec![it - 1] })
            .collect();
        assert_eq!(sort(&edges).0.len(), 100_000);
    }
}
