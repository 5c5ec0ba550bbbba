//! The store on both engines: the same bodies, a real file and a real server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod consumers;
mod durability;
mod events;
mod leases;
mod migrations;
mod postgres;
mod sqlite;
mod statements;
mod transactions;
mod workers;

use std::{future::Future, sync::Arc, time::Duration};

use rave_core::{
    secret::Secret,
    time::{Clock, ManualClock, Timestamp},
};
use rave_store::{DatabaseUrl, Db, Options, PartMigrations};
use rave_testkit::PostgresServer;

/// Declares that each test runs on both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::Place::sqlite()).await; })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::Place::postgres()).await; })+
        }
    };
}

/// The table that the tests play with.
pub(crate) const PARTS: &[PartMigrations] = &[PartMigrations {
    part: "toy",
    steps: &[(
        "0001_toy",
        "CREATE TABLE toy_parent (id BIGINT NOT NULL PRIMARY KEY);
         CREATE TABLE toy (
            id {id}, name TEXT NOT NULL UNIQUE, version BIGINT NOT NULL DEFAULT 0 CHECK (version >= 0),
            parent_id BIGINT REFERENCES toy_parent (id), ratio DOUBLE PRECISION, body {blob}, small INTEGER);",
    )],
}];

/// A database of one test's own.
pub(crate) struct Place {
    pub(crate) url: DatabaseUrl,
    pub(crate) clock: Arc<ManualClock>,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::new(
            DatabaseUrl::Sqlite(directory.path().join("rave.db")),
            Some(directory),
        )
    }

    pub(crate) fn postgres() -> Self {
        Self::at(PostgresServer::shared())
    }

    pub(crate) fn at(server: &PostgresServer) -> Self {
        Self::new(
            DatabaseUrl::Postgres(Secret::new(server.create_database())),
            None,
        )
    }

    fn new(url: DatabaseUrl, directory: Option<tempfile::TempDir>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(1_767_323_045_678)));
        Self {
            url,
            clock,
            _directory: directory,
        }
    }

    /// Opens the database as one more process would.
    pub(crate) async fn open(&self) -> Db {
        self.open_with(options()).await
    }

    pub(crate) async fn open_with(&self, options: Options) -> Db {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let db = Db::open(&self.url, clock, options).await.unwrap();
        db.migrate(PARTS).await.unwrap();
        db
    }
}

/// Patient, because machines that run tests are busy.
pub(crate) fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(30),
        pool_size: 8,
        ..Options::default()
    }
}

/// Fails a test that would hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("this happens soon")
}

/// Asks until the answer is yes, with a deadline.
pub(crate) async fn until(mut ask: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    soon(async {
        while !ask().await {
            ticks.tick().await;
        }
    })
    .await;
}
