//! Variables that jobs leave to those after them.

use std::io::Write as _;

use serde_json::{Value, json};

use super::{Place, World, on_both_engines};

on_both_engines!(
    later_jobs_get_what_earlier_ones_left,
    a_report_that_is_none_is_refused,
    bridges_hand_it_down,
);

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn leave(world: &World, job: &Value, text: &str) -> u16 {
    let query = "artifact_format=gzip&artifact_type=dotenv";
    let answer = world.upload(job, query, &packed(text)).await;
    answer.status.as_u16()
}

fn value(job: &Value, key: &str) -> Option<String> {
    let all = job["variables"].as_array().unwrap();
    let found = all.iter().rfind(|it| it["key"] == key);
    found.map(|it| it["value"].as_str().unwrap().to_owned())
}

const MAKE: &str =
    "make:\n  stage: build\n  script: [x]\n  artifacts: {reports: {dotenv: out.env}}\n";

async fn later_jobs_get_what_earlier_ones_left(place: Place) {
    let file = format!(
        "{MAKE}later:\n  stage: test\n  script: [x]\n  variables: {{A: file, USES: \"<$A>\"}}\n  environment: {{name: review/x, url: \"https://$A.test\"}}\n\
         apart:\n  stage: test\n  script: [x]\n  dependencies: []\n\
         bare:\n  stage: test\n  script: [x]\n  needs: [{{job: make, artifacts: false}}]\n\
         needing:\n  stage: test\n  script: [x]\n  needs: [make]\n"
    );
    let world = World::new(place, &file).await;
    world.push(&["ci.variable=B=given"]).await;
    let runner = world.runner(json!({})).await;
    let make = world.start(&runner).await;
    assert_eq!(leave(&world, &make, "A=left\nB=left\n").await, 201);
    world.put_state(&make, "success").await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let job = world.take(&runner).await;
        let text = |key| value(&job, key).unwrap_or_default();
        seen.push(format!(
            "{}:{}{}",
            job["job_info"]["name"].as_str().unwrap(),
            text("A"),
            text("B")
        ));
        if job["job_info"]["name"] == "later" {
            assert_eq!(text("USES"), "<left>");
            assert_eq!(text("CI_ENVIRONMENT_URL"), "https://left.test");
            assert_eq!(text("CI_ENVIRONMENT_TIER"), "development");
            assert!(text("CI_ENVIRONMENT_SLUG").starts_with("review-x-"));
        }
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "apart:given",
            "bare:given",
            "later:leftgiven",
            "needing:leftgiven"
        ],
        "what the file says counts less, what the pipeline was given more"
    );
}

async fn a_report_that_is_none_is_refused(place: Place) {
    let world = World::new(place, MAKE).await;
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let make = world.start(&runner).await;
    let query = "artifact_format=gzip&artifact_type=dotenv";
    let answer = world.upload(&make, query, &packed("A=1\n# no\n")).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("Invalid Format"),
        "{answer:?}"
    );
    assert_eq!(
        leave(&world, &make, "A=1\n").await,
        201,
        "nothing was kept of it"
    );
}

async fn bridges_hand_it_down(place: Place) {
    let file = format!(
        "{MAKE}call:\n  stage: test\n  variables: {{DOWN: \"v$A\"}}\n  trigger: {{include: child.yml}}\n"
    );
    let world = World::new(place, &file).await;
    world.put_file("child.yml", "unit:\n  script: [x]\n");
    world.push(&[]).await;
    let runner = world.runner(json!({})).await;
    let make = world.start(&runner).await;
    leave(&world, &make, "A=7\n").await;
    world.put_state(&make, "success").await;
    world.settle().await;
    let unit = world.take(&runner).await;
    assert_eq!(value(&unit, "DOWN").as_deref(), Some("v7"));
    assert_eq!(
        value(&unit, "A"),
        None,
        "only what is referred to goes down"
    );
}
