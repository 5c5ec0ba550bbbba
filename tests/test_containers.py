"""Jobs in containers of a real Podman, through the Docker Engine API."""

from collections.abc import Callable, Iterator

import pytest

from harness.podman import Podman
from harness.processes import processes
from harness.registry import Registry
from harness.runner import RemoteRunner
from harness.server import Server
from harness.tree import Tree
from harness.wait import wait_for
from harness.world import Run, World, unique


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    it = Podman()
    it.make_image("localhost/tools:1", {"bin/only-here": "#!/bin/sh\necho from the image\n"})
    it.make_image("localhost/worker:1", {}, "USER worker")
    page = {"www/index.html": "hello from the service\n"}
    it.make_image("localhost/team/web:1", page, 'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]', "EXPOSE 8080")
    yield it
    it.close()


@pytest.fixture(scope="module")
def containers(podman: Podman, scratch, postgres) -> Iterator[World]:
    """A server whose runner runs jobs in containers."""
    config = f"""
[runner]
executor = "container"
concurrency = 2
[runner.container]
host = "{podman.host}"
[runner.images]
default_image = "localhost/tools:1"
pull_policies = ["if-not-present"]
allowed_pull_policies = ["never", "if-not-present"]
allowed_images = ["localhost/**"]
"""
    with Server(scratch / "containers", None, config) as server:
        yield World(server.start(), scratch)


def test_a_job_runs_in_its_image_and_its_files_come_and_go(containers: World, podman: Podman) -> None:
    yaml = """
make:
  image: localhost/tools:1
  variables: {WORD: it's quoted}
  script:
    - only-here
    - test ! -e /usr/bin/git
    - echo "$WORD" > made.txt
    - cat README
    - touch /left-for-the-next-script
  after_script:
    - test -e /left-for-the-next-script && echo "same container"
  artifacts: {paths: [made.txt]}
take:
  stage: test
  needs: [make]
  script: ['cat made.txt', 'touch untracked', 'ls -ln made.txt']
"""
    run = containers.ci(yaml, {"README": "from the repository\n"}).end("success")
    log = run.trace("make")
    for text in ("from the image", "from the repository", "same container", "Using the image localhost/tools:1"):
        assert text in log
    assert "it's quoted" in run.trace("take")
    assert podman.containers() == []


def test_the_same_working_copy_serves_job_after_job(containers: World) -> None:
    """What a container's root made does not lock the runner's own git out of the next job."""
    yaml = "work:\n  script: ['test ! -e made/by/root', 'mkdir -p made/by', 'touch made/by/root']\n"
    project = containers.project()
    project.push_ci(yaml).end("success")
    project.push_ci(yaml, {"more": "1"}).end("success")


def test_a_user_of_the_image_may_write(containers: World) -> None:
    run = containers.ci("work:\n  image: localhost/worker:1\n  script: ['id -u', 'echo mine > made.txt']\n  artifacts: {paths: [made.txt]}\n")
    assert "\n1234\n" in run.end("success").trace("work").replace("\r", "")


def test_the_exit_code_and_what_was_printed_arrive(containers: World) -> None:
    run = containers.ci("work:\n  script: ['echo out', 'echo err >&2', 'exit 42']\n").end("failed")
    log = run.trace("work")
    assert "out\n" in log and "err\n" in log and "exit status 42" in log
    assert run.job("work").failure_reason == "script_failure"


def test_entrypoint_and_user_of_the_job_replace_those_of_the_image(containers: World) -> None:
    yaml = """
work:
  image:
    name: localhost/tools:1
    entrypoint: [env, FROM_ENTRYPOINT=yes]
    docker: {user: "1234"}
  script: ['echo "entrypoint $FROM_ENTRYPOINT"', 'echo "user $(id -u)"']
"""
    log = containers.ci(yaml).end("success").trace("work")
    assert "entrypoint yes" in log and "user 1234" in log


def test_services_answer_by_their_names(containers: World, podman: Podman) -> None:
    yaml = """
work:
  services:
    - name: localhost/team/web:1
      alias: site
    - name: localhost/tools:1
      alias: echo
      entrypoint: [sh, -c]
      command: ["echo $WORD > /word; httpd -f -p 80 -h /"]
      variables: {HEALTHCHECK_TCP_PORT: "80", WORD: own-variable}
  script:
    - wget -q -O - http://site:8080/index.html
    - wget -q -O - http://localhost-team-web:8080/index.html
    - wget -q -O - http://echo/word
"""
    run = containers.ci(yaml).end("success")
    log = run.trace("work")
    assert log.count("hello from the service") == 2 and "own-variable" in log and "WARNING" not in log
    assert podman.containers() == [] and podman.networks() == []


