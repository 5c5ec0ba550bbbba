"""Trigger tokens: made with python-gitlab, used with curl and nothing else."""

import json
import subprocess

import pytest
from harness import secrets
from harness.gate import Gates
from harness.world import Project, Run, World, unique


def curl(world: World, path: str, *arguments: str) -> tuple[int, dict]:
    """Asks the API with curl and no credentials. Returns the status and the answer."""
    command = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *arguments, f"{world.server.url}/api/v4{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(body)


@pytest.fixture
def project(world: World, gates: Gates) -> Project:
    made = world.project()
    text = "$CI_PIPELINE_SOURCE $CI_PIPELINE_TRIGGERED $COLOUR $(cat $TRIGGER_PAYLOAD)"
    tell = gates.tell_command(made.path.replace("/", "-"), text)
    made.push({".gitlab-ci.yml": f"work:\n  rules: [{{if: $CI_PIPELINE_TRIGGERED}}]\n  script:\n    - |-\n      {tell}\n"})
    return made


def token_of(project: Project) -> str:
    return secrets.note(project.gitlab.triggers.create({"description": "deploys"}).token)


def test_python_gitlab_keeps_triggers(project: Project) -> None:
    made = project.gitlab.triggers.create({"description": "first"})
    secrets.note(made.token)
    assert made.token.startswith("glptt-") and made.owner["username"] == "root"
    shown = project.gitlab.triggers.get(made.id)
    assert shown.token == made.token.removeprefix("glptt-")[:4], "the token itself is shown once"
    shown.description = "second"
    shown.save()
    assert [it.description for it in project.gitlab.triggers.list(get_all=True)] == ["second"]
    shown.delete()
    assert project.gitlab.triggers.list(get_all=True) == []


def test_curl_starts_a_pipeline(world: World, project: Project, gates: Gates) -> None:
    token = token_of(project)
    forms = ("-F", f"token={token}", "-F", "ref=main", "-F", "variables[COLOUR]=deep blue")
    status, made = curl(world, f"/projects/{project.id}/trigger/pipeline", "--request", "POST", *forms)
    assert status == 201 and (made["source"], made["user"]["username"]) == ("trigger", "root"), made
    run = Run(project, made["id"]).end("success")
    said = gates.hear(project.path.replace("/", "-"))
    assert said.startswith("trigger true deep blue {") and token not in said and '"ref":"main"' in said
    assert {it["key"]: it["variable_type"] for it in world.root.get(f"/projects/{project.id}/pipelines/{run.id}/variables").json()} == {
        "COLOUR": "env_var",
        "TRIGGER_PAYLOAD": "file",
    }


def test_a_webhook_starts_a_pipeline(world: World, project: Project, gates: Gates) -> None:
    token = token_of(project)
    hook = ("--header", "Content-Type: application/json", "--data", '{"object_kind": "push", "commits": [{"id": "abc"}]}')
    status, made = curl(world, f"/projects/{project.path.replace('/', '%2F')}/ref/main/trigger/pipeline?token={token}", *hook)
    assert status == 201, made
    Run(project, made["id"]).end("success")
    said = gates.hear(project.path.replace("/", "-"))
    assert '"commits":[{"id":"abc"}]' in said and token not in said


def test_python_gitlab_triggers(project: Project) -> None:
    made = project.gitlab.trigger_pipeline("main", token_of(project), variables={"COLOUR": "red"})
    assert made.source == "trigger"


def test_wrong_tokens_are_told_nothing(world: World, project: Project) -> None:
    other = token_of(world.project())
    for token in ("glptt-wrong", other, world.root.token):
        answers = [curl(world, f"/projects/{it}/trigger/pipeline", "-F", f"token={token}", "-F", "ref=main") for it in (project.id, 999999)]
        assert answers[0] == answers[1] == (404, {"message": "404 Not found"})
    status, answer = curl(world, f"/projects/{project.id}/trigger/pipeline", "-F", f"token={token_of(project)}", "-F", "ref=gone")
    assert (status, answer) == (400, {"message": {"base": ["Reference not found"]}})


def test_a_token_has_its_owners_rights(world: World) -> None:
    project = world.project()
    project.push({".gitlab-ci.yml": "work:\n  script: echo done\n"})
    maintainer = project.member(unique("maintainer"), 40)
    token = secrets.note(project.as_(maintainer).triggers.create({"description": "x"}).token)
    status, made = curl(world, f"/projects/{project.id}/trigger/pipeline", "-F", f"token={token}", "-F", "ref=main")
    assert status == 201 and made["user"]["username"] == maintainer.username
    project.gitlab.members.delete(maintainer.id)
    status, refused = curl(world, f"/projects/{project.id}/trigger/pipeline", "-F", f"token={token}", "-F", "ref=main")
    assert (status, refused) == (400, {"message": {"base": ["Insufficient permissions to create a new pipeline"]}})


def test_a_job_starts_a_pipeline_of_its_project(world: World, gates: Gates) -> None:
    project, word = world.project(), unique("again")
    api = '"$CI_API_V4_URL/projects/$CI_PROJECT_ID/trigger/pipeline"'
    yaml = f"""
first:
  rules: [{{if: '$CI_PIPELINE_SOURCE == "push"'}}]
  script: curl --fail --silent --show-error -F token=$CI_JOB_TOKEN -F ref=main {api}
second:
  rules: [{{if: '$CI_PIPELINE_SOURCE == "pipeline"'}}]
  script: {gates.tell_command(word, "$CI_PIPELINE_SOURCE")}
"""
    project.push_ci(yaml).end("success")
    assert gates.hear(word) == "pipeline"
