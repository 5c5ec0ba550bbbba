//! What is collected, and what a collection leaves alone.

use super::{DAY_MS, World, nar, on_both_engines, path};
use crate::model::Settings;
use crate::rights::{Delete, Pull, Push};

on_both_engines!(
    unused_paths_go_and_closures_stay_whole,
    pins_keep_their_closures_until_they_expire,
    one_nar_serves_two_caches_until_both_are_gone,
    what_is_counted_is_written_down,
);

fn days(count: i64) -> Settings {
    Settings {
        retention_secs: Some(count * 24 * 3600),
        ..Settings::default()
    }
}

async fn configure(world: &World, settings: Settings) {
    let allowed = world.caches.allow(&super::admin(), "main").await.unwrap();
    world.caches.configure(&allowed, settings).await.unwrap();
}

async fn unused_paths_go_and_closures_stay_whole(world: World) {
    configure(&world, days(10)).await;
    for (name, refers_to) in [("libc", &[][..]), ("old", &["libc"]), ("app", &["libc"])] {
        world.push(name, refers_to).await.unwrap();
    }
    world.clock.advance(11 * DAY_MS);
    assert_eq!(world.visible(&["app"]).await, "app");
    let allowed = world.allowed::<Pull>("main").await;
    let found = world
        .caches
        .find_path(&allowed, path("app").hash_part())
        .await
        .unwrap();
    world.caches.note_asked(
        allowed.cache.cache.id,
        &allowed.caller,
        found.map(|it| it.id),
    );
    let allowed = world.allowed::<Delete>("main").await;
    let plan = world.caches.plan_collection(&allowed).await.unwrap();
    let names: Vec<&str> = plan.doomed.iter().map(|it| &it.0.path[33..]).collect();
    assert_eq!((names, plan.kept_paths), (vec!["old"], 2));
    world.tidy().await;
    assert_eq!(world.visible(&["libc", "old", "app"]).await, "libc app");
}

async fn pins_keep_their_closures_until_they_expire(world: World) {
    configure(&world, days(1)).await;
    world.push("lib", &[]).await.unwrap();
    world.push("app", &["lib"]).await.unwrap();
    let allowed = world.allowed::<Push>("main").await;
    let until = rave_core::time::Timestamp(world.caches.now().0 + 3 * DAY_MS);
    world
        .caches
        .pin(&allowed, "release", path("app").hash_part(), Some(until))
        .await
        .unwrap();
    assert!(
        world
            .caches
            .pin(&allowed, "nothing", path("x").hash_part(), None)
            .await
            .is_err()
    );
    assert!(
        world
            .caches
            .pin(&allowed, "a b", path("app").hash_part(), None)
            .await
            .is_err()
    );
    world.clock.advance(2 * DAY_MS);
    world.tidy().await;
    assert_eq!(world.visible(&["app", "lib"]).await, "app lib");
    world.clock.advance(2 * DAY_MS);
    world.tidy().await;
    assert_eq!(world.visible(&["app", "lib"]).await, "");
}

async fn one_nar_serves_two_caches_until_both_are_gone(world: World) {
    world.create("other", Settings::default()).await;
    for cache in ["main", "other"] {
        world.push_to(cache, "app", &[]).await.unwrap();
    }
    let digest = rave_blob::Digest::of(&nar("app"));
    for (cache, stays) in [("main", true), ("other", false)] {
        let allowed = world.allowed::<Delete>(cache).await;
        world
            .caches
            .delete_path(&allowed, path("app").hash_part())
            .await
            .unwrap();
        world.clock.advance(2 * DAY_MS);
        world.tidy().await;
        assert_eq!(
            world.caches.objects.contains(&digest).await.unwrap(),
            stays,
            "{cache}"
        );
    }
}

async fn what_is_counted_is_written_down(world: World) {
    world.push("app", &[]).await.unwrap();
    let allowed = world.allowed::<Pull>("main").await;
    let (id, caller) = (allowed.cache.cache.id, &allowed.caller);
    let found = world
        .caches
        .find_path(&allowed, path("app").hash_part())
        .await
        .unwrap()
        .unwrap();
    for _ in 0..3 {
        world.caches.note_asked(id, caller, Some(found.id));
    }
    world.caches.note_asked(id, caller, None);
    world.caches.note_served(id, caller, found.id, 100);
    let (holdings, total) = world.caches.holdings(&allowed).await.unwrap();
    assert_eq!((holdings.paths, holdings.held), (1, 0));
    assert_eq!(
        (
            total.hits,
            total.misses,
            total.bytes_served,
            total.paths_added
        ),
        (3, 1, 100, 1)
    );
    let stored = world
        .caches
        .load_path(&allowed, path("app").hash_part())
        .await
        .unwrap();
    assert_eq!(stored.downloads, 1);
    world.clock.advance(DAY_MS);
    world.caches.note_served(id, caller, found.id, 1);
    world.caches.settle().await.unwrap();
    let days = world.caches.days(&allowed, 30).await.unwrap();
    let served: Vec<i64> = days.iter().map(|it| it.1.bytes_served).collect();
    assert_eq!(served, [100, 1]);
}
