"""The store of objects: what jobs leave behind, in a bucket."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import bucket
from harness.server import Server
from harness.world import World, unique

Make = Callable[..., Server]

YAML = """
stages: [build, use]
build:
  stage: build
  script: [head -c 20000000 /dev/urandom > noise, sha256sum noise > sum, cp noise copy]
  artifacts: {paths: [noise, copy, sum]}
use:
  stage: use
  script: [sha256sum --check sum, cmp noise copy]
"""


def section(url: str, prefix: str, scratch: Path) -> str:
    return f'[blobs]\ns3_server_address = "{url}"\ns3_bucket = "objects"\npath = "{prefix}"\ns3_credentials_file = "{bucket.credentials(scratch)}"\n'


def test_objects_are_in_a_bucket(own_server: Make, scratch: Path) -> None:
    with bucket.serve("objects") as url:
        prefix = unique("rave")
        server = own_server(config=section(url, prefix, scratch)).start()
        world = World(server, scratch)
        run = world.ci(YAML).end("success")
        archive = run.job("build").artifacts()
        packs = bucket.client(url).list_objects_v2(Bucket="objects", Prefix=prefix)["Contents"]
        # Tens of objects for a gigabyte: each is as large as a pack, but for what was waited for.
        assert all(it["Key"].endswith(".pack") for it in packs) and len(packs) < 10, packs
        assert sum(it["Size"] for it in packs) < len(archive) * 1.01, (packs, len(archive))
        assert not list((server.data / "blobs").glob("**/*.pack"))
        server.kill()
        server.restart()
        assert run.job("build").artifacts() == archive
        # A pack that is gone is an error, not a short file.
        bucket.client(url).delete_object(Bucket="objects", Key=max(packs, key=lambda it: it["Size"])["Key"])
        with pytest.raises(Exception, match="IncompleteRead|Connection broken|50|404"):
            run.job("build").artifacts()


def test_a_bucket_that_fails_now_and_then_loses_nothing(own_server: Make, scratch: Path) -> None:
    with bucket.serve("objects") as url:
        troubled = bucket.Troubled(url)
        server = own_server(config=section(troubled.url, unique("rave"), scratch)).start()
        run = World(server, scratch).ci(YAML.replace("20000000", "2000000")).end("success")
        job = run.job("build")
        first = job.artifacts()
        assert job.artifacts() == first
        assert all(troubled.failed[it] > 0 for it in bucket.Troubled.TURNS), troubled.failed
        troubled.close()
