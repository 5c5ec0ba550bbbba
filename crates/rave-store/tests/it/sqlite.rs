//! What only SQLite does: a file, other processes' locks, a full disk.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use rave_store::{DatabaseUrl, Db, Durability, Error, Options, params};
use tokio::task::JoinSet;

use crate::{
    Place, options, soon,
    transactions::{insert, names},
};

fn file(place: &Place) -> &Path {
    match &place.url {
        DatabaseUrl::Sqlite(path) => path,
        DatabaseUrl::Postgres(_) => panic!("not a file"),
    }
}

#[tokio::test]
async fn the_file_is_private() {
    let place = Place::sqlite();
    let db = place.open().await;
    insert(&db, "a").await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", file(&place).display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let place = Place::sqlite();
    std::fs::write(
        file(&place),
        "not a database, but long enough to look at".repeat(100),
    )
    .unwrap();
    let error = Db::open(&place.url, place.clock.clone(), options())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_directory_is_unavailable() {
    let place = Place::sqlite();
    let url = DatabaseUrl::Sqlite(file(&place).with_file_name("missing").join("rave.db"));
    let error = Db::open(&url, place.clock.clone(), options())
        .await
        .unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(error.to_string().contains("missing/rave.db"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_makes_a_group_unavailable_as_a_whole() {
    let place = Place::sqlite();
    let db = place
        .open_with(Options {
            busy_timeout: Duration::from_millis(50),
            ..options()
        })
        .await;
    let other = rusqlite::Connection::open(file(&place)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..10 {
        let db = db.clone();
        tasks.spawn(async move { insert(&db, number.to_string()).await });
    }
    for result in soon(tasks.join_all()).await {
        assert!(result.unwrap_err().is_unavailable());
    }
    other.execute_batch("ROLLBACK").unwrap();
    insert(&db, "after").await.unwrap();
    assert_eq!(names(&db).await, ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_only_what_was_not_acknowledged() {
    let place = Place::sqlite();
    let db = place
        .open_with(Options {
            durability: Durability::Normal,
            ..options()
        })
        .await;
    let limited: Result<i64, Error> = db
        .write("limit", |tx| {
            let pages = tx.query_one("PRAGMA page_count", &[])?.int("page_count")?;
            tx.query(&format!("PRAGMA max_page_count = {}", pages + 20), &[])?;
            Ok(pages)
        })
        .await;
    let pages = limited.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..40 {
        let db = db.clone();
        tasks.spawn(async move {
            let (name, body) = (format!("{number:02}"), vec![7_u8; 10_000]);
            let stored = name.clone();
            let sql = "INSERT INTO toy (name, body) VALUES ($1, $2)";
            (
                name,
                db.write("fill", move |tx| tx.execute(sql, params![stored, body]))
                    .await,
            )
        });
    }
    let mut kept = Vec::new();
    for (name, result) in soon(tasks.join_all()).await {
        match result {
            Ok(_) => kept.push(name),
            Err(Error::Unavailable { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(kept.len() < 40, "{pages} pages and 20 more hold no 400 kB");
    kept.sort();
    assert_eq!(names(&db).await, kept);
    let enlarged: Result<(), Error> = db
        .write("enlarge", |tx| {
            tx.query("PRAGMA max_page_count = 100000", &[]).map(drop)
        })
        .await;
    enlarged.unwrap();
    insert(&db, "room again").await.unwrap();
}
