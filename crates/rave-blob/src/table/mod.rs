//! The tables: which objects there are, of which chunks, in which packs.

pub(crate) mod chunk;
pub(crate) mod object;
pub(crate) mod pack;

use rave_store::PartMigrations;

/// The tables of this part.
pub const MIGRATIONS: PartMigrations = PartMigrations {
    part: "blob",
    steps: &[("0001_blob", include_str!("../migrations/0001_blob.sql"))],
};

/// How many values one statement compares with.
pub(crate) const MANY: usize = 64;

/// Writes `$first, $first+1…` for [`MANY`] values, so that every question of its kind is one statement to the engine.
fn places(first: usize) -> String {
    let places: Vec<String> = (first..first + MANY).map(|it| format!("${it}")).collect();
    places.join(", ")
}

/// Fills a list of values up to [`MANY`] by repeating the last one.
fn padded<T: Clone>(values: &[T]) -> impl Iterator<Item = T> + '_ {
    let last = values.last().cloned();
    values
        .iter()
        .cloned()
        .chain(std::iter::from_fn(move || last.clone()))
        .take(if values.is_empty() { 0 } else { MANY })
}

/// Rows of a table in sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) count: u64,
    pub(crate) damaged: u64,
    pub(crate) size_bytes: u64,
    pub(crate) stored_bytes: u64,
}

impl Totals {
    fn of(row: &rave_store::Row) -> Result<Self, rave_store::Error> {
        Ok(Self {
            count: size(row, "count")?,
            damaged: size(row, "damaged")?,
            size_bytes: size(row, "size_bytes")?,
            stored_bytes: size(row, "stored_bytes")?,
        })
    }
}

/// A size as the database has it.
fn int(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A size out of the database.
fn size(row: &rave_store::Row, column: &str) -> Result<u64, rave_store::Error> {
    Ok(u64::try_from(row.int(column)?).unwrap_or(0))
}
