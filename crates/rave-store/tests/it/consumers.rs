//! Consumers: nothing lost, in order, across crashes, failures and panics.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rave_core::event::{Event, EventKind};
use rave_store::{Consumer, Db, Error, HandleError};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Place,
    events::{after, append},
    on_both_engines, soon, until,
};

on_both_engines!(
    events_arrive_in_order_without_waiting_for_the_timer,
    a_crash_loses_nothing,
    a_passing_failure_is_tried_again,
    a_lasting_failure_is_passed_over_and_told,
    a_panic_is_survived,
    of_two_processes_one_works,
    a_cursor_does_not_lag_behind_what_is_not_its_own,
);

const KINDS: &[EventKind] = &[EventKind::JobChanged];

/// A consumer whose timer never helps: what it does in time, it was woken for.
fn consumer(db: &Db) -> Consumer {
    Consumer::new(db.clone(), "test")
        .kinds(KINDS)
        .timer(Duration::from_secs(3600))
}

async fn append_jobs(db: &Db, numbers: std::ops::Range<i32>) {
    for number in numbers {
        append(db, EventKind::JobChanged, number.to_string()).await;
        append(db, EventKind::UserCreated, "noise").await;
    }
}

fn numbers(range: std::ops::Range<i32>) -> Vec<String> {
    range.map(|it| it.to_string()).collect()
}

async fn take(from: &mut mpsc::Receiver<String>, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(soon(from.recv()).await.expect("the consumer lives"));
    }
    taken
}

async fn events_arrive_in_order_without_waiting_for_the_timer(place: Place) {
    let db = place.open().await;
    append_jobs(&db, 0..3).await;
    let (seen, mut subjects) = mpsc::channel(1);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let handler = move |event: Event| {
        let seen = seen.clone();
        async move {
            seen.send(event.what.subject)
                .await
                .map_err(|it| HandleError::Transient(it.into()))
        }
    };
    tasks.spawn(consumer(&db).run(handler, stop.clone()));
    assert_eq!(take(&mut subjects, 3).await, numbers(0..3));
    append_jobs(&db, 3..5).await;
    assert_eq!(take(&mut subjects, 2).await, numbers(3..5));
    stop.cancel();
    tasks.close();
    soon(tasks.wait()).await;
}

async fn a_crash_loses_nothing(place: Place) {
    let db = place.open().await;
    append_jobs(&db, 0..10).await;
    let handled = Arc::new(Mutex::new(Vec::new()));
    // Dies in the middle of the fifth event, with no chance to tidy up.
    let (reached, mut is_reached) = mpsc::channel(1);
    let record = handled.clone();
    let dying = consumer(&db).run(
        move |event: Event| {
            let (record, reached) = (record.clone(), reached.clone());
            async move {
                if event.what.subject == "4" {
                    reached
                        .send(())
                        .await
                        .map_err(|it| HandleError::Transient(it.into()))?;
                    std::future::pending::<()>().await;
                }
                record.lock().unwrap().push(event.what.subject);
                Ok(())
            }
        },
        CancellationToken::new(),
    );
    tokio::select! {
        () = dying => panic!("it was never told to stop"),
        it = soon(is_reached.recv()) => assert!(it.is_some()),
    }
    // Another process takes over, at the latest when the lease of the dead one has expired.
    place.clock.advance(60_000);
    let successor = place.open().await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let record = handled.clone();
    let handler = move |event: Event| {
        record.lock().unwrap().push(event.what.subject);
        std::future::ready(Ok(()))
    };
    tasks.spawn(consumer(&successor).run(handler, stop.clone()));
    until(async || handled.lock().unwrap().len() >= 10).await;
    stop.cancel();
    tasks.close();
    soon(tasks.wait()).await;
    assert_eq!(*handled.lock().unwrap(), numbers(0..10));
    let cursor: Result<i64, Error> = successor.read("cursor", |tx| tx.cursor("test")).await;
    let last = after(&successor, 0, KINDS, 100).await.last().unwrap().seq;
    assert_eq!(cursor.unwrap(), last);
}

/// Runs a handler that is given the number of each try, until it has seen `subjects`.
async fn run_tries(
    db: &Db,
    outcome: impl Fn(&str, usize) -> Result<(), HandleError> + Send + Sync + 'static,
    until_handled: &str,
) -> Vec<String> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let tries = Arc::new(Mutex::new(Vec::<String>::new()));
    let (record, outcome, end) = (tries.clone(), Arc::new(outcome), until_handled.to_owned());
    let ending = stop.clone();
    let handler = move |event: Event| {
        let (record, outcome, end, ending) =
            (record.clone(), outcome.clone(), end.clone(), ending.clone());
        async move {
            let subject = event.what.subject;
            let earlier = record
                .lock()
                .unwrap()
                .iter()
                .filter(|it| **it == subject)
                .count();
            record.lock().unwrap().push(subject.clone());
            let result = outcome(&subject, earlier);
            if result.is_ok() && subject == end {
                ending.cancel();
            }
            result
        }
    };
    tasks.spawn(consumer(db).run(handler, stop));
    tasks.close();
    soon(tasks.wait()).await;
    let tries = tries.lock().unwrap();
    tries.clone()
}

