//! Bridges: children, pipelines of other projects, and what becomes of those that wait for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rave_core::time::{Clock as _, Timestamp};
use rave_store::{Worker as _, params};
use serde_json::{Value, json};

use super::{Place, World, on_both_engines};
use crate::worker::chores::Chores;

const CHILD: &str = "unit:\n  script: [x]\n";

on_both_engines!(
    a_child_runs_beside_its_parent,
    a_parent_depends_on_its_child,
    a_mirror_shows_every_status,
    a_retried_child_takes_its_parent_along,
    a_retried_bridge_makes_another_child,
    canceling_a_parent_cancels_its_children,
    a_child_out_of_an_artifact,
    what_is_wrong_with_a_child_is_told,
    children_have_children_but_no_more,
    a_bridge_makes_one_pipeline_however_often_it_is_tried,
    a_pipeline_of_another_project,
    rights_and_limits_of_other_projects,
    a_commit_and_a_family_trigger_only_so_many,
    inputs_take_variables,
    a_bridge_follows_another_project,
    variables_go_down,
);

fn bridge(trigger: &str) -> String {
    format!("call:\n  stage: build\n  trigger: {trigger}\nafter:\n  stage: test\n  script: [x]\n")
}

fn child(more: &str) -> String {
    bridge(&format!("{{include: child.yml{more}}}"))
}

async fn world(place: Place, file: &str) -> Arc<World> {
    let world = World::new(place, file).await;
    world.put_file("child.yml", CHILD);
    world.push(&[]).await;
    world.settle().await;
    world
}

async fn finish(world: &World, state: &str) {
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    world.put_state(&job, state).await;
    world.settle().await;
}

async fn a_child_runs_beside_its_parent(place: Place) {
    let world = world(place, &child("")).await;
    assert_eq!(
        world.families().await,
        "1 running call:success after:pending / 2 pending unit:pending"
    );
    let bridges = world.get("/projects/1/pipelines/1/bridges").await;
    assert_eq!(bridges.header("x-total"), "1");
    let call = &bridges.json()[0];
    assert_eq!(call["name"], "call");
    assert_eq!(call["downstream_pipeline"]["id"], 2);
    assert_eq!(call["downstream_pipeline"]["source"], "parent_pipeline");
    let jobs = world.get("/projects/1/pipelines/1/jobs").await.json();
    assert_eq!(
        jobs.as_array().unwrap().len(),
        1,
        "bridges are listed apart"
    );

    let listed = world.get("/projects/1/pipelines").await;
    assert_eq!(
        listed.header("x-total"),
        "1",
        "children are shown with their parents"
    );
    let path = "/projects/1/pipelines?source=parent_pipeline";
    assert_eq!(world.get(path).await.json()[0]["id"], 2);
    let latest = world.get("/projects/1/pipelines/latest").await.json();
    assert_eq!(latest["id"], 1, "and do not stand for their commit");
}

async fn a_parent_depends_on_its_child(place: Place) {
    for (end, expected) in [
        (
            "success",
            "1 pending call:success after:pending / 2 success unit:success",
        ),
        (
            "failed",
            "1 failed call:failed after:skipped / 2 failed unit:failed",
        ),
    ] {
        let world = world(place, &child(", strategy: depend")).await;
        assert_eq!(
            world.families().await,
            "1 running call:running after:created / 2 pending unit:pending"
        );
        finish(&world, end).await;
        let expected = expected.replace("1 pending", "1 running");
        assert_eq!(world.families().await, expected);
    }
}

async fn a_mirror_shows_every_status(place: Place) {
    let file = child(", strategy: mirror");
    let world = World::new(place, &file).await;
    world.put_file(
        "child.yml",
        "unit:\n  script: [x]\n  when: manual\n  allow_failure: false\n",
    );
    world.push(&[]).await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 manual call:manual after:created / 2 manual unit:manual"
    );
    let played = world
        .api("developer", "POST", "/projects/1/jobs/3/play", Value::Null)
        .await;
    assert_eq!(played.status, 201, "{played:?}");
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 running call:running after:created / 2 pending unit:pending"
    );
    world
        .api(
            "developer",
            "POST",
            "/projects/1/pipelines/2/cancel",
            Value::Null,
        )
        .await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 canceled call:canceled after:skipped / 2 canceled unit:canceled"
    );
}

