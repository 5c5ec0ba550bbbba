"""The object store: looked after beside a running server, killed under load, and out of space."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from harness.server import BINARY, Server
from harness.wait import wait_for
from harness.world import Run, World, unique
from test_protocol import Stock

Make = Callable[..., Server]
JOBS = 24


def blob(server: Server, command: str, *arguments: str, code: int = 0) -> dict:
    done = server.rave("blob", command, "--data", server.data, "--json", *arguments)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def make(world: World, count: int = 1) -> tuple[Stock, Run, list[dict]]:
    """Makes jobs, all taken by a runner that does what the test says."""
    stock = Stock(world)
    jobs = "".join(f"job{number}:\n  tags: [{stock.tag}]\n  script: [make]\n  artifacts: {{paths: [a]}}\n" for number in range(count))
    run = world.ci(jobs)
    return stock, run, [stock.take() for _ in range(count)]


def uploaded(world: World, run: Run, job: dict) -> bytes:
    answer = world.root.get(f"/projects/{run.project.id}/jobs/{job['id']}/artifacts")
    assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:200]}"
    return answer.content


def test_it_is_looked_after_beside_a_running_server(own_server: Make, scratch: Path) -> None:
    world = World(own_server().start(), scratch)
    server = world.server
    stock, run, (job, other) = make(world, 2)
    shared = random.Random(1).randbytes(1 << 20)
    assert stock.upload(job, shared).status_code == 201
    assert stock.upload(other, shared + b"and more").status_code == 201

    stats = blob(server, "stats")
    assert stats["objects"] == 2 and stats["logical_bytes"] == 2 * len(shared) + 8 and stats["dedup_ratio"] > 1.5
    assert stats["packs"]["open"] == 1 and stats["dead_bytes"] == 0
    assert blob(server, "verify")["sound"] is True
    nothing = blob(server, "gc", "--dry-run")
    assert nothing["dry_run"] and not any(nothing[it] for it in ("objects", "chunks", "packs", "packs_emptied"))
    assert blob(server, "gc")["objects"] == 0
    assert uploaded(world, run, job) == shared, "the server's own pack is as it was"

    (pack,) = (server.data / "blobs/packs").glob("*.pack")
    whole = pack.read_bytes()
    flip(pack, 1000)
    found = blob(server, "verify", code=1)
    assert (found["damaged_chunks"], found["damaged_objects"]) == (1, 2) and found["damaged"][0]["pack"] == pack.stem
    said = server.rave("blob", "verify", "--data", server.data)
    assert said.returncode == 1 and said.stdout.count("not served object ") == 2, said.stdout
    path = f"/projects/{run.project.id}/jobs/{job['id']}/artifacts"
    assert world.root.get(path).status_code >= 400
    flip(pack, 1000)
    assert pack.read_bytes() == whole
    stray = pack.with_name("01234567-89ab-7def-8123-456789abcdef.pack")
    stray.write_bytes(b"dead")
    repaired = blob(server, "verify", "--repair")
    assert repaired["whole_again"] == 2 and [it["pack"] for it in repaired["strays"]] == [stray.stem] and not stray.exists()
    assert uploaded(world, run, job) == shared
    assert server.stop() == 0
    assert blob(server, "gc")["objects"] == 0
    server.restart()
    assert uploaded(world, run, other) == shared + b"and more"


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def test_killed_at_any_moment_of_many_uploads(own_server: Make, scratch: Path) -> None:
    """What the server answered as stored reads back; what is in the store is sound; what was cut off can be sent again."""
    world = World(own_server(config="[ci]\nlost_runner_secs = 600\n").start(), scratch)
    stock, run, jobs = make(world, JOBS)
    dice = random.Random(7)
    shared = dice.randbytes(1 << 20)
    content = {job["id"]: shared + dice.randbytes(dice.randrange(3 << 20)) + shared for job in jobs}
    acknowledged: set[int] = set()

    def upload(job: dict) -> None:
        try:
            answer = stock.upload(job, content[job["id"]])
        except requests.RequestException:
            return
        if answer.status_code == 201:
            acknowledged.add(job["id"])

    for enough in (3, 8, 14):
        with ThreadPoolExecutor(6) as pool:
            sending = [pool.submit(upload, it) for it in jobs if it["id"] not in acknowledged]
            wait_for("some uploads", lambda: len(acknowledged) >= enough)
            world.server.kill()
            for it in sending:
                it.cancel()
        world.server.restart()
        assert blob(world.server, "verify")["sound"] is True
        for job in jobs:
            if job["id"] in acknowledged:
                assert uploaded(world, run, job) == content[job["id"]], "what was acknowledged is lost"
    for job in jobs:
        assert stock.upload(job, content[job["id"]]).status_code == 201, "an upload that was cut off can be sent again"
        assert uploaded(world, run, job) == content[job["id"]]
    found = blob(world.server, "verify")
    assert found["sound"] is True and found["strays"] == []


FULL_KIB = 12 << 10


@pytest.fixture
def full(own_server: Make, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A server for whose files there is that much space. The signal that comes with the limit is what a full disk has not."""
    script = scratch / unique("limited")
    script.write_text(f"#!/bin/bash\ntrap '' XFSZ\nulimit -f {FULL_KIB}\nexec {BINARY} \"$@\"\n")
    script.chmod(0o700)
    monkeypatch.setattr("harness.server.BINARY", script)
    return World(own_server().start(), scratch)


def test_a_full_disk_is_said_and_harms_nothing(full: World) -> None:
    world = full
    stock, run, (first, second, third) = make(world, 3)
    dice = random.Random(3)
    stored, large, little = dice.randbytes(3 << 20), dice.randbytes(20 << 20), dice.randbytes(100_000)
    assert stock.upload(first, stored).status_code == 201
    for _ in range(2):
        refused = stock.upload(second, large)
        assert refused.status_code == 507 and "disk is full" in refused.json()["message"], refused.text
    assert uploaded(world, run, first) == stored, "reading needs no space"
    found = blob(world.server, "verify")
    assert found["sound"] is True and found["objects"] == 1
    world.server.kill()
    # The next start cuts off what was written of the upload.
    world.server.restart()
    assert stock.upload(third, little).status_code == 201
    assert uploaded(world, run, third) == little and uploaded(world, run, first) == stored
    assert blob(world.server, "verify")["sound"] is True
