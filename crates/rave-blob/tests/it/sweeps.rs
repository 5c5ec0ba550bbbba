//! What nothing refers to goes, in time, and nothing else ever does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rave_blob::{Digest, PutOptions, Referrer, Sweeper, Swept};
use rave_store::BoxError;

use crate::{OPTIONS, World, noise, on_both_engines};

on_both_engines!(
    what_nothing_refers_to_goes_in_time,
    what_is_shared_stays,
    what_was_promised_stays,
    packs_that_are_half_dead_are_emptied,
    small_packs_are_put_together,
    a_reader_goes_on_while_its_pack_is_emptied,
    a_preview_says_what_would_go,
    beside_the_owner_no_pack_is_written,
);

/// Who refers to what, as the test says.
#[derive(Default)]
struct Needed(Mutex<HashSet<Digest>>);

#[async_trait]
impl Referrer for Needed {
    async fn referenced(&self, digests: &[Digest]) -> Result<HashSet<Digest>, BoxError> {
        let needed = self.0.lock().unwrap();
        Ok(digests
            .iter()
            .filter(|it| needed.contains(it))
            .copied()
            .collect())
    }
}

const GRACE: Duration = Duration::from_secs(600);
const LEASE_MS: i64 = OPTIONS.lease.as_secs().cast_signed() * 1000;

struct Sweeping {
    world: World,
    needed: Arc<Needed>,
    sweeper: Sweeper,
}

impl Sweeping {
    fn new(world: World) -> Self {
        let needed = Arc::new(Needed::default());
        let sweeper = Sweeper::new(world.blobs.clone(), vec![needed.clone()], GRACE);
        Self {
            world,
            needed,
            sweeper,
        }
    }

    async fn keep(&self, content: &[u8]) -> Digest {
        let digest = self.world.put(content).await.digest;
        self.needed.0.lock().unwrap().insert(digest);
        digest
    }

    fn release(&self, digest: Digest) {
        self.needed.0.lock().unwrap().remove(&digest);
    }

    async fn sweep_after(&self, millis: i64) -> Swept {
        self.world.clock.advance(millis);
        self.sweeper.sweep().await.unwrap()
    }

    /// Sweeps until nothing more goes.
    async fn sweep_all(&self) {
        for _ in 0..4 {
            self.sweep_after(LEASE_MS + 1000).await;
        }
    }
}

async fn what_nothing_refers_to_goes_in_time(world: World) {
    let it = Sweeping::new(world);
    let (kept, lost) = (
        it.keep(&noise(100_000, 1)).await,
        it.keep(&noise(100_000, 2)).await,
    );
    it.release(lost);
    let young = it.sweep_after(1000).await;
    assert_eq!(
        young,
        Swept::default(),
        "a caller has the grace to refer to what it put"
    );
    let swept = it.sweep_after(GRACE.as_secs().cast_signed() * 1000).await;
    assert_eq!(
        (swept.objects, swept.chunks),
        (1, 0),
        "its chunks are still promised"
    );
    assert!(!it.world.blobs.contains(&lost).await.unwrap());
    it.sweep_all().await;
    assert!(
        it.world.packed_bytes() < 115_000,
        "{}",
        it.world.packed_bytes()
    );
    assert_eq!(it.world.read(&kept).await, noise(100_000, 1));
    it.release(kept);
    it.sweep_all().await;
    assert_eq!(it.world.packed_bytes(), 0);
    let rows = it.world.db.read("count", |tx| {
        tx.query_one(
            "SELECT (SELECT COUNT(*) FROM blob_chunk) + (SELECT COUNT(*) FROM blob_pack) AS n",
            &[],
        )?
        .int("n")
    });
    assert_eq!(rows.await.unwrap(), 0);
    let again = it.keep(&noise(100_000, 1)).await;
    assert_eq!(it.world.read(&again).await, noise(100_000, 1));
}

async fn what_is_shared_stays(world: World) {
    let it = Sweeping::new(world);
    let shared = noise(50_000, 3);
    let one = it.keep(&[shared.clone(), noise(20_000, 4)].concat()).await;
    let two = it.keep(&[shared.clone(), noise(20_000, 5)].concat()).await;
    it.release(one);
    it.sweep_all().await;
    assert!(!it.world.blobs.contains(&one).await.unwrap());
    assert_eq!(
        it.world.read(&two).await,
        [shared, noise(20_000, 5)].concat()
    );
}

