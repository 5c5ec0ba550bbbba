//! What jobs find out: uploaded, read by the worker, compared with the pipeline before, answered by the API.

use std::io::Write as _;

use rave_store::Worker as _;
use serde_json::{Value, json};

use super::{Place, World, on_both_engines};
use crate::worker::archive::Archive;
use crate::worker::reports::Reports;

const FILE: &str = "unit:\n  stage: test\n  coverage: '/Lines: (\\d+)%/'\n  script: [x]\n  artifacts:\n    reports: {junit: r.xml, sast: s.json}\n";

on_both_engines!(
    tests_are_counted_listed_and_compared,
    findings_are_filtered_and_compared,
    coverage_comes_from_reports_and_logs,
    a_bad_report_is_told_and_stops_nothing,
    results_go_with_their_job_and_pipeline,
);

fn gzip(name: &str, text: &str) -> Vec<u8> {
    let mut packed = flate2::GzBuilder::new()
        .filename(name)
        .write(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn suite(cases: &[(&str, bool)]) -> String {
    let case = |(name, passes): &(&str, bool)| {
        let failure = if *passes {
            ""
        } else {
            "<failure message=\"no\">no, really</failure>"
        };
        format!(
            "<testcase classname=\"C\" name=\"{name}\" time=\"0.5\" file=\"./a.c\">{failure}</testcase>"
        )
    };
    let cases: String = cases.iter().map(case).collect();
    format!("<testsuite name=\"s\">{cases}</testsuite>")
}

/// Reads all reports that wait, and archives all logs.
async fn work(world: &World) {
    Reports::new(world.ci.clone()).step().await.unwrap();
    Archive::new(world.ci.clone()).step().await.unwrap();
}

/// Runs a pipeline with one job that uploads these reports and writes this log.
async fn run(world: &World, runner: &str, uploads: &[(&str, Vec<u8>)], log: &str) -> Value {
    world.push(&[]).await;
    let job = world.start(runner).await;
    for (kind, bytes) in uploads {
        let format = if kind == &"junit" || kind == &"cobertura" {
            "gzip"
        } else {
            "raw"
        };
        let query = format!("artifact_type={kind}&artifact_format={format}");
        let uploaded = world.upload(&job, &query, bytes).await;
        assert_eq!(uploaded.status, 201, "{uploaded:?}");
    }
    world.patch_trace(&job, 0, log).await;
    world.put_state(&job, "success").await;
    work(world).await;
    job
}

async fn get(world: &World, tail: &str) -> Value {
    let answer = world.get(&format!("/projects/1/pipelines/{tail}")).await;
    assert_eq!(answer.status, 200, "{tail}: {answer:?}");
    answer.json()
}

async fn tests_are_counted_listed_and_compared(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    let packed = [
        gzip(
            "a.xml",
            &suite(&[("old", false), ("mended", false), ("fine", true)]),
        ),
        gzip("b.xml", &suite(&[("more", true)])),
    ];
    run(&world, &runner, &[("junit", packed.concat())], "log\n").await;
    let report = get(&world, "1/test_report").await;
    assert_eq!(
        (
            &report["total_count"],
            &report["failed_count"],
            &report["success_count"]
        ),
        (&json!(4), &json!(2), &json!(2))
    );
    assert_eq!(report["total_time"], 2.0);
    let suite_of = &report["test_suites"][0];
    assert_eq!(
        (&suite_of["name"], &suite_of["suite_error"]),
        (&json!("unit"), &Value::Null)
    );
    let case = &suite_of["test_cases"][0];
    assert_eq!(
        (&case["name"], &case["status"]),
        (&json!("old"), &json!("failed"))
    );
    assert_eq!(
        (&case["classname"], &case["file"]),
        (&json!("C"), &json!("./a.c"))
    );
    assert_eq!(
        (&case["system_output"], &case["execution_time"]),
        (&json!("no, really"), &json!(0.5))
    );
    assert_eq!(
        case["recent_failures"],
        json!({ "count": 1, "base_branch": "main" })
    );

    let summary = get(&world, "1/test_report_summary").await;
    assert_eq!(summary["total"]["count"], 4);
    assert_eq!(summary["test_suites"][0]["build_ids"], json!([1]));
    let nothing = get(&world, "1/findings").await;
    assert_eq!(nothing, json!([]));
}

async fn findings_are_filtered_and_compared(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    let report = |names: &[(&str, &str)]| {
        let found = |(name, severity): &(&str, &str)| json!({ "name": name, "severity": severity, "location": { "file": "a.c", "start_line": 3 } });
        let found: Vec<Value> = names.iter().map(found).collect();
        json!({ "version": "15.0.0", "vulnerabilities": found })
            .to_string()
            .into_bytes()
    };
    let first = report(&[("stays", "High"), ("goes", "Low")]);
    run(&world, &runner, &[("sast", first)], "").await;
    let second = report(&[
        ("stays", "High"),
        ("comes", "Critical"),
        ("100%_sure!", "Info"),
    ]);
    run(&world, &runner, &[("sast", second)], "").await;
    let titles = async |query: &str| {
        let list = get(&world, &format!("2/findings{query}")).await;
        let titles = list.as_array().unwrap().iter().map(|it| {
            format!(
                "{} {}",
                it["title"].as_str().unwrap(),
                it["state"].as_str().unwrap_or("-")
            )
        });
        titles.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        titles("").await,
        "comes new, stays existing, 100%_sure! new"
    );
    assert_eq!(
        titles("?severity=critical,info").await,
        "comes new, 100%_sure! new"
    );
    assert_eq!(titles("?state=existing").await, "stays existing");
    assert_eq!(titles("?state=fixed").await, "goes fixed");
    assert_eq!(titles("?kind=codequality").await, "");
    assert_eq!(titles("?search=0%25_S").await, "100%_sure! new");
    assert_eq!(titles("?search=0_S").await, "", "`_` is no wildcard");
    let list = get(&world, "1/findings").await;
    assert_eq!(
        list[0]["state"],
        Value::Null,
        "there was no pipeline before"
    );
    assert_eq!(list[0]["location"], json!({ "path": "a.c", "line": 3 }));
    let refused = world
        .get("/projects/1/pipelines/2/findings?severity=awful")
        .await;
    assert_eq!(refused.status, 400);
}

async fn coverage_comes_from_reports_and_logs(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    let files = world
        .fake
        .files
        .lock()
        .unwrap()
        .keys()
        .cloned()
        .collect::<Vec<_>>();
    let path = files.first().expect("the commit has a file").clone();
    let xml = format!(
        "<coverage><sources><source>/builds/team</source></sources><packages><package><classes>
         <class filename=\"app/{path}\"><lines><line number=\"1\" hits=\"1\"/><line number=\"2\" hits=\"0\"/></lines></class>
         </classes></package></packages></coverage>"
    );
    let uploads = [("cobertura", gzip("c.xml", &xml))];
    run(&world, &runner, &uploads, "Lines: 10%\nLines: 62%\ndone\n").await;
    let job = world.get("/projects/1/jobs/1").await.json();
    assert_eq!(job["coverage"], 62.0);
    let pipeline = get(&world, "1").await;
    assert_eq!(pipeline["coverage"], "62.00");
    let report = get(&world, "1/coverage_report").await;
    assert_eq!(
        (&report["lines"], &report["covered"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        report["jobs"],
        json!([{ "id": 1, "name": "unit", "coverage": 62.0 }])
    );
    let file = json!({ "path": path, "lines": 2, "covered": 1, "percentage": 50.0, "missed": "2" });
    assert_eq!(
        report["files"],
        json!([file]),
        "the path is the repository's"
    );
    assert!(
        world
            .events()
            .await
            .iter()
            .any(|it| it.starts_with("job.reported"))
    );
}

async fn a_bad_report_is_told_and_stops_nothing(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    let uploads = [
        ("junit", b"no gzip at all".to_vec()),
        ("sast", b"{\"vulnerabilities\": [".to_vec()),
        (
            "codequality",
            b"[{\"description\":\"long\",\"location\":{\"path\":\"a\\u0000b\"}}]".to_vec(),
        ),
    ];
    run(&world, &runner, &uploads, "").await;
    let report = get(&world, "1/test_report").await;
    assert_eq!(report["total_count"], 0);
    let error = report["test_suites"][0]["suite_error"].as_str().unwrap();
    assert!(error.ends_with("it is not packed with gzip"), "{error}");
    assert_eq!(get(&world, "1/findings").await.as_array().unwrap().len(), 1);
    // Reading again finds nothing left to do.
    work(&world).await;
    assert_eq!(get(&world, "1/findings").await.as_array().unwrap().len(), 1);
}

async fn results_go_with_their_job_and_pipeline(place: Place) {
    let world = World::new(place, FILE).await;
    let runner = world.runner(json!({})).await;
    let failing = [("junit", gzip("a.xml", &suite(&[("a", false)])))];
    run(&world, &runner, &failing, "").await;
    let retried = world
        .api("developer", "POST", "/projects/1/jobs/1/retry", json!({}))
        .await;
    assert_eq!(retried.status, 201, "{retried:?}");
    assert_eq!(
        get(&world, "1/test_report").await["total_count"],
        0,
        "the new try has no report yet"
    );
    let job = world.start(&runner).await;
    let passing = gzip("a.xml", &suite(&[("a", true)]));
    world
        .upload(&job, "artifact_type=junit&artifact_format=gzip", &passing)
        .await;
    world.put_state(&job, "success").await;
    work(&world).await;
    let report = get(&world, "1/test_report").await;
    assert_eq!(
        (&report["total_count"], &report["success_count"]),
        (&json!(1), &json!(1))
    );
    let erased = world
        .api("developer", "POST", "/projects/1/jobs/2/erase", json!({}))
        .await;
    assert_eq!(erased.status, 201, "{erased:?}");
    assert_eq!(get(&world, "1/test_report").await["test_suites"], json!([]));
    let deleted = world
        .api("root", "DELETE", "/projects/1/pipelines/1", json!({}))
        .await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
}
