"""The command line beside the server: tokens, the demo, and how failures are told."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from harness import secrets
from harness.server import BINARY, Server, environment, run
from harness.wait import wait_for
from harness.world import World, unique

Make = Callable[..., Server]


def test_a_token_is_made_beside_a_running_server_and_without_one(own_server: Make) -> None:
    server = own_server().start()
    running = server.create_token(scopes="read_api")
    user = requests.get(f"{server.url}/api/v4/user", headers={"PRIVATE-TOKEN": running}, timeout=10)
    assert user.status_code == 200 and running.startswith("glpat-")
    itself = requests.get(f"{server.url}/api/v4/personal_access_tokens/self", headers={"PRIVATE-TOKEN": running}, timeout=10).json()
    assert itself["scopes"] == ["read_api"] and itself["expires_at"]
    assert server.stop() == 0
    stopped = server.create_token()
    server.restart()
    for token in (running, stopped):
        assert requests.get(f"{server.url}/api/v4/user", headers={"PRIVATE-TOKEN": token}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--user", "nobody"], "nobody"),
        (["--user", "root", "--scopes", "everything"], "the scopes are api, read_api"),
        (["--user", "root", "--expires-in-days", "0"], "1..=3650"),
    ],
)
def test_a_token_that_cannot_be_made_says_why(world: World, arguments: list[str], text: str) -> None:
    done = world.server.rave("token", "create", "--data", world.server.data, *arguments)
    assert done.returncode in (1, 2) and done.stdout == "" and text in done.stderr, done.stderr


def test_without_a_data_directory_there_is_a_hint(scratch: Path) -> None:
    done = run(["token", "create", "--data", "nowhere", "--user", "root"], environment(scratch / "home"), scratch)
    assert done.returncode == 1 and "there is no data directory nowhere" in done.stderr and "hint:" in done.stderr
    assert not (scratch / "nowhere").exists()


def test_help_names_the_commands(scratch: Path) -> None:
    done = run(["--help"], environment(scratch / "home"), scratch)
    assert done.returncode == 0 and "rave demo" in done.stdout and "__routes" not in done.stdout


def test_the_demo_passes_and_ends(scratch: Path) -> None:
    directory = scratch / unique("demo")
    directory.mkdir()
    arguments = ["demo", "--once", "--bundled", "--data", directory / "demo", "--listen", "127.0.0.1:0"]
    done = run(arguments, environment(directory / "home"), directory, timeout=180)
    secrets.note_log(directory / "demo" / "rave.log")
    assert done.returncode == 0, done.stderr
    for text in ("RAVE is ready on", "Pushing", "lint", "build", "test", "scan", "release", "passed", "Made", "/-/pipelines/"):
        assert text in done.stderr, f"{text!r} is missing in:\n{done.stderr}"
    again = run(arguments, environment(directory / "home"), directory)
    assert again.returncode == 1 and "is not empty" in again.stderr and "hint:" in again.stderr


def test_the_demo_serves_until_it_is_interrupted(scratch: Path) -> None:
    directory = scratch / unique("demo")
    directory.mkdir()
    log = directory / "log"
    with log.open("wb") as output:
        command = [str(BINARY), "demo", "--bundled", "--listen", "127.0.0.1:0"]
        env = environment(directory / "home", TMPDIR=str(directory))
        process = subprocess.Popen(command, env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_for("the demo to serve", lambda: "Serving until" in log.read_text() or process.poll() is not None, 180, log.read_text)
        assert process.poll() is None, log.read_text()
        url = log.read_text().split("is ready on ")[1].split()[0]
        assert requests.get(f"{url}/-/login", timeout=10).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert list(directory.glob("rave-demo-*")) == [], "the temporary directory is gone"
