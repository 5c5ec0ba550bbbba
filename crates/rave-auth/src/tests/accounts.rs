//! The first administrator, claim links, groups and members.

use rave_core::id::UserId;
use rave_core::permission::{ManageProject, Principal, Role, UserPrincipal, Visibility, decide};
use rave_core::port::{Authenticator as _, Credentials, Directory as _, ProjectRef};
use rave_core::secret::Secret;
use rave_core::time::Clock as _;

use super::{PASSWORD, World, as_user, new_user, on_both_engines};
use crate::service::members::{MemberList, MemberManager};
use crate::store::members::Source;
use crate::{AuthError, Bootstrap, User};

on_both_engines!(
    the_first_administrator_claims_the_instance,
    the_first_administrator_may_get_a_password_at_once,
    a_claim_link_works_once_even_when_raced,
    a_changed_password_ends_other_sessions,
    a_group_keeps_an_owner,
    nobody_gives_more_than_they_have,
    a_group_goes_with_all_in_it,
);

async fn signs_in(world: &World, username: &str, password: &str) -> bool {
    let credentials = Credentials::Basic {
        username: username.into(),
        password: Secret::new(password),
    };
    world
        .auth
        .authenticate(&credentials, "192.0.2.1")
        .await
        .is_ok()
}

fn caller(user: &User) -> UserPrincipal {
    let Principal::User(caller) = as_user(user) else {
        unreachable!("users are users");
    };
    caller
}

async fn the_first_administrator_claims_the_instance(world: World) {
    let Bootstrap::Claim(first) = world.auth.bootstrap(None).await.unwrap() else {
        panic!("nobody has entered yet");
    };
    let Bootstrap::Claim(second) = world.auth.bootstrap(None).await.unwrap() else {
        panic!("nobody has entered yet");
    };
    assert_ne!(first, second);
    world.clock.advance(400 * 24 * 3600 * 1000);
    let root = world
        .auth
        .find_claim(first.expose())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (root.id, root.username.as_str(), root.admin),
        (UserId(1), "root", true)
    );
    let next = world.user("next").await;
    assert!(next.id > root.id, "the first number is not given again");
    let short = world
        .auth
        .claim(second.expose(), &Secret::new("short"))
        .await;
    assert!(matches!(
        short,
        Err(AuthError::Invalid {
            field: "password",
            ..
        })
    ));
    world
        .auth
        .claim(second.expose(), &Secret::new(PASSWORD))
        .await
        .unwrap();
    assert!(signs_in(&world, "root", PASSWORD).await);
    for link in [&first, &second] {
        assert_eq!(
            world.auth.find_claim(link.expose()).await.unwrap(),
            None,
            "all are closed"
        );
    }
    let ready = Bootstrap::Ready {
        password_set: false,
    };
    assert_eq!(world.auth.bootstrap(None).await.unwrap(), ready);
    let ignored = Secret::new("another long password");
    assert_eq!(world.auth.bootstrap(Some(&ignored)).await.unwrap(), ready);
    assert!(signs_in(&world, "root", PASSWORD).await);
}

async fn the_first_administrator_may_get_a_password_at_once(world: World) {
    let short = world.auth.bootstrap(Some(&Secret::new("short"))).await;
    assert!(matches!(short, Err(AuthError::Invalid { .. })));
    let password = Secret::new(PASSWORD);
    let set = world.auth.bootstrap(Some(&password)).await.unwrap();
    assert_eq!(set, Bootstrap::Ready { password_set: true });
    assert!(signs_in(&world, "root", PASSWORD).await);
    assert_eq!(
        world.auth.bootstrap(None).await.unwrap(),
        Bootstrap::Ready {
            password_set: false
        }
    );
}

async fn a_claim_link_works_once_even_when_raced(world: World) {
    let user = world.user("user").await;
    let links = [
        world.auth.invite(user.id).await.unwrap(),
        world.auth.invite(user.id).await.unwrap(),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (auth, link) = (world.auth.clone(), links[number % 2].clone());
        tasks.spawn(async move {
            let password = format!("password number {number}");
            let claimed = auth.claim(link.expose(), &Secret::new(&password)).await;
            claimed.map(|_| password).map_err(|it| it.to_string())
        });
    }
    let results = tasks.join_all().await;
    let winners: Vec<&String> = results.iter().flatten().collect();
    let [winner] = winners.as_slice() else {
        panic!("one wins: {results:?}");
    };
    assert!(signs_in(&world, "user", winner).await);
    let late = world.auth.invite(user.id).await.unwrap();
    world.clock.advance(7 * 24 * 3600 * 1000);
    let claimed = world
        .auth
        .claim(late.expose(), &Secret::new(PASSWORD))
        .await;
    assert!(matches!(claimed, Err(AuthError::NotFound("Link"))), "ended");
}

async fn a_changed_password_ends_other_sessions(world: World) {
    let user = world
        .auth
        .create_user(new_user("user", Some(PASSWORD)))
        .await
        .unwrap();
    let (this, other) = (
        world.auth.begin_session(user.id).await.unwrap(),
        world.auth.begin_session(user.id).await.unwrap(),
    );
    assert!(signs_in(&world, "user", PASSWORD).await);
    let digest = rave_core::secret::TokenDigest::of(this.expose());
    let new = Secret::new("a quite different one");
    world
        .auth
        .change_password(user.id, &new, Some(digest.as_str().to_owned()))
        .await
        .unwrap();
    let lives = async |cookie: Secret| {
        let credentials = Credentials::Session(cookie);
        world
            .auth
            .authenticate(&credentials, "192.0.2.1")
            .await
            .is_ok()
    };
    assert!(lives(this).await && !lives(other).await);
    assert!(
        !signs_in(&world, "user", PASSWORD).await,
        "what was remembered is void"
    );
    assert!(signs_in(&world, "user", new.expose()).await);
}

