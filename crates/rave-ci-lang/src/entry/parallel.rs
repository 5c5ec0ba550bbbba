//! `parallel`: a number of copies, or one copy for each combination of values.

use super::check::unknown_keys;
use crate::Variable;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Value};

const MAX_COPIES: usize = 200;

#[derive(Clone, Debug)]
pub(crate) enum Parallel {
    Count(u32),
    /// One set of variables for each copy, in order.
    Matrix(Vec<Vec<Variable>>),
}

impl Parallel {
    /// Returns the suffix of the name and the variables of each copy.
    pub(crate) fn copies(&self) -> Vec<(String, &[Variable])> {
        match self {
            Self::Count(total) => (1..=*total)
                .map(|it| (format!(" {it}/{total}"), &[][..]))
                .collect(),
            Self::Matrix(sets) => sets
                .iter()
                .map(|set| {
                    let values: Vec<&str> = set.iter().map(|it| it.value.as_str()).collect();
                    (format!(": [{}]", values.join(", ")), set.as_slice())
                })
                .collect(),
        }
    }
}

pub(super) fn parallel(node: &Node, at: &str, report: &mut Report) -> Option<Parallel> {
    let problem = match &node.value {
        Value::Integer(..=0) => format!("{at} config must be greater than or equal to 1"),
        Value::Integer(201..) => format!("{at} config must be less than or equal to {MAX_COPIES}"),
        Value::Integer(count) => return u32::try_from(*count).ok().map(Parallel::Count),
        Value::Float(_) => format!("{at} config must be an integer"),
        Value::Mapping(map) => return matrix(node, map, at, report),
        _ => format!("{at} should be an integer or a hash"),
    };
    report.entry_error(node.span, problem);
    None
}

fn matrix(node: &Node, map: &Mapping, at: &str, report: &mut Report) -> Option<Parallel> {
    unknown_keys(map, at, &["matrix"], report);
    let Some(matrix) = map.given("matrix") else {
        report.entry_error(
            node.span,
            format!("{at} config missing required keys: matrix"),
        );
        return None;
    };
    let entries: Option<Vec<&Mapping>> = matrix
        .as_sequence()
        .and_then(|it| it.iter().map(Node::as_mapping).collect());
    let Some(entries) = entries else {
        report.entry_error(
            matrix.span,
            format!("{at}:matrix config should be an array of hashes"),
        );
        return None;
    };
    let mut sets: Vec<Vec<Variable>> = Vec::new();
    for entry in entries {
        let axes = axes(matrix, entry, at, report)?;
        let size = axes
            .iter()
            .try_fold(1_usize, |size, it| size.checked_mul(it.1.len()));
        if size.is_none_or(|it| it + sets.len() > MAX_COPIES) {
            let message =
                format!("{at}:matrix config generates too many jobs (maximum is {MAX_COPIES})");
            report.entry_error(matrix.span, message);
            return None;
        }
        sets.extend(product(&axes));
    }
    Some(Parallel::Matrix(sets))
}

fn axes<'a>(
    matrix: &Node,
    entry: &'a Mapping,
    at: &str,
    report: &mut Report,
) -> Option<Vec<(&'a str, Vec<String>)>> {
    let at = format!("{at}:matrix:variables config");
    if entry.is_empty() {
        report.entry_error(matrix.span, format!("{at} requires at least 1 items"));
        return None;
    }
    let scalar = |it: &Node| {
        matches!(it.value, Value::Text(_) | Value::Integer(_))
            .then(|| it.scalar_text())
            .flatten()
    };
    let axes: Option<Vec<(&str, Vec<String>)>> = entry
        .iter()
        .map(|(key, value)| {
            let values = match value.as_sequence() {
                Some(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>()?,
                None => vec![scalar(value)?],
            };
            Some((key.text.as_str(), values))
        })
        .collect();
    if axes.is_none() {
        let message = format!("{at} should be a hash of key value pairs, value can be an array");
        report.entry_error(matrix.span, message);
    }
    axes
}

/// Returns all combinations, the last key changing fastest.
fn product(axes: &[(&str, Vec<String>)]) -> Vec<Vec<Variable>> {
    axes.iter().fold(vec![Vec::new()], |sets, (key, values)| {
        let extended = |set: &Vec<Variable>, value: &String| {
            let mut set = set.clone();
            set.push(Variable::public(*key, value));
            set
        };
        sets.iter()
            .flat_map(|set| values.iter().map(move |value| extended(set, value)))
            .collect()
    })
}
