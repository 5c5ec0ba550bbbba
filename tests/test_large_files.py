"""Artifacts and caches that are large, or many, or whose connection breaks: streamed, in a form that anybody reads, and never twice."""

import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import secrets
from harness.processes import Peak
from harness.proxy import CuttingProxy
from harness.runner import RemoteRunner
from harness.server import Server
from harness.world import Run, World

MIB = 1 << 20
SMALL, LARGE = 1, 32
# More entries than the first form of zip archives can count.
MANY = 65_600


@pytest.fixture(scope="module")
def world(scratch: Path) -> Iterator[World]:
    """A server whose jobs another process runs. Which database it has does not matter here."""
    with Server(scratch / "large-files", config="[runner]\nembedded = false\n") as server:
        yield World(server.start(), scratch)


def runner(world: World, url: str) -> RemoteRunner:
    made = world.root.post("/user/runners", json={"runner_type": "instance_type"})
    assert made.status_code == 201, made.text
    return RemoteRunner(world.directory("runner"), url, secrets.note(made.json()["token"]))


def pipeline(size: int) -> str:
    """A file of so many mebibytes that no compression makes smaller, made, passed on and cached."""
    return f"""
stages: [make, use, restore]
make:
  stage: make
  script: [head -c {size}M /dev/urandom > file, sha256sum file]
  artifacts: {{paths: [file]}}
use:
  stage: use
  cache: {{key: it, paths: [file], policy: push}}
  script: sha256sum file
restore:
  stage: restore
  dependencies: []
  cache: {{key: it, paths: [file], policy: pull}}
  script: sha256sum file
"""


def sum_of(run: Run, job: str) -> str:
    found = re.search(r"^([0-9a-f]{64})  file", run.trace(job), re.MULTILINE)
    assert found, run.trace(job)
    return found[1]


def download(run: Run, into: Path) -> None:
    """Fetches what `make` left, in pieces: the archive, and the file out of it."""
    job = run.job("make")
    with (into / "archive.zip").open("wb") as file:
        job.artifacts(streamed=True, action=file.write)
    with (into / "file").open("wb") as file:
        job.artifact("file", streamed=True, action=file.write)


def test_memory_does_not_grow_with_what_jobs_pass_on(world: World) -> None:
    directory = world.directory("downloads")
    with runner(world, world.server.url) as remote:
        assert world.server.process

        def peaks_of(size: int) -> dict[str, int]:
            """Passes a file on and returns the most memory that the server and the runner had meanwhile."""
            peaks = {"server": Peak(world.server.process.pid), "runner": Peak(remote.process.pid)}
            run = world.ci(pipeline(size)).end("success", 300)
            assert sum_of(run, "make") == sum_of(run, "use") == sum_of(run, "restore")
            download(run, directory)
            return {name: it.mebibytes() for name, it in peaks.items()}

        small, large = peaks_of(SMALL), peaks_of(LARGE)
        assert (directory / "file").stat().st_size == LARGE * MIB
        growth = {name: large[name] - small[name] for name in small}
        assert max(growth.values()) < (LARGE - SMALL) // 2, f"{growth} MiB more than {small} MiB"
        assert remote.stop() == 0, remote.log()


def test_more_files_than_a_small_archive_counts(world: World) -> None:
    yaml = f"""
stages: [make, use]
make:
  stage: make
  script: [mkdir many, cd many, seq {MANY} | xargs touch, echo last > {MANY}]
  artifacts: {{paths: [many]}}
use:
  stage: use
  script: ["test $(ls many | wc -l) = {MANY}", cat many/{MANY}]
"""
    with runner(world, world.server.url):
        run = world.ci(yaml).end("success", 300)
    job, path = run.job("make"), world.directory("archive") / "archive.zip"
    path.write_bytes(job.artifacts())
    assert job.artifact(f"many/{MANY}") == b"last\n"
    with zipfile.ZipFile(path) as archive:
        assert sum(not it.endswith("/") for it in archive.namelist()) == MANY
        assert archive.read(f"many/{MANY}") == b"last\n"
    listed = subprocess.run(["unzip", "-tq", path], capture_output=True, text=True)
    assert listed.returncode == 0 and "No errors" in listed.stdout, listed.stdout[-500:] + listed.stderr


def test_a_download_that_breaks_off_goes_on(world: World) -> None:
    size = 8
    proxy = CuttingProxy(world.server, down_bytes=5 * MIB)
    try:
        with runner(world, proxy.url):
            run = world.ci(pipeline(size)).end("success", 120)
        assert sum_of(run, "make") == sum_of(run, "use")
        assert proxy.cut.is_set()
        start = re.search(r"^range: bytes=(\d+)-\r$", proxy.asked(), re.MULTILINE)
        assert start and int(start[1]) >= 4 * MIB, proxy.asked()
        assert proxy.down_bytes < (size + 2) * MIB, "what was there is not sent again"
    finally:
        proxy.close()


def test_a_part_of_an_archive_can_be_had(world: World) -> None:
    with runner(world, world.server.url):
        run = world.ci("make:\n  script: echo content > file\n  artifacts: {paths: [file]}\n").end("success")
    job = run.job("make")
    path, whole = f"/projects/{run.project.id}/jobs/{job.id}/artifacts", job.artifacts()

    def ask(**headers: str) -> tuple[int, bytes, str | None]:
        answer = world.root.get(path, headers={name.replace("_", "-"): it for name, it in headers.items()})
        return answer.status_code, answer.content, answer.headers.get("Content-Range")

    tag = world.root.get(path).headers["ETag"]
    size = len(whole)
    assert ask(Range="bytes=10-") == (206, whole[10:], f"bytes 10-{size - 1}/{size}")
    assert ask(Range="bytes=-7", If_Range=tag) == (206, whole[-7:], f"bytes {size - 7}-{size - 1}/{size}")
    assert ask(Range="bytes=10-", If_Range='"another"') == (200, whole, None)
    status, _, told = ask(Range=f"bytes={size}-")
    assert (status, told) == (416, f"bytes */{size}")
