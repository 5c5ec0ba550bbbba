"""`rave ci run`: the pipeline of a working tree, without a server."""

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.processes import processes
from harness.tree import Tree
from harness.wait import wait_for
from harness.world import unique

Make = Callable[..., Tree]

# How long jobs sleep by which a test tells their processes from others.
_durations = itertools.count(7_000_000 + os.getpid())

PIPELINE = """\
stages: [build, test, deploy]
build:
  stage: build
  script: [mkdir out, cp source out/app, echo "built $CI_COMMIT_SHORT_SHA"]
  artifacts: {paths: [out]}
test:
  stage: test
  script: [cat out/app, cat new]
lint:
  stage: test
  needs: []
  allow_failure: true
  script: [echo looking, exit 3]
deploy:
  stage: deploy
  when: manual
  script: [echo "deploying $(cat out/app)"]
"""


@pytest.fixture
def tree(scratch: Path) -> Make:
    def make(pipeline: str, files: dict[str, str] | None = None, **options: bool) -> Tree:
        return Tree(scratch / unique("tree"), {".gitlab-ci.yml": pipeline, **(files or {})}, **options)

    return make


def test_the_pipeline_of_the_files_as_they_are(tree: Make) -> None:
    work = tree(PIPELINE, {"source": "committed\n", ".gitignore": "*.log\n"})
    work.write({"source": "changed\n", "new": "untracked\n", "x.log": "ignored\n"})
    before = {path: path.read_bytes() for path in [work.directory / ".git/index", work.directory / ".git/HEAD"]}
    status, references = work.git("status", "--porcelain"), work.git("for-each-ref")
    objects = work.git("count-objects")
    ran = work.run().must(0)
    assert ran.jobs() == {"build": "success", "test": "success", "lint": "failed", "deploy": "manual"}
    assert ran.log("test") == ["$ cat out/app", "changed", "$ cat new", "untracked"]
    assert ran.summary()["status"] == "success"
    # Nothing about the user's repository is different.
    assert {path: path.read_bytes() for path in before} == before
    assert (work.git("status", "--porcelain"), work.git("for-each-ref"), work.git("count-objects")) == (status, references, objects)
    assert work.runs() == []


def test_lines_for_people(tree: Make) -> None:
    work = tree(PIPELINE, {"source": "a\n", "new": "b\n"})
    ran = work.ci("run").must(0)
    assert "test   | $ cat out/app\ntest   | a\n" in ran.out and "lint   | ERROR: Job failed: exit status 3\n" in ran.out
    assert "Getting source" not in ran.out and "section_start" not in ran.out
    for line in ("✓ test passed in ", "! lint failed in ", "(exit code 3, which is allowed)", "start it with --manual deploy", "Pipeline passed in "):
        assert line in ran.err, ran.err
    assert "Getting source" in work.ci("run", "--full-log").must(0).out


def test_a_failure_is_the_exit_status(tree: Make) -> None:
    work = tree("a: {script: [echo first, 'false']}\nb: {stage: deploy, script: [echo never]}\n")
    ran = work.run().must(1)
    assert ran.jobs() == {"a": "failed", "b": "skipped"} and ran.summary()["jobs"][0]["exit_code"] == 1
    refused = tree("a: {scirpt: [x]}\n").ci("run").must(1)
    assert "did you mean `script`" in refused.err and refused.out == ""


def test_some_jobs_only(tree: Make) -> None:
    work = tree(PIPELINE, {"source": "a\n", "new": "b\n"})
    alone = work.ci("run", "lint").must(0)
    assert alone.out == "$ echo looking\nlooking\n$ exit 3\nERROR: Job failed: exit status 3\n"
    assert work.run("test").must(1).jobs() == {"test": "failed"}
    assert work.run("test", "--needs").must(0).jobs() == {"build": "success", "test": "success"}
    assert work.run("--stage", "build").must(0).jobs() == {"build": "success"}
    played = work.run("deploy", "--needs").must(0)
    assert played.jobs()["deploy"] == "success" and "deploying a" in played.log("deploy")
    assert work.run("--manual", "deploy").must(0).jobs()["deploy"] == "success"
    unknown = work.ci("run", "tset").must(2)
    assert 'there is no job "tset"' in unknown.err and "hint: the jobs are build, test, lint and deploy" in unknown.err
    assert "stages with jobs are build, test and deploy" in work.ci("run", "--stage", "x").must(2).err


