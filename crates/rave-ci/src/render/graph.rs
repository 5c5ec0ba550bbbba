//! Where the jobs of a pipeline stand when they are drawn: stages are columns from left to right, what a job needs is a
//! curve. The same pipeline always looks the same.

use std::collections::BTreeMap;

/// Width of a job's box.
pub(crate) const NODE_WIDTH: u32 = 224;
/// Height of a job's box.
pub(crate) const NODE_HEIGHT: u32 = 46;
/// Height of the line with the stages' names.
pub(crate) const HEAD_HEIGHT: u32 = 34;
const COLUMN_GAP: u32 = 56;
const ROW_GAP: u32 = 10;
const MARGIN: u32 = 6;
/// Curves beyond this number would only be a black area.
pub(crate) const EDGE_LIMIT: usize = 2000;

/// A job as far as drawing needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GraphJob {
    /// The position of its stage.
    pub(crate) stage: usize,
    /// The positions of the jobs that it names as needed.
    pub(crate) needs: Vec<usize>,
}

/// A drawn pipeline, in pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The stages that have jobs, from left to right.
    pub(crate) stages: Vec<StagePlace>,
    /// The left upper corner of each job.
    pub(crate) places: Vec<(u32, u32)>,
    pub(crate) edges: Vec<Edge>,
}

/// A stage's part of the drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StagePlace {
    pub(crate) stage: usize,
    pub(crate) x: u32,
    pub(crate) width: u32,
}

/// A curve from a needed job to the one that needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// An SVG path.
    pub(crate) path: String,
}

/// Lays a pipeline out. A stage whose jobs need one another takes as many columns as their longest chain.
pub(crate) fn layout(jobs: &[GraphJob]) -> Layout {
    if jobs.is_empty() {
        return Layout::default();
    }
    let columns = columns(jobs);
    let rows = rows(jobs, &columns);
    let x_of = |column: usize| MARGIN + as_px(column) * (NODE_WIDTH + COLUMN_GAP);
    let y_of = |row: usize| HEAD_HEIGHT + as_px(row) * (NODE_HEIGHT + ROW_GAP);
    let mut places = vec![(0, 0); jobs.len()];
    for (column, members) in rows.iter().enumerate() {
        for (row, job) in members.iter().enumerate() {
            places[*job] = (x_of(column), y_of(row));
        }
    }
    let tallest = rows.iter().map(Vec::len).max().unwrap_or(0);
    Layout {
        width: x_of(rows.len()) - COLUMN_GAP + MARGIN,
        height: y_of(tallest) - ROW_GAP + MARGIN,
        stages: stages(jobs, &columns)
            .into_iter()
            .map(|(stage, first, last)| StagePlace {
                stage,
                x: x_of(first),
                width: x_of(last) + NODE_WIDTH - x_of(first),
            })
            .collect(),
        edges: edges(jobs, &places),
        places,
    }
}

fn as_px(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(1 << 20)
}

/// Returns each job's column.
fn columns(jobs: &[GraphJob]) -> Vec<usize> {
    let depths = depths(jobs);
    let stage_count = jobs.iter().map(|it| it.stage + 1).max().unwrap_or(0);
    let mut widths = vec![0; stage_count];
    for (job, depth) in jobs.iter().zip(&depths) {
        widths[job.stage] = widths[job.stage].max(depth + 1);
    }
    let mut first = vec![0; stage_count];
    for stage in 1..stage_count {
        first[stage] = first[stage - 1] + widths[stage - 1];
    }
    jobs.iter()
        .zip(depths)
        .map(|(job, depth)| first[job.stage] + depth)
        .collect()
}

