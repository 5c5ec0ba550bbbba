//! The pages and the API as a browser and a client see them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use rave_core::permission::{Role, Scope, Visibility};
use rave_http::Shared;
use rave_http::app::{App, build};
use rave_http::metrics::Metrics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{PASSWORD, World, new_user};
use crate::Bootstrap;
use crate::store::members::Source;

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.status, self.text))
    }

    /// Returns the cookie as a browser sends it back.
    fn cookie(&self) -> String {
        let cookie = self.header("set-cookie");
        cookie.split(';').next().unwrap_or_default().to_owned()
    }
}

struct Site {
    world: World,
    app: App,
}

impl Site {
    async fn start(external_url: &str) -> Self {
        let world = World::sqlite().await;
        let shared = Arc::new(Shared {
            directory: world.auth.clone(),
            authenticator: world.auth.clone(),
            clock: world.clock.clone(),
            metrics: Metrics::default(),
            probes: Vec::new(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            external_url: external_url.into(),
            version: "0.1.0",
        });
        let app = build(shared, world.auth.routes());
        Self { world, app }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let peer: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let response = self.app.answer(request, peer).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn form(&self, path: &str, cookie: &str, body: &str) -> Answer {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
            ("cookie", cookie),
        ];
        self.send("POST", path, &headers, body).await
    }

    async fn page(&self, path: &str, cookie: &str) -> Answer {
        self.send("GET", path, &[("cookie", cookie)], "").await
    }

    async fn api(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let headers = [
            ("private-token", token),
            ("content-type", "application/json"),
        ];
        let path = format!("/api/v4{path}");
        self.send(method, &path, &headers, &body.to_string()).await
    }

    async fn token(&self, username: &str, scopes: &[Scope]) -> String {
        let token = self
            .world
            .auth
            .issue_token(username, "test", scopes, None)
            .await
            .unwrap();
        token.expose().to_owned()
    }

    /// Makes the first administrator, with a token that reaches everywhere.
    async fn root(&self) -> String {
        let password = rave_core::secret::Secret::new(PASSWORD);
        self.world.auth.bootstrap(Some(&password)).await.unwrap();
        self.token("root", &[Scope::Api]).await
    }
}

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
