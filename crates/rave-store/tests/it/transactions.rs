//! Transactions: all or nothing, alone or in a group.

use std::sync::mpsc::sync_channel;

use rave_store::{Db, Error, params};
use tokio::task::JoinSet;

use crate::{Place, on_both_engines, soon, until};

on_both_engines!(
    an_error_rolls_back,
    a_panic_rolls_back,
    a_failed_statement_cannot_be_ignored,
    queued_transactions_do_not_share_their_fate,
    an_acknowledged_write_is_visible,
    compare_and_set_has_one_winner,
    reading_cannot_write,
    reading_sees_one_snapshot,
    a_dropped_future_leaves_nothing_half_done,
    a_closed_store_says_so,
);

pub(crate) async fn insert(db: &Db, name: impl Into<String>) -> Result<u64, Error> {
    let name = name.into();
    db.write("insert", move |tx| {
        tx.execute("INSERT INTO toy (name) VALUES ($1)", params![name])
    })
    .await
}

pub(crate) async fn names(db: &Db) -> Vec<String> {
    db.read("names", |tx| {
        tx.query("SELECT name FROM toy ORDER BY name", &[])?
            .iter()
            .map(|it| it.text("name"))
            .collect()
    })
    .await
    .map_err(|it: Error| it)
    .unwrap()
}

#[derive(Debug)]
enum Refusal {
    Deliberate,
    Store,
}

impl From<Error> for Refusal {
    fn from(_: Error) -> Self {
        Self::Store
    }
}

async fn insert_then<T: Send + 'static>(
    db: &Db,
    name: &'static str,
    then: fn() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    db.write("insert_then", move |tx| {
        tx.execute("INSERT INTO toy (name) VALUES ($1)", params![name])?;
        then()
    })
    .await
}

async fn an_error_rolls_back(place: Place) {
    let db = place.open().await;
    let result = insert_then(&db, "a", || Err::<(), _>(Refusal::Deliberate)).await;
    assert!(matches!(result, Err(Refusal::Deliberate)), "{result:?}");
    assert!(names(&db).await.is_empty());
}

async fn a_panic_rolls_back(place: Place) {
    let db = place.open().await;
    let panicking = db.write("boom", |tx| -> Result<(), Error> {
        tx.execute("INSERT INTO toy (name) VALUES ('a')", &[])?;
        panic!("on purpose");
    });
    let error = panicking.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "transaction `boom` panicked and was rolled back"
    );
    let error: Error = db
        .read("boom", |_| -> Result<(), Error> { panic!("on purpose") })
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }));
    insert(&db, "b").await.unwrap();
    assert_eq!(names(&db).await, ["b"]);
}

async fn a_failed_statement_cannot_be_ignored(place: Place) {
    let db = place.open().await;
    insert(&db, "a").await.unwrap();
    let ignoring = db.write("ignoring", |tx| -> Result<(), Error> {
        tx.execute("INSERT INTO toy (name) VALUES ('b')", &[])?;
        let refused = tx.execute("INSERT INTO toy (name) VALUES ('a')", &[]);
        assert!(refused.unwrap_err().is_unique());
        Ok(())
    });
    let error = ignoring.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "transaction `ignoring` went on after a failed statement and was rolled back"
    );
    assert_eq!(names(&db).await, ["a"]);
}

async fn queued_transactions_do_not_share_their_fate(place: Place) {
    let db = place.open().await;
    // The first holds SQLite's writer until all others wait behind it, so that they are committed as one group.
    let (begun, has_begun) = sync_channel::<()>(0);
    let (release, released) = sync_channel::<()>(0);
    let mut tasks = JoinSet::new();
    let first = db.clone();
    tasks.spawn(async move {
        first
            .write("first", move |tx| -> Result<bool, Error> {
                begun.send(()).expect("the test waits");
                released.recv().expect("the test answers");
                tx.execute("INSERT INTO toy (name) VALUES ('first')", &[])
                    .map(|_| true)
            })
            .await
            .unwrap()
    });
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
        .await
        .unwrap();
    for number in 0..30 {
        let db = db.clone();
        tasks.spawn(async move {
            let fate = db.write("queued", move |tx| -> Result<(), Refusal> {
                tx.execute(
                    "INSERT INTO toy (name) VALUES ($1)",
                    params![format!("{number:02}")],
                )?;
                match number % 3 {
                    0 => Ok(()),
                    1 => Err(Refusal::Deliberate),
                    _ => panic!("on purpose"),
                }
            });
            fate.await.is_ok()
        });
    }
    release.send(()).unwrap();
    let fates = soon(tasks.join_all()).await;
    assert_eq!(fates.iter().filter(|it| **it).count(), 11);
    let mut expected: Vec<String> = (0..30).step_by(3).map(|it| format!("{it:02}")).collect();
    expected.push("first".into());
    assert_eq!(names(&db).await, expected);
}