async fn a_retried_child_takes_its_parent_along(place: Place) {
    let world = world(place, &child(", strategy: depend")).await;
    finish(&world, "failed").await;
    world
        .api(
            "developer",
            "POST",
            "/projects/1/pipelines/2/retry",
            Value::Null,
        )
        .await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 running call:running after:created / 2 pending unit:pending"
    );
    finish(&world, "success").await;
    assert_eq!(
        world.families().await,
        "1 running call:success after:pending / 2 success unit:success"
    );
}

async fn a_retried_bridge_makes_another_child(place: Place) {
    let world = world(place, &child(", strategy: depend")).await;
    finish(&world, "failed").await;
    let retried = world
        .api("developer", "POST", "/projects/1/jobs/1/retry", Value::Null)
        .await;
    assert_eq!(retried.status, 201, "{retried:?}");
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 running call:running after:created / 2 failed unit:failed / 3 pending unit:pending"
    );
    // The first child is nobody's any more.
    world
        .api(
            "developer",
            "POST",
            "/projects/1/pipelines/2/retry",
            Value::Null,
        )
        .await;
    finish(&world, "success").await;
    assert_eq!(
        world.families().await,
        "1 running call:success after:pending / 2 pending unit:pending / 3 success unit:success"
    );
}

async fn canceling_a_parent_cancels_its_children(place: Place) {
    let world = world(place, &child("")).await;
    world
        .api(
            "developer",
            "POST",
            "/projects/1/pipelines/1/cancel",
            Value::Null,
        )
        .await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 canceled call:success after:canceled / 2 canceled unit:canceled"
    );
    let gone = world
        .api("root", "DELETE", "/projects/1/pipelines/1", Value::Null)
        .await;
    assert_eq!(gone.status, 204);
    assert_eq!(world.families().await, "", "children go with their parents");
}

async fn a_child_out_of_an_artifact(place: Place) {
    let file = "make:\n  stage: build\n  script: [x]\n  artifacts: {paths: [gen.yml]}\n\
        call:\n  stage: test\n  trigger:\n    include: [{artifact: gen.yml, job: make}]\n";
    for (path, expected) in [
        (
            "gen.yml",
            "1 success make:success call:success / 2 pending dynamic:pending",
        ),
        ("other.yml", "1 failed make:success call:failed / 2 failed"),
    ] {
        let world = World::new(place, file).await;
        world.push(&[]).await;
        let runner = world.runner(json!({})).await;
        let job = world.start(&runner).await;
        let zip = super::artifacts::zip(&[(path, "dynamic:\n  script: [x]\n")]);
        world
            .upload(&job, "artifact_format=zip&artifact_type=archive", &zip)
            .await;
        world.put_state(&job, "success").await;
        world.settle().await;
        assert_eq!(world.families().await, expected);
    }
}

async fn what_is_wrong_with_a_child_is_told(place: Place) {
    let world = World::new(place, &child("")).await;
    world.put_file("child.yml", "unit:\n  scirpt: [x]\n");
    world.push(&[]).await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 failed call:failed after:skipped / 2 failed"
    );
    let job = &world.get("/projects/1/pipelines/1/bridges").await.json()[0];
    assert_eq!(job["failure_reason"], "downstream_pipeline_creation_failed");
    assert_eq!(job["downstream_pipeline"]["status"], "failed");

    let filtered = World::new(place, &child("")).await;
    filtered.put_file(
        "child.yml",
        "unit:\n  script: [x]\n  rules: [{when: never}]\n",
    );
    filtered.push(&[]).await;
    filtered.settle().await;
    assert_eq!(
        filtered.families().await,
        "1 failed call:failed after:skipped"
    );
    let why: Result<_, rave_store::Error> = filtered
        .ci
        .db
        .read("test_errors", |tx| {
            crate::store::downstream::errors_of(tx, &[rave_core::id::JobId(1)])
        })
        .await;
    let why = why.unwrap().into_values().next().unwrap();
    assert!(why[0].contains("would have been empty"), "{why:?}");
}

async fn children_have_children_but_no_more(place: Place) {
    let nested = "call:\n  trigger: {include: child.yml, strategy: depend}\n";
    let world = World::new(place, nested).await;
    world.put_file("child.yml", nested);
    world.push(&[]).await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 failed call:failed / 2 failed call:failed / 3 failed call:failed"
    );
    let last = &world.get("/projects/1/pipelines/3/bridges").await.json()[0];
    assert_eq!(
        last["failure_reason"],
        "reached_max_descendant_pipelines_depth"
    );
}

