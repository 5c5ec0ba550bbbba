//! Runners that fall silent, servers that were away, and jobs that nobody takes.

use rave_store::Worker as _;
use serde_json::json;

use super::{Place, World, on_both_engines};
use crate::worker::due::DueJobs;

const ONE: &str = "a:\n  script: [x]\n";

on_both_engines!(
    an_assignment_without_a_word_is_released,
    a_lost_runner_loses_no_job,
    an_absent_server_blames_nobody,
    jobs_of_the_embedded_runner_die_with_the_server,
    a_job_that_never_ends_is_ended,
    logs_move_to_the_blob_store,
);

async fn an_assignment_without_a_word_is_released(place: Place) {
    let world = World::new(place, ONE).await;
    world.push(&[]).await;
    let mut due = DueJobs::new(world.ci.clone());
    due.step().await.unwrap();
    let (first, second) = (world.runner(json!({})).await, world.runner(json!({})).await);
    let job = world.take(&first).await;
    assert_eq!(world.request(&second, None).await.status, 204);
    world.clock.advance(9_000);
    due.step().await.unwrap();
    assert_eq!(
        world.request(&second, None).await.status,
        204,
        "ten seconds have not passed"
    );
    world.clock.advance(1_001);
    due.step().await.unwrap();
    let again = world.start(&second).await;
    assert_eq!(again["id"], job["id"]);
    assert_ne!(again["token"], job["token"]);
    assert_eq!(
        world.put_state(&job, "running").await.status,
        403,
        "too late"
    );
    assert_eq!(world.put_state(&again, "success").await.status, 200);
}

async fn a_lost_runner_loses_no_job(place: Place) {
    let world = World::new(place, ONE).await;
    world.push(&[]).await;
    let mut due = DueJobs::new(world.ci.clone());
    due.step().await.unwrap();
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    world.clock.advance(50_000);
    world.patch_trace(&job, 0, "alive\n").await;
    world.clock.advance(50_000);
    due.step().await.unwrap();
    assert_eq!(world.statuses().await, "a:running");
    world.clock.advance(10_001);
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "a:failed(no_updates_running) a:pending"
    );
    let told = world.patch_trace(&job, 6, "x").await;
    assert_eq!(
        (told.status.as_u16(), told.header("job-status")),
        (403, "failed")
    );

    world.start(&runner).await;
    world.clock.advance(60_001);
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "a:failed(no_updates_running) a:failed(no_updates_running)"
    );
    assert_eq!(world.status().await, "failed");
}

async fn an_absent_server_blames_nobody(place: Place) {
    let world = World::new(place, ONE).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    world.clock.advance(300_000);
    let mut due = DueJobs::new(world.ci.clone());
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "a:running",
        "the runner gets a new term"
    );
    world.put_state(&job, "running").await;
    world.clock.advance(59_000);
    due.step().await.unwrap();
    assert_eq!(world.put_state(&job, "success").await.status, 200);
}

async fn a_job_that_never_ends_is_ended(place: Place) {
    let world = World::new(place, "a:\n  script: [x]\n  timeout: 10 minutes\n").await;
    world.push(&[]).await;
    let mut due = DueJobs::new(world.ci.clone());
    due.step().await.unwrap();
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    assert_eq!(job["runner_info"]["timeout"], 600);
    for _ in 0..21 {
        world.clock.advance(59_000);
        world.put_state(&job, "running").await;
        due.step().await.unwrap();
    }
    assert_eq!(world.statuses().await, "a:failed(job_execution_timeout)");
    world.push(&[]).await;
    world.clock.advance(86_400_001);
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "a:failed(job_execution_timeout) a:failed(stuck_or_timeout_failure)"
    );
}

async fn logs_move_to_the_blob_store(place: Place) {
    let world = World::new(place, ONE).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    let mut text = String::new();
    for piece in ["one\n", "two\n", "three\n"] {
        world.patch_trace(&job, text.len(), piece).await;
        text += piece;
    }
    let mut archive = crate::worker::archive::Archive::new(world.ci.clone());
    archive.step().await.unwrap();
    assert!(
        world.ci.blobs.list(None, 10).await.unwrap().is_empty(),
        "the job still runs"
    );
    world.put_state(&job, "success").await;
    archive.step().await.unwrap();
    assert_eq!(archive.step().await.unwrap(), rave_store::Progress::Idle);
    assert_eq!(world.ci.blobs.list(None, 10).await.unwrap().len(), 1);
    let trace = world
        .get(&format!("/projects/1/jobs/{}/trace", job["id"]))
        .await;
    assert_eq!(&trace.body[..], text.as_bytes());
}

async fn jobs_of_the_embedded_runner_die_with_the_server(place: Place) {
    let world = World::new(place, "a:\n  script: [x]\nb:\n  script: [x]\n").await;
    world.push(&[]).await;
    let token = rave_core::secret::Secret::new("glrt-embedded");
    world.ci.ensure_embedded_runner(&token).await.unwrap();
    let job = world.start(token.expose()).await;
    let other = world.runner(json!({})).await;
    world.start(&other).await;
    // The server is killed and starts again a little later.
    world.clock.advance(2_000);
    world.ci.ensure_embedded_runner(&token).await.unwrap();
    let mut due = DueJobs::new(world.ci.clone());
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "a:failed(no_updates_running) b:running a:pending"
    );
    assert_eq!(world.put_state(&job, "running").await.status, 403);
    assert_eq!(world.take(token.expose()).await["job_info"]["name"], "a");
}
