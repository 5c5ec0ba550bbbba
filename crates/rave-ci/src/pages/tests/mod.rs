//! Pages through the wire: what they show, to whom, and how they follow what happens.

mod live;
mod results;
mod settings;
mod world;

use std::io::Write as _;

use rave_core::id::{JobId, PipelineId, ProjectId, RunnerId};
use rave_core::job::{FailureReason, JobEvent, JobState, When};
use rave_core::time::Timestamp;

use crate::error::CiError;
use crate::model::{Artifact, ArtifactFormat, Audience, Job};
use crate::store;
use world::{World, target, text};

/// A job that was just made.
pub(super) fn job(position: usize, stage_index: usize, name: &str) -> Job {
    Job {
        id: JobId(i64::try_from(position).unwrap() + 1),
        pipeline: PipelineId(1),
        project: ProjectId(1),
        position,
        name: name.into(),
        stage: format!("stage {stage_index}"),
        stage_index,
        needs: None,
        when: When::OnSuccess,
        bridge: false,
        interruptible: false,
        resource_group: None,
        tags: Vec::new(),
        state: JobState::Created,
        runner: None,
        allow_failure: false,
        exit_code: None,
        retried: false,
        user: None,
        timeout_ms: 1000,
        created_at: Timestamp(0),
        queued_at: None,
        started_at: None,
        finished_at: None,
        trace_bytes: 0,
        erased_at: None,
        coverage: None,
        usage: None,
    }
}

const FILE: &str = "stages: [build, test, release]
build:
  stage: build
  script: [make]
unit:
  stage: test
  needs: [build]
  tags: [docker]
  script: [make check]
deploy:
  stage: release
  when: manual
  script: [make install]
";

#[tokio::test]
async fn the_list_explains_itself_and_then_shows_pipelines() {
    let world = World::new(FILE).await;
    let empty = world.page("developer", "/team/app/-/pipelines").await;
    assert!(
        empty.contains("No pipelines yet") && empty.contains(".gitlab-ci.yml"),
        "{empty}"
    );
    let pipeline = world.pipeline().await;
    let list = world.page("developer", "/team/app/-/pipelines").await;
    assert!(
        list.contains("Greet &lt;everyone&gt;"),
        "the commit's title, escaped: {list}"
    );
    assert!(
        list.contains("Name of developer") && list.contains("9f8e7d6c"),
        "{list}"
    );
    assert!(list.contains(&format!("/team/app/-/pipelines/{}", pipeline.id)));
    assert!(
        list.contains("title=\"build: pending\"") && list.contains("title=\"release: created\""),
        "{list}"
    );
    let other = world
        .page("developer", "/team/app/-/pipelines?ref=none")
        .await;
    assert!(other.contains("No such pipelines"), "{other}");
}

#[tokio::test]
async fn a_pipeline_shows_its_graph_and_why_jobs_wait() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await;
    let address = format!("/team/app/-/pipelines/{}", pipeline.id);
    let page = world.page("developer", &address).await;
    assert!(
        page.contains("id=\"node-0\"") && page.contains("class=\"edge\""),
        "{page}"
    );
    assert!(page.contains("no runner is registered"), "{page}");
    assert!(page.contains("Waits for build. "), "{page}");
    assert!(
        page.contains(&format!("data-live=\"{address}/live?seen=")),
        "{page}"
    );
    assert!(
        page.contains(&format!("action=\"{address}/cancel\"")),
        "{page}"
    );
    let reader = world.page("reporter", &address).await;
    assert!(
        !reader.contains("<form method=\"post\" action=\"/team"),
        "no buttons for readers: {reader}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_valid_shows_where() {
    let world = World::new("stages: [test]\nbuild:\n  stage: test\n  scirpt: [make]\n").await;
    let (status, form) = text(
        world
            .send(
                "developer",
                "POST",
                "/team/app/-/pipelines",
                "ref=main",
                &[],
            )
            .await,
    )
    .await;
    assert_eq!(status, 422, "nobody waits for such a pipeline");
    assert!(
        form.contains(".gitlab-ci.yml:2:1") && form.contains("value=\"main\""),
        "{form}"
    );

    world.push().await;
    let list = world.page("reporter", "/team/app/-/pipelines").await;
    assert!(list.contains("file is not valid"), "{list}");
    let page = world.page("reporter", "/team/app/-/pipelines/1").await;
    assert!(page.contains("its file has an error"), "{page}");
    let place = format!("href=\"/team/app/-/blob/{}/.gitlab-ci.yml#L2\"", world::SHA);
    assert!(
        page.contains(&place) && page.contains("<mark>build</mark>"),
        "{page}"
    );
    assert!(!page.contains("data-live"), "nothing more comes");
}

