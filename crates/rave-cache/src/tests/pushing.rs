//! Paths become visible when their closure is complete, whatever comes first.

use futures_util::future::join_all;

use super::{World, admin, info, nar, on_both_engines, path};
use crate::model::{CacheName, Settings};
use crate::rights::{Pull, Push};
use crate::store::paths::Added;

on_both_engines!(
    a_path_waits_for_its_closure,
    pushes_at_the_same_time_complete_each_other,
    what_a_client_left_out_is_taken_to_be_upstream,
    what_was_begun_and_not_ended_is_dropped,
    another_build_does_not_replace_the_first,
    a_new_cache_does_not_show_what_the_old_one_had,
    narinfo_files_are_signed_by_all_keys,
);

async fn a_path_waits_for_its_closure(world: World) {
    assert_eq!(
        world.push("app", &["lib", "app"]).await.unwrap(),
        Added::Held
    );
    assert_eq!(world.push("lib", &["libc"]).await.unwrap(), Added::Held);
    assert_eq!(world.visible(&["app", "lib", "libc"]).await, "");
    let allowed = world.allowed::<Push>("main").await;
    let asked = ["app", "lib", "libc", "x"].map(|it| path(it).hash_part().to_string());
    let missing = world
        .caches
        .missing_paths(&allowed, asked.to_vec())
        .await
        .unwrap();
    assert_eq!(missing, &asked[2..], "what is held is not missing");
    assert_eq!(world.push("libc", &[]).await.unwrap(), Added::Visible);
    assert_eq!(world.visible(&["app", "lib", "libc"]).await, "app lib libc");
}

async fn pushes_at_the_same_time_complete_each_other(world: World) {
    let names: Vec<String> = (0..24).map(|it| format!("p{it}")).collect();
    let pushes = names.iter().enumerate().map(|(at, name)| {
        // Each refers to the next: the last one completes them all.
        let next = names.get(at + 1).map(String::as_str);
        let world = &world;
        async move {
            world
                .push(name, &next.into_iter().collect::<Vec<_>>())
                .await
                .unwrap()
        }
    });
    join_all(pushes).await;
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(world.visible(&all).await, all.join(" "));
}

async fn what_a_client_left_out_is_taken_to_be_upstream(world: World) {
    let settings = Settings {
        upstream_key_names: vec!["cache.nixos.org-1".into()],
        ..Settings::default()
    };
    world.create("attic", settings).await;
    let allowed = world.allowed::<Push>("attic").await;
    let asked = ["app", "lib"].map(|it| path(it).hash_part().to_string());
    world
        .caches
        .missing_paths(&allowed, asked.to_vec())
        .await
        .unwrap();
    // The client was told to push `lib`, and left `glibc` out as signed by the upstream key.
    assert_eq!(
        world
            .push_to("attic", "app", &["lib", "glibc"])
            .await
            .unwrap(),
        Added::Held
    );
    assert_eq!(
        world.push_to("attic", "lib", &["glibc"]).await.unwrap(),
        Added::Visible
    );
    let pull = world.allowed::<Pull>("attic").await;
    let found = world
        .caches
        .find_path(&pull, path("app").hash_part())
        .await
        .unwrap();
    assert!(found.is_some());
}

async fn what_was_begun_and_not_ended_is_dropped(world: World) {
    world.push("app", &["lib"]).await.unwrap();
    world.clock.advance(super::DAY_MS - 1);
    world.tidy().await;
    let allowed = world.allowed::<Push>("main").await;
    let asked = vec![path("app").hash_part().to_string()];
    assert!(
        world
            .caches
            .missing_paths(&allowed, asked.clone())
            .await
            .unwrap()
            .is_empty()
    );
    world.clock.advance(1);
    world.tidy().await;
    assert_eq!(
        world
            .caches
            .missing_paths(&allowed, asked.clone())
            .await
            .unwrap(),
        asked
    );
    let digest = rave_blob::Digest::of(&nar("app"));
    assert!(
        !world.caches.objects.contains(&digest).await.unwrap(),
        "its NAR went with it"
    );
}

async fn another_build_does_not_replace_the_first(world: World) {
    use crate::rights::{Allowed, Caller, Right, Rights};
    world.push("app", &[]).await.unwrap();
    let open = world.allowed::<Push>("main").await.cache.clone();
    let other = nar("another build");
    let stream = || {
        Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::from(
            other.clone(),
        ))]))
    };
    let mut again = info("app", &other, &[]);
    let pusher = Rights::NONE.with(Right::Pull).with(Right::Push);
    let pusher = Allowed::<Push>::check(Some(open), Caller::anonymous(), pusher).unwrap();
    let (_, added) = world
        .caches
        .upload(&pusher, again.clone(), stream())
        .await
        .unwrap();
    assert_eq!(added, Added::Kept);
    let admin = world.allowed::<Push>("main").await;
    let (_, added) = world
        .caches
        .upload(&admin, again.clone(), stream())
        .await
        .unwrap();
    assert_eq!(added, Added::Visible, "who may delete may replace");
    again.nar_size += 8;
    assert!(world.caches.upload(&admin, again, stream()).await.is_err());
}

async fn a_new_cache_does_not_show_what_the_old_one_had(world: World) {
    world.push("app", &[]).await.unwrap();
    assert_eq!(world.visible(&["app"]).await, "app");
    let allowed = world.caches.allow(&admin(), "main").await.unwrap();
    world.caches.destroy(&allowed).await.unwrap();
    world.create("main", Settings::default()).await;
    assert_eq!(world.visible(&["app"]).await, "");
    world.tidy().await;
    assert_eq!(world.push("app", &[]).await.unwrap(), Added::Visible);
}

async fn narinfo_files_are_signed_by_all_keys(world: World) {
    world.push("app", &["app"]).await.unwrap();
    let pull = world.allowed::<Pull>("main").await;
    let text = |world: &World, pull| {
        let caches = world.caches.clone();
        async move {
            let served = caches
                .find_path(&pull, path("app").hash_part())
                .await
                .unwrap()
                .unwrap();
            String::from_utf8(served.narinfo.to_vec()).unwrap()
        }
    };
    let one = text(&world, pull).await;
    let first = world.allowed::<Pull>("main").await.cache.public_keys();
    let configure = world.caches.allow(&admin(), "main").await.unwrap();
    let second = world.caches.rotate_key(&configure, None).await.unwrap();
    let two = text(&world, world.allowed::<Pull>("main").await).await;
    let store = rave_nix::StoreDir::default();
    let signed = |text: &str, key: &str| {
        let narinfo = rave_nix::NarInfo::parse(&store, text).unwrap();
        narinfo
            .info
            .signed_by(&store, &[key.parse().unwrap()])
            .is_some()
    };
    assert!(signed(&one, &first[0]) && !signed(&one, &second));
    assert!(signed(&two, &first[0]) && signed(&two, &second));
    let name = CacheName::parse("main").unwrap();
    let open = world.caches.open(&name).await.unwrap().unwrap();
    assert_eq!(
        open.public_keys(),
        [second, first[0].clone()],
        "the new one is the first"
    );
}
