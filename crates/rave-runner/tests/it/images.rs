//! Jobs in images: pulled from a real registry, run in the sandbox.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rave_runner::{PullPolicy, RunnerConfig};
use serde_json::{Value, json};

use crate::registry::{Fault, Gate, PASSWORD, Registry, busybox, layer};
use crate::{Bench, as_ordinary_user, job};

fn in_image(id: i64, image: &str, script: &[&str]) -> Value {
    let mut job = job(id, script);
    job["image"] = json!({"name": image});
    job["features"]["failure_reasons"] =
        json!(["image_pull_failure", "runner_configuration_error"]);
    job
}

fn with_variable(mut job: Value, key: &str, value: &str) -> Value {
    let variables = job["variables"].as_array_mut().expect("a list");
    variables.push(json!({"key": key, "value": value}));
    job
}

fn chooses(policies: &[PullPolicy]) -> impl FnOnce(&mut RunnerConfig) {
    let policies = policies.to_vec();
    move |config| config.images.pull_policies = policies
}

/// Runs jobs in an image of two layers, the second of which deletes and replaces.
async fn check_image() {
    let registry = Registry::start();
    let first = layer(&[
        ("data/gone", "x"),
        ("data/kept", "kept"),
        ("data/new", "old"),
        ("opaque/below", "x"),
    ]);
    let second = layer(&[
        ("data/.wh.gone", ""),
        ("data/new", "new"),
        ("opaque/.wh..wh..opq", ""),
        ("opaque/above", "x"),
    ]);
    let config =
        json!({"Env": ["PATH=/bin:/special", "FROM_IMAGE=yes it is"], "WorkingDir": "/data"});
    registry
        .push(
            "team/app",
            "1",
            &[busybox(), first.clone(), second, first_again()],
            config,
        )
        .await;
    let name = format!("{}/team/app:1", registry.host);
    let bench = Bench::start(|_| {}).await;
    let expect = |what: &str, probe: &str| {
        format!("if {probe}; then echo 'holds: {what}'; else echo 'BROKEN: {what}'; fi")
    };
    let probes = [
        expect(
            "the layers",
            "[ \"$(cat /data/new /data/kept)\" = newkept ] && [ ! -e /data/gone ]",
        ),
        expect("an opaque directory", "[ \"$(ls /opaque)\" = above ]"),
        expect(
            "nothing of the machine",
            "! command -v git && [ ! -e /usr ]",
        ),
        expect(
            "its environment",
            "[ \"$FROM_IMAGE\" = 'yes it is' ] && [ \"$PATH\" = /bin:/special ]",
        ),
        expect("root", "[ \"$(id -u)\" = 0 ] && [ \"$HOME\" = /root ]"),
        expect(
            "a place to work",
            "[ \"$(pwd)\" = /builds/team/app ] && echo 1 > file && echo 1 > /tmp/file",
        ),
        expect(
            "its own files",
            "echo changed > /data/kept && mkdir /new && echo 1 > /bin/tool",
        ),
        expect("no mounting", "! mount -t tmpfs none /data"),
        expect(
            "no device",
            "[ ! -e /dev/sda ] && [ -c /dev/null ] && echo x > /dev/null",
        ),
        expect(
            "processes of its own",
            "[ \"$(ls /proc | grep -c '^[0-9]')\" -lt 12 ]",
        ),
        expect(
            "no data of the runner",
            &format!("[ ! -e {} ]", bench.dir.path().display()),
        ),
        expect("names", "grep -q localhost /etc/hosts"),
        expect("its output", "echo through > /dev/stdout"),
        expect("no rights outside", "! echo 1 > /proc/sys/kernel/panic"),
    ];
    let script: Vec<&str> = probes.iter().map(String::as_str).collect();
    let mut first = in_image(1, &name, &script);
    let after = json!({"name": "after_script", "script": ["cat /data/kept"], "when": "always", "allow_failure": true});
    first["steps"].as_array_mut().expect("a list").push(after);
    let done = bench.run(first).await;
    let log = done.log();
    assert_eq!(done.status, "success", "{log}");
    assert!(!log.contains("\nBROKEN"), "{log}");
    assert_eq!(log.matches("\nholds: ").count(), script.len(), "{log}");
    assert!(
        log.contains("\nchanged\n"),
        "what the script changed is there for after_script: {log}"
    );
    let done = bench
        .run(in_image(2, &name, &["cat /data/kept; ls /new; cat file"]))
        .await;
    assert!(
        done.log().contains("kept") && !done.log().contains("changed"),
        "another job has the image as it was: {}",
        done.log()
    );
    let slot = bench.dir.path().join("data/builds/0");
    assert!(
        !slot.join(".image").exists(),
        "nothing is left of a job's image"
    );
    bench.stop().await;
}

