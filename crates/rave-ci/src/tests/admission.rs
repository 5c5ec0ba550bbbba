//! Jobs and the memory of machines: who is given what, who waits and says so, and who gets more after too little.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::world::{soon, until};
use super::{Answer, Place, World, on_both_engines};
use rave_core::memory::PATIENCE_MS;

const GIB: u64 = 1 << 30;

on_both_engines!(
    a_job_that_does_not_fit_waits_and_says_for_what,
    a_held_request_gets_a_job_as_soon_as_memory_comes_back,
    a_machine_with_room_is_woken_though_another_came_first,
    a_large_job_is_not_starved,
    a_job_is_left_to_a_machine_that_is_large_enough,
    a_machine_that_refuses_says_why,
    a_job_that_had_too_little_gets_twice_as_much_once,
    a_deployment_is_not_tried_again_by_itself,
);

fn job(name: &str, memory: &str) -> String {
    format!("{name}:\n  variables: {{RAVE_MEMORY: {memory}}}\n  script: [x]\n")
}

/// What a machine with eight GiB says, of which jobs hold some.
fn offer(holders: &[(&Value, u64)]) -> Value {
    let holders = holders
        .iter()
        .map(|(job, gib)| json!({"job": job["id"], "bytes": gib * GIB}));
    json!({
        "budget_bytes": 8 * GIB, "most_bytes": 8 * GIB, "limit_bytes": 8 * GIB, "request_bytes": GIB,
        "holders": holders.collect::<Vec<_>>(),
    })
}

fn name(answer: &Answer) -> String {
    let name = answer.json()["job_info"]["name"].clone();
    name.as_str().expect("a job").to_owned()
}

impl World {
    /// Takes a job as a machine with eight GiB.
    async fn fit(&self, token: &str, holders: &[(&Value, u64)]) -> Option<Value> {
        let answer = self.request_with(token, None, offer(holders)).await;
        assert_eq!(answer.header("x-rave-memory"), "1");
        (answer.status == 201).then(|| answer.json())
    }

    /// Returns why a job waits, in a word and in words.
    async fn pending(&self, name: &str) -> (Value, Value) {
        let listed = self.get("/projects/1/jobs").await.json();
        let mut jobs = listed.as_array().expect("jobs").iter();
        let job = jobs.find(|it| it["name"] == name).expect("the job");
        (
            job["pending_reason"].clone(),
            job["pending_message"].clone(),
        )
    }
}

async fn a_job_that_does_not_fit_waits_and_says_for_what(place: Place) {
    let file = [
        job("big", "6Gi"),
        job("other", "5Gi"),
        "small:\n  script: [x]\n".into(),
    ]
    .concat();
    let world = World::new(place, &file).await;
    world.push(&[]).await;
    let token = world.runner(json!({})).await;
    let big = world.fit(&token, &[]).await.expect("it fits");
    assert_eq!(
        (&big["job_info"]["name"], &big["memory"]["counted_bytes"]),
        (&json!("big"), &json!(6 * GIB))
    );
    let small = world.fit(&token, &[(&big, 6)]).await.expect("it fits");
    assert_eq!(
        (
            &small["job_info"]["name"],
            &small["memory"]["counted_bytes"]
        ),
        (&json!("small"), &json!(GIB))
    );
    assert!(world.fit(&token, &[(&big, 6), (&small, 1)]).await.is_none());
    let (reason, message) = world.pending("other").await;
    assert_eq!(reason, "runners_lack_memory");
    let expected = format!(
        "Needs 5 GiB of memory, 1 GiB free: waits for jobs {} and {}",
        big["id"], small["id"]
    );
    assert_eq!(message, expected.as_str());
    // A machine that says nothing of its memory takes it.
    assert_eq!(name(&world.request(&token, None).await), "other");
}

/// Holds a request of a machine with eight GiB.
fn hold(
    world: &Arc<World>,
    tasks: &TaskTracker,
    token: &str,
    offer: Value,
) -> tokio::task::JoinHandle<Answer> {
    let (world, token) = (world.clone(), token.to_owned());
    tasks.spawn(async move { world.request_with(&token, Some("1"), offer).await })
}