async fn a_bridge_makes_one_pipeline_however_often_it_is_tried(place: Place) {
    let world = World::new(place, &child(", strategy: depend")).await;
    world.put_file("child.yml", CHILD);
    world.push(&[]).await;
    // The row of the child is made, and then the forge is away.
    world.fake.away.store(true, Ordering::SeqCst);
    let mut chores = Chores::new(world.ci.clone());
    assert!(chores.step().await.is_err());
    assert!(chores.step().await.is_err());
    assert_eq!(
        world.families().await,
        "1 pending call:pending after:created"
    );
    world.fake.away.store(false, Ordering::SeqCst);
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 running call:running after:created / 2 pending unit:pending"
    );
    // The server was killed after the child was made and before the bridge knew.
    let forget: Result<_, rave_store::Error> = world
        .ci
        .db
        .write("test_forget", |tx| {
            tx.execute("UPDATE ci_job SET status = 'triggering' WHERE id = 1", &[])?;
            tx.execute("UPDATE ci_progress SET tallies = NULL", &[])?;
            tx.execute("DELETE FROM ci_follow", &[])
        })
        .await;
    forget.unwrap();
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 running call:running after:created / 2 pending unit:pending"
    );
}

async fn a_pipeline_of_another_project(place: Place) {
    let world = World::new(place, &bridge("{project: team/lib, strategy: depend}")).await;
    world.put_file("2/.gitlab-ci.yml", CHILD);
    world.push(&[]).await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 running call:running after:created / 2 pending unit:pending"
    );
    let downstream = world.get("/projects/2/pipelines/2").await.json();
    assert_eq!(
        (&downstream["source"], &downstream["user"]["username"]),
        (&json!("pipeline"), &json!("developer"))
    );
    let call = &world.get("/projects/1/pipelines/1/bridges").await.json()[0];
    assert_eq!(
        call["downstream_pipeline"]["web_url"],
        "http://rave.test/team/lib/-/pipelines/2"
    );
    world
        .api(
            "developer",
            "POST",
            "/projects/1/pipelines/1/cancel",
            Value::Null,
        )
        .await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 canceled call:canceled after:canceled / 2 canceled unit:canceled",
        "what the bridge waits for is canceled with it"
    );
}

async fn rights_and_limits_of_other_projects(place: Place) {
    for (trigger, reason) in [
        ("nobody/knows", "downstream_bridge_project_not_found"),
        ("team/app", "invalid_bridge_trigger"),
        ("other/seen", "insufficient_bridge_permissions"),
        (
            "{project: team/lib, branch: nowhere}",
            "downstream_pipeline_creation_failed",
        ),
    ] {
        let world = World::new(place, &bridge(trigger)).await;
        world.put_file("2/.gitlab-ci.yml", CHILD);
        world.put_file("3/.gitlab-ci.yml", CHILD);
        world.push(&[]).await;
        world.settle().await;
        let call = &world.get("/projects/1/pipelines/1/bridges").await.json()[0];
        assert_eq!(call["failure_reason"], reason, "{trigger}");
        assert_eq!(call["downstream_pipeline"], Value::Null);
    }
    let world = World::new(place, "call:\n  trigger: team/lib\n").await;
    world.put_file("2/.gitlab-ci.yml", "back:\n  trigger: team/app\n");
    world.push(&[]).await;
    world.settle().await;
    let families = world.families().await;
    let pipelines = families.split(" / ").count();
    assert_eq!(pipelines, 6, "{families}");
    assert!(families.ends_with("6 failed back:failed"), "{families}");
}

/// Adds pipelines that the first one triggered, at an instant.
async fn triggered(world: &World, count: i64, at: Timestamp) {
    let added = world.ci.db.write("test_triggered", move |tx| {
        let sql = "WITH RECURSIVE series (n) AS (
                       SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM series WHERE n < $1)
                   INSERT INTO ci_pipeline (iid, project_id, ref, tag, protected, sha, before_sha, source, status, user_id,
                       ready, created_at, updated_at, upstream_id)
                   SELECT iid + n * 1000, 2, ref, 0, 0, sha, sha, 'pipeline', 'success', user_id, 1,
                       CAST($2 AS BIGINT), CAST($2 AS BIGINT), 1
                   FROM ci_pipeline, series WHERE ci_pipeline.id = 1";
        tx.execute(sql, params![count, at])
    });
    let added: Result<u64, rave_store::Error> = added.await;
    assert_eq!(added.unwrap(), u64::try_from(count).unwrap());
}