#[tokio::test]
async fn a_pipeline_is_started_with_variables() {
    let world = World::new(FILE).await;
    let form = world.page("developer", "/team/app/-/pipelines/new").await;
    assert!(form.contains("name=\"ref\" value=\"main\""), "{form}");
    let post = async |body: &str| {
        world
            .send("developer", "POST", "/team/app/-/pipelines", body, &[])
            .await
    };
    let made = post(
        "ref=main&variables_key[]=A&variables_key[]=&variables_value[]=1%202&variables_value[]=",
    )
    .await;
    assert_eq!(target(&made), "/team/app/-/pipelines/1");
    let access = world.access().also().unwrap();
    let (variables, _) = world
        .ci
        .load_inputs(&access, rave_core::id::PipelineId(1))
        .await
        .unwrap();
    let pairs: Vec<_> = variables
        .iter()
        .map(|it| (it.key.as_str(), it.value.as_str()))
        .collect();
    assert_eq!(pairs, [("A", "1 2")]);
    let (status, page) = text(post("ref=gone&variables_key[]=A-B&variables_value[]=1").await).await;
    assert_eq!(status, 422);
    assert!(
        page.contains("`A-B` is no name of a variable") && page.contains("value=\"gone\""),
        "{page}"
    );
    assert_eq!(text(post("ref=gone").await).await.0, 422);
}

#[tokio::test]
async fn a_failed_job_says_why_and_shows_its_log() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    world.start(pipeline, job).await;
    world
        .log(job, "\x1b[32;1m$ make\x1b[0;m\n<b>not bold</b>\n")
        .await;
    let event = JobEvent::Fail(FailureReason::ScriptFailure);
    world.happen(pipeline, job, event, Some(127)).await;

    let address = format!("/team/app/-/jobs/{job}");
    let page = world.page("developer", &address).await;
    assert!(
        page.contains("<span class=\"c2 b\">$ make</span>"),
        "{page}"
    );
    assert!(
        page.contains("&lt;b&gt;not bold&lt;/b&gt;") && page.contains("href=\"#L2\""),
        "{page}"
    );
    assert!(
        page.contains("exit code 127") && page.contains("A command was not found"),
        "{page}"
    );
    assert!(!page.contains("data-live"), "nothing more comes");

    let raw = world
        .send("developer", "GET", &format!("{address}/raw"), "", &[])
        .await;
    assert_eq!(raw.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(
        raw.headers()["content-security-policy"],
        "default-src 'none'; sandbox"
    );
    assert_eq!(
        text(raw).await.1,
        "\x1b[32;1m$ make\x1b[0;m\n<b>not bold</b>\n"
    );

    let list = world
        .page("reporter", "/team/app/-/jobs?scope=finished")
        .await;
    assert!(
        list.contains(&address) && list.contains("exit code 127"),
        "{list}"
    );
    assert!(
        world
            .page("reporter", "/team/app/-/jobs?scope=running")
            .await
            .contains("No jobs")
    );
}

#[tokio::test]
async fn of_a_long_log_the_end_is_shown_with_its_numbers() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    world.start(pipeline, job).await;
    world
        .log(job, "section_start:1:all\r\x1b[0KEverything\n")
        .await;
    let line = format!("{}\n", "x".repeat(999));
    for _ in 0..6 {
        world.log(job, &line.repeat(500)).await;
    }
    let page = world
        .page("reporter", &format!("/team/app/-/jobs/{job}"))
        .await;
    assert!(
        page.contains("are not shown"),
        "a note with a link to all of it"
    );
    assert!(
        page.contains("id=\"L3001\"") && !page.contains("id=\"L2\""),
        "numbers count from the beginning"
    );
    assert!(
        page.contains("Everything"),
        "the section that the shown part lies in"
    );
    let raw = text(
        world
            .send(
                "reporter",
                "GET",
                &format!("/team/app/-/jobs/{job}/raw"),
                "",
                &[],
            )
            .await,
    )
    .await
    .1;
    assert_eq!(raw.lines().count(), 3001);
}