async fn a_held_request_gets_a_job_as_soon_as_memory_comes_back(place: Place) {
    let file = [job("one", "6Gi"), job("two", "6Gi")].concat();
    let world = World::new(place, &file).await;
    let (tasks, token) = (TaskTracker::new(), world.runner(json!({})).await);
    world.push(&[]).await;
    let one = world.fit(&token, &[]).await.expect("it fits");
    world.put_state(&one, "running").await;
    let held = hold(&world, &tasks, &token, offer(&[(&one, 6)]));
    until(async || world.pending("two").await.0 == "runners_lack_memory").await;
    assert!(!held.is_finished());
    world.put_state(&one, "success").await;
    assert_eq!(name(&soon(held).await.unwrap()), "two");
}

async fn a_machine_with_room_is_woken_though_another_came_first(place: Place) {
    let world = World::new(place, &job("one", "6Gi")).await;
    let (tasks, token) = (TaskTracker::new(), world.runner(json!({})).await);
    world.push(&[]).await;
    let one = world.fit(&token, &[]).await.expect("it fits");
    let full = hold(&world, &tasks, &token, offer(&[(&one, 6)]));
    until(async || world.ci.queue.held() == 1).await;
    let free = hold(&world, &tasks, &token, offer(&[]));
    until(async || world.ci.queue.held() == 2).await;
    world.push(&[]).await;
    assert_eq!(name(&soon(free).await.unwrap()), "one");
    assert!(!full.is_finished());
    world.shared.shutdown.cancel();
    assert_eq!(soon(full).await.unwrap().status, 204);
}

async fn a_large_job_is_not_starved(place: Place) {
    let file = [
        job("small1", "3Gi"),
        job("large", "8Gi"),
        job("small2", "3Gi"),
        job("small3", "3Gi"),
    ]
    .concat();
    let world = World::new(place, &file).await;
    world.put_file("2/.gitlab-ci.yml", &job("foreign", "1Gi"));
    world.push(&[]).await;
    let token = world.runner(json!({})).await;
    let first = world.fit(&token, &[]).await.expect("it fits");
    let second = world.fit(&token, &[(&first, 3)]).await.expect("it passes");
    assert_eq!(second["job_info"]["name"], "small2");
    world.clock.advance(PATIENCE_MS);
    world.put_state(&first, "running").await;
    world.put_state(&first, "success").await;
    assert!(
        world.fit(&token, &[(&second, 3)]).await.is_none(),
        "memory gathers for the large job"
    );
    let (_, message) = world.pending("small3").await;
    let large = world.get("/projects/1/jobs").await.json();
    let large = large
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "large")
        .unwrap();
    let behind = format!(
        "Needs 3 GiB of memory, 5 GiB free: goes after job {}, which has waited longer",
        large["id"]
    );
    assert_eq!(message, behind.as_str());
    // Nor do jobs of another project pass it, whose turn it would be.
    let body = json!({ "ref": "main" });
    let made = world
        .api("developer", "POST", "/projects/2/pipeline", body)
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert!(world.fit(&token, &[(&second, 3)]).await.is_none());
    world.put_state(&second, "running").await;
    world.put_state(&second, "success").await;
    let next = world.fit(&token, &[]).await.expect("all is free");
    assert_eq!(next["job_info"]["name"], "large");
    assert!(world.fit(&token, &[(&next, 8)]).await.is_none());
}

async fn a_job_is_left_to_a_machine_that_is_large_enough(place: Place) {
    let world = World::new(place, &job("huge", "12Gi")).await;
    let (small, large) = (world.runner(json!({})).await, world.runner(json!({})).await);
    let mut roomy = offer(&[]);
    for key in ["budget_bytes", "most_bytes", "limit_bytes"] {
        roomy[key] = json!(16 * GIB);
    }
    let answer = world.request_with(&large, None, roomy.clone()).await;
    assert_eq!(answer.status, 204);
    world.push(&[]).await;
    assert!(world.fit(&small, &[]).await.is_none());
    assert_eq!(name(&world.request_with(&large, None, roomy).await), "huge");
    // Where there is none, the job is given out all the same: its runner ends it, and says what it could have had.
    world.clock.advance(1000 * 60 * 60 * 3);
    world.push(&[]).await;
    let given = world.fit(&small, &[]).await.expect("it is told");
    assert_eq!(given["job_info"]["name"], "huge");
}

