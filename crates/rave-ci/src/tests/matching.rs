//! Who gets which job, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rave_core::id::JobId;
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::world::{soon, until};
use super::{Place, World, on_both_engines};
use crate::model::MachineInfo;

const ONE: &str = "a:\n  script: [x]\n";

on_both_engines!(
    no_two_runners_get_one_job,
    a_held_request_is_answered_at_once,
    a_request_that_goes_away_takes_nothing,
    a_handover_that_is_dropped_gives_the_job_back,
    tags_pauses_and_tokens,
    a_job_wakes_one_request_that_may_take_it,
    projects_take_turns_at_runners_of_the_instance,
    a_job_says_what_keeps_it_from_a_runner,
    a_machine_that_lacks_a_feature_is_passed_over_or_named,
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
        .wait_for_job(&runner, &machine, None, Duration::ZERO, &stop)
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

/// Asks for a job as a machine that can do these things; with `held` the request is held.
async fn ask(
    world: &World,
    token: &str,
    machine: &str,
    features: &[&str],
    held: bool,
) -> super::Answer {
    let features: serde_json::Map<String, serde_json::Value> = features
        .iter()
        .map(|it| ((*it).to_owned(), json!(true)))
        .collect();
    let body = json!({
        "token": token,
        "system_id": machine,
        "last_update": held.then_some("1"),
        "info": { "name": "gitlab-runner", "version": "9.5", "features": features },
    });
    let request = axum::extract::Request::builder()
        .method("POST")
        .uri("/api/v4/jobs/request")
        .header("content-type", "application/json");
    let body = axum::body::Body::from(body.to_string());
    world.send(request.body(body).unwrap()).await
}

async fn a_job_wakes_one_request_that_may_take_it(place: Place) {
    let world = World::new(place, "a:\n  script: [x]\n  tags: [gpu]\n").await;
    let tasks = TaskTracker::new();
    let plain = world.runner(json!({})).await;
    let gpu = world.runner(json!({ "tag_list": ["gpu"] })).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(hold(&world, &tasks, &plain));
    }
    let mut fitting = vec![hold(&world, &tasks, &gpu), hold(&world, &tasks, &gpu)];
    until(async || world.ci.queue.held() == 7).await;
    world.push(&[]).await;
    // Whichever was woken first has the job; the other waits on, and so do those that may not take it.
    until(async || fitting.iter().any(tokio::task::JoinHandle::is_finished)).await;
    let at = fitting
        .iter()
        .position(tokio::task::JoinHandle::is_finished);
    let answer = soon(fitting.remove(at.unwrap())).await.unwrap();
    assert_eq!(answer.status, 201);
    until(async || world.ci.queue.held() == 6).await;
    assert!(!others.iter().chain(&fitting).any(|it| it.is_finished()));
    // The place of one that goes away is the next one's.
    let gone = fitting.remove(0);
    let last = hold(&world, &tasks, &gpu);
    until(async || world.ci.queue.held() == 7).await;
    gone.abort();
    world.push(&[]).await;
    assert_eq!(soon(last).await.unwrap().status, 201);
    world.shared.shutdown.cancel();
    for held in others {
        assert_eq!(soon(held).await.unwrap().status, 204);
    }
}

async fn projects_take_turns_at_runners_of_the_instance(place: Place) {
    let mut file = String::new();
    for number in 0..4 {
        file += &format!("job{number}:\n  script: [x]\n");
    }
    let world = World::new(place, &file).await;
    world.put_file(
        "2/.gitlab-ci.yml",
        "one:\n  script: [x]\ntwo:\n  script: [x]\n",
    );
    world.push(&[]).await;
    let body = json!({ "ref": "main" });
    let made = world
        .api("developer", "POST", "/projects/2/pipeline", body)
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = world.runner(json!({})).await;
    let mut taken = Vec::new();
    for _ in 0..6 {
        let job = world.start(&token).await;
        taken.push((job["job_info"]["project_id"].as_i64().unwrap(), job));
    }
    let order: Vec<i64> = taken.iter().map(|it| it.0).collect();
    // The older jobs of the first project do not keep the second from its turn.
    assert_eq!(order, [1, 2, 1, 2, 1, 1]);
    let sizes: Vec<i64> = taken
        .iter()
        .map(|it| it.1["job_info"]["queue_size"].as_i64().unwrap())
        .collect();
    assert_eq!(sizes, [6, 5, 4, 3, 2, 1]);
    assert_eq!(
        taken[0].1["job_info"]["project_jobs_running_on_instance_runners_count"],
        "0"
    );
    assert_eq!(
        taken[2].1["job_info"]["project_jobs_running_on_instance_runners_count"],
        "1"
    );
}

