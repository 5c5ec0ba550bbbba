//! Clones and fetches of every kind.

use rave_core::permission::Visibility;

use crate::server::{Server, Work, blocking, git_in};

/// Returns a server whose project `team/app` has some commits.
async fn filled() -> (Server, Work) {
    let server = Server::start().await;
    server.project("team/app");
    let work = server.work("owner", "team/app");
    for number in 0..5 {
        work.commit(
            &format!("dir/file-{number}"),
            &format!("content {number}\n").repeat(100),
        );
    }
    let pusher = work.clone();
    blocking(move || pusher.git(["push", "-q", "origin", "main"]).ok()).await;
    (server, work)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_of_clones_work() {
    let (server, work) = filled().await;
    let url = server.url("reporter", "team/app.git");
    let root = server.place.directory.path().to_owned();
    blocking(move || {
        let kinds: [&[&str]; 7] = [
            &["-c", "protocol.version=2", "clone", "-q"],
            &["-c", "protocol.version=1", "clone", "-q"],
            &["-c", "protocol.version=0", "clone", "-q"],
            &["clone", "-q", "--depth", "1"],
            &["clone", "-q", "--filter=blob:none"],
            &["clone", "-q", "--mirror"],
            &[
                "-c",
                "protocol.version=0",
                "clone",
                "-q",
                "--filter=blob:none",
            ],
        ];
        for (index, kind) in kinds.into_iter().enumerate() {
            let target = format!("clone-{index}");
            let output = git_in(&root, [])
                .args(kind)
                .args([url.as_str(), target.as_str()])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{kind:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(
                output.stderr.is_empty(),
                "{kind:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let clone = Work(root.join(target));
            assert_eq!(clone.head(), work.head(), "{kind:?}");
        }
        let count = |name: &str| {
            Work(root.join(name))
                .git(["rev-list", "--count", "HEAD"])
                .ok()
        };
        assert_eq!(
            (count("clone-0").trim(), count("clone-3").trim()),
            ("6", "1")
        );
        let partial = Work(root.join("clone-4"));
        let missing = partial.git([
            "rev-list",
            "--objects",
            "--missing=print",
            "HEAD",
            "--",
            "dir/file-0",
        ]);
        assert!(partial.0.join("dir/file-0").exists(), "{}", missing.text());
        let single = Work::new(&root);
        single.git(["init", "-q"]).ok();
        let first = work.git(["rev-list", "--max-parents=0", "HEAD"]).ok();
        single
            .git(["fetch", "-q", "--depth", "1", &url, first.trim()])
            .ok();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_negotiations_arrive_deflated() {
    let (server, _) = filled().await;
    let url = server.url("reporter", "team/app.git");
    let root = server.place.directory.path().to_owned();
    blocking(move || {
        // Much history that the server does not know makes a long list of `have`.
        let stranger = Work::new(&root);
        stranger.git(["init", "-q"]).ok();
        for number in 0..80 {
            stranger
                .git(["commit", "-q", "--allow-empty", "-m", &number.to_string()])
                .ok();
        }
        let output = git_in(&stranger.0, ["fetch", &url, "main"])
            .env("GIT_CURL_VERBOSE", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(
            text.to_lowercase().contains("content-encoding: gzip"),
            "the client deflated nothing: {text}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_know_learns_nothing() {
    let (server, _) = filled().await;
    server.fake().add("team/open", Visibility::Public);
    let status = async |user: &str, path: &str| server.get(user, path).await.0;
    let refs = "info/refs?service=git-upload-pack";
    for project in ["team/app", "team/none"] {
        assert_eq!(
            status("", &format!("/{project}.git/{refs}")).await,
            401,
            "{project}"
        );
        assert_eq!(
            status("stranger", &format!("/{project}.git/{refs}")).await,
            404,
            "{project}"
        );
    }
    assert_eq!(status("", &format!("/team/open.git/{refs}")).await, 200);
    assert_eq!(
        status("", "/team/open.git/info/refs?service=git-receive-pack").await,
        401
    );
    assert_eq!(
        status("reporter", "/team/app.git/info/refs").await,
        403,
        "the dumb protocol"
    );
    assert_eq!(
        status("reporter", "/team/app.git/info/refs?service=git-shell").await,
        403
    );
    let (status, head, body) = server
        .get(
            "reporter",
            "/team/app.git/info/refs?service=git-receive-pack",
        )
        .await;
    assert_eq!(
        (status, body.trim()),
        (403, "You are not allowed to push code to this project.")
    );
    assert!(
        head.contains("content-type: text/plain"),
        "git prints only plain text: {head}"
    );
    let (_, head, _) = server.get("", &format!("/team/app.git/{refs}")).await;
    assert!(head.contains("www-authenticate: basic realm="), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_speaks_the_version_that_is_asked_for() {
    let (server, _) = filled().await;
    let refs = "/team/app.git/info/refs?service=git-upload-pack";
    let (_, head, body) = server.get("reporter", refs).await;
    assert!(
        body.starts_with("001e# service=git-upload-pack\n0000"),
        "{body}"
    );
    assert!(
        head.contains("application/x-git-upload-pack-advertisement") && head.contains("no-cache"),
        "{head}"
    );
    let (_, _, body) = server
        .send("reporter", "GET", refs, &["-H", "Git-Protocol: version=2"])
        .await;
    assert!(body.starts_with("000eversion 2\n"), "{body}");
    assert!(
        body.contains("fetch=shallow") && body.contains("filter"),
        "{body}"
    );
    let push = "/team/app.git/info/refs?service=git-receive-pack";
    let (_, _, body) = server
        .send("owner", "GET", push, &["-H", "Git-Protocol: version=2"])
        .await;
    assert!(
        body.starts_with("001f# service=git-receive-pack\n0000"),
        "{body}"
    );
    assert!(body.contains("push-options"), "{body}");
    let (status, ..) = server
        .send(
            "reporter",
            "POST",
            "/team/app.git/git-upload-pack",
            &["-d", "0000"],
        )
        .await;
    assert_eq!(status, 415, "a form of another site is no fetch");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_leave_no_children() {
    let (server, _) = filled().await;
    let url = server.url("reporter", "team/app.git");
    let root = server.place.directory.path().to_owned();
    blocking(move || {
        git_in(&root, ["clone", "-q", &url, "once"])
            .output()
            .unwrap()
    })
    .await;
    server.shared.shutdown.cancel();
    let git = server.git.clone();
    // Its workers end only when every child has.
    let ended = git.run_workers(server.shared.shutdown.clone());
    tokio::time::timeout(std::time::Duration::from_secs(20), ended)
        .await
        .unwrap();
}
