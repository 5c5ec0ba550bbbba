//! What can go wrong between a part and its database, in the cases that a caller treats differently.

/// The cause of an error, whatever it is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the store.
///
/// Errors name the transaction or the statement and never carry parameter values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached or is overloaded, and may be back soon: answer 503, try again later.
    ///
    /// When the connection broke during the commit, the outcome is unknown: the transaction may have happened.
    #[error("the database is unavailable: {what}")]
    Unavailable {
        /// What was being done.
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// A statement would have broken a constraint of the schema.
    #[error("a {constraint} constraint refuses `{statement}`")]
    Constraint {
        constraint: Constraint,
        /// The beginning of the SQL text.
        statement: String,
        #[source]
        source: BoxError,
    },
    /// A statement is wrong, or its parameters do not fit.
    #[error("statement `{statement}` failed")]
    Query {
        /// The beginning of the SQL text.
        statement: String,
        #[source]
        source: BoxError,
    },
    /// [`query_one`](crate::Tx::query_one) found no row.
    #[error("no row for `{statement}`")]
    NoRow { statement: String },
    /// A row lacks the column, or the column holds something else than was asked for.
    #[error("column `{column}` is not {expected}")]
    Column {
        column: String,
        expected: &'static str,
    },
    /// The transaction's closure returned `Ok` although one of its statements had failed. Nothing was stored.
    #[error("transaction `{transaction}` went on after a failed statement and was rolled back")]
    Aborted { transaction: &'static str },
    /// The transaction's closure panicked. Nothing was stored.
    #[error("transaction `{transaction}` panicked and was rolled back")]
    Panicked { transaction: &'static str },
    /// The database holds something that this program never writes.
    #[error("the database is damaged: {what}")]
    Corrupt {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// The database has migrations that this program does not know: it was used by a newer one.
    #[error("the database is newer than this program: it has migration `{name}` of `{part}`")]
    NewerDatabase { part: String, name: String },
    /// A migration failed. Nothing of this run was kept.
    #[error("migration `{name}` of `{part}` failed")]
    Migration {
        part: &'static str,
        name: &'static str,
        #[source]
        source: Box<Error>,
    },
    /// The address of the database is not one.
    #[error("the database url is invalid: {reason}")]
    Url { reason: String },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The kinds of constraints that a statement can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    Unique,
    ForeignKey,
    NotNull,
    Check,
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unique => "unique",
            Self::ForeignKey => "foreign key",
            Self::NotNull => "not null",
            Self::Check => "check",
        })
    }
}

impl Error {
    /// Returns whether a row with the same key exists already.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        matches!(
            self,
            Self::Constraint {
                constraint: Constraint::Unique,
                ..
            }
        )
    }

    /// Returns whether trying again later may succeed.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Returns whether the disk on which SQLite's file is has no space left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Unavailable {
            source: Some(source),
            ..
        } = self
        else {
            return false;
        };
        source
            .downcast_ref::<rusqlite::Error>()
            .and_then(rusqlite::Error::sqlite_error_code)
            == Some(rusqlite::ErrorCode::DiskFull)
    }

    pub(crate) fn unavailable(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Unavailable {
            what: what.into(),
            source: Some(source.into()),
        }
    }

    pub(crate) fn query(sql: &str, source: impl Into<BoxError>) -> Self {
        Self::Query {
            statement: abbreviate(sql),
            source: source.into(),
        }
    }
}

/// Returns an error's message with those of its causes, for an error that several callers get.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes =
        std::iter::successors(error.source(), |it| it.source()).map(|it| format!(": {it}"));
    std::iter::once(error.to_string()).chain(causes).collect()
}

/// Returns the beginning of an SQL text on one line: enough to find it in the source.
pub(crate) fn abbreviate(sql: &str) -> String {
    const LONGEST: usize = 80;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_named_on_one_short_line() {
        assert_eq!(abbreviate("SELECT a\n    FROM b"), "SELECT a FROM b");
        let long = abbreviate(&"é".repeat(200));
        assert_eq!(long, format!("{}…", "é".repeat(80)));
    }
}
