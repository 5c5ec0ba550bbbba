"""Things break on purpose: the server killed at bad moments, the database away. Nothing acknowledged is lost, nothing hangs."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.gate import Gates
from harness.git import Work, fsck
from harness.postgres import Postgres
from harness.proxy import HoldingProxy
from harness.server import Server
from harness.wait import wait_for
from harness.world import ENDED, Project, Run, World, unique
from harness.processes import processes

Make = Callable[..., Server]
CONFIG = "[ci]\nlost_runner_secs = 15\n"
YAML = "work:\n  script: echo done\n"
AWAY_SECS = 10
# What jobs fail for whose runner is gone.
LOST = {"runner_system_failure", "no_updates_running", "stuck_or_timeout_failure", "runner_interrupted"}


@dataclass
class Waiting:
    """A pipeline whose job waits at a gate."""

    world: World
    run: Run
    gate: str


@pytest.fixture
def fragile(own_server: Make, scratch: Path) -> World:
    """A server that the test may kill."""
    return World(own_server(config=CONFIG).start(), scratch)


def references(repository: Path) -> dict[str, str]:
    work = Work(repository, GIT_DIR=str(repository))
    lines = work.git("-c", "safe.directory=*", "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads").splitlines()
    return dict(line.split() for line in lines)


def test_killed_while_a_pack_arrives(fragile: World) -> None:
    project = fragile.project()
    project.push({"a": "1", ".gitlab-ci.yml": YAML}, "-o", "ci.skip")
    before = project.work.head()
    project.work.commit({"big.bin": os.urandom(30 << 20)})
    proxy = HoldingProxy(fragile.server, up_bytes=8 << 20)
    remote = project.owner.remote(project.path).replace(fragile.server.listen, proxy.address)
    push = project.work.start("-c", "core.compression=0", "push", remote, "HEAD:main")
    assert proxy.held.wait(60), "the push did not send enough"
    repository = fragile.server.repository(project.id)
    wait_for("the quarantine", lambda: any((repository / "objects").glob("*incoming-*")))
    fragile.server.kill()
    proxy.close()
    push.end().must_fail()

    fragile.server.restart()
    fsck(repository)
    assert references(repository) == {"main": before}
    assert project.gitlab.branches.get("main").commit["id"] == before
    # The same push goes through now, and makes its pipeline.
    project.work.push()
    project.run(project.work.head()).end("success")
    fsck(repository)


def test_killed_at_any_moment_of_many_pushes(fragile: World) -> None:
    """What git reported as pushed is there afterwards, with its pipeline; references and what the server knows agree."""
    project = fragile.project()
    project.push({".gitlab-ci.yml": YAML}, "-o", "ci.skip")
    acknowledged: dict[str, str] = {}
    for round in range(3):
        stop = threading.Event()
        thread = threading.Thread(target=push_until, args=(project, round, acknowledged, stop))
        thread.start()
        wait_for("some pushes", lambda: len(acknowledged) >= 2 * (round + 1))
        fragile.server.kill()
        stop.set()
        thread.join(60)
        fragile.server.restart()
    repository = fragile.server.repository(project.id)
    fsck(repository)
    on_disk = references(repository)
    assert {name: on_disk.get(name) for name in acknowledged} == acknowledged
    shown = {it.name: it.commit["id"] for it in project.gitlab.branches.list(get_all=True)}
    assert shown == on_disk
    # Every branch on disk has its pipeline, also those whose acknowledgement the kill cut off.
    expected = {sha for name, sha in on_disk.items() if name != "main"}
    wait_for("the pipelines", lambda: {it.sha for it in project.pipelines()} >= expected)
    made = [it.sha for it in project.pipelines() if it.status != "skipped"]
    assert len(made) == len(set(made)), "no push made two pipelines"
    wait_for("the pipelines' ends", lambda: {it.status for it in project.pipelines()} <= ENDED, 90, lambda: [it.asdict() for it in project.pipelines()])
    # A job that was killed with the server more often than it is tried again has failed for that, and for nothing else.
    failed = [job for it in project.pipelines() if it.status == "failed" for job in it.jobs.list(get_all=True)]
    reasons = {project.gitlab.jobs.get(it.id).failure_reason for it in failed}
    assert reasons <= LOST


def push_until(project: Project, round: int, acknowledged: dict[str, str], stop: threading.Event) -> None:
    for number in range(50):
        if stop.is_set():
            return
        name = f"b{round}-{number}"
        sha = project.work.commit({"n": f"{round} {number}"}, name)
        if project.work.try_git("push", "origin", f"HEAD:refs/heads/{name}").code == 0:
            acknowledged[name] = sha


def test_killed_while_a_job_runs(fragile: World, gates: Gates) -> None:
    word = unique("kill")
    marker = f"rave-victim-{os.getpid()}-{word}"
    yaml = f"stages: [one, two]\nwork:\n  stage: one\n  script: [echo the first lines, (exec -a {marker} sleep 120) &, {gates.wait_command(word)}]\nnext:\n  stage: two\n  script: echo next\n"
    run = fragile.ci(yaml)
    gates.wait_for_arrival(word)
    wait_for("the first lines", lambda: "the first lines" in run.trace("work"))
    first = run.job("work").id
    fragile.server.kill()
    wait_for("the killed server's jobs to end", lambda: not processes(marker), 30, lambda: processes(marker))
    gates.open(word)
    fragile.server.restart()
    old = run.project.gitlab.jobs.get(first)
    assert "the first lines" in old.trace().decode(), "the log that was acknowledged is still there"
    settled = wait_for("the job to be settled", lambda: run.job("work") if run.job("work").status in ("success", "failed") else None, 60, run.describe)
    if settled.status == "failed":
        assert settled.failure_reason in LOST
        settled.retry()
    run.end("success")
    assert run.statuses() == {"work": "success", "next": "success"}


def test_killed_while_an_artifact_is_uploaded(fragile: World, gates: Gates) -> None:
    word = unique("upload")
    yaml = f"""
