//! A PostgreSQL connection as a session. A connection whose state is in doubt is thrown away, never reused.

use std::{future::Future, time::Duration};

use deadpool_postgres::{Client, Pool};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::types::ToSql;

use super::{
    codec::{Parameter, rows_of},
    failure::{connected, failure},
};
use crate::{Engine, Error, Row, Value, error::abbreviate, session::Session};

/// How much longer than the server this side waits for a statement: the server's own answer is the better one.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct PostgresSession {
    /// Gone once the connection is in doubt.
    client: Option<Client>,
    handle: Handle,
    deadline: Duration,
}

impl PostgresSession {
    /// Takes a connection and begins a transaction. Connections that died in the pool are passed over.
    pub(crate) fn begin(
        pool: &Pool,
        handle: Handle,
        deadline: Duration,
        begin: &str,
    ) -> Result<Self, Error> {
        let most = pool.status().max_size;
        let mut tried = 0;
        loop {
            let client = connected(handle.block_on(pool.get()))?;
            let mut session = Self {
                client: Some(client),
                handle: handle.clone(),
                deadline,
            };
            match session.control(begin) {
                Err(Error::Unavailable { .. }) if tried < most => tried += 1,
                begun => return begun.map(|()| session),
            }
        }
    }

    pub(crate) fn commit(mut self) -> Result<(), Error> {
        self.control("COMMIT")
    }

    pub(crate) fn rollback(mut self) {
        // When even this fails, the connection is thrown away and the server rolls back.
        if let Err(error) = self.control("ROLLBACK") {
            tracing::debug!(error = crate::error::chain(&error), "cannot roll back");
        }
    }

    fn control(&mut self, sql: &str) -> Result<(), Error> {
        let result = self.run(sql, true, async |client| client.batch_execute(sql).await);
        if result.is_err() {
            self.discard();
        }
        result
    }

    /// Runs one exchange with the server. Throws the connection away when it broke or kept silent.
    fn run<T>(
        &mut self,
        sql: &str,
        limited: bool,
        exchange: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let lost = || Error::Unavailable {
            what: format!("`{}`: no connection", abbreviate(sql)),
            source: None,
        };
        let client = self.client.as_ref().ok_or_else(lost)?;
        let deadline = if limited {
            self.deadline.saturating_add(GRACE)
        } else {
            Duration::MAX
        };
        let result = match self.handle.block_on(within(deadline, exchange(client))) {
            Ok(result) => result.map_err(|it| failure(sql, it)),
            Err(late) => Err(Error::unavailable(format!("`{}`", abbreviate(sql)), late)),
        };
        let closed = client.is_closed();
        if closed || matches!(result, Err(Error::Unavailable { .. })) {
            self.discard();
        }
        result
    }

    fn discard(&mut self) {
        if let Some(client) = self.client.take() {
            // Taken out of the pool, the connection closes when it is dropped.
            drop(Client::take(client));
        }
    }
}

async fn within<F: Future>(
    deadline: Duration,
    future: F,
) -> Result<F::Output, tokio::time::error::Elapsed> {
    timeout(deadline, future).await
}

impl Session for PostgresSession {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        let rows = self.run(sql, true, async |client| {
            let statement = client.prepare_cached(sql).await?;
            let params: Vec<Parameter<'_>> = params.iter().map(Parameter).collect();
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|it| it as _).collect();
            client.query(&statement, &params).await
        })?;
        rows_of(sql, &rows)
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Error> {
        self.run(sql, true, async |client| {
            let statement = client.prepare_cached(sql).await?;
            let params: Vec<Parameter<'_>> = params.iter().map(Parameter).collect();
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|it| it as _).collect();
            client.execute(&statement, &params).await
        })
    }

    fn batch(&mut self, sql: &str) -> Result<(), Error> {
        // Migrations and the wait for one's turn to run them take as long as they take.
        let unlimited = "SET LOCAL statement_timeout = 0";
        self.run(sql, false, async |client| {
            client.batch_execute(unlimited).await?;
            client.batch_execute(sql).await
        })
    }
}