def test_parallel_jobs_by_their_common_name(tree: Make) -> None:
    work = tree("a: {parallel: 2, script: [echo $CI_NODE_INDEX]}\nm: {parallel: {matrix: [{V: [x, y]}]}, script: [echo $V]}\n")
    assert set(work.run("a").must(0).jobs()) == {"a 1/2", "a 2/2"}
    assert set(work.run("m: [y]", "a 2/2").must(0).jobs()) == {"m: [y]", "a 2/2"}


def test_a_pipeline_that_waits_for_a_person_is_no_failure(tree: Make) -> None:
    work = tree("a: {script: [echo a], when: manual, allow_failure: false}\nb: {stage: deploy, script: [echo b]}\n")
    ran = work.ci("run").must(0)
    assert "waits for manual jobs" in ran.err
    assert work.run("--manual", "a").must(0).jobs() == {"a": "success", "b": "success"}


def test_an_event_without_pipeline(tree: Make) -> None:
    work = tree("workflow: {rules: [{if: $CI_COMMIT_TAG}]}\na: {script: [echo $CI_COMMIT_TAG]}\n")
    assert "Pipeline filtered out by workflow rules." in work.ci("run").must(0).err
    assert "Pipeline filtered out by workflow rules." in work.ci("run", "a").must(1).err
    tagged = work.ci("run", "--event", "tag", "--ref", "v1.0", "a").must(0)
    assert tagged.out.endswith("\nv1.0\n")


def test_variables_and_names_are_those_of_the_real_project(tree: Make) -> None:
    script = ["echo path=$CI_PROJECT_PATH server=$CI_SERVER_HOST", "echo sha=$CI_COMMIT_SHA", "git rev-parse HEAD", "git branch -r", "echo $FROM_FILE $GIVEN"]
    work = tree(f"a: {{variables: {{FROM_FILE: yaml}}, script: {script}}}\n".replace("'", '"'), {".rave-ci.env": "FROM_FILE=env\n"})
    work.git("remote", "add", "origin", "git@git.example.org:team/sub/app.git")
    head = work.git("rev-parse", "HEAD")
    out = work.ci("run", "a", "--variable", "GIVEN=flag").must(0).out
    assert "path=team/sub/app server=git.example.org\n" in out and f"sha={head}\n" in out and "env flag\n" in out
    assert out.count(head) == 2 and "origin/main" in out
    work.write({"new": ""})
    changed = work.ci("run", "a").must(0).out
    commit = next(it for it in changed.splitlines() if it.startswith("sha="))
    assert head not in changed and changed.count(commit.removeprefix("sha=")) == 2


def test_caches_stay_and_artifacts_go_where_they_are_wanted(tree: Make) -> None:
    text = """\
    a:
      cache: {key: k, paths: [kept]}
      script: [ls kept || echo none, mkdir -p kept sub, touch kept/x, echo 1 > sub/made]
      artifacts: {paths: [sub]}
    """
    work = tree(text)
    assert "none" in work.run().must(0).log("a")
    again = work.run().must(0)
    assert "x" in again.log("a") and "none" not in again.log("a")
    assert "none" in work.run("--no-cache").must(0).log("a")
    left = Path(again.summary()["artifacts"])
    assert (left / "a.zip").exists() and not list(work.directory.glob("sub")) and work.git("status", "--porcelain") == ""
    work.run("--artifacts", "out").must(0)
    assert (work.directory / "out/a/sub/made").read_text() == "1\n"
    # What an earlier run left there is replaced.
    (work.directory / "out/a/old").touch()
    work.run("--artifacts", "out").must(0)
    assert [it.name for it in (work.directory / "out/a").iterdir()] == ["sub"]


def test_without_a_repository(tree: Make) -> None:
    work = tree("a: {script: [git log --oneline, cat file]}\n", {"file": "plain\n", "x.o": "", ".gitignore": "*.o\n"}, repository=False)
    ran = work.ci("run", "a").must(0)
    assert "Working tree" in ran.out and "plain" in ran.out and not (work.directory / ".git").exists()
    assert "x.o" not in work.ci("run", "a", "--executor", "shell").must(0).out


