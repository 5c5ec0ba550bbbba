//! PostgreSQL: a pool of connections, each transaction on a thread that may block.
//!
//! Portable SQL has three pitfalls here. `sum()` of integers is `NUMERIC`: write `CAST(sum(x) AS BIGINT)`. A parameter
//! without a context has no type: write `CAST($1 AS BIGINT)`. And a failed statement ends its transaction.

mod codec;
mod failure;
mod listen;
mod session;

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tokio_postgres::NoTls;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::session::PostgresSession;
use crate::{
    Error, Options, Tx,
    db::{Surroundings, run_closure},
};

/// How transactions begin: the second kind sees one snapshot throughout.
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(crate) struct PostgresStore {
    pool: Pool,
    /// One permit per connection: threads are taken only by those that can have one.
    turns: Arc<Semaphore>,
    around: Surroundings,
    options: Options,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl PostgresStore {
    pub(crate) async fn open(
        url: &str,
        options: &Options,
        around: Surroundings,
    ) -> Result<Self, Error> {
        let config = configure(url, options)?;
        let size = options.pool_size.max(1);
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(config.clone(), NoTls, recycling);
        let wait = Some(options.connect_timeout);
        let pool = Pool::builder(manager)
            .max_size(size)
            .timeouts(Timeouts {
                wait,
                create: wait,
                recycle: wait,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|it| Error::unavailable("making the pool", it))?;
        drop(failure::connected(pool.get().await)?);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(listen::listen(
            config,
            options.connect_timeout,
            around.bell.clone(),
            stop.clone(),
        ));
        tasks.close();
        let turns = Arc::new(Semaphore::new(size));
        Ok(Self {
            pool,
            turns,
            around,
            options: options.clone(),
            tasks,
            stop,
        })
    }

    pub(crate) async fn write<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.run(name, WRITE, f).await
    }

    pub(crate) async fn read<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.run(name, READ, f).await
    }

    async fn run<T, E, F>(&self, name: &'static str, begin: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let turn = timeout(
            self.options.connect_timeout,
            self.turns.clone().acquire_owned(),
        )
        .await;
        let turn = turn
            .map_err(|it| Error::unavailable("waiting for a connection", it))?
            .map_err(|_| Error::Closed)?;
        let (pool, clock, bell) = (
            self.pool.clone(),
            self.around.clock.clone(),
            self.around.bell.clone(),
        );
        let (handle, deadline) = (Handle::current(), self.options.statement_timeout);
        // The thread runs to its end even when the caller stops waiting, so a transaction is never left open.
        let work = move || {
            let _turn = turn;
            let mut session = PostgresSession::begin(&pool, handle, deadline, begin)?;
            let (result, appended) = run_closure(name, &mut session, &*clock, f);
            match result {
                Ok(value) => {
                    session.commit()?;
                    if appended {
                        bell.ring();
                    }
                    Ok(value)
                }
                Err(error) => {
                    session.rollback();
                    Err(error)
                }
            }
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|it| Error::unavailable("running the transaction", it))?
    }

    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.turns.close();
        self.tasks.wait().await;
        self.pool.close();
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Reads the address and adds the deadlines that keep a silent server from holding anyone up.
fn configure(url: &str, options: &Options) -> Result<tokio_postgres::Config, Error> {
    // The parser's message may quote a part of the address, and the address may hold a password.
    let invalid = |_| Error::Url {
        reason: "it is not a PostgreSQL connection address".into(),
    };
    let mut config: tokio_postgres::Config = url.parse().map_err(invalid)?;
    let millis = options.statement_timeout.as_millis();
    let limits =
        format!("-c statement_timeout={millis} -c idle_in_transaction_session_timeout=60000");
    let given = config
        .get_options()
        .map(|it| format!("{it} "))
        .unwrap_or_default();
    config
        .options(format!("{given}{limits}"))
        .application_name("rave")
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(options.statement_timeout);
    Ok(config)
}
