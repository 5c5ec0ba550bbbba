//! The handle that parts hold: opens the database and runs their transactions.

use std::sync::Arc;

use rave_core::time::Clock;

use crate::{
    DatabaseUrl, Engine, Error, EventSignal, Options, Tx, postgres::PostgresStore,
    session::Session, signal::Bell, sqlite::SqliteStore,
};

/// The database. Clones share it.
#[derive(Clone)]
pub struct Db(Arc<Shared>);

struct Shared {
    store: Store,
    bell: Bell,
    /// Tells this process from others that use the same database.
    holder: String,
}

enum Store {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

/// What every transaction is given.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bell: Bell,
}

impl Db {
    /// Opens the database. A SQLite file is made when it does not exist; a PostgreSQL server has to answer.
    pub async fn open(
        url: &DatabaseUrl,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, Error> {
        let (bell, holder) = (
            Bell::new(),
            crate::event_log::uuid_at(clock.now()).to_string(),
        );
        let around = Surroundings {
            clock,
            bell: bell.clone(),
        };
        let store = match url {
            DatabaseUrl::Sqlite(path) => {
                Store::Sqlite(SqliteStore::open(path, &options, around).await?)
            }
            DatabaseUrl::Postgres(url) => {
                Store::Postgres(PostgresStore::open(url.expose(), &options, around).await?)
            }
        };

        Ok(Self(Arc::new(Shared {
            store,
            bell,
            holder,
        })))
    }

    /// Runs a transaction that may write. `Ok` commits, `Err` and a panic roll back.
    ///
    /// When the returned future is dropped, the transaction still runs to its end: it commits as a whole or not at
    /// all. The closure may use the thread but should not linger: in SQLite other writers wait for it.
    pub async fn write<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match &self.0.store {
            Store::Sqlite(it) => it.write(name, f).await,
            Store::Postgres(it) => it.write(name, f).await,
        }
    }

    /// Runs a transaction that only reads, all of it from one snapshot. A statement that writes fails.
    pub async fn read<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match &self.0.store {
            Store::Sqlite(it) => it.read(name, f).await,
            Store::Postgres(it) => it.read(name, f).await,
        }
    }

    /// Returns which engine serves the store.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match &self.0.store {
            Store::Sqlite(_) => Engine::Sqlite,
            Store::Postgres(_) => Engine::Postgres,
        }
    }

    /// Asks the database for an answer.
    pub async fn ping(&self) -> Result<(), Error> {
        self.read("ping", |tx| tx.query("SELECT 1 AS alive", &[]).map(drop))
            .await
    }

    /// Returns a signal that tells when events may have been appended, by this process or another.
    ///
    /// Of other processes only those on PostgreSQL are heard at once: keep a timer beside it.
    #[must_use]
    pub fn events(&self) -> EventSignal {
        self.0.bell.signal()
    }

    /// Returns a name for this process that no other user of the database has: the holder of its leases.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Finishes the transactions that were begun, refuses others with [`Error::Closed`], and lets go of the database.
    pub async fn close(&self) {
        match &self.0.store {
            Store::Sqlite(it) => it.close().await,
            Store::Postgres(it) => it.close().await,
        }
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Db").field(&self.engine()).finish()
    }
}

/// Runs a closure in an open transaction. Returns its result, and whether the event log grew if all is to be kept.
pub(crate) fn run_closure<T, E: From<Error>>(
    name: &'static str,
    session: &mut dyn Session,
    clock: &dyn Clock,
    f: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
) -> (Result<T, E>, bool) {
    let mut tx = Tx::new(session, clock.now());
    // A closure that panicked leaves nothing behind: its captures are gone and its changes are rolled back.
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&mut tx)));
    let result = match ran {
        Ok(Ok(_)) if tx.has_failed() => Err(E::from(Error::Aborted { transaction: name })),
        Ok(result) => result,
        Err(_) => Err(E::from(Error::Panicked { transaction: name })),
    };
    (result, tx.has_appended())
}