async fn a_group_keeps_an_owner(world: World) {
    let (owner, user) = (world.user("owner").await, world.user("user").await);
    let id = world.group(&owner, "team", None).await;
    let access = world
        .auth
        .group_access(&as_user(&owner), "team")
        .await
        .unwrap();
    let manager = MemberManager::of_group(&access.owned().unwrap(), owner.id);
    let list = MemberList::from(&access);
    let forbidden = |it: Result<(), AuthError>| matches!(it, Err(AuthError::Forbidden(_)));
    assert!(forbidden(world.auth.leave(list, owner.id).await));
    assert!(forbidden(world.auth.remove_member(manager, owner.id).await));
    let end = Some(world.clock.now().plus_millis(1000));
    let lower = world
        .auth
        .update_member(manager, owner.id, Role::Developer, None);
    assert!(forbidden(lower.await.map(drop)));
    let ending = world
        .auth
        .update_member(manager, owner.id, Role::Owner, end);
    assert!(forbidden(ending.await.map(drop)));
    world
        .auth
        .add_member(manager, user.id, Role::Owner, end)
        .await
        .unwrap();
    assert!(
        forbidden(world.auth.leave(list, owner.id).await),
        "the other one's time is limited"
    );
    let again = world
        .auth
        .add_member(manager, user.id, Role::Guest, None)
        .await;
    assert_eq!(again.unwrap_err().to_string(), "member already exists");
    world.clock.advance(1000);
    world
        .auth
        .add_member(manager, user.id, Role::Owner, None)
        .await
        .unwrap();
    world.auth.leave(list, owner.id).await.unwrap();
    let members = world.auth.list_members(list, true).await.unwrap();
    assert_eq!(
        members.iter().map(|it| it.user.id).collect::<Vec<_>>(),
        [user.id]
    );
    let gone = world
        .auth
        .group_access(&as_user(&owner), &id.to_string())
        .await;
    assert!(
        matches!(gone, Err(AuthError::NotFound("Group"))),
        "hidden from strangers"
    );
}

async fn nobody_gives_more_than_they_have(world: World) {
    let (owner, maintainer, user) = (
        world.user("owner").await,
        world.user("maintainer").await,
        world.user("user").await,
    );
    let team = world.group(&owner, "team", None).await;
    let project = world.project(&owner, "team/app", Visibility::Private).await;
    let at = Source::Project(project.id);
    world.member(at, &maintainer, Role::Maintainer, None).await;
    let facts = world
        .auth
        .find_project(&as_user(&maintainer), &ProjectRef::Id(project.id))
        .await
        .unwrap()
        .unwrap();
    let access = decide::<ManageProject>(&as_user(&maintainer), facts).unwrap();
    let manager = MemberManager::of_project(&access);
    let too_much = world
        .auth
        .add_member(manager, user.id, Role::Owner, None)
        .await;
    assert_eq!(
        too_much.unwrap_err().to_string(),
        "the role is above your own"
    );
    let added = world
        .auth
        .add_member(manager, user.id, Role::Maintainer, None)
        .await
        .unwrap();
    assert_eq!(
        (added.role, added.created_by),
        (Role::Maintainer, Some(maintainer.id))
    );
    world.auth.remove_member(manager, user.id).await.unwrap();
    world.member(at, &user, Role::Owner, None).await;
    assert!(
        world.auth.remove_member(manager, user.id).await.is_err(),
        "an owner"
    );
    let lower = world
        .auth
        .update_member(manager, user.id, Role::Guest, None)
        .await;
    assert!(lower.is_err(), "an owner");
    let missing = world
        .auth
        .add_member(manager, UserId(999), Role::Guest, None)
        .await;
    assert!(matches!(missing, Err(AuthError::NotFound("User"))));
    let list = MemberList::from(&access.also().unwrap());
    let names = async |inherited| {
        let all = world.auth.list_members(list, inherited).await.unwrap();
        let name = |it: &crate::store::members::Member| {
            format!("{} {}", it.user.username, it.role.label())
        };
        all.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(names(false).await, "maintainer Maintainer, user Owner");
    world
        .member(Source::Namespace(team), &maintainer, Role::Guest, None)
        .await;
    assert_eq!(
        names(true).await,
        "maintainer Maintainer, owner Owner, user Owner"
    );
}

async fn a_group_goes_with_all_in_it(world: World) {
    let owner = world.user("owner").await;
    let top = world.group(&owner, "top", None).await;
    world.group(&owner, "sub", Some(top)).await;
    let project = world
        .project(&owner, "top/sub/app", Visibility::Private)
        .await;
    let stranger = world.user("stranger").await;
    let stranger_made = world
        .auth
        .create_group(&caller(&stranger), super::new_group("x", Some(top)))
        .await;
    assert!(matches!(stranger_made, Err(AuthError::NotFound("Group"))));
    let access = world
        .auth
        .group_access(&as_user(&owner), "top")
        .await
        .unwrap();
    let owned = access.owned().unwrap();
    world
        .auth
        .delete_group(&owned, &caller(&owner))
        .await
        .unwrap();
    assert_eq!(world.auth.load_project(project.id).await.unwrap(), None);
    world.group(&owner, "top", None).await;
    let events = world.auth.db.read("events", |tx| {
        tx.events_after(0, &[rave_core::event::EventKind::ProjectDeleted], 10)
    });
    let events = events.await.map_err(|it: rave_store::Error| it).unwrap();
    assert_eq!(events[0].what.project, Some(project.id));
}
