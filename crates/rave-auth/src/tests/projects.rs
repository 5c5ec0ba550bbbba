//! Roles over nested groups, what is visible to whom, and the space of paths.

use rave_core::id::{JobId, ProjectId, TokenId};
use rave_core::name::FullPath;
use rave_core::permission::{
    DeleteProject, ManageProject, Principal, Role, Scope, UserPrincipal, Via, Visibility, decide,
};
use rave_core::port::{
    CreateProjectError, Directory as _, ProjectFilter, ProjectRef, ProjectUpdate, Slice,
};
use rave_store::Error;

use super::{World, as_user, new_group, new_project, new_user, on_both_engines};
use crate::AuthError;
use crate::store::members::Source;

on_both_engines!(
    the_strongest_role_counts,
    memberships_end,
    lists_show_what_one_may_see,
    lists_filter_and_page,
    paths_are_unique_across_kinds_without_regard_to_case,
    projects_are_made_where_one_may,
    a_project_changes_and_goes_with_its_events,
    namespaces_are_known_to_those_who_see_something_in_them,
    of_many_who_want_a_path_one_gets_it,
);

const ALL: Slice = Slice {
    offset: 0,
    limit: 100,
};

fn path(text: &str) -> FullPath {
    FullPath::parse(text).unwrap()
}

async fn the_strongest_role_counts(world: World) {
    let (owner, user) = (world.user("owner").await, world.user("user").await);
    let top = world.group(&owner, "top", None).await;
    let mid = world.group(&owner, "mid", Some(top)).await;
    let low = world.group(&owner, "low", Some(mid)).await;
    let project = world
        .project(&owner, "top/mid/low/app", Visibility::Private)
        .await;
    let side = world.project(&owner, "top/side", Visibility::Private).await;
    let role = async |at: &rave_core::permission::Project, user: &crate::User| {
        let at = ProjectRef::Id(at.id);
        let facts = world.auth.find_project(&as_user(user), &at).await.unwrap();
        facts.unwrap().role
    };
    assert_eq!(role(&project, &user).await, None);
    // Each line adds a membership; the role in the project and in the one beside its groups follows.
    for (at, given, deep, beside) in [
        (
            Source::Namespace(top),
            Role::Guest,
            Role::Guest,
            Some(Role::Guest),
        ),
        (
            Source::Namespace(low),
            Role::Developer,
            Role::Developer,
            Some(Role::Guest),
        ),
        (
            Source::Namespace(mid),
            Role::Reporter,
            Role::Developer,
            Some(Role::Guest),
        ),
        (
            Source::Project(project.id),
            Role::Maintainer,
            Role::Maintainer,
            Some(Role::Guest),
        ),
    ] {
        world.member(at, &user, given, None).await;
        assert_eq!(role(&project, &user).await, Some(deep), "{at:?}");
        assert_eq!(role(&side, &user).await, beside, "{at:?}");
    }
    assert_eq!(
        role(&project, &owner).await,
        Some(Role::Owner),
        "made the top group"
    );
    let own = world.project(&user, "user/own", Visibility::Private).await;
    assert_eq!(
        role(&own, &user).await,
        Some(Role::Owner),
        "owns the namespace"
    );
    assert_eq!(role(&own, &owner).await, None);
    let anonymous = world
        .auth
        .find_project(&Principal::Anonymous, &ProjectRef::Path(path("USER/Own")))
        .await
        .unwrap();
    assert_eq!(
        anonymous.unwrap().role,
        None,
        "found without regard to case"
    );
}