/// Takes away what [`triggered`] added.
async fn forget_triggered(world: &World) {
    let gone = world.ci.db.write("test_forget", |tx| {
        tx.execute("DELETE FROM ci_pipeline WHERE project_id = 2", &[])
    });
    let gone: Result<u64, rave_store::Error> = gone.await;
    gone.unwrap();
}

async fn a_commit_and_a_family_trigger_only_so_many(place: Place) {
    let world = World::new(place, &child("")).await;
    world.put_file("child.yml", CHILD);
    world.push(&[]).await;
    triggered(&world, 350, world.clock.now()).await;
    world.settle().await;
    assert_eq!(
        world.statuses().await,
        "call:failed(reached_downstream_pipeline_trigger_rate_limit) after:skipped"
    );
    let retry = async |job: i64| {
        let path = format!("/projects/1/jobs/{job}/retry");
        let retried = world.api("developer", "POST", &path, Value::Null).await;
        assert_eq!(retried.status, 201);
        world.settle().await;
        retried.json()["id"].as_i64().unwrap()
    };
    // A minute later there is room again, for one more: the first of a family counts as well.
    world.clock.advance(60_001);
    forget_triggered(&world).await;
    triggered(&world, 998, Timestamp(0)).await;
    let again = retry(1).await;
    let statuses = world.statuses().await;
    assert!(statuses.contains("call:success"), "{statuses}");
    retry(again).await;
    let statuses = world.statuses().await;
    assert!(
        statuses.contains("call:failed(reached_max_pipeline_hierarchy_size)"),
        "{statuses}"
    );
}

async fn inputs_take_variables(place: Place) {
    let file = "variables: {LEVEL: high}\ncall:\n  trigger:\n    project: team/lib\n    inputs: {kind: \"$LEVEL-$NOBODY\"}\n";
    let world = World::new(place, file).await;
    world.put_file(
        "2/.gitlab-ci.yml",
        "spec: {inputs: {kind: {}}}\n---\n\"unit-$[[ inputs.kind ]]\":\n  script: [x]\n",
    );
    world.push(&[]).await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 success call:success / 2 pending unit-high-:pending"
    );
}

async fn a_bridge_follows_another_project(place: Place) {
    let file = "watch:\n  needs: {pipeline: team/lib}\n";
    let world = World::new(place, file).await;
    world.push(&[]).await;
    world.settle().await;
    let watch = &world.get("/projects/1/pipelines/1/bridges").await.json()[0];
    assert_eq!(watch["failure_reason"], "upstream_bridge_project_not_found");

    world.put_file("2/.gitlab-ci.yml", CHILD);
    world
        .api(
            "developer",
            "POST",
            "/projects/2/pipeline",
            json!({ "ref": "main" }),
        )
        .await;
    world
        .api("developer", "POST", "/projects/1/jobs/1/retry", Value::Null)
        .await;
    world.settle().await;
    assert_eq!(
        world.families().await,
        "1 running watch:running / 2 pending unit:pending"
    );
    finish(&world, "success").await;
    assert_eq!(
        world.families().await,
        "1 success watch:success / 2 success unit:success"
    );
}

async fn variables_go_down(place: Place) {
    let file = "variables: {ROOT: root}\ncall:\n  variables: {OWN: \"on-$CI_COMMIT_BRANCH\"}\n  trigger:\n    include: child.yml\n    forward: {pipeline_variables: true}\n";
    let world = World::new(place, file).await;
    world.put_file(
        "child.yml",
        "unit:\n  variables: {ROOT: child}\n  script: [x]\n",
    );
    world.push(&["ci.variable=GIVEN=1"]).await;
    world.settle().await;
    let runner = world.runner(json!({})).await;
    let job = world.take(&runner).await;
    let value = |key: &str| {
        let all = job["variables"].as_array().unwrap();
        let found = all.iter().rfind(|it| it["key"] == key);
        found.map(|it| it["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        value("ROOT").as_deref(),
        Some("root"),
        "it counts more than the file"
    );
    assert_eq!(value("OWN").as_deref(), Some("on-main"));
    assert_eq!(value("GIVEN").as_deref(), Some("1"));
    assert_eq!(
        value("CI_PIPELINE_SOURCE").as_deref(),
        Some("parent_pipeline")
    );
    assert_eq!(value("CI_UPSTREAM_PIPELINE_ID").as_deref(), Some("1"));
    assert_eq!(value("CI_UPSTREAM_PROJECT_ID").as_deref(), Some("1"));
    assert_eq!(value("CI_UPSTREAM_JOB_ID").as_deref(), Some("1"));
}
