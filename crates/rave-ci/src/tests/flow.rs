//! A pipeline from the first request to its end, and what people do in between.

use rave_core::id::JobId;
use rave_core::permission::{Principal, ProjectFacts, Role, decide};
use serde_json::{Value, json};

use super::{Place, World, on_both_engines};
use crate::worker::due::DueJobs;
use rave_store::Worker as _;

const TWO: &str = "build:\n  stage: build\n  script: [make]\n  artifacts: {paths: [out], expire_in: 1 week}\n\
    test:\n  stage: test\n  script: [make test]\n  after_script: [clean]\n  cache: {key: k, paths: [c]}\n";

on_both_engines!(
    a_pipeline_runs_to_its_end,
    a_cancel_reaches_the_runner,
    manual_delayed_and_retried_jobs,
    exit_codes_allow_failures_and_retries,
    stages_wait_and_needs_do_not,
    a_delayed_job_waits_for_a_person_or_comes_too_late,
);

async fn a_pipeline_runs_to_its_end(place: Place) {
    let world = World::new(place, TWO).await;
    world.push(&["ci.variable=A=1"]).await;
    let runner = world.runner(json!({})).await;
    let job = world.take(&runner).await;
    check_payload(&job);
    assert_eq!(
        world.statuses().await,
        "build:pending test:created",
        "assigned is pending to others"
    );
    let started = world.put_state(&job, "running").await;
    assert_eq!(
        (started.status.as_u16(), started.header("job-status")),
        (200, "running")
    );
    assert_eq!(
        (
            started.header("x-rave-live"),
            started.header("x-gitlab-trace-update-interval")
        ),
        ("1", "3")
    );
    assert_eq!(world.status().await, "running");

    log_in_pieces(&world, &job).await;
    let zip = super::artifacts::zip(&[("out/a.txt", "hello")]);
    let uploaded = world
        .upload(&job, "artifact_format=zip&artifact_type=archive", &zip)
        .await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let body =
        json!({ "state": "success", "output": { "checksum": "crc32:00000000", "bytesize": 12 } });
    let done = world.as_job(&job, "PUT", "", body.clone()).await;
    assert_eq!(
        (done.status.as_u16(), done.header("job-status")),
        (200, "success")
    );
    assert_eq!(
        world.as_job(&job, "PUT", "", body).await.status,
        200,
        "the answer may have been lost"
    );
    assert_eq!(world.patch_trace(&job, 12, "late").await.status, 403);

    let next = world.start(&runner).await;
    assert_eq!(next["dependencies"][0]["name"], "build");
    assert_eq!(
        next["dependencies"][0]["artifacts_file"]["filename"],
        "artifacts.zip"
    );
    assert_eq!(next["cache"][0]["key"], "k-protected");
    let source =
        json!({ "id": next["dependencies"][0]["id"], "token": next["dependencies"][0]["token"] });
    let downloaded = world
        .as_job(&source, "GET", "/artifacts", Value::Null)
        .await;
    assert_eq!(
        (downloaded.status.as_u16(), &downloaded.body[..]),
        (200, &zip[..])
    );
    let own = world.send(
        axum::extract::Request::builder()
            .uri("/api/v4/job")
            .header("job-token", next["token"].as_str().unwrap())
            .body(axum::body::Body::empty())
            .unwrap(),
    );
    assert_eq!(own.await.json()["name"], "test");
    world.put_state(&next, "success").await;
    assert_eq!(
        (world.status().await, world.statuses().await.as_str()),
        ("success", "build:success test:success")
    );
    assert_eq!(world.request(&runner, None).await.status, 204);
    check_api(&world).await;
}

