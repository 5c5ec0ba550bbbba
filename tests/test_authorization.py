"""Walks every route of the binary as everyone, against a private project. The expected answers are in `authorization.py`."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from authorization import PERSONAS, TABLE
from harness import secrets
from harness.nix import Attic
from harness.server import Server, environment, run
from harness.world import Account, Project, World, unique

REPORTER, MAINTAINER = 20, 40
ABSENT = "999999999"
# After these the next caller needs another project.
CONSUMING = {
    ("DELETE", "/api/v4/groups/{id}"),
    ("DELETE", "/api/v4/projects/{id}"),
    ("POST", "/api/v4/projects/{id}/archive"),
    ("POST", "{project}/-/settings"),
    ("POST", "{project}/-/settings/archive"),
    ("POST", "{project}/-/settings/delete"),
}
# What a request that is let through may be answered: the walk sends no contents, so most are refused for that.
LET_THROUGH = {200, 201, 202, 204, 206, 301, 302, 303, 304, 400, 409, 412, 413, 415, 416, 422}


def all_routes(server: Server) -> list[tuple[str, str]]:
    done = run(["__routes"], environment(server.directory / "home"), server.directory)
    assert done.returncode == 0, done.stderr
    return [(it["method"], it["path"]) for it in json.loads(done.stdout)]


def test_the_table_has_every_route_and_no_other(world: World) -> None:
    routes = all_routes(world.server)
    assert len(routes) == len(set(routes)) and len(routes) > 100
    missing, stale = set(routes) - TABLE.keys(), TABLE.keys() - set(routes)
    assert not missing, "routes without an expectation: " + ", ".join(sorted(" ".join(it) for it in missing))
    assert not stale, "expectations without a route: " + ", ".join(sorted(" ".join(it) for it in stale))


@dataclass
class Stage:
    """A private project with everything in it, and one of every persona."""

    world: World
    project: Project
    group: int
    people: dict[str, Account | None]
    sessions: dict[str, requests.Session]
    clients: dict[str, requests.Session]
    values: dict[str, str]
    spare: dict[str, str]


@pytest.fixture(scope="module")
def world(engine: str, scratch: Path, database: Callable[[], str | None]) -> Iterator[World]:
    """A server of its own: the walk tries so many wrong passwords that nobody else could sign in for a while."""
    with Server(scratch / unique(f"walk-{engine}"), database(), "[ci]\nrunner_registration = true\n") as server:
        yield World(server.start(), scratch)


@pytest.fixture(scope="module")
def stage(world: World) -> Stage:
    reporter, maintainer, stranger, bystander = (world.account(it) for it in ("reporter", "maintainer", "stranger", "bystander"))
    people = {"anonymous": None, "stranger": stranger, "reporter": reporter, "maintainer": maintainer, "admin": world.root}
    group = world.root.gitlab.groups.create({"name": "Secret", "path": unique("secret")})
    for account, level in ((reporter, REPORTER), (maintainer, MAINTAINER)):
        group.members.create({"user_id": account.id, "access_level": level})
    project = world.project(namespace_id=group.id)
    project.add(bystander, REPORTER)
    group.members.create({"user_id": bystander.id, "access_level": REPORTER})
    project.work.git("commit", "--quiet", "--allow-empty", "--message", "First")
    job = "work:\n  script: [mkdir out, echo hi > out/x.txt]\n  artifacts: {paths: [out]}\n  resource_group: WALK\n"
    ci = project.push_ci(job, {"README.md": "# Hello\n", "dir/file.txt": "text\n"}).end("success")
    project.work.git("tag", "v1")
    project.work.push("-o", "ci.skip", "origin", "v1", "HEAD:refs/heads/topic")
    made = world.root.post("/user/runners", json={"runner_type": "project_type", "project_id": project.id})
    assert made.status_code == 201, made.text
    secrets.note(made.json()["token"])
    # Somebody else's token: nobody but its owner and administrators may know of it.
    world.token(bystander, ("read_api",))
    token = world.root.get(f"/personal_access_tokens?user_id={bystander.id}").json()[0]["id"]
    for owner in (project.gitlab, group, world.root.gitlab):
        owner.variables.create({"key": "WALK", "value": "walked"})
    schedule = project.gitlab.pipelineschedules.create({"description": "Walk", "ref": "main", "cron": "0 0 1 1 *"})
    trigger = project.gitlab.triggers.create({"description": "Walk"})
    secrets.note(trigger.token)
    cache = make_cache(world, group.path)
    sha = project.work.head()
    values = {
        "schedule": str(schedule.id),
        "trigger": str(trigger.id),
        "key": "WALK",
        "cache": cache,
        "project": project.path,
        "group": str(group.id),
        "runner": str(made.json()["id"]),
        "token": str(token),
        "user": str(bystander.id),
        "pipeline": str(ci.id),
        "job": str(ci.job("work").id),
        "sha": sha,
        "blob": project.work.git("rev-parse", "HEAD:dir/file.txt"),
        "branch": "topic",
        "protected": "main",
        "tag": "v1",
        "file": "dir/file.txt",
        "artifact": "out/x.txt",
    }
    sessions = {name: account.sign_in() if account else requests.Session() for name, account in people.items()}
    for session in sessions.values():
        session.headers["Origin"] = world.server.url
    clients = {name: client(account) for name, account in people.items()}
    stage = Stage(world, project, group.id, people, sessions, clients, values, {})
    stage.spare = spare(stage)
    return stage


def make_cache(world: World, group: str) -> str:
    """Makes a private binary cache that a group uses."""
    name, attic = unique("walk"), Attic(world.server, world.root.token)
    assert attic.create(name).status_code == 200
    assert attic.ask("PUT", f"_api/v1/caches/{name}/attachments", json={"path": group}).status_code == 200
    return name


def client(account: Account | None) -> requests.Session:
    """Returns a session without cookies that presents the account's token."""
    it = requests.Session()
    it.headers.update({"PRIVATE-TOKEN": account.token} if account else {})
    # A runner's log needs a place, or nothing else is looked at.
    it.headers["Content-Range"] = "0-0"
    return it


