"""The stock GitLab Runner with its shell executor does jobs of the built server. Collected where `scripts/stock-runner` built it."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import secrets
from harness.gate import Gates
from harness.postgres import free_port
from harness.server import Server
from harness.stock import StockRunner
from harness.tls import Authority, TlsFront
from harness.vault import Vault, verified
from harness.wait import wait_for
from harness.world import Run, World, plain, unique

Make = Callable[..., Server]

# What the server answers does not depend on the database; `test_protocol` asks on both.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def stock(world: World) -> Iterator[StockRunner]:
    """The runner that most tests share."""
    with StockRunner(world) as it:
        yield it


def ci(stock: StockRunner, yaml: str, files: dict[str, str] | None = None, **options: object) -> Run:
    return stock.world.ci(stock.tagged(yaml), files, **options)


def section(log: str, name: str) -> str:
    """Returns what the log has in a section, as a reader sees it."""
    found = re.search(rf"section_start:\d+:{name}(?:\[[^\]]*\])?\r\x1b\[0K(.*?)section_end:\d+:{name}\r", log, re.DOTALL)
    assert found, f"the log has no section {name}:\n{log}"
    return plain(found[1])


def said(log: str, name: str) -> list[str]:
    """Returns the lines of a section without what the runner itself says."""
    own_words = ("Executing", "Running after", "WARNING: after_script failed")
    lines = [it.rstrip("\r") for it in section(log, name).splitlines()]
    return [it for it in lines if it and not it.startswith(own_words)]


def raw_log(run: Run, job: str) -> str:
    return run.job(job).trace().decode()


def test_a_runner_is_registered_verified_and_unregistered(world: World) -> None:
    runner = StockRunner(world)
    wrong = runner.register(secrets.note("glrt-" + "w" * 20))
    assert wrong.returncode != 0 and "is not valid" in wrong.stderr
    done = runner.register()
    assert done.returncode == 0 and "Runner registered successfully" in done.stderr, done.stderr
    assert runner.command("verify").returncode == 0
    [manager] = world.root.get(f"/runners/{runner.id}/managers").json()
    assert (manager["version"], manager["platform"], manager["architecture"]) == ("19.4.0", "linux", "amd64")
    assert manager["system_id"] == (runner.directory / ".runner_system_id").read_text().strip()
    told = world.root.get(f"/runners/{runner.id}").json()
    assert told["online"] is True and told["status"] == "online" and told["contacted_at"]
    reset = runner.command("reset-token", "--name", runner.tag)
    assert reset.returncode == 0, reset.stderr
    fresh = re.search(r'token = "(glrt-[^"]+)"', runner.config.read_text())[1]
    assert secrets.note(fresh) != runner.token and runner.register(runner.token).returncode != 0, "the old token is worth nothing"
    assert runner.command("verify").returncode == 0
    gone = runner.command("unregister", "--name", runner.tag)
    assert gone.returncode == 0, gone.stderr
    assert world.root.get(f"/runners/{runner.id}/managers").json() == []
    assert world.root.get(f"/runners/{runner.id}").status_code == 200, "a runner of the server's own making stays"


def test_a_log_is_live_while_the_job_runs(stock: StockRunner, gates: Gates) -> None:
    word = unique("live")
    run = ci(stock, f"work:\n  script: [echo before, echo complaint >&2, {gates.wait_command(word)}, echo after]\n")
    gates.wait_for_arrival(word)
    wait_for("the first lines", lambda: {"before", "complaint"} <= set(run.trace("work").replace("\r", "").splitlines()))
    job = run.job("work")
    assert job.status == "running" and job.runner["id"] == stock.id and "after\n" not in run.trace("work")
    gates.open(word)
    run.end("success")
    log = run.trace("work")
    assert f"Running with gitlab-runner 19.4.0" in log and "\nafter" in log and log.rstrip().endswith("Job succeeded")
    assert 'Getting source from Git repository' in log and run.project.work.head()[:8] in log


PIPELINE = """
stages: [build, test, after]
variables:
  TOP: "top $OTHER"
  OTHER: other
  RAW: {value: "$OTHER", expand: false}
