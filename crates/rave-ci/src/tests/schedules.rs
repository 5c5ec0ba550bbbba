//! Schedules: kept by people, run once each time by a clock that the test moves.

use std::sync::atomic::Ordering;

use rave_core::event::{Event, EventKind};
use rave_store::Worker as _;
use serde_json::{Value, json};

use super::{Place, World, on_both_engines};
use crate::worker::schedules::Schedules;

const FILE: &str = "a:\n  rules: [{if: '$CI_PIPELINE_SOURCE == \"schedule\"'}]\n  script: [x]\n";
const PATH: &str = "/projects/1/pipeline_schedules";
const HOUR: i64 = 3_600_000;

on_both_engines!(
    schedules_are_kept,
    only_the_owner_changes_a_schedule,
    a_schedule_runs_once_each_time,
    missed_runs_are_made_up_for_once,
    two_servers_run_a_schedule_once,
    a_run_that_was_cut_off_is_finished,
    an_owner_without_rights_switches_it_off,
    what_keeps_a_schedule_from_running_is_told,
    playing_makes_a_pipeline_of_whoever_plays,
);

async fn make(world: &World, more: Value) -> i64 {
    // The clock stands at 2026-01-02T03:04:05Z.
    let mut body = json!({ "description": "nightly", "ref": "main", "cron": "0 4 * * *" });
    crate::api::shapes::extend(&mut body, more);
    let made = world.api("developer", "POST", PATH, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_i64().unwrap()
}

async fn show(world: &World, id: i64) -> Value {
    world.get(&format!("{PATH}/{id}")).await.json()
}

/// Lets what is due run, and handles all events of schedules once more than needed.
async fn tick(world: &World) {
    Schedules::new(world.ci.clone()).step().await.unwrap();
    for event in due(world).await {
        world.handle(&event).await.unwrap();
        world.handle(&event).await.unwrap();
    }
}

async fn due(world: &World) -> Vec<Event> {
    let found: Result<Vec<Event>, rave_store::Error> = world
        .ci
        .db
        .read("test_due", |tx| {
            tx.events_after(0, &[EventKind::ScheduleDue], 1000)
        })
        .await;
    found.unwrap()
}

async fn schedules_are_kept(place: Place) {
    let world = World::new(place, FILE).await;
    let inputs = json!([{ "name": "level", "value": 3 }]);
    let id = make(
        &world,
        json!({ "cron_timezone": "Europe/Berlin", "inputs": inputs }),
    )
    .await;
    let shown = show(&world, id).await;
    assert_eq!(shown["next_run_at"], "2026-01-03T03:00:00.000Z");
    assert_eq!(shown["owner"]["username"], "developer");
    assert_eq!(
        (&shown["inputs"], &shown["variables"]),
        (&inputs, &json!([]))
    );
    assert_eq!(shown["last_pipeline"], Value::Null);

    let path = format!("{PATH}/{id}");
    let change = json!({ "cron": "@hourly", "active": "false" });
    let changed = world.api("developer", "PUT", &path, change).await.json();
    assert_eq!(
        (&changed["cron"], &changed["active"]),
        (&json!("@hourly"), &json!(false))
    );
    let variable = json!({ "key": "A", "value": "1", "variable_type": "file" });
    let added = world
        .api(
            "developer",
            "POST",
            &format!("{path}/variables"),
            variable.clone(),
        )
        .await;
    assert_eq!(added.status, 201);
    let twice = world
        .api("developer", "POST", &format!("{path}/variables"), variable)
        .await;
    assert_eq!(
        (twice.status.as_u16(), &twice.json()["message"]["key"][0]),
        (400, &json!("has already been taken"))
    );
    let put = world
        .api(
            "developer",
            "PUT",
            &format!("{path}/variables/A"),
            json!({ "value": "2" }),
        )
        .await;
    assert_eq!(put.json()["value"], "2");
    assert_eq!(
        show(&world, id).await["variables"][0]["variable_type"],
        "file"
    );
    let removed = world
        .api(
            "developer",
            "DELETE",
            &format!("{path}/variables/A"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (removed.status.as_u16(), &removed.json()["key"]),
        (202, &json!("A"))
    );
    let listed = world.get(&format!("{PATH}?scope=inactive")).await.json();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["id"]),
        (1, &json!(id))
    );
    assert_eq!(
        world.get(&format!("{PATH}?scope=active")).await.json(),
        json!([])
    );

    for (field, value, why) in [
        ("cron", "60 * * * *", "is invalid syntax"),
        ("cron_timezone", "Mars", "is invalid syntax"),
        ("description", " ", "can't be blank"),
    ] {
        let wrong = world
            .api("developer", "PUT", &path, json!({ field: value }))
            .await;
        assert_eq!(
            (wrong.status.as_u16(), &wrong.json()["message"][field][0]),
            (400, &json!(why))
        );
    }
    let missing = world
        .api("developer", "POST", PATH, json!({ "cron": "@daily" }))
        .await;
    assert_eq!(
        missing.json()["error"],
        "description is missing, ref is missing"
    );
    for _ in 1..10 {
        make(&world, json!({})).await;
    }
    let body = json!({ "description": "d", "ref": "main", "cron": "@daily" });
    let many = world.api("developer", "POST", PATH, body).await;
    assert!(
        many.json()["message"]["base"][0]
            .as_str()
            .unwrap()
            .contains("(10)"),
        "{many:?}"
    );
    let deleted = world.api("developer", "DELETE", &path, Value::Null).await;
    assert_eq!(
        (
            deleted.status.as_u16(),
            world.get(&path).await.status.as_u16()
        ),
        (204, 404)
    );
}

