"""Caches of jobs: in a bucket of an S3 server, and what keys and policies say."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from harness import secrets
from harness.desk import Desk
from harness.server import Server
from harness.wait import wait_for
from harness.world import World, unique

Make = Callable[..., Server]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with a bucket `caches`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for("the S3 server", answers)
    client(f"http://127.0.0.1:{port}").create_bucket(Bucket="caches")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def client(url: str):  # type: ignore[no-untyped-def]
    settings = Config(s3={"addressing_style": "path"}, proxies={})
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret", config=settings)


def test_caches_are_shared_through_a_bucket(own_server: Make, scratch: Path, s3: str) -> None:
    credentials = scratch / "s3-credentials"
    credentials.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    prefix = unique("ci")
    config = f'[runner.cache]\ns3_server_address = "{s3}"\ns3_bucket = "caches"\ns3_credentials_file = "{credentials}"\npath = "{prefix}"\nshared = true\n'
    world = World(own_server(config=config).start(), scratch)
    yaml = """
stages: [one, two, three]
default:
  cache: &cache {key: "deps-$CI_COMMIT_REF_NAME", paths: [deps/]}
save:
  stage: one
  script: [mkdir deps, head -c 20000000 /dev/urandom > deps/noise, sha256sum deps/noise | cut -c1-64 > deps/sum]
restore:
  stage: two
  cache: {<<: *cache, policy: pull}
  script: ['[ "$(sha256sum deps/noise | cut -c1-64)" = "$(cat deps/sum)" ]', rm deps/noise]
fall back:
  stage: three
  cache: {key: other, fallback_keys: ["deps-$CI_COMMIT_REF_NAME"], paths: [deps/], policy: pull}
  script: test -s deps/noise
nothing:
  stage: three
  cache: {key: absent, paths: [deps/], policy: pull}
  script: test ! -e deps
broken:
  stage: three
  cache: {key: broken, paths: [deps/]}
  script: test ! -e deps
"""
    project = world.project()
    client(s3).put_object(Bucket="caches", Key=f"{prefix}/project/{project.id}/broken-non_protected", Body=b"no archive")
    client(s3).put_object(Bucket="caches", Key=f"{prefix}/project/{project.id}/broken-protected", Body=b"no archive")
    project.push({".gitlab-ci.yml": yaml})
    run = project.run(project.work.head())
    run.end("success")
    listed = client(s3).list_objects_v2(Bucket="caches", Prefix=prefix)["Contents"]
    names = sorted(it["Key"] for it in listed)
    [saved] = [it for it in listed if "/deps-main" in it["Key"]]
    # Sent in parts, which the server's tag shows.
    assert saved["Size"] > 16 << 20 and "-" in saved["ETag"], saved
    assert not [it for it in names if "absent" in it or "/other" in it], names
    assert "WARNING" in run.trace("broken")
    assert not list((world.server.data / "run" / "runner" / "builds").glob(".tmp*"))


def test_a_bucket_is_named_in_the_stock_runners_keys(own_server: Make, scratch: Path, s3: str) -> None:
    world, prefix = World(own_server(config="[runner]\nembedded = false\n").start(), scratch), unique("file")
    yaml = """
stages: [one, two]
default: {cache: {key: it, paths: [deps]}}
save: {stage: one, script: [mkdir deps, echo kept > deps/file]}
restore: {stage: two, script: [cat deps/file]}
"""
    with Desk(world.directory("desk")) as desk:
        number = desk.register(world, "bucket")
        section = f"""  [runners.cache]
    Type = "s3"
    Path = "{prefix}"
    [runners.cache.s3]
      ServerAddress = "{s3.removeprefix("http://")}"
      AccessKey = "key"
      SecretKey = "{secrets.note("secret-of-the-bucket")}"
      BucketName = "caches"
      Insecure = true
"""
        desk.edit(lambda it: it + section)
        desk.start()
        run = world.ci(yaml).end("success")
        assert "\nkept\n" in run.trace("restore").replace("\r", "")
    [found] = client(s3).list_objects_v2(Bucket="caches", Prefix=prefix)["Contents"]
    # Runners that do not share have their caches under the beginning of their tokens.
    assert f"/project/{run.project.id}/it" in found["Key"] and found["Key"].startswith(f"{prefix}/runner/"), found
    assert number == run.job("save").runner["id"] and "left out" not in desk.log()
