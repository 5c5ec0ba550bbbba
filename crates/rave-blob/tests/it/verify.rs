//! What is damaged at rest is found without anyone reading it, and what is whole again is served again.

use rave_blob::{GetError, Stats};

use crate::{World, damage::flip, noise, on_both_engines};

on_both_engines!(
    what_is_sound_is_said_to_be,
    damage_is_found_before_it_is_read,
    what_is_whole_again_is_served_after_repair,
    files_without_a_row_are_named_and_removed,
    packs_without_a_file_are_named,
    the_store_is_counted,
);

async fn what_is_sound_is_said_to_be(world: World) {
    for seed in 0..5 {
        world.put(&noise(50_000, seed)).await;
    }
    let mut seen = Vec::new();
    let found = world.blobs.verify(false, |it| seen.push(it)).await.unwrap();
    assert!(found.is_sound() && found.strays.is_empty(), "{found:?}");
    assert_eq!(found.objects, 5);
    assert_eq!(found.packs, world.packs().len() as u64);
    assert!(found.stored_bytes > 250_000, "{found:?}");
    let last = seen.last().unwrap();
    assert_eq!(
        (last.chunks, last.stored_bytes),
        (last.of_chunks, last.of_stored_bytes)
    );
    assert!(seen.is_sorted_by_key(|it| it.chunks));
}

async fn damage_is_found_before_it_is_read(world: World) {
    let (content, other) = (noise(40_000, 1), noise(5000, 2));
    let (hurt, sound) = (
        world.put(&content).await.digest,
        world.put(&other).await.digest,
    );
    flip(&world, 20_000);
    for _ in 0..2 {
        let found = world.blobs.verify(false, |_| {}).await.unwrap();
        assert!(!found.is_sound());
        assert_eq!((found.damaged_chunks, found.damaged_objects), (1, 1));
        assert_eq!(found.not_served, [hurt]);
        let chunk = &found.damaged[0];
        assert!(
            (chunk.position..chunk.position + chunk.stored_bytes).contains(&20_000),
            "{chunk:?}"
        );
        assert_eq!(chunk.what, "its frame is not what was written");
    }
    assert!(matches!(
        world.blobs.get(&hurt, None).await,
        Err(GetError::Damaged { .. })
    ));
    assert_eq!(world.read(&sound).await, other);
    world.put(&content).await;
    assert!(world.blobs.verify(false, |_| {}).await.unwrap().is_sound());
    assert_eq!(world.read(&hurt).await, content);
}

async fn what_is_whole_again_is_served_after_repair(world: World) {
    let content = noise(40_000, 3);
    let digest = world.put(&content).await.digest;
    flip(&world, 20_000);
    world.blobs.verify(false, |_| {}).await.unwrap();
    // As after the file came back from a backup.
    flip(&world, 20_000);
    let found = world.blobs.verify(false, |_| {}).await.unwrap();
    assert_eq!((found.damaged_chunks, found.damaged_objects), (0, 1));
    assert!(!world.blobs.contains(&digest).await.unwrap());
    let found = world.blobs.verify(true, |_| {}).await.unwrap();
    assert_eq!((found.whole_again, found.is_sound()), (1, true));
    assert_eq!(world.read(&digest).await, content);
}

async fn files_without_a_row_are_named_and_removed(world: World) {
    let content = noise(10_000, 4);
    let digest = world.put(&content).await.digest;
    let packs = world.directory.path().join("blobs/packs");
    let name = "01234567-89ab-7def-8123-456789abcdef";
    let stray = packs.join(format!("{name}.pack"));
    std::fs::write(&stray, "dead").unwrap();
    std::fs::write(packs.join("notes.txt"), "someone's own").unwrap();
    let found = world.blobs.verify(false, |_| {}).await.unwrap();
    assert!(found.is_sound());
    let [named] = &found.strays[..] else {
        panic!("{found:?}")
    };
    assert_eq!((named.pack.as_str(), named.size_bytes), (name, 4));
    assert!(stray.exists());
    world.blobs.verify(true, |_| {}).await.unwrap();
    assert!(!stray.exists());
    assert!(packs.join("notes.txt").exists());
    assert_eq!(world.read(&digest).await, content);
}

async fn packs_without_a_file_are_named(world: World) {
    let digest = world.put(&noise(10_000, 5)).await.digest;
    let pack = world.packs().remove(0);
    std::fs::remove_file(&pack).unwrap();
    let found = world.blobs.verify(true, |_| {}).await.unwrap();
    assert_eq!(
        found.lost_packs,
        [pack.file_stem().unwrap().to_str().unwrap()]
    );
    assert_eq!(found.not_served, [digest]);
    assert!(found.damaged_chunks > 1);
}

async fn the_store_is_counted(world: World) {
    assert_eq!(world.blobs.stats().await.unwrap(), Stats::default());
    let shared = noise(50_000, 6);
    world.put(&shared).await;
    world.put(&[shared.clone(), vec![0; 50_000]].concat()).await;
    let stats = world.blobs.stats().await.unwrap();
    assert_eq!((stats.objects, stats.logical_bytes), (2, 150_000));
    assert!(stats.dedup_ratio() > 2.0, "{stats:?}");
    assert_eq!(stats.pack_bytes, world.packed_bytes());
    assert_eq!(
        (stats.dead_bytes, stats.damaged_chunks, stats.open_packs),
        (0, 0, 1)
    );
    assert!(stats.compression_ratio() >= 1.0, "{stats:?}");
}
