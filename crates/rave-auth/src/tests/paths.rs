//! The space of paths.

use rave_core::permission::{Principal, Visibility};
use rave_core::port::Directory as _;
use rave_store::Error;

use super::{World, as_user, new_group, new_project, new_user, on_both_engines};
use crate::AuthError;

on_both_engines!(
    paths_are_unique_across_kinds_without_regard_to_case,
    of_many_who_want_a_path_one_gets_it,
);

async fn paths_are_unique_across_kinds_without_regard_to_case(world: World) {
    let owner = world.user("Owner").await;
    let Principal::User(caller) = as_user(&owner) else {
        unreachable!("a user");
    };
    let top = world.group(&owner, "Team", None).await;
    world.project(&owner, "team/App", Visibility::Private).await;
    let group = async |path: &str, parent| {
        let made = world
            .auth
            .create_group(&caller, new_group(path, parent))
            .await;
        made.map(drop).map_err(|it| it.to_string())
    };
    let taken = || Err("path has already been taken".to_owned());
    assert_eq!(group("TEAM", None).await, taken());
    assert_eq!(group("owner", None).await, taken(), "a user's namespace");
    assert_eq!(group("app", Some(top)).await, taken(), "a project");
    assert_eq!(
        group("Api", None).await,
        Err("path is a reserved name".into())
    );
    assert_eq!(
        group("api", Some(top)).await,
        Ok(()),
        "reserved at the top only"
    );
    assert!(group("-x", None).await.is_err() && group("a/b", None).await.is_err());

    let user = async |name: &str| {
        let made = world.auth.create_user(new_user(name, None)).await;
        made.map(drop).map_err(|it| it.to_string())
    };
    assert_eq!(
        user("team").await,
        Err("username has already been taken".into()),
        "a group"
    );
    assert_eq!(
        user("OWNER").await,
        Err("email has already been taken".into())
    );
    assert_eq!(
        user("users").await,
        Err("username is a reserved name".into())
    );
    let mut other = new_user("oWNER", None);
    other.email = "other@example.org".into();
    let error = world.auth.create_user(other).await.unwrap_err();
    assert!(
        matches!(error, AuthError::Taken { field: "username" }),
        "{error}"
    );

    let principal = as_user(&owner);
    let project = async |path: &str| {
        let new = new_project(path, Visibility::Private);
        let made = world.auth.create_project(&principal, new).await;
        made.map(|it| it.path.to_string())
            .map_err(|it| it.to_string())
    };
    assert_eq!(
        project("TEAM/other").await,
        Ok("Team/other".into()),
        "the group's spelling"
    );
    assert_eq!(
        project("team/APP").await,
        Err("team/APP has already been taken".into())
    );
    assert_eq!(
        project("team/api").await,
        Err("team/api has already been taken".into()),
        "a group"
    );
    assert_eq!(
        project("team/git-upload-pack").await,
        Err("team/git-upload-pack has already been taken".into())
    );
    // What failed left nothing behind.
    assert_eq!(user("fresh").await, Ok(()));
    let count = world.auth.db.read("count", |tx| {
        let sql =
            "SELECT (SELECT COUNT(*) FROM auth_namespace) + (SELECT COUNT(*) FROM auth_project)
                   - (SELECT COUNT(*) FROM auth_path) AS odd";
        tx.query_one(sql, &[])?.int("odd")
    });
    assert_eq!(count.await.map_err(|it: Error| it).unwrap(), 0);
}

async fn of_many_who_want_a_path_one_gets_it(world: World) {
    let owner = world.user("owner").await;
    let tries = (0..6).map(|_| {
        let (auth, principal) = (world.auth.clone(), as_user(&owner));
        async move {
            let new = new_project("owner/wanted", Visibility::Private);
            auth.create_project(&principal, new)
                .await
                .map_err(|it| it.to_string())
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    tries.for_each(|it| drop(tasks.spawn(it)));
    let results = tasks.join_all().await;
    assert_eq!(
        results.iter().filter(|it| it.is_ok()).count(),
        1,
        "{results:?}"
    );
    let told = "owner/wanted has already been taken";
    assert!(
        results
            .iter()
            .filter_map(|it| it.as_ref().err())
            .all(|it| it == told),
        "{results:?}"
    );
}
