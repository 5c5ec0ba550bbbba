"""Runners of the instance, of groups and of projects, and the queue that they take jobs from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from gitlab.exceptions import GitlabError
from harness import secrets
from harness.server import Server
from harness.wait import wait_for
from harness.world import Account, World, unique

Make = Callable[..., Server]
CONFIG = "[runner]\nembedded = false\n[ci]\nrunner_registration = true\nrunner_token_days = 30\n"
FEATURES = ("artifacts_exclude", "cancel_gracefully", "fallback_cache_keys", "refspecs", "return_exit_code")
FEATURES += ("upload_multiple_artifacts", "upload_raw_artifacts")


@pytest.fixture
def lonely(own_server: Make, scratch: Path) -> World:
    """A server that runs no jobs itself."""
    return World(own_server(config=CONFIG).start(), scratch)


class Machine:
    """A machine that asks for jobs, as the stock runner does."""

    def __init__(self, world: World, token: str, system_id: str, features: tuple[str, ...] = FEATURES):
        self.url, self.token, self.system_id = world.server.url, token, system_id
        self.info = {"name": "gitlab-runner", "version": "19.4.0", "revision": "abc", "platform": "linux", "architecture": "amd64"}
        self.info |= {"executor": "shell", "features": dict.fromkeys(features, True)}

    def ask(self, method: str, path: str, **body: object) -> requests.Response:
        body = {"token": self.token, "system_id": self.system_id, "info": self.info, **body}
        return requests.request(method, f"{self.url}/api/v4{path}", json=body, timeout=60)

    def take(self) -> dict | None:
        answer = self.ask("POST", "/jobs/request")
        assert answer.status_code in (201, 204), answer.text
        return answer.json() if answer.status_code == 201 else None

    def start(self) -> dict:
        job = self.take()
        assert job, "there is no job"
        secrets.note(job["token"])
        assert self.put(job, "running") == 200
        return job

    def put(self, job: dict, state: str) -> int:
        return requests.put(f"{self.url}/api/v4/jobs/{job['id']}", json={"token": job["token"], "state": state}, timeout=30).status_code


def make(account: Account, **settings: object) -> tuple[int, str]:
    made = account.post("/user/runners", json={"runner_type": "instance_type", **settings})
    assert made.status_code == 201, made.text
    return made.json()["id"], secrets.note(made.json()["token"])


def test_python_gitlab_manages_runners_of_all_kinds(lonely: World) -> None:
    gl = lonely.root.gitlab
    group = gl.groups.create({"name": "Team", "path": unique("team")})
    project = lonely.project(namespace_id=group.id)
    other = lonely.project()
    shared, _ = make(lonely.root, description="shared", tag_list=["nix", "linux"])
    grouped, _ = make(lonely.root, runner_type="group_type", group_id=group.id, description="grouped")
    own, token = make(lonely.root, runner_type="project_type", project_id=project.id, description="own", maintenance_note="dusty")
    assert {it.id for it in gl.runners_all.list(get_all=True)} == {shared, grouped, own}
    assert {it.id for it in project.gitlab.runners.list(get_all=True)} == {shared, grouped, own}
    assert {it.id for it in other.gitlab.runners.list(get_all=True)} == {shared}
    assert {it.id for it in gl.groups.get(group.id).runners.list(get_all=True)} == {shared, grouped}
    assert [it.id for it in gl.runners_all.list(tag_list="nix,linux", get_all=True)] == [shared]
    assert [it.id for it in gl.runners_all.list(type="group_type", get_all=True)] == [grouped]
    assert gl.runners_all.list(status="online", get_all=True) == []
    assert len(gl.runners_all.list(status="never_contacted", get_all=True)) == 3

    # One project's runner may serve another, unless it is locked.
    other.gitlab.runners.create({"runner_id": own})
    assert {it.id for it in other.gitlab.runners.list(get_all=True)} == {shared, own}
    details = gl.runners.get(own)
    assert [it["id"] for it in details.projects] == [project.id, other.id] and details.maintenance_note == "dusty"
    assert gl.runners.get(grouped).groups[0]["id"] == group.id
    with pytest.raises(GitlabError, match="has already been taken"):
        other.gitlab.runners.create({"runner_id": own})
    with pytest.raises(GitlabError, match="owns the runner"):
        project.gitlab.runners.delete(own)
    other.gitlab.runners.delete(own)
    details.locked = True
    details.maximum_timeout = 1200
    details.access_level = "ref_protected"
    details.save()
    with pytest.raises(GitlabError, match="locked"):
        other.gitlab.runners.create({"runner_id": own})
    with pytest.raises(GitlabError, match="instance runner"):
        other.gitlab.runners.create({"runner_id": shared})
    read = gl.runners.get(own)
    assert (read.locked, read.maximum_timeout, read.access_level) == (True, 1200, "ref_protected")
    assert gl.http_put(f"/runners/{own}", post_data={"active": False})["paused"] is True
    with pytest.raises(GitlabError, match="can not be empty"):
        gl.http_put(f"/runners/{own}", post_data={"run_untagged": False, "tag_list": ""})

    # Machines are told apart, and each says what it is.
    for name in ("s_one", "s_two"):
        assert Machine(lonely, token, name).ask("POST", "/runners/verify").json()["id"] == own
    managers = gl.http_get(f"/runners/{own}/managers")
    assert [(it["system_id"], it["version"], it["status"]) for it in managers] == [("s_two", "19.4.0", "online"), ("s_one", "19.4.0", "online")]
    assert [it.id for it in gl.runners_all.list(version_prefix="19.", get_all=True)] == [own]
    listed = gl.runners_all.list(status="online", get_all=True)[0]
    assert (listed.name, listed.ip_address, listed.created_by["username"]) == ("gitlab-runner", "127.0.0.1", "root")
    assert Machine(lonely, token, "s_one").ask("DELETE", "/runners/managers").status_code == 204
    assert [it["system_id"] for it in gl.http_get(f"/runners/{own}/managers")] == ["s_two"]


def test_members_manage_what_is_theirs(lonely: World) -> None:
    owner, guest = lonely.account("owner"), lonely.account("guest")
    group = owner.gitlab.groups.create({"name": "Mine", "path": unique("mine")})
    project = lonely.project(owner, namespace_id=group.id)
    project.add(guest, 30)
    shared, _ = make(lonely.root)
    grouped, _ = make(owner, runner_type="group_type", group_id=group.id)
    own, _ = make(owner, runner_type="project_type", project_id=project.id)
    assert {it.id for it in owner.gitlab.runners.list(get_all=True)} == {grouped, own}
    assert guest.gitlab.runners.list(get_all=True) == []
    for account, runner in ((owner, shared), (guest, own), (guest, grouped)):
        assert account.request("PUT", f"/runners/{runner}", json={"paused": True}).status_code == 404
        assert account.request("DELETE", f"/runners/{runner}").status_code == 404
    creating = lonely.token(owner, ("create_runner",))
    body = {"runner_type": "project_type", "project_id": project.id}
    made = requests.post(f"{lonely.server.url}/api/v4/user/runners", json=body, headers={"PRIVATE-TOKEN": creating}, timeout=10)
    assert made.status_code == 201 and secrets.note(made.json()["token"])
    assert owner.request("DELETE", f"/runners/{grouped}").status_code == 204
    # With the project its runners go.
    project.gitlab.delete()
    wait_for("the runner to go", lambda: lonely.root.get(f"/runners/{own}").status_code == 404)


def test_runners_register_themselves_where_that_is_allowed(lonely: World, world: World) -> None:
    refused = requests.post(f"{world.server.url}/api/v4/runners", json={"token": "GR1348941x"}, timeout=10)
    assert refused.status_code == 410 and "disabled" in refused.text
    project = lonely.project()
    answers = [lonely.root.post(f"{it}/runners/reset_registration_token") for it in ("", f"/projects/{project.id}")]
    assert [it.status_code for it in answers] == [201, 201]
    tokens = [secrets.note(it.json()["token"]) for it in answers]
    assert all(it.startswith("GR1348941") for it in tokens)
    register = f"{lonely.server.url}/api/v4/runners"
    assert requests.post(register, json={"token": "GR1348941wrong"}, timeout=10).status_code == 403
    body = {"token": tokens[1], "description": "old way", "tag_list": "a, b", "locked": True, "info": {"name": "gitlab-runner"}}
    made = requests.post(register, json=body, timeout=10)
    assert made.status_code == 201, made.text
    token = secrets.note(made.json()["token"])
    assert not token.startswith("glrt-") and made.json()["token_expires_at"]
    runner = lonely.root.gitlab.runners.get(made.json()["id"])
    assert (runner.runner_type, runner.locked, sorted(runner.tag_list)) == ("project_type", True, ["a", "b"])
    assert runner.projects[0]["id"] == project.id
    machine = Machine(lonely, token, "s_old")
    reset = machine.ask("POST", "/runners/reset_authentication_token")
    assert reset.status_code == 201 and machine.ask("POST", "/runners/verify").status_code == 403
    machine.token = secrets.note(reset.json()["token"])
    assert not machine.token.startswith("glrt-")
    assert machine.ask("POST", "/runners/verify").json()["token_expires_at"]
    again = lonely.root.post(f"/projects/{project.id}/runners/reset_registration_token")
    secrets.note(again.json()["token"])
    assert requests.post(register, json=body, timeout=10).status_code == 403, "the old one is worth nothing"
    assert machine.ask("DELETE", "/runners").status_code == 204
    assert lonely.root.get(f"/runners/{runner.id}").status_code == 404


def test_a_job_says_why_no_runner_takes_it(lonely: World) -> None:
    run = lonely.ci("work:\n  tags: [gpu, big]\n  script: echo hi\n")
    page = f"{run.project.path}/-/jobs/{run.job('work').id}"
    session = lonely.root.sign_in()

    def shown(reason: str, sentence: str) -> None:
        job = run.job("work")
        assert (job.pending_reason, job.stuck) == (reason, reason != "runners_busy")
        assert sentence in job.pending_message
        html = session.get(f"{lonely.server.url}/{page}", timeout=30).text
        assert sentence in html, html

    shown("no_runner", "no runner is registered")
    make(lonely.root)
    shown("no_matching_runner", "has all of the tags gpu, big")
    runner, token = make(lonely.root, tag_list=["gpu", "big"], run_untagged=False, access_level="ref_protected")
    machine = Machine(lonely, token, "s_one")
    shown("runners_offline", "no runner with the tags gpu, big is online")
    lonely.root.request("PUT", f"/runners/{runner}", json={"paused": True})
    shown("runners_paused", "with the tags gpu, big are paused")
    assert machine.take() is None
    lonely.root.request("PUT", f"/runners/{runner}", json={"paused": False})
    job = machine.start()
    assert run.job("work").runner_manager["system_id"] == "s_one"
    assert [it["id"] for it in lonely.root.get(f"/runners/{runner}/jobs").json()] == [job["id"]]
    assert lonely.root.get(f"/runners/{runner}/jobs?status=success").json() == []
    # A branch that is not protected has no claim on this runner.
    run.project.work.git("checkout", "--quiet", "-b", "topic")
    run = run.project.push_ci("work:\n  tags: [gpu]\n  script: echo more\n")
    page = f"{run.project.path}/-/jobs/{run.job('work').id}"
    shown("protected_runners_only", "take jobs of protected branches and tags only")
    lonely.root.request("PUT", f"/runners/{runner}", json={"access_level": "not_protected"})
    shown("runners_busy", "All matching runners are busy; this job is next")
    assert machine.put(job, "success") == 200
    assert machine.start()["job_info"]["name"] == "work"


def test_a_machine_that_is_too_old_is_named(lonely: World) -> None:
    run = lonely.ci("work:\n  script: echo hi\n  artifacts: {paths: [out], exclude: [out/tmp]}\n")
    _, token = make(lonely.root)
    assert Machine(lonely, token, "s_old", ("cancelable",)).take() is None
    job = run.job("work")
    assert (job.status, job.failure_reason) == ("failed", "runner_unsupported")
    assert "needs a runner that supports artifacts_exclude" in run.trace("work")
    job.retry()
    assert Machine(lonely, token, "s_new").start()["job_info"]["name"] == "work"


def test_projects_take_turns(lonely: World) -> None:
    many = lonely.ci("".join(f"job{it}:\n  script: echo {it}\n" for it in range(4)))
    few = lonely.ci("one:\n  script: echo 1\ntwo:\n  script: echo 2\n")
    many.wait_for_job("job3", "pending")
    few.wait_for_job("two", "pending")
    _, token = make(lonely.root)
    machine = Machine(lonely, token, "s_one")
    order = [machine.start()["job_info"]["project_id"] for _ in range(6)]
    assert order == [many.project.id, few.project.id, many.project.id, few.project.id, many.project.id, many.project.id]
