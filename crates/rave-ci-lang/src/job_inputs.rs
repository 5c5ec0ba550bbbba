//! Inputs of a job: what a person may give a manual job when it is started, in place of the defaults of the file.

use crate::expression::Patterns;
use crate::{FormInput, InputKind, InputValue, JobInput};

/// Puts given values into the inputs of a job.
///
/// # Errors
/// A sentence for each value that does not fit; then nothing is given.
pub fn give_inputs(
    inputs: &mut [JobInput],
    given: Vec<(String, InputValue)>,
) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let unknown: Vec<&str> = given
        .iter()
        .map(|it| it.0.as_str())
        .filter(|name| inputs.iter().all(|it| it.name != *name))
        .collect();
    if !unknown.is_empty() {
        problems.push(format!("unknown input arguments: {}", unknown.join(", ")));
    }
    let patterns = Patterns::default();
    let mut accepted = Vec::new();
    for (name, value) in given {
        let Some(at) = inputs.iter().position(|it| it.name == name) else {
            continue;
        };
        match inputs[at].accept(value, &patterns) {
            Ok(value) => accepted.push((at, value)),
            Err(problem) => problems.push(format!("`{name}` input: {problem}")),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for (at, value) in accepted {
        inputs[at].default = value;
    }
    Ok(())
}

impl JobInput {
    fn accept(&self, value: InputValue, patterns: &Patterns) -> Result<InputValue, String> {
        let value = match (self.kind, value) {
            (InputKind::String, value) => InputValue::Text(text(&value)),
            // Forms send texts.
            (_, InputValue::Text(text)) => {
                serde_json::from_str(&text).unwrap_or(InputValue::Text(text))
            }
            (_, value) => value,
        };
        let fits = match self.kind {
            InputKind::String => true,
            InputKind::Boolean => matches!(value, InputValue::Boolean(_)),
            InputKind::Number => matches!(value, InputValue::Number(_)),
            InputKind::Array => matches!(&value, InputValue::Other(it) if it.is_array()),
        };
        if !fits {
            return Err(format!("provided value is not {}", self.kind.described()));
        }
        if !self.options.is_empty() && self.options.iter().all(|it| text(it) != text(&value)) {
            return Err(format!(
                "`{}` cannot be used because it is not in the list of allowed options",
                text(&value)
            ));
        }
        if let Some(regex) = &self.regex {
            let pattern = patterns.find(regex);
            let pattern = pattern.or_else(|| patterns.find(&format!("/{regex}/")));
            if !pattern.is_some_and(|it| it.is_match(&text(&value))) {
                return Err("provided value does not match required RegEx pattern".to_owned());
            }
        }
        Ok(value)
    }
}

impl InputKind {
    /// Returns the kind with its article, as messages name it.
    pub(crate) const fn described(self) -> &'static str {
        match self {
            Self::Array => "an array",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
        }
    }
}

impl From<&JobInput> for FormInput {
    fn from(input: &JobInput) -> Self {
        Self {
            name: input.name.clone(),
            kind: input.kind,
            default: Some(text(&input.default)),
            description: input.description.clone(),
            options: input.options.iter().map(text).collect(),
        }
    }
}

/// Returns a value as it stands in a script.
fn text(value: &InputValue) -> String {
    match value {
        InputValue::Boolean(it) => it.to_string(),
        InputValue::Number(it) => it.to_string(),
        InputValue::Text(it) => it.clone(),
        InputValue::Other(it) => it.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(kind: InputKind, default: &str) -> JobInput {
        JobInput {
            name: "x".into(),
            kind,
            default: InputValue::Text(default.into()),
            description: None,
            options: Vec::new(),
            regex: None,
        }
    }

    #[test]
    fn values_have_to_fit() {
        let check = |input: JobInput, value: &str, expected: Result<&str, &str>| {
            let mut inputs = [input];
            let given = vec![("x".to_owned(), InputValue::Text(value.to_owned()))];
            let given = give_inputs(&mut inputs, given).map(|()| text(&inputs[0].default));
            let expected = expected.map(str::to_owned);
            assert_eq!(
                given,
                expected.map_err(|it| vec![format!("`x` input: {it}")])
            );
        };
        use InputKind::{Array, Boolean, Number, String};
        check(input(String, "a"), "1", Ok("1"));
        check(input(Boolean, "true"), "false", Ok("false"));
        check(
            input(Boolean, "true"),
            "no",
            Err("provided value is not a boolean"),
        );
        check(input(Number, "1"), "2.5", Ok("2.5"));
        check(
            input(Number, "1"),
            "two",
            Err("provided value is not a number"),
        );
        check(input(Array, "[]"), "[1]", Ok("[1]"));
        check(
            input(Array, "[]"),
            "{}",
            Err("provided value is not an array"),
        );
        let chosen = JobInput {
            options: vec![InputValue::Text("a".into()), InputValue::Text("b".into())],
            ..input(String, "a")
        };
        check(chosen.clone(), "b", Ok("b"));
        check(
            chosen,
            "c",
            Err("`c` cannot be used because it is not in the list of allowed options"),
        );
        let matched = JobInput {
            regex: Some("^v[0-9]+$".into()),
            ..input(String, "v1")
        };
        check(matched.clone(), "v2", Ok("v2"));
        check(
            matched,
            "2",
            Err("provided value does not match required RegEx pattern"),
        );
    }

    #[test]
    fn one_that_is_wrong_stops_all() {
        let mut inputs = [input(InputKind::String, "a")];
        let text = |it: &str| InputValue::Text(it.to_owned());
        let given = vec![("x".to_owned(), text("b")), ("y".to_owned(), text("c"))];
        assert_eq!(
            give_inputs(&mut inputs, given),
            Err(vec!["unknown input arguments: y".to_owned()])
        );
        assert_eq!(inputs[0].default, text("a"));
    }
}
