//! The API, as a client sees it.

use axum::http::{StatusCode, header};
use rave_core::permission::{Role, Scope, Visibility};
use serde_json::{Value, json};

use super::Site;
use crate::store::members::Source;

#[tokio::test]
async fn tokens_are_made_shown_once_and_revoked() {
    let site = Site::start("http://rave.test").await;
    let api = site.root().await;
    let entered = site
        .form("/-/login", "", "login=root&password=correct+horse+battery")
        .await;
    let (cookie, path) = (entered.cookie(), "/-/user_settings/personal_access_tokens");
    let body = "name=laptop&expires_at=2026-12-31&scopes[]=read_api&scopes[]=write_repository";
    let made = site.form(path, &cookie, body).await;
    let start = made.text.find("glpat-").expect("the token is shown");
    let token = &made.text[start..start + 38];
    assert!(
        !site.page(path, &cookie).await.text.contains("glpat-"),
        "once"
    );
    let own = site
        .api("GET", "/personal_access_tokens/self", token, json!({}))
        .await
        .json();
    assert_eq!(own["scopes"], json!(["read_api", "write_repository"]));
    assert_eq!(
        (&own["expires_at"], &own["active"]),
        (&json!("2026-12-31"), &json!(true))
    );
    assert_eq!(own.get("token"), None);
    assert_eq!(
        site.api("GET", "/user", token, json!({})).await.json()["username"],
        "root"
    );
    let denied = site
        .api("POST", "/groups", token, json!({"name": "x", "path": "x"}))
        .await;
    assert_eq!(denied.json()["error"], "insufficient_scope");
    let by_form = [
        ("private-token", token),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let by_form = site
        .send("POST", path, &by_form, "name=more&scopes[]=api")
        .await;
    assert_eq!(
        by_form.status,
        StatusCode::UNAUTHORIZED,
        "a token does not reach further by a form"
    );

    let refused = site.form(path, &cookie, "name=&scopes[]=api").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let revoked = site
        .form(&format!("{path}/{}/revoke", own["id"]), &cookie, "")
        .await;
    assert_eq!(
        (revoked.status, revoked.header("location")),
        (StatusCode::SEE_OTHER, path)
    );
    assert_eq!(
        site.api("GET", "/user", token, json!({})).await.status,
        StatusCode::UNAUTHORIZED
    );

    let body = json!({"name": "bot", "scopes": ["api"], "expires_at": "2026-03-01"});
    let made = site
        .api("POST", "/users/1/personal_access_tokens", &api, body)
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.json();
    let secret = made["token"].as_str().unwrap();
    let rotated = site
        .api(
            "POST",
            "/personal_access_tokens/self/rotate",
            secret,
            json!({}),
        )
        .await;
    assert_eq!(rotated.status, StatusCode::OK);
    assert_eq!(
        site.api("GET", "/user", secret, json!({})).await.status,
        StatusCode::UNAUTHORIZED
    );
    let rotated = rotated.json();
    let fresh = rotated["token"].as_str().unwrap();
    let gone = site
        .api("DELETE", "/personal_access_tokens/self", fresh, json!({}))
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let list = site
        .api(
            "GET",
            "/personal_access_tokens?state=active",
            &api,
            json!({}),
        )
        .await;
    assert_eq!(list.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn groups_and_members_work_by_the_api() {
    let site = Site::start("http://rave.test").await;
    site.root().await;
    let (ann, bob) = (site.world.user("ann").await, site.world.user("bob").await);
    let (ann_token, bob_token) = (
        site.token("ann", &[Scope::Api]).await,
        site.token("bob", &[Scope::Api]).await,
    );
    let made = site
        .api(
            "POST",
            "/groups",
            &ann_token,
            json!({"name": "Team", "path": "team"}),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let team = made.json();
    assert_eq!(
        (&team["full_path"], &team["visibility"]),
        (&json!("team"), &json!("private"))
    );
    let taken = site
        .api(
            "POST",
            "/groups",
            &ann_token,
            json!({"name": "T", "path": "Team"}),
        )
        .await;
    let message = "Failed to save group {:path=>[\"has already been taken\"]}";
    assert_eq!(
        (taken.status, taken.json()),
        (StatusCode::BAD_REQUEST, json!({"message": message}))
    );
    let sub = json!({"name": "Sub", "path": "sub", "parent_id": team["id"]});
    assert_eq!(
        site.api("POST", "/groups", &ann_token, sub).await.json()["full_path"],
        "team/sub"
    );
    assert_eq!(
        site.api("GET", "/groups/team%2Fsub", &bob_token, json!({}))
            .await
            .status,
        StatusCode::NOT_FOUND
    );

    let members = "/groups/team%2Fsub/members";
    let add = json!({"user_id": bob.id.0, "access_level": 30, "expires_at": "2026-06-01"});
    let added = site.api("POST", members, &ann_token, add.clone()).await;
    assert_eq!(added.status, StatusCode::CREATED);
    let member = added.json();
    assert_eq!(
        (&member["access_level"], &member["expires_at"]),
        (&json!(30), &json!("2026-06-01"))
    );
    let again = site.api("POST", members, &ann_token, add).await;
    assert_eq!(
        (again.status, again.json()),
        (
            StatusCode::CONFLICT,
            json!({"message": "Member already exists"})
        )
    );
    assert_eq!(
        site.api("GET", "/groups/team", &bob_token, json!({}))
            .await
            .status,
        StatusCode::OK
    );
    let by_bob = site
        .api(
            "DELETE",
            &format!("{members}/{}", ann.id),
            &bob_token,
            json!({}),
        )
        .await;
    assert_eq!(by_bob.status, StatusCode::FORBIDDEN);
    let all = site
        .api("GET", &format!("{members}/all"), &bob_token, json!({}))
        .await;
    assert_eq!(all.header("x-total"), "2");
    let one = format!("{members}/{}", bob.id);
    let raised = site
        .api("PUT", &one, &ann_token, json!({"access_level": 40}))
        .await
        .json();
    assert_eq!(
        (&raised["access_level"], &raised["expires_at"]),
        (&json!(40), &Value::Null)
    );
    assert_eq!(
        site.api("DELETE", &one, &bob_token, json!({})).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        site.api("GET", &one, &ann_token, json!({})).await.status,
        StatusCode::NOT_FOUND
    );

    let listed = site
        .api("GET", "/groups?owned=True", &ann_token, json!({}))
        .await
        .json();
    let paths: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["full_path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["team", "team/sub"]);
    let namespaces = site
        .api("GET", "/namespaces", &ann_token, json!({}))
        .await
        .json();
    assert_eq!(namespaces[0]["kind"], "user");
    let renamed = site
        .api(
            "PUT",
            "/groups/team",
            &ann_token,
            json!({"description": "Us"}),
        )
        .await;
    assert_eq!(renamed.json()["description"], "Us");
    let gone = site
        .api("DELETE", "/groups/team", &ann_token, json!({}))
        .await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    assert_eq!(
        site.api("GET", "/groups/team", &ann_token, json!({}))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn members_of_projects_follow_the_callers_role() {
    let site = Site::start("http://rave.test").await;
    let root = site.root().await;
    let (ann, bob) = (site.world.user("ann").await, site.world.user("bob").await);
    let project = site
        .world
        .project(&ann, "ann/app", Visibility::Private)
        .await;
    let (ann_token, bob_token) = (
        site.token("ann", &[Scope::Api]).await,
        site.token("bob", &[Scope::Api]).await,
    );
    let members = "/projects/ann%2Fapp/members";
    assert_eq!(
        site.api("GET", members, &bob_token, json!({})).await.status,
        StatusCode::NOT_FOUND
    );
    let at = Source::Project(project.id);
    site.world.member(at, &bob, Role::Developer, None).await;
    let all = site
        .api("GET", &format!("{members}/all"), &bob_token, json!({}))
        .await
        .json();
    assert_eq!(
        (&all[0]["username"], &all[0]["access_level"]),
        (&json!("ann"), &json!(50))
    );
    let add = json!({"username": "root", "access_level": 20});
    let refused = site.api("POST", members, &bob_token, add.clone()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(
        site.api("POST", members, &ann_token, add).await.status,
        StatusCode::CREATED
    );
    let wrong = site
        .api(
            "POST",
            members,
            &ann_token,
            json!({"user_id": 1, "access_level": 33}),
        )
        .await;
    assert_eq!(
        wrong.json(),
        json!({"error": "access_level does not have a valid value"})
    );
    let list = site
        .api(
            "GET",
            &format!("/users/{}/memberships", bob.id),
            &root,
            json!({}),
        )
        .await
        .json();
    assert_eq!(
        (&list[0]["source_type"], &list[0]["source_id"]),
        (&json!("Project"), &json!(project.id.0))
    );
    let own = format!("{members}/{}", bob.id);
    assert_eq!(
        site.api("DELETE", &own, &bob_token, json!({})).await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn nobody_is_told_the_version_without_a_name() {
    let site = Site::start("http://rave.test").await;
    let token = site.root().await;
    for path in ["/version", "/metadata", "/user", "/users"] {
        let answer = site.send("GET", &format!("/api/v4{path}"), &[], "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(
            answer.header(header::CONTENT_TYPE.as_str()),
            "application/json"
        );
    }
    let version = site.api("GET", "/version", &token, json!({})).await.json();
    assert!(
        version["version"].as_str().unwrap().starts_with("18."),
        "{version}"
    );
    let metadata = site.api("GET", "/metadata", &token, json!({})).await.json();
    assert_eq!(metadata["kas"]["enabled"], false);
}
