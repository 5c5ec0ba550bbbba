//! The transaction that a part's SQL runs in.

use rave_core::time::Timestamp;

use crate::{Engine, Error, Row, Value, error::abbreviate, session::Session};

/// An open transaction.
///
/// It is synchronous on purpose: nothing that waits for the network or a child process fits inside. After a failed
/// statement the transaction is lost on both engines, and an `Ok` of its closure becomes [`Error::Aborted`]: where a
/// conflict is expected, write `ON CONFLICT`.
pub struct Tx<'a> {
    session: &'a mut dyn Session,
    now: Timestamp,
    failed: bool,
    appended: bool,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(session: &'a mut dyn Session, now: Timestamp) -> Self {
        Self {
            session,
            now,
            failed: false,
            appended: false,
        }
    }

    /// Runs one statement and returns its rows. Parameters are `$1`, `$2`…; each may occur several times.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        let result = self.session.query(sql, params);
        self.note(result)
    }

    /// Runs one statement and returns its first row, if it has one.
    pub fn query_opt(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// Runs one statement and returns its first row; fails with [`Error::NoRow`] without one.
    pub fn query_one(&mut self, sql: &str, params: &[Value]) -> Result<Row, Error> {
        self.query_opt(sql, params)?.ok_or_else(|| Error::NoRow {
            statement: abbreviate(sql),
        })
    }

    /// Runs one statement and returns how many rows it changed.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Error> {
        let result = self.session.execute(sql, params);
        self.note(result)
    }

    /// Returns the instant at which this transaction began.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns which engine this is, for the rare statement that has two texts.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.session.engine()
    }

    /// Runs several statements without parameters.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), Error> {
        let result = self.session.batch(sql);
        self.note(result)
    }

    pub(crate) fn mark_appended(&mut self) {
        self.appended = true;
    }

    /// Returns whether a statement failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Returns whether the event log grew.
    pub(crate) fn has_appended(&self) -> bool {
        self.appended
    }

    fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.failed |= result.is_err();
        result
    }
}
