//! Projects and groups that use a cache.

use rave_core::id::{JobId, ProjectId};
use rave_core::name::FullPath;
use rave_core::permission::{Principal, Visibility};
use rave_core::port::{BinaryCaches as _, Directory as _, NewProject};

use super::{World, on_both_engines, user};
use crate::error::CacheError;
use crate::rights::{Configure, Pull, Push};
use crate::service::visit::Visitor;

on_both_engines!(
    jobs_use_the_caches_of_their_project,
    a_stranger_learns_nothing
);

async fn project(world: &World, path: &str) -> ProjectId {
    let new = NewProject {
        path: FullPath::parse(path).unwrap(),
        name: None,
        description: String::new(),
        visibility: Some(Visibility::Private),
        default_branch: None,
    };
    world
        .auth
        .create_project(&user(1, true), new)
        .await
        .unwrap()
        .id
}

async fn account(world: &World, name: &str) {
    let new = rave_auth::NewUser {
        username: name.into(),
        name: name.into(),
        email: format!("{name}@example.org"),
        password: None,
        admin: false,
    };
    world.auth.create_user(new).await.unwrap();
}

fn job(project: ProjectId) -> Visitor {
    Visitor::Known(Principal::Job {
        job: JobId(7),
        project,
        user: None,
    })
}

async fn jobs_use_the_caches_of_their_project(world: World) {
    account(&world, "user1").await;
    let own = project(&world, "user1/app").await;
    let other = project(&world, "user1/other").await;
    assert!(world.caches.for_project(own).await.unwrap().is_empty());
    let refused = world.caches.allow::<Pull>(&job(own), "main").await;
    assert!(matches!(refused, Err(CacheError::Unauthorized)));
    let allowed = world.allowed::<Configure>("main").await;
    let path = FullPath::parse("user1/app").unwrap();
    world
        .caches
        .attach(&allowed, &user(1, true), &path, false)
        .await
        .unwrap();
    let found = world.caches.for_project(own).await.unwrap();
    assert_eq!(
        (found.len(), found[0].url.as_str()),
        (1, "http://rave.test/-/cache/main")
    );
    assert!(!found[0].may_push && found[0].public_keys[0].starts_with("main:"));
    assert!(world.caches.for_project(other).await.unwrap().is_empty());
    assert!(world.caches.allow::<Pull>(&job(own), "main").await.is_ok());
    let refused = world.caches.allow::<Push>(&job(own), "main").await;
    assert!(matches!(refused, Err(CacheError::Forbidden(_))));
    assert!(
        world
            .caches
            .allow::<Pull>(&job(other), "main")
            .await
            .is_err()
    );
    world
        .caches
        .attach(&allowed, &user(1, true), &path, true)
        .await
        .unwrap();
    let pushes = world.caches.allow::<Push>(&job(own), "main").await.unwrap();
    world
        .caches
        .note_pushed(pushes.cache.cache.id, &pushes.caller, 10, 4);
    world
        .caches
        .note_asked(pushes.cache.cache.id, &pushes.caller, None);
    world.caches.settle().await.unwrap();
    let used = world.caches.used_by(JobId(7)).await.unwrap();
    assert_eq!(
        (used[0].misses, used[0].paths_pushed, used[0].bytes_pushed),
        (1, 1, 10)
    );
    world
        .caches
        .detach(&allowed, &user(1, true), &path)
        .await
        .unwrap();
    assert!(world.caches.allow::<Pull>(&job(own), "main").await.is_err());
}

async fn a_stranger_learns_nothing(world: World) {
    account(&world, "user1").await;
    account(&world, "user2").await;
    let stranger = Visitor::Known(user(2, false));
    let nobody = Visitor::Known(Principal::Anonymous);
    for name in ["main", "absent", "not a name"] {
        let seen = world.caches.allow::<Pull>(&stranger, name).await;
        assert!(
            matches!(seen, Err(CacheError::NoSuchCache)),
            "{name}: they may make caches"
        );
        let seen = world.caches.allow::<Pull>(&nobody, name).await;
        assert!(matches!(seen, Err(CacheError::Unauthorized)), "{name}");
    }
    assert!(world.caches.list_visible(&nobody).await.unwrap().is_empty());
}
