//! The pages, as a browser without scripts sees them.

use rave_core::permission::Visibility;

use crate::server::{Server, Work, blocking};

async fn filled() -> (Server, Work) {
    let server = Server::start().await;
    server.project("team/app");
    let work = server.work("owner", "team/app");
    work.commit(
        "docs/guide.md",
        "# Guide\n\n[back](../README.md) <script>alert(1)</script>\n",
    );
    std::fs::write(work.0.join("data.bin"), [0_u8, 1, 2, 255]).unwrap();
    std::fs::write(work.0.join("huge.txt"), "line\n".repeat(200_000)).unwrap();
    std::fs::write(work.0.join("large.bin"), vec![0_u8; 3 << 20]).unwrap();
    work.commit("src/main.rs", "fn main() { println!(\"<b>\"); }\n");
    let pusher = work.clone();
    blocking(move || {
        pusher.git(["tag", "v1"]).ok();
        pusher
            .git([
                "push",
                "-q",
                "origin",
                "main",
                "main:refs/heads/feature/x",
                "v1",
            ])
            .ok()
    })
    .await;
    (server, work)
}

impl Server {
    async fn page(&self, path: &str) -> String {
        let (status, head, body) = self.get("owner", path).await;
        assert_eq!(status, 200, "{path}: {head}");
        assert!(
            !body.contains("style=\"") && !body.contains("onclick"),
            "{path} has inline style or script"
        );
        body
    }

    async fn form(&self, user: &str, path: &str, body: &str) -> (u16, String, String) {
        self.send(user, "POST", path, &["-d", body]).await
    }
}

