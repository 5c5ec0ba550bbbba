//! Takes keys out of a TOML tree with their lines, so that what nobody takes can be named.

use std::collections::BTreeMap;
use std::time::Duration;

use rave_core::time::Timestamp;
use toml::de::{DeTable, DeValue};

/// The lines of a file, and what there is to say about them.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    name: String,
    text: &'a str,
    problems: Vec<(usize, String)>,
    notices: Vec<(usize, String)>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(name: &str, text: &'a str) -> Self {
        Self {
            name: name.to_owned(),
            text,
            problems: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Reads the file. `None` when it is no TOML, which is noted.
    pub(super) fn parse(&mut self) -> Option<Table<'a>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(Table::of(String::new(), 0, table.into_inner())),
            Err(error) => {
                let offset = error.span().map_or(0, |it| it.start);
                self.complain(offset, error.message().to_owned());
                None
            }
        }
    }

    /// Notes a mistake.
    pub(super) fn complain(&mut self, offset: usize, what: String) {
        self.problems.push((offset, what));
    }

    /// Notes what is not carried out.
    pub(super) fn note(&mut self, offset: usize, what: String) {
        self.notices.push((offset, what));
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    pub(super) fn problems(&self) -> String {
        self.listed(&self.problems).join("\n  ")
    }

    pub(super) fn notices(&self) -> Vec<String> {
        self.listed(&self.notices)
    }

    fn listed(&self, what: &[(usize, String)]) -> Vec<String> {
        let mut sorted: Vec<&(usize, String)> = what.iter().collect();
        sorted.sort_by_key(|it| it.0);
        let line = |offset: usize| {
            let before = self.text.get(..offset).unwrap_or(self.text);
            before.matches('\n').count() + 1
        };
        let shown = |it: &&(usize, String)| format!("{}:{}: {}", self.name, line(it.0), it.1);
        sorted.iter().map(shown).collect()
    }
}

/// What is left of a table.
#[derive(Debug)]
pub(super) struct Table<'a> {
    /// What its keys begin with in messages.
    prefix: String,
    at: usize,
    values: BTreeMap<String, (usize, DeValue<'a>)>,
}

impl<'a> Table<'a> {
    fn of(prefix: String, at: usize, table: DeTable<'a>) -> Self {
        let values = table.into_iter().map(|(key, value)| {
            let at = key.span().start;
            (key.into_inner().into_owned(), (at, value.into_inner()))
        });
        Self {
            prefix,
            at,
            values: values.collect(),
        }
    }

    /// Returns where a key stands, or the table.
    pub(super) fn offset(&self, key: &str) -> usize {
        self.values.get(key).map_or(self.at, |it| it.0)
    }

    fn wrong<T>(&self, lines: &mut Lines<'_>, at: usize, key: &str, what: &str) -> Option<T> {
        lines.complain(at, format!("{}{key} must be {what}", self.prefix));
        None
    }

    pub(super) fn text(&mut self, lines: &mut Lines<'_>, key: &str) -> Option<String> {
        match self.values.remove(key)? {
            (_, DeValue::String(text)) => Some(text.into_owned()),
            (at, _) => self.wrong(lines, at, key, "a text"),
        }
    }

    pub(super) fn need_text(&mut self, lines: &mut Lines<'_>, key: &str) -> Option<String> {
        if !self.values.contains_key(key) {
            lines.complain(self.at, format!("{}{key} is missing", self.prefix));
        }
        self.text(lines, key)
    }

    /// Takes a text if it is this one.
    pub(super) fn text_is(&mut self, lines: &mut Lines<'_>, key: &str, wanted: &str) -> bool {
        let is = matches!(self.values.get(key), Some((_, DeValue::String(it))) if it == wanted);
        is && self.text(lines, key).is_some()
    }

    pub(super) fn count(&mut self, lines: &mut Lines<'_>, key: &str) -> Option<usize> {
        match self.values.remove(key)? {
            (at, DeValue::Integer(number)) => match number.to_string().parse() {
                Ok(number) => Some(number),
                Err(_) => self.wrong(lines, at, key, "a whole number, at least 0"),
            },
            (at, _) => self.wrong(lines, at, key, "a whole number, at least 0"),
        }
    }

    /// Reads seconds, or a text such as `1h0m0s`.
    pub(super) fn duration(&mut self, lines: &mut Lines<'_>, key: &str) -> Option<Duration> {
        match self.values.remove(key)? {
            (_, DeValue::String(text)) if go_duration(&text).is_some() => go_duration(&text),
            (at, _) => self.wrong(lines, at, key, "a time such as \"1h30m\""),
        }
    }

