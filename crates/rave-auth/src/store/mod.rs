//! The tables of accounts: SQL in functions named for the question they answer.

pub(crate) mod claims;
pub(crate) mod members;
pub(crate) mod namespaces;
pub(crate) mod paths;
pub(crate) mod projects;
pub(crate) mod reach;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;

use rave_core::port::Slice;
use rave_store::{Error, PartMigrations, Value};

/// The tables of this part.
pub const MIGRATIONS: PartMigrations = PartMigrations {
    part: "auth",
    steps: &[(
        "0001_identity",
        include_str!("migrations/0001_identity.sql"),
    )],
};

/// Parameters of a statement whose text depends on what is asked.
#[derive(Default)]
pub(crate) struct Bind(pub(crate) Vec<Value>);

impl Bind {
    /// Adds a parameter and returns its place, such as `$3`.
    pub(crate) fn add(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    /// Adds the end of a statement that returns a part of a list.
    pub(crate) fn slice(&mut self, slice: Slice) -> String {
        let number = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
        let (limit, offset) = (
            self.add(number(slice.limit)),
            self.add(number(slice.offset)),
        );
        format!("LIMIT {limit} OFFSET {offset}")
    }
}

/// Returns a pattern for `LIKE … ESCAPE '\'` that finds the text anywhere, without regard to case.
pub(crate) fn anywhere(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// Says that a column holds something this program never writes.
pub(crate) fn corrupt(what: &str) -> Error {
    Error::Corrupt {
        what: what.to_owned(),
        source: None,
    }
}