async fn what_was_promised_stays(world: World) {
    let it = Sweeping::new(world);
    let content = noise(50_000, 6);
    let lost = it.keep(&content).await;
    it.release(lost);
    it.world.clock.advance(LEASE_MS * 2);
    // An upload that finds all of it stored, and stops short of its end while a sweep runs.
    let (blobs, text) = (it.world.blobs.clone(), content.clone());
    let (sweep, swept) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let begun = stream::once(async { Ok(Bytes::from(text)) });
    // Larger than what is gathered at once, so that its chunks are looked up before the end.
    let filler = noise(4 << 20, 7);
    let rest = stream::once(async { Ok(Bytes::from(filler.clone())) });
    let end = stream::once(async {
        sweep.notify_one();
        swept.notified().await;
        Ok(Bytes::from_static(b"the end"))
    });
    let stream = begun.chain(rest).chain(end);
    let put = blobs.put(stream.boxed(), PutOptions::at_most(u64::MAX));
    let sweeping = async {
        sweep.notified().await;
        let gone = it.sweeper.sweep().await.unwrap();
        swept.notify_one();
        gone
    };
    let (stored, gone) = tokio::join!(put, sweeping);
    assert_eq!(gone.objects, 1);
    let digest = stored.unwrap().digest;
    it.needed.0.lock().unwrap().insert(digest);
    it.sweep_all().await;
    assert_eq!(
        it.world.read(&digest).await,
        [content.as_slice(), &filler, b"the end"].concat()
    );
}

async fn packs_that_are_half_dead_are_emptied(world: World) {
    let it = Sweeping::new(world);
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for seed in 0..40 {
        let digest = it.keep(&noise(20_000, 100 + seed)).await;
        match seed % 5 {
            0 => kept.push((seed, digest)),
            _ => lost.push(digest),
        }
    }
    let before = it.world.packed_bytes();
    lost.into_iter().for_each(|digest| it.release(digest));
    it.sweep_all().await;
    let after = it.world.packed_bytes();
    assert!(after * 3 < before, "{after} of {before}");
    for (seed, digest) in kept {
        assert_eq!(it.world.read(&digest).await, noise(20_000, 100 + seed));
    }
}

async fn small_packs_are_put_together(world: World) {
    let mut it = Sweeping::new(world);
    let mut digests = Vec::new();
    for seed in 0..6 {
        digests.push((seed, it.keep(&noise(3000, 200 + seed)).await));
        // Each process begins a pack of its own.
        it.world.reopen().await;
    }
    assert_eq!(it.world.packs().len(), 6);
    it.sweeper = Sweeper::new(it.world.blobs.clone(), vec![it.needed.clone()], GRACE);
    it.sweep_all().await;
    assert!(it.world.packs().len() <= 2, "{:?}", it.world.packs());
    for (seed, digest) in digests {
        assert_eq!(it.world.read(&digest).await, noise(3000, 200 + seed));
    }
}

async fn a_reader_goes_on_while_its_pack_is_emptied(world: World) {
    let it = Sweeping::new(world);
    let content = noise(60_000, 8);
    let (kept, lost) = (it.keep(&content).await, it.keep(&noise(200_000, 9)).await);
    it.release(lost);
    let mut reader = it.world.blobs.get(&kept, None).await.unwrap().into_stream();
    let mut read = reader.next().await.unwrap().unwrap().to_vec();
    it.sweep_all().await;
    while let Some(piece) = reader.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(read, content);
}

async fn a_preview_says_what_would_go(world: World) {
    let it = Sweeping::new(world);
    let (kept, lost) = (
        it.keep(&noise(50_000, 10)).await,
        it.keep(&noise(50_000, 11)).await,
    );
    it.release(lost);
    assert_eq!(it.sweeper.preview().await.unwrap(), Swept::default());
    it.world.clock.advance(LEASE_MS * 2);
    let said = it.sweeper.preview().await.unwrap();
    assert_eq!(it.sweeper.preview().await.unwrap(), said);
    assert!(it.world.blobs.contains(&lost).await.unwrap());
    let swept = it.sweeper.sweep().await.unwrap();
    assert_eq!(
        (said.objects, said.chunks, said.chunk_bytes),
        (swept.objects, swept.chunks, swept.chunk_bytes)
    );
    assert_eq!(swept.objects, 1);
    assert_eq!(it.world.read(&kept).await, noise(50_000, 10));
}

async fn beside_the_owner_no_pack_is_written(mut world: World) {
    let first = world.put(&noise(15_000, 12)).await.digest;
    let second = world.put(&noise(40_000, 13)).await.digest;
    world.reopen().await;
    let mut it = Sweeping::new(world);
    it.needed.0.lock().unwrap().insert(first);
    it.sweeper = it.sweeper.beside_the_owner();
    let packs = it.world.packs();
    it.sweep_all().await;
    assert!(!it.world.blobs.contains(&second).await.unwrap());
    assert_eq!(
        it.world.packs(),
        packs,
        "its living part is the owner's to move"
    );
    // What is dead as a whole needs no one to move anything.
    it.needed.0.lock().unwrap().clear();
    it.sweep_all().await;
    assert_eq!(it.world.packs(), Vec::<std::path::PathBuf>::new());
}
