//! What is visible to whom.

use rave_core::id::JobId;
use rave_core::name::FullPath;
use rave_core::permission::{Principal, Role, Visibility};
use rave_core::port::{Directory as _, GroupRef, ProjectFilter, ProjectRef, Slice};

use super::{World, as_user, new_user, on_both_engines};
use crate::store::members::Source;
use crate::store::users::User;

on_both_engines!(
    lists_show_what_one_may_see,
    lists_filter_and_page,
    namespaces_are_known_to_those_who_see_something_in_them,
    others_learn_of_groups_and_of_users_who_are_away,
);

const ALL: Slice = Slice {
    offset: 0,
    limit: 100,
};

fn path(text: &str) -> FullPath {
    FullPath::parse(text).unwrap()
}

async fn lists_show_what_one_may_see(world: World) {
    let mut root = new_user("root", None);
    root.admin = true;
    let root = world.auth.create_user(root).await.unwrap();
    let (owner, member, stranger) = (
        world.user("owner").await,
        world.user("member").await,
        world.user("stranger").await,
    );
    let top = world.group(&owner, "top", None).await;
    world.group(&owner, "sub", Some(top)).await;
    let private = world
        .project(&owner, "top/sub/private", Visibility::Private)
        .await;
    world
        .project(&owner, "top/internal", Visibility::Internal)
        .await;
    world
        .project(&owner, "owner/public", Visibility::Public)
        .await;
    world
        .member(Source::Namespace(top), &member, Role::Guest, None)
        .await;
    let job = Principal::Job {
        job: JobId(1),
        project: private.id,
        user: Some(stranger.id),
    };
    let personas = [
        (
            "anonymous",
            Principal::Anonymous,
            vec!["owner/public"],
            vec![],
        ),
        (
            "stranger",
            as_user(&stranger),
            vec!["owner/public", "top/internal"],
            vec![],
        ),
        (
            "member",
            as_user(&member),
            vec!["owner/public", "top/internal", "top/sub/private"],
            vec!["top/internal", "top/sub/private"],
        ),
        (
            "owner",
            as_user(&owner),
            vec!["owner/public", "top/internal", "top/sub/private"],
            vec!["owner/public", "top/internal", "top/sub/private"],
        ),
        (
            "admin",
            as_user(&root),
            vec!["owner/public", "top/internal", "top/sub/private"],
            vec![],
        ),
        ("job", job, vec!["owner/public", "top/sub/private"], vec![]),
    ];
    for (name, principal, sees, belongs) in personas {
        for (membership, wanted) in [(false, sees), (true, belongs)] {
            let filter = ProjectFilter {
                membership,
                ..ProjectFilter::default()
            };
            let page = world
                .auth
                .list_projects(&principal, &filter, ALL)
                .await
                .unwrap();
            let mut found: Vec<_> = page
                .items
                .iter()
                .map(|it| it.project.path.as_str())
                .collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "{name}, membership {membership}");
            assert_eq!(page.total, wanted.len() as u64, "{name}");
            for facts in &page.items {
                let at = ProjectRef::Id(facts.project.id);
                let single = world.auth.find_project(&principal, &at).await.unwrap();
                assert_eq!(
                    single.as_ref(),
                    Some(facts),
                    "{name}: one answer by two ways"
                );
            }
        }
    }
}

async fn lists_filter_and_page(world: World) {
    let owner = world.user("owner").await;
    let top = world.group(&owner, "top", None).await;
    world.group(&owner, "sub", Some(top)).await;
    for (path, visibility) in [
        ("top/one_x", Visibility::Private),
        ("top/onex", Visibility::Public),
        ("top/sub/two", Visibility::Public),
        ("owner/three", Visibility::Public),
    ] {
        world.clock.advance(1000);
        world.project(&owner, path, visibility).await;
    }
    let list = async |filter: ProjectFilter, slice| {
        let page = world
            .auth
            .list_projects(&as_user(&owner), &filter, slice)
            .await
            .unwrap();
        let paths: Vec<_> = page
            .items
            .iter()
            .map(|it| it.project.path.to_string())
            .collect();
        (paths.join(" "), page.total)
    };
    let filter = ProjectFilter::default;
    let all = "owner/three top/sub/two top/onex top/one_x";
    assert_eq!(
        list(filter(), ALL).await,
        (all.into(), 4),
        "the latest first"
    );
    let second = Slice {
        offset: 1,
        limit: 2,
    };
    assert_eq!(
        list(filter(), second).await,
        ("top/sub/two top/onex".into(), 4)
    );
    let beyond = Slice {
        offset: 9,
        limit: 2,
    };
    assert_eq!(list(filter(), beyond).await, (String::new(), 4));
    let search = |text: &str| ProjectFilter {
        search: Some(text.into()),
        ..filter()
    };
    assert_eq!(list(search("ONE_"), ALL).await, ("top/one_x".into(), 1));
    assert_eq!(list(search("%"), ALL).await, (String::new(), 0));
    let inside = |include_subgroups| ProjectFilter {
        namespace: Some(top),
        include_subgroups,
        ..filter()
    };
    assert_eq!(
        list(inside(false), ALL).await,
        ("top/onex top/one_x".into(), 2)
    );
    assert_eq!(list(inside(true), ALL).await.1, 3);
    let private = ProjectFilter {
        visibility: Some(Visibility::Private),
        archived: Some(false),
        owned: true,
        ..filter()
    };
    assert_eq!(list(private, ALL).await, ("top/one_x".into(), 1));
    let archived = ProjectFilter {
        archived: Some(true),
        ..filter()
    };
    assert_eq!(list(archived, ALL).await.1, 0);
}

