//! The event log: in the transaction, in order, heard by others.

use rave_core::{
    event::{Event, EventKind, NewEvent},
    id::ProjectId,
    trace::TraceContext,
};
use rave_store::{Db, Error};
use tokio::task::JoinSet;

use crate::{Place, on_both_engines, soon};

on_both_engines!(
    an_event_survives_the_round_trip,
    events_are_kept_with_their_transaction_only,
    kinds_and_limits_select,
    cursors_never_move_back,
    a_reader_under_load_misses_nothing,
    a_commit_wakes_this_process,
);

pub(crate) async fn append(db: &Db, kind: EventKind, subject: impl Into<String>) -> Event {
    let event = NewEvent::new(kind, subject);
    db.write("append", move |tx| tx.append(event))
        .await
        .map_err(|it: Error| it)
        .unwrap()
}

pub(crate) async fn after(
    db: &Db,
    cursor: i64,
    kinds: &'static [EventKind],
    limit: u32,
) -> Vec<Event> {
    db.read("after", move |tx| tx.events_after(cursor, kinds, limit))
        .await
        .map_err(|it: Error| it)
        .unwrap()
}

async fn an_event_survives_the_round_trip(place: Place) {
    let db = place.open().await;
    let trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let mut event = NewEvent::new(EventKind::PushReceived, "project/7")
        .project(ProjectId(7))
        .payload(serde_json::json!({"reference": "refs/heads/ä", "list": [1, null]}))
        .trace(trace);
    event.task_id = Some("task".into());
    let appended = db
        .write("append", move |tx| tx.append(event))
        .await
        .map_err(|it: Error| it)
        .unwrap();
    assert_eq!(
        after(&db, 0, &[], 10).await,
        std::slice::from_ref(&appended)
    );
    assert_eq!(appended.id.get_version_num(), 7);
    let (seconds, nanos) = appended.id.get_timestamp().unwrap().to_unix();
    assert_eq!(
        (seconds, nanos),
        (1_767_323_045, 678_000_000),
        "the id tells the store's time"
    );
    let bare = append(&db, EventKind::UserCreated, "user/1").await;
    assert_eq!(after(&db, appended.seq, &[], 10).await, [bare]);
}

async fn events_are_kept_with_their_transaction_only(place: Place) {
    let db = place.open().await;
    let failing = db.write("fail", |tx| -> Result<(), Error> {
        tx.append(NewEvent::new(EventKind::JobChanged, "job/1"))?;
        Err(Error::Closed)
    });
    assert!(failing.await.is_err());
    assert!(after(&db, 0, &[], 10).await.is_empty());
}

async fn kinds_and_limits_select(place: Place) {
    let db = place.open().await;
    for number in 0..6 {
        let kind = if number % 2 == 0 {
            EventKind::JobChanged
        } else {
            EventKind::JobFinished
        };
        append(&db, kind, format!("job/{number}")).await;
    }
    let subjects = |events: Vec<Event>| {
        events
            .into_iter()
            .map(|it| it.what.subject)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        subjects(after(&db, 0, &[EventKind::JobFinished], 10).await),
        ["job/1", "job/3", "job/5"]
    );
    assert_eq!(
        subjects(after(&db, 0, &[EventKind::JobFinished, EventKind::JobChanged], 2).await),
        ["job/0", "job/1"]
    );
    assert!(
        after(&db, 0, &[EventKind::UserCreated], 10)
            .await
            .is_empty()
    );
    assert_eq!(after(&db, 0, &[], 10).await.len(), 6);
}

async fn cursors_never_move_back(place: Place) {
    let db = place.open().await;
    for (to, expected) in [(5, 5), (3, 5), (9, 9)] {
        let moved = db.write("move", move |tx| {
            tx.advance("reader", to)?;
            tx.cursor("reader")
        });
        assert_eq!(moved.await.map_err(|it: Error| it).unwrap(), expected);
    }
    let other: Result<i64, Error> = db.read("other", |tx| tx.cursor("other")).await;
    assert_eq!(other.unwrap(), 0);
}

/// What a cursor passed over would be lost, so positions must become visible in their order.
async fn a_reader_under_load_misses_nothing(place: Place) {
    const WRITERS: i64 = 8;
    const EACH: i64 = 20;
    let (db, other) = (place.open().await, place.open().await);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let db = if writer % 2 == 0 {
            db.clone()
        } else {
            other.clone()
        };
        writers.spawn(async move {
            for number in 0..EACH {
                let written = db.write("append", move |tx| -> Result<(), Error> {
                    tx.append(NewEvent::new(
                        EventKind::JobChanged,
                        format!("{writer}/{number}"),
                    ))?;
                    // Work after the append is when a later position could overtake.
                    for _ in 0..3 {
                        tx.query("SELECT count(*) AS n FROM event_log", &[])?;
                    }
                    if number % 5 == 4 {
                        Err(Error::Closed)
                    } else {
                        Ok(())
                    }
                });
                assert_eq!(written.await.is_ok(), number % 5 != 4);
            }
        });
    }
    let mut seen: Vec<Event> = Vec::new();
    let expected = usize::try_from(WRITERS * EACH * 4 / 5).unwrap();
    soon(async {
        while seen.len() < expected {
            let cursor = seen.last().map_or(0, |it| it.seq);
            seen.extend(after(&db, cursor, &[], 7).await);
        }
    })
    .await;
    soon(writers.join_all()).await;
    assert!(seen.windows(2).all(|it| it[0].seq < it[1].seq));
    assert_eq!(
        after(&db, 0, &[], 1000).await,
        seen,
        "nothing appeared behind the reader"
    );
}

async fn a_commit_wakes_this_process(place: Place) {
    let db = place.open().await;
    let mut signal = db.events();
    append(&db, EventKind::JobChanged, "job/1").await;
    soon(signal.changed()).await;
}
