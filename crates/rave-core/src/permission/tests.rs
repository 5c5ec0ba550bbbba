//! The whole table of callers and actions.

use super::*;
use crate::id::{JobId, TokenId};

fn project(visibility: Visibility) -> Project {
    Project {
        id: ProjectId(1),
        namespace: NamespaceId(1),
        path: FullPath::parse("team/app").expect("valid"),
        name: "app".into(),
        description: String::new(),
        visibility,
        default_branch: "main".into(),
        archived: false,
        creator: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        last_activity_at: Timestamp(0),
    }
}

fn user(admin: bool, via: Via) -> Principal {
    Principal::User(UserPrincipal {
        id: UserId(7),
        username: "u".into(),
        name: "U".into(),
        admin,
        via,
    })
}

fn outcome<A: Action>(
    principal: &Principal,
    role: Option<Role>,
    visibility: Visibility,
) -> &'static str {
    match decide::<A>(
        principal,
        ProjectFacts {
            project: project(visibility),
            role,
        },
    ) {
        Ok(_) => "yes",
        Err(Denied::Hidden) => "hidden",
        Err(Denied::Forbidden { .. }) => "no",
        Err(Denied::InsufficientScope { .. }) => "scope",
        Err(Denied::Archived) => "archived",
    }
}

/// One line per kind of caller, one column per action.
#[test]
fn the_whole_table() {
    let member = user(false, Via::Password);
    let mut callers = vec![
        ("anonymous".to_owned(), Principal::Anonymous, None),
        ("stranger".to_owned(), member.clone(), None),
    ];
    callers.extend(Role::ALL.map(|it| (it.label().to_lowercase(), member.clone(), Some(it))));
    callers.push(("admin".into(), user(true, Via::Password), None));
    let token = |scopes: &[Scope]| {
        user(
            false,
            Via::Token {
                id: TokenId(1),
                scopes: scopes.to_vec(),
            },
        )
    };
    callers.push((
        "owner read_api".into(),
        token(&[Scope::ReadApi]),
        Some(Role::Owner),
    ));
    callers.push((
        "owner read_repository".into(),
        token(&[Scope::ReadRepository]),
        Some(Role::Owner),
    ));
    callers.push((
        "owner write_repository".into(),
        token(&[Scope::WriteRepository]),
        Some(Role::Owner),
    ));
    callers.push((
        "own job".into(),
        Principal::Job {
            job: JobId(1),
            project: ProjectId(1),
            user: None,
        },
        None,
    ));
    callers.push((
        "other job".into(),
        Principal::Job {
            job: JobId(1),
            project: ProjectId(2),
            user: None,
        },
        None,
    ));

    let mut table = String::new();
    for visibility in [
        Visibility::Private,
        Visibility::Internal,
        Visibility::Public,
    ] {
        table += &format!(
            "{:<23} project  code fetch   push pipes   run manage delete\n",
            visibility.label()
        );
        for (name, principal, role) in &callers {
            let row = [
                outcome::<ReadProject>(principal, *role, visibility),
                outcome::<ReadCode>(principal, *role, visibility),
                outcome::<FetchCode>(principal, *role, visibility),
                outcome::<PushCode>(principal, *role, visibility),
                outcome::<ReadPipelines>(principal, *role, visibility),
                outcome::<RunPipelines>(principal, *role, visibility),
                outcome::<ManageProject>(principal, *role, visibility),
                outcome::<DeleteProject>(principal, *role, visibility),
            ];
            table += &format!("{name:<23} {}\n", row.map(|it| format!("{it:>6}")).join(""));
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn an_archived_project_is_read_only() {
    let facts = ProjectFacts {
        project: Project {
            archived: true,
            ..project(Visibility::Private)
        },
        role: Some(Role::Owner),
    };
    let owner = user(false, Via::Password);
    assert_eq!(
        decide::<PushCode>(&owner, facts.clone()).err(),
        Some(Denied::Archived)
    );
    assert!(
        decide::<ReadCode>(&owner, facts.clone()).is_ok()
            && decide::<ManageProject>(&owner, facts).is_ok()
    );
}
