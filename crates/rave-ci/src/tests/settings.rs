//! Variables of projects, groups and the instance: kept, told, and given to those jobs that they are for.

use rave_core::event::{Event, EventKind, NewEvent};
use serde_json::{Value, json};

use super::{Place, World, on_both_engines};

const FILE: &str = "
plain:
  rules: [{if: '$SWITCH == \"on\"'}]
  script: [make]
live:
  environment: production
  script: [make]
";

on_both_engines!(
    variables_are_kept_and_told,
    hidden_values_never_come_back,
    what_is_wrong_is_said_in_gitlabs_words,
    jobs_get_the_variables_that_are_for_them,
    others_may_not,
    values_are_sealed_in_the_database,
    what_pipelines_are_given_is_sealed_in_the_database,
    a_deleted_group_leaves_no_variables,
);

const PROJECT: &str = "/projects/1/variables";

async fn root(world: &World, method: &str, path: &str, body: Value) -> (u16, Value) {
    let answer = world.api("root", method, path, body).await;
    (answer.status.as_u16(), answer.json())
}

async fn set(world: &World, path: &str, body: Value) {
    let (status, body) = root(world, "POST", path, body).await;
    assert_eq!(status, 201, "{body}");
}

async fn variables_are_kept_and_told(place: Place) {
    let world = World::new(place, FILE).await;
    for path in [PROJECT, "/groups/7/variables", "/admin/ci/variables"] {
        let body = json!({ "key": "A", "value": "1", "protected": true, "description": "one" });
        let (status, made) = root(&world, "POST", path, body).await;
        assert_eq!(
            (status, &made["value"], &made["protected"]),
            (201, &json!("1"), &json!(true))
        );
        assert_eq!(made["variable_type"], "env_var");
        let scoped = path != "/admin/ci/variables";
        assert_eq!(made.get("environment_scope").is_some(), scoped, "{made}");
        let change = json!({ "value": "2", "variable_type": "file" });
        let (status, changed) = root(&world, "PUT", &format!("{path}/A"), change).await;
        assert_eq!((status, &changed["value"]), (200, &json!("2")));
        let (_, shown) = root(&world, "GET", &format!("{path}/A"), Value::Null).await;
        assert_eq!(
            (&shown["value"], &shown["variable_type"]),
            (&json!("2"), &json!("file"))
        );
        assert_eq!(
            (&shown["protected"], &shown["description"]),
            (&json!(true), &json!("one"))
        );
        let (_, listed) = root(&world, "GET", path, Value::Null).await;
        assert_eq!(listed.as_array().unwrap().len(), 1);
        let (status, _) = root(&world, "DELETE", &format!("{path}/A"), Value::Null).await;
        assert_eq!(status, 204);
        let (status, gone) = root(&world, "GET", &format!("{path}/A"), Value::Null).await;
        assert_eq!(
            (status, &gone["message"]),
            (404, &json!("404 Variable Not Found"))
        );
    }

    // Variables of one key are told apart by their scopes.
    set(&world, PROJECT, json!({ "key": "A", "value": "1" })).await;
    set(
        &world,
        PROJECT,
        json!({ "key": "A", "value": "2", "environment_scope": "production" }),
    )
    .await;
    let (status, answer) = root(&world, "GET", &format!("{PROJECT}/A"), Value::Null).await;
    assert_eq!(status, 409, "{answer}");
    let one = format!("{PROJECT}/A?filter[environment_scope]=production");
    assert_eq!(root(&world, "GET", &one, Value::Null).await.1["value"], "2");
    let (status, answer) = root(&world, "PUT", &one, json!({ "environment_scope": "*" })).await;
    assert_eq!(
        (status, &answer["message"]["key"][0]),
        (400, &json!("(A) has already been taken"))
    );
    let change =
        json!({ "environment_scope": "staging", "filter": { "environment_scope": "production" } });
    let (status, answer) = root(&world, "PUT", &format!("{PROJECT}/A"), change).await;
    assert_eq!(
        (status, &answer["environment_scope"]),
        (200, &json!("staging"))
    );
    assert_eq!(root(&world, "DELETE", &one, Value::Null).await.0, 404);
    let other = format!("{PROJECT}/A?filter[environment_scope]=staging");
    assert_eq!(root(&world, "DELETE", &other, Value::Null).await.0, 204);
    assert_eq!(
        root(&world, "GET", &format!("{PROJECT}/A"), Value::Null)
            .await
            .1["value"],
        "1"
    );
}