build:
  stage: build
  before_script: [mkdir -p out/deep reports]
  script:
    - echo "$TOP and $RAW in $CI_JOB_NAME of $CI_COMMIT_REF_NAME"
    - echo made > out/deep/file && echo no > out/deep/left-out && echo plain > extra
    - 'echo "VERSION=1.2.3" > build.env'
    - cp suite.xml reports/ && cp suite.xml reports/second.xml
    - 'echo "[]" > quality.json && echo "{}" > links.json'
  after_script:
    - 'echo "status $CI_JOB_STATUS"'
  artifacts:
    name: "$CI_JOB_NAME-$CI_COMMIT_REF_NAME"
    paths: [out]
    exclude: [out/deep/left-out]
    untracked: true
    expire_in: 1 day
    reports: {dotenv: build.env, junit: reports/*.xml, codequality: quality.json, annotations: links.json}
test:
  stage: test
  needs: [build]
  script: ['echo "version $VERSION"', cat out/deep/file, '! test -e out/deep/left-out']
alone:
  stage: test
  dependencies: []
  script: ['! test -e out', 'echo "version $VERSION"']
fails:
  stage: test
  script: ["echo soon", "(exit 42)", "echo never"]
  after_script: ['echo "status $CI_JOB_STATUS"', "exit 7"]
  allow_failure: {exit_codes: 42}
  artifacts: {when: on_failure, paths: [suite.xml]}
again:
  stage: test
  retry: {max: 1, exit_codes: [77]}
  script: ["echo trying", "exit 77"]
  allow_failure: true
many:
  stage: after
  parallel: 2
  variables: {GIT_STRATEGY: none}
  script: ['echo "$CI_NODE_INDEX of $CI_NODE_TOTAL"']
"""
FORMATS = [
    ("annotations", "gzip", "gl-annotations.json.gz"),
    ("archive", "zip", "build-main.zip"),
    ("codequality", "raw", "gl-code-quality-report.json"),
    ("dotenv", "gzip", ".env.gz"),
    ("junit", "gzip", "junit.xml.gz"),
]
SUITE = '<testsuite name="s"><testcase classname="c" name="good"/><testcase classname="c" name="bad"><failure message="no"/></testcase></testsuite>'


def outcome(run: Run) -> dict[str, dict[str, object]]:
    """What a pipeline came to, as far as it should be the same whoever ran it."""
    told: dict[str, dict[str, object]] = {}
    for job in run.jobs().values():
        log, archive = job.trace().decode(), None
        if getattr(job, "artifacts_file", None):
            archive = zipfile.ZipFile(io.BytesIO(job.artifacts()))
        told[job.name] = {
            "status": (job.status, getattr(job, "failure_reason", None), job.allow_failure),
            "script": said(log, "step_script"),
            "after_script": said(log, "after_script") if ":after_script" in log else [],
            "exit": re.findall(r"exit (?:code|status) (\d+)", plain(log))[-1:],
            "files": {it: archive.read(it) for it in archive.namelist() if not it.endswith("/")} if archive else {},
            "artifacts": sorted((it["file_type"], it["file_format"], it["filename"]) for it in job.attributes["artifacts"] if it["file_type"] not in ("trace", "metadata")),
        }
    suites = run.project.owner.get(f"/projects/{run.project.id}/pipelines/{run.id}/test_report").json()["test_suites"]
    told["tests"] = {it["name"]: (it["total_count"], it["failed_count"]) for it in suites}
    return told


def test_a_pipeline_comes_to_the_same_on_either_runner(stock: StockRunner) -> None:
    files = {"suite.xml": SUITE}
    theirs = ci(stock, PIPELINE, files)
    ours = stock.world.ci(PIPELINE, files)
    theirs.end("success")
    ours.end("success")
    assert ours.job("build").runner["id"] != theirs.job("build").runner["id"] == stock.id
    found, expected = outcome(ours), outcome(theirs)
    made = expected["build"]["files"]
    assert (made["out/deep/file"], made["extra"], made["reports/second.xml"]) == (b"made\n", b"plain\n", SUITE.encode()) and "out/deep/left-out" not in made
    assert expected["build"]["artifacts"] == FORMATS
    fails = expected["fails"]
    assert (fails["status"], fails["exit"]) == (("failed", "script_failure", True), ["42"]) and "status failed" in fails["after_script"]
    assert "version 1.2.3" in expected["test"]["script"] and "version " in expected["alone"]["script"]
    assert expected["tests"] == {"build": (4, 2)}
    assert found.keys() == expected.keys()
    for name in expected:
        for what in expected[name]:
            assert found[name][what] == expected[name][what], f"{what} of {name}"
    tries = [it.name for run in (ours, theirs) for it in run.pipeline.jobs.list(get_all=True, include_retried=True)]
    assert tries.count("again") == 4, "both tried twice"


def test_masked_values_prefixes_and_files(stock: StockRunner, gates: Gates) -> None:
    project, masked, word = stock.world.project(), secrets.new_password(), unique("variables")
    project.gitlab.variables.create({"key": "MASKED", "value": masked, "masked": True, "raw": True})
    project.gitlab.variables.create({"key": "CERT", "value": "line one\nline two\n", "variable_type": "file"})
    project.gitlab.variables.create({"key": "RAW", "value": "$CI_JOB_NAME", "raw": True})
    yaml = f"""
work:
  script:
    - echo "the secret is $MASKED"
    - echo "a token glpat-abcdefghijklmnopqrst stands here, and our rvs-abcdefghijklmnopqrst"
    - echo "https://example.org/?private_token=abcdef"
    - {gates.tell_command(word, "$RAW|$(cat $CERT)|$CERT")}
    - {gates.tell_command(word, "$MASKED")}
"""
    run = project.push_ci(stock.tagged(yaml)).end("success")
    raw, cert, path = gates.hear(word).split("|")
    assert (raw, cert) == ("$CI_JOB_NAME", "line one\nline two") and path.endswith(".tmp/CERT")
    assert gates.hear(word) == masked
    log = run.trace("work")
    assert "the secret is [MASKED]" in log and masked not in log
    assert "a token glpat-[MASKED] stands here, and our rvs-[MASKED]" in log and "private_token=[MASKED]" in log


def test_a_cancel_ends_the_script_and_lets_after_script_run(stock: StockRunner, gates: Gates) -> None:
    word, told = unique("cancel"), unique("after")
    yaml = f"""
work:
  script: [echo begun, {gates.wait_command(word)}, echo never-reached-$((1 + 1))]
  after_script: [{gates.tell_command(told, "$CI_JOB_STATUS")}, echo tidied-$((1 + 1))]
  artifacts: {{when: always, paths: [.gitlab-ci.yml]}}
"""
    run = ci(stock, yaml)
    gates.wait_for_arrival(word)
    run.job("work").cancel()
    assert run.job("work").status == "canceling", "this runner can end gracefully"
    assert gates.hear(told) == "canceled"
    run.end("canceled")
    log = run.trace("work")
    assert "tidied-2" in log and "never-reached-2" not in log


def test_a_forced_cancel_ends_everything(stock: StockRunner, gates: Gates) -> None:
    word, told = unique("forced"), unique("after")
    run = ci(stock, f"work:\n  script: [{gates.wait_command(word)}]\n  after_script: [{gates.tell_command(told, 'tidied')}]\n")
    gates.wait_for_arrival(word)
    job = run.job("work")
    for force in (False, True):
        answer = stock.world.root.post(f"/projects/{run.project.id}/jobs/{job.id}/cancel", json={"force": force})
        assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "canceled"
    wait_for("the runner to drop the job", lambda: re.search(rf"Removed job from processing list .*job={job.id} ", plain(stock.log())), otherwise=stock.log)
    assert gates.heard(told) == 0 and run.job("work").status == "canceled"


def test_a_job_that_takes_too_long_is_ended(stock: StockRunner, gates: Gates) -> None:
    run = ci(stock, f"work:\n  timeout: 3 seconds\n  script: [echo begun, {gates.wait_command(unique('never'))}]\n")
    run.end("failed")
    assert run.job("work").failure_reason == "job_execution_timeout" and "\nbegun" in run.trace("work")


def test_failures_have_reasons(stock: StockRunner) -> None:
    yaml = """
code: {script: [exit 3]}
none: {script: ["true"], dependencies: [], artifacts: {paths: [absent]}}
source: {variables: {GIT_SUBMODULE_STRATEGY: nonsense}, script: ["true"]}
bad-dotenv: {script: ["echo 'not a variable' > x.env"], artifacts: {reports: {dotenv: x.env}}}
"""
    run = ci(stock, yaml).end("failed")
    jobs = run.jobs()
    assert (jobs["code"].status, jobs["code"].failure_reason) == ("failed", "script_failure")
    assert jobs["none"].status == "success" and "no matching files" in run.trace("none")
    assert jobs["source"].status == "failed" and "unknown GIT_SUBMODULE_STRATEGY" in run.trace("source")
    assert jobs["bad-dotenv"].status == "failed" and "400 Bad" in run.trace("bad-dotenv"), run.trace("bad-dotenv")


def test_a_cache_is_there_the_second_time(stock: StockRunner) -> None:
    yaml = """
work:
  cache:
    key: "$CI_COMMIT_REF_SLUG-two"
    fallback_keys: [common]
    paths: [.cache/]
  script:
    - cat .cache/seen || echo "nothing" "yet"
    - mkdir -p .cache
    - echo "made by $CI_PIPELINE_IID" >> .cache/seen
"""
    first = ci(stock, yaml).end("success")
    assert "nothing yet" in first.trace("work")
    second = first.project.push_ci(stock.tagged(yaml + "# again\n")).end("success")
    assert "made by 1" in second.trace("work") and "nothing yet" not in second.trace("work")
    first.project.push_ci(stock.tagged(yaml.replace('"$CI_COMMIT_REF_SLUG-two"', "common"))).end("success")
    other = first.project.push_ci(stock.tagged(yaml.replace("-two", "-other"))).end("success")
    assert "made by 3" in other.trace("work"), "a key without a cache falls back"


@pytest.fixture
def vault(world: World) -> Iterator[Vault]:
    it = Vault(world)
    yield it
    it.close()


def test_identity_tokens_open_a_vault(stock: StockRunner, vault: Vault) -> None:
    yaml = f"""
variables: {{VAULT_SERVER_URL: "{vault.url}", VAULT_AUTH_ROLE: deploy, VAULT_NAMESPACE: team}}
deploy:
  id_tokens: {{VAULT_ID_TOKEN: {{aud: "https://vault.test"}}}}
  secrets:
    PASSWORD: {{vault: production/db/password@ops}}
    PORT: {{vault: {{engine: {{name: kv-v2, path: ops}}, path: production/db, field: port}}, file: false}}
  script:
    - test "$(cat $PASSWORD)" = correct-horse-battery && test "$PORT" = 5432
    - echo "it is $(cat $PASSWORD)" "and $VAULT_ID_TOKEN"
    - printf %s "$VAULT_ID_TOKEN" > token
  artifacts: {{paths: [token]}}
"""
    run = ci(stock, yaml).end("success")
    log = run.trace("deploy")
    assert "Resolving secrets" in log and "it is [MASKED] and [MASKED]" in log
    token = zipfile.ZipFile(io.BytesIO(run.job("deploy").artifacts())).read("token").decode()
    assert verified(stock.world, token, "https://vault.test")["job_id"] == str(run.job("deploy").id)


def test_a_long_log_arrives_whole_in_pieces(stock: StockRunner) -> None:
    """Longer than one piece may be, and written quicker than it is sent. With time stamps it is near the runner's limit."""
    run = ci(stock, "work:\n  variables: {GIT_STRATEGY: none}\n  script: [seq -f 'line %06g of many' 60000]\n").end("success")
    log = plain(raw_log(run, "work"))
    assert re.findall(r"line (\d{6}) of many", log) == [f"{it:06}" for it in range(1, 60001)]


def test_a_log_has_an_end(world: World) -> None:
    with StockRunner(world, "output_limit = 64\n") as runner:
        run = ci(runner, "work:\n  variables: {GIT_STRATEGY: none}\n  script: [seq 100000, echo]\n").end("success")
    log = run.trace("work")
    assert "Job's log exceeded limit of 65536 bytes" in log and len(raw_log(run, "work")) < 70000


def test_sources_are_what_the_pipeline_is_for(stock: StockRunner, gates: Gates) -> None:
    """A branch that moved on and was rewritten meanwhile, a tag, whole history, and a shallow one."""
    word = unique("sources")
    yaml = f"""
stages: [first, then]
gate: {{stage: first, variables: {{GIT_STRATEGY: none}}, script: ["{gates.wait_command(word)}"]}}
shallow: {{stage: then, variables: {{GIT_DEPTH: "1", GIT_STRATEGY: clone}}, script: ["git rev-parse HEAD", "git rev-list --count HEAD", cat what]}}
whole: {{stage: then, variables: {{GIT_DEPTH: "0", GIT_STRATEGY: clone}}, script: ["git rev-parse HEAD", "git rev-list --count HEAD", cat what]}}
"""
    project = stock.world.project()
    project.push({"what": "zero\n"})
    project.work.git("checkout", "-q", "-b", "topic")
    project.push({"what": "one\n"})
    run = project.push_ci(stock.tagged(yaml))
    sha = project.work.head()
    gates.wait_for_arrival(word)
    project.work.git("reset", "-q", "--hard", "HEAD~1")
    project.push({"what": "rewritten\n"}, "--force", "-o", "ci.skip").must_succeed()
    gates.open(word)
    run.end("success")
    assert said(raw_log(run, "shallow"), "step_script")[1::2] == [sha, "1", "one"]
    assert said(raw_log(run, "whole"), "step_script")[1::2] == [sha, "3", "one"]


def test_a_paused_runner_gets_nothing_until_it_goes_on(world: World) -> None:
    with StockRunner(world) as runner:
        world.root.request("PUT", f"/runners/{runner.id}", json={"paused": True})
        run = ci(runner, "work: {script: ['true'], variables: {GIT_STRATEGY: none}}\n")
        asked = len(re.findall(r"Checking for jobs|contacted", runner.log()))
        assert run.job("work").status == "pending" and asked >= 0
        world.root.request("PUT", f"/runners/{runner.id}", json={"paused": False})
        run.end("success")


def test_a_runner_that_stops_asking_takes_no_job_with_it(world: World, gates: Gates) -> None:
    word = unique("quit")
    yaml = f"work: {{script: ['{gates.wait_command(word)}'], variables: {{GIT_STRATEGY: none}}}}\n"
    with StockRunner(world) as runner:
        run = ci(runner, yaml)
        gates.wait_for_arrival(word)
        runner.process.send_signal(3)
        wait_for("the runner to stop asking", lambda: "graceful" in runner.log().lower(), otherwise=runner.log)
        later = run.project.push_ci(runner.tagged(yaml + "# later\n"))
        gates.open(word)
        run.end("success")
        assert runner.process.wait(60) == 0
        assert later.job("work").status == "pending", "nobody asks for it"
        runner.start()
        later.end("success")


def test_a_runner_that_is_told_to_end_gives_its_job_to_the_next(world: World, gates: Gates) -> None:
    word = unique("term")
    with StockRunner(world) as runner:
        run = ci(runner, f"work: {{script: ['{gates.wait_command(word)}'], variables: {{GIT_STRATEGY: none}}}}\n")
        gates.wait_for_arrival(word)
        runner.stop()
        run.wait_for_job("work", "pending")
        gates.open(word)
        runner.start()
        run.end("success")
    tries = run.pipeline.jobs.list(get_all=True, include_retried=True)
    assert sorted((it.status, getattr(it, "failure_reason", None)) for it in tries) == [("failed", "runner_interrupted"), ("success", None)]


def test_a_server_that_restarts_loses_nothing_of_a_running_job(own_server: Make, scratch: Path, gates: Gates) -> None:
    server = own_server(config="[runner]\nembedded = false\n").start()
    world = World(server, scratch)
    before, after, down = unique("before"), unique("after"), unique("down")
    yaml = f"""
work:
  script: [seq -f 'early %g' 2000, {gates.wait_command(before)}, seq -f 'meanwhile %g' 2000, {gates.tell_command(down, "written")}, {gates.wait_command(after)}, echo last]
  artifacts: {{paths: [.gitlab-ci.yml]}}
"""
    with StockRunner(world) as runner:
        run = ci(runner, yaml)
        gates.wait_for_arrival(before)
        wait_for("the first part of the log", lambda: "early 2000" in run.trace("work"))
        server.kill()
        gates.open(before)
        gates.hear(down)
        server.start()
        gates.open(after)
        run.end("success")
    log = plain(raw_log(run, "work"))
    assert re.findall(r"(?m)^(early|meanwhile) (\d+)\r?$", log) == [(word, str(it)) for word in ("early", "meanwhile") for it in range(1, 2001)]
    assert "\nlast" in log and run.job("work").attributes["artifacts"]


def test_a_server_behind_tls_of_a_private_authority(own_server: Make, scratch: Path) -> None:
    directory = scratch / unique("tls")
    directory.mkdir()
    known, stranger = Authority(directory, "known"), Authority(directory, "stranger")
    front = TlsFront(known)
    server = own_server(config="[runner]\nembedded = false\n", arguments=("--external-url", front.url), listen=f"127.0.0.1:{free_port()}")
    front.server = server.start()
    world = World(server, scratch)
    runner = StockRunner(world)
    refused = runner.register(None, "--tls-ca-file", stranger.path, url=front.url)
    assert refused.returncode != 0 and "certificate signed by unknown authority" in refused.stderr
    done = runner.register(None, "--tls-ca-file", known.path, url=front.url)
    assert done.returncode == 0, done.stderr
    try:
        runner.start()
        # Sources, log, artifacts and their download go that way.
        yaml = "stages: [a, b]\none: {stage: a, script: [date > file], artifacts: {paths: [file]}}\ntwo: {stage: b, script: [cat file .gitlab-ci.yml]}\n"
        ci(runner, yaml).end("success")
    finally:
        runner.kill()
        front.close()


def test_what_is_too_large_is_refused_once(own_server: Make, scratch: Path) -> None:
    server = own_server(config="[runner]\nembedded = false\n[ci]\nartifact_limit_bytes = 1000000\n").start()
    with StockRunner(World(server, scratch)) as runner:
        run = ci(runner, "work:\n  script: [head -c 3000000 /dev/urandom > large]\n  artifacts: {paths: [large]}\n").end("failed")
    log = run.trace("work")
    assert log.count("Uploading artifacts as") == 1 and "413" in log, log
    assert [it["file_type"] for it in run.job("work").attributes["artifacts"]] == ["trace"]
