//! Whole jobs: source, script, log, caches and artifacts.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rave_runner::SandboxPolicy;
use serde_json::{Value, json};

use crate::{Bench, job, sandbox, shell};

pub(crate) fn git(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args([
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "init.defaultBranch=main",
    ]);
    let output = command
        .args(words)
        .current_dir(dir)
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "git {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned()
}

/// Makes a bare repository with one commit, which a pipeline's ref names, and returns the commit.
pub(crate) fn repository(dir: &Path) -> String {
    let (work, bare) = (dir.join("work"), dir.join("app.git"));
    std::fs::create_dir(&work).expect("made");
    git(&work, &["init", "-q"]);
    std::fs::write(work.join("hello.txt"), "hello from git\n").expect("written");
    git(&work, &["add", "."]);
    git(&work, &["commit", "-q", "-m", "one"]);
    git(dir, &["clone", "-q", "--bare", "work", "app.git"]);
    let commit = git(&bare, &["rev-parse", "HEAD"]);
    git(&bare, &["update-ref", "refs/pipelines/1", &commit]);
    own(&bare);
    commit
}

/// Gives a repository to the user of the sandbox: git reads none that belongs to somebody else.
pub(crate) fn own(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        let id = SandboxPolicy::default().outer_id;
        let owner = format!("{id}:{id}");
        assert!(
            Command::new("chown")
                .args(["-R", &owner])
                .arg(path)
                .status()
                .expect("chown runs")
                .success()
        );
    }
}

pub(crate) fn with_source(mut job: Value, bare: &Path, commit: &str) -> Value {
    let url = format!("file://{}", bare.display());
    let refspecs = [
        "+refs/pipelines/1:refs/pipelines/1",
        "+refs/heads/main:refs/remotes/origin/main",
    ];
    job["git_info"] =
        json!({"repo_url": url, "ref": "main", "sha": commit, "depth": 20, "refspecs": refspecs});
    job["variables"] = json!([]);
    job
}

