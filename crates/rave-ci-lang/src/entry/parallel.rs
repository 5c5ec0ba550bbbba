//! `parallel`: a number of copies, or one copy for each combination of values.

use std::fmt::Display;

use super::check::unknown_keys;
use crate::Variable;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Value};

/// The values that each key of one matrix entry takes.
pub(crate) type Axes = Vec<(String, Vec<String>)>;

#[derive(Clone, Debug)]
pub(crate) enum Parallel {
    Count(u32),
    Matrix(Vec<Axes>),
}

impl Parallel {
    /// Returns the suffix of the name and the variables of each copy.
    pub(crate) fn copies(&self) -> Vec<(String, Vec<Variable>)> {
        match self {
            Self::Count(total) => (1..=*total)
                .map(|it| (format!(" {it}/{total}"), Vec::new()))
                .collect(),
            Self::Matrix(matrix) => {
                let sets = matrix.iter().flat_map(product);
                sets.map(|set| (suffix(&set), set)).collect()
            }
        }
    }
}

/// Returns what the values of a copy add to the name of its job.
fn suffix(set: &[Variable]) -> String {
    let values: Vec<&str> = set.iter().map(|it| it.value.as_str()).collect();
    format!(": [{}]", values.join(", "))
}

/// Returns the names of the copies that a matrix makes of a job.
pub(crate) fn copy_names(job: &str, matrix: &[Axes]) -> Vec<String> {
    let sets = matrix.iter().flat_map(product);
    sets.map(|it| format!("{job}{}", suffix(&it))).collect()
}

/// Reads the keyword. Bridges have no use for a number.
pub(super) fn parallel(
    node: &Node,
    is_bridge: bool,
    at: &dyn Display,
    report: &mut Report,
) -> Option<Parallel> {
    let limit = report.limits.parallel;
    let problem = match &node.value {
        Value::Integer(count) if count.get() < 1 => {
            format!("{at} config must be greater than or equal to 1")
        }
        Value::Integer(count) if count.get() > limit as i128 => {
            let message = format!("{at} config must be less than or equal to {limit}");
            report.entry_limit(node.span, message, "max_parallel");
            return None;
        }
        Value::Integer(_) if is_bridge => {
            format!("{at} config cannot use \"parallel: <number>\".")
        }
        Value::Integer(count) => return u32::try_from(count.get()).ok().map(Parallel::Count),
        Value::Float(_) => format!("{at} config must be an integer"),
        Value::Mapping(map) => return matrix(node, map, at, report).map(Parallel::Matrix),
        _ => format!("{at} should be an integer or a hash"),
    };
    report.entry_error(node.span, problem);
    None
}

/// Reads the map form.
pub(super) fn matrix(
    node: &Node,
    map: &Mapping,
    at: &dyn Display,
    report: &mut Report,
) -> Option<Vec<Axes>> {
    unknown_keys(map, at, &["matrix"], report);
    let Some(matrix) = map.get("matrix") else {
        report.entry_error(
            node.span,
            format!("{at} config missing required keys: matrix"),
        );
        return None;
    };
    if matrix.is_null() {
        return Some(Vec::new());
    }
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
    let mut all = Vec::with_capacity(entries.len());
    let mut count = 0_usize;
    for entry in entries {
        let axes = axes(matrix, entry, at, report)?;
        let size = axes
            .iter()
            .try_fold(1_usize, |size, it| size.checked_mul(it.1.len()));
        count = size.map_or(usize::MAX, |it| count.saturating_add(it));
        let limit = report.limits.parallel;
        if count > limit {
            let message =
                format!("{at}:matrix config generates too many jobs (maximum is {limit})");
            report.entry_limit(matrix.span, message, "max_parallel");
            return None;
        }
        all.push(axes);
    }
    Some(all)
}

fn axes(matrix: &Node, entry: &Mapping, at: &dyn Display, report: &mut Report) -> Option<Axes> {
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
    let axes: Option<Axes> = entry
        .iter()
        .map(|(key, value)| {
            let values = match value.as_sequence() {
                Some(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>()?,
                None => vec![scalar(value)?],
            };
            key.is_alphanumeric()
                .then(|| (key.text.to_string(), values))
        })
        .collect();
    if axes.is_none() {
        let message = format!("{at} should be a hash of key value pairs, value can be an array");
        let wrong = entry.iter().flat_map(|it| match it.1.as_sequence() {
            Some(items) => items.iter().collect(),
            None => vec![&it.1],
        });
        let wrong = wrong.into_iter().find(|it| scalar(it).is_none());
        let hint = wrong.map(|_| "values are text or whole numbers: put others in quotes");
        let span = wrong.map_or(matrix.span, |it| it.span);
        report.error_with_hint(span, message.to_lowercase(), hint.map(str::to_owned));
    }
    axes
}

/// Returns all combinations, the last key changing fastest.
fn product(axes: &Axes) -> Vec<Vec<Variable>> {
    axes.iter().fold(vec![Vec::new()], |sets, (key, values)| {
        let extended = |set: &Vec<Variable>, value: &String| {
            let mut set = set.clone();
            set.push(Variable::public(key, value));
            set
        };
        sets.iter()
            .flat_map(|set| values.iter().map(move |value| extended(set, value)))
            .collect()
    })
}
