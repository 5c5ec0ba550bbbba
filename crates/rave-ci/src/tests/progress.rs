//! What is kept about a pipeline from one event of its jobs to the next.

use serde_json::json;

use super::{Place, World, on_both_engines};

const FILE: &str = "stages: [one, two, three]\n\
    a: {stage: one, script: [x]}\n\
    b: {stage: one, script: [x], allow_failure: true}\n\
    c: {stage: two, script: [x], needs: [a]}\n\
    d: {stage: two, script: [x]}\n\
    e: {stage: three, script: [x], needs: [c, d]}\n\
    f: {stage: three, script: [x], when: on_failure}\n";

/// Puts pipelines into the state in which a program of before the counters leaves them.
async fn forget(world: &World, statements: &'static [&'static str]) {
    let forgotten = world.ci.db.write("test_forget", move |tx| {
        for sql in statements {
            tx.execute(sql, &[])?;
        }
        Ok::<_, rave_store::Error>(())
    });
    forgotten.await.unwrap();
}

/// Runs `FILE`, and before each end of a job the statements.
async fn run(place: Place, statements: &'static [&'static str]) {
    let world = World::new(place, FILE).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let steps = [
        (
            "success",
            "a:success b:pending c:pending d:created e:created f:created",
        ),
        (
            "failed",
            "a:success b:failed(script_failure) c:pending d:pending e:created f:created",
        ),
        (
            "success",
            "a:success b:failed(script_failure) c:success d:pending e:created f:created",
        ),
        (
            "success",
            "a:success b:failed(script_failure) c:success d:success e:pending f:skipped",
        ),
        (
            "success",
            "a:success b:failed(script_failure) c:success d:success e:success f:skipped",
        ),
    ];
    for (end, expected) in steps {
        let job = world.start(&runner).await;
        forget(&world, statements).await;
        world.put_state(&job, end).await;
        assert_eq!(world.statuses().await, expected);
    }
    assert_eq!(world.status().await, "success");
}

async fn counters_follow_the_jobs(place: Place) {
    run(place, &[]).await;
}

async fn a_pipeline_that_nobody_counted_is_counted(place: Place) {
    run(place, &["DELETE FROM ci_progress", "DELETE FROM ci_need"]).await;
}

async fn what_another_program_changed_is_counted_again(place: Place) {
    let statements = &[
        "UPDATE ci_progress SET tallies = '[{\"pending\":9}]'",
        "UPDATE ci_pipeline SET version = version + 1",
    ];
    run(place, statements).await;
}

async fn a_deleted_pipeline_leaves_nothing(place: Place) {
    let world = World::new(place, FILE).await;
    world.push(&[]).await;
    let deleted = world
        .api("root", "DELETE", "/projects/1/pipelines/1", json!(null))
        .await;
    assert_eq!(deleted.status, 204);
    let left = world.ci.db.read("test_left", |tx| {
        let sql = "SELECT (SELECT COUNT(*) FROM ci_progress) + (SELECT COUNT(*) FROM ci_need) AS rows_left";
        tx.query_one(sql, &[])?.int("rows_left")
    });
    let left: Result<i64, rave_store::Error> = left.await;
    assert_eq!(left.unwrap(), 0);
}

on_both_engines! {
    counters_follow_the_jobs,
    a_pipeline_that_nobody_counted_is_counted,
    what_another_program_changed_is_counted_again,
    a_deleted_pipeline_leaves_nothing,
}