async fn memberships_end(world: World) {
    let (owner, user) = (world.user("owner").await, world.user("user").await);
    let top = world.group(&owner, "top", None).await;
    let project = world.project(&owner, "top/app", Visibility::Private).await;
    let end = rave_core::time::Clock::now(&*world.clock).plus_millis(1000);
    world
        .member(Source::Namespace(top), &user, Role::Developer, Some(end))
        .await;
    let sees = async || {
        let viewer = as_user(&user);
        let filter = ProjectFilter::default();
        let listed = world
            .auth
            .list_projects(&viewer, &filter, ALL)
            .await
            .unwrap();
        let at = ProjectRef::Id(project.id);
        let one = world
            .auth
            .find_project(&viewer, &at)
            .await
            .unwrap()
            .unwrap();
        (listed.total, one.role)
    };
    assert_eq!(sees().await, (1, Some(Role::Developer)));
    world.clock.advance(1000);
    assert_eq!(sees().await, (0, None));
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

async fn projects_are_made_where_one_may(world: World) {
    let mut root = new_user("root", None);
    root.admin = true;
    let root = world.auth.create_user(root).await.unwrap();
    let (owner, user) = (world.user("owner").await, world.user("user").await);
    let top = world.group(&owner, "top", None).await;
    let create = async |principal: &Principal, path: &str| {
        let made = world
            .auth
            .create_project(principal, new_project(path, Visibility::Private));
        made.await.map(drop).map_err(|it| match it {
            CreateProjectError::NoNamespace(_) => "namespace",
            CreateProjectError::Taken(_) => "taken",
            CreateProjectError::InsufficientScope => "scope",
            CreateProjectError::Port(_) => "port",
        })
    };
    assert_eq!(create(&as_user(&user), "user/a").await, Ok(()));
    assert_eq!(create(&as_user(&user), "owner/a").await, Err("namespace"));
    assert_eq!(create(&as_user(&user), "missing/a").await, Err("namespace"));
    assert_eq!(create(&as_user(&user), "alone").await, Err("namespace"));
    assert_eq!(
        create(&as_user(&user), "user/a/b").await,
        Err("namespace"),
        "below a project"
    );
    assert_eq!(create(&as_user(&user), "top/a").await, Err("namespace"));
    assert_eq!(
        create(&Principal::Anonymous, "user/b").await,
        Err("namespace")
    );
    world
        .member(Source::Namespace(top), &user, Role::Developer, None)
        .await;
    assert_eq!(create(&as_user(&user), "top/a").await, Err("namespace"));
    let offered = world
        .auth
        .writable_namespaces(&as_user(&user))
        .await
        .unwrap();
    assert_eq!(
        offered
            .iter()
            .map(|it| it.path.as_str())
            .collect::<Vec<_>>(),
        ["user"]
    );
    let project = ProjectRef::Path(path("user/a"));
    let id = world
        .auth
        .find_project(&as_user(&user), &project)
        .await
        .unwrap()
        .unwrap()
        .project
        .id;
    assert!(id >= ProjectId(1));

    let with = |user: &crate::User, scope| {
        Principal::User(UserPrincipal {
            id: user.id,
            username: user.username.clone(),
            name: user.name.clone(),
            admin: user.admin,
            via: Via::Token {
                id: TokenId(1),
                scopes: vec![scope],
            },
        })
    };
    assert_eq!(
        create(&with(&owner, Scope::ReadApi), "top/b").await,
        Err("scope")
    );
    assert_eq!(
        create(&with(&owner, Scope::WriteRepository), "top/b").await,
        Ok(())
    );
    assert_eq!(create(&with(&owner, Scope::Api), "top/c").await, Ok(()));
    assert_eq!(create(&as_user(&root), "user/by-admin").await, Ok(()));
    assert_eq!(create(&as_user(&root), "nowhere/a").await, Err("namespace"));
    let offered = world
        .auth
        .writable_namespaces(&as_user(&owner))
        .await
        .unwrap();
    assert_eq!(
        offered
            .iter()
            .map(|it| it.path.as_str())
            .collect::<Vec<_>>(),
        ["owner", "top"]
    );
    let offered = world
        .auth
        .writable_namespaces(&as_user(&root))
        .await
        .unwrap();
    assert_eq!(
        offered
            .iter()
            .map(|it| it.path.as_str())
            .collect::<Vec<_>>(),
        ["root", "top"]
    );
    assert_eq!(
        world
            .auth
            .writable_namespaces(&Principal::Anonymous)
            .await
            .unwrap(),
        []
    );
}

async fn a_project_changes_and_goes_with_its_events(world: World) {
    let owner = world.user("owner").await;
    let project = world
        .project(&owner, "owner/app", Visibility::Private)
        .await;
    assert_eq!(
        (project.default_branch.as_str(), project.name.as_str()),
        ("main", "app")
    );
    world.clock.advance(1000);
    let facts = async || {
        let at = ProjectRef::Id(project.id);
        world
            .auth
            .find_project(&as_user(&owner), &at)
            .await
            .unwrap()
    };
    let access = decide::<ManageProject>(&as_user(&owner), facts().await.unwrap()).unwrap();
    let update = ProjectUpdate {
        description: Some("Says hello".into()),
        archived: Some(true),
        ..ProjectUpdate::default()
    };
    let updated = world.auth.update_project(&access, update).await.unwrap();
    assert_eq!(
        (
            updated.name.as_str(),
            updated.description.as_str(),
            updated.archived
        ),
        ("app", "Says hello", true)
    );
    assert!(updated.updated_at > project.updated_at);
    let at = project.last_activity_at.plus_millis(500);
    world.auth.touch_project(project.id, at).await.unwrap();
    world
        .auth
        .touch_project(project.id, project.created_at)
        .await
        .unwrap();
    assert_eq!(
        facts().await.unwrap().project.last_activity_at,
        at,
        "never moves back"
    );

    let access = decide::<DeleteProject>(&as_user(&owner), facts().await.unwrap()).unwrap();
    world.auth.delete_project(&access).await.unwrap();
    world.auth.delete_project(&access).await.unwrap();
    assert_eq!(facts().await, None);
    assert_eq!(world.auth.load_project(project.id).await.unwrap(), None);
    let events = world
        .auth
        .db
        .read("events", |tx| tx.events_after(0, &[], 100));
    let events = events.await.map_err(|it: Error| it).unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|it| (it.what.kind.label(), it.what.subject.as_str()))
        .collect();
    let subject = format!("project/{}", project.id);
    assert_eq!(
        told[1..],
        [
            ("project.created", subject.as_str()),
            ("project.updated", &subject),
            ("project.deleted", &subject)
        ]
    );
    assert_eq!(events[3].what.payload["path"], "owner/app");
    world
        .project(&owner, "owner/app", Visibility::Private)
        .await;
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
