//! Pipelines out of pushes and requests.

use std::sync::atomic::Ordering;

use rave_core::port::Pipelines as _;
use serde_json::{Value, json};

use super::{Place, World, on_both_engines};

const TWO: &str =
    "build:\n  stage: build\n  script: [make]\ntest:\n  stage: test\n  script: [make test]\n";

on_both_engines!(
    a_push_becomes_one_pipeline,
    a_push_is_finished_after_a_failure,
    an_invalid_file_is_told_to_whoever_pushed,
    skipped_and_filtered_pushes,
    pipelines_on_request,
    a_protected_branch_is_run_by_those_who_may_change_it,
);

async fn a_push_becomes_one_pipeline(place: Place) {
    let world = World::new(place, TWO).await;
    let event = world.append_push(&["ci.variable=A=1"]).await;
    world.handle(&event).await.unwrap();
    world.handle(&event).await.unwrap();
    let lines = world
        .reports
        .push_report(&[event.id], std::time::Duration::from_secs(9))
        .await;
    assert_eq!(
        lines,
        ["Pipeline #1 created: http://rave.test/team/app/-/pipelines/1"]
    );
    assert_eq!(world.pipelines().await.len(), 1);
    assert_eq!(world.fake.kept.lock().unwrap().len(), 1);
    assert_eq!(world.statuses().await, "build:pending test:created");
    assert_eq!(
        world.events().await,
        [
            "pipeline.created pipeline/1 created",
            "job.changed job/1 pending",
            "pipeline.changed pipeline/1 pending"
        ]
    );

    let pipeline = world.get("/projects/1/pipelines/1").await.json();
    assert_eq!(pipeline["source"], "push");
    assert_eq!(pipeline["user"]["username"], "developer");
    assert_eq!(pipeline["iid"], 1);
    let variables = world.get("/projects/1/pipelines/1/variables").await.json();
    assert_eq!(variables[0]["key"], "A");
    assert_eq!(
        world
            .api("stranger", "GET", "/projects/1/pipelines", Value::Null)
            .await
            .status,
        404
    );
    let listed = world
        .get("/projects/team%2Fapp/pipelines?status=pending")
        .await;
    assert_eq!(
        (listed.header("x-total"), listed.json()[0]["sha"].as_str()),
        ("1", Some(super::world::SHA))
    );
}

async fn a_push_is_finished_after_a_failure(place: Place) {
    let world = World::new(place, TWO).await;
    world.fake.away.store(true, Ordering::SeqCst);
    let event = world.append_push(&[]).await;
    let failed = world.handle(&event).await.unwrap_err();
    assert!(
        matches!(failed, rave_store::HandleError::Transient(_)),
        "{failed:?}"
    );
    assert!(
        world.pipelines().await.is_empty(),
        "nobody sees half a pipeline"
    );
    let runner = world.runner(json!({})).await;
    assert_eq!(world.request(&runner, None).await.status, 204);

    world.fake.away.store(false, Ordering::SeqCst);
    world.handle(&event).await.unwrap();
    let pipelines = world.pipelines().await;
    assert_eq!(
        (pipelines.len(), pipelines[0].iid),
        (1, 1),
        "the second try goes on with the first"
    );
}

async fn an_invalid_file_is_told_to_whoever_pushed(place: Place) {
    let world = World::new(place, "build:\n  scirpt: [make]\n").await;
    let lines = world.push(&[]).await;
    assert!(lines[0].starts_with(".gitlab-ci.yml:"), "{lines:?}");
    assert!(
        lines.last().unwrap().contains("Pipeline #1 failed"),
        "{lines:?}"
    );
    let pipeline = world.get("/projects/1/pipelines/1").await.json();
    assert_eq!(
        (
            pipeline["status"].as_str(),
            pipeline["failure_reason"].as_str()
        ),
        (Some("failed"), Some("config_error"))
    );
    assert!(
        pipeline["yaml_errors"]
            .as_str()
            .unwrap()
            .contains(".gitlab-ci.yml:"),
        "{pipeline}"
    );

    let asked = world
        .api(
            "developer",
            "POST",
            "/projects/1/pipeline",
            json!({ "ref": "main" }),
        )
        .await;
    assert_eq!(asked.status, 400);
    assert!(
        asked.json()["message"]["base"][0]
            .as_str()
            .unwrap()
            .contains("build"),
        "{asked:?}"
    );
    assert_eq!(world.pipelines().await.len(), 1, "a request stores nothing");
    let lint = world.get("/projects/1/ci/lint").await.json();
    assert_eq!(lint["valid"], false);
}