/// The same layer twice in one image, as builders make them when nothing changes.
fn first_again() -> Vec<u8> {
    layer(&[("empty/.keep", "")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_in_its_image() {
    check_image().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_runs_images_too() {
    if as_ordinary_user("images::an_ordinary_user_runs_images_too") {
        check_image().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_has_users_of_its_own() {
    let registry = Registry::start();
    let name = registry.push_busybox("app", json!({"User": "app"})).await;
    let bench = Bench::start(|_| {}).await;
    let who = "echo \"I am $(id -un) of $(id -gn) in $HOME\" && touch made && stat -c '%U' . made";
    let done = bench.run(in_image(1, &name, &[who])).await;
    assert!(
        done.log()
            .contains("I am app of app in /home/app\napp\napp\n"),
        "{}",
        done.log()
    );
    let mut asked = in_image(
        2,
        &name,
        &[
            "echo \"I am $(id -u):$(id -g)\"",
            "echo 2 > made",
            "touch more",
        ],
    );
    asked["image"]["executor_opts"] = json!({"docker": {"user": "77:78"}});
    let done = bench.run(asked).await;
    assert!(
        done.log().contains("I am 77:78\n") && done.status == "success",
        "{}",
        done.log()
    );
    // Without an image the machine's user works on what the others made.
    let done = bench
        .run(job(3, &["echo 3 > more", "rm made", "stat -c %u more"]))
        .await;
    assert!(
        done.status == "success" && done.log().contains("\n1000\n"),
        "{}",
        done.log()
    );
    let mut nobody = in_image(4, &name, &["true"]);
    nobody["image"]["executor_opts"] = json!({"docker": {"user": "ghost"}});
    let done = bench.run(nobody).await;
    assert!(
        done.log().contains("the image has no user \"ghost\""),
        "{}",
        done.log()
    );
    if nix::unistd::geteuid().is_root() {
        let root = in_image(
            5,
            &name,
            &[
                "chown app made2",
                "su app -c 'id -un; touch /tmp/x'",
                "stat -c %U made2",
            ],
        );
        let mut root = with_variable(root, "X", "1");
        root["image"]["executor_opts"] = json!({"docker": {"user": 0}});
        root["steps"][0]["script"]
            .as_array_mut()
            .expect("a list")
            .insert(0, "touch made2".into());
        let done = bench.run(root).await;
        assert!(
            done.log().matches("\napp\n").count() == 2 && done.status == "success",
            "{}",
            done.log()
        );
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrypoint_starts_the_script() {
    let registry = Registry::start();
    let entry = "#!/bin/sh\necho \"entered with $GREETING\"\nexport ENTERED=1\nexec \"$@\"\n";
    let config = json!({"Entrypoint": ["/bin/sh", "/entry"], "Cmd": ["unused"]});
    registry
        .push("app", "1", &[busybox(), layer(&[("entry", entry)])], config)
        .await;
    let name = format!("{}/app:1", registry.host);
    let bench = Bench::start(|_| {}).await;
    let job = |id| {
        with_variable(
            in_image(id, &name, &["echo \"entered: $ENTERED\"", "exit 7"]),
            "GREETING",
            "hello",
        )
    };
    let done = bench.run(job(1)).await;
    assert!(
        done.log().contains("\nentered with hello\n") && done.log().contains("\nentered: 1\n"),
        "{}",
        done.log()
    );
    assert_eq!(done.result["exit_code"], 7);
    let mut without = job(2);
    without["image"]["entrypoint"] = json!([""]);
    let done = bench.run(without).await;
    assert!(
        !done.log().contains("entered with") && done.log().contains("\nentered: \n"),
        "{}",
        done.log()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_policies_say_when_a_registry_is_asked() {
    let registry = Registry::start();
    let name = registry.push_busybox("app", json!({})).await;
    let bench = Bench::start(|config| {
        config.images.pull_policies = vec![PullPolicy::Always, PullPolicy::IfNotPresent];
        config.images.allowed_pull_policies = vec![
            PullPolicy::Always,
            PullPolicy::IfNotPresent,
            PullPolicy::Never,
        ];
    })
    .await;
    let with = |id, policy: Value| {
        let mut job = in_image(id, &name, &["echo ran"]);
        job["image"]["pull_policy"] = policy;
        job
    };
    let done = bench.run(with(1, json!(["never"]))).await;
    assert_eq!(
        (done.status.as_str(), &done.result["failure_reason"]),
        ("failed", &"image_pull_failure".into()),
        "{}",
        done.log()
    );
    let done = bench.run(with(2, json!(["if-not-present"]))).await;
    assert!(
        done.log().contains("Pulling the image") && done.status == "success",
        "{}",
        done.log()
    );
    let done = bench.run(with(3, json!(["never"]))).await;
    assert!(
        !done.log().contains("Pulling the image") && done.status == "success",
        "{}",
        done.log()
    );
    drop(registry);
    let done = bench.run(with(4, json!(["always"]))).await;
    assert_eq!(
        done.result["failure_reason"],
        "image_pull_failure",
        "{}",
        done.log()
    );
    let done = bench.run(with(5, Value::Null)).await;
    assert!(
        done.log().contains("trying the pull policy if-not-present") && done.status == "success",
        "{}",
        done.log()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_administrator_forbids_is_a_wrong_configuration() {
    let bench =
        Bench::start(|config| config.images.allowed_images = vec!["reg.example.com/**".to_owned()])
            .await;
    let done = bench.run(in_image(1, "ruby:3", &["true"])).await;
    assert_eq!(
        done.result["failure_reason"],
        "runner_configuration_error",
        "{}",
        done.log()
    );
    assert!(done.log().contains("reg.example.com/**"), "{}", done.log());
    let mut never = in_image(2, "reg.example.com/x", &["true"]);
    never["image"]["pull_policy"] = json!(["never"]);
    let done = bench.run(never).await;
    assert_eq!(
        done.result["failure_reason"],
        "runner_configuration_error",
        "{}",
        done.log()
    );
    let done = bench
        .run(in_image(3, "reg.example.com/BAD NAME", &["true"]))
        .await;
    assert_eq!(
        done.result["failure_reason"],
        "runner_configuration_error",
        "{}",
        done.log()
    );
    bench.stop().await;
}

fn auth(host: &str, password: &str) -> String {
    json!({"auths": {host: {"username": "user", "password": password}}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_is_given_a_password() {
    let registry = Registry::private();
    let name = registry.push_busybox("team/app", json!({})).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file: PathBuf = dir.path().join("config.json");
    std::fs::write(&file, "{}").expect("written");
    let bench = Bench::start(|config| config.images.auth_file = Some(file.clone())).await;
    let done = bench.run(in_image(1, &name, &["true"])).await;
    assert_eq!(
        done.result["failure_reason"],
        "image_pull_failure",
        "{}",
        done.log()
    );
    assert!(done.log().contains("401"), "{}", done.log());
    let mut sent = in_image(2, &name, &["echo ran"]);
    let credential = |password| json!([{"type": "registry", "url": registry.host, "username": "user", "password": password}]);
    sent["credentials"] = credential(PASSWORD);
    let done = bench.run(sent.clone()).await;
    assert!(
        done.status == "success" && done.log().contains("credentials of the job"),
        "{}",
        done.log()
    );
    // The variable comes before the runner's file, and that before what the server sends.
    sent["id"] = 3.into();
    sent["token"] = "glcbt-3".into();
    sent["credentials"] = credential("wrong");
    std::fs::write(&file, auth(&registry.host, PASSWORD)).expect("written");
    let done = bench.run(sent.clone()).await;
    assert!(
        done.status == "success" && done.log().contains("the runner's configuration"),
        "{}",
        done.log()
    );
    let wrong = with_variable(
        in_image(4, &name, &["true"]),
        "DOCKER_AUTH_CONFIG",
        &auth(&registry.host, "wrong"),
    );
    let done = bench.run(wrong).await;
    assert_eq!(
        done.result["failure_reason"],
        "image_pull_failure",
        "{}",
        done.log()
    );
    assert!(
        done.log().contains("DOCKER_AUTH_CONFIG") && !done.log().contains("wrong"),
        "{}",
        done.log()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_may_send_to_a_token_service_and_break_off() {
    let registry = Registry::start();
    registry.push_busybox("team/app", json!({})).await;
    let gate = Gate::before(&registry, Fault::Broken).await;
    let name = format!("{}/team/app:1", gate.host);
    let bench = Bench::start(|_| {}).await;
    let job = with_variable(
        in_image(1, &name, &["echo ran"]),
        "DOCKER_AUTH_CONFIG",
        &auth(&gate.host, PASSWORD),
    );
    let done = bench.run(job).await;
    assert_eq!(done.status, "success", "{}", done.log());
    let count = |it: &std::sync::atomic::AtomicUsize| it.load(Ordering::Relaxed);
    assert_eq!(
        (count(&gate.counts.tokens), count(&gate.counts.ranges)),
        (1, 1),
        "one login, one continued download"
    );
    // What is here is not downloaded again, also when the registry is asked.
    let before = count(&gate.counts.blobs);
    let job = with_variable(
        in_image(2, &name, &["echo ran"]),
        "DOCKER_AUTH_CONFIG",
        &auth(&gate.host, PASSWORD),
    );
    let done = bench.run(job).await;
    assert_eq!(
        (done.status.as_str(), count(&gate.counts.blobs)),
        ("success", before),
        "{}",
        done.log()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_its_digest_says_is_refused() {
    let registry = Registry::start();
    let digest = registry
        .push("team/app", "1", &[busybox()], json!({}))
        .await;
    let gate = Gate::before(&registry, Fault::Wrong).await;
    let bench = Bench::start(chooses(&[PullPolicy::IfNotPresent])).await;
    let job = |id, name: &str| {
        with_variable(
            in_image(id, name, &["echo ran"]),
            "DOCKER_AUTH_CONFIG",
            &auth(&gate.host, PASSWORD),
        )
    };
    let done = bench
        .run(job(1, &format!("{}/team/app:1", gate.host)))
        .await;
    assert_eq!(
        done.result["failure_reason"],
        "image_pull_failure",
        "{}",
        done.log()
    );
    assert!(done.log().contains("in place of sha256:"), "{}", done.log());
    let zeros = "0".repeat(64);
    let done = bench
        .run(job(
            2,
            &format!("{}/team/app@sha256:{zeros}", registry.host),
        ))
        .await;
    assert_eq!(
        done.result["failure_reason"],
        "image_pull_failure",
        "{}",
        done.log()
    );
    let done = bench
        .run(job(3, &format!("{}/team/app@{digest}", registry.host)))
        .await;
    assert_eq!(done.status, "success", "{}", done.log());
    bench.stop().await;
}