async fn namespaces_are_known_to_those_who_see_something_in_them(world: World) {
    let (owner, member, guest, stranger) = (
        world.user("owner").await,
        world.user("member").await,
        world.user("guest").await,
        world.user("stranger").await,
    );
    let top = world.group(&owner, "top", None).await;
    let sub = world.group(&owner, "sub", Some(top)).await;
    let dark = world.group(&owner, "dark", None).await;
    let app = world
        .project(&owner, "top/sub/app", Visibility::Private)
        .await;
    world.project(&owner, "dark/app", Visibility::Private).await;
    world
        .member(Source::Namespace(sub), &member, Role::Guest, None)
        .await;
    world
        .member(Source::Project(app.id), &guest, Role::Guest, None)
        .await;
    let sees = async |principal: &Principal, at: &str| {
        let found = world
            .auth
            .find_namespace(principal, &path(at))
            .await
            .unwrap();
        found.map(|it| it.path.to_string())
    };
    for at in ["top", "top/sub"] {
        assert!(sees(&as_user(&owner), at).await.is_some(), "{at}");
        assert!(sees(&as_user(&member), at).await.is_some(), "{at}");
        assert!(sees(&as_user(&guest), at).await.is_some(), "{at}");
        assert_eq!(sees(&as_user(&stranger), at).await, None, "{at}");
        assert_eq!(sees(&Principal::Anonymous, at).await, None, "{at}");
    }
    assert_eq!(sees(&as_user(&member), "dark").await, None);
    assert_eq!(
        sees(&as_user(&stranger), "OWNER").await,
        Some("owner".into())
    );
    assert_eq!(sees(&Principal::Anonymous, "owner").await, None);
    assert_eq!(
        sees(&as_user(&owner), "top/sub/app").await,
        None,
        "a project is none"
    );
    world
        .project(&owner, "top/sub/open", Visibility::Public)
        .await;
    assert!(
        sees(&Principal::Anonymous, "top").await.is_some(),
        "it holds something public"
    );
    // The list gives the same answers.
    for principal in [
        as_user(&owner),
        as_user(&member),
        as_user(&guest),
        as_user(&stranger),
        Principal::Anonymous,
    ] {
        let filter = crate::store::namespaces::NamespaceFilter::default();
        let page = world
            .auth
            .list_namespaces(&principal, filter, ALL)
            .await
            .unwrap();
        let listed: Vec<String> = page
            .items
            .iter()
            .map(|(it, _)| it.path.to_string())
            .collect();
        for at in [
            "dark", "guest", "member", "owner", "stranger", "top", "top/sub",
        ] {
            let seen = sees(&principal, at).await.is_some();
            assert_eq!(listed.contains(&at.to_owned()), seen, "{principal:?} {at}");
        }
        assert_eq!(page.total, listed.len() as u64);
    }
    let summary = world.auth.namespace(dark).await.unwrap().unwrap();
    assert_eq!((summary.owner, summary.parent), (None, None));
}

async fn others_learn_of_groups_and_of_users_who_are_away(world: World) {
    let (owner, member) = (world.user("owner").await, world.user("member").await);
    let top = world.group(&owner, "top", None).await;
    let sub = world.group(&owner, "sub", Some(top)).await;
    world
        .member(Source::Namespace(top), &member, Role::Maintainer, None)
        .await;
    let role = async |user: &User, at: &str| {
        let at = GroupRef::parse(at).unwrap();
        let found = world.auth.find_group(&as_user(user), &at).await.unwrap();
        found.map(|it| (it.group.id, it.role))
    };
    assert_eq!(role(&owner, "top").await, Some((top, Some(Role::Owner))));
    let number = sub.to_string();
    assert_eq!(
        role(&member, &number).await,
        Some((sub, Some(Role::Maintainer)))
    );
    assert_eq!(role(&owner, "owner").await, None, "a user is no group");

    let found = world.auth.find_principal(member.id).await.unwrap();
    assert_eq!(found.unwrap().username, "member");
    let blocked = world.auth.set_active(owner.id, member.id, false).await;
    assert!(blocked.unwrap());
    assert_eq!(world.auth.find_principal(member.id).await.unwrap(), None);
}