fn check_payload(job: &Value) {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    assert_eq!(text(&job["job_info"]["name"]), "build");
    assert_eq!(
        job["git_info"]["refspecs"][0],
        "+refs/pipelines/1:refs/pipelines/1"
    );
    assert_eq!(
        job["git_info"]["refspecs"][1],
        "+refs/heads/main:refs/remotes/origin/main"
    );
    assert_eq!(job["git_info"]["depth"], 20);
    let token = text(&job["token"]);
    assert!(token.starts_with("glcbt-"), "a job token");
    assert_eq!(
        text(&job["git_info"]["repo_url"]),
        format!("http://gitlab-ci-token:{token}@rave.test/team/app.git")
    );
    let value = |key: &str| {
        let all = job["variables"].as_array().unwrap();
        all.iter()
            .rfind(|it| it["key"] == key)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(value("CI_JOB_NAME")["value"], "build");
    assert_eq!(value("CI_PIPELINE_SOURCE")["value"], "push");
    assert_eq!(value("A")["value"], "1");
    assert_eq!(value("CI_JOB_TOKEN")["masked"], true);
    assert_eq!(value("CI_JOB_TOKEN")["public"], false);
    assert!(text(&value("TRACEPARENT")["value"]).starts_with("00-"));
    assert_eq!(job["steps"][0]["script"][0], "make");
    assert_eq!(job["artifacts"][0]["expire_in"], "604800 seconds");
    assert!(
        job["features"]["failure_reasons"]
            .as_array()
            .unwrap()
            .contains(&json!("script_failure"))
    );
}

async fn log_in_pieces(world: &World, job: &Value) {
    let first = world.patch_trace(job, 0, "hello ").await;
    assert_eq!(
        (
            first.status.as_u16(),
            first.header("range"),
            first.header("job-status")
        ),
        (202, "0-6", "running")
    );
    let gap = world.patch_trace(job, 9, "x").await;
    assert_eq!((gap.status.as_u16(), gap.header("range")), (416, "0-6"));
    let again = world.patch_trace(job, 0, "hello ").await;
    assert_eq!(
        again.status, 416,
        "a piece that came twice is not appended twice"
    );
    assert_eq!(
        world.patch_trace(job, 6, "world\n").await.header("range"),
        "0-12"
    );
    let live = world
        .get(&format!("/projects/1/jobs/{}/trace", job["id"]))
        .await;
    assert_eq!(&live.body[..], b"hello world\n");
    let stranger = json!({ "id": job["id"], "token": "glcbt-wrong" });
    assert_eq!(world.patch_trace(&stranger, 12, "x").await.status, 403);
}

async fn check_api(world: &World) {
    let jobs = world.get("/projects/1/pipelines/1/jobs").await;
    assert_eq!(jobs.header("x-total"), "2");
    let jobs = jobs.json();
    let build = jobs
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "build")
        .unwrap()
        .clone();
    assert_eq!(build["artifacts_file"]["filename"], "artifacts.zip");
    assert_eq!(build["commit"]["short_id"], "9f8e7d6c");
    assert_eq!(build["pipeline"]["status"], "success");
    let failed = world.get("/projects/1/jobs?scope[]=failed").await;
    assert_eq!(failed.header("x-total"), "0");
    let retry = world
        .api("developer", "POST", "/projects/1/jobs/1/play", Value::Null)
        .await;
    assert_eq!(
        (retry.status.as_u16(), retry.json()["message"].clone()),
        (400, json!("400 Bad request - Unplayable Job"))
    );
}