def spare(stage: Stage) -> dict[str, str]:
    """Makes a project that may be changed: those who are let through do so there, and to jobs that do not exist."""
    group = stage.world.root.gitlab.groups.create({"name": "Spare", "path": unique("spare")})
    for name, level in (("reporter", REPORTER), ("maintainer", MAINTAINER)):
        account = stage.people[name]
        assert account
        group.members.create({"user_id": account.id, "access_level": level})
    project = stage.world.project(namespace_id=group.id)
    values = dict.fromkeys(stage.values, ABSENT)
    return values | {"project": project.path, "group": str(group.id)}


# What a parameter stands for depends on the address before it.
OWNERS = {"projects": "project", "groups": "group", "users": "user", "runners": "runner", "personal_access_tokens": "token", "namespaces": "group"}
OWNERS |= {"pipelines": "pipeline", "jobs": "job", "branches": "branch", "tags": "tag", "protected_branches": "protected", "blobs": "blob"}


# Nothing that is in the cache, but for its description.
IN_CACHES = {"file": "nix-cache-info", "drv": "x", "hash": "0" * 32, "key": ABSENT, "name": "x"}


def address(path: str, values: dict[str, str]) -> str:
    """Puts real values in place of a route's parameters."""
    before, result = "", []
    for part in path.strip("/").split("/"):
        name = part.strip("{}").removeprefix("*")
        if part == "{project}" or part == "{project}.git":
            part = part.replace("{project}", values["project"])
        elif part.startswith("{"):
            part = value_of(name, before, path, values)
        before = part if part in OWNERS else before
        result.append(part)
    return "/" + "/".join(result)


def value_of(name: str, before: str, path: str, values: dict[str, str]) -> str:
    quoted = values["project"].replace("/", "%2F")
    if path.startswith("/-/cache"):
        return IN_CACHES[name] if name in IN_CACHES else values[name]
    match name:
        case "id" if before == "projects":
            return quoted
        case "id":
            return values[OWNERS[before]]
        case "user":
            return values["user"]
        case "name" if "assets" in path:
            return "app.css"
        case "token":
            return "rvc-none"
        case "rest" if "badges" in path:
            return "main/pipeline.svg"
        case "rest" | "path" if "browse" in path:
            return values["artifact"].split("/")[0]
        case "rest" | "path" | "file" | "file_path" if "artifacts" in path:
            return values["artifact"]
        case "sha" | "commit":
            return values["blob" if before == "blobs" else "sha"]
        case "rest" | "at":
            return "main/" + values["file"] if "blob" in path or "raw" in path else "main"
        case "path" | "file" | "file_path":
            return values["file"].replace("/", "%2F")
        case _ if name in values:
            return values[name]
        case "ref" | "reference":
            return "main"
        case "name" | "branch_name" | "tag_name":
            return values[OWNERS[before]]
        case "version":
            return "x"
        case "format":
            return "tar.gz"
    raise AssertionError(f"the walk does not know what to put for {name} in {path}")


