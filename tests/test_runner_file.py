"""`rave runner register|run|verify|list|unregister`: runners of a configuration file in the stock runner's keys."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from harness import secrets
from harness.desk import Desk
from harness.gate import Gates
from harness.postgres import free_port
from harness.runner import RemoteRunner
from harness.server import BINARY, Server
from harness.tls import Authority, TlsFront
from harness.wait import wait_for
from harness.world import World, unique

Make = Callable[..., Server]


@pytest.fixture
def lonely(own_server: Make, scratch: Path) -> World:
    """A server that runs no jobs itself."""
    return World(own_server(config="[runner]\nembedded = false\n[ci]\nrunner_registration = true\n").start(), scratch)


def test_a_runner_comes_and_goes_by_the_file(lonely: World) -> None:
    desk = Desk(lonely.directory("desk"))
    missing = desk.command("run", status=1)
    assert "there is no configuration file" in missing.stderr and "hint:" in missing.stderr
    runner = desk.register(lonely, "laptop")
    assert desk.config.stat().st_mode & 0o777 == 0o600
    assert lonely.root.get(f"/runners/{runner}").json()["online"] is True, "register verifies"
    listed = json.loads(desk.command("list", "--json").stdout)
    assert [(it["name"], it["id"], it["executor"]) for it in listed] == [("laptop", runner, "sandbox")]
    token = re.search(r'token = "(glrt-.*)"', desk.config.read_text())
    assert token and token[1] not in desk.command("list").stdout + json.dumps(listed)
    twice = desk.command("register", "--url", lonely.server.url, "--token", token[1], status=1)
    assert f"has runner #{runner}" in twice.stderr
    refused = desk.command("register", "--url", lonely.server.url, "--token", token[1], "--tag-list", "a", status=2)
    assert "--tag-list goes with a registration token only" in refused.stderr
    wrong = desk.command("register", "--url", lonely.server.url, "--token", "glrt-nobodys", status=1)
    assert "does not accept this runner" in wrong.stderr and "Runners page" in wrong.stderr

    # One that registers itself goes with its entry; one that a person made stays for its other machines.
    registration = secrets.note(lonely.root.post("/runners/reset_registration_token").json()["token"])
    desk.command("register", "--url", lonely.server.url, "--registration-token", registration, "--tag-list", "old,way", "--name", "itself", "--executor", "shell")
    made = next(it for it in lonely.root.get("/runners/all").json() if it["description"] == "itself")
    secrets.note(re.findall(r'token = "(.*)"', desk.config.read_text())[1])
    assert lonely.root.get(f"/runners/{made['id']}").json()["tag_list"] == ["old", "way"]
    assert desk.command("verify").stdout.count("alive") == 2
    desk.command("unregister", "--name", "itself")
    assert lonely.root.get(f"/runners/{made['id']}").status_code == 404
    lonely.root.request("DELETE", f"/runners/{runner}")
    assert desk.command("verify", status=1).stdout.startswith("removed laptop")
    desk.command("verify", "--delete", status=1)
    assert json.loads(desk.command("list", "--json").stdout) == []


def test_two_runners_share_a_process_that_follows_the_file(lonely: World, gates: Gates) -> None:
    first, second = unique("first"), unique("second")
    yaml = f"""