async fn only_the_owner_changes_a_schedule(place: Place) {
    let world = World::new(place, FILE).await;
    let id = make(&world, json!({})).await;
    let path = format!("{PATH}/{id}");
    let refused = world.api("root", "PUT", &path, json!({ "ref": "x" })).await;
    assert_eq!(refused.status, 403, "it would run with the owner's rights");
    let refused = world
        .api(
            "developer",
            "POST",
            &format!("{path}/take_ownership"),
            Value::Null,
        )
        .await;
    assert_eq!(refused.status, 403);
    let taken = world
        .api(
            "root",
            "POST",
            &format!("{path}/take_ownership"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (taken.status.as_u16(), &taken.json()["owner"]["username"]),
        (201, &json!("root"))
    );
    let refused = world.api("developer", "DELETE", &path, Value::Null).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        show(&world, id).await.get("variables"),
        None,
        "others do not see its variables"
    );
    let stranger = world.api("stranger", "GET", &path, Value::Null).await;
    assert_eq!(stranger.status, 404);
}

async fn a_schedule_runs_once_each_time(place: Place) {
    let world = World::new(place, FILE).await;
    let id = make(&world, json!({})).await;
    let variable = json!({ "key": "A", "value": "given" });
    world
        .api(
            "developer",
            "POST",
            &format!("{PATH}/{id}/variables"),
            variable,
        )
        .await;
    tick(&world).await;
    assert!(world.pipelines().await.is_empty(), "its time has not come");
    world.clock.advance(HOUR);
    tick(&world).await;
    tick(&world).await;
    assert_eq!(world.pipelines().await.len(), 1);
    let shown = show(&world, id).await;
    assert_eq!(shown["next_run_at"], "2026-01-03T04:00:00.000Z");
    assert_eq!(
        (&shown["last_pipeline"]["id"], &shown["problem"]),
        (&json!(1), &Value::Null)
    );
    let listed = world.get(&format!("{PATH}/{id}/pipelines")).await.json();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["source"]),
        (1, &json!("schedule"))
    );
    let pipeline = world.get("/projects/1/pipelines/1").await.json();
    assert_eq!(pipeline["user"]["username"], "developer");
    let runner = world.runner(json!({})).await;
    let job = world.take(&runner).await;
    let value = |key: &str| {
        let all = job["variables"].as_array().unwrap();
        all.iter()
            .find(|it| it["key"] == key)
            .map(|it| it["value"].clone())
    };
    assert_eq!(
        value("CI_PIPELINE_SCHEDULE_DESCRIPTION"),
        Some(json!("nightly"))
    );
    assert_eq!(value("A"), Some(json!("given")));
}

async fn missed_runs_are_made_up_for_once(place: Place) {
    let world = World::new(place, FILE).await;
    let id = make(&world, json!({ "cron": "0 * * * *" })).await;
    world.clock.advance(5 * HOUR);
    tick(&world).await;
    assert_eq!(world.pipelines().await.len(), 1);
    assert_eq!(
        show(&world, id).await["next_run_at"],
        "2026-01-02T09:00:00.000Z"
    );
    let path = format!("{PATH}/{id}");
    world
        .api("developer", "PUT", &path, json!({ "active": false }))
        .await;
    world.clock.advance(5 * HOUR);
    tick(&world).await;
    assert_eq!(world.pipelines().await.len(), 1, "it is switched off");
    world
        .api("developer", "PUT", &path, json!({ "active": true }))
        .await;
    tick(&world).await;
    assert_eq!(
        world.pipelines().await.len(),
        1,
        "what came up meanwhile is past"
    );
}

