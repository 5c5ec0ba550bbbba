//! `.rave-ci.env`: the variables that the project has on the server, for this machine. It is read, never written.

use std::path::Path;

use anyhow::Context as _;
use rave_ci_lang::Variable;

/// Name of the file, at the top of the project.
pub(crate) const NAME: &str = ".rave-ci.env";

/// Reads the file. Values are kept to themselves, as those of the server's variables are.
pub(crate) fn read(directory: &Path) -> anyhow::Result<Vec<Variable>> {
    let path = directory.join(NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse(text: &str, path: &str) -> anyhow::Result<Vec<Variable>> {
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let pair = line.split_once('=').map(|it| (it.0.trim(), it.1.trim()));
        let (key, value) = pair
            .filter(|it| is_name(it.0))
            .with_context(|| format!("{path}:{number}: write NAME=VALUE, or # and a comment"))?;
        variables.push(Variable {
            key: key.to_owned(),
            value: unquoted(value).to_owned(),
            ..Variable::default()
        });
    }
    Ok(variables)
}

fn is_name(text: &str) -> bool {
    let mut letters = text.bytes();
    letters
        .next()
        .is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
        && letters.all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_variables() {
        let text = "# comment\n\nA=1\nexport B = 'two words'\nC=\"x=y\"\nD=\n";
        let variables = parse(text, "f").unwrap();
        let pairs: Vec<_> = variables
            .iter()
            .map(|it| (it.key.as_str(), it.value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "")]
        );
        assert!(variables.iter().all(|it| !it.public));
        for bad in ["A", "1A=x", "=x", "A-B=1"] {
            let error = parse(&format!("A=1\n{bad}\n"), "f")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("f:2: "), "{error}");
            assert!(!error.contains("=1"), "values stay out of messages");
        }
    }
}
