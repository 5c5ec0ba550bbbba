//! A SQLite connection as a session: settings, parameters by number, errors by kind.

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, ffi, types::ValueRef};

use crate::{
    Constraint, Durability, Engine, Error, Options, Row, Value, error::abbreviate, session::Session,
};

/// Prepared statements that each connection keeps.
const STATEMENTS: usize = 128;

pub(crate) fn open_writer(path: &Path, options: &Options) -> Result<Connection, Error> {
    make_private(path)?;
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options)?;
    let synchronous = match options.durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;
         PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 16777216;"
    );
    connection
        .execute_batch(&settings)
        .map_err(|it| opening(path, it))?;
    Ok(connection)
}

pub(crate) fn open_reader(path: &Path, options: &Options) -> Result<Connection, Error> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options)?;
    connection
        .execute_batch("PRAGMA query_only = ON;")
        .map_err(|it| opening(path, it))?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags, options: &Options) -> Result<Connection, Error> {
    // Each connection stays with its thread, so SQLite's own mutexes are not needed.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|it| opening(path, it))?;
    connection
        .busy_timeout(options.busy_timeout)
        .map_err(|it| opening(path, it))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let cache = format!(
        "PRAGMA cache_size = -{}; PRAGMA temp_store = MEMORY;",
        options.cache_kib
    );
    connection
        .execute_batch(&cache)
        .map_err(|it| opening(path, it))?;
    Ok(connection)
}

/// Makes the file, readable by its owner only, before SQLite would make it readable by all.
fn make_private(path: &Path) -> Result<(), Error> {
    let mut file = std::fs::OpenOptions::new();
    file.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(path)
        .map(drop)
        .map_err(|it| Error::unavailable(format!("opening {}", path.display()), it))
}

fn opening(path: &Path, source: rusqlite::Error) -> Error {
    let what = format!("opening {}", path.display());
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Error::Corrupt {
            what: path.display().to_string(),
            source: Some(source.into()),
        },
        _ => Error::unavailable(what, source),
    }
}

impl Session for &Connection {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        let mut statement = prepare(self, sql, params)?;
        let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut result = Vec::new();
        while let Some(row) = rows.next().map_err(|it| failure(sql, it))? {
            let values = (0..columns.len()).map(|index| {
                row.get_ref(index)
                    .map_err(|it| failure(sql, it))
                    .and_then(|it| value_of(sql, it))
            });
            result.push(Row::new(columns.clone(), values.collect::<Result<_, _>>()?));
        }
        Ok(result)
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Error> {
        let changed = prepare(self, sql, params)?
            .raw_execute()
            .map_err(|it| failure(sql, it))?;
        Ok(changed as u64)
    }

    fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.execute_batch(sql).map_err(|it| failure(sql, it))
    }
}

/// Prepares a statement and binds its parameters.
///
/// SQLite takes `$2` for a name and numbers names by their first appearance; the digits say which value is meant.
fn prepare<'a>(
    connection: &'a Connection,
    sql: &str,
    params: &[Value],
) -> Result<rusqlite::CachedStatement<'a>, Error> {
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|it| failure(sql, it))?;
    let mut highest = 0;
    for place in 1..=statement.parameter_count() {
        let number = parameter_number(&statement, place);
        let value = number.and_then(|it| params.get(it.checked_sub(1)?));
        let (Some(number), Some(value)) = (number, value) else {
            let name = statement.parameter_name(place).unwrap_or("?");
            return Err(Error::query(
                sql,
                format!("parameter {name} has no value among {}", params.len()),
            ));
        };
        highest = highest.max(number);
        bind(&mut statement, place, value).map_err(|it| failure(sql, it))?;
    }
    if highest != params.len() {
        return Err(Error::query(
            sql,
            format!("{} values for {highest} parameters", params.len()),
        ));
    }
    Ok(statement)
}

fn parameter_number(statement: &Statement<'_>, place: usize) -> Option<usize> {
    statement
        .parameter_name(place)?
        .strip_prefix('$')?
        .parse()
        .ok()
}

fn bind(statement: &mut Statement<'_>, place: usize, value: &Value) -> rusqlite::Result<()> {
    match value {
        Value::Null => statement.raw_bind_parameter(place, rusqlite::types::Null),
        Value::Int(it) => statement.raw_bind_parameter(place, it),
        Value::Float(it) => statement.raw_bind_parameter(place, it),
        Value::Text(it) => statement.raw_bind_parameter(place, it),
        Value::Blob(it) => statement.raw_bind_parameter(place, it),
    }
}

fn value_of(sql: &str, value: ValueRef<'_>) -> Result<Value, Error> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(it) => Value::Int(it),
        ValueRef::Real(it) => Value::Float(it),
        ValueRef::Text(it) => Value::Text(
            std::str::from_utf8(it)
                .map_err(|source| Error::Corrupt {
                    what: format!("text of `{}`", abbreviate(sql)),
                    source: Some(source.into()),
                })?
                .to_owned(),
        ),
        ValueRef::Blob(it) => Value::Blob(it.to_vec()),
    })
}

/// Sorts an error of SQLite into the cases that callers tell apart.
pub(crate) fn failure(sql: &str, source: rusqlite::Error) -> Error {
    let Some(code) = source.sqlite_error().copied() else {
        return Error::query(sql, source);
    };
    match code.code {
        ErrorCode::ConstraintViolation => match constraint(code.extended_code) {
            Some(constraint) => Error::Constraint {
                constraint,
                statement: abbreviate(sql),
                source: source.into(),
            },
            None => Error::query(sql, source),
        },
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::DiskFull
        | ErrorCode::OutOfMemory
        | ErrorCode::CannotOpen
        | ErrorCode::SystemIoFailure => {
            Error::unavailable(format!("`{}`", abbreviate(sql)), source)
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Error::Corrupt {
            what: format!("found by `{}`", abbreviate(sql)),
            source: Some(source.into()),
        },
        _ => Error::query(sql, source),
    }
}

fn constraint(extended_code: i32) -> Option<Constraint> {
    match extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => Some(Constraint::Unique),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Some(Constraint::ForeignKey),
        ffi::SQLITE_CONSTRAINT_NOTNULL => Some(Constraint::NotNull),
        ffi::SQLITE_CONSTRAINT_CHECK => Some(Constraint::Check),
        _ => None,
    }
}
