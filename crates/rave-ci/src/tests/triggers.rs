//! Trigger tokens: made by people, used by programs.

use axum::body::Body;
use axum::extract::Request;
use serde_json::{Value, json};

use super::{Answer, Place, World, on_both_engines};

const FILE: &str = "a:\n  script: [x]\nonly-triggers:\n  only: [triggers]\n  script: [x]\n";

on_both_engines!(
    tokens_are_made_and_shown_once,
    a_token_starts_a_pipeline_for_its_owner,
    a_jobs_token_starts_pipelines_of_its_project,
    what_is_wrong_is_said,
);

async fn make(world: &World) -> Value {
    let body = json!({ "description": "deploy" });
    let made = world
        .api("root", "POST", "/projects/1/triggers", body)
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

/// Triggers without any credentials but what is in the request.
async fn trigger(world: &World, path: &str, kind: &str, body: String) -> Answer {
    let request = Request::builder()
        .method("POST")
        .uri(format!("/api/v4/projects/{path}"))
        .header("content-type", kind);
    world.send(request.body(Body::from(body)).unwrap()).await
}

const FORM: &str = "application/x-www-form-urlencoded";

async fn tokens_are_made_and_shown_once(place: Place) {
    let world = World::new(place, FILE).await;
    let made = make(&world).await;
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("glptt-") && token.len() > 30, "a token");
    assert_eq!(made["owner"]["username"], "root");
    let path = format!("/projects/1/triggers/{}", made["id"]);
    let shown = world.api("root", "GET", &path, Value::Null).await.json();
    assert_eq!(shown["token"], token[6..10]);
    assert_eq!(shown["last_used"], Value::Null);
    let change = json!({ "description": "other" });
    let changed = world.api("root", "PUT", &path, change).await.json();
    assert_eq!(changed["description"], "other");
    let list = world
        .api("root", "GET", "/projects/1/triggers", Value::Null)
        .await
        .json();
    assert_eq!(
        (list[0]["id"].clone(), list[0]["token"].clone()),
        (made["id"].clone(), json!(token[6..10]))
    );
    assert!(!list.to_string().contains(&token));
    let refused = world.get("/projects/1/triggers").await;
    assert_eq!(refused.status, 403, "developers do not manage tokens");
    let deleted = world.api("root", "DELETE", &path, Value::Null).await;
    assert_eq!(deleted.status, 204);
    let body = format!("token={token}&ref=main");
    let gone = trigger(&world, "1/trigger/pipeline", FORM, body).await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()["message"].clone()),
        (404, json!("404 Not found"))
    );
}

async fn a_token_starts_a_pipeline_for_its_owner(place: Place) {
    let world = World::new(place, FILE).await;
    let token = make(&world).await["token"].as_str().unwrap().to_owned();
    let multipart = format!(
        "--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{token}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"ref\"\r\n\r\nmain\r\n--b\r\n\
         Content-Disposition: form-data; name=\"variables[A]\"\r\n\r\nx y\r\n--b--\r\n"
    );
    let hook = json!({ "object_kind": "push", "nested": { "a": 1 } }).to_string();
    let json_body =
        json!({ "token": token, "ref": "main", "variables": { "A": "x y" } }).to_string();
    for (path, kind, body) in [
        (
            "1/trigger/pipeline",
            FORM,
            format!("token={token}&ref=main&variables[A]=x+y"),
        ),
        (
            "1/trigger/pipeline",
            "multipart/form-data; boundary=b",
            multipart,
        ),
        ("team%2Fapp/trigger/pipeline", "application/json", json_body),
    ] {
        let made = trigger(&world, path, kind, body).await;
        assert_eq!(made.status, 201, "{kind}: {made:?}");
        let made = made.json();
        assert_eq!(
            (&made["source"], &made["user"]["username"]),
            (&json!("trigger"), &json!("root"))
        );
        let path = format!("/projects/1/pipelines/{}/variables", made["id"]);
        let given = world.get(&path).await.json();
        assert_eq!(
            (&given[0]["key"], &given[0]["value"]),
            (&json!("A"), &json!("x y"))
        );
    }
    let path = format!("1/ref/main/trigger/pipeline?token={token}");
    let made = trigger(&world, &path, "application/json", hook).await;
    assert_eq!(made.status, 201, "{made:?}");

    let runner = world.runner(json!({})).await;
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(world.take(&runner).await);
    }
    assert!(
        jobs.iter()
            .any(|it| it["job_info"]["name"] == "only-triggers")
    );
    let value = |key: &str| {
        let all = jobs.last().unwrap()["variables"].as_array().unwrap();
        let found = all.iter().find(|it| it["key"] == key).unwrap();
        found["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("CI_PIPELINE_TRIGGERED"), "true");
    assert_eq!(value("CI_PIPELINE_SOURCE"), "trigger");
    assert_eq!(value("CI_TRIGGER_SHORT_TOKEN"), token[6..10]);
    let payload: Value = serde_json::from_str(&value("TRIGGER_PAYLOAD")).unwrap();
    assert_eq!(
        (&payload["object_kind"], &payload["nested"]["a"]),
        (&json!("push"), &json!(1))
    );
    assert!(
        !payload.to_string().contains(&token),
        "the token stays secret"
    );
}

async fn a_jobs_token_starts_pipelines_of_its_project(place: Place) {
    let world = World::new(place, FILE).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let job = world.start(&runner).await;
    let token = job["token"].as_str().unwrap();
    let body = format!("token={token}&ref=main");
    let made = trigger(&world, "1/trigger/pipeline", FORM, body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        (&made.json()["source"], &made.json()["user"]["username"]),
        (&json!("pipeline"), &json!("developer"))
    );
    let other = trigger(&world, "2/trigger/pipeline", FORM, body.clone()).await;
    assert_eq!(other.status, 404, "its own project only");
    world.put_state(&job, "success").await;
    let ended = trigger(&world, "1/trigger/pipeline", FORM, body).await;
    assert_eq!(ended.status, 404, "a job that has ended has no token");
}

async fn what_is_wrong_is_said(place: Place) {
    let world = World::new(place, "a:\n  scirpt: [x]\n").await;
    let token = make(&world).await["token"].as_str().unwrap().to_owned();
    let check = async |path: &str, body: &str, status: u16, expected: &str| {
        let answer = trigger(&world, path, FORM, body.replace("TOKEN", &token)).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status.as_u16(), status, "{body}: {text}");
        assert!(text.contains(expected), "{body}: {text}");
    };
    check(
        "1/trigger/pipeline",
        "",
        400,
        "token is missing, ref is missing",
    )
    .await;
    check(
        "1/trigger/pipeline",
        "token=glptt-x&ref=main",
        404,
        "404 Not found",
    )
    .await;
    check(
        "2/trigger/pipeline",
        "token=TOKEN&ref=main",
        404,
        "404 Not found",
    )
    .await;
    check(
        "1/trigger/pipeline",
        "token=TOKEN&ref=nope",
        400,
        "Reference not found",
    )
    .await;
    check(
        "1/trigger/pipeline",
        "token=TOKEN&ref=main&variables=A",
        400,
        "map of key-valued strings",
    )
    .await;
    check(
        "1/trigger/pipeline",
        "token=TOKEN&ref=main&variables[A-B]=1",
        400,
        "map of key-valued strings",
    )
    .await;
    // Nobody sees the answer of a program: the pipeline is there and says what is wrong.
    check(
        "1/trigger/pipeline",
        "token=TOKEN&ref=main",
        201,
        "config_error",
    )
    .await;
}