fn has(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text} is missing in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_browsed() {
    let (server, work) = filled().await;
    let home = server.page("/team/app").await;
    has(
        &home,
        &[
            "what it is for",
            "http://rave.test/team/app.git",
            "/team/app/-/tree/main/docs",
            "<h1>Hello</h1>",
            "/team/app/-/pipelines/7",
        ],
    );
    let docs = server.page("/team/app/-/tree/feature/x/docs").await;
    has(&docs, &["/team/app/-/blob/feature/x/docs/guide.md"]);
    let guide = server
        .page("/team/app/-/blob/feature/x/docs/guide.md")
        .await;
    has(
        &guide,
        &[
            "<h1>Guide</h1>",
            "href=\"/team/app/-/blob/feature/x/README.md\"",
        ],
    );
    assert!(!guide.contains("<script>alert"), "{guide}");
    has(
        &server
            .page("/team/app/-/blob/main/docs/guide.md?plain=1")
            .await,
        &["[back](../README.md)", "id=\"L1\""],
    );
    let source = server.page("/team/app/-/blob/v1/src/main.rs").await;
    has(
        &source,
        &["<i class=\"f\">main</i>", "&lt;b&gt;", "id=\"L1\""],
    );
    has(
        &server.page("/team/app/-/blob/main/data.bin").await,
        &["This is not text.", "/-/raw/main/data.bin"],
    );
    let huge = server.page("/team/app/-/blob/main/huge.txt").await;
    has(&huge, &["too large to show", "976.5 KiB"]);
    assert!(huge.len() < 20_000, "a huge file makes a small page");
    let by_id = server
        .page(&format!("/team/app/-/tree/{}", &work.head()[..10]))
        .await;
    has(&by_id, &["docs"]);
    for missing in [
        "tree/none",
        "tree/main/none",
        "blob/main/none",
        "blob/main/docs",
        "raw/main/none",
        "blob/main/../../etc/passwd",
        "commit/ffffffff",
    ] {
        assert_eq!(
            server
                .get("owner", &format!("/team/app/-/{missing}"))
                .await
                .0,
            404,
            "{missing}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_files_are_no_pages() {
    let (server, _) = filled().await;
    let (status, head, body) = server
        .get("owner", "/team/app/-/raw/main/docs/guide.md")
        .await;
    assert_eq!((status, body.contains("<script>")), (200, true));
    has(&head, &["content-type: text/plain", "nosniff", "sandbox"]);
    let (_, head, _) = server.get("owner", "/team/app/-/raw/main/data.bin").await;
    has(
        &head,
        &[
            "application/octet-stream",
            "content-disposition: attachment",
        ],
    );
    let target = server
        .place
        .directory
        .path()
        .join("large")
        .display()
        .to_string();
    let url = format!("http://{}/team/app/-/raw/main/large.bin", server.address);
    let arguments = [
        "-sS",
        "-f",
        "-H",
        "PRIVATE-TOKEN: owner",
        "-o",
        &target,
        &url,
    ]
    .map(ToOwned::to_owned);
    assert!(
        blocking(move || std::process::Command::new("curl")
            .args(arguments)
            .status()
            .unwrap())
        .await
        .success()
    );
    assert_eq!(
        std::fs::read(target).unwrap(),
        vec![0_u8; 3 << 20],
        "a large file streams"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_browsed() {
    let (server, work) = filled().await;
    has(
        &server.page("/team/app/-/commits").await,
        &["3 commits", "Change src/main.rs", "/team/app/-/pipelines/7"],
    );
    let of_file = server.page("/team/app/-/commits/main/docs/guide.md").await;
    assert!(
        of_file.contains("1 commit") && !of_file.contains("Change src/main.rs"),
        "{of_file}"
    );
    let commit = server
        .page(&format!("/team/app/-/commit/{}", work.head()))
        .await;
    has(
        &commit,
        &[
            "Because.",
            "4 files changed",
            "<span class=\"l add\"",
            "too many lines",
            "The file is not text, or too large",
        ],
    );
    has(
        &server.page("/team/app/-/branches").await,
        &["feature/x", "default", "protected"],
    );
    has(
        &server.page("/team/app/-/tags").await,
        &["v1", "archive.tar.gz?sha=v1"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_made_and_kept_by_forms() {
    let server = Server::start().await;
    has(
        &server.page("/").await,
        &["No projects yet", "git push -u origin main"],
    );
    has(
        &server.page("/-/projects/new").await,
        &["<option value=\"team\"", "Create project"],
    );
    let (status, head, _) = server
        .form(
            "owner",
            "/-/projects/new",
            "namespace=team&name=My+App&visibility=public&readme=1",
        )
        .await;
    assert_eq!(status, 303, "{head}");
    has(&head, &["location: /team/my-app"]);
    let home = server.page("/team/my-app").await;
    has(&home, &["README.md", "<h1>My App</h1>"]);
    let (status, _, body) = server
        .form(
            "owner",
            "/-/projects/new",
            "namespace=team&name=My+App&visibility=public",
        )
        .await;
    assert_eq!(status, 422);
    has(&body, &["has already been taken", "value=\"My App\""]);
    let (status, _, body) = server
        .form(
            "owner",
            "/-/projects/new",
            "namespace=team&name=x&path=..%2Fx",
        )
        .await;
    assert_eq!(status, 422, "{body}");
    has(&server.page("/?search=my").await, &["team/my-app"]);
    has(&server.page("/?search=zzz").await, &["Nothing found"]);
    has(
        &server.page("/team").await,
        &["team/my-app", "/-/groups/1/members"],
    );
    server.fake().add("team/empty", Visibility::Private);
    for number in 0..21 {
        server
            .fake()
            .add(&format!("team/many-{number}"), Visibility::Private);
    }
    has(
        &server.page("/?search=many").await,
        &["/?search=many&amp;page=2"],
    );
    has(
        &server.page("/team/empty").await,
        &[
            "This repository is empty",
            "git remote add origin http://rave.test/team/empty.git",
        ],
    );

    let settings = "/team/my-app/-/settings";
    has(
        &server.page(settings).await,
        &[
            "Protected branches",
            "Maintainers may push",
            "Delete project",
        ],
    );
    assert_eq!(server.get("developer", settings).await.0, 403);
    assert_eq!(
        server
            .form(
                "owner",
                settings,
                "name=Ours&description=d&visibility=internal"
            )
            .await
            .0,
        303
    );
    assert_eq!(
        server
            .form(
                "owner",
                &format!("{settings}/protected_branches"),
                "name=rel/*&push_level=30"
            )
            .await
            .0,
        303
    );
    has(
        &server.page(settings).await,
        &[
            "rel/*",
            "Developers and maintainers may push",
            "value=\"Ours\"",
        ],
    );
    assert_eq!(
        server
            .form(
                "owner",
                &format!("{settings}/protected_branches/remove"),
                "name=rel/*"
            )
            .await
            .0,
        303
    );
    let (status, head, _) = server
        .form(
            "developer",
            "/team/my-app/-/branches",
            "branch=a/b&ref=main",
        )
        .await;
    assert_eq!(status, 303, "{head}");
    assert_eq!(
        server
            .form("developer", "/team/my-app/-/branches/delete", "branch=main")
            .await
            .0,
        400
    );
    assert_eq!(
        server
            .form("developer", "/team/my-app/-/branches/delete", "branch=a/b")
            .await
            .0,
        303
    );
    assert_eq!(
        server
            .form("owner", &format!("{settings}/archive"), "archived=true")
            .await
            .0,
        303
    );
    has(&server.page(settings).await, &["Unarchive project"]);
    assert_eq!(
        server
            .form("developer", "/team/my-app/-/branches", "branch=c&ref=main")
            .await
            .0,
        403,
        "it is archived"
    );
    assert_eq!(
        server
            .form("owner", &format!("{settings}/delete"), "confirm=wrong")
            .await
            .0,
        400
    );
    assert_eq!(
        server
            .form(
                "owner",
                &format!("{settings}/delete"),
                "confirm=team/my-app"
            )
            .await
            .0,
        303
    );
    assert_eq!(server.get("owner", "/team/my-app").await.0, 404);
    let (status, head, _) = server.get("", "/team/empty").await;
    assert_eq!(status, 303, "a stranger is asked to sign in: {head}");
}
