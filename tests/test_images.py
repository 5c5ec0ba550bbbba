"""Jobs in images and with services, in the sandbox: no Docker is involved."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.images import busybox, push
from harness.registry import Registry
from harness.world import World, unique


@pytest.fixture(scope="module")
def registry(scratch: Path) -> Iterator[Registry]:
    it = Registry(scratch / unique("registry"))
    yield it
    it.close()


def test_a_pipeline_in_images(world: World, registry: Registry) -> None:
    config = {"Env": ["PATH=/bin", "FROM_IMAGE=yes"], "ExposedPorts": {"80/tcp": {}}, "Cmd": ["httpd", "-f", "-p", "80", "-h", "/"]}
    image = push(registry.address, "team/tools", busybox(marker="this is the image\n"), config)
    yaml = f"""
stages: [build, test]
build:
  stage: build
  image: {image}
  script:
    - cat /marker
    - '! command -v git'
    - '! test -e /usr'
    - echo "as $(id -u), from image $FROM_IMAGE, secret $TOKEN"
    - cat README.md
    - echo built > built
    - echo changed > /marker
  after_script: [cat /marker]
  artifacts: {{paths: [built]}}
  cache: {{key: k, paths: [built]}}
test:
  stage: test
  image: {{name: {image}, docker: {{user: app}}}}
  services: [{{name: {image}, alias: web}}]
  script: [cat built, cat /marker, 'echo "as $(id -un)"', touch here, wget -q -O - http://web/marker]
outside:
  stage: test
  script: [git log --oneline, test ! -e /marker]
"""
    run = world.ci(yaml, files={"README.md": "the working copy\n"}).end("success")
    build, test = run.trace("build"), run.trace("test")
    for text in ["this is the image", "as 0, from image yes", "the working copy", "\nchanged"]:
        assert text in build, build
    assert "\nbuilt\n" in test and "\nas app\n" in test and "changed" not in test, test
    assert test.count("\nthis is the image\n") == 2, test
    assert run.job("test").runner is not None


def test_an_image_that_does_not_exist_is_named(world: World, registry: Registry) -> None:
    run = world.ci(f"work: {{image: '{registry.address}/nothing:1', script: [echo unreachable]}}\n").end("failed")
    assert run.job("work").failure_reason == "image_pull_failure"
    assert f"{registry.address}/nothing:1" in run.trace("work") and "404" in run.trace("work")