#[tokio::test]
async fn logs_in_debug_mode_are_for_developers() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    world.start(pipeline, job).await;
    world.log(job, "TOKEN=hush\n").await;
    let write = world.ci.db.write("test_debug", move |tx| {
        let sql = "UPDATE ci_job SET trace_debug = 1 WHERE id = $1";
        Ok::<_, CiError>(tx.execute(sql, rave_store::params![job.0])?)
    });
    assert_eq!(write.await.unwrap(), 1);
    let address = format!("/team/app/-/jobs/{job}");
    let page = world.page("reporter", &address).await;
    assert!(
        page.contains("debug mode") && !page.contains("hush"),
        "{page}"
    );
    for tail in ["raw", "live"] {
        assert_eq!(
            world
                .status("reporter", "GET", &format!("{address}/{tail}"))
                .await,
            403
        );
    }
    assert!(world.page("developer", &address).await.contains("hush"));
}

#[tokio::test]
async fn buttons_do_what_they_say() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    let press = async |path: String, referer: &str| {
        world
            .send("developer", "POST", &path, "", &[("referer", referer)])
            .await
    };
    let list = "http://rave.test/team/app/-/pipelines";
    let canceled = press(format!("/team/app/-/jobs/{job}/cancel"), list).await;
    assert_eq!(
        target(&canceled),
        "/team/app/-/pipelines",
        "back to where the button was"
    );
    let address = format!("/team/app/-/jobs/{job}");
    assert!(world.page("developer", &address).await.contains("canceled"));

    let retried = press(
        format!("{address}/retry"),
        &format!("http://rave.test{address}"),
    )
    .await;
    let newer = world.job(pipeline, "build").await;
    assert_ne!(newer, job);
    assert_eq!(
        target(&retried),
        format!("/team/app/-/jobs/{newer}"),
        "on to the new try"
    );
    assert!(
        world
            .page("developer", &address)
            .await
            .contains("A newer try took this job")
    );

    world.start(pipeline, newer).await;
    world.log(newer, "secret words\n").await;
    world.happen(pipeline, newer, JobEvent::Succeed, None).await;
    let erased = press(format!("/team/app/-/jobs/{newer}/erase"), "").await;
    let page = world.page("developer", target(&erased)).await;
    assert!(
        page.contains("The log was erased") && !page.contains("secret words"),
        "{page}"
    );
    let stopped = press(format!("/team/app/-/pipelines/{pipeline}/cancel"), "").await;
    assert_eq!(
        target(&stopped),
        format!("/team/app/-/pipelines/{pipeline}")
    );
}

#[tokio::test]
async fn who_may_not_see_learns_nothing() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    for tail in [
        "",
        "/live",
        "/raw",
        "/artifacts/browse",
        "/artifacts/file/x",
        "/artifacts/download",
    ] {
        let other = format!("/other/app/-/jobs/{job}{tail}");
        assert_eq!(
            world.status("developer", "GET", &other).await,
            404,
            "{other}"
        );
        let own = format!("/team/app/-/jobs/{job}{tail}");
        assert_eq!(world.status("stranger", "GET", &own).await, 404, "{own}");
    }
    for path in [
        format!("/other/app/-/pipelines/{pipeline}"),
        format!("/other/app/-/pipelines/{pipeline}/live"),
    ] {
        assert_eq!(world.status("developer", "GET", &path).await, 404, "{path}");
    }
    for action in ["cancel", "retry", "play", "erase"] {
        let own = format!("/team/app/-/jobs/{job}/{action}");
        assert_eq!(world.status("reporter", "POST", &own).await, 403, "{own}");
        let other = format!("/other/app/-/jobs/{job}/{action}");
        assert_eq!(
            world.status("developer", "POST", &other).await,
            404,
            "{other}"
        );
    }
    assert_eq!(
        world
            .status("reporter", "GET", "/team/app/-/pipelines/new")
            .await,
        403
    );
    assert_eq!(
        world.status("", "GET", "/team/app/-/pipelines").await,
        303,
        "to the login"
    );
    assert_eq!(
        world
            .status("developer", "GET", "/team/app/-/jobs/abc")
            .await,
        404
    );
}

