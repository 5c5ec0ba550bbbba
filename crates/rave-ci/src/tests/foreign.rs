//! Artifacts of other pipelines: of the parent, of siblings, and of other projects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::artifacts::zip;
use super::{Place, World, on_both_engines};

on_both_engines!(
    a_child_takes_what_its_parent_made,
    strangers_are_no_family,
    a_job_takes_what_another_project_made,
    what_may_not_be_read_is_missing,
);

const MAKE: &str = "make:\n  stage: build\n  script: [x]\n  artifacts: {paths: [out]}\n";

async fn make(world: &World, runner: &str) -> Value {
    let job = world.start(runner).await;
    assert_eq!(job["job_info"]["name"], "make");
    let bytes = zip(&[("out/a.txt", "hello")]);
    world
        .upload(&job, "artifact_format=zip&artifact_type=archive", &bytes)
        .await;
    world.put_state(&job, "success").await;
    world.settle().await;
    job
}

/// Downloads the only dependency as a runner does.
async fn download(world: &World, job: &Value) -> u16 {
    let dependencies = job["dependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), 1, "{dependencies:?}");
    let answer = world
        .as_job(&dependencies[0], "GET", "/artifacts", Value::Null)
        .await;
    answer.status.as_u16()
}

async fn a_child_takes_what_its_parent_made(place: Place) {
    let file = format!(
        "{MAKE}call:\n  stage: test\n  variables: {{UP: $CI_PIPELINE_ID}}\n  trigger: {{include: child.yml}}\n"
    );
    let world = World::new(place, &file).await;
    world.put_file(
        "child.yml",
        "use:\n  script: [x]\n  needs: [{pipeline: $UP, job: make}]\n",
    );
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let made = make(&world, &runner).await;
    let job = world.take(&runner).await;
    assert_eq!(job["job_info"]["name"], "use");
    assert_eq!(job["dependencies"][0]["id"], made["id"]);
    assert_eq!(download(&world, &job).await, 200);
}

async fn strangers_are_no_family(place: Place) {
    let world = World::new(place, MAKE).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    make(&world, &runner).await;
    world.put_file(
        ".gitlab-ci.yml",
        "use:\n  script: [x]\n  needs: [{pipeline: '1', job: make}]\n",
    );
    world.push(&[]).await;
    assert_eq!(world.request(&runner, None).await.status, 204);
    assert_eq!(
        world.statuses().await,
        "make:success use:failed(missing_dependency_failure)"
    );
}

/// A pipeline of `project` that made something, and one of the first project that needs it.
async fn needing(place: Place, project: i64, path: &str) -> (Arc<World>, String) {
    let file = format!(
        "use:\n  script: [x]\n  needs: [{{project: {path}, ref: main, job: make, artifacts: true}}]\n"
    );
    let world = World::new(place, &file).await;
    world.put_file(&format!("{project}/.gitlab-ci.yml"), MAKE);
    let made = world
        .api(
            "root",
            "POST",
            &format!("/projects/{project}/pipeline"),
            json!({ "ref": "main" }),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let runner = world.runner(json!({})).await;
    make(&world, &runner).await;
    world.push(&[]).await;
    (world, runner)
}

async fn a_job_takes_what_another_project_made(place: Place) {
    let (world, runner) = needing(place, 2, "team/lib").await;
    let job = world.take(&runner).await;
    assert_eq!(download(&world, &job).await, 200);

    // Only what the file names: another job of that project is out of reach.
    world.put_file("2/.gitlab-ci.yml", &MAKE.replace("make:", "more:"));
    world
        .api(
            "root",
            "POST",
            "/projects/2/pipeline",
            json!({ "ref": "main" }),
        )
        .await;
    let more = world.start(&runner).await;
    let bytes = zip(&[("out/b.txt", "more")]);
    world
        .upload(&more, "artifact_format=zip&artifact_type=archive", &bytes)
        .await;
    let other = json!({ "id": more["id"], "token": job["token"] });
    let refused = world.as_job(&other, "GET", "/artifacts", Value::Null).await;
    assert_eq!(refused.status, 404, "{refused:?}");
}

async fn what_may_not_be_read_is_missing(place: Place) {
    let (world, runner) = needing(place, 2, "nobody/knows").await;
    assert_eq!(world.request(&runner, None).await.status, 204);
    assert_eq!(
        world.statuses().await,
        "use:failed(missing_dependency_failure)"
    );
}
