//! Leases of two holders, by a clock that the test moves.

use rave_store::{Db, Error};

use crate::{Place, on_both_engines};

on_both_engines!(
    a_lease_has_one_holder_until_it_expires,
    a_successor_ends_the_leases_of_the_dead
);

async fn take(db: &Db, holder: &'static str) -> bool {
    db.write("take", move |tx| tx.try_lease("sweep", holder, 1000))
        .await
        .map_err(|it: Error| it)
        .unwrap()
}

async fn give(db: &Db, holder: &'static str) -> bool {
    db.write("give", move |tx| tx.release_lease("sweep", holder))
        .await
        .map_err(|it: Error| it)
        .unwrap()
}

async fn a_lease_has_one_holder_until_it_expires(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    assert!(take(&one, "one").await);
    assert!(!take(&two, "two").await);
    place.clock.advance(999);
    assert!(!take(&two, "two").await);
    assert!(take(&one, "one").await, "the holder renews");
    place.clock.advance(999);
    assert!(!take(&two, "two").await, "the renewal counts");
    place.clock.advance(1);
    assert!(take(&two, "two").await, "an expired lease is free");
    assert!(!take(&one, "one").await);
    assert!(!give(&one, "one").await, "only the holder gives up");
    assert!(give(&two, "two").await);
    assert!(take(&one, "one").await, "a released lease is free at once");
    assert_ne!(one.holder(), two.holder());
}

async fn a_successor_ends_the_leases_of_the_dead(place: Place) {
    let db = place.open().await;
    assert!(take(&db, "dead").await);
    assert!(!take(&db, "successor").await);
    let ended: Result<u64, Error> = db
        .write("end", |tx| {
            assert!(tx.try_lease("other", "living", 1000)?);
            tx.release_leases_of("dead")
        })
        .await;
    assert_eq!(ended.unwrap(), 1, "the living keep theirs");
    assert!(take(&db, "successor").await);
}