async fn a_job_says_what_keeps_it_from_a_runner(place: Place) {
    let file = "a:\n  script: [x]\nb:\n  script: [x]\n  tags: [gpu, big]\n";
    let world = World::new(place, file).await;
    world.push(&[]).await;
    let why = async |job: &str| {
        let answer = world.get("/projects/1/jobs?per_page=2").await.json();
        let found = answer
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == job)
            .cloned();
        let found = found.unwrap();
        (
            found["stuck"].as_bool().unwrap(),
            found["pending_reason"].as_str().unwrap_or("-").to_owned(),
        )
    };
    let stuck = |reason: &str| (true, reason.to_owned());
    let free = |reason: &str| (false, reason.to_owned());
    assert_eq!(why("a").await, stuck("no_runner"));
    let plain = world.runner(json!({})).await;
    assert_eq!(why("a").await, stuck("runners_offline"));
    assert_eq!(why("b").await, stuck("no_matching_runner"));
    let gpu = world
        .runner(json!({ "tag_list": "gpu, big", "run_untagged": false, "paused": true }))
        .await;
    assert_eq!(why("b").await, stuck("runners_paused"));
    assert_eq!(world.request(&gpu, None).await.status, 204);
    world
        .api("root", "PUT", "/runners/2", json!({ "paused": false }))
        .await;
    assert_eq!(why("b").await, free("-"), "it is taken in a moment");
    let first = world.start(&plain).await;
    world.push(&[]).await;
    world.push(&[]).await;
    assert_eq!(why("a").await, free("runners_busy"));
    let listed = world.get("/projects/1/jobs?per_page=2").await.json();
    let job = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "a")
        .cloned()
        .unwrap();
    assert_eq!(
        job["pending_message"],
        "All matching runners are busy (1 job before it)"
    );
    // A runner that works is there, though it asks for no other job.
    world.clock.advance(100_000);
    world.patch_trace(&first, 0, "x").await;
    world.clock.advance(60_000);
    assert_eq!(why("a").await, free("runners_busy"));
    assert_eq!(why("b").await, stuck("runners_offline"));
}

async fn a_machine_that_lacks_a_feature_is_passed_over_or_named(place: Place) {
    let file = "a:\n  script: [x]\n  artifacts: {paths: [x], exclude: [y]}\nb:\n  script: [x]\n";
    let world = World::new(place, file).await;
    let token = world.runner(json!({})).await;
    let able = ["artifacts_exclude", "cancel_gracefully"];
    // A new machine of the runner is there, so the old one leaves the job to it.
    assert_eq!(ask(&world, &token, "s_new", &able, false).await.status, 204);
    world.push(&[]).await;
    let old = ask(&world, &token, "s_old", &["cache"], false).await;
    assert_eq!(old.json()["job_info"]["name"], "b");
    assert_eq!(
        ask(&world, &token, "s_old", &["cache"], false).await.status,
        204
    );
    let new = ask(&world, &token, "s_new", &able, false).await;
    assert_eq!(new.json()["job_info"]["name"], "a");
    let machine = world.get("/projects/1/jobs").await.json()[1]["runner_manager"].clone();
    assert_eq!(
        (machine["system_id"].clone(), machine["status"].clone()),
        (json!("s_new"), json!("online"))
    );

    // When the new one is gone, the job does not wait for ever.
    world.clock.advance(200_000);
    world.push(&[]).await;
    let old = ask(&world, &token, "s_old", &["cache"], false).await;
    assert_eq!(old.json()["job_info"]["name"], "b");
    assert_eq!(
        ask(&world, &token, "s_old", &["cache"], false).await.status,
        204
    );
    let jobs = world.get("/projects/1/jobs").await.json();
    let failed = jobs
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["status"] == "failed")
        .cloned()
        .unwrap();
    assert_eq!(
        (failed["name"].clone(), failed["failure_reason"].clone()),
        (json!("a"), json!("runner_unsupported"))
    );
    let log = world
        .get(&format!("/projects/1/jobs/{}/trace", failed["id"]))
        .await;
    let log = String::from_utf8_lossy(&log.body).into_owned();
    assert!(
        log.contains("needs a runner that supports artifacts_exclude"),
        "{log}"
    );
}