async fn a_cancel_reaches_the_runner(place: Place) {
    let world = World::new(place, "a:\n  script: [x]\nb:\n  script: [x]\n").await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    let path = format!("/projects/1/jobs/{}/cancel", job["id"]);
    assert_eq!(
        world
            .api("developer", "POST", &path, Value::Null)
            .await
            .json()["status"],
        "canceling"
    );
    let told = world.patch_trace(&job, 0, "x").await;
    assert_eq!(
        (told.status.as_u16(), told.header("job-status")),
        (202, "canceling")
    );
    assert_eq!(
        world.put_state(&job, "failed").await.header("job-status"),
        "canceled"
    );
    assert_eq!(world.statuses().await, "a:canceled b:pending");

    let job = world.start(&runner).await;
    let path = format!("/projects/1/jobs/{}/cancel?force=true", job["id"]);
    assert_eq!(
        world
            .api("developer", "POST", &path, Value::Null)
            .await
            .json()["status"],
        "canceled"
    );
    let told = world.patch_trace(&job, 0, "x").await;
    assert_eq!(
        (told.status.as_u16(), told.header("job-status")),
        (403, "canceled")
    );
    let told = world.put_state(&job, "success").await;
    assert_eq!(
        (told.status.as_u16(), told.header("job-status")),
        (403, "canceled")
    );
    assert_eq!(world.status().await, "canceled");

    let retried = world
        .api(
            "developer",
            "POST",
            "/projects/1/pipelines/1/retry",
            Value::Null,
        )
        .await;
    assert_eq!(
        (retried.status.as_u16(), retried.json()["status"].clone()),
        (201, json!("pending"))
    );
    let canceled = world
        .api(
            "developer",
            "POST",
            "/projects/1/pipelines/1/cancel",
            Value::Null,
        )
        .await;
    assert_eq!(canceled.json()["status"], "canceled");
    assert_eq!(
        world.statuses().await,
        "a:canceled b:canceled a:canceled b:canceled"
    );
}

async fn manual_delayed_and_retried_jobs(place: Place) {
    let file = "stages: [one, two]\nmanual:\n  stage: one\n  inputs: {size: {default: 1, type: number}}\n  script: ['x ${{ job.inputs.size }}']\n  when: manual\n  allow_failure: false\n\
        late:\n  stage: one\n  script: [x]\n  when: delayed\n  start_in: 1 hour\n\
        after:\n  stage: two\n  script: [x]\n";
    let world = World::new(place, file).await;
    world.push(&[]).await;
    assert_eq!(
        world.statuses().await,
        "manual:manual late:scheduled after:created"
    );
    let wrong = json!({ "job_inputs": { "size": "big", "none": 1 } });
    let refused = world
        .api("developer", "POST", "/projects/1/jobs/1/play", wrong)
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["message"].clone()),
        (
            400,
            json!("unknown input arguments: none; `size` input: provided value is not a number")
        )
    );
    let variables = json!({ "job_variables_attributes": [{ "key": "WHO", "value": "me" }], "job_inputs": { "size": 3 } });
    let played = world
        .api("developer", "POST", "/projects/1/jobs/1/play", variables)
        .await;
    assert_eq!(
        (played.status.as_u16(), played.json()["status"].clone()),
        (201, json!("pending"))
    );

    let mut due = DueJobs::new(world.ci.clone());
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "manual:pending late:scheduled after:created"
    );
    world.clock.advance(3_600_000);
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "manual:pending late:pending after:created"
    );

    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    let given = job["variables"]
        .as_array()
        .unwrap()
        .iter()
        .any(|it| it["key"] == "WHO" && it["value"] == "me");
    assert!(given, "the player's variables reach the job");
    assert_eq!(job["steps"][0]["script"][0], "x 3");
    world.put_state(&job, "failed").await;
    let late = world.start(&runner).await;
    world.put_state(&late, "success").await;
    assert_eq!(
        world.statuses().await,
        "manual:failed(script_failure) late:success after:skipped"
    );
    let retried = world
        .api("developer", "POST", "/projects/1/jobs/1/retry", Value::Null)
        .await;
    assert_eq!(
        (retried.status.as_u16(), retried.json()["status"].clone()),
        (201, json!("pending"))
    );
    let again = world.start(&runner).await;
    assert_eq!(again["id"], retried.json()["id"]);
    assert_eq!(again["steps"][0]["script"][0], "x 3");
    world.put_state(&again, "success").await;
    let last = world.start(&runner).await;
    world.put_state(&last, "success").await;
    assert_eq!(
        world.statuses().await,
        "manual:failed(script_failure) late:success after:success manual:success"
    );
    assert_eq!(world.status().await, "success");
    let refused = world
        .api("developer", "POST", "/projects/1/jobs/1/retry", Value::Null)
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["message"].clone()),
        (403, json!("403 Forbidden - Job is not retryable"))
    );
    let erased = world
        .api("developer", "POST", "/projects/1/jobs/1/erase", Value::Null)
        .await;
    assert!(erased.json()["erased_at"].is_string(), "{erased:?}");
}

