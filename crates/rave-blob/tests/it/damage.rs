//! What is damaged is named and never served, and whole again once it is put again.

use std::os::unix::fs::FileExt as _;

use rave_blob::GetError;

use crate::{World, collect, noise, on_both_engines};

on_both_engines!(
    a_flipped_bit_is_never_served,
    a_pack_that_is_gone_is_named,
    a_pack_that_was_cut_off_is_named,
    what_is_put_again_is_whole,
);

pub(crate) fn flip(world: &World, at: u64) {
    let pack = world.packs().remove(0);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(pack)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

async fn a_flipped_bit_is_never_served(world: World) {
    let stored = world.put(&noise(40_000, 1)).await.digest;
    let unpacked = world.put(&noise(15_000, 6)).await.digest;
    let other = world.put(&noise(5000, 2)).await.digest;
    flip(&world, 20_000);
    flip(&world, 50_000);
    let frames = world.blobs.frames(&stored).await.unwrap();
    let content = world.blobs.get(&unpacked, None).await.unwrap();
    for (digest, stream) in [
        (stored, frames.into_stream()),
        (unpacked, content.into_stream()),
    ] {
        let error = collect(stream).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        assert!(
            error.to_string().contains("the object is damaged: chunk "),
            "{error}"
        );
        // From then on it is not even opened.
        assert!(matches!(
            world.blobs.get(&digest, None).await,
            Err(GetError::Damaged { .. })
        ));
        assert!(!world.blobs.contains(&digest).await.unwrap());
    }
    assert_eq!(world.read(&other).await, noise(5000, 2));
}

async fn a_pack_that_is_gone_is_named(mut world: World) {
    let digest = world.put(&noise(40_000, 3)).await.digest;
    std::fs::remove_file(world.packs().remove(0)).unwrap();
    world.reopen().await;
    let reader = world.blobs.get(&digest, None).await.unwrap();
    let error = collect(reader.into_stream()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its pack ends before it does, or is gone"),
        "{error}"
    );
    assert!(matches!(
        world.blobs.get(&digest, None).await,
        Err(GetError::Damaged { .. })
    ));
}

async fn a_pack_that_was_cut_off_is_named(world: World) {
    let content = noise(40_000, 4);
    let digest = world.put(&content).await.digest;
    let pack = std::fs::OpenOptions::new()
        .write(true)
        .open(world.packs().remove(0))
        .unwrap();
    pack.set_len(20_000).unwrap();
    let reader = world.blobs.get(&digest, None).await.unwrap();
    assert!(collect(reader.into_stream()).await.is_err());
    assert!(!world.blobs.contains(&digest).await.unwrap());
}

async fn what_is_put_again_is_whole(world: World) {
    let content = noise(40_000, 5);
    let digest = world.put(&content).await.digest;
    flip(&world, 20_000);
    let reader = world.blobs.get(&digest, None).await.unwrap();
    assert!(collect(reader.into_stream()).await.is_err());
    let again = world.put(&content).await;
    assert!(!again.was_known);
    assert!((1..10_000).contains(&again.added_bytes), "{again:?}");
    assert_eq!(world.read(&digest).await, content);
}
