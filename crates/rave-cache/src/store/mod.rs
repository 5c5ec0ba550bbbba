//! The tables of this part and the questions that are asked of them.

pub(crate) mod attachments;
pub(crate) mod caches;
pub(crate) mod extras;
pub(crate) mod paths;
pub(crate) mod pins;
pub(crate) mod statistics;
pub(crate) mod uploads;

use rave_store::{Error, PartMigrations, Value};
use serde::de::DeserializeOwned;

/// The tables of this part.
pub const MIGRATIONS: PartMigrations = PartMigrations {
    part: "cache",
    steps: &[("0001_cache", include_str!("../migrations/0001_cache.sql"))],
};

/// How many values one `IN` has at most.
pub(crate) const AT_ONCE: usize = 400;

/// Returns `$from, $from+1, …` for so many values.
fn places(from: usize, count: usize) -> String {
    let all: Vec<String> = (from..from + count).map(|it| format!("${it}")).collect();
    all.join(", ")
}

/// Returns parameters: some that stand before a list, and the list.
fn with_list<T: Clone + Into<Value>>(before: &[Value], list: &[T]) -> Vec<Value> {
    let list = list.iter().cloned().map(Into::into);
    before.iter().cloned().chain(list).collect()
}

fn json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Corrupt {
        what: format!("column `{column}` holds no such JSON"),
        source: Some(source.into()),
    })
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt {
        what: what.to_owned(),
        source: None,
    }
}