def test_clones_of_every_kind(tree: Make, scratch: Path) -> None:
    origin = tree("a: {script: [cat file, git log --oneline]}\n", {"file": "1\n"})
    for number in range(3):
        origin.write({"file": f"{number}\n"})
        origin.commit(f"Change {number}")
    url = f"file://{origin.directory}"
    origin.git("config", "uploadpack.allowFilter", "true")
    for kind in (["--depth", "1"], ["--filter=blob:none"], ["--shared"]):
        clone = scratch / unique("clone")
        subprocess.run(["git", "clone", "-q", *kind, url if kind != ["--shared"] else str(origin.directory), str(clone)], env=origin.env, check=True)
        (clone / "file").write_text("mine\n")
        out = origin.ci("run", "-C", clone, "a").must(0).out
        assert "mine\n" in out, (kind, out)
    # A worktree, a directory of a repository, and a start from a hook, which names another repository to git.
    origin.git("worktree", "add", "-q", str(scratch / unique("worktree")))
    directory = scratch / [it for it in os.listdir(scratch) if it.startswith("worktree")][0]
    assert "2\n" in origin.ci("run", "-C", directory, "a").must(0).out
    origin.write({"part/.gitlab-ci.yml": "b: {script: [ls]}\n"})
    assert origin.ci("run", "-C", "part", "b").must(0).out == "$ ls\n"
    hook = {"GIT_DIR": str(directory / ".git"), "GIT_INDEX_FILE": "/nowhere", "GIT_PREFIX": ""}
    assert "2\n" in origin.ci("run", "a", **hook).must(0).out


def test_both_executors(tree: Make) -> None:
    script = "script: [pwd, echo $CI_DISPOSABLE_ENVIRONMENT-$CI_SHARED_ENVIRONMENT]"
    work = tree(f"a: {{{script}}}\nb: {{image: 'alpine:3', services: ['redis:7'], {script}}}\n")
    sandbox = work.ci("run", "a", "--executor", "sandbox").must(0)
    assert "/builds/local/work\n" in sandbox.out and "true-\n" in sandbox.out
    shell = work.ci("run", "b", "--executor", "shell").must(0)
    assert "-true\n" in shell.out and "/run-" in shell.out
    assert shell.err.count("alpine:3") == 1 and shell.err.count("redis:7") == 1


def test_jobs_run_at_once_and_one_after_the_other(tree: Make) -> None:
    # Each of the two waits for the other, which succeeds only when both run.
    meet = "[mkfifo {0} || true, timeout 60 sh -c '{1}']"
    work = tree(
        f"a: {{script: {meet.format('$SHARED/a', 'echo x > $SHARED/a')}}}\nb: {{script: {meet.format('$SHARED/a', 'cat $SHARED/a')}}}\n"
    )
    shared = work.base / "shared"
    shared.mkdir()
    arguments = ["--executor", "shell", "--variable", f"SHARED={shared}"]
    assert set(work.run(*arguments, "--concurrency", 2).must(0).jobs().values()) == {"success"}


def test_a_job_that_takes_too_long(tree: Make) -> None:
    ran = tree("a: {script: [sleep 300]}\n").run("--timeout", "1s").must(1)
    assert ran.summary()["jobs"][0]["failure_reason"] == "job_execution_timeout"


def sleeper(tree: Make, executor: str) -> tuple[Tree, subprocess.Popen[str], str]:
    """Starts a run whose job sleeps for a time that no other test sleeps for."""
    duration = next(_durations)
    work = tree(f"a: {{script: [sleep {duration}], after_script: [echo cleaning]}}\nb: {{stage: deploy, script: [echo b]}}\n")
    process = work.start("run", "--json", "--executor", executor)
    wait_for("the job to sleep", lambda: processes(f"sleep {duration}"))
    return work, process, f"sleep {duration}"