async fn leave_archive(world: &World, job: JobId, audience: Audience) {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (path, content) in [
        ("dist/page.html", b"<script>alert(1)</script>".as_slice()),
        ("dist/tool", b"\x7fELF\0\0"),
        ("notes.txt", "für später".as_bytes()),
    ] {
        zip.start_file(path, options).unwrap();
        zip.write_all(content).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let stream = futures_util::stream::iter([Ok(bytes::Bytes::from(bytes))]);
    let stored = world
        .ci
        .blobs
        .put(Box::pin(stream), rave_blob::PutOptions::at_most(1 << 20))
        .await
        .unwrap();
    let artifact = Artifact {
        job,
        file_type: "archive".into(),
        format: ArtifactFormat::Zip,
        filename: "artifacts.zip".into(),
        digest: stored.digest,
        size_bytes: stored.size_bytes,
        audience,
        expire_at: None,
    };
    let project = rave_core::id::ProjectId(1);
    let write = world.ci.db.write("test_artifact", move |tx| {
        Ok::<_, CiError>(store::artifact::insert(tx, project, &artifact)?)
    });
    assert!(write.await.unwrap());
}

#[tokio::test]
async fn artifacts_are_browsed_and_never_run() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    let address = format!("/team/app/-/jobs/{job}/artifacts");
    assert_eq!(
        world
            .status("reporter", "GET", &format!("{address}/browse"))
            .await,
        404
    );
    leave_archive(&world, job, Audience::All).await;

    let top = world.page("reporter", &format!("{address}/browse")).await;
    assert!(
        top.contains(&format!("{address}/browse/dist"))
            && top.contains(&format!("{address}/file/notes.txt")),
        "{top}"
    );
    let folder = world
        .page("reporter", &format!("{address}/browse/dist"))
        .await;
    assert!(
        folder.contains(&format!("{address}/file/dist/page.html")),
        "{folder}"
    );

    let page = world
        .send(
            "reporter",
            "GET",
            &format!("{address}/file/dist/page.html"),
            "",
            &[],
        )
        .await;
    assert_eq!(page.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(
        page.headers()["content-security-policy"],
        "default-src 'none'; sandbox"
    );
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert_eq!(text(page).await.1, "<script>alert(1)</script>");
    let tool = world
        .send(
            "reporter",
            "GET",
            &format!("{address}/file/dist/tool"),
            "",
            &[],
        )
        .await;
    assert_eq!(
        tool.headers()["content-disposition"],
        "attachment; filename*=UTF-8''tool"
    );
    assert_eq!(
        world
            .status("reporter", "GET", &format!("{address}/file/dist"))
            .await,
        404
    );
    assert_eq!(
        world
            .status("reporter", "GET", &format!("{address}/file/../etc"))
            .await,
        404
    );
    let whole = world
        .send("reporter", "GET", &format!("{address}/download"), "", &[])
        .await;
    assert_eq!(
        whole.headers()["content-disposition"],
        "attachment; filename*=UTF-8''artifacts%2Ezip"
    );
    assert!(
        world
            .page("reporter", &format!("/team/app/-/jobs/{job}"))
            .await
            .contains("artifacts.zip")
    );
}

#[tokio::test]
async fn artifacts_for_developers_are_for_developers() {
    let world = World::new(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    leave_archive(&world, job, Audience::Developer).await;
    for tail in ["browse", "download", "file/notes.txt"] {
        let path = format!("/team/app/-/jobs/{job}/artifacts/{tail}");
        assert_eq!(world.status("reporter", "GET", &path).await, 403, "{path}");
        assert_eq!(world.status("developer", "GET", &path).await, 200, "{path}");
    }
}

#[tokio::test]
async fn administrators_manage_runners() {
    let world = World::new(FILE).await;
    for (method, path) in [
        ("GET", "/-/admin/runners"),
        ("POST", "/-/admin/runners"),
        ("POST", "/-/admin/runners/1/delete"),
    ] {
        assert_eq!(
            world.status("developer", method, path).await,
            404,
            "{method} {path}"
        );
    }
    let empty = world.page("root", "/-/admin/runners").await;
    assert!(empty.contains("No runners"), "{empty}");
    let form = "description=basement&tag_list=linux,+nix&run_untagged=true";
    let (status, made) = text(
        world
            .send("root", "POST", "/-/admin/runners", form, &[])
            .await,
    )
    .await;
    assert_eq!(status, 200);
    for command in [
        "rave runner register --url http://rave.test --token glrt-",
        "gitlab-runner register --non-interactive --url http://rave.test --token glrt-",
    ] {
        assert!(made.contains(command), "{made}");
    }
    let list = world.page("root", "/-/admin/runners").await;
    assert!(
        list.contains("basement") && list.contains("never contacted") && !list.contains("glrt-"),
        "{list}"
    );
    let wrong = "description=none&tag_list=+,+&maximum_timeout=soon";
    let (status, refused) = text(
        world
            .send("root", "POST", "/-/admin/runners", wrong, &[])
            .await,
    )
    .await;
    assert_eq!(status, 422);
    assert!(refused.contains("is a number of minutes"), "{refused}");
    let form = world.page("root", "/-/admin/runners/1/edit").await;
    assert!(form.contains("value=\"linux, nix\""), "{form}");
    let form =
        "description=attic&tag_list=&run_untagged=true&maximum_timeout=30&maintenance_note=dusty";
    let changed = world
        .send("root", "POST", "/-/admin/runners/1", form, &[])
        .await;
    assert_eq!(target(&changed), "/-/admin/runners/1");
    let shown = world.page("root", "/-/admin/runners/1").await;
    for part in [
        "attic",
        "dusty",
        "jobs run at most 30m 00s",
        "No machine has used its token",
        "has not run any",
    ] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    let reset = world
        .send("root", "POST", "/-/admin/runners/1/reset", "", &[])
        .await;
    assert!(text(reset).await.1.contains("glrt-"));
    let paused = world
        .send("root", "POST", "/-/admin/runners/1/pause", "", &[])
        .await;
    assert_eq!(target(&paused), "/-/admin/runners");
    assert!(
        world
            .page("root", "/-/admin/runners")
            .await
            .contains("/-/admin/runners/1/resume")
    );
    let deleted = world
        .send("root", "POST", "/-/admin/runners/1/delete", "", &[])
        .await;
    assert_eq!(target(&deleted), "/-/admin/runners");
    assert!(
        world
            .page("root", "/-/admin/runners")
            .await
            .contains("No runners")
    );
}

#[tokio::test]
async fn groups_and_projects_have_runners_of_their_own() {
    let world = World::new(FILE).await;
    for (place, empty) in [
        ("/team/app/-/runners", "No runners"),
        ("/-/groups/1/runners", "No runners"),
    ] {
        assert!(world.page("root", place).await.contains(empty));
    }
    for place in [
        "/team/app/-/runners",
        "/-/groups/1/runners",
        "/-/admin/runners",
    ] {
        let form = format!("description=made+at+{}&run_untagged=true", place.len());
        let made = world.send("root", "POST", place, &form, &[]).await;
        assert_eq!(made.status(), 200);
    }
    let list = world.page("root", "/team/app/-/runners").await;
    let (own, shared) = list.split_once("Shared with others").expect("two lists");
    assert!(own.contains("#1 made at 19"), "{own}");
    assert!(shared.contains("#3 made at 16"), "{shared}");
    assert!(!shared.contains("/-/runners/3/delete"), "{shared}");
    // A runner is managed where it belongs.
    let path = "/-/groups/1/runners/2";
    assert!(world.page("root", path).await.contains("made at 19"));
    assert_eq!(
        world.status("root", "GET", "/team/app/-/runners/2").await,
        404
    );
    assert_eq!(
        world
            .status("developer", "GET", "/team/app/-/runners")
            .await,
        403
    );
}

#[tokio::test]
async fn pages_ask_both_engines_alike() {
    let world = World::on_postgres(FILE).await;
    let pipeline = world.pipeline().await.id;
    let job = world.job(pipeline, "build").await;
    let form = "description=basement&run_untagged=true";
    let made = world
        .send("root", "POST", "/-/admin/runners", form, &[])
        .await;
    assert_eq!(made.status(), 200);
    world
        .happen(pipeline, job, JobEvent::Assign(RunnerId(1)), None)
        .await;
    world.happen(pipeline, job, JobEvent::Start, None).await;
    world.log(job, "hello\n").await;
    let list = world.page("reporter", "/team/app/-/pipelines").await;
    assert!(list.contains("title=\"build: running\""), "{list}");
    let page = world
        .page("reporter", &format!("/team/app/-/jobs/{job}"))
        .await;
    assert!(
        page.contains("hello") && page.contains("#1 basement"),
        "{page}"
    );
    let runners = world.page("root", "/-/admin/runners").await;
    assert!(
        runners.contains(&format!("team/app: build #{job}")),
        "{runners}"
    );
}