async fn an_acknowledged_write_is_visible(place: Place) {
    let db = place.open().await;
    let other = place.open().await;
    for number in 0..20 {
        insert(&db, format!("{number:02}")).await.unwrap();
        assert_eq!(names(&other).await.len(), number + 1);
    }
}

async fn compare_and_set_has_one_winner(place: Place) {
    let (db, other) = (place.open().await, place.open().await);
    insert(&db, "a").await.unwrap();
    for version in 0..5_i64 {
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let db = if number % 2 == 0 {
                db.clone()
            } else {
                other.clone()
            };
            tasks.spawn(async move {
                let sql = "UPDATE toy SET version = version + 1 WHERE name = 'a' AND version = $1";
                db.write("cas", move |tx| tx.execute(sql, params![version]))
                    .await
                    .map_err(|it: Error| it)
                    .unwrap()
            });
        }
        assert_eq!(soon(tasks.join_all()).await.iter().sum::<u64>(), 1);
    }
}

async fn reading_cannot_write(place: Place) {
    let db = place.open().await;
    let sql = "INSERT INTO toy (name) VALUES ('a')";
    let error: Error = db
        .read("sneaky", move |tx| tx.execute(sql, &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Query { .. }), "{error:?}");
    insert(&db, "b").await.unwrap();
    assert_eq!(names(&db).await, ["b"]);
}

async fn reading_sees_one_snapshot(place: Place) {
    let db = place.open().await;
    let (looked, has_looked) = sync_channel::<()>(0);
    let (go_on, may_go_on) = sync_channel::<()>(0);
    let reader = db.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        reader
            .read("twice", move |tx| -> Result<(i64, i64), Error> {
                let sql = "SELECT count(*) AS n FROM toy";
                let before = tx.query_one(sql, &[])?.int("n")?;
                looked.send(()).expect("the test waits");
                may_go_on.recv().expect("the test answers");
                Ok((before, tx.query_one(sql, &[])?.int("n")?))
            })
            .await
            .unwrap()
    });
    tokio::task::spawn_blocking(move || has_looked.recv().unwrap())
        .await
        .unwrap();
    insert(&db, "a").await.unwrap();
    go_on.send(()).unwrap();
    assert_eq!(soon(tasks.join_all()).await, [(0, 0)]);
    assert_eq!(names(&db).await, ["a"]);
}

async fn a_dropped_future_leaves_nothing_half_done(place: Place) {
    let db = place.open().await;
    for number in 0..50 {
        let pair = [format!("{number}a"), format!("{number}b")];
        let write = db.write("pair", move |tx| -> Result<(), Error> {
            for name in pair {
                tx.execute("INSERT INTO toy (name) VALUES ($1)", params![name])?;
            }
            Ok(())
        });
        // Polled once and dropped: begun, perhaps queued, perhaps already running.
        let mut write = Box::pin(write);
        let _ = futures_util::poll!(&mut write);
        drop(write);
    }
    insert(&db, "last").await.unwrap();
    until(async || names(&db).await.len() % 2 == 1).await;
    let names = names(&db).await;
    let whole = |number: i32| {
        names.contains(&format!("{number}a")) == names.contains(&format!("{number}b"))
    };
    assert!((0..50).all(whole), "{names:?}");
}

async fn a_closed_store_says_so(place: Place) {
    let db = place.open().await;
    insert(&db, "a").await.unwrap();
    soon(db.close()).await;
    assert!(matches!(insert(&db, "b").await, Err(Error::Closed)));
    assert!(matches!(db.ping().await, Err(Error::Closed)));
    soon(db.close()).await;
    assert_eq!(names(&place.open().await).await, ["a"]);
}
