//! What pages show of what a pipeline found out, and of pipelines with many jobs.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use rave_core::id::{JobId, PipelineId};
use rave_core::job::JobEvent;
use rave_store::Worker as _;

use super::world::World;
use crate::error::CiError;
use crate::model::{Artifact, ArtifactFormat, Audience};
use crate::store;
use crate::worker::reports::Reports;

const FILE: &str = "unit:\n  stage: test\n  script: [x]\n  artifacts: {paths: [out/], expose_as: The manual, reports: {junit: r.xml}}\n";

/// Leaves an artifact as an upload does.
async fn leave(world: &World, job: JobId, file_type: &str, bytes: &'static [u8]) {
    let body = stream::iter([Ok(Bytes::from_static(bytes))]).boxed();
    let stored = world
        .ci
        .blobs
        .put(body, rave_blob::PutOptions::at_most(1 << 20))
        .await
        .unwrap();
    let artifact = Artifact {
        job,
        file_type: file_type.into(),
        format: ArtifactFormat::Raw,
        filename: format!("{file_type}.bin"),
        digest: stored.digest,
        size_bytes: stored.size_bytes,
        audience: Audience::All,
        expire_at: None,
    };
    world
        .ci
        .db
        .write("test_leave", move |tx| {
            let project = rave_core::id::ProjectId(1);
            assert!(store::artifact::insert(tx, project, &artifact)?);
            Ok::<_, CiError>(())
        })
        .await
        .unwrap();
}

