//! What only PostgreSQL does: go away, come back, keep silent, call others.

use std::time::Duration;

use rave_core::event::EventKind;
use rave_store::{DatabaseUrl, Db, Error, Options};
use rave_testkit::PostgresServer;

use crate::{
    Place,
    events::append,
    options, soon,
    transactions::{insert, names},
    until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_an_error_until_it_returns() {
    let server = PostgresServer::start();
    let place = Place::at(&server);
    let db = place
        .open_with(Options {
            connect_timeout: Duration::from_secs(2),
            ..options()
        })
        .await;
    let mut signal = db.events();
    for name in ["a", "b"] {
        insert(&db, name).await.unwrap();
    }
    // One transaction is open when the server dies, several connections rest in the pool.
    let (begun, has_begun) = std::sync::mpsc::sync_channel::<()>(0);
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let caught = db.write("caught", move |tx| -> Result<u64, Error> {
        tx.execute("INSERT INTO toy (name) VALUES ('caught')", &[])?;
        begun.send(()).expect("the test waits");
        released.recv().expect("the test answers");
        tx.execute("INSERT INTO toy (name) VALUES ('too')", &[])
    });
    let crash = async {
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
            .await
            .unwrap();
        server.crash();
        release.send(()).unwrap();
    };
    let (caught, ()) = soon(async { tokio::join!(caught, crash) }).await;
    assert!(caught.unwrap_err().is_unavailable());
    for _ in 0..10 {
        let error = soon(insert(&db, "lost")).await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        assert!(soon(db.ping()).await.unwrap_err().is_unavailable());
    }
    server.resume();
    until(async || db.ping().await.is_ok()).await;
    insert(&db, "c").await.unwrap();
    assert_eq!(names(&db).await, ["a", "b", "c"]);
    // The listener returns by itself: it hears what another process does.
    let other = place.open().await;
    soon(async {
        loop {
            append(&other, EventKind::JobChanged, "job/1").await;
            if tokio::time::timeout(Duration::from_millis(100), signal.changed())
                .await
                .is_ok()
            {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let place = Place::postgres();
    let url = DatabaseUrl::parse("postgres://rave@127.0.0.1:1/rave").unwrap();
    let opened = soon(Db::open(&url, place.clock.clone(), options())).await;
    assert!(opened.unwrap_err().is_unavailable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_silent_is_unavailable() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://rave@{}/rave", silent.local_addr().unwrap());
    let limits = Options {
        connect_timeout: Duration::from_millis(300),
        ..options()
    };
    let clock = Place::sqlite().clock;
    let opened = soon(Db::open(&DatabaseUrl::parse(&url).unwrap(), clock, limits)).await;
    assert!(opened.unwrap_err().is_unavailable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_ended() {
    let place = Place::postgres();
    let db = place
        .open_with(Options {
            statement_timeout: Duration::from_millis(300),
            ..options()
        })
        .await;
    let slow: Result<(), Error> = soon(db.read("slow", |tx| {
        tx.query("SELECT 1 AS n FROM pg_sleep(60)", &[]).map(drop)
    }))
    .await;
    assert!(slow.unwrap_err().is_unavailable());
    insert(&db, "a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_transactions_than_connections_take_turns() {
    let place = Place::postgres();
    let db = place
        .open_with(Options {
            pool_size: 2,
            ..options()
        })
        .await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let db = db.clone();
        tasks.spawn(async move { insert(&db, format!("{number:02}")).await.map(drop) });
    }
    assert!(soon(tasks.join_all()).await.iter().all(Result::is_ok));
    assert_eq!(names(&db).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_hears_of_an_event() {
    let place = Place::postgres();
    let (one, two) = (place.open().await, place.open().await);
    let mut signal = two.events();
    // The first calls may come from the listener's start.
    soon(async {
        loop {
            append(&one, EventKind::JobChanged, "job/1").await;
            if tokio::time::timeout(Duration::from_millis(100), signal.changed())
                .await
                .is_ok()
            {
                break;
            }
        }
    })
    .await;
    until(async || {
        tokio::time::timeout(Duration::from_millis(100), signal.changed())
            .await
            .is_err()
    })
    .await;
    append(&one, EventKind::JobChanged, "job/2").await;
    soon(signal.changed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_without_a_portable_form_say_so() {
    let db = Place::postgres().open().await;
    let error: Error = db
        .read("numeric", |tx| {
            tx.query("SELECT CAST(1 AS NUMERIC) AS n", &[])
        })
        .await
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        cause,
        "column `n` has type numeric: cast it to BIGINT or TEXT"
    );
}
