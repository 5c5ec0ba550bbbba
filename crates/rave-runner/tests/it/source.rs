//! Where the source comes from: what jobs share, what they must not, and what the variables ask for.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::jobs::{git, own, repository, with_source};
use crate::server::LARGE_FILE;
use crate::{Bench, job, sandbox};

/// A repository in a directory that jobs may read, and a runner.
struct Sources {
    dir: tempfile::TempDir,
    commit: String,
    bench: Bench,
}

impl Sources {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path());
        let commit = repository(dir.path());
        let path = dir.path().to_owned();
        let bench =
            Bench::start(|config| sandbox(config, |it| it.read_only_paths.push(path))).await;
        Self { dir, commit, bench }
    }

    fn bare(&self) -> PathBuf {
        self.dir.path().join("app.git")
    }

    fn job(&self, id: i64, script: &[&str], variables: &[(&str, &str)]) -> Value {
        let mut job = with_source(job(id, script), &self.bare(), &self.commit);
        let variables = variables.iter();
        let variables = variables.map(|(key, value)| json!({"key": key, "value": value}));
        job["variables"] = variables.collect();
        job
    }

    /// Commits a file and lets the pipeline's ref name the commit.
    fn commit(&mut self, file: &str, text: &str) {
        let work = self.dir.path().join("work");
        let path = work.join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
        git(&work, &["add", "."]);
        self.push();
    }

    fn push(&mut self) {
        let (work, bare) = (self.dir.path().join("work"), self.bare());
        git(&work, &["commit", "-q", "-m", "more"]);
        self.commit = git(&work, &["rev-parse", "HEAD"]);
        disown(&bare);
        let bare = bare.display().to_string();
        for to in ["refs/heads/main", "refs/pipelines/1"] {
            git(&work, &["push", "-q", "-f", &bare, &format!("HEAD:{to}")]);
        }
        own(Path::new(&bare));
    }

    async fn succeeds(&self, job: Value) -> String {
        let done = self.bench.run(job).await;
        let log = done.log();
        assert_eq!(done.status, "success", "{log}");
        log
    }
}

/// Takes a repository back from the user of the sandbox, to change it.
fn disown(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        let chown = std::process::Command::new("chown")
            .args(["-R", "0:0"])
            .arg(path)
            .status();
        assert!(chown.expect("chown runs").success());
    }
}