async fn exit_codes_allow_failures_and_retries(place: Place) {
    let file = "a:\n  script: [x]\n  allow_failure: {exit_codes: [7]}\n  retry: {max: 1, exit_codes: [9]}\n";
    let world = World::new(place, file).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    let fail = |code: i64| json!({ "state": "failed", "failure_reason": "script_failure", "exit_code": code });
    world.as_job(&job, "PUT", "", fail(9)).await;
    assert_eq!(
        world.statuses().await,
        "a:failed(script_failure) a:pending",
        "tried again by itself"
    );
    assert_eq!(world.status().await, "pending");
    let job = world.start(&runner).await;
    world.as_job(&job, "PUT", "", fail(7)).await;
    assert_eq!(
        world.statuses().await,
        "a:failed(script_failure) a:failed(script_failure)"
    );
    assert_eq!(world.status().await, "success", "the failure is allowed");
    let jobs = world.get("/projects/1/pipelines/1/jobs").await.json();
    assert_eq!(
        (
            jobs[0]["allow_failure"].clone(),
            jobs[0]["exit_code"].clone()
        ),
        (json!(true), json!(7))
    );
}

async fn stages_wait_and_needs_do_not(place: Place) {
    let file = "stages: [one, two]\na:\n  stage: one\n  script: [x]\nb:\n  stage: one\n  script: [x]\n\
        c:\n  stage: one\n  script: [x]\nneeding:\n  stage: two\n  needs: [b]\n  script: [x]\n\
        later:\n  stage: two\n  script: [x]\n";
    let world = World::new(place, file).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let jobs = [
        world.start(&runner).await,
        world.start(&runner).await,
        world.start(&runner).await,
    ];
    let steps = [
        "a:success b:running c:running needing:created later:created",
        "a:success b:success c:running needing:pending later:created",
        "a:success b:success c:success needing:pending later:pending",
    ];
    for (job, expected) in jobs.iter().zip(steps) {
        world.put_state(job, "success").await;
        assert_eq!(
            (world.statuses().await.as_str(), world.status().await),
            (expected, "running")
        );
    }
    for _ in 0..2 {
        let job = world.start(&runner).await;
        world.put_state(&job, "success").await;
    }
    assert_eq!(world.status().await, "success");
    let finished = world
        .events()
        .await
        .iter()
        .filter(|it| it.starts_with("job.finished"))
        .count();
    assert_eq!(
        (finished, world.events().await.last().unwrap().as_str()),
        (5, "pipeline.finished pipeline/1 success")
    );
}

async fn a_delayed_job_waits_for_a_person_or_comes_too_late(place: Place) {
    let file = "a:\n  script: [x]\n  when: delayed\n  start_in: 1 hour\nb:\n  script: [x]\n  when: delayed\n  start_in: 1 hour\n";
    let world = World::new(place, file).await;
    world.push(&[]).await;
    let facts = ProjectFacts {
        project: world.project(),
        role: Some(Role::Developer),
    };
    let access = decide(&Principal::User(world.user("developer")), facts).unwrap();
    world.ci.unschedule_job(&access, JobId(1)).await.unwrap();
    assert_eq!(world.statuses().await, "a:manual b:scheduled");
    world.clock.advance(2 * 3_600_000 + 1);
    let mut due = DueJobs::new(world.ci.clone());
    due.step().await.unwrap();
    assert_eq!(
        world.statuses().await,
        "a:manual b:failed(stale_schedule)",
        "the server was away for more than an hour after its time"
    );
    let played = world
        .api("developer", "POST", "/projects/1/jobs/1/play", Value::Null)
        .await;
    assert_eq!(played.json()["status"], "pending");
}
