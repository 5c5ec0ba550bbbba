//! Sorts PostgreSQL's errors into the cases that callers tell apart.

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::{Constraint, Error, error::abbreviate};

/// Sorts the failure of a statement.
pub(crate) fn failure(sql: &str, source: tokio_postgres::Error) -> Error {
    let Some(state) = source.code().cloned() else {
        // Without an answer of the server: a broken connection, or a value that does not fit its parameter.
        return if source.is_closed() || is_io(&source) {
            Error::unavailable(format!("`{}`", abbreviate(sql)), source)
        } else {
            Error::query(sql, source)
        };
    };
    if let Some(constraint) = constraint(&state) {
        return Error::Constraint {
            constraint,
            statement: abbreviate(sql),
            source: source.into(),
        };
    }
    if is_passing(&state) {
        return Error::unavailable(format!("`{}`", abbreviate(sql)), source);
    }
    if matches!(state, SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED) {
        return Error::Corrupt {
            what: format!("found by `{}`", abbreviate(sql)),
            source: Some(source.into()),
        };
    }
    Error::query(sql, source)
}

/// Sorts the failure to get a connection: every kind may pass, a wrong password included.
pub(crate) fn connected<T>(got: Result<T, PoolError>) -> Result<T, Error> {
    got.map_err(|it| match it {
        PoolError::Closed => Error::Closed,
        other => Error::unavailable("connecting", other),
    })
}

fn constraint(state: &SqlState) -> Option<Constraint> {
    match *state {
        SqlState::UNIQUE_VIOLATION => Some(Constraint::Unique),
        SqlState::FOREIGN_KEY_VIOLATION => Some(Constraint::ForeignKey),
        SqlState::NOT_NULL_VIOLATION => Some(Constraint::NotNull),
        SqlState::CHECK_VIOLATION => Some(Constraint::Check),
        _ => None,
    }
}

/// Returns whether the state says that the same may succeed later.
fn is_passing(state: &SqlState) -> bool {
    // 08: connection, 53: resources, 57: the operator stepped in (shutdown, timeout), 40: lost against another.
    ["08", "53", "57", "40"]
        .iter()
        .any(|class| state.code().starts_with(class))
        || *state == SqlState::IO_ERROR
        || *state == SqlState::LOCK_NOT_AVAILABLE
        || *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |it| it.source());
    causes.into_iter().any(|it| it.is::<std::io::Error>())
}