async fn a_passing_failure_is_tried_again(place: Place) {
    let db = place.open().await;
    append_jobs(&db, 0..3).await;
    let fail_twice = |subject: &str, earlier: usize| match (subject, earlier) {
        ("1", 0 | 1) => Err(HandleError::Transient("the peer is away".into())),
        _ => Ok(()),
    };
    assert_eq!(
        run_tries(&db, fail_twice, "2").await,
        ["0", "1", "1", "1", "2"]
    );
    assert!(
        after(&db, 0, &[EventKind::ConsumerFailed], 10)
            .await
            .is_empty()
    );
}

async fn a_lasting_failure_is_passed_over_and_told(place: Place) {
    let db = place.open().await;
    append_jobs(&db, 0..3).await;
    let poisoned = |subject: &str, _| match subject {
        "1" => Err(HandleError::Permanent("no such thing".into())),
        _ => Ok(()),
    };
    assert_eq!(run_tries(&db, poisoned, "2").await, ["0", "1", "2"]);
    let told = after(&db, 0, &[EventKind::ConsumerFailed], 10).await;
    let poisoned = after(&db, 0, KINDS, 10).await.remove(1);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].what.subject, format!("event/{}", poisoned.id));
    assert_eq!(
        told[0].what.payload,
        serde_json::json!({
            "consumer": "test",
            "event_id": poisoned.id.to_string(),
            "event_kind": "job.changed",
            "reason": "no such thing",
        })
    );
}

async fn a_panic_is_survived(place: Place) {
    let db = place.open().await;
    append_jobs(&db, 0..3).await;
    let panicking = |subject: &str, _| {
        assert_ne!(subject, "1", "on purpose");
        Ok(())
    };
    assert_eq!(
        run_tries(&db, panicking, "2").await,
        ["0", "1", "1", "1", "1", "1", "2"]
    );
    assert_eq!(
        after(&db, 0, &[EventKind::ConsumerFailed], 10).await.len(),
        1
    );
}

/// On PostgreSQL a lease decides. SQLite serves one process by design, so there is no second one to keep out.
async fn of_two_processes_one_works(place: Place) {
    let db = place.open().await;
    if db.engine() == rave_store::Engine::Sqlite {
        let holder: Result<Vec<rave_store::Row>, Error> = db
            .read("none", |tx| tx.query("SELECT name FROM lease", &[]))
            .await;
        append_jobs(&db, 0..1).await;
        run_tries(&db, |_, _| Ok(()), "0").await;
        assert!(
            holder.unwrap().is_empty(),
            "a successor after a crash has nothing to wait for"
        );
        return;
    }
    let taken = db
        .write("other", |tx| {
            tx.try_lease("consumer:test", "another process", 3_600_000)
        })
        .await;
    assert!(taken.map_err(|it: Error| it).unwrap());
    append_jobs(&db, 0..1).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (seen, mut subjects) = mpsc::channel(1);
    let handler = move |event: Event| {
        let seen = seen.clone();
        async move {
            seen.send(event.what.subject)
                .await
                .map_err(|it| HandleError::Transient(it.into()))
        }
    };
    tasks.spawn(
        consumer(&db)
            .timer(Duration::from_millis(10))
            .run(handler, stop.clone()),
    );
    tokio::time::timeout(Duration::from_millis(200), subjects.recv())
        .await
        .expect_err("the other one has the lease");
    let given = db
        .write("other", |tx| {
            tx.release_lease("consumer:test", "another process")
        })
        .await;
    assert!(given.map_err(|it: Error| it).unwrap());
    assert_eq!(take(&mut subjects, 1).await, ["0"]);
    stop.cancel();
    tasks.close();
    soon(tasks.wait()).await;
    let again = db
        .write("other", |tx| {
            tx.try_lease("consumer:test", "another process", 1)
        })
        .await;
    assert!(
        again.map_err(|it: Error| it).unwrap(),
        "who stops gives the lease up"
    );
}

async fn a_cursor_does_not_lag_behind_what_is_not_its_own(place: Place) {
    let db = place.open().await;
    append(&db, EventKind::JobChanged, "0").await;
    let noise = db.write("noise", |tx| -> Result<i64, Error> {
        let noise = || rave_core::event::NewEvent::new(EventKind::UserCreated, "noise");
        (0..1100).try_fold(0, |_, _| tx.append(noise()).map(|it| it.seq))
    });
    let last = noise.await.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(consumer(&db).run(|_| std::future::ready(Ok(())), stop.clone()));
    until(async || {
        let cursor: Result<i64, Error> = db.read("cursor", |tx| tx.cursor("test")).await;
        cursor.unwrap() == last
    })
    .await;
    stop.cancel();
    tasks.close();
    soon(tasks.wait()).await;
}
