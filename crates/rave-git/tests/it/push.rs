//! Pushes: what is stored, what is refused, and what the pusher reads.

use rave_core::name::ObjectId;

use crate::server::{Place, Server, blocking, fsck};

crate::on_both_engines!(
    pushes_become_events,
    protected_branches_refuse_with_a_message,
    a_push_creates_its_project,
);

async fn pushes_become_events(place: Place) {
    let server = place.serve().await;
    let project = server.project("team/app");
    *server.fake().lines.lock().unwrap() = vec!["RAVE: Pipeline #1: http://rave.test/1".into()];
    let work = server.work("maintainer", "team/app");
    let first = work.head();
    let said = {
        let work = work.clone();
        blocking(move || {
            work.git([
                "push",
                "-o",
                "ci.skip",
                "-o",
                "ci.variable=A=b c",
                "origin",
                "main",
                "HEAD:refs/heads/x/y",
            ])
            .ok()
        })
        .await
    };
    assert!(
        said.contains("remote: RAVE: Pipeline #1: http://rave.test/1"),
        "{said}"
    );
    let pushes = server.pushes().await;
    let names: Vec<_> = pushes.iter().map(|it| it.reference.as_str()).collect();
    assert_eq!(names, ["refs/heads/main", "refs/heads/x/y"]);
    assert_eq!(
        (pushes[0].before.as_str(), &pushes[0].after, pushes[0].user),
        (ObjectId::ZERO, &first, Some(2))
    );
    assert_eq!(pushes[0].options, ["ci.skip", "ci.variable=A=b c"]);
    assert_eq!(
        server.fake().asked.lock().unwrap().len(),
        2,
        "the report is asked for both"
    );

    let second = work.commit("a", "b");
    let pusher = work.clone();
    blocking(move || {
        pusher.git(["tag", "-a", "v1", "-m", "one"]).ok();
        pusher.git(["push", "origin", "main", "v1", ":x/y"]).ok()
    })
    .await;
    let pushes = server.pushes().await;
    let mut later: Vec<_> = pushes[2..]
        .iter()
        .map(|it| (it.reference.as_str(), it.before.as_str(), it.after.as_str()))
        .collect();
    later.sort_unstable();
    let tag = work.git(["rev-parse", "v1"]).ok();
    assert_eq!(
        later,
        [
            ("refs/heads/main", first.as_str(), second.as_str()),
            ("refs/heads/x/y", first.as_str(), ObjectId::ZERO),
            ("refs/tags/v1", ObjectId::ZERO, tag.trim()),
        ]
    );
    let pusher = work.clone();
    blocking(move || pusher.git(["push", "origin", "main"]).ok()).await;
    assert_eq!(server.pushes().await.len(), 5, "nothing moved");
    fsck(&server.place.repository(&project));
}

async fn protected_branches_refuse_with_a_message(place: Place) {
    let server = place.serve().await;
    let project = server.project("team/app");
    let work = server.work("developer", "team/app");
    let pusher = work.clone();
    blocking(move || pusher.git(["push", "origin", "main"]).ok()).await;
    assert_eq!(
        server.pushes().await.len(),
        1,
        "the first push may make the default branch"
    );

    let before = work.head();
    work.commit("a", "b");
    let pusher = work.clone();
    let said = blocking(move || pusher.git(["push", "origin", "main"]).fails()).await;
    assert!(
        said.contains("remote: RAVE: You are not allowed to push to the protected branch main"),
        "{said}"
    );
    assert!(said.contains("pre-receive hook declined"), "{said}");
    let pusher = work.clone();
    let said = blocking(move || {
        pusher
            .git(["push", "origin", "HEAD:refs/pipelines/1"])
            .fails()
    })
    .await;
    assert!(said.contains("refs/pipelines/1"), "{said}");
    let pusher = work.clone();
    let said = blocking(move || {
        pusher
            .git(["push", "origin", "HEAD:refs/strange/1"])
            .fails()
    })
    .await;
    assert!(
        said.contains("RAVE: You are not allowed to change refs/strange/1"),
        "{said}"
    );
    assert_eq!(server.pushes().await.len(), 1);

    let maintainer = server.work("maintainer", "team/app");
    blocking(move || {
        maintainer
            .git(["commit", "-q", "--amend", "-m", "Other"])
            .ok();
        let forced = maintainer.git(["push", "-f", "origin", "main"]).fails();
        assert!(forced.contains("not allowed to force push"), "{forced}");
        let deleted = maintainer.git(["push", "origin", ":main"]).fails();
        assert!(
            deleted.contains("not allowed to delete") || deleted.contains("deletion"),
            "{deleted}"
        );
        maintainer.git(["fetch", "-q", "origin"]).ok();
        maintainer
            .git(["reset", "-q", "--hard", "origin/main"])
            .ok();
        maintainer.commit("c", "d");
        maintainer.git(["push", "origin", "main"]).ok();
    })
    .await;
    let pushes = server.pushes().await;
    assert_eq!(
        (pushes.len(), pushes[1].before.as_str()),
        (2, before.as_str())
    );
    fsck(&server.place.repository(&project));
}