@pytest.mark.parametrize("executor", ["sandbox", "shell"])
def test_an_interrupt_stops_jobs_first(tree: Make, executor: str) -> None:
    work, process, marker = sleeper(tree, executor)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert '"status":"canceled"' in out and "cleaning" in out and "Stopping the jobs" in err
    assert processes(marker) == [] and work.runs() == []


@pytest.mark.parametrize("executor", ["sandbox", "shell"])
def test_a_killed_run_leaves_nothing_running(tree: Make, executor: str) -> None:
    work, process, marker = sleeper(tree, executor)
    process.kill()
    process.communicate(timeout=60)
    wait_for("the job to end", lambda: processes(marker) == [])
    assert len(work.runs()) == 1, "its directory is there until another run removes it"
    lock = work.runs()[0] / "lock"
    os.utime(lock, (0, 0))
    work.run("b").must(0)
    assert work.runs() == []


WATCHED = """\
build:
  stage: build
  script: [mkdir out, cp src/app out/app]
  rules: [{changes: [src/**]}]
  artifacts: {paths: [out]}
test:
  script: [cat out/app]
  rules: [{changes: [src/**, tests/**]}]
docs:
  needs: []
  script: [echo documented]
  rules: [{changes: ['*.md']}]
always: {needs: [], script: [echo always]}
"""


def test_a_watch_runs_what_a_change_affects(tree: Make) -> None:
    work = tree(WATCHED, {"src/app": "1\n", "tests/t": "", "README.md": "", ".gitignore": "*.o\n"})
    process = work.start("watch", "--json", "--changes", "src/app", "README.md")
    assert process.stdout
    out = process.stdout

    def next_run() -> set[str]:
        """Returns the jobs of the next run that is not cut off."""
        while True:
            event = json.loads(out.readline())
            if event["event"] == "summary":
                return {it["name"] for it in event["jobs"]}

    try:
        assert next_run() == {"build", "test", "docs", "always"}
        work.write({"x.o": "ignored\n", "README.md": "new\n"})
        assert next_run() == {"docs", "always"}
        # A job whose artifacts are needed comes along.
        work.write({"tests/t": "new\n"})
        assert next_run() == {"build", "test", "always"}
        # A file that cannot be understood is said, and the next change mends it.
        work.write({".gitlab-ci.yml": "a: {script: [\n"})
        work.write({".gitlab-ci.yml": WATCHED.replace("echo documented", "echo better"), "README.md": "newer\n"})
        assert "docs" in next_run()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
    assert "README.md changed" in err and "docs (its rules name the change)" in err and "always (whatever changes)" in err
    assert work.runs() == []


def test_a_watch_takes_jobs_as_the_change_has_them(tree: Make) -> None:
    pipeline = """\
a: {needs: [], script: [echo one], rules: [{changes: [src/*]}]}
b:
  needs: []
  script: ['echo "from $HOW"']
  rules:
    - {changes: [src/*], variables: {HOW: source}}
    - {changes: [docs/*], variables: {HOW: docs}}
    - {exists: [late], variables: {HOW: late}}
m: {needs: [], when: manual, script: [echo by hand]}
"""
    work = tree(pipeline, {"src/a": "", "docs/a": ""})
    process = work.start("watch", "--json", "--changes", "src/a")
    assert process.stdout

    def next_run() -> tuple[dict[str, str], list[str]]:
        """Returns what became of the jobs of the next run that is not cut off, and what they said."""
        said = []
        for event in map(json.loads, process.stdout):
            said += [event["line"]] if event["event"] == "log" and not event["line"].startswith("$") else []
            if event["event"] == "summary":
                return {it["name"]: it["status"] for it in event["jobs"]}, sorted(said)
        raise AssertionError(process.communicate())

    try:
        assert next_run() == ({"a": "success", "b": "success", "m": "manual"}, ["from source", "one"])
        work.write({"docs/a": "new"})
        assert next_run() == ({"b": "success", "m": "manual"}, ["from docs"])
        work.write({"late": ""})
        assert next_run() == ({"b": "success", "m": "manual"}, ["from late"])
        work.write({".gitlab-ci.yml": pipeline.replace("echo one", "echo two")})
        assert next_run() == ({"a": "success", "b": "success", "m": "manual"}, ["from late", "two"])
    finally:
        process.kill()
        process.communicate()