/// Runs the job of a new pipeline, which leaves these reports.
async fn run(world: &World, reports: &[(&str, &'static [u8])]) -> PipelineId {
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "unit").await;
    world.start(pipeline, job).await;
    for (kind, bytes) in reports {
        leave(world, job, kind, bytes).await;
    }
    world.happen(pipeline, job, JobEvent::Succeed, None).await;
    Reports::new(world.ci.clone()).step().await.unwrap();
    pipeline
}

const FIRST: &[u8] = br#"<testsuite name="s"><testcase classname="Cart" name="adds"/><testcase classname="Cart" name="pays" file="src/cart.rs" line="7"><failure>it &lt;fails&gt;</failure></testcase><testcase classname="Cart" name="breaks"/></testsuite>"#;
const SECOND: &[u8] = br#"<testsuite name="s"><testcase classname="Cart" name="adds"/><testcase classname="Cart" name="pays"/><testcase classname="Cart" name="breaks"><error>boom</error></testcase></testsuite>"#;
const QUALITY: &[u8] = br#"[{"description":"Too <long>","check_name":"len","severity":"major","fingerprint":"1","location":{"path":"src/a.rs","lines":{"begin":3}}}]"#;

#[tokio::test]
async fn tests_show_what_changed_since_the_last_pipeline() {
    let world = World::new(FILE).await;
    run(&world, &[("junit", FIRST)]).await;
    let page = world
        .page("reporter", "/team/app/-/pipelines/1/test_report")
        .await;
    assert!(
        page.contains("1 failed") && page.contains("it &lt;fails&gt;"),
        "{page}"
    );
    let place = format!(
        "href=\"/team/app/-/blob/{}/src/cart.rs#L7\"",
        super::world::SHA
    );
    assert!(page.contains(&place), "{page}");
    assert!(
        !page.contains("Compared with"),
        "there is nothing to compare with: {page}"
    );

    run(&world, &[("junit", SECOND)]).await;
    let address = "/team/app/-/pipelines/2/test_report";
    let page = world.page("reporter", address).await;
    assert!(page.contains("1 newly failing, 1 fixed"), "{page}");
    let first = page.find("class=\"test").unwrap();
    assert!(
        page[first..].find("breaks") < page[first..].find("adds"),
        "failing tests come first: {page}"
    );
    assert!(
        page.contains("<span class=\"tag new\">new</span>"),
        "{page}"
    );
    assert!(
        page.contains("title=\"#1: success\""),
        "the past of the test: {page}"
    );
    let shown = async |query: &str| {
        let page = world.page("reporter", &format!("{address}?{query}")).await;
        let names = ["adds", "pays", "breaks"].into_iter();
        let shown = |name: &&str| page.contains(&format!("<span class=\"title\">{name}</span>"));
        names.filter(shown).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown("show=fixed").await, "pays");
    assert_eq!(shown("show=new").await, "breaks");
    assert_eq!(shown("show=existing").await, "");
    assert_eq!(shown("q=CART.P").await, "pays");
    assert_eq!(shown("job=unit&show=failing").await, "breaks");
    assert_eq!(shown("job=other").await, "");
}

#[tokio::test]
async fn findings_and_reports_lead_to_their_places() {
    let world = World::new(FILE).await;
    let reports: [(&str, &[u8]); 5] = [
        ("codequality", QUALITY),
        ("sast", b"{\"vulnerabilities\": []}"),
        ("terraform", br#"{"create":2,"update":0,"delete":1}"#),
        ("cobertura", b"not xml"),
        ("archive", b"zip"),
    ];
    run(&world, &reports).await;
    let page = world
        .page("reporter", "/team/app/-/pipelines/1/findings")
        .await;
    assert!(
        page.contains("Too &lt;long&gt;") && page.contains("1 medium"),
        "{page}"
    );
    let place = format!(
        "href=\"/team/app/-/blob/{}/src/a.rs#L3\"",
        super::world::SHA
    );
    assert!(page.contains(&place), "{page}");
    let none = world
        .page("reporter", "/team/app/-/pipelines/1/findings?kind=sast")
        .await;
    assert!(!none.contains("Too &lt;long&gt;"), "{none}");
    let coverage = world
        .page("reporter", "/team/app/-/pipelines/1/coverage")
        .await;
    assert!(coverage.contains("cannot be read"), "{coverage}");
    let lists = world
        .page("reporter", "/team/app/-/pipelines/1/reports")
        .await;
    assert!(
        lists.contains("Terraform") && lists.contains("create"),
        "{lists}"
    );
    let job = world.page("reporter", "/team/app/-/jobs/1").await;
    assert!(
        job.contains("It cannot be read") && job.contains("Code quality"),
        "{job}"
    );
    assert!(
        job.contains("artifacts/download?file_type=codequality"),
        "{job}"
    );
    let graph = world.page("reporter", "/team/app/-/pipelines/1").await;
    assert!(graph.contains("The manual"), "{graph}");
    assert!(
        graph.contains("href=\"/team/app/-/jobs/1/artifacts/browse/out\""),
        "{graph}"
    );
}

#[tokio::test]
async fn pages_without_results_say_how_to_get_some() {
    let world = World::new(FILE).await;
    world.pipeline().await;
    for (tail, expected) in [
        ("test_report", "No test reports"),
        ("findings", "No findings"),
        ("coverage", "No coverage"),
        ("reports", "No such reports"),
        ("needs", "No needs"),
        ("builds", "id=\"job-0\""),
    ] {
        let page = world
            .page("reporter", &format!("/team/app/-/pipelines/1/{tail}"))
            .await;
        assert!(page.contains(expected), "{tail}: {page}");
        assert!(page.contains("data-live="), "{tail} follows the pipeline");
    }
}

#[tokio::test]
async fn copies_of_a_job_are_one_box_that_opens() {
    let world = World::new("unit:\n  stage: test\n  parallel: 3\n  script: [x]\nlast:\n  stage: test\n  needs: [unit]\n  script: [x]\n").await;
    let pipeline = world.pipeline().await.id;
    let page = world.page("developer", "/team/app/-/pipelines/1").await;
    assert!(
        page.contains("id=\"group-0\"") && page.contains("0 of 3 done"),
        "{page}"
    );
    assert!(
        page.contains("popovertarget=\"members-0\"") && page.contains("id=\"members-0\""),
        "{page}"
    );
    assert_eq!(page.matches("class=\"edge\"").count(), 1, "{page}");
    assert!(
        page.contains("data-from=\"group-0\" data-to=\"node-3\""),
        "{page}"
    );
    assert!(
        page.contains("Waits for unit 1/3, unit 2/3 and unit 3/3"),
        "{page}"
    );
    let job = world.job(pipeline, "unit 2/3").await;
    world.start(pipeline, job).await;
    let reason = rave_core::job::FailureReason::ScriptFailure;
    world
        .happen(pipeline, job, JobEvent::Fail(reason), Some(1))
        .await;
    let page = world.page("developer", "/team/app/-/pipelines/1").await;
    assert!(page.contains("1 failed, 1 of 3 done"), "{page}");
    assert!(
        page.contains("<span>Running for <span data-since="),
        "{page}"
    );
    assert!(
        page.contains(&format!("formaction=\"/team/app/-/jobs/{job}/retry\"")),
        "{page}"
    );
    let needs = world
        .page("developer", "/team/app/-/pipelines/1/needs")
        .await;
    assert!(
        needs.contains("id=\"need-3\"") && needs.contains("all earlier stages"),
        "{needs}"
    );
}

#[tokio::test]
async fn a_pipeline_of_a_thousand_jobs_makes_pages_of_a_sane_size() {
    let mut file = String::from("stages: [build, test, deploy]\n.base:\n  script: [x]\n");
    for number in 0..1000 {
        let stage = ["build", "test", "deploy"][number / 334];
        let needs = match number {
            0..334 => String::new(),
            _ => format!(
                "  needs: [job{}, job{}]\n",
                number - 334,
                (number + 1) % 334
            ),
        };
        file.push_str(&format!(
            "job{number}:\n  stage: {stage}\n  extends: .base\n{needs}"
        ));
    }
    let world = World::new(&file).await;
    world.pipeline().await;
    for tail in ["", "/builds", "/needs"] {
        let page = world
            .page("developer", &format!("/team/app/-/pipelines/1{tail}"))
            .await;
        assert!(page.contains("job999"), "{tail}");
        assert!(page.len() < 1_000_000, "{tail} has {} bytes", page.len());
    }
}
