//! What goes in comes out, and is stored once.

use std::io::{Read as _, Seek as _, SeekFrom};

use futures_util::{StreamExt as _, stream};
use rave_blob::{Digest, GetError, PutError, PutOptions};

use crate::{World, collect, noise, on_both_engines, pieces};

on_both_engines!(
    what_goes_in_comes_out,
    any_range_can_be_read,
    the_same_content_is_stored_once,
    content_that_changed_a_little_adds_a_little,
    what_is_announced_must_come,
    a_stream_that_breaks_leaves_no_object,
    too_much_is_refused,
    many_at_once_do_not_mix,
    stored_frames_unpack_to_the_object,
    archives_can_seek,
    a_restart_finishes_what_was_left_open,
);

async fn what_goes_in_comes_out(world: World) {
    for length in [0, 1, 255, 4096, 4097, 300_000] {
        let content = noise(length, 1);
        let stored = world.put(&content).await;
        assert_eq!(stored.digest, Digest::of(&content));
        assert_eq!(stored.size_bytes, length as u64);
        assert!(!stored.was_known);
        assert_eq!(world.read(&stored.digest).await, content);
        let described = world.blobs.describe(&stored.digest).await.unwrap().unwrap();
        assert_eq!(described.size_bytes, length as u64);
    }
    let absent = Digest::of(b"absent");
    assert!(
        matches!(world.blobs.get(&absent, None).await, Err(GetError::NotFound(it)) if it == absent)
    );
    assert!(!world.blobs.contains(&absent).await.unwrap());
}

async fn any_range_can_be_read(world: World) {
    let content = noise(200_000, 2);
    let digest = world.put(&content).await.digest;
    for range in [
        0..0,
        0..1,
        5000..5001,
        1..199_999,
        100_000..200_000,
        200_000..200_000,
    ] {
        let reader = world.blobs.get(&digest, Some(range.clone())).await.unwrap();
        assert_eq!(reader.length_bytes(), range.end - range.start);
        let (from, to) = (
            usize::try_from(range.start).unwrap(),
            usize::try_from(range.end).unwrap(),
        );
        assert_eq!(
            collect(reader.into_stream()).await.unwrap(),
            content[from..to]
        );
    }
    let beyond = world.blobs.get(&digest, Some(5..200_001)).await;
    assert!(matches!(
        beyond,
        Err(GetError::Range {
            size_bytes: 200_000,
            ..
        })
    ));
}

async fn the_same_content_is_stored_once(world: World) {
    let content = noise(150_000, 3);
    let first = world.put(&content).await;
    let before = world.packed_bytes();
    let second = world.put(&content).await;
    assert!(second.was_known);
    assert_eq!((second.digest, second.added_bytes), (first.digest, 0));
    assert_eq!(world.packed_bytes(), before);
    // One chunk many times is one chunk, also inside of one object.
    let zeros = world.put(&vec![0; 1_000_000]).await;
    assert!(zeros.added_bytes < 200, "{zeros:?}");
    assert_eq!(world.read(&zeros.digest).await, vec![0; 1_000_000]);
}

async fn content_that_changed_a_little_adds_a_little(world: World) {
    let mut content = noise(300_000, 4);
    let first = world.put(&content).await;
    content.splice(150_000..150_000, *b"a few more bytes");
    let second = world.put(&content).await;
    assert!(
        second.added_bytes * 10 < first.added_bytes,
        "{second:?} after {first:?}"
    );
    assert_eq!(world.read(&second.digest).await, content);
}

async fn what_is_announced_must_come(world: World) {
    let content = noise(10_000, 5);
    let wrong = PutOptions {
        limit_bytes: u64::MAX,
        expected: Some(Digest::of(b"something else")),
    };
    let refused = world.blobs.put(pieces(&content), wrong).await;
    assert!(
        matches!(refused, Err(PutError::Mismatch { actual, .. }) if actual == Digest::of(&content))
    );
    assert!(!world.blobs.contains(&Digest::of(&content)).await.unwrap());
    let right = PutOptions {
        expected: Some(Digest::of(&content)),
        ..wrong
    };
    assert!(
        !world
            .blobs
            .put(pieces(&content), right)
            .await
            .unwrap()
            .was_known
    );
    // Who says that it has what is known must send it all the same.
    assert!(
        world
            .blobs
            .put(pieces(&content), right)
            .await
            .unwrap()
            .was_known
    );
    let claimed = world.blobs.put(pieces(b"not it"), right).await;
    assert!(matches!(claimed, Err(PutError::Mismatch { .. })));
}

