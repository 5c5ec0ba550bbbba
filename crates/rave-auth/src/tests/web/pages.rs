//! The pages, as a browser sees them.

use axum::http::StatusCode;
use rave_core::permission::Scope;
use serde_json::json;

use super::Site;
use crate::Bootstrap;
use crate::tests::{PASSWORD, new_user};

#[tokio::test]
async fn a_visitor_claims_signs_out_and_signs_in() {
    let site = Site::start("http://rave.test:8080").await;
    let Bootstrap::Claim(claim) = site.world.auth.bootstrap(None).await.unwrap() else {
        panic!("nobody has entered yet");
    };
    let path = format!("/-/claim/{}", claim.expose());
    let shown = site.page(&path, "").await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(shown.text.contains("value=\"root\""), "{}", shown.text);
    let weak = site.form(&path, "", "password=short").await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(weak.text.contains("too short"), "{}", weak.text);
    let claimed = site.form(&path, "", "password=correct+horse+battery").await;
    assert_eq!(
        (claimed.status, claimed.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    assert_eq!(site.page(&path, "").await.status, StatusCode::NOT_FOUND);
    let cookie = claimed.cookie();
    assert!(cookie.starts_with("rave_session=rvs-"), "{cookie}");
    let attributes = claimed.header("set-cookie");
    assert!(
        attributes.ends_with("; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"),
        "{attributes}"
    );

    let tokens = "/-/user_settings/personal_access_tokens";
    assert_eq!(site.page(tokens, &cookie).await.status, StatusCode::OK);
    let out = site.form("/-/logout", &cookie, "").await;
    assert!(
        out.header("set-cookie")
            .starts_with("rave_session=; Path=/; Max-Age=0;")
    );
    let lost = site.page(tokens, &cookie).await;
    assert_eq!(lost.status, StatusCode::SEE_OTHER);
    let login = lost.header("location").to_owned();
    assert!(login.starts_with("/-/login?return_to="), "{login}");
    let form = site.page(&login, "").await;
    assert!(
        form.text
            .contains(&format!("name=\"return_to\" value=\"{tokens}\"")),
        "{}",
        form.text
    );

    let wrong = site.form("/-/login", "", "login=root&password=wrong").await;
    let unknown = site.form("/-/login", "", "login=toor&password=wrong").await;
    assert_eq!(
        (wrong.status, unknown.status),
        (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED)
    );
    assert_eq!(
        wrong.text.replace("value=\"root\"", ""),
        unknown.text.replace("value=\"toor\"", "")
    );
    let body = format!("login=root&password=correct+horse+battery&return_to={tokens}");
    let entered = site.form("/-/login", "", &body).await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (StatusCode::SEE_OTHER, tokens)
    );
    assert_eq!(
        site.page(tokens, &entered.cookie()).await.status,
        StatusCode::OK
    );
    let evil = "login=root&password=correct+horse+battery&return_to=//evil.example";
    assert_eq!(
        site.form("/-/login", "", evil).await.header("location"),
        "/"
    );
}

#[tokio::test]
async fn cookies_follow_the_external_url() {
    let site = Site::start("https://example.org/rave").await;
    site.root().await;
    let body = "login=root&password=correct+horse+battery";
    let entered = site.form("/-/login", "", body).await;
    assert_eq!(entered.header("location"), "/rave/");
    let cookie = entered.header("set-cookie");
    assert!(
        cookie.ends_with("; Path=/rave; Max-Age=31536000; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn other_sites_cannot_send_our_forms() {
    let site = Site::start("http://rave.test").await;
    let Bootstrap::Claim(claim) = site.world.auth.bootstrap(None).await.unwrap() else {
        panic!("nobody has entered yet");
    };
    let claim = format!("/-/claim/{}", claim.expose());
    let root = site
        .world
        .auth
        .find_user(rave_core::id::UserId(1))
        .await
        .unwrap();
    let session = site.world.auth.begin_session(root.id).await.unwrap();
    let cookie = format!("rave_session={}", session.expose());
    let settings = "/-/user_settings/personal_access_tokens";
    let foreign: [&[(&str, &str)]; 3] = [
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example"), ("host", "rave.test")],
        &[],
    ];
    for extra in foreign {
        for (path, cookie) in [
            ("/-/login", ""),
            (claim.as_str(), ""),
            (settings, &cookie),
            ("/-/logout", &cookie),
        ] {
            let mut headers = vec![
                ("content-type", "application/x-www-form-urlencoded"),
                ("cookie", cookie),
            ];
            headers.extend_from_slice(extra);
            let body = "login=root&password=correct+horse+battery&name=x&scopes[]=api";
            let answer = site.send("POST", path, &headers, body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {extra:?}");
        }
    }
    assert_eq!(
        site.page(settings, &cookie).await.status,
        StatusCode::OK,
        "still signed in"
    );
}

#[tokio::test]
async fn the_login_form_is_throttled() {
    let site = Site::start("http://rave.test").await;
    for _ in 0..10 {
        let answer = site.form("/-/login", "", "login=x&password=y").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let answer = site.form("/-/login", "", "login=x&password=y").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "60");
}

#[tokio::test]
async fn administrators_make_invite_and_block_users() {
    let site = Site::start("http://rave.test").await;
    let api = site.root().await;
    let root = site
        .form("/-/login", "", "login=root&password=correct+horse+battery")
        .await
        .cookie();
    let body = "username=ann&name=Ann&email=ann%40example.org";
    let made = site.form("/-/admin/users", &root, body).await;
    let start = made.text.find("/-/claim/rvc-").expect("the link is shown");
    let link: String = made.text[start..]
        .chars()
        .take_while(|it| !"\"<".contains(*it))
        .collect();
    let again = site.form("/-/admin/users", &root, body).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        again.text.contains("has already been taken"),
        "{}",
        again.text
    );
    let ann = site
        .form(&link, "", "password=correct+horse+battery")
        .await
        .cookie();
    assert_eq!(
        site.page("/-/admin/users", &ann).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        site.form("/-/admin/users/1/block", &ann, "").await.status,
        StatusCode::NOT_FOUND
    );
    let changed = "current_password=correct+horse+battery&password=another+long+password";
    let changed = site.form("/-/user_settings/password", &ann, changed).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER);
    let wrong = "current_password=wrong&password=another+long+password";
    let wrong = site.form("/-/user_settings/password", &ann, wrong).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);

    let found = site
        .api("GET", "/users?username=ANN", &api, json!({}))
        .await;
    assert_eq!(
        (found.header("x-total"), &found.json()[0]["email"]),
        ("1", &json!("ann@example.org"))
    );
    let id = found.json()[0]["id"].as_i64().unwrap();
    let token = site.token("ann", &[Scope::Api]).await;
    for (caller, found) in [(&api, "1"), (&token, "0")] {
        let answer = site
            .api("GET", "/users?search=ANN@", caller, json!({}))
            .await;
        assert_eq!(
            answer.header("x-total"),
            found,
            "addresses are for administrators"
        );
    }
    let other = site.api("GET", "/users/1", &token, json!({})).await.json();
    assert_eq!(
        (&other["username"], other.get("email")),
        (&json!("root"), None)
    );
    assert_eq!(
        site.api("POST", "/users", &token, json!({})).await.status,
        StatusCode::FORBIDDEN
    );
    let blocked = site
        .form(&format!("/-/admin/users/{id}/block"), &root, "")
        .await;
    assert_eq!(blocked.status, StatusCode::SEE_OTHER);
    assert_eq!(
        site.api("GET", "/user", &token, json!({})).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        site.page("/-/user_settings/password", &ann).await.status,
        StatusCode::SEE_OTHER
    );
    let unblocked = site
        .api("POST", &format!("/users/{id}/unblock"), &api, json!({}))
        .await;
    assert_eq!(
        (unblocked.status, unblocked.json()),
        (StatusCode::CREATED, json!(true))
    );

    let new =
        json!({"username": "bob", "name": "Bob", "email": "bob@example.org", "password": PASSWORD});
    let made = site.api("POST", "/users", &api, new.clone()).await;
    assert_eq!(
        (made.status, &made.json()["state"]),
        (StatusCode::CREATED, &json!("active"))
    );
    let again = site.api("POST", "/users", &api, new).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(
        again.json(),
        json!({"message": "Email has already been taken"})
    );
}

#[tokio::test]
async fn the_members_page_serves_owners_and_readers() {
    let site = Site::start("http://rave.test").await;
    let mut ann = new_user("ann", Some(PASSWORD));
    ann.name = "Ann <b>".into();
    site.world.auth.create_user(ann).await.unwrap();
    site.world
        .auth
        .create_user(new_user("bob", Some(PASSWORD)))
        .await
        .unwrap();
    let enter = async |name: &str| {
        let body = format!("login={name}&password=correct+horse+battery");
        site.form("/-/login", "", &body).await.cookie()
    };
    let (ann, bob) = (enter("ann").await, enter("bob").await);
    let made = site
        .form(
            "/-/groups/new",
            &ann,
            "name=team&path=&parent_id=&visibility=private",
        )
        .await;
    assert_eq!(
        (made.status, made.header("location")),
        (StatusCode::SEE_OTHER, "/team")
    );
    let path = "/-/groups/team/members";
    assert_eq!(site.page(path, &bob).await.status, StatusCode::NOT_FOUND);
    let added = site
        .form(path, &ann, "username=bob&access_level=20&expires_at=")
        .await;
    assert_eq!(added.status, StatusCode::SEE_OTHER);
    let shown = site.page(added.header("location"), &bob).await;
    assert!(
        shown.text.contains("Reporter") && shown.text.contains("Leave"),
        "{}",
        shown.text
    );
    assert!(
        !shown.text.contains("Add a member") && !shown.text.contains("<b>"),
        "{}",
        shown.text
    );
    let nobody = site
        .form(path, &ann, "username=nobody&access_level=20")
        .await;
    assert!(nobody.text.contains("User not found."), "{}", nobody.text);
    let left = site.form(&format!("{path}/2/remove"), &bob, "").await;
    assert_eq!(
        (left.status, left.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    let stays = site.form(&format!("{path}/1/remove"), &ann, "").await;
    assert!(
        stays.text.contains("A group needs an owner."),
        "{}",
        stays.text
    );
}