async fn a_push_creates_its_project(place: Place) {
    let server = place.serve().await;
    let work = server.work("developer", "team/fresh");
    let pusher = work.clone();
    blocking(move || pusher.git(["push", "origin", "main:trunk"]).ok()).await;
    let project = server.fake().projects.lock().unwrap()[0].clone();
    assert_eq!(
        (project.path.as_str(), project.default_branch.as_str()),
        ("team/fresh", "trunk")
    );
    let head = std::fs::read_to_string(server.place.repository(&project).join("HEAD")).unwrap();
    assert_eq!(head, "ref: refs/heads/trunk\n");
    for (user, path) in [
        ("stranger", "team/other"),
        ("owner", "elsewhere/x"),
        ("owner", "single"),
    ] {
        let work = server.work(user, path);
        let said = blocking(move || work.git(["push", "origin", "main"]).fails()).await;
        assert!(
            said.contains("could not be found") || said.contains("not found"),
            "{user} {path}: {said}"
        );
    }
    let racing: Vec<_> = (0..4)
        .map(|index| {
            let work = server.work("developer", "team/race");
            tokio::task::spawn_blocking(move || {
                work.git(["push", "origin", &format!("main:b{index}")]).ok()
            })
        })
        .collect();
    for push in racing {
        push.await.unwrap();
    }
    assert_eq!(server.fake().projects.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pushes_stream_after_a_probe() {
    let server = Server::start().await;
    let project = server.project("team/app");
    let work = server.work("owner", "team/app");
    let noise: Vec<u8> = (0..6_000_000_u32)
        .map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(work.0.join("noise"), noise).unwrap();
    work.commit("more", "x");
    let pusher = work.clone();
    let said = blocking(move || {
        pusher
            .git(["-c", "http.postBuffer=65536", "push", "origin", "main"])
            .ok()
    })
    .await;
    assert!(!said.contains("error"), "{said}");
    let (status, head, body) = server
        .send(
            "owner",
            "POST",
            "/team/app.git/git-receive-pack",
            &[
                "-H",
                "Content-Type: application/x-git-receive-pack-request",
                "--data-binary",
                "0000",
            ],
        )
        .await;
    assert_eq!((status, body.as_str()), (200, ""), "{head}");
    fsck(&server.place.repository(&project));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_never_options() {
    let server = Server::start().await;
    server.project("team/app");
    let work = server.work("owner", "team/app");
    let names = [
        "--upload-pack=touch pwned",
        "-x",
        "--exec=x",
        "a'b",
        "a\"b",
        "ü",
        "$(x)",
        "a&b",
        "main.x",
    ];
    let odd: Vec<String> = names
        .iter()
        .map(|it| format!("HEAD:refs/heads/{}", it.replace(' ', "-")))
        .collect();
    let pusher = work.clone();
    blocking(move || {
        pusher.git(["push", "origin", "main"]).ok();
        let output = crate::server::git_in(&pusher.0, ["push", "origin"])
            .args(&odd)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    })
    .await;
    assert_eq!(server.pushes().await.len(), 1 + names.len());
    for name in names {
        let name = name.replace(' ', "-");
        let encoded = rave_http::page::encode_query(&name);
        let branch = format!("/api/v4/projects/1/repository/branches/{encoded}");
        let (status, _, body) = server.get("owner", &branch).await;
        assert_eq!(status, 200, "{name}: {body}");
        for page in ["tree", "commits", "blob"] {
            let tail = if page == "blob" { "/README.md" } else { "" };
            let (status, ..) = server
                .get("owner", &format!("/team/app/-/{page}/{encoded}{tail}"))
                .await;
            assert_eq!(status, 200, "{page} of {name}");
        }
        assert_eq!(
            server.send("owner", "DELETE", &branch, &[]).await.0,
            204,
            "{name}"
        );
    }
}