pub(crate) fn unzip(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip");
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).expect("an entry");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        files.insert(file.name().expect("a name").into_owned(), text);
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_and_a_test_job_work_together() {
    let source = tempfile::tempdir().expect("a directory");
    let commit = repository(source.path());
    let bare = source.path().join("app.git");
    let bench =
        Bench::start(|config| sandbox(config, |it| it.read_only_paths.push(bare.clone()))).await;
    let script = [
        "cat hello.txt",
        "mkdir -p out/deep; echo built > out/deep/app; echo junk > out/x.o",
        "echo new > new.log",
    ];
    let mut build = with_source(job(1, &script), &bare, &commit);
    build["artifacts"] = json!([
        {"name": "$CI_JOB_NAME", "paths": ["out/", "absent"], "exclude": ["**/*.o"], "when": "on_success",
         "expire_in": "1 week", "artifact_type": "archive", "artifact_format": "zip"},
        {"name": "junit.xml", "paths": ["hello.txt"], "when": "always", "artifact_type": "junit", "artifact_format": "gzip"},
        {"name": "untracked", "untracked": true, "when": "always", "artifact_type": "metrics", "artifact_format": "zip"},
        {"name": "no", "paths": ["out"], "when": "on_failure", "artifact_type": "sast", "artifact_format": "raw"},
    ]);
    build["variables"] = json!([{"key": "CI_JOB_NAME", "value": "build"}]);
    build["cache"] = json!([{"key": "deps", "paths": ["out/deep"], "policy": "pull-push", "when": "on_success"}]);
    let built = bench.run(build).await;
    let log = built.log();
    assert_eq!(built.status, "success", "{log}");
    assert!(
        log.contains("hello from git") && log.contains("Checking out"),
        "{log}"
    );
    assert!(log.contains("WARNING: absent"), "{log}");
    let (parameters, filename, archive) = &built.artifacts["archive"];
    assert_eq!(
        (parameters["expire_in"].as_str(), filename.as_str()),
        ("1 week", "build.zip")
    );
    let names: Vec<String> = unzip(archive).into_keys().collect();
    assert_eq!(names, ["out/", "out/deep/", "out/deep/app"]);
    let mut report = String::new();
    let gzipped = &built.artifacts["junit"];
    flate2::read::MultiGzDecoder::new(gzipped.2.as_slice())
        .read_to_string(&mut report)
        .expect("gzip");
    assert_eq!(
        (gzipped.1.as_str(), report.as_str()),
        ("junit.xml.gz", "hello from git\n")
    );
    assert!(unzip(&built.artifacts["metrics"].2).contains_key("new.log"));
    assert!(!built.artifacts.contains_key("sast"));

    let mut test = with_source(
        job(
            2,
            &[
                "cat out/deep/app",
                "[ ! -e new.log ]",
                "git log --oneline | wc -l",
            ],
        ),
        &bare,
        &commit,
    );
    test["dependencies"] = json!([{"id": 1, "name": "build", "token": "glcbt-job-token-2", "artifacts_file": {"filename": "build.zip"}}]);
    test["cache"] =
        json!([{"key": "other", "fallback_keys": ["deps"], "paths": ["out"], "policy": "pull"}]);
    let tested = bench.run(test).await;
    let log = tested.log();
    assert_eq!(tested.status, "success", "{log}");
    assert!(
        log.contains("Reinitialized existing") && log.contains("Restored the cache of deps"),
        "{log}"
    );
    assert!(
        log.contains("\nbuilt\n") && log.contains("Downloading artifacts for build (1)"),
        "{log}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_arrives_whole_masked_and_in_sections() {
    let bench = Bench::start(|config| sandbox(config, |it| it.images = false)).await;
    let mut talk = job(
        1,
        &[
            "for i in $(seq 1 300); do echo line $i; done",
            "printf sec; sleep 0.3; echo ret-value",
            "exit 3",
        ],
    );
    let secret = json!({"key": "PASSWORD", "value": "secret-value", "masked": true});
    talk["variables"]
        .as_array_mut()
        .expect("a list")
        .push(secret);
    talk["image"] = json!({"name": "alpine:3"});
    // The server forgets half of the log, as one that was restored, and the last update is answered by "later".
    bench.server.queue(talk, |it| {
        (it.forget_at, it.delay_final) = (Some(200), true)
    });
    let done = bench.server.finished(1).await;
    let log = done.log();
    assert!(done.resyncs > 0, "the log was at odds once");
    assert_eq!(
        done.states,
        ["running", "failed", "failed"],
        "no checksum was wrong"
    );
    assert_eq!(
        (&done.result["failure_reason"], &done.result["exit_code"]),
        (&"script_failure".into(), &3.into())
    );
    for part in [
        "\nline 1\n",
        "\nline 300\n",
        "[MASKED]\n",
        "alpine:3",
        "ERROR: Job failed: exit status 3",
    ] {
        assert!(log.contains(part), "{part} is missing: {log}");
    }
    assert!(!log.contains("secret-value"), "{log}");
    for section in [
        "prepare_executor",
        "prepare_script",
        "step_script",
        "cleanup_file_variables",
    ] {
        assert_eq!(
            log.matches(&format!(":{section}\r")).count(),
            2,
            "{section}: {log}"
        );
    }
    let info = bench.server.first_request()["info"].clone();
    assert_eq!(
        (
            &info["features"]["cancel_gracefully"],
            &info["features"]["services"]
        ),
        (&true.into(), &false.into())
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_live_gets_the_log_in_its_own_time() {
    let bench = Bench::start_with(false, shell).await;
    let done = bench
        .run(job(1, &["echo once", "sleep 1.5", "echo twice"]))
        .await;
    assert!(
        done.status == "success" && done.log().contains("\ntwice\n"),
        "{}",
        done.log()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_arrives_while_the_script_runs() {
    let bench = Bench::start(|_| {}).await;
    bench.server.queue(
        job(1, &["echo early", "until [ -e go ]; do sleep 0.02; done"]),
        |_| {},
    );
    let running = bench
        .server
        .wait(1, |it| it.log().contains("\nearly\n"))
        .await;
    assert!(!running.is_finished());
    std::fs::write(bench.dir.path().join("data/builds/0/5/team/app/go"), "").expect("written");
    assert_eq!(bench.server.finished(1).await.status, "success");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_reach_the_script() {
    let bench = Bench::start(|config| {
        drop(
            config
                .extra_env
                .insert("FROM_RUNNER".to_owned(), "r".to_owned()),
        )
    })
    .await;
    let script = [
        "echo \"[$GREETING][$RAW][$(cat $FILE)][$FROM_RUNNER][$CI_PROJECT_DIR]\"",
        "echo LATER=passed-on >> $GITLAB_ENV",
        "[ \"$(stat -c %a $FILE)\" = 600 ]",
    ];
    let mut job = job(1, &script);
    job["variables"].as_array_mut().expect("a list").extend([
        json!({"key": "NAME", "value": "world"}),
        json!({"key": "GREETING", "value": "hello $NAME"}),
        json!({"key": "RAW", "value": "$NAME", "raw": true}),
        json!({"key": "FILE", "value": "in $NAME a file", "file": true}),
    ]);
    let after = json!({"name": "after_script", "script": ["echo <$LATER><$CI_JOB_STATUS> | tr '<>' '()'"], "when": "always"});
    let after = serde_json::from_str::<Value>(&after.to_string().replace(
        "echo <$LATER><$CI_JOB_STATUS>",
        "echo \\\"<$LATER><$CI_JOB_STATUS>\\\"",
    ));
    job["steps"]
        .as_array_mut()
        .expect("a list")
        .push(after.expect("a step"));
    let done = bench.run(job).await;
    let log = done.log();
    assert!(
        log.contains("\n[hello world][$NAME][in $NAME a file][r][/builds/team/app]\n"),
        "{log}"
    );
    assert!(log.contains("\n(passed-on)(success)\n"), "{log}");
    assert!(
        !bench
            .dir
            .path()
            .join("data/builds/0/5/team/app.tmp")
            .exists(),
        "file variables are removed"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_a_job_plants_do_not_lead_out() {
    let bench = Bench::start(|_| {}).await;
    let secret = bench.dir.path().join("secret");
    std::fs::write(&secret, "the server's key").expect("written");
    let link = format!(
        "ln -s {} key; ln -s {} dir; echo ok > fine",
        secret.display(),
        bench.dir.path().display()
    );
    let mut plant = job(1, &[&link]);
    plant["artifacts"] = json!([
        {"paths": ["key", "dir/secret", "dir/**", "fine"], "artifact_type": "archive", "artifact_format": "zip"},
        {"paths": ["key"], "artifact_type": "sast", "artifact_format": "raw"},
    ]);
    let done = bench.run(plant).await;
    assert_eq!(done.status, "success", "{}", done.log());
    let files = unzip(&done.artifacts["archive"].2);
    assert_eq!(files.get("fine").map(String::as_str), Some("ok\n"));
    assert!(
        files.values().all(|it| !it.contains("the server's key")),
        "{files:?}"
    );
    assert!(!done.artifacts.contains_key("sast"), "a link is no file");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_side_by_side_and_a_broken_server_is_waited_out() {
    let bench = Bench::start(|config| config.concurrency = 2).await;
    bench.server.break_requests(3);
    for id in [1, 2] {
        bench.server.queue(
            job(id, &["echo ready", "until [ -e go ]; do sleep 0.02; done"]),
            |_| {},
        );
    }
    for id in [1, 2] {
        bench
            .server
            .wait(id, |it| it.log().contains("\nready\n"))
            .await;
    }
    for slot in ["0", "1"] {
        let work = bench
            .dir
            .path()
            .join("data/builds")
            .join(slot)
            .join("5/team/app");
        std::fs::write(work.join("go"), "").expect("written");
    }
    for id in [1, 2] {
        let done = bench.server.finished(id).await;
        assert_eq!(done.status, "success", "{}", done.log());
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_runner_says_so() {
    let server = crate::server::TestServer::start(true).await;
    let dir = tempfile::tempdir().expect("a directory");
    let clock = std::sync::Arc::new(rave_core::time::SystemClock);
    let token = rave_core::secret::Secret::new("glrt-wrong");
    let mut config = rave_runner::RunnerConfig::new(&server.url, token, dir.path(), clock);
    config.executor = rave_runner::ExecutorKind::Shell;
    let runner = rave_runner::Runner::new(config).expect("a runner");
    let refused = runner.verify().await.expect_err("the token is wrong");
    assert_eq!(refused.status().map(|it| it.as_u16()), Some(403));
    let never = tokio_util::sync::CancellationToken::new();
    let ended =
        tokio::time::timeout(Duration::from_secs(30), runner.run(never.clone(), never)).await;
    assert!(
        matches!(ended, Ok(Err(rave_runner::RunnerError::Refused(_)))),
        "{ended:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_logs_in_without_the_token_on_disk_or_in_the_log() {
    let bench = Bench::start(|_| {}).await;
    let mut fetch = job(1, &["true"]);
    let url = bench
        .server
        .url
        .replace("http://", "http://gitlab-ci-token:glcbt-job-token-1@");
    fetch["git_info"] = json!({"repo_url": format!("{url}/team/app.git"), "ref": "main", "sha": "0123456789abcdef"});
    fetch["variables"] = json!([]);
    let done = bench.run(fetch).await;
    // The base64 of gitlab-ci-token:glcbt-job-token-1.
    let logins = bench.server.git_logins();
    let expected = "Basic Z2l0bGFiLWNpLXRva2VuOmdsY2J0LWpvYi10b2tlbi0x";
    assert!(
        !logins.is_empty() && logins.iter().all(|it| it == expected),
        "{logins:?} {}",
        done.log()
    );
    assert_eq!(done.result["failure_reason"], "runner_system_failure");
    let config = std::fs::read_to_string(
        bench
            .dir
            .path()
            .join("data/builds/0/5/team/app/.git/config"),
    )
    .expect("a config");
    assert!(
        config.contains("/team/app.git") && !config.contains("glcbt"),
        "{config}"
    );
    assert!(!done.log().contains("glcbt-job"), "{}", done.log());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_plants_for_git_does_not_run_in_the_next() {
    let source = tempfile::tempdir().expect("a directory");
    let commit = repository(source.path());
    let bare = source.path().join("app.git");
    let bench =
        Bench::start(|config| sandbox(config, |it| it.read_only_paths.push(bare.clone()))).await;
    let plant = [
        "mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch $PWD.tmp/planted; echo planted-hook\\n' > .git/hooks/post-checkout",
        "chmod +x .git/hooks/post-checkout; cp .git/hooks/post-checkout .git/hooks/reference-transaction",
        "git config core.fsmonitor 'echo planted-monitor >&2; false'; git config core.hooksPath .git/hooks",
        "git config filter.evil.smudge 'echo planted-filter'; echo '* filter=evil' > .git/info/attributes || true",
        "git checkout -q HEAD~0 2>&1 | grep planted-hook; rm hello.txt",
    ];
    let planted = bench.run(with_source(job(1, &plant), &bare, &commit)).await;
    assert_eq!(
        planted.status,
        "success",
        "the hook works where it was planted: {}",
        planted.log()
    );
    let next = bench
        .run(with_source(
            job(2, &["cat hello.txt; [ ! -e $PWD.tmp/planted ]"]),
            &bare,
            &commit,
        ))
        .await;
    assert_eq!(next.status, "success", "{}", next.log());
    assert!(
        !next.log().contains("planted-") && next.log().contains("hello from git"),
        "{}",
        next.log()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_working_copy_mends_itself() {
    let source = tempfile::tempdir().expect("a directory");
    let commit = repository(source.path());
    let bare = source.path().join("app.git");
    let bench =
        Bench::start(|config| sandbox(config, |it| it.read_only_paths.push(bare.clone()))).await;
    let break_it = [
        "mkdir -p d/e; touch d/e/f; chmod -R a-w d",
        "chmod -R u+w .git; find .git/objects -type f -delete; echo broken > .git/HEAD; chmod 0 .",
    ];
    // A job that fetches for itself, so that what is broken is all that it has.
    let alone = |id: i64, script: &[&str]| {
        let mut job = with_source(job(id, script), &bare, &commit);
        job["variables"] = json!([{"key": "RAVE_OBJECT_CACHE", "value": "false"}]);
        job
    };
    bench.run(alone(1, &break_it)).await;
    let check = ["cat hello.txt; [ ! -e d ]"];
    let next = bench.run(alone(2, &check)).await;
    assert_eq!(next.status, "success", "{}", next.log());
    assert!(
        next.log().contains("starting from nothing"),
        "{}",
        next.log()
    );
    let locked = ["mkdir -p d/e; touch d/e/f; chmod -R a-w d"];
    bench
        .run(with_source(job(3, &locked), &bare, &commit))
        .await;
    let next = bench.run(with_source(job(4, &check), &bare, &commit)).await;
    assert_eq!(next.status, "success", "{}", next.log());
    assert!(
        !next.log().contains("starting from nothing"),
        "{}",
        next.log()
    );
    bench.stop().await;
}

/// A directory that other users may pass through, unlike those of `tempfile`.
fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("opened");
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_runs_jobs_as_the_user_that_it_is_told() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can; what others are told is the next test's.
        return;
    }
    let dir = open_directory();
    let builds = dir.path().join("builds");
    let bench = Bench::start(|config| {
        shell(config);
        config.shell_user = Some("nobody".to_owned());
        config.builds_dir = builds;
    })
    .await;
    let mut work = job(
        1,
        &[
            "id -un; echo \"$USER\"; echo made > file; cat \"$SECRET_FILE\"",
            "! ls /root 2> /dev/null",
            "(setsid sleep 7123 &) ",
        ],
    );
    work["variables"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"key": "SECRET_FILE", "value": "file variable", "file": true}));
    work["artifacts"] = json!([{"name": "made", "paths": ["file"], "artifact_type": "archive", "artifact_format": "zip"}]);
    let done = bench.run(work).await;
    assert_eq!(done.status, "success", "{}", done.log());
    assert!(
        done.log().contains("\nnobody\nnobody\nfile variable"),
        "{}",
        done.log()
    );
    crate::gone("7123").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_shell_who_cannot_be_had_is_named_at_the_start() {
    let dir = open_directory();
    let start = |user: &str| {
        let clock = std::sync::Arc::new(rave_core::time::SystemClock);
        let token = rave_core::secret::Secret::new("glrt-any");
        let mut config =
            rave_runner::RunnerConfig::new("http://127.0.0.1:1", token, dir.path(), clock);
        config.executor = rave_runner::ExecutorKind::Shell;
        config.shell_user = Some(user.to_owned());
        let runner = rave_runner::Runner::new(config).expect("a runner");
        let never = tokio_util::sync::CancellationToken::new();
        runner.run(never.clone(), never)
    };
    let error = start("no-such-user").await.expect_err("refused");
    let text = format!("{error:?}");
    assert!(text.contains("no-such-user"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_requests_are_open_as_the_configuration_says() {
    let bench = Bench::start(|config| {
        shell(config);
        config.memory.profile = Some(rave_runner::Profile::Full);
        (config.concurrency, config.request_concurrency) = (3, 2);
    })
    .await;
    bench.server.open_requests(2).await;
    for id in 1..=3 {
        assert_eq!(bench.run(job(id, &["true"])).await.status, "success");
    }
    assert_eq!(bench.server.open_requests(2).await, 2, "never more");
    bench.stop().await;
}
