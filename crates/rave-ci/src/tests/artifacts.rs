//! What jobs leave: stored, read, expired, erased, swept.

use std::io::Write as _;

use rave_store::Worker as _;
use serde_json::{Value, json};

use super::{Place, World, on_both_engines};
use crate::worker::expiry::Expiry;

const FILE: &str = "build:\n  stage: build\n  script: [x]\n  artifacts: {paths: [out], expire_in: 1 day}\n\
    test:\n  stage: test\n  script: [x]\n  when: manual\n";
const DAY: i64 = 86_400_000;

on_both_engines!(
    archives_and_files_are_served,
    artifacts_expire_but_the_latest_stay,
    missing_dependencies_fail_a_job,
    an_upload_that_breaks_off_leaves_nothing,
);

/// Packs files as the runner does.
pub(crate) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Runs the first job of a new pipeline to its end, with an archive.
async fn build(world: &World, runner: &str, content: &str) -> Value {
    world.push(&[]).await;
    let job = world.start(runner).await;
    let uploaded = world
        .upload(&job, "", &zip(&[("out/a.txt", content)]))
        .await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    world.put_state(&job, "success").await;
    job
}

async fn archives_and_files_are_served(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    world.push(&[]).await;
    let job = world.start(&runner).await;
    let long = "0123456789abcdef".repeat(20_000);
    let bytes = zip(&[("out/a.txt", "hello"), ("out/b.txt", &long)]);
    assert_eq!(
        world
            .upload(&job, "artifact_type=junit&artifact_format=zip", &bytes)
            .await
            .status,
        400
    );
    assert_eq!(
        world
            .upload(&job, "artifact_type=archive", &bytes)
            .await
            .status,
        201
    );
    assert_eq!(
        world
            .upload(&job, "artifact_type=archive", &bytes)
            .await
            .status,
        201,
        "the same again"
    );
    assert_eq!(
        world
            .upload(&job, "artifact_type=archive", b"other")
            .await
            .status,
        400
    );
    assert_eq!(
        world
            .upload(&job, "artifact_type=junit", b"report")
            .await
            .status,
        201
    );
    let authorized = world
        .as_job(
            &job,
            "POST",
            "/artifacts/authorize?filesize=99999999999",
            Value::Null,
        )
        .await;
    assert_eq!(authorized.status, 413);
    world.put_state(&job, "success").await;
    assert_eq!(
        world.upload(&job, "", &bytes).await.status,
        403,
        "the job has ended"
    );

    let whole = world.get("/projects/1/jobs/1/artifacts").await;
    assert_eq!(
        (&whole.body[..], whole.header("content-type")),
        (&bytes[..], "application/zip")
    );
    assert!(
        whole
            .header("content-disposition")
            .contains("artifacts.zip")
    );
    assert_eq!(
        &world
            .get("/projects/1/jobs/1/artifacts/out/b.txt")
            .await
            .body[..],
        long.as_bytes()
    );
    assert_eq!(
        world
            .get("/projects/1/jobs/1/artifacts/out/none")
            .await
            .status,
        404
    );
    assert_eq!(
        world
            .get("/projects/1/jobs/artifacts/main/raw/out/a.txt?job=build")
            .await
            .body,
        "hello"
    );
    assert_eq!(
        world
            .get("/projects/1/jobs/artifacts/main/download?job=test")
            .await
            .status,
        404
    );
    assert_eq!(
        world
            .api(
                "stranger",
                "GET",
                "/projects/1/jobs/1/artifacts",
                Value::Null
            )
            .await
            .status,
        404
    );

    let deleted = world
        .api(
            "developer",
            "DELETE",
            "/projects/1/jobs/1/artifacts",
            Value::Null,
        )
        .await;
    assert_eq!(
        (
            deleted.status.as_u16(),
            world
                .get("/projects/1/jobs/1/artifacts")
                .await
                .status
                .as_u16()
        ),
        (204, 404)
    );
}

async fn artifacts_expire_but_the_latest_stay(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    let (old, kept, last) = (
        build(&world, &runner, "old").await,
        build(&world, &runner, "kept").await,
        build(&world, &runner, "last").await,
    );
    let archive = async |job: &Value| {
        let path = format!("/projects/1/jobs/{}/artifacts", job["id"]);
        world.get(&path).await.status.as_u16()
    };
    let keep = format!("/projects/1/jobs/{}/artifacts/keep", kept["id"]);
    assert_eq!(
        world
            .api("developer", "POST", &keep, Value::Null)
            .await
            .json()["artifacts_expire_at"],
        Value::Null
    );
    let mut expiry = Expiry::new(world.ci.clone());
    expiry.step().await.unwrap();
    assert_eq!((archive(&old).await, archive(&last).await), (200, 200));
    world.clock.advance(DAY + 1);
    expiry.step().await.unwrap();
    assert_eq!(
        (
            archive(&old).await,
            archive(&kept).await,
            archive(&last).await
        ),
        (404, 200, 200)
    );
    let sweeper = rave_blob::Sweeper::new(
        world.ci.blobs.clone(),
        vec![world.ci.clone()],
        std::time::Duration::from_secs(3600),
    );
    sweeper.sweep().await.unwrap();
    assert_eq!(
        world.ci.blobs.list(None, 10).await.unwrap().len(),
        2,
        "what nothing refers to is swept"
    );
    assert_eq!((archive(&kept).await, archive(&last).await), (200, 200));
}

async fn missing_dependencies_fail_a_job(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    build(&world, &runner, "x").await;
    world
        .api(
            "developer",
            "DELETE",
            "/projects/1/jobs/1/artifacts",
            Value::Null,
        )
        .await;
    let played = world
        .api("developer", "POST", "/projects/1/jobs/2/play", Value::Null)
        .await;
    assert_eq!(played.status, 201, "{played:?}");
    assert_eq!(world.request(&runner, None).await.status, 204);
    assert_eq!(
        world.statuses().await,
        "build:success test:failed(missing_dependency_failure)"
    );
}

async fn an_upload_that_breaks_off_leaves_nothing(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    world.push(&[]).await;
    let job = world.start(&runner).await;
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\r\npart of a file";
    let request = axum::extract::Request::builder()
        .method("POST")
        .uri("/api/v4/jobs/1/artifacts")
        .header("job-token", job["token"].as_str().unwrap())
        .header("content-type", "multipart/form-data; boundary=b")
        .body(axum::body::Body::from(head))
        .unwrap();
    assert_eq!(world.send(request).await.status, 400);
    assert!(world.ci.blobs.list(None, 10).await.unwrap().is_empty());
    assert_eq!(world.get("/projects/1/jobs/1/artifacts").await.status, 404);
    assert_eq!(
        world.upload(&job, "", b"whole").await.status,
        201,
        "the next try is taken"
    );
}
