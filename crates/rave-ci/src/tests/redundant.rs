//! A newer commit's pipeline cancels those that it makes redundant, and a failing job the rest of its own.

use rave_core::id::ProjectId;
use rave_core::permission::{Principal, ProjectFacts, Role, decide};
use rave_core::port::{PipelineSettings, Pipelines as _};
use serde_json::json;

use super::{Place, World, on_both_engines};

const TWO: &str = "a:\n  script: [x]\n  interruptible: true\nb:\n  script: [x]\n";

on_both_engines!(
    nothing_that_matters_has_started,
    something_must_not_be_interrupted,
    only_what_may_be_interrupted,
    no_redundant_pipeline_is_touched,
    a_failed_job_cancels_the_rest,
);

fn policy(on_new_commit: &str) -> String {
    format!("workflow:\n  auto_cancel: {{on_new_commit: {on_new_commit}}}\n{TWO}")
}

async fn nothing_that_matters_has_started(place: Place) {
    let world = World::new(place, TWO).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    assert_eq!(world.start(&runner).await["job_info"]["name"], "a");
    world.push_commit('1').await;
    world.settle().await;
    assert_eq!(
        world.statuses().await,
        "a:canceling b:canceled a:pending b:pending"
    );
    let old = &world.pipelines().await[1];
    assert_eq!(old.auto_canceled_by, Some(rave_core::id::PipelineId(2)));
}

async fn something_must_not_be_interrupted(place: Place) {
    let world = World::new(place, TWO).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    world.start(&runner).await;
    world.start(&runner).await;
    world.push_commit('1').await;
    world.settle().await;
    assert_eq!(
        world.statuses().await,
        "a:running b:running a:pending b:pending"
    );
}

async fn only_what_may_be_interrupted(place: Place) {
    let world = World::new(place, &policy("interruptible")).await;
    world.push(&[]).await;
    world.push_commit('1').await;
    world.settle().await;
    assert_eq!(
        world.statuses().await,
        "a:canceled b:pending a:pending b:pending"
    );
}

async fn no_redundant_pipeline_is_touched(place: Place) {
    let world = World::new(place, &policy("none")).await;
    world.push(&[]).await;
    world.push_commit('1').await;
    world.settle().await;
    let all = "a:pending b:pending a:pending b:pending";
    assert_eq!(world.statuses().await, all, "the file says so");

    let world = World::new(place, TWO).await;
    world.push(&[]).await;
    world.push(&[]).await;
    world.settle().await;
    assert_eq!(world.statuses().await, all, "it is of the same commit");

    let world = World::new(place, TWO).await;
    let facts = ProjectFacts {
        project: world.project(),
        role: Some(Role::Owner),
    };
    let access = decide(&Principal::User(world.user("root")), facts).unwrap();
    let off = PipelineSettings { auto_cancel: false };
    world.reports.put_settings(&access, off).await.unwrap();
    assert_eq!(world.reports.settings(ProjectId(1)).await.unwrap(), off);
    world.push(&[]).await;
    world.push_commit('1').await;
    world.settle().await;
    assert_eq!(world.statuses().await, all, "the project says so");
}

async fn a_failed_job_cancels_the_rest(place: Place) {
    let file = format!(
        "workflow:\n  auto_cancel: {{on_job_failure: all}}\nflaky:\n  script: [x]\n  allow_failure: true\n{TWO}last:\n  stage: deploy\n  when: always\n  script: [x]\n"
    );
    let world = World::new(place, &file).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let flaky = world.start(&runner).await;
    world.put_state(&flaky, "failed").await;
    assert_eq!(
        world.statuses().await,
        "flaky:failed(script_failure) a:pending b:pending last:created"
    );
    let a = world.start(&runner).await;
    world.put_state(&a, "failed").await;
    assert_eq!(
        world.statuses().await,
        "flaky:failed(script_failure) a:failed(script_failure) b:canceled last:canceled"
    );
    assert_eq!(world.status().await, "failed");
}
