"""`rave runner` on a machine of its own: its good days, its wrong tokens and its sudden death."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import secrets
from harness.gate import Gates
from harness.runner import RemoteRunner
from harness.server import Server, environment, run
from harness.wait import wait_for
from harness.world import World, unique
from harness.processes import processes

Make = Callable[..., Server]
# The embedded runner would take the jobs; a lost runner should be noticed soon.
CONFIG = "[runner]\nembedded = false\n[ci]\nlost_runner_secs = 15\n"


@pytest.fixture
def lonely(own_server: Make, scratch: Path) -> World:
    """A server that runs no jobs itself."""
    return World(own_server(config=CONFIG).start(), scratch)


def runner_token(world: World, **settings: object) -> str:
    made = world.root.post("/user/runners", json={"runner_type": "instance_type", **settings})
    assert made.status_code == 201, made.text
    return secrets.note(made.json()["token"])


def test_a_remote_runner_does_the_work(lonely: World, gates: Gates) -> None:
    word = unique("remote")
    yaml = f"""
stages: [build, test]
build:
  stage: build
  script: [echo built > file, {gates.wait_command(word)}]
  artifacts: {{paths: [file]}}
test:
  stage: test
  tags: [remote]
  script: cat file
"""
    run = lonely.ci(yaml)
    run.wait_for_job("build", "pending")
    token = runner_token(lonely, tag_list=["remote"], run_untagged=True, description="far away")
    with RemoteRunner(lonely.directory("runner"), lonely.server.url, token) as runner:
        gates.wait_for_arrival(word)
        job = run.wait_for_job("build", "running")
        assert job.runner["description"] == "far away"
        gates.open(word)
        run.end("success")
        assert "\nbuilt" in run.trace("test").replace("\r", "")
        assert runner.stop() == 0, runner.log()
    listed = lonely.root.get("/runners/all").json()
    assert [it["description"] for it in listed] == ["far away"]


def test_a_shell_runner_is_an_explicit_choice(lonely: World) -> None:
    run = lonely.ci("work:\n  script: [pwd, 'test -d \"$CI_PROJECT_DIR/.git\"', 'echo shared $CI_SHARED_ENVIRONMENT']\n")
    with RemoteRunner(lonely.directory("runner"), lonely.server.url, runner_token(lonely), "--executor", "shell"):
        run.end("success")
    assert "shared true" in run.trace("work")


def test_a_runner_that_is_told_to_stop_finishes_its_job(lonely: World, gates: Gates) -> None:
    word = unique("drain")
    run = lonely.ci(f"work:\n  script: {gates.wait_command(word)}\n")
    with RemoteRunner(lonely.directory("runner"), lonely.server.url, runner_token(lonely)) as runner:
        gates.wait_for_arrival(word)
        runner.process.terminate()
        wait_for("the runner to say so", lambda: "taking no more jobs" in runner.log())
        gates.open(word)
        run.end("success")
        assert runner.process.wait(30) == 0, runner.log()


def test_a_runner_that_dies_loses_no_job(lonely: World, gates: Gates) -> None:
    """Its lease ends, the job is tried again, and another runner does it."""
    word = unique("death")
    marker = f"rave-orphan-{os.getpid()}-{word}"
    yaml = f"work:\n  script: ['{gates.tell_command(word, 'try')}', (exec -a {marker} sleep 120) &, {gates.wait_command(word)}]\n"
    run = lonely.ci(yaml)
    token = runner_token(lonely)
    with RemoteRunner(lonely.directory("runner"), lonely.server.url, token) as runner:
        gates.wait_for_arrival(word)
        runner.kill()
    died = time.monotonic()
    wait_for("the dead runner's processes to end", lambda: not processes(marker), 20, lambda: processes(marker))
    wait_for("the job to be given up", lambda: run.job("work").status in ("pending", "failed"), 45, run.describe)
    assert time.monotonic() - died < 45
    gates.open(word)
    if run.job("work").status == "failed":
        assert run.job("work").failure_reason in ("runner_system_failure", "stuck_or_timeout_failure", "no_updates_running", "runner_interrupted")
        run.job("work").retry()
    with RemoteRunner(lonely.directory("runner"), lonely.server.url, token):
        run.end("success")
    assert gates.heard(word) == 2


MOMENTS = {
    "source": ("{wait}", "echo never", "true"),
    "script": ("true", "echo first words; printf unfinished; {wait}", "true"),
    # Past the most that a log holds, so that the words are in what is kept of its end.
    "flood": ("true", "seq 900000; echo last words; {wait}", "true"),
    "after": ("true", "echo done", "{wait}"),
}


def test_a_killed_runner_reports_its_jobs_when_it_is_back(lonely: World, gates: Gates) -> None:
    """Killed at several moments of a job: nothing of it is left, and the server hears of it long before it would give up."""
    directory, token = lonely.directory("runner"), runner_token(lonely)
    for moment, commands in MOMENTS.items():
        word = unique(moment)
        hook, script, after = (it.format(wait=gates.wait_command(word)) for it in commands)
        hooks = {"pre_get_sources_script": [hook]}
        run = lonely.ci(json.dumps({"work": {"hooks": hooks, "script": [script], "after_script": [after]}}))
        with RemoteRunner(directory, lonely.server.url, token) as runner:
            gates.wait_for_arrival(word)
            first = run.job("work").id
            if moment == "script":
                wait_for("the first words", lambda: "first words" in run.trace("work"))
            if moment == "flood":
                wait_for("the last words", lambda: any(b"last words" in it.read_bytes() for it in (directory / "data").rglob("tail")))
            runner.kill()
        gates.open(word)
        with RemoteRunner(directory, lonely.server.url, token) as runner:
            seen = lambda: run.project.gitlab.jobs.get(first)
            ended = wait_for("the job's end", lambda: seen() if seen().status == "failed" else None, 12, lambda: seen().asdict())
            assert ended.failure_reason == "runner_system_failure"
            log = ended.trace().decode()
            assert log.endswith("the runner was killed while the job ran\x1b[0;m\n"), log
            assert moment != "script" or "unfinished\n" in log, log
            assert moment != "flood" or ("exceeded limit" in log and "\n900000\nlast words\n" in log.replace("\r", "")), log[-1000:]
            assert runner.stop() == 0, runner.log()
        left = [str(it) for it in (directory / "data").rglob("*") if it.parent.name == "jobs" or it.name.endswith(".tmp")]
        assert left == []


@pytest.mark.parametrize("token", ["glrt-" + "x" * 32, "nonsense"])
def test_a_wrong_token_ends_the_runner_with_a_hint(world: World, token: str) -> None:
    with RemoteRunner(world.directory("runner"), world.server.url, token) as runner:
        assert runner.process.wait(30) == 1
        log = runner.log()
    assert "error: the server does not accept this runner" in log and "hint: check --url and --token" in log
    assert token not in log


def test_an_address_without_a_server_is_named(scratch: Path, world: World) -> None:
    with RemoteRunner(world.directory("runner"), "http://127.0.0.1:1", "glrt-" + "y" * 32) as runner:
        assert runner.process.wait(60) == 1
        assert "127.0.0.1:1" in runner.log() and "hint:" in runner.log()


def test_a_runner_that_is_deleted_gets_no_more_jobs(lonely: World) -> None:
    with RemoteRunner(lonely.directory("runner"), lonely.server.url, runner_token(lonely)):
        first = lonely.ci("work:\n  script: echo one\n").end("success")
        made = first.job("work").runner
        assert lonely.root.request("DELETE", f"/runners/{made['id']}").status_code == 204
        second = first.project.push_ci("work:\n  script: echo two\n")
        second.wait_for_job("work", "pending")
        again = runner_token(lonely)
        with RemoteRunner(lonely.directory("runner"), lonely.server.url, again):
            second.end("success")
    assert second.job("work").runner["id"] != made["id"]


def test_the_doctor_tells_what_serves(scratch: Path) -> None:
    env = environment(scratch / unique("home"))
    # Where it is started it leaves nothing, though its directory is by default below that.
    command = ["runner", "doctor", "--container-host", "unix:///no/such.sock"]
    told = run([*command, "--json"], env, scratch)
    assert not (scratch / "rave-runner").exists()
    assert told.returncode == 0, told.stdout
    findings = {it["subject"]: it for it in json.loads(told.stdout)["findings"]}
    assert findings["sandbox"]["health"] == "works" and findings["git"]["health"] == "works"
    assert findings["limits"]["health"] == "works" and "remedy" in findings["container"]
    shown = run(command, env, scratch).stdout
    assert "/no/such.sock" in shown and "remedy: " in shown
    refused = run([*command, "--executor", "container"], env, scratch)
    assert refused.returncode == 1 and "Jobs cannot run with the executor container" in refused.stdout
