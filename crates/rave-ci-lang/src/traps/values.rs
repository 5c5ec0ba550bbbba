//! Values of variables that are not what they look like.

use super::{Seen, secrets};
use crate::report::Report;
use crate::yaml::{Key, Node};

/// Looks at a map of variables.
pub(super) fn check(variables: &Node, seen: &mut Seen, report: &mut Report) {
    let Some(map) = variables.as_mapping() else {
        return;
    };
    for (key, node) in map.iter() {
        let value = node.as_mapping().map_or(Some(node), |it| it.get("value"));
        if let Some(value) = value.filter(|it| seen.is_new(it)) {
            written(key, value, report);
            condition(key, value, report);
            secrets::check(key, value, report);
        }
    }
}

/// Looks at the values of a matrix.
pub(super) fn check_matrix(matrix: &Node, report: &mut Report) {
    for axes in super::flat(matrix).into_iter().filter_map(Node::as_mapping) {
        for (key, values) in axes.iter() {
            for value in super::flat(values) {
                written(key, value, report);
            }
        }
    }
}

/// `1.10` is the number 1.1, `0755` is 493, `yes` is true.
fn written(key: &Key, value: &Node, report: &mut Report) {
    let Some(read) = value.scalar_text() else {
        return;
    };
    let Some(written) = report.reading(value.span) else {
        return;
    };
    let message = format!(
        "`{written}` is read as `{read}`, which is what `{}` gets",
        key.text
    );
    let hint = format!("write \"{written}\" to keep it as it is");
    report.warn(value.span, message, Some(hint));
}

/// A condition in a value is text, which counts as true.
fn condition(key: &Key, value: &Node, report: &mut Report) {
    let Some(text) = value.as_text().filter(|it| it.contains('$')) else {
        return;
    };
    if !["==", "!=", "=~", "!~"].iter().any(|it| text.contains(it)) {
        return;
    }
    let parsed = report.patterns.expression(text);
    if parsed.is_ok_and(|it| !it.comparisons().is_empty()) {
        let message = format!(
            "`{}` gets this condition as text, not its outcome",
            key.text
        );
        let hint = "conditions belong into `rules:if`; a rule can set variables";
        report.warn(value.span, message, Some(hint.to_owned()));
    }
}