big:
  retry: 2
  script: [head -c 16M /dev/urandom > big, {gates.tell_command(word, "$CI_JOB_ID")}]
  artifacts: {{paths: [big]}}
"""
    run = fragile.ci(yaml)
    gates.hear(word)
    blobs = fragile.server.data / "blobs"
    wait_for("the first bytes of the upload", lambda: stored_bytes(blobs) > 1 << 20)
    fragile.server.kill()
    half = stored_bytes(blobs)
    fragile.server.restart()
    settled = wait_for("the job to be settled", lambda: run.job("big") if run.job("big").status in ("success", "failed") else None, 90, run.describe)
    if settled.status == "failed":
        settled.retry()
    run.end("success", 90)
    job = run.job("big")
    assert job.artifacts_file["size"] > 16 << 20 and half > 0
    pieces = 0

    def count(piece: bytes) -> None:
        nonlocal pieces
        pieces += len(piece)

    job.artifacts(streamed=True, action=count)
    assert pieces == job.artifacts_file["size"]
    assert stored_bytes(blobs) < pieces * 1.2 + (8 << 20), "the half upload is gone"


def stored_bytes(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def test_stopped_while_a_job_runs(fragile: World, gates: Gates) -> None:
    """SIGTERM gives the job up; the next start takes it up again."""
    word = unique("stop")
    run = fragile.ci(f"work:\n  script: ['{gates.tell_command(word, 'try')}', {gates.wait_command(word)}]\n")
    gates.wait_for_arrival(word)
    assert fragile.server.stop() == 0
    gates.open(word)
    fragile.server.restart()
    settled = wait_for("the job to be settled", lambda: run.job("work") if run.job("work").status in ("success", "failed") else None, 60, run.describe)
    if settled.status == "failed":
        settled.retry()
    run.end("success")
    assert gates.heard(word) == 2


def test_started_again_and_again(fragile: World) -> None:
    project = fragile.project()
    for number in range(3):
        run = project.push_ci(YAML + f"# {number}\n")
        assert fragile.server.stop() == 0
        fragile.server.restart()
        run.end("success")
    assert {it.status for it in project.pipelines()} == {"success"}


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    it = Postgres()
    yield it
    it.close()


@pytest.fixture
def waiting(own_postgres: Postgres, scratch: Path, gates: Gates) -> Iterator[Waiting]:
    """A server whose database the test may take away, with a job that waits at a gate."""
    with Server(scratch / unique("away"), own_postgres.create_database(), CONFIG) as server:
        world = World(server.start(), scratch)
        gate = unique("away")
        run = world.ci(f"work:\n  script: [echo before, {gates.wait_command(gate)}, echo after]\n")
        gates.wait_for_arrival(gate)
        wait_for("the log's beginning", lambda: "before" in run.trace("work"))
        yield Waiting(world, run, gate)


def work_resumes(waiting: Waiting, gates: Gates) -> None:
    server, run = waiting.world.server, waiting.run
    assert server.process and server.process.poll() is None
    wait_for("the server to be ready", lambda: server.get("/-/ready").status_code == 200, 20)
    gates.open(waiting.gate)
    run.end("success")
    assert "before" in run.trace("work") and "\nafter" in run.trace("work").replace("\r", "")
    run.project.push_ci(YAML).end("success")


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_the_database_is_stopped_for_ten_seconds(own_postgres: Postgres, waiting: Waiting, gates: Gates, how: str) -> None:
    world, until = waiting.world, time.monotonic() + AWAY_SECS
    own_postgres.stop(how)
    statuses = set()
    while time.monotonic() < until:
        assert world.server.get("/-/health").status_code == 200, "the process itself lives"
        answer = world.root.get("/projects")
        statuses |= {world.server.get("/-/ready").status_code, answer.status_code}
        if answer.status_code == 503:
            assert answer.json() == {"message": "503 Service Unavailable"} and int(answer.headers["Retry-After"]) > 0
        Work(world.directory("away")).try_git("ls-remote", world.root.remote("root/absent")).must_fail("503")
    own_postgres.start()
    assert statuses == {503}, f"requests were answered with {statuses}"
    work_resumes(waiting, gates)


def test_the_database_is_silent_for_ten_seconds(own_postgres: Postgres, waiting: Waiting, gates: Gates) -> None:
    """Nothing breaks the connections: requests wait, are answered when it speaks again, and hold up nothing else."""
    world, until = waiting.world, time.monotonic() + AWAY_SECS
    own_postgres.freeze()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(world.root.get, "/projects") for _ in range(8)]
        while time.monotonic() < until:
            assert world.server.get("/-/health").status_code == 200, "the process itself lives"
        own_postgres.thaw()
        statuses = {it.result(60).status_code for it in asked}
    assert statuses <= {200, 503}
    work_resumes(waiting, gates)
