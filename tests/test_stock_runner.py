"""The stock GitLab Runner's life with the built server: registered, paused, stopped, cut off, behind TLS."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import secrets
from harness.gate import Gates
from harness.postgres import free_port
from harness.server import Server
from harness.stock import StockRunner, raw_log
from harness.tls import Authority, TlsFront
from harness.wait import wait_for
from harness.world import World, plain, unique

Make = Callable[..., Server]

# What the server answers does not depend on the database; `test_protocol` asks on both.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True, scope="session")


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


def test_a_runner_registers_itself_by_a_token_of_old(own_server: Make, scratch: Path, world: World) -> None:
    server = own_server(config="[runner]\nembedded = false\n[ci]\nrunner_registration = true\nrunner_token_days = 30\n")
    free = World(server.start(), scratch)
    project = free.project()
    token = secrets.note(free.root.post(f"/projects/{project.id}/runners/reset_registration_token").json()["token"])
    # Where the server does not allow it, and where the token is another's, nothing is written down.
    for other, words in ((world, "410"), (free, "403")):
        refused = StockRunner(other)
        done = refused.register_itself("GR1348941" + "w" * 20)
        assert done.returncode != 0 and words in done.stderr, done.stderr
        assert "[[runners]]" not in refused.config.read_text()
    runner = StockRunner(free)
    done = runner.register_itself(token, "--locked=false", "--access-level", "not_protected", "--maximum-timeout", 900)
    assert done.returncode == 0 and "Runner registered successfully" in done.stderr, done.stderr
    own = secrets.note(re.search(r'token = "([^"]+)"', runner.config.read_text())[1])
    assert not own.startswith("glrt-") and re.search(r"token_expires_at = 20\d\d-", runner.config.read_text())
    [made] = [it for it in free.root.gitlab.runners.list(get_all=True, iterator=False) if it.description == runner.tag and it.runner_type == "project_type"]
    told = free.root.gitlab.runners.get(made.id)
    assert (told.tag_list, told.locked, told.run_untagged, told.maximum_timeout) == ([runner.tag], False, False, 900)
    assert [it["id"] for it in told.projects] == [project.id]
    try:
        runner.start()
        run = project.push_ci(runner.tagged("work: {script: [echo by $CI_RUNNER_ID], variables: {GIT_STRATEGY: none}}\n")).end("success")
        assert run.job("work").runner["id"] == made.id
    finally:
        runner.kill()
    reset = runner.command("reset-token", "--name", runner.tag)
    assert reset.returncode == 0, reset.stderr
    assert secrets.note(re.search(r'token = "([^"]+)"', runner.config.read_text())[1]) != own
    assert runner.command("verify").returncode == 0
    gone = runner.command("unregister", "--name", runner.tag)
    assert gone.returncode == 0, gone.stderr
    assert free.root.get(f"/runners/{made.id}").status_code == 404, "one that registered itself goes altogether"


def test_a_paused_runner_gets_nothing_until_it_goes_on(world: World) -> None:
    with StockRunner(world) as runner:
        world.root.request("PUT", f"/runners/{runner.id}", json={"paused": True})
        start = len(world.server.log())
        run = runner.ci("work: {script: ['true'], variables: {GIT_STRATEGY: none}}\n")
        wait_for("it to ask in vain", lambda: len(re.findall(r"http.status=204 http.route=/api/v4/jobs/request", world.server.log(start))) >= 3)
        assert run.job("work").status == "pending"
        world.root.request("PUT", f"/runners/{runner.id}", json={"paused": False})
        run.end("success")


def test_a_runner_that_stops_asking_takes_no_job_with_it(world: World, gates: Gates) -> None:
    word = unique("quit")
    yaml = f"work: {{script: ['{gates.wait_command(word)}'], variables: {{GIT_STRATEGY: none}}}}\n"
    with StockRunner(world) as runner:
        run = runner.ci(yaml)
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
        run = runner.ci(f"work: {{script: ['{gates.wait_command(word)}'], variables: {{GIT_STRATEGY: none}}}}\n")
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
        run = runner.ci(yaml)
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
        runner.ci(yaml).end("success")
    finally:
        runner.kill()
        front.close()


def test_what_is_too_large_is_refused_once(own_server: Make, scratch: Path) -> None:
    server = own_server(config="[runner]\nembedded = false\n[ci]\nartifact_limit_bytes = 1000000\n").start()
    with StockRunner(World(server, scratch)) as runner:
        run = runner.ci("work:\n  script: [head -c 3000000 /dev/urandom > large]\n  artifacts: {paths: [large]}\n").end("failed")
    log = run.trace("work")
    assert log.count("Uploading artifacts as") == 1 and "413" in log, log
    assert [it["file_type"] for it in run.job("work").attributes["artifacts"]] == ["trace"]
