//! Against a real server on the loopback address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;

use super::*;

/// A server that counts how often it is asked.
struct Peer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn flaky(State(asked): State<Arc<AtomicUsize>>) -> Response {
    match asked.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => StatusCode::BAD_GATEWAY.into_response(),
        _ => "a: {script: x}".into_response(),
    }
}

impl Peer {
    async fn start() -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = |answer: fn() -> Response| {
            move |State(asked): State<Arc<AtomicUsize>>| async move {
                asked.fetch_add(1, Ordering::SeqCst);
                answer()
            }
        };
        let app = Router::new()
            .route("/a.yml", get(count(|| "a: {script: x}".into_response())))
            .route(
                "/moved.yml",
                get(|| async { Redirect::temporary("/a.yml") }),
            )
            .route(
                "/round.yml",
                get(|| async { Redirect::temporary("/round.yml") }),
            )
            .route(
                "/away.yml",
                get(|| async { Redirect::permanent("http://10.255.255.1/a.yml") }),
            )
            .route(
                "/file.yml",
                get(|| async { Redirect::permanent("file:///etc/passwd") }),
            )
            .route("/flaky.yml", get(flaky))
            .route(
                "/broken.yml",
                get(count(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())),
            )
            .route("/large.yml", get(|| async { "x".repeat(2000) }))
            .with_state(asked.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "the test's own server, ended with it"
        )]
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            asked,
            task,
        }
    }

    fn file(&self, path: &str) -> RemoteFile {
        RemoteFile {
            url: format!("http://{}/{path}", self.address),
            cache_secs: 0,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn fetch(files: &RemoteFiles, file: &RemoteFile) -> Result<String, RemoteError> {
    let deadline = Instant::now() + Duration::from_secs(30);
    files.fetch(file, 1000, deadline, Timestamp(0)).await
}

fn open() -> RemoteFiles {
    RemoteFiles::new(true, "0")
}

#[tokio::test]
async fn a_file_is_fetched_through_redirects() {
    let peer = Peer::start().await;
    let text = Ok("a: {script: x}".to_owned());
    assert_eq!(fetch(&open(), &peer.file("a.yml")).await, text);
    assert_eq!(fetch(&open(), &peer.file("moved.yml")).await, text);
    let round = fetch(&open(), &peer.file("round.yml")).await;
    assert_eq!(
        round,
        Err(RemoteError::Refused(
            "it was redirected more than 5 times".to_owned()
        ))
    );
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let peer = Peer::start().await;
    let closed = RemoteFiles::new(false, "0");
    let port = peer.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0x7f.1",
        "2130706433",
        "0",
    ] {
        let file = RemoteFile {
            url: format!("http://{host}:{port}/a.yml"),
            cache_secs: 0,
        };
        let refused = fetch(&closed, &file).await.expect_err(host);
        let RemoteError::Refused(why) = refused else {
            panic!("{host}: {refused:?}");
        };
        assert!(
            why.starts_with("URL is blocked: Requests to the local network"),
            "{host}: {why}"
        );
    }
    assert_eq!(peer.asked(), 0);
}

#[tokio::test]
async fn a_redirect_is_judged_like_an_address() {
    let peer = Peer::start().await;
    let mut files = RemoteFiles::new(false, "0");
    let own = |it: std::net::IpAddr| it == std::net::Ipv4Addr::LOCALHOST;
    files.guard.allows = own;
    let check = |answer: Result<String, RemoteError>, expected: &str| {
        let Err(RemoteError::Refused(why)) = answer else {
            panic!("{answer:?}");
        };
        assert!(why.starts_with(expected), "{why}");
    };
    check(
        fetch(&files, &peer.file("away.yml")).await,
        "URL is blocked: Requests to the local network are not allowed",
    );
    check(
        fetch(&files, &peer.file("file.yml")).await,
        "URL is blocked: Only allowed schemes are http, https",
    );
    assert!(fetch(&files, &peer.file("moved.yml")).await.is_ok());
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    let peer = Peer::start().await;
    assert_eq!(
        fetch(&open(), &peer.file("flaky.yml")).await.as_deref(),
        Ok("a: {script: x}")
    );
    assert_eq!(peer.asked(), 3);
    let broken = fetch(&open(), &peer.file("broken.yml")).await;
    assert_eq!(
        broken,
        Err(RemoteError::Status {
            status: 500,
            attempts: 3
        })
    );
    assert_eq!(peer.asked(), 6);
    let missing = fetch(&open(), &peer.file("none.yml")).await;
    assert_eq!(
        missing,
        Err(RemoteError::Status {
            status: 404,
            attempts: 1
        })
    );
}

#[tokio::test]
async fn what_is_too_large_or_too_late_is_said() {
    let peer = Peer::start().await;
    assert_eq!(
        fetch(&open(), &peer.file("large.yml")).await,
        Err(RemoteError::TooLarge)
    );
    let late = open()
        .fetch(&peer.file("a.yml"), 1000, Instant::now(), Timestamp(0))
        .await;
    assert_eq!(late, Err(RemoteError::OutOfTime));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let file = RemoteFile {
        url: format!("http://{closed}/a.yml"),
        cache_secs: 0,
    };
    let error = "a socket".to_owned();
    assert_eq!(
        fetch(&open(), &file).await,
        Err(RemoteError::Failed { error, attempts: 3 })
    );
}

#[tokio::test]
async fn a_file_that_may_be_cached_is_asked_for_once() {
    let peer = Peer::start().await;
    let files = open();
    let cached = RemoteFile {
        cache_secs: 60,
        ..peer.file("a.yml")
    };
    for _ in 0..3 {
        fetch(&files, &cached).await.unwrap();
    }
    assert_eq!(peer.asked(), 1);
    fetch(&files, &peer.file("a.yml")).await.unwrap();
    assert_eq!(peer.asked(), 2);
}