def test_a_change_stops_a_run_that_is_outdated(tree: Make) -> None:
    duration = next(_durations)
    work = tree(f"a: {{script: [cat file, 'test -e done || sleep {duration}']}}\n", {"file": "old\n"})
    process = work.start("watch", "--json")
    assert process.stdout
    try:
        wait_for("the job to sleep", lambda: processes(f"sleep {duration}"))
        work.write({"file": "new\n", "done": ""})
        lines = []
        while '"summary"' not in "".join(lines):
            lines.append(process.stdout.readline())
        assert json.loads(lines[-1])["status"] == "success"
        assert '"line":"new"' in "".join(lines), "".join(lines)
        assert processes(f"sleep {duration}") == []
    finally:
        process.kill()
        process.communicate()


def test_an_ignored_directory_of_a_repository_is_none_of_it(tree: Make) -> None:
    work = tree("a: {script: [exit 1]}\n", {".gitignore": "scratch/\n"})
    work.write({"scratch/.gitlab-ci.yml": "a: {script: [cat file, 'test ! -e .gitignore']}\n", "scratch/file": "here\n"})
    assert work.run("-C", "scratch").must(0).log("a")[:2] == ["$ cat file", "here"]
    # One whose files are all ignored is an empty part of it.
    work.write({"part/.gitlab-ci.yml": "a: {script: ['test -z \"$(ls -A | grep -v ^.git$)\"']}\n", "part/.gitignore": "*\n"})
    work.run("-C", "part").must(0)


def test_children_include_what_the_parent_could(tree: Make) -> None:
    files = {
        ".gitlab-ci.yml": "go: {trigger: {include: child.yml, strategy: depend}}\n",
        "child.yml": "include: [{project: team/shared, file: jobs.yml}, {component: $CI_SERVER_FQDN/team/shared/part@~latest}]\n",
        ".rave-ci.env": "FROM_FILE=file\n",
    }
    shared = tree("{}", {
        "jobs.yml": "shared: {script: ['echo $FROM_FILE $CI_PROJECT_URL $CI_PIPELINE_SOURCE'], rules: [{if: '$FROM_FILE == \"file\"', changes: [src/*]}]}\n",
        "templates/part.yml": "part: {script: [echo part]}\n",
    })  # fmt: skip
    work = tree(files.pop(".gitlab-ci.yml"), files)
    work.git("remote", "add", "origin", "https://forge.invalid/team/app.git")
    arguments = ("--offline", "--project", f"team/shared={shared.directory}", "--changes")
    ran = work.run(*arguments, "src/a").must(0)
    assert ran.jobs() == {"go": "success", "shared": "success", "part": "success"}
    assert ran.log("shared")[-1] == "file https://forge.invalid/team/app parent_pipeline"
    assert set(work.run(*arguments, "docs/a").must(0).jobs()) == {"go", "part"}
    # What is not there is the fault of the file, not of a network that nobody asked.
    assert work.run("--offline").must(1).jobs() == {"go": "failed"}


def test_artifacts_of_another_project_are_refused(tree: Make) -> None:
    work = tree("a: {script: [cat lib], needs: [{project: team/lib, job: build, ref: main, artifacts: true}]}\n'b c': {script: [echo]}\n")
    refused = work.ci("run").must(1)
    assert 'the job "a" gets the artifacts of "build" in the project team/lib' in refused.err
    assert "hint: run the others: rave ci run 'b c'" in refused.err
    work.ci("run", "b c").must(0)


def test_a_repository_with_long_object_names(tree: Make, scratch: Path) -> None:
    work = tree("a: {script: ['git rev-parse --show-object-format', cat file]}\n", {"file": "old\n"}, repository=False)
    work.git("init", "-q", "-b", "main", "--object-format=sha256")
    work.commit("First")
    assert work.run().must(0).log("a")[1::2] == ["sha256", "old"]
    work.write({"file": "new\n"})
    assert work.run().must(0).log("a")[1::2] == ["sha256", "new"]