/// Returns for each job the longest chain of jobs of its own stage before it. A circle, which the language refuses,
/// ends where it was found.
fn depths(jobs: &[GraphJob]) -> Vec<usize> {
    let mut depths = vec![0; jobs.len()];
    for _ in 0..jobs.len() {
        let mut changed = false;
        for (at, job) in jobs.iter().enumerate() {
            let before = job
                .needs
                .iter()
                .filter(|it| {
                    **it != at && jobs.get(**it).is_some_and(|need| need.stage == job.stage)
                })
                .map(|it| depths[*it] + 1)
                .max()
                .unwrap_or(0);
            if before > depths[at] && before < jobs.len() {
                depths[at] = before;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    depths
}

/// Returns the jobs of each column from top to bottom: as written, but a job stands near those it needs.
fn rows(jobs: &[GraphJob], columns: &[usize]) -> Vec<Vec<usize>> {
    let count = columns.iter().max().map_or(0, |it| it + 1);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (job, column) in columns.iter().enumerate() {
        rows[*column].push(job);
    }
    let mut row_of = vec![0_usize; jobs.len()];
    for members in &mut rows {
        let written: BTreeMap<usize, usize> = members
            .iter()
            .enumerate()
            .map(|(own, job)| (*job, own))
            .collect();
        // Thousandths of a row, so that the order does not depend on the rounding of fractions.
        members.sort_by_cached_key(|job| {
            let needs: Vec<usize> = jobs[*job]
                .needs
                .iter()
                .filter(|it| **it < jobs.len())
                .map(|it| row_of[*it])
                .collect();
            let own = written.get(job).copied().unwrap_or(0);
            let sum: usize = needs.iter().sum();
            (
                (sum * 1000).checked_div(needs.len()).unwrap_or(own * 1000),
                own,
            )
        });
        for (row, job) in members.iter().enumerate() {
            row_of[*job] = row;
        }
    }
    rows
}

/// Returns the stages with their first and last column.
fn stages(jobs: &[GraphJob], columns: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    let mut pairs: Vec<(usize, usize)> = jobs
        .iter()
        .zip(columns)
        .map(|(job, column)| (job.stage, *column))
        .collect();
    pairs.sort_unstable();
    for (stage, column) in pairs {
        match found.last_mut() {
            Some((same, _, last)) if *same == stage => *last = column,
            _ => found.push((stage, column, column)),
        }
    }
    found
}

fn edges(jobs: &[GraphJob], places: &[(u32, u32)]) -> Vec<Edge> {
    let pairs = jobs
        .iter()
        .enumerate()
        .flat_map(|(to, job)| job.needs.iter().map(move |from| (*from, to)))
        .filter(|(from, _)| *from < jobs.len());
    pairs
        .take(EDGE_LIMIT)
        .map(|(from, to)| Edge {
            from,
            to,
            path: curve(places[from], places[to]),
        })
        .collect()
}

fn curve(from: (u32, u32), to: (u32, u32)) -> String {
    let (x1, y1) = (from.0 + NODE_WIDTH, from.1 + NODE_HEIGHT / 2);
    let (x2, y2) = (to.0, to.1 + NODE_HEIGHT / 2);
    let bend = COLUMN_GAP / 2;
    if x2 <= x1 + COLUMN_GAP {
        return format!(
            "M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}",
            x1 + bend,
            x2.saturating_sub(bend)
        );
    }
    // Past the columns between, the curve runs between two rows: behind a box it would look like that box's own.
    let aside = NODE_HEIGHT / 2 + ROW_GAP / 2;
    let way = if y2 < y1 { y1 - aside } else { y1 + aside };
    let (turn, back) = (x1 + COLUMN_GAP, x2 - COLUMN_GAP);
    format!(
        "M{x1} {y1}C{} {y1} {} {way} {turn} {way}H{back}C{} {way} {} {y2} {x2} {y2}",
        x1 + bend,
        turn - bend,
        back + bend,
        x2 - bend
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(stage: usize, needs: &[usize]) -> GraphJob {
        GraphJob {
            stage,
            needs: needs.to_vec(),
        }
    }

    fn cells(jobs: &[GraphJob]) -> Vec<(u32, u32)> {
        layout(jobs)
            .places
            .iter()
            .map(|(x, y)| {
                (
                    (x - MARGIN) / (NODE_WIDTH + COLUMN_GAP),
                    (y - HEAD_HEIGHT) / (NODE_HEIGHT + ROW_GAP),
                )
            })
            .collect()
    }

    #[test]
    fn stages_are_columns_and_empty_ones_take_no_room() {
        let jobs = [job(1, &[]), job(1, &[]), job(4, &[])];
        assert_eq!(cells(&jobs), [(0, 0), (0, 1), (1, 0)]);
        let drawn = layout(&jobs);
        let stages: Vec<usize> = drawn.stages.iter().map(|it| it.stage).collect();
        assert_eq!(stages, [1, 4]);
        assert!(drawn.edges.is_empty());
        assert_eq!(layout(&[]), Layout::default());
    }

    #[test]
    fn jobs_of_one_stage_that_need_one_another_stand_side_by_side() {
        let jobs = [job(0, &[]), job(0, &[0]), job(0, &[1]), job(1, &[0])];
        assert_eq!(cells(&jobs), [(0, 0), (1, 0), (2, 0), (3, 0)]);
        assert_eq!(
            layout(&jobs).stages[0].width,
            3 * NODE_WIDTH + 2 * COLUMN_GAP
        );
    }

    #[test]
    fn a_job_stands_near_those_it_needs() {
        let jobs = [job(0, &[]), job(0, &[]), job(1, &[1]), job(1, &[0])];
        assert_eq!(cells(&jobs)[2..], [(1, 1), (1, 0)]);
    }

    #[test]
    fn circles_and_dangling_needs_do_no_harm() {
        let jobs = [job(0, &[1, 9]), job(0, &[0]), job(0, &[2])];
        let drawn = layout(&jobs);
        assert_eq!(drawn.places.len(), 3);
        assert!(drawn.edges.len() == 3 && drawn.width < 4000, "{drawn:?}");
        let mut unique = drawn.places.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 3, "no two jobs in one place");
    }

    #[test]
    fn curves_begin_and_end_at_their_jobs() {
        let drawn = layout(&[job(0, &[]), job(1, &[0]), job(2, &[0])]);
        assert_eq!(drawn.edges[0].path, "M230 57C258 57 258 57 286 57");
        assert_eq!((drawn.edges[1].from, drawn.edges[1].to), (0, 2));
        assert_eq!(
            drawn.edges[1].path,
            "M230 57C258 57 258 85 286 85H510C538 85 538 57 566 57"
        );
    }
}