async fn hidden_values_never_come_back(place: Place) {
    let world = World::new(place, FILE).await;
    let body = json!({ "key": "H", "value": "hunter-hunter", "masked_and_hidden": true });
    let (status, made) = root(&world, "POST", PROJECT, body).await;
    assert_eq!((status, &made["value"]), (201, &Value::Null), "{made}");
    assert_eq!(
        (&made["masked"], &made["hidden"]),
        (&json!(true), &json!(true))
    );
    let path = format!("{PROJECT}/H");
    assert_eq!(
        root(&world, "GET", &path, Value::Null).await.1["value"],
        Value::Null
    );
    let (status, answer) = root(&world, "PUT", &path, json!({ "masked": false })).await;
    assert_eq!(status, 400);
    assert!(
        answer["message"]["base"][0]
            .as_str()
            .unwrap()
            .contains("visibility"),
        "{answer}"
    );
    let (status, answer) = root(&world, "PUT", &path, json!({ "value": "another-one" })).await;
    assert_eq!((status, &answer["value"]), (200, &Value::Null));
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let job = world.take(&runner).await;
    assert_eq!(variable(&job, "H").unwrap()["value"], "another-one");
}

async fn what_is_wrong_is_said_in_gitlabs_words(place: Place) {
    let world = World::new(place, FILE).await;
    let check = async |body: Value, expected: Value| {
        let (status, answer) = root(&world, "POST", PROJECT, body).await;
        assert_eq!((status, answer), (400, expected));
    };
    check(
        json!({ "value": "1" }),
        json!({ "error": "key is missing" }),
    )
    .await;
    check(
        json!({ "key": "A" }),
        json!({ "error": "value is missing" }),
    )
    .await;
    let why = json!({ "message": { "key": ["can contain only letters, digits and '_'."] } });
    check(json!({ "key": "A-B", "value": "1" }), why).await;
    let why = json!({ "message": { "value": ["is invalid"] } });
    check(json!({ "key": "A", "value": "short", "masked": true }), why).await;
    let why = json!({ "error": "variable_type does not have a valid value" });
    check(
        json!({ "key": "A", "value": "", "variable_type": "x" }),
        why,
    )
    .await;
    set(&world, PROJECT, json!({ "key": "A", "value": "" })).await;
    let why = json!({ "message": { "key": ["(A) has already been taken"] } });
    check(json!({ "key": "A", "value": "1" }), why).await;

    for at in 0..25 {
        let body = json!({ "key": format!("K{at}"), "value": "" });
        set(&world, "/admin/ci/variables", body).await;
    }
    let body = json!({ "key": "K", "value": "" });
    let (status, answer) = root(&world, "POST", "/admin/ci/variables", body).await;
    let why = "Maximum number of ci instance variables (25) exceeded";
    assert_eq!((status, &answer["message"]["base"][0]), (400, &json!(why)));
}

fn variable<'a>(job: &'a Value, key: &str) -> Option<&'a Value> {
    let all = job["variables"].as_array().unwrap();
    all.iter().rev().find(|it| it["key"] == key)
}

