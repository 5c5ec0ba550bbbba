//! Tokens, passwords and sessions as credentials.

use rave_core::permission::{Principal, Scope, UserPrincipal, Via};
use rave_core::port::{AuthenticateError, Authenticator as _, Credentials};
use rave_core::secret::Secret;
use rave_core::time::{Clock as _, Timestamp};

use super::{JOB_TOKEN, PASSWORD, World, new_user, on_both_engines};
use crate::store::tokens::{TokenFilter, TokenRow};

on_both_engines!(
    a_token_proves_its_user_until_it_ends,
    a_token_is_noted_at_most_once_a_minute,
    rotated_tokens_are_replaced_once,
    passwords_prove_their_user,
    many_at_once_are_let_in,
    wrong_passwords_are_throttled,
    wrong_tokens_by_basic_are_throttled_and_right_ones_pass,
    sessions_end_when_they_are_not_used,
    a_blocked_user_proves_nothing,
    job_tokens_prove_jobs,
    what_has_ended_is_removed,
);

async fn ask(world: &World, credentials: Credentials) -> Result<Principal, String> {
    let found = world.auth.authenticate(&credentials, "192.0.2.1").await;
    found.map_err(|error| match error {
        AuthenticateError::Invalid => "invalid".into(),
        AuthenticateError::Throttled { retry_after_secs } => format!("wait {retry_after_secs}"),
        AuthenticateError::Port(error) => rave_http::error::chain(&error),
    })
}

async fn by_token(world: &World, token: &Secret) -> Result<Principal, String> {
    ask(world, Credentials::Token(token.clone())).await
}

async fn by_basic(world: &World, username: &str, password: &str) -> Result<String, String> {
    let credentials = Credentials::Basic {
        username: username.into(),
        password: Secret::new(password),
    };
    let found = ask(world, credentials).await?;
    Ok(match found {
        Principal::User(UserPrincipal { username, via, .. }) => match via {
            Via::Password => format!("{username} by password"),
            Via::Token { .. } => format!("{username} by token"),
            Via::Session(_) => format!("{username} by session"),
        },
        Principal::Job { job, .. } => format!("job {job}"),
        Principal::Anonymous => "anonymous".into(),
    })
}

fn invalid<T>() -> Result<T, String> {
    Err("invalid".into())
}

async fn a_token_proves_its_user_until_it_ends(world: World) {
    let user = world.user("user").await;
    let end = world.clock.now().plus_millis(10_000);
    let scopes = [Scope::ReadApi, Scope::WriteRepository, Scope::ReadApi];
    let token = world
        .auth
        .issue_token("USER", "laptop", &scopes, Some(end))
        .await
        .unwrap();
    assert!(token.expose().starts_with("glpat-"));
    let Ok(Principal::User(found)) = by_token(&world, &token).await else {
        panic!("the token is valid");
    };
    assert_eq!(
        (found.id, found.username.as_str(), found.admin),
        (user.id, "user", false)
    );
    let Via::Token { id, scopes } = found.via else {
        panic!("by a token");
    };
    assert_eq!(scopes, [Scope::ReadApi, Scope::WriteRepository]);
    assert_eq!(
        by_token(&world, &Secret::new("glpat-unknown")).await,
        invalid()
    );

    let lasting = world
        .auth
        .issue_token("user", "robot", &[Scope::Api], None)
        .await
        .unwrap();
    world.clock.advance(9_999);
    assert!(by_token(&world, &token).await.is_ok());
    world.clock.advance(1);
    assert_eq!(by_token(&world, &token).await, invalid(), "expired");
    let Ok(Principal::User(UserPrincipal {
        via: Via::Token { id: other, .. },
        ..
    })) = by_token(&world, &lasting).await
    else {
        panic!("the token is valid");
    };
    assert_ne!(id, other);
    assert!(world.auth.revoke_token(other).await.unwrap());
    assert!(!world.auth.revoke_token(other).await.unwrap(), "only once");
    assert_eq!(by_token(&world, &lasting).await, invalid(), "revoked");

    for (name, scopes, end) in [
        ("", vec![Scope::Api], None),
        ("no scopes", vec![], None),
        ("past", vec![Scope::Api], Some(Timestamp(0))),
    ] {
        assert!(
            world
                .auth
                .issue_token("user", name, &scopes, end)
                .await
                .is_err(),
            "{name}"
        );
    }
    assert!(
        world
            .auth
            .issue_token("nobody", "x", &[Scope::Api], None)
            .await
            .is_err()
    );
}

