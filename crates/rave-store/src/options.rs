//! Where the database is and how it is used.

use std::{path::PathBuf, time::Duration};

use rave_core::secret::Secret;

use crate::{Engine, Error};

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file, made when it does not exist.
    Sqlite(PathBuf),
    /// A `postgres://` address. It may hold a password.
    Postgres(Secret),
}

impl DatabaseUrl {
    /// Reads the address of an outside database: `postgres://…` or `postgresql://…`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(Error::Url {
                reason: "it does not begin with `postgres://`".into(),
            });
        }
        // The parser's message may quote a part of the address, and the address may hold a password.
        url.parse::<tokio_postgres::Config>()
            .map_err(|_| Error::Url {
                reason: "it is not a PostgreSQL connection address".into(),
            })?;
        Ok(Self::Postgres(Secret::new(url)))
    }

    /// Returns which engine serves this address.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }
}

/// What an acknowledged commit of SQLite survives. PostgreSQL decides this on its own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the machine's power: each group of commits waits for the disk.
    #[default]
    Full,
    /// The end of the process. The last commits may be lost with the power; the file stays sound.
    Normal,
}

/// How the database is used. The defaults suit a small machine.
#[derive(Clone, Debug)]
pub struct Options {
    pub durability: Durability,
    /// Threads that read from SQLite, each with a connection of its own.
    pub readers: usize,
    /// Most connections to PostgreSQL, one more listens for events.
    pub pool_size: usize,
    /// Page cache of each SQLite connection.
    pub cache_kib: u32,
    /// Longest wait for another process that writes to the same SQLite file.
    pub busy_timeout: Duration,
    /// Longest wait for a PostgreSQL connection, new or from the pool.
    pub connect_timeout: Duration,
    /// Longest run of one PostgreSQL statement.
    pub statement_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            readers: 4,
            pool_size: 16,
            cache_kib: 1024,
            busy_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_without_showing_passwords() {
        let url = DatabaseUrl::parse("postgres://rave:hunter2@db/rave").unwrap();
        assert_eq!(format!("{url:?}"), "Postgres([redacted])");
        assert_eq!(url.engine(), Engine::Postgres);
        assert!(DatabaseUrl::parse("postgresql://db/rave").is_ok());
        let error = DatabaseUrl::parse("mysql://db/rave")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the database url is invalid: it does not begin with `postgres://`"
        );
        let error = DatabaseUrl::parse("postgres://u:hunter2@db:hunter2/x")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the database url is invalid: it is not a PostgreSQL connection address"
        );
    }
}