async fn a_stream_that_breaks_leaves_no_object(world: World) {
    let content = noise(10 << 20, 6);
    let sent = content
        .chunks(2 << 20)
        .map(|it| Ok(bytes::Bytes::copy_from_slice(it)));
    let broken = sent.chain([Err(std::io::Error::other("the sender is gone"))]);
    let broken = stream::iter(broken.collect::<Vec<_>>());
    let result = world
        .blobs
        .put(broken.boxed(), PutOptions::at_most(u64::MAX))
        .await;
    assert!(matches!(result, Err(PutError::Stream(_))));
    assert!(!world.blobs.contains(&Digest::of(&content)).await.unwrap());
    // What was recorded on the way is not sent for nothing.
    let again = world.put(&content).await;
    assert!(!again.was_known && again.added_bytes < 9 << 20, "{again:?}");
    assert_eq!(world.read(&again.digest).await, content);
}

async fn too_much_is_refused(world: World) {
    let result = world
        .blobs
        .put(pieces(&noise(1001, 7)), PutOptions::at_most(1000))
        .await;
    assert!(matches!(
        result,
        Err(PutError::TooLarge { limit_bytes: 1000 })
    ));
    assert!(
        world
            .blobs
            .put(pieces(&noise(1000, 7)), PutOptions::at_most(1000))
            .await
            .is_ok()
    );
}

async fn many_at_once_do_not_mix(world: World) {
    // Half of each is the same, so that uploads race for the same chunks.
    let shared = noise(60_000, 8);
    let content = |seed| [shared.clone(), noise(30_000, seed)].concat();
    let puts = (100..130).map(|seed| {
        let (blobs, content) = (world.blobs.clone(), content(seed));
        async move {
            blobs
                .put(pieces(&content), PutOptions::at_most(u64::MAX))
                .await
                .unwrap()
                .digest
        }
    });
    let digests: Vec<Digest> = stream::iter(puts).buffered(15).collect().await;
    for (seed, digest) in (100..).zip(digests) {
        assert_eq!(world.read(&digest).await, content(seed));
    }
}

async fn stored_frames_unpack_to_the_object(world: World) {
    let content = [noise(100_000, 9), vec![b'a'; 100_000], noise(5000, 9)].concat();
    let digest = world.put(&content).await.digest;
    let frames = world.blobs.frames(&digest).await.unwrap();
    let (length, size) = (frames.length_bytes(), frames.size_bytes());
    let bytes = collect(frames.into_stream()).await.unwrap();
    assert_eq!((bytes.len() as u64, size), (length, content.len() as u64));
    assert!(length < 110_000, "{length}");
    let unpacked = std::process::Command::new("zstd")
        .args(["-d", "-c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut it| {
            let mut input = it.stdin.take().unwrap();
            let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &bytes));
            let output = it.wait_with_output();
            writer.join().unwrap()?;
            output
        });
    assert!(unpacked.expect("zstd, of the Debian package zstd").stdout == content);
}

async fn archives_can_seek(world: World) {
    let content = noise(100_000, 10);
    let digest = world.put(&content).await.digest;
    let mut file = world.blobs.open_file(&digest).await.unwrap();
    let checked = tokio::task::spawn_blocking(move || {
        for (at, length) in [(0, 10), (99_990, 10), (4000, 20_000), (50_000, 1)] {
            let mut part = vec![0; length];
            file.seek(SeekFrom::Start(at)).unwrap();
            file.read_exact(&mut part).unwrap();
            let at = usize::try_from(at).unwrap();
            assert_eq!(part, content[at..at + length]);
        }
        assert_eq!(file.seek(SeekFrom::End(-5)).unwrap(), 99_995);
        assert_eq!(file.read(&mut [0; 50]).unwrap(), 5);
        assert_eq!(file.read(&mut [0; 50]).unwrap(), 0);
        assert!(file.seek(SeekFrom::Current(-200_000)).is_err());
    });
    checked.await.unwrap();
}

async fn a_restart_finishes_what_was_left_open(mut world: World) {
    let content = noise(30_000, 11);
    let digest = world.put(&content).await.digest;
    let pack = world.packs().pop().unwrap();
    let length = pack.metadata().unwrap().len();
    // What a process wrote that ended before it said so.
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&pack)
        .unwrap();
    std::io::Write::write_all(&mut file, &noise(5000, 12)).unwrap();
    world.reopen().await;
    assert_eq!(pack.metadata().unwrap().len(), length);
    assert_eq!(world.read(&digest).await, content);
    let more = noise(1000, 13);
    let more_digest = world.put(&more).await.digest;
    assert_eq!(
        world.packs().len(),
        2,
        "a pack of another process is not added to"
    );
    assert_eq!(world.read(&more_digest).await, more);
}
