"""Files that pipelines include from elsewhere, with inputs: by python-gitlab's lint, and by pipelines that really run."""

import hashlib
import http.server
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator

import pytest
from gitlab.v4.objects import ProjectCiLint
from harness.server import Server
from harness.world import Account, Project, World

REPORTER = 20


def lint(project: Project, text: str, account: Account | None = None) -> ProjectCiLint:
    """Asks what the language says of a file."""
    return project.as_(account or project.owner).ci_lint.create({"content": text, "include_jobs": True})


def names(project: Project, text: str, account: Account | None = None) -> list[str]:
    answer = lint(project, text, account)
    assert answer.valid, answer.errors
    return sorted(job["name"] for job in answer.jobs)


def errors(project: Project, text: str, account: Account | None = None) -> str:
    answer = lint(project, text, account)
    assert not answer.valid
    return "\n".join(answer.errors)


def filled(project: Project) -> Project:
    """Gives a project a first commit."""
    project.push({"README.md": "hello\n"})
    return project


def library(world: World, **settings: object) -> Project:
    """Makes a project with files for others: a pipeline in two parts, and components in two versions."""
    project = world.project(**settings)
    project.push(
        {
            "ci/build.yml": "spec:\n  inputs:\n    word: {}\n    lines: {type: array, default: [echo one, echo two]}\n---\n"
            "include: /ci/more.yml\nbuild:\n  stage: build\n  script: ['$[[ inputs.lines ]]', 'echo \"$[[ inputs.word ]] is built\"']\n",
            "ci/more.yml": "more: {script: [echo more]}\n",
            "templates/greet.yml": "spec:\n  component: [version]\n  inputs: {who: {default: world}}\n---\n"
            "greet-$[[ component.version ]]: {script: ['echo \"hello $[[ inputs.who ]]\"']}\n",
        }
    )
    for tag in ["1.0.0", "1.1.0", "2.0.0-rc1"]:
        project.work.git("tag", tag)
    project.work.push("origin", "--tags")
    return project


def test_a_pipeline_of_included_files_runs(world: World) -> None:
    shared = library(world)
    host = world.server.url.removeprefix("http://")
    yaml = f"""
include:
  - project: {shared.path}
    file: ci/build.yml
    inputs: {{word: everything}}
  - component: {host}/{shared.path}/greet@~latest
    inputs: {{who: everybody}}
  - template: Workflows/Branch-Pipelines.gitlab-ci.yml
own: {{script: [echo own]}}
"""
    run = world.ci(yaml).end("success")
    assert sorted(run.jobs()) == ["build", "greet-1.1.0", "more", "own"]
    log = run.trace("build")
    assert "one" in log and "two" in log and "everything is built" in log
    assert "hello everybody" in run.trace("greet-1.1.0")


def test_a_project_is_read_as_the_user_who_asks(world: World) -> None:
    shared, project = library(world), filled(world.project())
    stranger = project.member("stranger", 30)
    yaml = f"include: [{{project: {shared.path}, file: ci/more.yml}}]"
    assert names(project, yaml) == ["more"]
    hidden = errors(project, yaml, stranger)
    missing = errors(project, yaml.replace(shared.path, "no/such"), stranger)
    assert "not found or access denied!" in hidden
    assert hidden.replace(shared.path, "X") == missing.replace("no/such", "X"), "a hidden project looks as if it did not exist"
    shared.add(stranger, REPORTER)
    assert names(project, yaml, stranger) == ["more"]
    # Paths are found however they are written, at any reference.
    assert names(project, f"include: [{{project: {shared.path.upper()}, file: ci/more.yml, ref: 1.0.0}}]") == ["more"]
    assert "reference `none` does not exist!" in errors(project, yaml.replace("}]", ", ref: none}]"))


def test_anybody_may_include_a_public_project(world: World) -> None:
    shared, project = library(world, visibility="public"), filled(world.project())
    stranger = project.member("reader", 30)
    assert names(project, f"include: [{{project: {shared.path}, file: ci/more.yml}}]", stranger) == ["more"]


@pytest.mark.parametrize(
    ("version", "found"),
    [("~latest", "1.1.0"), ("1", "1.1.0"), ("1.0", "1.0.0"), ("1.0.0", "1.0.0"), ("2.0.0-rc1", "2.0.0-rc1"), ("main", "main")],
)
def test_versions_of_components(world: World, components: tuple[Project, Project], version: str, found: str) -> None:
    shared, project = components
    host = world.server.url.removeprefix("http://")
    assert names(project, f"include: [{{component: {host}/{shared.path}/greet@{version}}}]") == [f"greet-{found}"]


def test_components_are_named_exactly(world: World, components: tuple[Project, Project]) -> None:
    shared, project = components
    host = world.server.url.removeprefix("http://")
    sha = shared.work.head()
    assert names(project, f"include: [{{component: {host}/{shared.path}/greet@{sha}}}]") == [f"greet-{sha}"]
    by_variable = f"include: [{{component: $CI_SERVER_FQDN/{shared.path}/greet@1}}]"
    assert names(project, by_variable) == ["greet-1.1.0"]
    for address in [f"{host}/{shared.path}/greet@3", f"{host}/{shared.path}/none@1", f"{host}/no/such/greet@1"]:
        assert f"Component '{address}' - content not found" in errors(project, f"include: [{{component: {address}}}]")
    other = f"other.example.org/{shared.path}/greet@1"
    assert "the component path is not supported" in errors(project, f"include: [{{component: {other}}}]")