async fn a_machine_that_refuses_says_why(place: Place) {
    let world = World::new(place, "a:\n  script: [x]\n").await;
    world.push(&[]).await;
    let token = world.runner(json!({})).await;
    let mut refusing = offer(&[]);
    refusing["refuses"] = json!("only 1 GiB of its disk are free");
    let answer = world.request_with(&token, None, refusing).await;
    assert_eq!(answer.status, 204);
    let (reason, message) = world.pending("a").await;
    assert_eq!(reason, "runners_refuse");
    let expected =
        "The runners that take jobs without tags take no jobs now: only 1 GiB of its disk are free";
    assert_eq!(message, expected);
    assert!(world.fit(&token, &[]).await.is_some());
}

/// Ends a job as one that outgrew its memory.
async fn outgrow(world: &World, job: &Value, limit: u64) {
    world.put_state(job, "running").await;
    let end = json!({
        "state": "failed", "failure_reason": "script_failure", "exit_code": 137,
        "usage": {
            "request_bytes": GIB, "limit_bytes": limit, "most_bytes": 8 * GIB, "peak_bytes": limit, "outgrew": true,
        },
    });
    assert_eq!(world.as_job(job, "PUT", "", end).await.status, 200);
}

async fn a_job_that_had_too_little_gets_twice_as_much_once(place: Place) {
    let file = ["learns:\n  script: [x]\n".to_owned(), job("says", "1Gi")].concat();
    let world = World::new(place, &file).await;
    world.push(&[]).await;
    let token = world.runner(json!({})).await;
    let first = world.fit(&token, &[]).await.expect("it fits");
    assert_eq!(first["memory"]["given_bytes"], Value::Null);
    outgrow(&world, &first, 2 * GIB).await;
    let says = world.fit(&token, &[]).await.expect("it fits");
    assert_eq!(says["job_info"]["name"], "says");
    outgrow(&world, &says, GIB).await;
    let again = world.fit(&token, &[]).await.expect("it is tried again");
    assert_eq!(
        (
            &again["job_info"]["name"],
            &again["memory"]["given_bytes"],
            &again["memory"]["counted_bytes"]
        ),
        (&json!("learns"), &json!(4 * GIB), &json!(4 * GIB))
    );
    outgrow(&world, &again, 4 * GIB).await;
    assert!(
        world.fit(&token, &[]).await.is_none(),
        "once is enough, and what a job says of itself counts"
    );
    assert_eq!(world.status().await, "failed");
    // The next pipeline knows what the job takes.
    world.push(&[]).await;
    let next = world.fit(&token, &[]).await.expect("it fits");
    assert_eq!(next["memory"]["counted_bytes"], 8 * GIB);
}

async fn a_deployment_is_not_tried_again_by_itself(place: Place) {
    let deploy = |name: &str, action: &str| {
        format!("{name}:\n  script: [x]\n  environment: {{name: production, action: {action}}}\n")
    };
    let file = [deploy("start", "start"), deploy("verify", "verify")].concat();
    let world = World::new(place, &file).await;
    world.push(&[]).await;
    let token = world.runner(json!({})).await;
    let start = world.fit(&token, &[]).await.expect("it fits");
    assert_eq!(start["job_info"]["name"], "start");
    outgrow(&world, &start, 2 * GIB).await;
    let verify = world.start(&token).await;
    let end = json!({ "state": "failed", "failure_reason": "runner_system_failure" });
    assert_eq!(
        world.as_job(&verify, "PUT", "", end.clone()).await.status,
        200
    );
    let again = world.start(&token).await;
    assert_eq!(again["job_info"]["name"], "verify", "it changes nothing");
    assert_eq!(world.as_job(&again, "PUT", "", end).await.status, 200);
    assert_eq!(world.request(&token, None).await.status, 204);
}