one: {{tags: [one], script: ['echo $FROM_FILE', '{gates.wait_command(first)}']}}
two: {{tags: [two], script: ['{gates.wait_command(second)}']}}
three: {{tags: [three], script: [echo late]}}
"""
    run = lonely.ci(yaml)
    with Desk(lonely.directory("desk")) as desk:
        one = desk.register(lonely, "first", tag_list=["one"])
        desk.register(lonely, "second", tag_list=["two"])
        desk.edit(lambda it: it.replace("concurrent = 1", "concurrent = 3\nsentry_dsn = 'https://x'"))
        extra = '  environment = ["FROM_FILE=told-by-the-file"]\n  pre_build_script = "echo before"\n  executor = "shell"\n'
        desk.edit(lambda it: it.replace('  executor = "sandbox"\n', extra, 1))
        with socket.socket() as it:
            it.bind(("127.0.0.1", 0))
            port = it.getsockname()[1]
        desk.start("--listen-address", f"127.0.0.1:{port}")
        gates.wait_for_arrival(first)
        gates.wait_for_arrival(second)
        assert desk.log().count("sentry_dsn is left out") == 1
        assert run.job("one").runner["id"] == one
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        checked = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, timeout=30)
        assert checked.returncode == 0 and not checked.stdout, checked.stdout + checked.stderr
        running = re.findall(r'^gitlab_runner_jobs\{.*runner_name="(\w+)".*state="running".*\} 1$', metrics, re.MULTILINE)
        assert sorted(running) == ["first", "second"], metrics
        assert "gitlab_runner_concurrent 3" in metrics and 'endpoint="request_job",status="201"' in metrics
        # A third runner is taken up while jobs run, and a broken file changes nothing.
        good = desk.config.read_text()
        desk.edit(lambda it: it + "[[runners")
        desk.signal(signal.SIGHUP)
        wait_for("the complaint", lambda: "going on with the old one" in desk.log(), otherwise=desk.log)
        desk.config.write_text(good)
        desk.register(lonely, "third", tag_list=["three"])
        run.wait_for_job("three", "success")
        # One that leaves the file finishes its job.
        desk.command("unregister", "--name", "first")
        wait_for("the runner to leave", lambda: "it left the configuration" in desk.log(), otherwise=desk.log)
        gates.open(first)
        run.wait_for_job("one", "success")
        log = run.trace("one")
        assert "told-by-the-file" in log and "before" in log
        # SIGQUIT lets the other one finish.
        desk.signal(signal.SIGQUIT)
        wait_for("the runner to say so", lambda: "taking no more jobs; a second signal" in desk.log(), otherwise=desk.log)
        gates.open(second)
        run.end("success")
        assert desk.wait() == 0, desk.log()


def test_a_server_behind_tls_of_a_private_authority(own_server: Make, scratch: Path) -> None:
    directory = scratch / unique("tls")
    directory.mkdir()
    known, stranger = Authority(directory, "known"), Authority(directory, "stranger")
    front = TlsFront(known)
    server = own_server(config="[runner]\nembedded = false\n", arguments=("--external-url", front.url), listen=f"127.0.0.1:{free_port()}")
    front.server = server.start()
    world = World(server, scratch)
    token = secrets.note(world.root.post("/user/runners", json={"runner_type": "instance_type"}).json()["token"])
    # Sources from this machine's store and from the server, artifacts, and what a script itself asks the server.
    yaml = """
stages: [a, b]
one:
  stage: a
  script: [git ls-remote origin, 'curl -sS --fail --cacert "$CI_SERVER_TLS_CA_FILE" "$CI_API_V4_URL/job?job_token=$CI_JOB_TOKEN" | tee file']
  artifacts: {paths: [file]}
two:
  stage: b
  variables: {RAVE_OBJECT_CACHE: "false"}
  script: [cat file .gitlab-ci.yml]
"""
    try:
        with Desk(world.directory("desk")) as desk:
            register = ("register", "--url", front.url, "--token", token)
            for more in ((), ("--tls-ca-file", str(stranger.path))):
                refused = desk.command(*register, *more, status=1)
                assert "invalid peer certificate" in refused.stderr and "--tls-ca-file" in refused.stderr
            missing = desk.command(*register, "--tls-ca-file", "/nowhere", status=1)
            assert "cannot read /nowhere" in missing.stderr
            desk.command(*register, "--tls-ca-file", os.path.relpath(known.path, desk.directory))
            named = re.search(r'tls-ca-file = "(/.*)"', desk.config.read_text())
            assert named and known.path.samefile(named[1])
            assert desk.command("verify").stdout.startswith("alive")
            desk.start()
            run = world.ci(yaml).end("success")
            assert f'"id":{run.job("one").id}' in run.trace("two").replace(" ", "")
        # The same without a file.
        with RemoteRunner(world.directory("alone"), front.url, token, "--tls-ca-file", str(known.path)):
            world.ci(yaml).end("success")
    finally:
        front.close()


def test_more_runners_than_places_take_turns(lonely: World) -> None:
    run = lonely.ci("one: {tags: [one], script: [echo 1]}\ntwo: {tags: [two], script: [echo 2]}\n")
    with Desk(lonely.directory("desk")) as desk:
        for word in ("one", "two"):
            desk.register(lonely, word, tag_list=[word], run_untagged=False)
        desk.edit(lambda it: it.replace("check_interval = 0", "check_interval = 1"))
        desk.start()
        run.end("success")
        desk.signal(signal.SIGTERM)
        assert desk.wait() == 0, desk.log()


def test_a_process_that_is_refused_says_so_and_stays(lonely: World) -> None:
    with Desk(lonely.directory("desk")) as desk:
        runner = desk.register(lonely, "gone")
        lonely.root.request("DELETE", f"/runners/{runner}")
        desk.start()
        wait_for("the refusal", lambda: "the server refuses this runner" in desk.log(), otherwise=desk.log)
        desk.signal(signal.SIGINT)
        assert desk.wait() == 0, desk.log()


def test_help_has_examples() -> None:
    for command in ("", "register", "run", "verify", "list", "unregister"):
        words = [command] if command else []
        done = subprocess.run([str(BINARY), "runner", *words, "--help"], capture_output=True, text=True, timeout=30, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 0 and "Examples:" in done.stdout, done.stdout + done.stderr