async fn two_servers_run_a_schedule_once(place: Place) {
    let world = World::new(place, FILE).await;
    for _ in 0..5 {
        make(&world, json!({})).await;
    }
    world.clock.advance(HOUR);
    let step = async || world.ci.run_due_schedules().await;
    // On PostgreSQL the loser of a race waits and then sees that there is nothing left to do.
    let ran = tokio::join!(step(), step(), step(), step());
    for one in [ran.0, ran.1, ran.2, ran.3] {
        one.unwrap();
    }
    assert_eq!(due(&world).await.len(), 5);
}

async fn a_run_that_was_cut_off_is_finished(place: Place) {
    let world = World::new(place, FILE).await;
    make(&world, json!({})).await;
    world.clock.advance(HOUR);
    Schedules::new(world.ci.clone()).step().await.unwrap();
    let event = due(&world).await.remove(0);
    world.fake.away.store(true, Ordering::SeqCst);
    assert!(world.handle(&event).await.is_err());
    assert!(world.pipelines().await.is_empty());
    world.fake.away.store(false, Ordering::SeqCst);
    world.handle(&event).await.unwrap();
    world.handle(&event).await.unwrap();
    let pipelines = world.pipelines().await;
    assert_eq!(
        (pipelines.len(), pipelines[0].iid),
        (1, 1),
        "the second try goes on with the first"
    );
}

async fn an_owner_without_rights_switches_it_off(place: Place) {
    let world = World::new(place, FILE).await;
    let id = make(&world, json!({})).await;
    world.fake.left.store(true, Ordering::SeqCst);
    world.clock.advance(HOUR);
    tick(&world).await;
    assert!(world.pipelines().await.is_empty());
    let path = format!("{PATH}/{id}");
    let shown = world.api("root", "GET", &path, Value::Null).await.json();
    assert_eq!(shown["active"], false);
    assert!(
        shown["problem"].as_str().unwrap().contains("owner"),
        "{shown}"
    );
    world
        .api(
            "root",
            "POST",
            &format!("{path}/take_ownership"),
            Value::Null,
        )
        .await;
    world
        .api("root", "PUT", &path, json!({ "active": true }))
        .await;
    world.clock.advance(24 * HOUR);
    tick(&world).await;
    let shown = world.api("root", "GET", &path, Value::Null).await.json();
    assert_eq!(
        (&shown["problem"], &shown["last_pipeline"]["id"]),
        (&Value::Null, &json!(1))
    );
}

async fn what_keeps_a_schedule_from_running_is_told(place: Place) {
    let world = World::new(place, FILE).await;
    let id = make(&world, json!({ "ref": "gone" })).await;
    world.clock.advance(HOUR);
    tick(&world).await;
    let shown = show(&world, id).await;
    assert_eq!(
        (&shown["problem"], &shown["active"]),
        (&json!("Reference not found"), &json!(true))
    );
    let path = format!("{PATH}/{id}");
    world
        .api("developer", "PUT", &path, json!({ "ref": "main" }))
        .await;
    assert_eq!(show(&world, id).await["problem"], Value::Null);
    world
        .fake
        .files
        .lock()
        .unwrap()
        .insert(".gitlab-ci.yml".into(), "a:\n  scirpt: [x]\n".into());
    world.clock.advance(24 * HOUR);
    tick(&world).await;
    let last = &show(&world, id).await["last_pipeline"];
    assert_eq!(
        last["status"], "failed",
        "a file that is not valid makes a pipeline that says so"
    );
}

async fn playing_makes_a_pipeline_of_whoever_plays(place: Place) {
    let world = World::new(place, FILE).await;
    let id = make(&world, json!({ "active": false })).await;
    let played = world
        .api("root", "POST", &format!("{PATH}/{id}/play"), Value::Null)
        .await;
    assert_eq!(
        (played.status.as_u16(), &played.json()["message"]),
        (201, &json!("201 Created"))
    );
    tick(&world).await;
    let pipeline = world.get("/projects/1/pipelines/1").await.json();
    assert_eq!(
        (&pipeline["source"], &pipeline["user"]["username"]),
        (&json!("schedule"), &json!("root"))
    );
    assert_eq!(show(&world, id).await["active"], false);
}