async fn a_token_is_noted_at_most_once_a_minute(world: World) {
    let user = world.user("user").await;
    let token = world
        .auth
        .issue_token("user", "t", &[Scope::Api], None)
        .await
        .unwrap();
    let used = async || {
        let filter = TokenFilter {
            user: Some(user.id),
            search: Some("T".into()),
            ..TokenFilter::default()
        };
        let slice = rave_core::port::Slice {
            offset: 0,
            limit: 5,
        };
        let page = world.auth.list_tokens(filter, slice).await.unwrap();
        page.items[0].last_used_at
    };
    assert_eq!(used().await, None);
    let first = world.clock.now();
    by_token(&world, &token).await.unwrap();
    assert_eq!(used().await, Some(first));
    world.clock.advance(59_999);
    by_token(&world, &token).await.unwrap();
    assert_eq!(used().await, Some(first));
    world.clock.advance(1);
    by_token(&world, &token).await.unwrap();
    assert_eq!(used().await, Some(first.plus_millis(60_000)));
}

async fn rotated_tokens_are_replaced_once(world: World) {
    let user = world.user("user").await;
    let row = TokenRow {
        user: user.id,
        name: "ci".into(),
        description: "nightly".into(),
        scopes: vec![Scope::Api],
        expires_at: None,
    };
    let (old, secret) = world.auth.create_token(row).await.unwrap();
    let end = world.clock.now().plus_millis(1000);
    let (new, fresh) = world.auth.rotate_token(old.id, user.id, end).await.unwrap();
    assert_eq!(
        (new.name, new.description, new.scopes),
        (old.name, old.description, old.scopes)
    );
    assert_eq!(new.expires_at, Some(end));
    assert_eq!(by_token(&world, &secret).await, invalid());
    assert!(by_token(&world, &fresh).await.is_ok());
    assert!(
        world.auth.rotate_token(old.id, user.id, end).await.is_err(),
        "revoked already"
    );
    let other = world.user("other").await;
    assert!(
        world
            .auth
            .rotate_token(new.id, other.id, end)
            .await
            .is_err(),
        "not theirs"
    );
}

async fn passwords_prove_their_user(world: World) {
    world
        .auth
        .create_user(new_user("user", Some(PASSWORD)))
        .await
        .unwrap();
    world.user("fresh").await;
    let right = Ok("user by password".to_owned());
    assert_eq!(by_basic(&world, "user", PASSWORD).await, right);
    assert_eq!(by_basic(&world, "USER", PASSWORD).await, right);
    assert_eq!(by_basic(&world, "user@example.org", PASSWORD).await, right);
    assert_eq!(by_basic(&world, "user", "wrong").await, invalid());
    assert_eq!(by_basic(&world, "nobody", PASSWORD).await, invalid());
    assert_eq!(
        by_basic(&world, "fresh", "").await,
        invalid(),
        "has none yet"
    );
    let token = world
        .auth
        .issue_token("user", "t", &[Scope::Api], None)
        .await
        .unwrap();
    for name in ["oauth2", "user", ""] {
        assert_eq!(
            by_basic(&world, name, token.expose()).await,
            Ok("user by token".into())
        );
    }
}

async fn many_at_once_are_let_in(world: World) {
    world
        .auth
        .create_user(new_user("user", Some(PASSWORD)))
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let auth = world.auth.clone();
        tasks.spawn(async move {
            let credentials = Credentials::Basic {
                username: "user".into(),
                password: Secret::new(PASSWORD),
            };
            auth.authenticate(&credentials, "192.0.2.1").await.is_ok()
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|it| it));
}

async fn wrong_passwords_are_throttled(world: World) {
    world
        .auth
        .create_user(new_user("user", Some(PASSWORD)))
        .await
        .unwrap();
    world
        .auth
        .create_user(new_user("other", Some(PASSWORD)))
        .await
        .unwrap();
    by_basic(&world, "other", PASSWORD).await.unwrap();
    for number in 0..10 {
        assert_eq!(
            by_basic(&world, "user", "wrong").await,
            invalid(),
            "{number}"
        );
        world.clock.advance(1000);
    }
    assert_eq!(
        by_basic(&world, "user", PASSWORD).await,
        Err("wait 50".into()),
        "even the right one"
    );
    assert_eq!(
        by_basic(&world, "nobody", "x").await,
        Err("wait 50".into()),
        "the address waits"
    );
    assert!(
        by_basic(&world, "other", PASSWORD).await.is_ok(),
        "a clone under way goes on"
    );
    let elsewhere = Credentials::Basic {
        username: "User".into(),
        password: Secret::new(PASSWORD),
    };
    let refused = world.auth.authenticate(&elsewhere, "198.51.100.1").await;
    assert!(
        matches!(
            refused,
            Err(AuthenticateError::Throttled {
                retry_after_secs: 50
            })
        ),
        "the account waits everywhere"
    );
    world.clock.advance(50_000);
    assert!(by_basic(&world, "user", PASSWORD).await.is_ok());
}

async fn wrong_tokens_by_basic_are_throttled_and_right_ones_pass(world: World) {
    world.user("user").await;
    let token = world
        .auth
        .issue_token("user", "t", &[Scope::Api], None)
        .await
        .unwrap();
    for _ in 0..10 {
        assert_eq!(by_basic(&world, "x", "glpat-wrong").await, invalid());
    }
    assert_eq!(
        by_basic(&world, "x", "glpat-wrong").await,
        Err("wait 60".into())
    );
    assert!(by_basic(&world, "x", token.expose()).await.is_ok());
}

