//! Resource groups: one job at a time, in the order of the group's mode, whatever ends the job.

use serde_json::{Value, json};

use super::{Place, World, on_both_engines};

const DEPLOY: &str = "deploy:\n  script: [x]\n  resource_group: production\n";

on_both_engines!(
    one_job_at_a_time_has_the_resource,
    the_mode_decides_who_is_next,
    a_resource_is_given_back_however_the_job_ends,
    groups_are_listed_and_changed,
);

/// Three pipelines whose jobs share a resource; the first has it.
async fn three(place: Place, file: &str) -> std::sync::Arc<World> {
    let world = World::new(place, file).await;
    for _ in 0..3 {
        world.push(&[]).await;
    }
    world.settle().await;
    world
}

async fn mode(world: &World, mode: &str) {
    let path = "/projects/1/resource_groups/production";
    let answer = world
        .api("developer", "PUT", path, json!({ "process_mode": mode }))
        .await;
    assert_eq!(answer.json()["process_mode"], mode, "{answer:?}");
}

async fn one_job_at_a_time_has_the_resource(place: Place) {
    let world = three(place, DEPLOY).await;
    let waiting = "deploy:pending deploy:waiting_for_resource deploy:waiting_for_resource";
    assert_eq!(world.statuses().await, waiting);
    assert_eq!(world.status().await, "waiting_for_resource");
    world.settle().await;
    assert_eq!(
        world.statuses().await,
        waiting,
        "looking again gives nothing"
    );

    let runner = world.runner(json!({})).await;
    for ended in 1..=3 {
        let job = world.start(&runner).await;
        assert_eq!(job["id"], ended);
        assert_eq!(world.request(&runner, None).await.status, 204);
        world.put_state(&job, "success").await;
        world.settle().await;
    }
    assert_eq!(
        world.statuses().await,
        "deploy:success deploy:success deploy:success"
    );
}

async fn the_mode_decides_who_is_next(place: Place) {
    let file = format!("build:\n  stage: build\n  script: [x]\n{DEPLOY}  stage: deploy\n");
    for (name, expected) in [
        // The second pipeline's job is let go while the first one's build still runs.
        ("oldest_first", "created created created"),
        ("unordered", "created pending waiting_for_resource"),
        ("newest_ready_first", "created waiting_for_resource pending"),
        ("newest_first", "created waiting_for_resource pending"),
    ] {
        let world = World::new(place, &file).await;
        for _ in 0..3 {
            world.push(&[]).await;
        }
        mode(&world, name).await;
        let runner = world.runner(json!({})).await;
        let builds = [
            world.start(&runner).await,
            world.start(&runner).await,
            world.start(&runner).await,
        ];
        if name != "oldest_first" {
            for build in &builds[1..] {
                world.put_state(build, "success").await;
            }
        }
        world.settle().await;
        let statuses = || async {
            let mut jobs = world.jobs().await;
            jobs.sort_by_key(|it| it.id);
            jobs.retain(|it| it.name == "deploy");
            let words: Vec<_> = jobs.iter().map(|it| it.status().label()).collect();
            words.join(" ")
        };
        assert_eq!(statuses().await, expected, "{name}");
        if name == "oldest_first" {
            world.put_state(&builds[1], "success").await;
            world.settle().await;
            assert_eq!(statuses().await, "created waiting_for_resource created");
            world.put_state(&builds[0], "success").await;
            world.settle().await;
            assert_eq!(statuses().await, "pending waiting_for_resource created");
        }
    }
}

async fn a_resource_is_given_back_however_the_job_ends(place: Place) {
    let world = three(place, &format!("{DEPLOY}  retry: 1\n")).await;
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    world.put_state(&job, "failed").await;
    world.settle().await;
    // The next try of the first stands in line again.
    assert_eq!(
        world.statuses().await,
        "deploy:failed(script_failure) deploy:pending deploy:waiting_for_resource deploy:waiting_for_resource"
    );
    let cancel = |pipeline: u8| format!("/projects/1/pipelines/{pipeline}/cancel");
    let path = cancel(2);
    world.api("developer", "POST", &path, Value::Null).await;
    world.settle().await;
    assert_eq!(
        world.statuses().await,
        "deploy:failed(script_failure) deploy:canceled deploy:pending deploy:waiting_for_resource"
    );
    let gone = world
        .api("root", "DELETE", "/projects/1/pipelines/3", Value::Null)
        .await;
    assert_eq!(gone.status, 204);
    world.settle().await;
    assert_eq!(
        world.statuses().await,
        "deploy:failed(script_failure) deploy:canceled deploy:pending"
    );
}

async fn groups_are_listed_and_changed(place: Place) {
    let world = three(place, DEPLOY).await;
    let groups = world.get("/projects/1/resource_groups").await.json();
    assert_eq!(
        (&groups[0]["key"], &groups[0]["process_mode"]),
        (&json!("production"), &json!("unordered"))
    );
    mode(&world, "newest_first").await;
    let upcoming = world
        .get("/projects/1/resource_groups/production/upcoming_jobs")
        .await
        .json();
    let ids: Vec<_> = upcoming
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].clone())
        .collect();
    assert_eq!(ids, [3, 2]);
    let current = world
        .get("/projects/1/resource_groups/production/current_job")
        .await;
    assert_eq!(current.json()["id"], 1);
    assert_eq!(world.get("/projects/1/resource_groups/x").await.status, 404);
    let stranger = world
        .api(
            "stranger",
            "GET",
            "/projects/1/resource_groups",
            Value::Null,
        )
        .await;
    assert_eq!(stranger.status, 404);
    let wrong = json!({ "process_mode": "fastest_first" });
    let path = "/projects/1/resource_groups/production";
    assert_eq!(world.api("developer", "PUT", path, wrong).await.status, 400);
}