def test_a_service_that_does_not_answer_is_named_with_its_log(containers: World) -> None:
    yaml = """
work:
  services:
    - name: localhost/tools:1
      entrypoint: [sh, -c]
      command: ["echo cannot start: no configuration; exit 1"]
      variables: {HEALTHCHECK_TCP_PORT: "80"}
  script: ['true']
"""
    log = containers.ci(yaml).end("success").trace("work")
    assert "cannot start: no configuration" in log and "WARNING" in log


def test_what_the_runner_does_not_allow_fails_with_its_reason(containers: World) -> None:
    yaml = """
elsewhere: {image: "docker.io/library/alpine:3", script: ['true']}
absent: {image: {name: "localhost/absent:1", pull_policy: never}, script: ['true']}
policy: {image: {name: "localhost/tools:1", pull_policy: always}, script: ['true']}
"""
    run = containers.ci(yaml).end("failed")
    assert "does not allow the image" in run.trace("elsewhere")
    assert "is not here" in run.trace("absent")
    assert run.job("absent").failure_reason == "image_pull_failure"
    assert "does not allow the pull policy" in run.trace("policy")


def wait_for_text(run: Run, job: str, text: str) -> None:
    wait_for(f"{text!r} in the log of {job}", lambda: text in run.trace(job).splitlines(), otherwise=run.describe)


def test_a_cancel_ends_every_process_and_runs_after_script(containers: World, podman: Podman) -> None:
    yaml = """
work:
  script: ['sleep 3017 & sleep 0; echo begun; sleep 3018']
  after_script: ['echo "tidied up"']
"""
    run = containers.ci(yaml)
    wait_for_text(run, "work", "begun")
    run.job("work").cancel()
    run.end("canceled")
    wait_for_text(run, "work", "tidied up")
    wait_for("no container", lambda: podman.containers() == [])
    assert processes("sleep 3017") == [] and processes("sleep 3018") == []


def test_memory_is_limited(containers: World) -> None:
    yaml = "hog:\n  variables: {RAVE_MEMORY: 32Mi}\n  script: ['yes | sh -c \"x=\\$(cat); echo survived\"']\n"
    run = containers.ci(yaml).end("failed")
    assert "survived\n" not in run.trace("hog")


def test_a_killed_runner_leaves_nothing_for_long(podman: Podman, own_server: Callable[..., Server], scratch) -> None:
    world = World(own_server(config="[runner]\nembedded = false\n").start(), scratch)
    made = world.root.post("/user/runners", json={"runner_type": "instance_type"})
    arguments = (world.server.url, made.json()["token"], "--executor", "container", "--container-host", podman.host, "--pull-policy", "never")
    directory = world.directory("runner")
    run = world.ci("work:\n  image: {name: localhost/tools:1}\n  script: ['echo begun', 'sleep 3019']\n")
    with RemoteRunner(directory, *arguments) as runner:
        wait_for_text(run, "work", "begun")
        runner.kill()
    assert podman.containers() != []
    with RemoteRunner(directory, *arguments):
        wait_for("no container of the killed runner", lambda: podman.containers() == [])
        assert processes("sleep 3019") == []


@pytest.fixture(scope="module")
def registry(scratch) -> Iterator[Registry]:
    it = Registry(scratch / "registry")
    yield it
    it.close()


def test_a_laptop_runs_jobs_in_images_and_keeps_these(podman: Podman, registry: Registry, scratch) -> None:
    image = f"{registry.address}/tools:1"
    podman.run("push", "--tls-verify=false", "localhost/tools:1", image)
    pipeline = f"work:\n  image: {image}\n  script: [only-here, 'test ! -e /usr/bin/git', cat README]\n"
    work = Tree(scratch / unique("tree"), {".gitlab-ci.yml": pipeline, "README": "as it is\n"})
    for _ in range(2):
        ran = work.run("--executor", "sandbox").must(0)
        assert {"from the image", "as it is"} <= set(ran.log("work"))
        registry.close()


def test_a_laptop_runs_jobs_in_its_containers(podman: Podman, scratch) -> None:
    pipeline = """
work:
  image: localhost/tools:1
  services: [{name: localhost/team/web:1, alias: site}]
  script: [only-here, 'wget -q -O - http://site:8080/index.html']
"""
    work = Tree(scratch / unique("tree"), {".gitlab-ci.yml": pipeline})
    ran = work.run("--executor", "container", DOCKER_HOST=podman.host).must(0)
    assert {"from the image", "hello from the service"} <= set(ran.log("work"))
    assert podman.containers() == []