    /// Reads a time. The stock runner's year 1 stands for none.
    pub(super) fn time(&mut self, lines: &mut Lines<'_>, key: &str) -> Option<Timestamp> {
        let (at, value) = self.values.remove(key)?;
        let text = match value {
            DeValue::Datetime(time) => time.to_string(),
            DeValue::String(text) => text.into_owned(),
            _ => return self.wrong(lines, at, key, "a time"),
        };
        match Timestamp::parse_rfc3339(&text) {
            Some(time) if time.0 > 0 => Some(time),
            Some(_) => None,
            None => self.wrong(lines, at, key, "a time such as 2026-01-02T03:04:05Z"),
        }
    }

    pub(super) fn list(&mut self, lines: &mut Lines<'_>, key: &str) -> Vec<String> {
        let Some((at, value)) = self.values.remove(key) else {
            return Vec::new();
        };
        let text = |it: &toml::Spanned<DeValue<'_>>| it.get_ref().as_str().map(str::to_owned);
        let list = value.as_array().map(|it| it.iter().map(text).collect());
        match list {
            Some(Some(list)) => list,
            _ => self
                .wrong(lines, at, key, "a list of texts")
                .unwrap_or_default(),
        }
    }

    /// Reads a text or a list of texts.
    pub(super) fn texts(&mut self, lines: &mut Lines<'_>, key: &str) -> Vec<String> {
        match self.values.get(key) {
            Some((_, DeValue::String(_))) => self.text(lines, key).into_iter().collect(),
            _ => self.list(lines, key),
        }
    }

    pub(super) fn flag(&mut self, lines: &mut Lines<'_>, key: &str) -> Option<bool> {
        match self.values.remove(key)? {
            (_, DeValue::Boolean(flag)) => Some(flag),
            (at, _) => self.wrong(lines, at, key, "true or false"),
        }
    }

    /// Takes the table or the tables of a name.
    pub(super) fn tables(&mut self, lines: &mut Lines<'_>, key: &str) -> Vec<Table<'a>> {
        let Some((at, value)) = self.values.remove(key) else {
            return Vec::new();
        };
        let prefix = format!("{}{key}.", self.prefix);
        match value {
            DeValue::Table(table) => vec![Table::of(prefix, at, table)],
            DeValue::Array(array) => {
                let mut tables = Vec::new();
                for item in array {
                    let at = item.span().start;
                    match item.into_inner() {
                        DeValue::Table(table) => tables.push(Table::of(prefix.clone(), at, table)),
                        _ => drop(self.wrong::<()>(lines, at, key, "a table")),
                    }
                }
                tables
            }
            _ => {
                self.wrong::<()>(lines, at, key, "a table");
                Vec::new()
            }
        }
    }

    /// Passes over keys that say nothing.
    pub(super) fn skip(&mut self, keys: &[&str]) {
        self.values.retain(|key, _| !keys.contains(&key.as_str()));
    }

    /// Passes over tables without keys.
    pub(super) fn skip_empty(&mut self, keys: &[&str]) {
        let empty = |value: &DeValue<'_>| value.as_table().is_some_and(|it| it.is_empty());
        self.values
            .retain(|key, (_, value)| !(keys.contains(&key.as_str()) && empty(value)));
    }

    /// Passes over a key that has this value, such as the one that it has when it is absent. Returns whether it has.
    pub(super) fn skip_if(&mut self, key: &str, default: &str) -> bool {
        let is = self.values.get(key).is_some_and(|(_, value)| match value {
            DeValue::String(text) => text == default,
            DeValue::Integer(number) => number.to_string() == default,
            DeValue::Boolean(flag) => flag.to_string() == default,
            DeValue::Array(list) => list.is_empty() && default == "[]",
            _ => false,
        });
        is && self.values.remove(key).is_some()
    }

    /// Notes everything that nobody took.
    pub(super) fn rest(self, lines: &mut Lines<'_>, why: impl Fn(&str) -> &'static str) {
        for (key, (at, _)) in &self.values {
            let reason = why(key);
            lines.note(*at, format!("{}{key} is left out: {reason}", self.prefix));
        }
    }
}

/// Reads a duration as Go writes it.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|it: char| !(it.is_ascii_digit() || it == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        let tail = &rest[end..];
        let unit = tail
            .find(|it: char| it.is_ascii_digit() || it == '.')
            .unwrap_or(tail.len());
        total += number
            * match &tail[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &tail[unit..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, secs) in [
            ("1h0m0s", Some(3600)),
            ("90s", Some(90)),
            ("1.5m", Some(90)),
            ("5", None),
            ("x", None),
        ] {
            assert_eq!(go_duration(text).map(|it| it.as_secs()), secs, "{text}");
        }
    }
}
