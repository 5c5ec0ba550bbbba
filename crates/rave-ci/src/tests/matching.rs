//! Who gets which job, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rave_core::id::JobId;
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::world::{soon, until};
use super::{Place, World, on_both_engines};
use crate::store::runner::MachineInfo;

const ONE: &str = "a:\n  script: [x]\n";

on_both_engines!(
    no_two_runners_get_one_job,
    a_held_request_is_answered_at_once,
    a_request_that_goes_away_takes_nothing,
    a_handover_that_is_dropped_gives_the_job_back,
    tags_pauses_and_tokens,
);

async fn no_two_runners_get_one_job(place: Place) {
    const JOBS: usize = 40;
    let mut file = String::new();
    for number in 0..JOBS {
        file += &format!("job{number}:\n  script: [x]\n");
    }
    let world = World::new(place, &file).await;
    world.push(&[]).await;
    let tasks = TaskTracker::new();
    let mut working = Vec::new();
    for _ in 0..8 {
        let (world, token) = (world.clone(), world.runner(json!({})).await);
        working.push(tasks.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let answer = world.request(&token, None).await;
                if answer.status != 201 {
                    return taken;
                }
                let job = answer.json();
                assert_eq!(world.put_state(&job, "success").await.status, 200);
                taken.push(job["id"].as_i64().unwrap());
            }
        }));
    }
    let mut all = Vec::new();
    for work in working {
        all.extend(soon(work).await.unwrap());
    }
    let distinct: BTreeSet<i64> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (JOBS, JOBS));
    assert_eq!(world.status().await, "success");
}

/// Holds a request for a job.
fn hold(
    world: &Arc<World>,
    tasks: &TaskTracker,
    token: &str,
) -> tokio::task::JoinHandle<super::Answer> {
    let (world, token) = (world.clone(), token.to_owned());
    tasks.spawn(async move { world.request(&token, Some("1")).await })
}

async fn a_held_request_is_answered_at_once(place: Place) {
    let world = World::new(place, ONE).await;
    let (tasks, token) = (TaskTracker::new(), world.runner(json!({})).await);
    let first = world.request(&token, None).await;
    assert_eq!(first.status, 204, "a first request is not held");
    assert!(!first.header("x-gitlab-last-update").is_empty());
    let held = hold(&world, &tasks, &token);
    world.push(&[]).await;
    let answer = soon(held).await.unwrap();
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.json()["job_info"]["name"].clone()
        ),
        (201, json!("a"))
    );

    let held = hold(&world, &tasks, &token);
    world.shared.shutdown.cancel();
    assert_eq!(
        soon(held).await.unwrap().status,
        204,
        "shutdown ends held requests"
    );
}

async fn a_request_that_goes_away_takes_nothing(place: Place) {
    let world = World::new(place, ONE).await;
    let (tasks, token) = (TaskTracker::new(), world.runner(json!({})).await);
    const PUSHES: u64 = 12;
    let id = |it: &super::Answer| it.json()["id"].as_i64().unwrap();
    let mut taken = BTreeSet::new();
    // Requests are dropped at all sorts of moments around the arrival of a job.
    for delay in 0..PUSHES {
        let held = hold(&world, &tasks, &token);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(delay * 3)).await;
            held.abort();
        };
        tokio::join!(world.push(&[]), cut);
        // One that was answered before it was cut has its job.
        taken.extend(held.await.iter().filter(|it| it.status == 201).map(id));
    }
    until(async || {
        let answer = world.request(&token, None).await;
        taken.extend((answer.status == 201).then(|| id(&answer)));
        taken.len() as u64 == PUSHES
    })
    .await;
}

async fn a_handover_that_is_dropped_gives_the_job_back(place: Place) {
    let world = World::new(place, ONE).await;
    let token = world.runner(json!({})).await;
    world.push(&[]).await;
    let runner = world
        .ci
        .find_runner_by_token(&token)
        .await
        .unwrap()
        .unwrap();
    let machine = MachineInfo::default();
    let stop = world.shared.shutdown.clone();
    let found = world
        .ci
        .wait_for_job(&runner, &machine, Duration::ZERO, &stop)
        .await
        .unwrap();
    assert!(found.is_some());
    assert_eq!(
        world.request(&token, None).await.status,
        204,
        "the job is assigned"
    );
    drop(found);
    until(async || world.request(&token, None).await.status == 201).await;
    assert_eq!(world.jobs().await[0].id, JobId(1));
}

async fn tags_pauses_and_tokens(place: Place) {
    let world = World::new(
        place,
        "a:\n  script: [x]\n  tags: [gpu]\nb:\n  script: [x]\n",
    )
    .await;
    world.push(&[]).await;
    assert_eq!(world.request("glrt-wrong", None).await.status, 403);
    let plain = world.runner(json!({ "tag_list": "linux" })).await;
    let tagged = world
        .runner(json!({ "tag_list": ["gpu", "linux"], "run_untagged": false, "paused": true }))
        .await;
    assert_eq!(world.take(&plain).await["job_info"]["name"], "b");
    assert_eq!(world.request(&plain, None).await.status, 204);
    assert_eq!(
        world.request(&tagged, Some("1")).await.status,
        204,
        "paused requests are not held"
    );
    let updated = world
        .api("root", "PUT", "/runners/2", json!({ "paused": false }))
        .await;
    assert_eq!(
        (updated.status.as_u16(), updated.json()["status"].clone()),
        (200, json!("online"))
    );
    assert_eq!(world.take(&tagged).await["job_info"]["name"], "a");

    let verify = |token: &str| {
        let body = json!({ "token": token, "system_id": "s_9", "info": { "version": "18" } });
        axum::extract::Request::builder()
            .method("POST")
            .uri("/api/v4/runners/verify")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap()
    };
    world.clock.advance(1000);
    assert_eq!(world.send(verify(&plain)).await.json()["id"], 1);
    assert_eq!(
        world
            .api("developer", "GET", "/runners/1", serde_json::Value::Null)
            .await
            .status,
        404
    );
    assert_eq!(
        world
            .api(
                "root",
                "GET",
                "/runners/1/managers",
                serde_json::Value::Null
            )
            .await
            .json()[0]["system_id"],
        "s_9"
    );
    let reset = world
        .api(
            "root",
            "POST",
            "/runners/1/reset_authentication_token",
            serde_json::Value::Null,
        )
        .await;
    assert_eq!(reset.status, 201);
    assert_eq!(
        world.send(verify(&plain)).await.status,
        403,
        "the old token is worth nothing"
    );
    assert_eq!(
        world
            .api("root", "DELETE", "/runners/1", serde_json::Value::Null)
            .await
            .status,
        204
    );
    let denied = world
        .api(
            "developer",
            "POST",
            "/user/runners",
            json!({ "runner_type": "instance_type" }),
        )
        .await;
    assert_eq!(denied.status, 403);
    let token = rave_core::secret::Secret::new("glrt-embedded");
    let id = world.ci.ensure_embedded_runner(&token).await.unwrap();
    assert_eq!(world.ci.ensure_embedded_runner(&token).await.unwrap(), id);
}
