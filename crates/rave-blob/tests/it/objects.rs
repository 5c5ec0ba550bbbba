//! Objects in and out: whole, in ranges, too large, damaged.

use std::{
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rave_blob::{BlobStore, Digest, GetError, PutError, VerifyError};
use tokio::io::AsyncReadExt;

use crate::{Place, collect, files_in, put};

fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|it| u8::try_from(it * 7 % 251).unwrap())
        .collect()
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let place = Place::new().await;
    for length in [0, 1, 70_001, 1_000_000] {
        let content = content(length);
        let object = place.put(&content).await;
        assert_eq!(
            (object.digest, object.size_bytes),
            (Digest::of(&content), length as u64)
        );
        assert_eq!(place.read(&object).await, content);
        assert!(place.store.contains(&object.digest).await.unwrap());
        place.store.verify(&object.digest).await.unwrap();
    }
    assert_eq!(files_in(&place.root().join("tmp")), 0);
}

#[tokio::test]
async fn ranges_are_exact() {
    let place = Place::new().await;
    let content = content(200_000);
    let object = place.put(&content).await;
    for range in [
        0..0,
        0..1,
        5..100_000,
        199_999..200_000,
        200_000..200_000,
        0..200_000,
    ] {
        let reader = place
            .store
            .get(&object.digest, Some(range.clone()))
            .await
            .unwrap();
        assert_eq!(
            (reader.size_bytes(), reader.range(), reader.length_bytes()),
            (200_000, range.clone(), range.end - range.start)
        );
        let wanted = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert_eq!(
            collect(reader.into_stream()).await.unwrap(),
            content[wanted]
        );
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a client may ask for it")]
    for range in [0..200_001, 200_001..200_001, 9..3] {
        let error = place
            .store
            .get(&object.digest, Some(range))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                GetError::Range {
                    size_bytes: 200_000,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_reader_reads_like_any_other() {
    let place = Place::new().await;
    let object = place.put(b"hello world").await;
    let mut text = String::new();
    let mut reader = place.store.get(&object.digest, Some(6..11)).await.unwrap();
    reader.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "world");
}

#[tokio::test]
async fn a_file_can_be_sought() {
    let place = Place::new().await;
    let object = place.put(b"hello world").await;
    let mut file = place.store.open_file(&object.digest).await.unwrap();
    file.seek(SeekFrom::End(-5)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "world");
}

#[tokio::test]
async fn the_same_bytes_are_one_object() {
    let place = Place::new().await;
    let (one, two) = (place.put(b"same").await, place.put(b"same").await);
    assert_eq!(one, two);
    assert_eq!(place.store.list(None, 10).await.unwrap().len(), 1);
    let (store, content) = (&place.store, content(500_000));
    let puts = (0..8).map(|_| put(store, &content, u64::MAX));
    let stored = futures_util::future::join_all(puts).await;
    assert!(
        stored
            .iter()
            .all(|it| it.as_ref().unwrap().digest == Digest::of(&content))
    );
    assert_eq!(place.store.list(None, 10).await.unwrap().len(), 2);
    assert_eq!(files_in(&place.root().join("tmp")), 0);
}

#[tokio::test]
async fn the_limit_is_exact_and_leaves_nothing() {
    let place = Place::new().await;
    let content = content(300_000);
    assert_eq!(
        put(&place.store, &content, 300_000)
            .await
            .unwrap()
            .size_bytes,
        300_000
    );
    let error = put(&place.store, b"12345", 4).await.unwrap_err();
    assert_eq!(error.to_string(), "the object is larger than 4 bytes");
    // An endless sender is cut off as soon as it goes too far.
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 1000]))).boxed();
    let error = place.store.put(endless, 1_000_000).await.unwrap_err();
    assert!(matches!(
        error,
        PutError::TooLarge {
            limit_bytes: 1_000_000
        }
    ));
    assert_eq!(files_in(&place.root().join("tmp")), 0);
    assert_eq!(place.store.list(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_broken_stream_leaves_nothing() {
    let place = Place::new().await;
    let broken = stream::iter([
        Ok(Bytes::from(content(400_000))),
        Err(io::ErrorKind::ConnectionReset.into()),
    ])
    .boxed();
    let error = place.store.put(broken, u64::MAX).await.unwrap_err();
    assert!(matches!(error, PutError::Stream(it) if it.kind() == io::ErrorKind::ConnectionReset));
    assert_eq!(files_in(&place.root().join("tmp")), 0);
    assert!(place.store.list(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing() {
    let place = Place::new().await;
    let (reached, is_reached) = tokio::sync::oneshot::channel();
    let begun = stream::iter([Ok(Bytes::from(content(400_000)))]);
    let stalled = begun.chain(stream::once(async move {
        reached.send(()).unwrap();
        std::future::pending().await
    }));
    tokio::select! {
        it = place.store.put(stalled.boxed(), u64::MAX) => panic!("it cannot end: {it:?}"),
        it = is_reached => it.unwrap(),
    }
    assert_eq!(files_in(&place.root().join("tmp")), 0);
}

#[tokio::test]
async fn absent_objects_are_not_found() {
    let place = Place::new().await;
    let absent = Digest::of(b"absent");
    assert!(!place.store.contains(&absent).await.unwrap());
    assert!(
        matches!(place.store.get(&absent, None).await, Err(GetError::NotFound(it)) if it == absent)
    );
    assert!(matches!(
        place.store.open_file(&absent).await,
        Err(GetError::NotFound(_))
    ));
    assert!(matches!(
        place.store.verify(&absent).await,
        Err(VerifyError::NotFound(_))
    ));
}

#[tokio::test]
async fn damage_is_found() {
    let place = Place::new().await;
    let content = content(100_000);
    let object = place.put(&content).await;
    let mut flipped = content.clone();
    flipped[77_777] ^= 1;
    std::fs::write(place.file(&object), &flipped).unwrap();
    let error = place.store.verify(&object.digest).await.unwrap_err();
    assert!(
        matches!(error, VerifyError::Corrupt { actual, .. } if actual == Digest::of(&flipped)),
        "{error}"
    );
    // A file that is cut while it is read does not pass for a short object.
    std::fs::write(place.file(&object), &content).unwrap();
    let reader = place.store.get(&object.digest, None).await.unwrap();
    std::fs::File::options()
        .write(true)
        .open(place.file(&object))
        .unwrap()
        .set_len(50_000)
        .unwrap();
    let error = collect(reader.into_stream()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    // Putting the bytes again mends an object that lost some.
    place.put(&content).await;
    place.store.verify(&object.digest).await.unwrap();
}

#[tokio::test]
async fn files_are_private() {
    let place = Place::new().await;
    let object = place.put(b"private").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = place.file(&object);
    assert_eq!(mode(&file), 0o600);
    for directory in file
        .ancestors()
        .skip(1)
        .take(3)
        .chain([place.root().join("tmp").as_path()])
    {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
}