def ask(stage: Stage, persona: str, method: str, path: str, values: dict[str, str]) -> requests.Response:
    """Asks as people do: pages with a session, git with Basic authentication, the API with a token."""
    url = stage.world.server.url + address(path, values)
    account = stage.people[persona]
    if ".git/" in path:
        url += "?service=git-upload-pack" if path.endswith("info/refs") else ""
        credentials = (account.username, account.token) if account else None
        return requests.request(method, url, auth=credentials, timeout=30, allow_redirects=False)
    session = stage.clients[persona] if path.startswith(("/api/", "/-/cache/")) else stage.sessions[persona]
    return session.request(method, url, timeout=30, allow_redirects=False, stream=path.endswith("/live"))


def outcome(answer: requests.Response) -> str:
    """Puts an answer into the table's words."""
    with answer:
        status, target = answer.status_code, answer.headers.get("Location", "")
        if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            # It goes on: only its beginning counts.
            return "yes" if status == 200 else f"status {status}"
        if status == 404:
            return "hidden" if "Project Not Found" in answer.text or "Group Not Found" in answer.text else "absent"
        if status in (401, 403):
            return str(status)
        if "/-/login" in target and "logout" not in answer.url:
            return "login"
        return "yes" if status in LET_THROUGH else f"status {status}: {answer.text[:200]}"


def test_every_route_as_everyone(stage: Stage) -> None:
    wrong = []
    for (method, path), expected in TABLE.items():
        for persona, wanted in zip(PERSONAS, expected, strict=True):
            changes = method != "GET" and wanted == "yes"
            values = stage.values if not changes else spare(stage) if (method, path) in CONSUMING else stage.spare
            found = outcome(ask(stage, persona, method, path, values))
            # Who is let through to a job that does not exist learns just that.
            if not (found == wanted or (changes and found == "absent")):
                wrong.append(f"{method} {path} as {persona}: {found}, expected {wanted}")
            if path in ("/-/logout",):
                stage.sessions[persona] = fresh_session(stage, persona)
    assert not wrong, "\n" + "\n".join(wrong)
    assert stage.project.gitlab.branches.get("topic").commit["id"] == stage.values["sha"], "nobody changed anything"
    assert stage.world.root.get(f"/projects/{stage.project.id}/jobs/{stage.values['job']}").json()["status"] == "success"


def fresh_session(stage: Stage, persona: str) -> requests.Session:
    account = stage.people[persona]
    session = account.sign_in() if account else requests.Session()
    session.headers["Origin"] = stage.world.server.url
    return session


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
def test_no_session_is_used_from_another_site(stage: Stage, headers: dict[str, str]) -> None:
    cookies = stage.sessions["admin"].cookies
    accepted = []
    for method, path in TABLE:
        # Git and binary caches look at no session.
        if method == "GET" or ".git/" in path or path.startswith("/-/cache/"):
            continue
        url = stage.world.server.url + address(path, stage.values)
        answer = requests.request(method, url, cookies=cookies, headers=headers, timeout=30, allow_redirects=False)
        if answer.status_code != 403 or "does not come from a page of this server" not in answer.text:
            accepted.append(f"{method} {path}: {answer.status_code} {answer.text[:100]}")
    assert not accepted, "\n".join(accepted)


def test_a_session_does_not_open_git(stage: Stage) -> None:
    url = f"{stage.project.clone_url()}/info/refs?service=git-upload-pack"
    assert requests.get(url, cookies=stage.sessions["admin"].cookies, timeout=10).status_code == 401


def test_what_is_private_looks_like_what_is_absent(stage: Stage) -> None:
    """A stranger cannot tell a private project from none, whatever they ask of it."""
    stranger = stage.people["stranger"]
    assert stranger
    private = {**stage.values}
    absent = {**stage.values, "project": f"{stranger.username}/{unique('absent')}"}
    for method, path in TABLE:
        if not ("{project}" in path or "/projects/{id}" in path) or path.endswith("git-receive-pack") or "receive" in path:
            continue
        answers = [ask(stage, "stranger", method, path, values) for values in (private, absent)]
        statuses = [it.status_code for it in answers]
        bodies = [normal(it.text, values) for it, values in zip(answers, (private, absent), strict=True)]
        assert statuses[0] == statuses[1] and bodies[0] == bodies[1], f"{method} {path}: {statuses}\n{bodies[0][:300]}\n{bodies[1][:300]}"


def normal(text: str, values: dict[str, str]) -> str:
    for form in (values["project"], values["project"].replace("/", "%2F"), values["project"].replace("-", "%2D").replace("/", "%2F")):
        text = text.replace(form, "PROJECT")
    return text
