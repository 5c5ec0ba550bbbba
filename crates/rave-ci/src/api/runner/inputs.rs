//! `inputs` of a job: values filled into its scripts where they say `${{ job.inputs.NAME }}`.

use rave_ci_lang::{InputValue, JobInput};

/// Fills inputs into lines. What refers to no input stays as it is: other programs write such braces too.
pub(super) fn fill(lines: &[String], inputs: &[JobInput]) -> Vec<String> {
    if inputs.is_empty() {
        return lines.to_vec();
    }
    lines.iter().map(|it| fill_line(it, inputs)).collect()
}

fn fill_line(line: &str, inputs: &[JobInput]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("${{") {
        out.push_str(&rest[..at]);
        let found = rest[at..].find("}}").and_then(|end| {
            let name = rest[at + 3..at + end].trim().strip_prefix("job.inputs.")?;
            let input = inputs.iter().find(|it| it.name == name)?;
            Some((text(&input.default), at + end + 2))
        });
        match found {
            Some((value, end)) => {
                out.push_str(&value);
                rest = &rest[end..];
            }
            None => {
                out.push_str("${{");
                rest = &rest[at + 3..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Returns a value as a script has it.
fn text(value: &InputValue) -> String {
    match value {
        InputValue::Text(text) => text.clone(),
        InputValue::Boolean(it) => it.to_string(),
        InputValue::Number(it) => it.to_string(),
        InputValue::Other(it) => it.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_inputs_are_filled_in() {
        let input = |name: &str, default: InputValue| JobInput {
            name: name.into(),
            kind: rave_ci_lang::InputKind::default(),
            default,
            description: None,
            options: Vec::new(),
            regex: None,
        };
        let inputs = [
            input("who", InputValue::Text("world".into())),
            input("loud", InputValue::Boolean(true)),
        ];
        let check = |line: &str, expected: &str| {
            assert_eq!(fill(&[line.to_owned()], &inputs), [expected]);
        };
        check(
            "echo ${{ job.inputs.who }} ${{job.inputs.loud}}",
            "echo world true",
        );
        check(
            "echo ${{ job.inputs.none }} ${{ x",
            "echo ${{ job.inputs.none }} ${{ x",
        );
        check("plain", "plain");
    }
}