async fn jobs_get_the_variables_that_are_for_them(place: Place) {
    let world = World::new(place, FILE).await;
    assert_eq!(world.statuses().await, "");
    world.push(&[]).await;
    assert_eq!(world.statuses().await, "live:pending", "SWITCH is not on");

    set(
        &world,
        "/admin/ci/variables",
        json!({ "key": "SWITCH", "value": "on" }),
    )
    .await;
    for (path, value) in [
        ("/admin/ci/variables", "1"),
        ("/groups/7/variables", "2"),
        (PROJECT, "3"),
    ] {
        set(&world, path, json!({ "key": "WHO", "value": value })).await;
    }
    set(
        &world,
        PROJECT,
        json!({ "key": "WHO", "value": "4", "environment_scope": "prod*" }),
    )
    .await;
    set(
        &world,
        PROJECT,
        json!({ "key": "SECRET", "value": "masked-secret", "masked": true }),
    )
    .await;
    set(
        &world,
        PROJECT,
        json!({ "key": "CERT", "value": "a\nb", "variable_type": "file" }),
    )
    .await;
    set(
        &world,
        PROJECT,
        json!({ "key": "RAW", "value": "$WHO", "raw": true }),
    )
    .await;
    set(
        &world,
        PROJECT,
        json!({ "key": "FULL", "value": "is $WHO" }),
    )
    .await;
    set(
        &world,
        PROJECT,
        json!({ "key": "CI_PIPELINE_SOURCE", "value": "mine" }),
    )
    .await;
    world.push(&["ci.variable=GIVEN=$WHO"]).await;
    let runner = world.runner(json!({})).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(world.take(&runner).await);
    }
    let of = |name: &str| {
        jobs.iter()
            .rfind(|it| it["job_info"]["name"] == name)
            .unwrap()
    };
    let value = |job: &str, key: &str| variable(of(job), key).map(|it| it["value"].clone());
    assert_eq!(value("plain", "WHO"), Some(json!("3")));
    assert_eq!(value("live", "WHO"), Some(json!("4")));
    assert_eq!(value("plain", "GIVEN"), Some(json!("3")));
    assert_eq!(value("plain", "RAW"), Some(json!("$WHO")));
    assert_eq!(value("live", "FULL"), Some(json!("is 4")));
    assert_eq!(value("plain", "CI_PIPELINE_SOURCE"), Some(json!("mine")));
    let secret = variable(of("plain"), "SECRET").unwrap();
    assert_eq!(
        (&secret["masked"], &secret["public"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(variable(of("plain"), "CERT").unwrap()["file"], true);
}

async fn others_may_not(place: Place) {
    let world = World::new(place, FILE).await;
    for (user, path, expected) in [
        ("developer", PROJECT, 403),
        ("stranger", PROJECT, 404),
        ("developer", "/groups/7/variables", 403),
        ("stranger", "/groups/7/variables", 404),
        ("stranger", "/groups/8/variables", 404),
        ("developer", "/admin/ci/variables", 403),
    ] {
        for method in ["GET", "POST"] {
            let body = json!({ "key": "A", "value": "1" });
            let answer = world.api(user, method, path, body).await;
            assert_eq!(answer.status.as_u16(), expected, "{user} {method} {path}");
        }
    }
}

async fn values_are_sealed_in_the_database(place: Place) {
    let world = World::new(place, "include: {local: $PLACE}\n").await;
    let body = json!({ "key": "PLACE", "value": "/hunter-hunter.yml", "masked": true });
    set(&world, PROJECT, body).await;
    let lines = world.push(&[]).await;
    assert!(
        lines[0].contains("[MASKED]") && !lines.concat().contains("hunter"),
        "{lines:?}"
    );
    let shown = world
        .get("/projects/1/pipelines/1")
        .await
        .json()
        .to_string();
    assert!(!shown.contains("hunter"), "{shown}");
    let stored: Result<Vec<u8>, rave_store::Error> = world
        .ci
        .db
        .read("test_sealed", |tx| {
            tx.query_one("SELECT value FROM ci_variable", &[])?
                .blob("value")
        })
        .await;
    let stored = stored.unwrap();
    assert!(!stored.windows(6).any(|it| it == b"hunter"));
}

async fn what_pipelines_are_given_is_sealed_in_the_database(place: Place) {
    let world = World::new(place, "play:\n  when: manual\n  script: [x]\n").await;
    world.push(&["ci.variable=GIVEN=hunter-given"]).await;
    let body =
        json!({ "job_variables_attributes": [{ "key": "PLAYED", "value": "hunter-played" }] });
    let played = world
        .api("developer", "POST", "/projects/1/jobs/1/play", body)
        .await;
    assert!(played.status.is_success(), "{played:?}");
    let stored = world.ci.db.read("test_sealed", |tx| {
        let pipeline = tx.query_one("SELECT predefined, variables FROM ci_pipeline", &[])?;
        let job = tx.query_one("SELECT variables FROM ci_job", &[])?;
        let columns = [
            pipeline.text("predefined")?,
            pipeline.text("variables")?,
            job.text("variables")?,
        ];
        Ok(columns.join(" "))
    });
    let stored: Result<String, rave_store::Error> = stored.await;
    let stored = stored.unwrap();
    assert!(
        !stored.contains("hunter") && !stored.contains("CI_"),
        "{stored}"
    );
    let runner = world.runner(json!({})).await;
    let job = world.take(&runner).await;
    let given = |key: &str| {
        let mut all = job["variables"].as_array().unwrap().iter();
        all.find(|it| it["key"] == key)
            .map(|it| it["value"].clone())
    };
    assert_eq!(
        (given("GIVEN"), given("PLAYED")),
        (Some(json!("hunter-given")), Some(json!("hunter-played")))
    );
    // What an older program stored as it was is read as before.
    let plain = world.ci.db.write("test_plain", |tx| {
        let sql = "UPDATE ci_pipeline SET variables = '[{\"key\":\"OLD\",\"value\":\"1\"}]'";
        tx.execute(sql, &[])
    });
    let plain: Result<u64, rave_store::Error> = plain.await;
    plain.unwrap();
    let shown = world.get("/projects/1/pipelines/1/variables").await.json();
    assert_eq!(shown[0]["key"], "OLD", "{shown}");
}

async fn a_deleted_group_leaves_no_variables(place: Place) {
    let world = World::new(place, "a: {script: [x]}\n").await;
    let body = json!({ "key": "A", "value": "1" });
    set(&world, "/groups/7/variables", body).await;
    let event = NewEvent::new(EventKind::GroupDeleted, "group/7").payload(json!({ "id": 7 }));
    let event = world.ci.db.write("test_group", move |tx| tx.append(event));
    let event: Result<Event, rave_store::Error> = event.await;
    world.handle(&event.unwrap()).await.unwrap();
    let left = world.ci.db.read("test_left", |tx| {
        let sql = "SELECT COUNT(*) AS rows_left FROM ci_variable";
        tx.query_one(sql, &[])?.int("rows_left")
    });
    let left: Result<i64, rave_store::Error> = left.await;
    assert_eq!(left.unwrap(), 0);
}
