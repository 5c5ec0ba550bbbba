//! Migrations: once, in order, by one process, never backwards.

use std::error::Error as _;

use rave_store::{Db, Error, PartMigrations, params};
use tokio::task::JoinSet;

use crate::{PARTS, Place, on_both_engines, options, soon, transactions::insert};

on_both_engines!(
    migrating_again_changes_nothing,
    later_steps_are_added,
    processes_that_start_together_migrate_once,
    a_newer_database_is_refused,
    a_failed_step_leaves_nothing,
);

const ONE: (&str, &str) = ("0001_one", "CREATE TABLE more (id {id}, body {blob});");
const TWO: (&str, &str) = ("0002_two", "ALTER TABLE more ADD COLUMN extra TEXT;");
const OLD: &[PartMigrations] = &[PartMigrations {
    part: "more",
    steps: &[ONE],
}];
const NEW: &[PartMigrations] = &[PartMigrations {
    part: "more",
    steps: &[ONE, TWO],
}];
const BROKEN: &[PartMigrations] = &[PartMigrations {
    part: "more",
    steps: &[
        ONE,
        (
            "0002_two",
            "CREATE TABLE half (id {id}); CREATE TABEL other;",
        ),
    ],
}];

async fn steps(db: &Db) -> Vec<String> {
    let sql = "SELECT name FROM schema_migration WHERE part = 'more' ORDER BY name";
    db.read("steps", move |tx| {
        tx.query(sql, &[])?
            .iter()
            .map(|it| it.text("name"))
            .collect()
    })
    .await
    .map_err(|it: Error| it)
    .unwrap()
}

async fn migrating_again_changes_nothing(place: Place) {
    let db = place.open().await;
    insert(&db, "a").await.unwrap();
    db.migrate(PARTS).await.unwrap();
    assert!(
        insert(&db, "a").await.unwrap_err().is_unique(),
        "the data is still there"
    );
}

async fn later_steps_are_added(place: Place) {
    let db = place.open().await;
    db.migrate(OLD).await.unwrap();
    assert_eq!(steps(&db).await, ["0001_one"]);
    db.migrate(NEW).await.unwrap();
    assert_eq!(steps(&db).await, ["0001_one", "0002_two"]);
    let stored: Result<u64, Error> = db
        .write("use", |tx| {
            tx.execute("INSERT INTO more (extra) VALUES ($1)", params!["x"])
        })
        .await;
    assert_eq!(stored.unwrap(), 1);
}

async fn processes_that_start_together_migrate_once(place: Place) {
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (url, clock) = (place.url.clone(), place.clock.clone());
        tasks.spawn(async move {
            let db = Db::open(&url, clock, options()).await.unwrap();
            db.migrate(NEW).await
        });
    }
    for result in soon(tasks.join_all()).await {
        result.unwrap();
    }
    assert_eq!(steps(&place.open().await).await, ["0001_one", "0002_two"]);
}

async fn a_newer_database_is_refused(place: Place) {
    let db = place.open().await;
    db.migrate(NEW).await.unwrap();
    let error = db.migrate(OLD).await.unwrap_err();
    let expected = "the database is newer than this program: it has migration `0002_two` of `more`";
    assert_eq!(error.to_string(), expected);
}

async fn a_failed_step_leaves_nothing(place: Place) {
    let db = place.open().await;
    let error = db.migrate(BROKEN).await.unwrap_err();
    assert_eq!(error.to_string(), "migration `0002_two` of `more` failed");
    assert!(error.source().is_some());
    assert!(steps(&db).await.is_empty(), "one failure undoes the run");
    db.migrate(NEW).await.unwrap();
    assert_eq!(steps(&db).await, ["0001_one", "0002_two"]);
}
