//! What was acknowledged is there after the process was killed.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
};

use rave_core::{secret::Secret, time::SystemClock};
use rave_store::{DatabaseUrl, Db};
use tokio::task::JoinSet;

use crate::{
    Place, options,
    transactions::{insert, names},
};

/// Where the child finds its database; only the child has it.
const VARIABLE: &str = "RAVE_TEST_DATABASE";
const MARK: &str = "acknowledged ";
const ENOUGH: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_on_sqlite_loses_nothing() {
    killed("a_killed_process_on_sqlite_loses_nothing", Place::sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_on_postgres_loses_nothing() {
    killed(
        "a_killed_process_on_postgres_loses_nothing",
        Place::postgres,
    )
    .await;
}

/// The same test in two processes: the child writes until it is killed, the parent kills it and looks.
async fn killed(test: &str, place: fn() -> Place) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that is its own child has no other way to be told"
    )]
    if let Ok(url) = std::env::var(VARIABLE) {
        write_forever(&url).await;
        return;
    }
    let place = place();
    let db = place.open().await;
    let url = match &place.url {
        DatabaseUrl::Sqlite(path) => path.display().to_string(),
        DatabaseUrl::Postgres(url) => url.expose().to_owned(),
    };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&format!("durability::{test}"), "--exact", "--nocapture"])
        .env(VARIABLE, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let acknowledged = tokio::task::spawn_blocking(move || {
        let mut names = BTreeSet::new();
        for line in output.lines() {
            if let Some(name) = line.unwrap().strip_prefix(MARK) {
                names.insert(name.to_owned());
            }
            if names.len() == ENOUGH {
                // SIGKILL; lines that were written before it still arrive.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        names
    });
    let acknowledged = acknowledged.await.unwrap();
    assert!(
        acknowledged.len() >= ENOUGH,
        "the child wrote {}",
        acknowledged.len()
    );
    let stored: BTreeSet<String> = names(&db).await.into_iter().collect();
    assert!(
        acknowledged.is_subset(&stored),
        "lost: {:?}",
        acknowledged.difference(&stored)
    );
    insert(&db, "the database still takes writes")
        .await
        .unwrap();
}

async fn write_forever(url: &str) {
    let url = match url.strip_prefix("postgresql:") {
        Some(_) => DatabaseUrl::Postgres(Secret::new(url)),
        None => DatabaseUrl::Sqlite(url.into()),
    };
    let db = Db::open(&url, Arc::new(SystemClock), options())
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let db = db.clone();
        tasks.spawn(async move {
            for number in 0.. {
                let name = format!("{task}-{number}");
                insert(&db, name.clone()).await.unwrap();
                // One write per line: half a line is no acknowledgement.
                std::io::stdout()
                    .write_all(format!("\n{MARK}{name}\n").as_bytes())
                    .unwrap();
            }
        });
    }
    tasks.join_all().await;
}