async fn skipped_and_filtered_pushes(place: Place) {
    let world = World::new(place, TWO).await;
    let lines = world.push(&["ci.skip"]).await;
    assert!(lines[0].contains("skipped"), "{lines:?}");
    assert_eq!(
        (world.status().await, world.jobs().await.len()),
        ("skipped", 0)
    );
    *world.fake.message.lock().unwrap() = "x [skip ci]".into();
    world.push(&[]).await;
    assert_eq!(world.status().await, "skipped");

    world.fake.files.lock().unwrap().insert(
        ".gitlab-ci.yml".into(),
        format!("workflow:\n  rules: [{{if: '$CI_COMMIT_BRANCH == \"x\"'}}]\n{TWO}"),
    );
    *world.fake.message.lock().unwrap() = "x".into();
    let lines = world.push(&[]).await;
    assert!(lines[0].starts_with("No pipeline:"), "{lines:?}");
    world.fake.files.lock().unwrap().clear();
    assert!(world.push(&[]).await.is_empty(), "no file, nothing to say");
    assert_eq!(world.pipelines().await.len(), 2);
}

async fn pipelines_on_request(place: Place) {
    let world = World::new(place, TWO).await;
    let body = json!({ "ref": "main", "variables": [{ "key": "A", "value": "1" }] });
    let made = world
        .api("developer", "POST", "/projects/1/pipeline", body)
        .await;
    assert_eq!(
        (made.status.as_u16(), made.json()["source"].clone()),
        (201, json!("api"))
    );
    let missing = world
        .api(
            "developer",
            "POST",
            "/projects/1/pipeline",
            json!({ "ref": "nope" }),
        )
        .await;
    assert_eq!(missing.json()["message"]["base"][0], "Reference not found");
    let missing = world
        .api("developer", "POST", "/projects/1/pipeline", json!({}))
        .await;
    assert_eq!(
        (missing.status.as_u16(), missing.json()["error"].clone()),
        (400, json!("ref is missing"))
    );
    let latest = world.get("/projects/1/pipelines/latest").await.json();
    assert_eq!(latest["id"], made.json()["id"]);

    let lint = json!({ "content": TWO, "include_jobs": true });
    let lint = world
        .api("developer", "POST", "/projects/1/ci/lint", lint)
        .await
        .json();
    assert_eq!(
        (lint["valid"].clone(), lint["jobs"][1]["name"].clone()),
        (json!(true), json!("test"))
    );
    let deleted = world
        .api("root", "DELETE", "/projects/1/pipelines/1", Value::Null)
        .await;
    assert_eq!(
        (deleted.status.as_u16(), world.pipelines().await.len()),
        (204, 0)
    );
}

async fn a_protected_branch_is_run_by_those_who_may_change_it(place: Place) {
    let world = World::new(place, TWO).await;
    let run = async || {
        let wish = json!({"ref": "main"});
        world
            .api("developer", "POST", "/projects/1/pipeline", wish)
            .await
    };
    assert_eq!(run().await.status, 201);
    let maintainer = rave_core::permission::Role::Maintainer.level();
    world
        .fake
        .least_to_change
        .store(maintainer, Ordering::SeqCst);
    let refused = run().await;
    assert_eq!(refused.status, 400);
    let text = refused.json().to_string();
    assert!(
        text.contains("sufficient permission to run a pipeline on 'main'"),
        "{text}"
    );
    assert_eq!(world.pipelines().await.len(), 1);
}
