//! What a transaction needs of an engine, and nothing else.

use crate::{Error, Row, Value};

/// Which database serves the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// An open transaction of an engine. Calls block the thread, which is never one that drives futures.
pub(crate) trait Session {
    fn engine(&self) -> Engine;
    /// Runs one statement and returns its rows.
    fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error>;
    /// Runs one statement and returns how many rows it changed.
    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Error>;
    /// Runs several statements without parameters and without a deadline: migrations.
    fn batch(&mut self, sql: &str) -> Result<(), Error>;
}
