//! What a sweeper needs: pages in order, ages, and a delete that respects a put in between.

use rave_blob::{BlobStore, Digest};
use rave_core::time::Timestamp;

use crate::{Place, START};

#[tokio::test]
async fn pages_list_everything_once_in_order() {
    let place = Place::new().await;
    let mut digests = Vec::new();
    for number in 0..600_u32 {
        digests.push(place.put(&number.to_le_bytes()).await.digest);
    }
    digests.sort_unstable();
    // A file that is not an object is neither listed nor in the way.
    let shard = place
        .root()
        .join("objects")
        .join(&digests[0].to_string()[..2]);
    std::fs::write(shard.join("stray"), "").unwrap();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = place.store.list(after, 37).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 37);
        after = Some(last.digest);
        listed.extend(page.iter().map(|it| it.digest));
    }
    assert_eq!(listed, digests);
    assert!(place.store.list(None, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_entry_tells_size_and_age() {
    let place = Place::new().await;
    place.put(b"four").await;
    let entry = place.store.list(None, 10).await.unwrap()[0];
    assert_eq!(
        (entry.digest, entry.size_bytes, entry.put_at),
        (Digest::of(b"four"), 4, START)
    );
    place.clock.advance(5000);
    place.put(b"four").await;
    assert_eq!(
        place.store.list(None, 10).await.unwrap()[0].put_at,
        START.plus_millis(5000),
        "put again, young again"
    );
}

#[tokio::test]
async fn a_put_between_listing_and_deleting_saves_the_object() {
    let place = Place::new().await;
    let (kept, swept) = (place.put(b"kept").await, place.put(b"swept").await);
    let listed = place.store.list(None, 10).await.unwrap();
    place.clock.advance(1);
    place.put(b"kept").await;
    for entry in listed {
        let deleted = place
            .store
            .delete(&entry.digest, entry.put_at)
            .await
            .unwrap();
        assert_eq!(deleted, entry.digest == swept.digest);
    }
    assert_eq!(place.read(&kept).await, b"kept");
    assert!(!place.store.contains(&swept.digest).await.unwrap());
    assert!(
        !place
            .store
            .delete(&swept.digest, Timestamp(i64::MAX))
            .await
            .unwrap(),
        "it is gone already"
    );
}

#[tokio::test]
async fn an_object_that_is_being_read_can_be_deleted() {
    let place = Place::new().await;
    let object = place.put(&[9; 300_000]).await;
    let reader = place.store.get(&object.digest, None).await.unwrap();
    assert!(place.store.delete(&object.digest, START).await.unwrap());
    assert_eq!(
        crate::collect(reader.into_stream()).await.unwrap(),
        [9; 300_000]
    );
}
