//! Roles over nested groups, and the life of a project.

use rave_core::id::{ProjectId, TokenId};
use rave_core::name::FullPath;
use rave_core::permission::{
    DeleteProject, ManageProject, Principal, Role, Scope, UserPrincipal, Via, Visibility, decide,
};
use rave_core::port::{
    CreateProjectError, Directory as _, ProjectFilter, ProjectRef, ProjectUpdate, Slice,
};
use rave_store::Error;

use super::{World, as_user, new_project, new_user, on_both_engines};
use crate::store::members::Source;

on_both_engines!(
    the_strongest_role_counts,
    memberships_end,
    projects_are_made_where_one_may,
    a_project_changes_and_goes_with_its_events,
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
