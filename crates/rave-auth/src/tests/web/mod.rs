//! The pages and the API as a browser and a client see them.

mod api;
mod pages;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use rave_core::permission::Scope;
use rave_http::Shared;
use rave_http::app::{App, build};
use rave_http::metrics::Metrics;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{PASSWORD, World};

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