@pytest.fixture(scope="module")
def components(world: World) -> tuple[Project, Project]:
    return library(world), filled(world.project())


class Peer(http.server.BaseHTTPRequestHandler):
    """Another server."""

    files: dict[str, bytes] = {"/a.yml": b"remote: {script: [echo from far away]}\n"}
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/moved.yml":
            self.send_response(302)
            self.send_header("Location", "/a.yml")
            self.end_headers()
            return
        body = self.files.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def peer() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Peer) as it:
        thread = threading.Thread(target=it.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{it.server_address[1]}"
        it.shutdown()
        thread.join()


def test_private_addresses_are_not_asked(world: World, peer: str) -> None:
    project = filled(world.project())
    Peer.asked.clear()
    for url in [f"{peer}/a.yml", f"{peer.replace('127.0.0.1', 'localhost')}/a.yml"]:
        said = errors(project, f"include: {url}")
        assert "URL is blocked: Requests to the local network are not allowed unless ci.include_private_addresses is set" in said
    assert Peer.asked == []


def test_remote_files_of_the_private_network_where_that_is_wanted(own_server: Callable[..., Server], world: World, peer: str) -> None:
    with own_server(config="[ci]\ninclude_private_addresses = true\n").start() as server:
        other = World(server, world.scratch)
        project = other.project()
        run = project.push_ci(f"include: [{peer}/a.yml]\n").end("success")
        assert "from far away" in run.trace("remote")
        assert names(project, f"include: {peer}/moved.yml") == ["remote"]
        digest = b64encode(hashlib.sha256(Peer.files["/a.yml"]).digest()).decode()
        remote = f"include: [{{remote: {peer}/a.yml, integrity: sha256-%s}}]"
        assert names(project, remote % digest) == ["remote"]
        assert "failed integrity check!" in errors(project, remote % digest[::-1])
        missing = errors(project, f"include: {peer}/none.yml")
        assert f"Remote file `{peer}/none.yml` could not be fetched after 1 attempt because of HTTP code `404` error!" in missing
        Peer.asked.clear()
        for _ in range(3):
            assert names(project, f"include: [{{remote: {peer}/a.yml, cache: 10 minutes}}]") == ["remote"]
        assert Peer.asked == ["/a.yml"], "a file that may be cached is asked for once"


def test_inputs_come_by_api_and_by_push_option(world: World) -> None:
    yaml = "spec:\n  inputs:\n    word: {default: nothing}\n    times: {type: number, default: 1}\n---\nsay: {script: ['echo \"$[[ inputs.word ]] $[[ inputs.times ]]\"']}\n"
    project = world.project()
    run = project.push_ci(yaml, options=("-o", "ci.input=word=pushed", "-o", "ci.input=times=2")).end("success")
    assert "pushed 2" in run.trace("say")
    made = project.owner.post(f"/projects/{project.id}/pipeline", json={"ref": "main", "inputs": {"word": "asked", "times": 3}})
    assert made.status_code == 201, made.text
    asked = type(run)(project, made.json()["id"]).end("success")
    assert "asked 3" in asked.trace("say")
    wrong = project.owner.post(f"/projects/{project.id}/pipeline", json={"ref": "main", "inputs": {"times": "many"}})
    assert wrong.status_code == 400 and "`times` input: provided value is not a number" in wrong.text
    unknown = project.owner.post(f"/projects/{project.id}/pipeline", json={"ref": "main", "inputs": {"other": "x"}})
    assert unknown.status_code == 400 and "unknown input arguments: other" in unknown.text


def test_whoever_pushed_reads_where_an_included_file_is_wrong(world: World) -> None:
    project = world.project()
    files = {".gitlab-ci.yml": "include: ci/a.yml\n", "ci/a.yml": "include: b.yml\n", "b.yml": "job:\n  script: echo\n  scirpt: echo\n"}
    said = project.push(files).err
    assert "b.yml:3:3: jobs:job config contains unknown keys: scirpt" in said, said


def test_changes_since_a_branch(world: World) -> None:
    project = world.project()
    project.push({"README.md": "one\n", "src/a.c": "int a;\n"})
    project.work.git("switch", "--create", "topic")
    yaml = """
docs: {script: [echo docs], rules: [{changes: {paths: [README.md], compare_to: refs/heads/main}}]}
code: {script: [echo code], rules: [{changes: {paths: [src/**/*], compare_to: main}}]}
all: {script: [echo all]}
"""
    project.push({"src/a.c": "int b;\n"}, message="Change the code")
    run = project.push_ci(yaml)
    assert sorted(run.statuses()) == ["all", "code"]


def test_limits_are_settings_that_messages_name(own_server: Callable[..., Server], world: World) -> None:
    with own_server(config="[ci]\nmax_jobs = 2\nmax_file_bytes = 300\n").start() as server:
        other = World(server, world.scratch)
        run = other.project().push_ci("".join(f"job-{it}: {{script: 'true'}}\n" for it in range(3))).end("failed")
        assert "The number of jobs has exceeded the limit of 2." in run.pipeline.yaml_errors
        session = other.root.sign_in()
        assert "ci.max_jobs" in session.get(run.pipeline.web_url, timeout=30).text
        large = "large: {script: 'true'}\n" + "# is too large\n" * 20
        run = other.project().push_ci("include: large.yml\n", {"large.yml": large}).end("failed")
        assert "`large.yml`: The parsed YAML is too big" in run.pipeline.yaml_errors
        page = session.get(run.pipeline.web_url, timeout=30).text
        assert f"the file has {len(large)} bytes, more than 300" in page and "ci.max_file_bytes" in page
