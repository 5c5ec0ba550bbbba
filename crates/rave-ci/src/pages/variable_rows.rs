//! Rows of names and values in forms that start pipelines, now or by the clock.

use maud::{Markup, html};
use rave_ci_lang::Variable;
use rave_http::Params;

use crate::setting::is_key;

/// How many empty rows a form has at least.
const SPARE: usize = 2;

/// A variable as a form gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VariableRow {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) file: bool,
}

impl From<&Variable> for VariableRow {
    fn from(variable: &Variable) -> Self {
        Self {
            key: variable.key.clone(),
            value: variable.value.clone(),
            file: variable.file,
        }
    }
}

impl VariableRow {
    /// Returns what a pipeline is given.
    pub(super) fn variable(&self) -> Variable {
        Variable {
            key: self.key.clone(),
            value: self.value.clone(),
            file: self.file,
            ..Variable::default()
        }
    }
}

/// Reads the rows that are not empty.
pub(super) fn read(params: &Params) -> Vec<VariableRow> {
    let (keys, values, kinds) = (
        texts(params, "variables_key"),
        texts(params, "variables_value"),
        texts(params, "variables_type"),
    );
    let row = |(at, key): (usize, String)| VariableRow {
        key: key.trim().to_owned(),
        value: values
            .get(at)
            .cloned()
            .unwrap_or_default()
            .replace("\r\n", "\n"),
        file: kinds.get(at).is_some_and(|it| it == "file"),
    };
    let rows = keys.into_iter().enumerate().map(row);
    rows.filter(|it| !it.key.is_empty() || !it.value.is_empty())
        .collect()
}

/// Returns a list of fields as they were written, empty ones included, so that names and values stay in pairs.
fn texts(params: &Params, name: &str) -> Vec<String> {
    let items = params.value(name).and_then(|it| it.as_array());
    let text = |it: &serde_json::Value| it.as_str().unwrap_or_default().to_owned();
    items
        .map(|it| it.iter().map(text).collect())
        .unwrap_or_default()
}

/// Says what is wrong with rows.
pub(super) fn problems(rows: &[VariableRow]) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if !is_key(&row.key) {
            problems.push(format!(
                "`{}` is no name of a variable: use letters, digits and `_`.",
                row.key
            ));
        } else if rows[..at].iter().any(|it| it.key == row.key) {
            problems.push(format!("Duplicate variable name: {}", row.key));
        }
    }
    problems
}

/// The rows, with some empty ones behind.
pub(super) fn fields(rows: &[VariableRow]) -> Markup {
    let empty = VariableRow::default();
    html! {
        @for at in 0..rows.len() + SPARE {
            @let row = rows.get(at).unwrap_or(&empty);
            @let number = at + 1;
            div.pair {
                select name="variables_type[]" aria-label={ "Type of variable " (number) } {
                    option value="env_var" { "Variable" }
                    option value="file" selected[row.file] { "File" }
                }
                input.mono name="variables_key[]" value=(row.key) placeholder="Name" aria-label={ "Name of variable " (number) } autocomplete="off" autocapitalize="none" spellcheck="false";
                @if row.value.contains('\n') {
                    textarea.mono name="variables_value[]" rows="3" aria-label={ "Value of variable " (number) } spellcheck="false" { (row.value) }
                } @else {
                    input.mono name="variables_value[]" value=(row.value) placeholder="Value" aria-label={ "Value of variable " (number) } autocomplete="off" autocapitalize="none" spellcheck="false";
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str) -> VariableRow {
        VariableRow {
            key: key.into(),
            ..VariableRow::default()
        }
    }

    #[test]
    fn rows_need_names_of_their_own() {
        assert!(problems(&[row("A"), row("B_1")]).is_empty());
        let found = problems(&[row("A"), row(""), row("A-B"), row("A")]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[2], "Duplicate variable name: A");
    }
}
