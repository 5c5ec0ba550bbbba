//! Objects of the former layout are taken in at the start, and nothing of them is lost on the way.

use std::path::PathBuf;

use rave_blob::Digest;

use crate::{World, noise, on_both_engines};

on_both_engines!(
    files_become_objects,
    an_import_goes_on_where_it_ended,
    what_is_not_what_its_name_says_is_left,
);

fn place(world: &World, content: &[u8], digest: Digest) -> PathBuf {
    let name = digest.to_string();
    let shard = world
        .directory
        .path()
        .join("blobs/objects")
        .join(&name[..2]);
    std::fs::create_dir_all(&shard).unwrap();
    let path = shard.join(&name[2..]);
    std::fs::write(&path, content).unwrap();
    path
}

async fn files_become_objects(mut world: World) {
    let contents = [0, 1, 40_000, 700_000].map(|it| noise(it, 1));
    for content in &contents {
        place(&world, content, Digest::of(content));
    }
    let blobs = world.directory.path().join("blobs");
    std::fs::create_dir(blobs.join("tmp")).unwrap();
    std::fs::write(blobs.join("tmp/put-abc"), "half").unwrap();
    world.reopen().await;
    for content in &contents {
        assert!(world.read(&Digest::of(content)).await == *content);
    }
    assert!(!blobs.join("objects").exists() && !blobs.join("tmp").exists());
    world.reopen().await;
    assert!(world.blobs.verify(false, |_| {}).await.unwrap().is_sound());
}

async fn an_import_goes_on_where_it_ended(mut world: World) {
    let (done, left) = (noise(5000, 2), noise(5000, 3));
    // Stored, and its file not removed yet.
    world.put(&done).await;
    let paths = [&done, &left].map(|it| place(&world, it, Digest::of(it)));
    world.reopen().await;
    assert!(paths.iter().all(|it| !it.exists()));
    assert_eq!(world.read(&Digest::of(&done)).await, done);
    assert_eq!(world.read(&Digest::of(&left)).await, left);
}

async fn what_is_not_what_its_name_says_is_left(mut world: World) {
    let sound = noise(5000, 4);
    place(&world, &sound, Digest::of(&sound));
    let damaged = place(&world, b"not it", Digest::of(b"it"));
    let stray = damaged.with_file_name("notes.txt");
    std::fs::write(&stray, "someone's own").unwrap();
    world.reopen().await;
    assert_eq!(world.read(&Digest::of(&sound)).await, sound);
    assert!(!world.blobs.contains(&Digest::of(b"it")).await.unwrap());
    assert!(!world.blobs.contains(&Digest::of(b"not it")).await.unwrap());
    assert_eq!(std::fs::read(damaged).unwrap(), b"not it");
    assert!(stray.exists());
}
