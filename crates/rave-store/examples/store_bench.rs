//! Measures small transactions per second on both engines: `cargo run --example store_bench -p rave-store`.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::{sync::Arc, time::Instant};

use rave_core::{secret::Secret, time::SystemClock};
use rave_store::{DatabaseUrl, Db, Durability, Error, Options, PartMigrations, params};
use rave_testkit::PostgresServer;
use tokio::task::JoinSet;

const PARTS: &[PartMigrations] = &[PartMigrations {
    part: "bench",
    steps: &[("0001", "CREATE TABLE bench (id {id}, name TEXT NOT NULL);")],
}];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let server = PostgresServer::start();
    for (label, durability) in [
        ("sqlite full", Durability::Full),
        ("sqlite normal", Durability::Normal),
    ] {
        let url = DatabaseUrl::Sqlite(directory.path().join(label));
        measure(
            label,
            &url,
            Options {
                durability,
                ..Options::default()
            },
        )
        .await?;
    }
    let url = DatabaseUrl::Postgres(Secret::new(server.create_database()));
    measure("postgres (fsync off)", &url, Options::default()).await?;
    Ok(())
}

async fn measure(label: &str, url: &DatabaseUrl, options: Options) -> Result<(), Error> {
    let db = Db::open(url, Arc::new(SystemClock), options).await?;
    db.migrate(PARTS).await?;
    for (tasks, count) in [(1, 500), (64, 10_000)] {
        let rate = rate(&db, tasks, count, insert).await?;
        println!("{label}: {rate:.0} inserts/s by {tasks} tasks");
    }
    for (tasks, count) in [(1, 2_000), (32, 20_000)] {
        let rate = rate(&db, tasks, count, select).await?;
        println!("{label}: {rate:.0} selects/s by {tasks} tasks");
    }
    db.close().await;
    Ok(())
}

async fn rate<F>(db: &Db, tasks: u32, count: u32, act: fn(Db) -> F) -> Result<f64, Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let begin = Instant::now();
    let mut set = JoinSet::new();
    for _ in 0..tasks {
        let db = db.clone();
        set.spawn(async move {
            for _ in 0..count / tasks {
                act(db.clone()).await?;
            }
            Ok(())
        });
    }
    set.join_all()
        .await
        .into_iter()
        .collect::<Result<(), Error>>()?;
    Ok(f64::from(count / tasks * tasks) / begin.elapsed().as_secs_f64())
}

async fn insert(db: Db) -> Result<(), Error> {
    let sql = "INSERT INTO bench (name) VALUES ($1)";
    db.write("insert", move |tx| {
        tx.execute(sql, params!["name"]).map(drop)
    })
    .await
}

async fn select(db: Db) -> Result<(), Error> {
    let sql = "SELECT name FROM bench WHERE id = $1";
    db.read("select", move |tx| {
        tx.query_opt(sql, params![7_i64]).map(drop)
    })
    .await
}