def test_large_files_are_there(tree: Make) -> None:
    work = tree("a: {script: [cat big.bin, cat other.bin]}\n", {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
    work.git("lfs", "install", "--local")
    work.write({"big.bin": "committed\n"})
    work.commit("Second")
    assert work.git("cat-file", "-p", "HEAD:big.bin").startswith("version https://git-lfs")
    work.write({"other.bin": "untracked\n"})
    status, objects = work.git("status", "--porcelain"), sorted((work.directory / ".git/lfs/objects").rglob("*"))
    assert work.run().must(0).log("a")[1::2] == ["committed", "untracked"]
    assert (work.git("status", "--porcelain"), sorted((work.directory / ".git/lfs/objects").rglob("*"))) == (status, objects)


SAMPLE = {
    ".gitlab-ci.yml": """\
stages: [prepare, build, test, package]
default:
  retry: 1
  before_script: [". ./ci/lib.sh"]
variables: {FLAVOUR: plain}
.cached:
  cache: {key: {files: [words.lock]}, paths: [vendor], policy: pull-push}
version:
  stage: prepare
  script: [echo "VERSION=1.$(wc -l < words.txt)" > version.env]
  artifacts: {reports: {dotenv: version.env}}
vendor:
  extends: .cached
  stage: prepare
  script:
    - test -e vendor/words || { say fetching; mkdir -p vendor; cp words.txt vendor/words; }
compile:
  extends: .cached
  stage: build
  parallel: {matrix: [{MODE: [upper, lower]}]}
  script:
    - mkdir -p "out/$MODE"
    - tr '[:lower:]' '[:upper:]' < vendor/words > "out/$MODE/words"
    - say "$MODE $FLAVOUR $VERSION"
  artifacts: {paths: [out/]}
lint:
  stage: test
  needs: []
  script: [say linted]
  rules: [{if: $CI_COMMIT_BRANCH}]
check:
  stage: test
  needs: [{job: compile, parallel: {matrix: [{MODE: [upper]}]}}]
  script: [test -e out/upper/words, "! test -e out/lower"]
flaky:
  stage: test
  needs: []
  script: ['if mkdir "$CI_PROJECT_DIR.once"; then exit 7; fi', say again]
package:
  stage: package
  script: [ls out, tar cf words.tar out, say done]
  after_script: [echo "was $CI_JOB_STATUS"]
  artifacts: {paths: [words.tar], name: "words-$CI_COMMIT_REF_SLUG"}
more:
  stage: package
  needs: []
  trigger: {include: ci/child.yml, strategy: depend}
nightly:
  stage: package
  script: [say nightly]
  rules: [{if: '$CI_PIPELINE_SOURCE == "schedule"'}]
""",
    "ci/child.yml": "inner: {script: [cat words.txt, echo $CI_PIPELINE_SOURCE]}\n",
    "ci/lib.sh": 'say() { echo "[$CI_JOB_STAGE] $*"; }\n',
    "words.txt": "one\ntwo\n",
    "words.lock": "1\n",
}


def test_a_whole_project(tree: Make) -> None:
    work = tree(SAMPLE[".gitlab-ci.yml"], SAMPLE)
    ran = work.run("--executor", "shell").must(0)
    assert ran.jobs() == dict.fromkeys(
        ["version", "vendor", "compile: [upper]", "compile: [lower]", "lint", "check", "flaky", "package", "more", "inner"], "success"
    )
    by_name = {it["name"]: it for it in ran.summary()["jobs"]}
    assert by_name["flaky"]["retries"] == 1 and "[test] again" in ran.log("flaky")
    assert "[prepare] fetching" in ran.log("vendor") and "[build] upper plain 1.2" in ran.log("compile: [upper]")
    assert "two" in ran.log("inner") and "parent_pipeline" in ran.log("inner")
    assert ["lower", "upper"] == [it for it in ran.log("package") if it in ("lower", "upper")] and "was success" in ran.log("package")
    # The cache is there the next time, and the event decides about jobs.
    work.write({"words.txt": "one\n"})
    again = work.run("--event", "schedule", "--variable", "FLAVOUR=sweet", "--artifacts", "made").must(0)
    assert "[prepare] fetching" not in again.log("vendor") and "[build] lower sweet 1.1" in again.log("compile: [lower]")
    assert "nightly" in again.jobs() and (work.directory / "made/package/words.tar").exists()
