//! The API, as its clients call it.

use serde_json::{Value, json};

use crate::server::{Server, Work, blocking};

/// Returns a server whose project `team/app` has three commits, two branches and a tag.
async fn filled() -> (Server, Work) {
    let server = Server::start().await;
    server.project("team/app");
    let work = server.work("owner", "team/app");
    work.commit("src/lib.rs", "fn main() {}\n");
    work.commit("src/ü x.txt", "text\n");
    let pusher = work.clone();
    blocking(move || {
        pusher.git(["tag", "-a", "v1", "-m", "The first"]).ok();
        pusher
            .git([
                "push",
                "-q",
                "origin",
                "main",
                "main~1:refs/heads/feature/x",
                "v1",
            ])
            .ok()
    })
    .await;
    (server, work)
}

impl Server {
    async fn json(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map(|it| it.to_string());
        let mut more = vec!["-H", "Content-Type: application/json"];
        if let Some(body) = &body {
            more.extend(["-d", body]);
        }
        let (status, _, text) = self
            .send(user, method, &format!("/api/v4{path}"), &more)
            .await;
        let value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(json!(text))
        };
        (status, value)
    }

    async fn read(&self, path: &str) -> Value {
        let (status, value) = self.json("reporter", "GET", path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_listed_made_changed_and_deleted() {
    let (server, _) = filled().await;
    let project = server.read("/projects/team%2Fapp").await;
    assert_eq!(project["path_with_namespace"], "team/app");
    assert_eq!(project["name_with_namespace"], "Team / app");
    assert_eq!(
        (&project["empty_repo"], &project["default_branch"]),
        (&json!(false), &json!("main"))
    );
    assert_eq!(project["permissions"]["project_access"]["access_level"], 20);
    assert_eq!(project["namespace"]["kind"], "group");
    assert_eq!(project["http_url_to_repo"], "http://rave.test/team/app.git");
    let simple = server.read("/projects?simple=true").await;
    assert!(simple[0].get("permissions").is_none() && simple[0]["id"] == 1);
    assert_eq!(server.read("/groups/team/projects").await[0]["id"], 1);
    assert_eq!(
        server.json("stranger", "GET", "/projects/1", None).await.0,
        404
    );
    assert_eq!(
        server.json("", "GET", "/projects", None).await,
        (200, json!([]))
    );

    let new = json!({"name": "New Thing", "namespace_id": 1, "initialize_with_readme": true, "description": "d"});
    let (status, made) = server
        .json("developer", "POST", "/projects", Some(new.clone()))
        .await;
    assert_eq!(
        (status, &made["path_with_namespace"]),
        (201, &json!("team/new-thing")),
        "{made}"
    );
    assert_eq!(made["empty_repo"], false);
    let (status, again) = server
        .json("developer", "POST", "/projects", Some(new))
        .await;
    assert_eq!(
        (status, &again["message"]["path"][0]),
        (400, &json!("has already been taken"))
    );
    let (status, none) = server
        .json("developer", "POST", "/projects", Some(json!({})))
        .await;
    assert_eq!(status, 400, "{none}");

    let change = json!({"description": "new", "visibility": "public"});
    let (status, changed) = server
        .json("maintainer", "PUT", "/projects/1", Some(change))
        .await;
    assert_eq!((status, &changed["visibility"]), (200, &json!("public")));
    let missing = json!({"default_branch": "none"});
    assert_eq!(
        server
            .json("maintainer", "PUT", "/projects/1", Some(missing))
            .await
            .0,
        400
    );
    let other = json!({"default_branch": "feature/x"});
    assert_eq!(
        server
            .json("maintainer", "PUT", "/projects/1", Some(other))
            .await
            .0,
        200
    );
    let project = server.fake().projects.lock().unwrap()[0].clone();
    let head = std::fs::read_to_string(server.place.repository(&project).join("HEAD")).unwrap();
    assert_eq!(head, "ref: refs/heads/feature/x\n");
    assert_eq!(
        server
            .json(
                "developer",
                "PUT",
                "/projects/1",
                Some(json!({"name": "x"}))
            )
            .await
            .0,
        403
    );
    assert_eq!(
        server
            .json("maintainer", "POST", "/projects/1/archive", None)
            .await
            .1["archived"],
        true
    );
    assert_eq!(
        server
            .json("maintainer", "DELETE", "/projects/1", None)
            .await
            .0,
        403
    );
    assert_eq!(
        server.json("owner", "DELETE", "/projects/1", None).await.0,
        202
    );
    assert_eq!(
        server.json("owner", "GET", "/projects/1", None).await.0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_and_tags_come_and_go() {
    let (server, work) = filled().await;
    let branches = server.read("/projects/1/repository/branches").await;
    let names: Vec<_> = branches
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["feature/x", "main"]);
    assert_eq!(
        (&branches[1]["protected"], &branches[1]["default"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(branches[1]["commit"]["id"], work.head());
    assert_eq!(branches[1]["commit"]["title"], "Change src/ü x.txt");
    assert_eq!(
        server
            .read("/projects/1/repository/branches/feature%2Fx")
            .await["can_push"],
        false,
        "a reporter"
    );
    assert_eq!(
        server
            .json(
                "reporter",
                "GET",
                "/projects/1/repository/branches/none",
                None
            )
            .await
            .0,
        404
    );

    let new = json!({"branch": "made", "ref": "v1"});
    let (status, made) = server
        .json(
            "developer",
            "POST",
            "/projects/1/repository/branches",
            Some(new.clone()),
        )
        .await;
    assert_eq!((status, &made["name"]), (201, &json!("made")), "{made}");
    assert_eq!(
        server
            .json(
                "developer",
                "POST",
                "/projects/1/repository/branches",
                Some(new)
            )
            .await
            .0,
        400
    );
    let bad = json!({"branch": "a..b", "ref": "main"});
    assert_eq!(
        server
            .json(
                "developer",
                "POST",
                "/projects/1/repository/branches",
                Some(bad)
            )
            .await
            .0,
        400
    );
    let last = server.pushes().await.pop().unwrap();
    assert_eq!(
        (last.reference.as_str(), last.user),
        ("refs/heads/made", Some(3)),
        "the API's branches are pushes too"
    );
    assert_eq!(
        server
            .json(
                "developer",
                "DELETE",
                "/projects/1/repository/branches/main",
                None
            )
            .await
            .0,
        400
    );
    assert_eq!(
        server
            .json(
                "developer",
                "DELETE",
                "/projects/1/repository/branches/made",
                None
            )
            .await
            .0,
        204
    );

    let rule = json!({"name": "release/*", "push_access_level": 40});
    let (status, rule) = server
        .json(
            "maintainer",
            "POST",
            "/projects/1/protected_branches",
            Some(rule),
        )
        .await;
    assert_eq!(
        (status, &rule["push_access_levels"][0]["access_level"]),
        (201, &json!(40)),
        "{rule}"
    );
    let new = json!({"branch": "release/1", "ref": "main"});
    assert_eq!(
        server
            .json(
                "developer",
                "POST",
                "/projects/1/repository/branches",
                Some(new)
            )
            .await
            .0,
        403
    );
    let path = "/projects/1/protected_branches/release%2F*";
    let (_, changed) = server
        .json(
            "maintainer",
            "PATCH",
            path,
            Some(json!({"allowed_to_push": [{"access_level": 30}]})),
        )
        .await;
    assert_eq!(
        changed["push_access_levels"][0]["access_level"], 30,
        "{changed}"
    );
    assert_eq!(server.json("maintainer", "DELETE", path, None).await.0, 204);
    assert_eq!(server.json("maintainer", "GET", path, None).await.0, 404);

    let tags = server.read("/projects/1/repository/tags").await;
    assert_eq!(
        (&tags[0]["name"], &tags[0]["message"]),
        (&json!("v1"), &json!("The first"))
    );
    assert_ne!(tags[0]["target"], tags[0]["commit"]["id"]);
    let new = json!({"tag_name": "v2", "ref": "main", "message": "Two"});
    let (status, made) = server
        .json(
            "developer",
            "POST",
            "/projects/1/repository/tags",
            Some(new),
        )
        .await;
    assert_eq!((status, &made["message"]), (201, &json!("Two")), "{made}");
    assert_eq!(
        server
            .json(
                "developer",
                "DELETE",
                "/projects/1/repository/tags/v2",
                None
            )
            .await
            .0,
        204
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_files_are_read() {
    let (server, work) = filled().await;
    let head = work.head();
    let (_, head_text, body) = server
        .get(
            "reporter",
            "/api/v4/projects/1/repository/commits?per_page=2",
        )
        .await;
    let commits: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (commits.as_array().unwrap().len(), &commits[0]["id"]),
        (2, &json!(head))
    );
    assert!(
        head_text.contains("x-total: 3") && head_text.contains("rel=\"next\""),
        "{head_text}"
    );
    assert_eq!(commits[0]["message"], "Change src/ü x.txt\n\nBecause.\n");
    let of_path = server
        .read("/projects/1/repository/commits?path=src/lib.rs&ref_name=main")
        .await;
    assert_eq!(of_path.as_array().unwrap().len(), 1);
    assert_eq!(
        server
            .json(
                "reporter",
                "GET",
                "/projects/1/repository/commits?ref_name=none",
                None
            )
            .await
            .0,
        404
    );

    let commit = server.read("/projects/1/repository/commits/main").await;
    assert_eq!(
        commit["stats"],
        json!({"additions": 1, "deletions": 0, "total": 1})
    );
    assert_eq!(
        (&commit["last_pipeline"]["id"], &commit["status"]),
        (&json!(7), &json!("success"))
    );
    let short = format!("/projects/1/repository/commits/{}", &head[..8]);
    assert_eq!(server.read(&short).await["id"], head);
    let diff = server.read(&format!("{short}/diff")).await;
    assert_eq!(
        (&diff[0]["new_path"], &diff[0]["diff"]),
        (&json!("src/ü x.txt"), &json!("@@ -0,0 +1 @@\n+text\n"))
    );
    let refs = server.read(&format!("{short}/refs")).await;
    assert_eq!(
        refs,
        json!([{"type": "branch", "name": "main"}, {"type": "tag", "name": "v1"}])
    );
    let compare = server
        .read("/projects/1/repository/compare?from=feature%2Fx&to=main")
        .await;
    assert_eq!(
        (
            compare["commits"].as_array().unwrap().len(),
            compare["diffs"].as_array().unwrap().len()
        ),
        (1, 1)
    );

    let tree = server
        .read("/projects/1/repository/tree?recursive=true")
        .await;
    let paths: Vec<_> = tree
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["src", "README.md", "src/lib.rs", "src/ü x.txt"]);
    let file = server
        .read("/projects/1/repository/files/src%2Flib.rs?ref=main")
        .await;
    assert_eq!(
        (&file["content"], &file["size"]),
        (&json!("Zm4gbWFpbigpIHt9Cg=="), &json!(13))
    );
    let raw = "/api/v4/projects/1/repository/files/src%2F%C3%BC%20x.txt/raw";
    let (status, head_text, body) = server.get("reporter", raw).await;
    assert_eq!((status, body.as_str()), (200, "text\n"), "{head_text}");
    assert!(head_text.contains("x-gitlab-blob-id"), "{head_text}");
    for path in ["..%2F..%2Fetc%2Fpasswd", "none", "src"] {
        let path = format!("/projects/1/repository/files/{path}?ref=main");
        assert_eq!(
            server.json("reporter", "GET", &path, None).await.0,
            404,
            "{path}"
        );
    }
    let blob = file["blob_id"].as_str().unwrap();
    assert_eq!(
        server
            .read(&format!("/projects/1/repository/blobs/{blob}"))
            .await["size"],
        13
    );
    let archive = server
        .place
        .directory
        .path()
        .join("a.tar.gz")
        .display()
        .to_string();
    let (again, path) = (
        format!("{archive}.2"),
        "/api/v4/projects/1/repository/archive.tar.gz?sha=main",
    );
    for target in [&archive, &again] {
        let url = format!("http://{}{path}", server.address);
        let arguments = [
            "-sS",
            "-f",
            "-H",
            "PRIVATE-TOKEN: reporter",
            "-o",
            target,
            &url,
        ]
        .map(ToOwned::to_owned);
        let status = blocking(move || {
            std::process::Command::new("curl")
                .args(arguments)
                .status()
                .unwrap()
        })
        .await;
        assert!(status.success());
    }
    assert_eq!(
        std::fs::read(&archive).unwrap(),
        std::fs::read(&again).unwrap(),
        "the same bytes each time"
    );
    let listed = std::process::Command::new("tar")
        .args(["tzf", &archive])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains(&format!("app-main-{head}/src/lib.rs"))
    );
}
