"""Caches of jobs: in a bucket of an S3 server, and what keys and policies say."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import bucket, secrets
from harness.bucket import client
from harness.desk import Desk
from harness.server import Server
from harness.wait import wait_for
from harness.world import World, unique

Make = Callable[..., Server]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with a bucket `caches`."""
    with bucket.serve("caches") as url:
        yield url


def test_caches_are_shared_through_a_bucket(own_server: Make, scratch: Path, s3: str) -> None:
    credentials = bucket.credentials(scratch)
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
