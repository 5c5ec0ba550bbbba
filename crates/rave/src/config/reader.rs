//! Reads keys out of a TOML tree with their places, over a tree of defaults that says which keys exist.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;

type Key = (String, String);

/// A value, where it stands, and whether a default.
#[derive(Clone, Debug)]
struct Found {
    value: Value,
    place: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Value>),
    Other,
}

/// The keys, and what is wrong with them so far.
#[derive(Debug)]
pub(super) struct Reader {
    values: BTreeMap<Key, Found>,
    /// In the order of the file.
    problems: Vec<(usize, Problem)>,
    /// The offset of each value of the file, to report in its order.
    offsets: BTreeMap<Key, usize>,
}

impl Reader {
    /// Starts with the defaults, whose keys are all there are.
    pub(super) fn new(defaults: &str) -> Result<Self, String> {
        let mut reader = Self {
            values: BTreeMap::new(),
            problems: Vec::new(),
            offsets: BTreeMap::new(),
        };
        let table = DeTable::parse(defaults).map_err(|error| error.message().to_owned())?;
        reader.learn("", table.get_ref());
        Ok(reader)
    }

    /// Takes the keys of one section and of those in it, whose names are joined by dots.
    fn learn(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            if let Some(inner) = value.get_ref().as_table() {
                self.learn(&join(section, key.get_ref()), inner);
                continue;
            }
            let found = Found {
                value: convert(value.get_ref()),
                place: "defaults".into(),
            };
            self.values
                .insert((section.to_owned(), key.get_ref().to_string()), found);
        }
    }

    /// Puts a file's values over the defaults.
    pub(super) fn overlay(&mut self, name: &str, text: &str) {
        let place = |offset: usize| {
            let before = &text[..offset.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1;
            format!("{name}:{line}:{column}")
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let offset = error.span().map_or(0, |it| it.start);
                self.problem(offset, place(offset), error.message().to_owned());
                return;
            }
        };
        self.overlay_section("", table.get_ref(), &place);
    }

    fn overlay_section(
        &mut self,
        section: &str,
        table: &DeTable<'_>,
        place: &dyn Fn(usize) -> String,
    ) {
        let inside = |name: &str| {
            let front = format!("{name}.");
            move |known: &str| known == &front[..front.len() - 1] || known.starts_with(&front)
        };
        for (key, value) in table {
            let name = join(section, key.get_ref());
            let is_section = self
                .values
                .keys()
                .any(|(known, _)| inside(&name)(known.as_str()));
            match value.get_ref().as_table() {
                Some(inner) if is_section => self.overlay_section(&name, inner, place),
                None if is_section => {
                    let at = key.span().start;
                    let text = format!("{name} must be a section: [{name}]");
                    self.problem(at, place(at), text);
                }
                None if !section.is_empty() => self.overlay_one(section, key, value, place),
                _ => {
                    let at = key.span().start;
                    let known = self.values.keys().map(|(section, _)| section.as_str());
                    let text = format!("unknown section {name}{}", did_you_mean(&name, known, ""));
                    self.problem(at, place(at), text);
                }
            }
        }
    }

    fn overlay_one(
        &mut self,
        section: &str,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        place: &dyn Fn(usize) -> String,
    ) {
        let name = key.get_ref().as_ref();
        let id = (section.to_owned(), name.to_owned());
        if !self.values.contains_key(&id) {
            let known = self
                .values
                .keys()
                .filter(|(it, _)| it == section)
                .map(|(_, key)| key.as_str());
            let text = format!(
                "unknown key {section}.{name}{}",
                did_you_mean(name, known, &format!("{section}."))
            );
            self.problem(key.span().start, place(key.span().start), text);
            return;
        }
        let at = value.span().start;
        self.offsets.insert(id.clone(), at);
        self.values.insert(
            id,
            Found {
                value: convert(value.get_ref()),
                place: place(at),
            },
        );
    }

    /// Puts a command-line option over everything.
    pub(super) fn set(&mut self, section: &str, key: &str, option: &str, text: &str) {
        self.values.insert(
            (section.into(), key.into()),
            Found {
                value: Value::Text(text.into()),
                place: option.into(),
            },
        );
    }

    pub(super) fn text(&mut self, section: &str, key: &str) -> Option<String> {
        match self.value(section, key)? {
            Value::Text(text) => Some(text),
            _ => self.wrong(section, key, "must be a string"),
        }
    }

    /// Reads a text that has to mean something.
    pub(super) fn parse<T>(
        &mut self,
        section: &str,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(section, key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => self.wrong(section, key, &why),
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &str,
        key: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let found = match self.value(section, key)? {
            Value::Text(text) => choices
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, value)| *value),
            _ => None,
        };
        let names: Vec<String> = choices
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        found.or_else(|| {
            self.wrong(
                section,
                key,
                &format!("must be one of {}", names.join(", ")),
            )
        })
    }

    /// Reads a whole number that is at least `least`; after a mistake the number does not matter.
    pub(super) fn count(&mut self, section: &str, key: &str, least: u64) -> u64 {
        let number = match self.value(section, key) {
            Some(Value::Integer(number)) => u64::try_from(number).ok().filter(|it| *it >= least),
            _ => None,
        };
        number
            .or_else(|| {
                self.wrong(
                    section,
                    key,
                    &format!("must be a whole number, at least {least}"),
                )
            })
            .unwrap_or(least)
    }

    pub(super) fn number(&mut self, section: &str, key: &str) -> Option<f64> {
        match self.value(section, key)? {
            Value::Float(number) if number.is_finite() && number >= 0.0 => Some(number),
            #[expect(clippy::cast_precision_loss, reason = "settings are small numbers")]
            Value::Integer(number) if number >= 0 => Some(number as f64),
            _ => self.wrong(section, key, "must be a number, at least 0"),
        }
    }

    pub(super) fn flag(&mut self, section: &str, key: &str) -> Option<bool> {
        match self.value(section, key)? {
            Value::Flag(flag) => Some(flag),
            _ => self.wrong(section, key, "must be true or false"),
        }
    }

    pub(super) fn list(&mut self, section: &str, key: &str) -> Vec<String> {
        let text = |it: Value| match it {
            Value::Text(text) => Some(text),
            _ => None,
        };
        let list = match self.value(section, key) {
            Some(Value::List(items)) => items.into_iter().map(text).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        list.or_else(|| self.wrong(section, key, "must be a list of strings"))
            .unwrap_or_default()
    }

    /// Notes that a value, though of the right type, does not serve.
    pub(super) fn complain(&mut self, section: &str, key: &str, why: String) {
        self.wrong::<()>(section, key, &why);
    }

    /// Returns all problems in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|(offset, _)| *offset);
        self.problems
            .into_iter()
            .map(|(_, problem)| problem)
            .collect()
    }

    fn value(&self, section: &str, key: &str) -> Option<Value> {
        self.values
            .get(&(section.to_owned(), key.to_owned()))
            .map(|it| it.value.clone())
    }

    fn wrong<T>(&mut self, section: &str, key: &str, why: &str) -> Option<T> {
        let id = (section.to_owned(), key.to_owned());
        let place = self
            .values
            .get(&id)
            .map_or_else(|| "defaults".to_owned(), |it| it.place.clone());
        let offset = self.offsets.get(&id).copied().unwrap_or_default();
        self.problem(offset, place, format!("{section}.{key} {why}"));
        None
    }

    fn problem(&mut self, offset: usize, place: String, text: String) {
        self.problems.push((offset, Problem { place, text }));
    }
}

fn join(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        section => format!("{section}.{name}"),
    }
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other, Value::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Other, Value::Float),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|it| convert(it.get_ref())).collect())
        }
        DeValue::Datetime(_) | DeValue::Table(_) => Value::Other,
    }
}

fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>, prefix: &str) -> String {
    let nearest = known.map(|it| (distance(word, it), it)).min();
    match nearest {
        // Of a short word hardly anything is left when two letters are wrong.
        Some((distance, it)) if distance <= (word.len() / 3).min(2) => {
            format!("; did you mean {prefix}{it}?")
        }
        _ => String::new(),
    }
}

/// The edit distance of two words (Levenshtein).
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in two.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[two.len()]
}