/// Lets everybody look for what is in a directory.
fn open(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_job_fetched_the_next_need_not() {
    let mut sources = Sources::start().await;
    sources
        .succeeds(sources.job(1, &["cat hello.txt"], &[]))
        .await;
    sources.commit("second.txt", "two\n");
    let log = sources
        .succeeds(sources.job(2, &["cat second.txt", "git log --oneline | wc -l"], &[]))
        .await;
    assert!(log.contains("\n2\n"), "{log}");
    // Without the repository: everything is on this machine. A working copy from nothing gets it too.
    let away = sources.dir.path().join("away.git");
    std::fs::rename(sources.bare(), &away).expect("moved");
    let log = sources
        .succeeds(sources.job(
            3,
            &["cat second.txt; git status --porcelain; git fsck"],
            &[("GIT_STRATEGY", "clone")],
        ))
        .await;
    assert!(
        log.contains("\ntwo\n") && log.contains("Created fresh"),
        "{log}"
    );
    // Nobody else gets it: the same address in another project fetches for itself.
    let mut other = sources.job(4, &["cat second.txt"], &[]);
    other["job_info"]["project_id"] = 6.into();
    let done = sources.bench.run(other).await;
    assert_eq!(
        done.result["failure_reason"],
        "runner_system_failure",
        "{}",
        done.log()
    );
    // And who does not want it is on his own.
    let alone = sources.job(
        5,
        &["true"],
        &[("RAVE_OBJECT_CACHE", "false"), ("GIT_STRATEGY", "clone")],
    );
    let done = sources.bench.run(alone).await;
    assert_eq!(
        done.result["failure_reason"],
        "runner_system_failure",
        "{}",
        done.log()
    );
    sources.bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_changes_what_others_share() {
    let mut sources = Sources::start().await;
    let attack = [
        "for pack in .git/objects/pack/*; do chmod u+w $pack; echo evil >> $pack; done",
        "ls -l .git/objects/pack; (find / -path '*/snapshots/*/packed-refs' -not -path '/proc/*' 2> /dev/null || true) | wc -l",
    ];
    let log = sources.succeeds(sources.job(1, &attack, &[])).await;
    assert!(log.contains("\n0\n"), "the store is out of sight: {log}");
    // Objects and refs of an earlier job's making are not believed: a replacement, and a list of files that lies.
    let plant = [
        "echo evil > evil; git replace $(git rev-parse HEAD:hello.txt) $(git hash-object -w evil)",
        "echo evil > hello.txt; git update-index --assume-unchanged hello.txt",
        "mkdir -p .git/objects/info; echo /tmp/objects > .git/objects/info/alternates",
    ];
    let log = sources.succeeds(sources.job(2, &plant, &[])).await;
    assert!(!log.contains("error:"), "{log}");
    let mut protected = sources.job(3, &["cat hello.txt; git fsck; git replace -l | wc -l"], &[]);
    protected["git_info"]["protected"] = true.into();
    let log = sources.succeeds(protected).await;
    assert!(
        log.contains("hello from git") && log.contains("\n0\n"),
        "{log}"
    );
    // A store that is broken is found out and made anew.
    let stores = sources.bench.dir.path().join("data/cache/git");
    for store in std::fs::read_dir(&stores).expect("stores").flatten() {
        for pack in std::fs::read_dir(store.path().join("fetch/repo/objects/pack"))
            .expect("packs")
            .flatten()
        {
            std::fs::remove_file(pack.path()).expect("removed");
        }
    }
    let log = sources
        .succeeds(sources.job(4, &["cat hello.txt"], &[("GIT_STRATEGY", "clone")]))
        .await;
    assert!(log.contains("starting from nothing"), "{log}");
    sources.commit("third.txt", "three\n");
    let log = sources
        .succeeds(sources.job(5, &["cat third.txt; git fsck"], &[]))
        .await;
    assert!(!log.contains("starting from nothing"), "{log}");
    sources.bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_histories_come_with_branches_and_tags() {
    let mut sources = Sources::start().await;
    sources.commit("second.txt", "two\n");
    let work = sources.dir.path().join("work");
    let bare = sources.bare().display().to_string();
    disown(&sources.bare());
    git(
        &work,
        &[
            "push",
            "-q",
            &bare,
            "HEAD:refs/heads/topic/a",
            "HEAD~1:refs/tags/v1",
        ],
    );
    own(&sources.bare());
    let script =
        ["git log --oneline | wc -l; git branch -r | xargs; git tag | xargs; git describe --tags"];
    let whole = |id: i64, extra: &str| {
        let mut job = sources.job(id, &script, &[("GIT_FETCH_EXTRA_FLAGS", extra)]);
        job["git_info"]["depth"] = 0.into();
        job["git_info"]["refspecs"] = json!([
            "+refs/pipelines/1:refs/pipelines/1",
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        ]);
        job
    };
    let mut logs = Vec::new();
    for (id, extra) in [(1, ""), (2, "--prune --quiet"), (3, "")] {
        logs.push(sources.succeeds(whole(id, extra)).await);
    }
    for log in logs {
        assert!(
            log.contains("\n2\norigin/main origin/topic/a\nv1\nv1-1-g"),
            "{log}"
        );
    }
    // Branches come and go, and one takes the name of a directory of others.
    disown(&sources.bare());
    git(
        &work,
        &[
            "push",
            "-q",
            &bare,
            ":refs/heads/topic/a",
            "HEAD:refs/heads/unrelated",
        ],
    );
    git(&work, &["push", "-q", &bare, "HEAD:refs/heads/topic"]);
    own(&sources.bare());
    sources.commit("third.txt", "three\n");
    let mut job = sources.job(4, &["git branch -r | xargs"], &[]);
    job["git_info"]["depth"] = 0.into();
    job["git_info"]["refspecs"] = json!([
        "+refs/pipelines/1:refs/pipelines/1",
        "+refs/heads/*:refs/remotes/origin/*"
    ]);
    let log = sources.succeeds(job).await;
    assert!(
        log.contains("\norigin/main origin/topic origin/unrelated\n"),
        "{log}"
    );
    sources.bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_and_chosen_places() {
    let mut sources = Sources::start().await;
    let dir = sources.dir.path().to_owned();
    let library = dir.join("lib");
    std::fs::create_dir(&library).expect("made");
    git(&library, &["init", "-q"]);
    std::fs::write(library.join("lib.txt"), "a library\n").expect("written");
    git(&library, &["add", "."]);
    git(&library, &["commit", "-q", "-m", "lib"]);
    let work = dir.join("work");
    for path in ["one", "two"] {
        let add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q"];
        git(
            &work,
            &[&add[..], &[&library.display().to_string(), path]].concat(),
        );
    }
    sources.push();
    own(&library);
    let file = ("GIT_ALLOW_PROTOCOL", "file");
    let log = sources
        .succeeds(sources.job(1, &["ls one two"], &[file]))
        .await;
    assert!(!log.contains("lib.txt"), "{log}");
    let plant = "cat one/lib.txt; ls two; echo evil > .git/modules/one/hooks/post-checkout || true; \
                 git -C one config core.fsmonitor 'echo planted-monitor'; echo x > one/lib.txt; touch one/junk";
    let variables = [
        file,
        ("GIT_SUBMODULE_STRATEGY", "normal"),
        ("GIT_SUBMODULE_PATHS", "one"),
    ];
    let log = sources.succeeds(sources.job(2, &[plant], &variables)).await;
    assert_eq!(log.matches("\na library\n").count(), 1, "{log}");
    let variables = [
        file,
        ("GIT_SUBMODULE_STRATEGY", "recursive"),
        ("GIT_SUBMODULE_UPDATE_FLAGS", "--jobs 2"),
        ("GIT_SUBMODULE_DEPTH", "1"),
    ];
    let log = sources
        .succeeds(sources.job(3, &["cat one/lib.txt two/lib.txt; ls one"], &variables))
        .await;
    assert_eq!(log.matches("a library\n").count(), 2, "{log}");
    assert!(!log.contains("junk") && !log.contains("planted-"), "{log}");
    let elsewhere = [("GIT_CLONE_PATH", "$CI_BUILDS_DIR/go/src/app")];
    let log = sources
        .succeeds(sources.job(4, &["pwd; echo $CI_PROJECT_DIR; cat hello.txt"], &elsewhere))
        .await;
    assert!(
        log.contains("\n/builds/go/src/app\n/builds/go/src/app\n"),
        "{log}"
    );
    let outside = [("GIT_CLONE_PATH", "/builds/../etc")];
    let done = sources.bench.run(sources.job(5, &["true"], &outside)).await;
    assert_eq!(
        done.result["failure_reason"],
        "runner_configuration_error",
        "{}",
        done.log()
    );
    let flags = [("GIT_CLEAN_FLAGS", "-ffdx -e kept/")];
    sources
        .succeeds(sources.job(6, &["mkdir kept; touch kept/a loose"], &flags))
        .await;
    let log = sources
        .succeeds(sources.job(7, &["ls kept; [ ! -e loose ]"], &flags))
        .await;
    assert!(log.contains("\na\n"), "{log}");
    let not_out = [("GIT_CHECKOUT", "false"), ("GIT_STRATEGY", "clone")];
    let log = sources
        .succeeds(sources.job(
            8,
            &["ls -A; git cat-file -t $SHA"],
            &[not_out[0], not_out[1], ("SHA", &sources.commit)],
        ))
        .await;
    assert!(log.contains("\n.git\ncommit\n"), "{log}");
    sources.bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_longer_hashes_work() {
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path());
    let (work, bare) = (dir.path().join("work"), dir.path().join("app.git"));
    std::fs::create_dir(&work).expect("made");
    git(&work, &["init", "-q", "--object-format=sha256"]);
    std::fs::write(work.join("hello.txt"), "a longer hash\n").expect("written");
    git(&work, &["add", "."]);
    git(&work, &["commit", "-q", "-m", "one"]);
    git(dir.path(), &["clone", "-q", "--bare", "work", "app.git"]);
    let commit = git(&bare, &["rev-parse", "HEAD"]);
    git(&bare, &["update-ref", "refs/pipelines/1", &commit]);
    own(&bare);
    let path = dir.path().to_owned();
    let bench = Bench::start(|config| sandbox(config, |it| it.read_only_paths.push(path))).await;
    for (id, objects) in [(1, "true"), (2, "false")] {
        let mut job = with_source(
            job(
                id,
                &["cat hello.txt; git rev-parse HEAD | tr -d '\\n' | wc -c"],
            ),
            &bare,
            &commit,
        );
        job["git_info"]["repo_object_format"] = "sha256".into();
        job["variables"] = json!([{"key": "RAVE_OBJECT_CACHE", "value": objects}, {"key": "GIT_STRATEGY", "value": "clone"}]);
        let done = bench.run(job).await;
        assert!(
            done.log().contains("\na longer hash\n64\n"),
            "{}",
            done.log()
        );
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_come_from_their_own_server() {
    let mut sources = Sources::start().await;
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
        hex::encode(Sha256::digest(LARGE_FILE)),
        LARGE_FILE.len()
    );
    let url = format!("[lfs]\n\turl = {}/lfs\n", sources.bench.server.url);
    let files = [
        (".lfsconfig", url.as_str()),
        (
            ".gitattributes",
            "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        ),
        ("large.bin", &pointer),
    ];
    for (file, text) in files {
        sources.commit(file, text);
    }
    let script = ["cat large.bin; git status --porcelain | wc -l"];
    for id in [1, 2] {
        let log = sources.succeeds(sources.job(id, &script, &[])).await;
        assert!(log.contains("\nthe content of a large file\n0\n"), "{log}");
    }
    let without = [("GIT_LFS_SKIP_SMUDGE", "1"), ("GIT_STRATEGY", "clone")];
    let log = sources
        .succeeds(sources.job(3, &["cat large.bin"], &without))
        .await;
    assert!(log.contains("\noid sha256:"), "{log}");
    sources.bench.stop().await;
}
