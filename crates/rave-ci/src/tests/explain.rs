//! Stored pipelines, explained and planned again from what they were made of.

use serde_json::{Value, json};

use super::{Place, World, on_both_engines};

const FILE: &str = "
include: ci/base.yml
build:
  extends: .base
  rules: [{if: '$TOKEN == \"glpat-0123456789\"'}]
test:
  script: [make test]
  rules:
    - exists: [Cargo.toml]
      when: never
    - if: $CI_COMMIT_BRANCH == \"main\"
";
const BASE: &str = ".base:\n  script: [make]\n";

on_both_engines!(
    a_stored_pipeline_is_explained,
    a_stored_pipeline_is_replayed,
    lint_shows_the_merged_file,
);

async fn world(place: Place) -> std::sync::Arc<World> {
    let world = World::new(place, FILE).await;
    let base = ("ci/base.yml".to_owned(), BASE.to_owned());
    world.fake.files.lock().unwrap().extend([base]);
    let token = json!({ "key": "TOKEN", "value": "glpat-0123456789", "masked": true });
    let set = world.api("root", "POST", "/projects/1/variables", token);
    assert_eq!(set.await.status, 201);
    world.push(&[]).await;
    assert_eq!(world.pipelines().await.len(), 1);
    world
}

async fn a_stored_pipeline_is_explained(place: Place) {
    let world = world(place).await;
    // What is there now is not what was there then.
    world.fake.files.lock().unwrap().extend([
        ("Cargo.toml".to_owned(), String::new()),
        ("ci/base.yml".to_owned(), "none: {}".to_owned()),
    ]);
    let all = world.get("/projects/1/pipelines/1/explain").await.json();
    let jobs: Vec<(&str, bool, &str)> = all["jobs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            let text = |key: &str| it[key].as_str().expect("a text");
            (text("name"), it["included"] == true, text("verdict"))
        })
        .collect();
    assert_eq!(
        jobs,
        [
            ("build", true, "rule 1 holds"),
            ("test", true, "rule 2 holds")
        ]
    );
    assert_eq!(all["notes"], json!([]));
    let answer = world.get("/projects/1/pipelines/1/explain?job=build").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!text.contains("glpat-0123456789"), "{text}");
    let why = answer.json();
    let operand = &why["jobs"][0]["rules"][0]["clauses"][0]["operands"][0];
    assert_eq!(
        (&operand["name"], &operand["value"], &operand["layer"]),
        (&json!("TOKEN"), &json!("[redacted]"), &json!("project"))
    );
    let keys = why["jobs"][0]["keys"].as_array().expect("a list");
    let script = keys.iter().find(|it| it["key"] == "script");
    let script = script.expect("the job has a script");
    assert_eq!(script["origin"], json!({ "extends": ".base" }));
    assert_eq!(script["place"]["file"], "ci/base.yml");

    let gone = world.api("root", "DELETE", "/projects/1/variables/TOKEN", Value::Null);
    assert_eq!(gone.await.status, 204);
    let later = world.get("/projects/1/pipelines/1/explain").await.json();
    assert!(
        later["notes"][0]
            .as_str()
            .expect("a note")
            .contains("TOKEN")
    );

    let missing = world.get("/projects/1/pipelines/1/explain?job=none").await;
    assert_eq!(missing.status, 404);
    assert_eq!(
        world.get("/projects/1/pipelines/9/explain").await.status,
        404
    );
    let stranger = world.api(
        "stranger",
        "GET",
        "/projects/1/pipelines/1/explain",
        Value::Null,
    );
    assert_eq!(stranger.await.status, 404);
}

async fn a_stored_pipeline_is_replayed(place: Place) {
    let world = world(place).await;
    let replay = async |content: &str| {
        let body = json!({ "content": content });
        let path = "/projects/1/pipelines/1/replay";
        world.api("developer", "POST", path, body).await.json()
    };
    let same = replay(FILE).await;
    assert_eq!(
        (
            &same["valid"],
            &same["added"],
            &same["dropped"],
            &same["changed"]
        ),
        (&json!(true), &json!([]), &json!([]), &json!([]))
    );
    let changed = replay(
        "include: ci/base.yml\nbuild: {extends: .base, environment: $TOKEN}\nship: {script: x}\n",
    )
    .await;
    assert_eq!(
        (&changed["added"], &changed["dropped"]),
        (&json!(["ship"]), &json!(["test"]))
    );
    assert_eq!(changed["changed"][0]["name"], "build");
    assert!(
        !changed.to_string().contains("glpat-0123456789"),
        "{changed}"
    );
    let invalid = replay("build: {scrip: x}\n").await;
    assert_eq!(invalid["valid"], false);
    assert!(invalid["errors"][0].is_string());
    assert_eq!(world.pipelines().await.len(), 1, "nothing is made");
    let stranger = world.api(
        "stranger",
        "POST",
        "/projects/1/pipelines/1/replay",
        json!({ "content": "x" }),
    );
    assert_eq!(stranger.await.status, 404);
}

async fn lint_shows_the_merged_file(place: Place) {
    let world = world(place).await;
    let lint = world
        .get("/projects/1/ci/lint?include_jobs=true")
        .await
        .json();
    let merged = lint["merged_yaml"].as_str().expect("a text");
    assert!(
        merged.starts_with("---\n.base:\n  script:\n  - make\nbuild:\n  script:\n  - make\n"),
        "{merged}"
    );
    let include = &lint["includes"][0];
    assert_eq!(
        (&include["type"], &include["location"]),
        (&json!("local"), &json!("ci/base.yml"))
    );
    assert!(
        include["blob"]
            .as_str()
            .expect("an address")
            .ends_with("/ci/base.yml"),
        "{include}"
    );
    assert_eq!(lint["jobs"].as_array().expect("a list").len(), 2);

    let never = "a: {script: x, rules: [{when: never}]}\n";
    let post = async |body: Value| {
        let path = "/projects/1/ci/lint";
        world.api("developer", "POST", path, body).await.json()
    };
    assert_eq!(post(json!({ "content": never })).await["valid"], true);
    let dry = post(json!({ "content": never, "dry_run": true })).await;
    assert_eq!(dry["valid"], false, "{dry}");

    let alone = json!({ "content": "a: {script: x}\n", "include_merged_yaml": true });
    let alone = world
        .api("stranger", "POST", "/ci/lint", alone)
        .await
        .json();
    assert_eq!(
        (&alone["status"], &alone["merged_yaml"]),
        (&json!("valid"), &json!("---\na:\n  script: x\n"))
    );
    let local = json!({ "content": "include: a.yml\na: {script: x}\n" });
    let local = world
        .api("stranger", "POST", "/ci/lint", local)
        .await
        .json();
    assert_eq!(local["status"], "invalid");
}