async fn sessions_end_when_they_are_not_used(world: World) {
    const DAY: i64 = 24 * 3600 * 1000;
    let user = world.user("user").await;
    let cookie = world.auth.begin_session(user.id).await.unwrap();
    let other = world.auth.begin_session(user.id).await.unwrap();
    let by = async |cookie: &Secret| ask(&world, Credentials::Session(cookie.clone())).await;
    world.clock.advance(6 * DAY);
    let Ok(Principal::User(found)) = by(&cookie).await else {
        panic!("the session is valid");
    };
    let Via::Session(digest) = found.via else {
        panic!("by a session");
    };
    world.clock.advance(6 * DAY);
    assert!(by(&cookie).await.is_ok(), "used within a week");
    assert_eq!(by(&other).await, invalid(), "not used for twelve days");
    assert_eq!(
        by_token(&world, &cookie).await,
        invalid(),
        "a cookie is no token"
    );
    world.auth.end_session(&digest).await.unwrap();
    assert_eq!(by(&cookie).await, invalid(), "signed out");
}

async fn a_blocked_user_proves_nothing(world: World) {
    let admin = world.user("boss").await;
    let user = world
        .auth
        .create_user(new_user("user", Some(PASSWORD)))
        .await
        .unwrap();
    let token = world
        .auth
        .issue_token("user", "t", &[Scope::Api], None)
        .await
        .unwrap();
    let cookie = world.auth.begin_session(user.id).await.unwrap();
    by_basic(&world, "user", PASSWORD).await.unwrap();
    assert!(
        world
            .auth
            .set_active(admin.id, user.id, false)
            .await
            .unwrap()
    );
    assert!(
        !world
            .auth
            .set_active(admin.id, user.id, false)
            .await
            .unwrap(),
        "already"
    );
    assert_eq!(by_token(&world, &token).await, invalid());
    assert_eq!(
        ask(&world, Credentials::Session(cookie.clone())).await,
        invalid()
    );
    assert_eq!(
        by_basic(&world, "user", PASSWORD).await,
        invalid(),
        "though just remembered"
    );
    world
        .auth
        .set_active(admin.id, user.id, true)
        .await
        .unwrap();
    assert!(by_token(&world, &token).await.is_ok());
    assert_eq!(
        ask(&world, Credentials::Session(cookie)).await,
        invalid(),
        "the session stays ended"
    );
    assert!(
        world
            .auth
            .set_active(user.id, user.id, false)
            .await
            .is_err(),
        "not oneself"
    );
}

async fn job_tokens_prove_jobs(world: World) {
    let user = world.user("user").await;
    let job = by_token(&world, &Secret::new(JOB_TOKEN)).await.unwrap();
    assert_eq!(job.user_id(), Some(user.id));
    assert!(matches!(job, Principal::Job { .. }));
    assert_eq!(
        by_basic(&world, "gitlab-ci-token", JOB_TOKEN).await,
        Ok("job 5".into())
    );
    assert_eq!(
        by_token(&world, &Secret::new("glcbt-finished")).await,
        invalid()
    );
    let admin = world.user("boss").await;
    world
        .auth
        .set_active(admin.id, user.id, false)
        .await
        .unwrap();
    assert_eq!(
        by_token(&world, &Secret::new(JOB_TOKEN)).await,
        invalid(),
        "its user is blocked"
    );
}

async fn what_has_ended_is_removed(world: World) {
    use rave_store::Worker as _;
    const DAY: i64 = 24 * 3600 * 1000;
    let user = world.user("user").await;
    let end = world.clock.now().plus_millis(DAY);
    world
        .auth
        .issue_token("user", "ends", &[Scope::Api], Some(end))
        .await
        .unwrap();
    world
        .auth
        .issue_token("user", "lasts", &[Scope::Api], None)
        .await
        .unwrap();
    world.auth.begin_session(user.id).await.unwrap();
    world.auth.invite(user.id).await.unwrap();
    let mut worker = crate::worker::Cleanup::new(world.auth.db.clone());
    let counts = async || {
        let counted = world.auth.db.read("counts", |tx| {
            let sql = "SELECT (SELECT COUNT(*) FROM auth_token) AS tokens, (SELECT COUNT(*) FROM auth_session) AS sessions,
                       (SELECT COUNT(*) FROM auth_claim) AS claims";
            let row = tx.query_one(sql, &[])?;
            Ok::<_, rave_store::Error>((row.int("tokens")?, row.int("sessions")?, row.int("claims")?))
        });
        counted.await.unwrap()
    };
    worker.step().await.unwrap();
    assert_eq!(counts().await, (2, 1, 1));
    world.clock.advance(7 * DAY);
    worker.step().await.unwrap();
    assert_eq!(
        counts().await,
        (2, 0, 0),
        "an ended token is listed for a month"
    );
    world.clock.advance(25 * DAY);
    worker.step().await.unwrap();
    assert_eq!(counts().await, (1, 0, 0));
}
