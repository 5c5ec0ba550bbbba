//! The variables of a job: their order, their expansion, and those that are files.

use std::collections::HashMap;

use crate::secrets::Resolved;
use crate::wire;

/// A variable after the order is settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Value {
    text: String,
    /// For a file variable, what the file holds; `text` is then its path.
    content: Option<String>,
    raw: bool,
}

/// The variables of a job. Later ones replace earlier ones.
#[derive(Clone, Default)]
pub(crate) struct Variables {
    order: Vec<String>,
    values: HashMap<String, Value>,
    masked: Vec<String>,
}

impl Variables {
    /// Sets a variable of the runner's own.
    pub(crate) fn set(&mut self, key: &str, text: impl Into<String>) {
        self.put(
            key,
            Value {
                text: text.into(),
                content: None,
                raw: true,
            },
        );
    }

    /// Sets the variables of the job. Files are to be written into `file_dir`, as the job sees it.
    pub(crate) fn extend_from_job(&mut self, variables: &[wire::Variable], file_dir: &str) {
        for variable in variables.iter().filter(|it| is_name(&it.key)) {
            if variable.masked {
                self.masked.push(variable.value.clone());
            }
            let raw = variable.raw || variable.file;
            let value = match variable.file {
                true => Value {
                    text: format!("{file_dir}/{}", variable.key),
                    content: Some(variable.value.clone()),
                    raw,
                },
                false => Value {
                    text: variable.value.clone(),
                    content: None,
                    raw,
                },
            };
            self.put(&variable.key, value);
        }
    }

    /// Sets a secret that was fetched, as a file in `file_dir` if it is to be one.
    pub(crate) fn set_secret(&mut self, secret: Resolved, file_dir: &str) {
        let Resolved { key, value, file } = secret;
        self.masked.push(value.clone());
        let value = match file {
            true => Value {
                text: format!("{file_dir}/{key}"),
                content: Some(value),
                raw: true,
            },
            false => Value {
                text: value,
                content: None,
                raw: true,
            },
        };
        self.put(&key, value);
    }

    /// Marks a value as secret that is no variable.
    pub(crate) fn mask(&mut self, value: &str) {
        self.masked.push(value.to_owned());
    }

    /// Sets a variable of the runner's own unless there is one of its name.
    pub(crate) fn set_default(&mut self, key: &str, text: impl Into<String>) {
        if !self.values.contains_key(key) {
            self.set(key, text);
        }
    }

    fn put(&mut self, key: &str, value: Value) {
        if self.values.insert(key.to_owned(), value).is_none() {
            self.order.push(key.to_owned());
        }
    }

    /// Expands references among the variables, once: what a reference brings in is not expanded again.
    pub(crate) fn expanded(self) -> Self {
        let expand = |value: &Value| match value.raw {
            true => value.clone(),
            false => Value {
                text: self.expand(&value.text),
                ..value.clone()
            },
        };
        let values = self
            .values
            .iter()
            .map(|(key, value)| (key.clone(), expand(value)))
            .collect();
        Self {
            order: self.order.clone(),
            masked: self.masked.clone(),
            values,
        }
    }

    /// Returns the value of a variable, empty when it is not set.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.values.get(key).map_or("", |it| it.text.as_str())
    }

    /// Says whether a variable is set to something that means yes.
    pub(crate) fn is_on(&self, key: &str) -> bool {
        matches!(
            self.get(key).trim().to_ascii_lowercase().as_str(),
            "1" | "true" | "yes" | "t"
        )
    }

    /// Lists all variables in order.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.order
            .iter()
            .filter_map(|key| Some((key.as_str(), self.values.get(key)?.text.as_str())))
    }

    /// Lists the files to write: name and content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.order
            .iter()
            .filter_map(|key| Some((key.as_str(), self.values.get(key)?.content.as_deref()?)))
    }

    /// Lists the values that must not appear in the log.
    pub(crate) fn masked(&self) -> impl Iterator<Item = &str> {
        self.masked.iter().map(String::as_str)
    }

    /// Replaces `$NAME` and `${NAME}`, by nothing where no such variable is set, and `$$` by `$`.
    pub(crate) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let (name, len) = reference(rest);
            match name {
                None => out.push('$'),
                Some("$") => out.push('$'),
                Some(name) => out.push_str(self.get(name)),
            }
            rest = &rest[len..];
        }
        out.push_str(rest);
        out
    }
}

/// Reads what follows a `$`: the name and how much of the text it takes.
fn reference(text: &str) -> (Option<&str>, usize) {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'{') => match text.find('}') {
            Some(end) => (Some(&text[1..end]), end + 1),
            // Broken syntax is taken away, as other runners do.
            None => (Some(""), 1),
        },
        Some(first) if b"*#$@!?-0123456789".contains(first) => (Some(&text[..1]), 1),
        _ => match text
            .find(|it: char| !it.is_ascii_alphanumeric() && it != '_')
            .unwrap_or(text.len())
        {
            0 => (None, 0),
            len => (Some(&text[..len]), len),
        },
    }
}

/// Says whether a shell can hold a variable of this name.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |it: char| it.is_ascii_alphanumeric() || it == '_';
    !text.is_empty()
        && text.chars().all(allowed)
        && !text.starts_with(|it: char| it.is_ascii_digit())
}

/// Reads a duration such as `90s`, `5m` or `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let mut secs = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|it: char| it.is_ascii_digit())
            .unwrap_or(rest.len());
        secs += number
            * match rest[..unit].trim() {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    std::time::Duration::try_from_secs_f64(secs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(key: &str, value: &str, raw: bool, file: bool) -> wire::Variable {
        wire::Variable {
            key: key.to_owned(),
            value: value.to_owned(),
            raw,
            file,
            ..wire::Variable::default()
        }
    }

    #[test]
    fn expansion_is_one_pass_and_spares_raw_and_file_variables() {
        let mut variables = Variables::default();
        variables.set("RUNNER", "$A");
        let job = [
            variable("A", "1", false, false),
            variable("B", "<$A ${C} $$A $D/$- 5$>", false, false),
            variable("C", "$A", true, false),
            variable("F", "content $A", false, true),
            variable("G", "$F", false, false),
            variable("A", "2", false, false),
            variable("bad-name", "x", false, false),
        ];
        variables.extend_from_job(&job, "/tmp/p.tmp");
        let variables = variables.expanded();
        let all: Vec<_> = variables.list().collect();
        let expected = [
            ("RUNNER", "$A"),
            ("A", "2"),
            ("B", "<2 $A $A / 5$>"),
            ("C", "$A"),
            ("F", "/tmp/p.tmp/F"),
            ("G", "/tmp/p.tmp/F"),
        ];
        assert_eq!(all, expected);
        assert_eq!(variables.files().collect::<Vec<_>>(), [("F", "content $A")]);
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("1h30m").map(|it| it.as_secs()), Some(5400));
        assert_eq!(
            (
                parse_duration("5"),
                parse_duration(""),
                parse_duration("5y")
            ),
            (None, None, None)
        );
    }
}
